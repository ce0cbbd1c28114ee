"""One managed folder, as `machine.Root` has it: looking, placing, trash and pruning on one ledger.

Paths are from the root and have passed `paths.path_problem`. Nothing here fetches, and nothing here knows a workspace
or a store: whether the store still has some bytes is asked of the caller.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from gemmalock.errors import UnsafePath, disk_error
from gemmalock.ledger import LedgerEntry
from gemmalock.links import LinkMode
from gemmalock.lockfile import LockedFile
from gemmalock.machine import PlaceSight, PruneResult, Stray
from gemmalock.paths import matches
from gemmalock.roots.book import OWN, Book
from gemmalock.roots.digest import OnRead
from gemmalock.roots.guests import Guests
from gemmalock.roots.looker import Looker
from gemmalock.roots.placing import Placer
from gemmalock.roots.pruning import Pruner
from gemmalock.roots.sight import SYMLINK, identity, is_recorded
from gemmalock.roots.staging import sweep
from gemmalock.roots.strays import Found, Scan, parents
from gemmalock.roots.tracked import Tracked, tracked
from gemmalock.roots.trash import Trash
from gemmalock.stopping import Stop


class RootFolder:
    """The managed folder `root` (with `/`) below `base`, its manifest's folder. Safe to use from many threads.

    `keep` are globs of paths that pruning leaves, `trash_days` how long the trash keeps. `stop` is heard while a file
    is hashed or copied, and while a lock is waited for.
    """

    def __init__(
        self,
        base: Path,
        root: str,
        *,
        link_mode: LinkMode = LinkMode.AUTO,
        keep: tuple[str, ...] = (),
        trash_days: int = 7,
        stop: Stop | None = None,
    ) -> None:
        self._base = base.absolute()
        self._root = root
        self.folder = self._base / root
        self._link_mode = link_mode
        self._keep = keep
        self._trash_days = trash_days
        self._book = Book(self._base, root, stop)
        self._trash = Trash(self._base, f"{root}/{OWN}/trash")
        self._guests = Guests(self._base, root, self._book)
        self._looker = Looker(self._base, root, self._book, stop)
        self._placer = Placer(self._base, root, self._book, self._trash, stop)
        self._pruner = Pruner(self._base, root, self._book, self._trash, stop)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know of this root's file system, once each."""
        return tuple(self._book.warnings)

    def look(self, file: LockedFile, *, verify: bool = False, on_read: OnRead | None = None) -> PlaceSight:
        """What stands at the file's path: one lstat where the ledger agrees. With `verify` the bytes are read in any
        case; `on_read` is told how many were read so far. Changes nothing, raises nothing but Interrupted."""
        return self._looker.look(file, verify, on_read)

    @property
    def saw_links(self) -> bool:
        """Whether a look has seen a symbolic link that sync made: only the store's note of this root protects what it
        leads to."""
        return self._looker.saw_links

    def adopt(self, file: LockedFile) -> str:
        """Enter a file that matches into the ledger. Its sha256. Raises FileError where it does not match."""
        try:
            entry = self._looker.proven(file)
        except OSError as error:
            raise disk_error(error, f"read `{file.path}`") from error
        self._book.enter(file.path, entry)
        return entry.sha256

    def place(self, file: LockedFile, object_path: Path, sha256: str) -> str:
        """Put the object's bytes in place, whole, and enter them in the ledger; what stood there goes to the trash
        first. How it was linked: `reflink`, `hardlink`, `symlink` or `copy`. With `save` it outlives a power cut.
        Raises FileError and Interrupted."""
        try:
            return self._placer.place(file, object_path, sha256, self._link_mode).value
        except OSError as error:
            raise disk_error(error, f"put `{file.path}` in place") from error

    def discard(self, file: LockedFile) -> None:
        """Move what stands at the file's path to the trash; nothing happens where there is nothing. Raises
        DiskError."""
        try:
            self._placer.discard(file.path)
        except OSError as error:
            raise disk_error(error, f"move `{file.path}` to the trash") from error

    def enter(self, store: Path, *, patience: float | None = None) -> bool:
        """Say that files are about to be put in place from this store; False while another process does so from
        another store. Raises DiskError, Interrupted, and Busy when nobody lets go of the root's lock for `patience`
        seconds (None: a minute)."""
        try:
            return self._guests.enter(store, patience)
        except OSError as error:
            raise disk_error(error, f"write to `{self._root}/{OWN}`") from error

    def leave(self) -> None:
        """Say that no more files are put in place. Raises nothing: a mark of the dead counts for nothing."""
        with contextlib.suppress(OSError, UnsafePath):
            self._guests.leave()

    def has_ledger(self) -> bool:
        """Whether there is a readable ledger. A corrupt one is none."""
        try:
            return self._book.is_readable()
        except (OSError, UnsafePath):
            return False

    def recorded(self, path: str) -> LedgerEntry | None:
        """What the ledger has of a path, with what this process put there. Raises DiskError."""
        try:
            return self._book.entry(path)
        except OSError as error:
            raise disk_error(error, f"read the ledger of `{self._root}`") from error

    def save(self) -> None:
        """Sync the names of what was placed, and then merge this process's changes into the ledger on disk, if there
        are any. Raises DiskError and Busy."""
        try:
            self._placer.settle()
            self._book.save()
        except OSError as error:
            raise disk_error(error, f"write the ledger of `{self._root}`") from error

    def strays(self, locked: frozenset[str]) -> tuple[Stray, ...]:
        """Every path in the root that is not among `locked`, sorted, with what is to become of it; git is asked only
        where there is one. Changes nothing. Raises DiskError where the root would not be read."""
        try:
            found = Scan(self._base, self._root, locked).run()
            known = tracked(self.folder) if found else Tracked()
            return tuple(self._stray(path, known) for path in found)
        except OSError as error:
            raise disk_error(error, f"look into `{self._root}`") from error

    def prune(self, strays: Iterable[Stray], in_store: Callable[[str], bool]) -> PruneResult:
        """Take the strays out of the root, unless they have a reason to be kept or changed since they were seen.

        They go to the trash; what sync put here, and `in_store` says the store has (by its sha256), goes for good.
        Raises DiskError, Busy and Interrupted where nothing was taken out; what ends it later is in the result.
        """
        try:
            return self._pruner.prune(strays, in_store)
        except OSError as error:
            raise disk_error(error, f"prune `{self._root}`") from error

    def purge_trash(self, now: float) -> int:
        """Delete what has been in the trash for more than `trash_days` at `now` (seconds since the epoch), and what
        dead processes left in staging. How many runs of the trash went. Raises DiskError."""
        try:
            sweep(self._base, f"{self._root}/{OWN}/staging")
            return self._trash.purge(now, self._trash_days)
        except OSError as error:
            raise disk_error(error, f"empty the trash of `{self._root}`") from error

    def _stray(self, found: Found, known: Tracked) -> Stray:
        if found.stat is None:
            return Stray(found.path, 0, (0, 0, 0), None, found.keep)
        keep = self._kept(found.path) or known.why_keep(found.path)
        seen = identity(found.stat)
        if found.is_folder:
            return Stray(found.path, 0, seen, None, keep, is_folder=True)
        return Stray(found.path, found.stat.st_size, seen, self._ours(found.path, found.stat), keep)

    def _kept(self, path: str) -> str | None:
        return "a `keep` setting names it" if any(matches(above, self._keep) for above in parents(path)) else None

    def _ours(self, path: str, found: os.stat_result) -> str | None:
        """The digest of what sync put here, if nobody changed it since."""
        entry = self._book.entry(path)
        return entry.sha256 if entry is not None and self._is_as_placed(path, found, entry) else None

    def _is_as_placed(self, path: str, found: os.stat_result, entry: LedgerEntry) -> bool:
        if not stat.S_ISLNK(found.st_mode):
            return entry.link != SYMLINK and stat.S_ISREG(found.st_mode) and is_recorded(found, entry)
        try:
            return entry.link == SYMLINK and is_recorded(os.stat(self.folder / path), entry)
        except OSError:
            return False

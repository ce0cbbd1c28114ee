"""Putting a stored file in place: by a hard link at once, or whole beside it first and then by one rename; what stood
there goes to the trash."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

from gemmalock.errors import SizeMismatch
from gemmalock.holders import mark
from gemmalock.ledger import LedgerEntry
from gemmalock.links import LinkMode, hardlink_whole, link
from gemmalock.lockfile import LockedFile
from gemmalock.paths import joined
from gemmalock.roots.book import OWN, Book
from gemmalock.roots.digest import digest_at
from gemmalock.roots.sight import SYMLINK, identity
from gemmalock.roots.staging import sweep
from gemmalock.roots.trash import Trash
from gemmalock.roots.walk import drop_at, lstat_at, opened, split
from gemmalock.stopping import Stop

#: How often a file is staged again when another process takes its folder, or its staged file, away.
_TRIES = 5


@dataclass(slots=True)
class Placer:
    """Puts files into the root `root` below `base`. Safe to use from many threads."""

    base: Path
    root: str
    book: Book
    trash: Trash
    stop: Stop | None
    _prepared: bool = False
    _unsynced: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def place(self, file: LockedFile, source: Path, sha256: str, mode: LinkMode) -> LinkMode:
        """Put the bytes of `source` at the file's path; how. The name outlives a power cut once `settle` was called.
        Raises OSError, FileError and Interrupted."""
        self._prepare()
        for tries in range(1, _TRIES + 1):
            try:
                how = self._place(file, source, sha256, mode)
                self.book.save_if_due()
                return how
            except (FileNotFoundError, IsADirectoryError):
                if tries == _TRIES or not source.exists():
                    raise
        raise AssertionError("unreachable")

    def settle(self) -> None:
        """Make the names of all that was placed outlive a power cut. Raises OSError and UnsafePath."""
        with self._lock:
            unsynced, self._unsynced = self._unsynced, set()
        for path in sorted(unsynced):
            # Whoever has taken the folder away since has taken the names with it.
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), opened(self.base, path) as folder:
                os.fsync(folder)

    def discard(self, path: str) -> None:
        """Move what stands at a path of the root to the trash, if anything does. Raises OSError and UnsafePath."""
        folder_path, name = split(joined(self.root, path))
        try:
            with opened(self.base, folder_path) as folder:
                self.trash.take(folder, name, path)
                os.fsync(folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        self.book.drop(path)

    def _place(self, file: LockedFile, source: Path, sha256: str, mode: LinkMode) -> LinkMode:
        if file.sha256 is not None and self._linked(file, source, sha256, mode):
            return LinkMode.HARDLINK
        staged = mark()
        with opened(self.base, f"{self.root}/{OWN}/staging", make=True) as staging:
            try:
                how = link(source, staging, staged, mode, sha256=sha256, stop=self.stop)
                found = os.stat(staged, dir_fd=staging)
                if found.st_size != file.size:
                    raise SizeMismatch(f"the store has {found.st_size} bytes for `{file.path}`, not {file.size}")
                entry = LedgerEntry(*identity(found), sha256, file.task_id, how.value)
                self._enter(file, entry)
                self._commit(staging, staged, file, entry)
            finally:
                # Renaming one hard link of a file onto another does nothing (rename(2)), so it may still be there.
                drop_at(staging, staged)
        return how

    def _linked(self, file: LockedFile, source: Path, sha256: str, mode: LinkMode) -> bool:
        """Whether the file is in place now by a hard link, which is whole from the beginning: nothing stood there."""
        folder_path, name = split(joined(self.root, file.path))
        with opened(self.base, folder_path, make=True, clear=self._clear) as folder:
            try:
                found = hardlink_whole(source, folder, name, mode, file.size)
            except FileExistsError:
                return False
        if found is None:
            return False
        self._enter(file, LedgerEntry(*identity(found), sha256, file.task_id, LinkMode.HARDLINK.value))
        with self._lock:
            self._unsynced.add(folder_path)
        return True

    def _enter(self, file: LockedFile, entry: LedgerEntry) -> None:
        self.book.enter(file.path, entry)
        if file.sha256 is None or entry.link == SYMLINK:
            # Only the ledger can prove these bytes, or this link, later: it has to know them before they are in place.
            self.book.save()

    def _commit(self, staging: int, staged: str, file: LockedFile, entry: LedgerEntry) -> None:
        folder_path, name = split(joined(self.root, file.path))
        with opened(self.base, folder_path, make=True, clear=self._clear) as folder:
            standing = lstat_at(folder, name)
            if standing is not None and not _is_same((folder, name, standing), (staging, staged)):
                if there := self._same_bytes(folder, name, standing, entry):
                    self._enter(file, replace(entry, inode=there.st_ino, mtime_ns=there.st_mtime_ns, link="copy"))
                    return
                self.trash.take(folder, name, file.path)
            os.rename(staged, name, src_dir_fd=staging, dst_dir_fd=folder)
        with self._lock:
            self._unsynced.add(folder_path)

    def _same_bytes(
        self, folder: int, name: str, standing: os.stat_result, entry: LedgerEntry
    ) -> os.stat_result | None:
        """The stat of what stands there, if another process has put these very bytes there since we looked."""
        if not stat.S_ISREG(standing.st_mode) or standing.st_size != entry.size:
            return None
        try:
            sha256, found = digest_at(folder, name, self.stop)
        except OSError:
            return None
        return found if sha256 == entry.sha256 else None

    def _clear(self, folder: int, name: str, walked: str) -> None:
        self.trash.take(folder, name, walked.removeprefix(f"{self.root}/"))

    def _prepare(self) -> None:
        """Before the first file is placed: make the root's own folders, and tidy up after the dead."""
        with self._lock:
            if not self._prepared:
                staging = f"{self.root}/{OWN}/staging"
                with self.book.own_folder(), opened(self.base, staging, make=True):
                    sweep(self.base, staging)
                self.book.begin()
                self._prepared = True


def _is_same(standing: tuple[int, str, os.stat_result], staged: tuple[int, str]) -> bool:
    """Whether two names are links to one file, hard or symbolic; each as (folder, name)."""
    folder, name, found = standing
    other = lstat_at(*staged)
    if other is None or stat.S_IFMT(other.st_mode) != stat.S_IFMT(found.st_mode):
        return False
    if stat.S_ISLNK(found.st_mode):
        return os.readlink(name, dir_fd=folder) == os.readlink(staged[1], dir_fd=staged[0])
    return (found.st_dev, found.st_ino) == (other.st_dev, other.st_ino)

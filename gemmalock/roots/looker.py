"""Looking at a root: a stat a file where the ledger agrees, a hash where only the bytes can tell. Changes nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from pathlib import Path

from gemmalock.errors import (
    DigestMismatch,
    DiskError,
    NotFound,
    ReadWriteFailed,
    SizeMismatch,
    UnsafePath,
    disk_error,
)
from gemmalock.ledger import LedgerEntry
from gemmalock.lockfile import LockedFile
from gemmalock.machine import PlaceSight
from gemmalock.paths import joined
from gemmalock.plan import Place
from gemmalock.roots.book import Book
from gemmalock.roots.digest import OnRead, digest_at, marks
from gemmalock.roots.sight import ABSENT, SYMLINK, Doubt, identity, judge, other
from gemmalock.roots.walk import lstat_at, opened, split
from gemmalock.stopping import Stop

#: How long a folder counts as free of links, for looking only: a write walks every time.
_FOLDER_SECONDS = 1.0


class Looker:
    """Looks at the files of the root `root` below `base`. Safe to use from many threads."""

    def __init__(self, base: Path, root: str, book: Book, stop: Stop | None) -> None:
        self._base = base
        self._root = root
        self._prefix = os.path.join(base, root, "")
        self._book = book
        self._stop = stop
        self._walked: dict[str, float] = {}
        self._proofs: dict[str, tuple[tuple[int, ...], str]] = {}
        #: Whether a symbolic link of sync was seen.
        self.saw_links = False

    def look(self, file: LockedFile, verify: bool, on_read: OnRead | None = None) -> PlaceSight:
        """What stands at the file's path. Raises nothing but Interrupted."""
        try:
            return self._look(file, verify, on_read)
        except DiskError as error:
            return PlaceSight(Place.UNREADABLE, error.message, error=error)
        except OSError as error:
            refusal = disk_error(error, f"look at `{file.path}`")
            return PlaceSight(Place.UNREADABLE, refusal.message, error=refusal)

    def proven(self, file: LockedFile) -> LedgerEntry:
        """The ledger entry of a file that is in place, its bytes having been hashed. Raises OSError, UnsafePath,
        SizeMismatch, DigestMismatch, and ReadWriteFailed where nothing could prove the bytes."""
        recorded = self._book.entry(file.path)
        linked = recorded is not None and recorded.link == SYMLINK and self._is_link(file.path)
        sha256, found = self._digest(file.path, again=False, linked=linked)
        if linked and recorded is not None and found.st_ino != recorded.inode:
            raise UnsafePath(f"the symbolic link `{file.path}` leads to another file than the one that sync linked")
        if found.st_size != file.size:
            raise SizeMismatch(f"`{file.path}` has {found.st_size} bytes, the lock says {file.size}")
        expected = file.sha256
        if expected is None and recorded is not None and recorded.task_id == file.task_id:
            expected = recorded.sha256
        if expected is None:
            raise ReadWriteFailed(f"nothing could prove the bytes of `{file.path}`: the lock has no digest")
        if sha256 != expected:
            raise DigestMismatch(f"`{file.path}` has sha256 `{sha256}`, not `{expected}`")
        return LedgerEntry(*identity(found), sha256, file.task_id, SYMLINK if linked else "copy")

    def _is_link(self, path: str) -> bool:
        found = self._lstat(path)
        return found is not None and stat.S_ISLNK(found.st_mode)

    def _look(self, file: LockedFile, verify: bool, on_read: OnRead | None) -> PlaceSight:
        found = self._lstat(file.path)
        if found is None:
            return ABSENT
        verdict = self._judge(file, found, verify)
        if isinstance(verdict, PlaceSight) and verdict.place is Place.KNOWN:
            return verdict
        if self._book.refresh():  # another process may have put it here since the ledger was read
            verdict = self._judge(file, found, verify)
        if isinstance(verdict, PlaceSight):
            return verdict
        try:
            sha256, _ = self._digest(file.path, again=verify, linked=stat.S_ISLNK(found.st_mode), on_read=on_read)
        except FileNotFoundError:
            # Another process has taken it away since.
            return ABSENT
        return verdict.settled(sha256)

    def _judge(self, file: LockedFile, found: os.stat_result, verify: bool) -> PlaceSight | Doubt:
        entry = self._book.entry(file.path)
        if not stat.S_ISLNK(found.st_mode):
            return judge(file, found, entry, verify)
        if entry is None or entry.link != SYMLINK:
            return other(UnsafePath, "a symbolic link that sync did not make is in place")
        self.saw_links = True
        try:
            target = os.stat(self._prefix + file.path)
        except (FileNotFoundError, NotADirectoryError):
            return other(NotFound, "a symbolic link to nothing is in place")
        if target.st_ino != entry.inode:
            return PlaceSight(
                Place.OTHER, "the symbolic link in place leads to another file than the one that sync linked"
            )
        return judge(file, target, entry, verify, linked=True)

    def _lstat(self, path: str) -> os.stat_result | None:
        folder, name = split(path)
        try:
            now = time.monotonic()
            if now - self._walked.get(folder, -_FOLDER_SECONDS) >= _FOLDER_SECONDS:
                with opened(self._base, joined(self._root, folder)):
                    self._walked[folder] = now
            return os.lstat(self._prefix + path)
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            self._refuse_a_root_that_is_no_folder()
            return None
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
        # The whole path is longer than one system call takes; its components are not.
        with opened(self._base, joined(self._root, folder)) as opened_folder:
            return lstat_at(opened_folder, name)

    def _refuse_a_root_that_is_no_folder(self) -> None:
        """Raise ReadWriteFailed where a file stands at the root itself: only what is below it may be cleared away."""
        try:
            with contextlib.suppress(FileNotFoundError), opened(self._base, self._root):
                return
        except NotADirectoryError:
            raise ReadWriteFailed(
                f"`{self._root}` is not a folder, and the root is to be there",
                hint="move what is there away, or name another `root` in the manifest",
            ) from None

    def _digest(
        self, path: str, *, again: bool, linked: bool = False, on_read: OnRead | None = None
    ) -> tuple[str, os.stat_result]:
        """The sha256 and the stat of what is in place; a digest that was read before counts unless `again`."""
        folder, name = split(joined(self._root, path))
        with opened(self._base, folder) as opened_folder:
            if not again and not linked and (proof := self._proofs.get(path)) is not None:
                found = lstat_at(opened_folder, name)
                if found is not None and marks(found) == proof[0]:
                    return proof[1], found
            sha256, found = digest_at(opened_folder, name, self._stop, follow=linked, on_read=on_read)
        self._proofs[path] = (marks(found), sha256)
        return sha256, found

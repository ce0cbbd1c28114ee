"""Putting a stored file in place: whole beside it first, then by one rename; what stood there goes to the trash."""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import dataclass, field
from pathlib import Path

from gemmalock.errors import SizeMismatch
from gemmalock.ledger import LedgerEntry
from gemmalock.links import LinkMode, link
from gemmalock.lockfile import LockedFile
from gemmalock.paths import joined
from gemmalock.roots.book import OWN, Book
from gemmalock.roots.sight import identity
from gemmalock.roots.staging import staged_name, sweep
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
    _swept: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def place(self, file: LockedFile, source: Path, sha256: str, mode: LinkMode) -> LinkMode:
        """Put the bytes of `source` at the file's path; how. Raises OSError, FileError and Interrupted."""
        with self.book.own_folder():
            self._sweep()
        for tries in range(1, _TRIES + 1):
            try:
                return self._place(file, source, sha256, mode)
            except (FileNotFoundError, IsADirectoryError):
                if tries == _TRIES or not source.exists():
                    raise
        raise AssertionError("unreachable")

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
        staged = staged_name()
        with opened(self.base, f"{self.root}/{OWN}/staging", make=True) as staging:
            try:
                how = link(source, staging, staged, mode, sha256=sha256, stop=self.stop)
                found = os.stat(staged, dir_fd=staging)
                if found.st_size != file.size:
                    raise SizeMismatch(f"the store has {found.st_size} bytes for `{file.path}`, not {file.size}")
                self._enter(file, LedgerEntry(*identity(found), sha256, file.task_id, how.value))
                self._commit(staging, staged, file.path)
            finally:
                # Renaming one hard link of a file onto another does nothing (rename(2)), so it may still be there.
                drop_at(staging, staged)
        return how

    def _enter(self, file: LockedFile, entry: LedgerEntry) -> None:
        self.book.enter(file.path, entry)
        if file.sha256 is None:
            # Only the ledger can prove these bytes later: it has to know them before they are in place.
            self.book.save()

    def _commit(self, staging: int, staged: str, path: str) -> None:
        folder_path, name = split(joined(self.root, path))
        with opened(self.base, folder_path, make=True, clear=self._clear) as folder:
            standing = lstat_at(folder, name)
            if standing is not None and not _is_same(standing, lstat_at(staging, staged)):
                self.trash.take(folder, name, path)
            os.rename(staged, name, src_dir_fd=staging, dst_dir_fd=folder)
            os.fsync(folder)

    def _clear(self, folder: int, name: str, walked: str) -> None:
        self.trash.take(folder, name, walked.removeprefix(f"{self.root}/"))

    def _sweep(self) -> None:
        with self._lock:
            if not self._swept:
                sweep(self.base, f"{self.root}/{OWN}/staging")
                self._swept = True


def _is_same(standing: os.stat_result, staged: os.stat_result | None) -> bool:
    return (
        staged is not None
        and stat.S_ISREG(standing.st_mode)
        and (standing.st_dev, standing.st_ino) == (staged.st_dev, staged.st_ino)
    )

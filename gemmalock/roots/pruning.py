"""Taking strays out of a root: into the trash, always, and out of it again only what the store still has."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from gemmalock.errors import FileError, GemmalockError, Interrupted, UnsafePath
from gemmalock.ledger import LedgerEntry
from gemmalock.machine import NOT_REACHED, PruneResult, Stray
from gemmalock.outcome import Pruned, StrayKept
from gemmalock.paths import joined
from gemmalock.roots.book import Book
from gemmalock.roots.sight import identity
from gemmalock.roots.strays import reason_of
from gemmalock.roots.trash import Trash, remove_empty
from gemmalock.roots.walk import lstat_at, opened, split
from gemmalock.stopping import Stop


@dataclass(frozen=True, slots=True)
class Pruner:
    """Takes strays out of the root `root` below `base`."""

    base: Path
    root: str
    book: Book
    trash: Trash
    stop: Stop | None

    def prune(self, strays: Iterable[Stray], in_store: Callable[[str], bool]) -> PruneResult:
        """Take out what has no reason to be kept and is as it was seen, alone among processes; then the folders that
        this left empty. What ends it on the way is in the result, with what was done until then. Raises OSError,
        UnsafePath, Busy and Interrupted where the root itself would not be had, and nothing was done."""
        listed = tuple(strays)
        pruned: list[Pruned] = []
        kept = [StrayKept(stray.path, stray.keep) for stray in listed if stray.keep is not None]
        doomed = [stray for stray in listed if stray.keep is None]
        if not doomed:
            return PruneResult((), tuple(kept))
        ended: GemmalockError | None = None
        with self.book.locked():
            for place, stray in enumerate(doomed):
                try:
                    taken = self._taken(stray, in_store)
                except GemmalockError as error:
                    ended = error
                    kept += [StrayKept(left.path, NOT_REACHED) for left in doomed[place:]]
                    break
                match taken:
                    case Pruned() as gone:
                        pruned.append(gone)
                    case str(why):
                        kept.append(StrayKept(stray.path, why))
            self._settle({split(gone.path)[0] for gone in pruned})
        return PruneResult(tuple(pruned), tuple(sorted(kept, key=lambda stray: stray.path)), ended)

    def _taken(self, stray: Stray, in_store: Callable[[str], bool]) -> Pruned | str | None:
        """What became of one stray: gone, why it stays, or None where it was gone already. Raises Interrupted before
        it is touched."""
        if self.stop is not None:
            self.stop.check()
        folder_path, name = split(joined(self.root, stray.path))
        try:
            with opened(self.base, folder_path) as folder:
                found = lstat_at(folder, name)
                if found is not None and identity(found) != stray.identity:
                    return "it changed since it was looked at"
                entry = self.book.entry(stray.path) if stray.ours else None
                if stray.is_folder:
                    return self._take_empty(folder, name, stray)
                run = self.trash.take(folder, name, stray.path)
            if run is None:
                return None
            self.book.drop(stray.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnsafePath) as error:
            return f"it cannot be moved to the trash: {reason_of(error)}"
        spared = entry is not None and self._spared(run, stray, entry, in_store)
        return Pruned(stray.path, stray.size, "store" if spared else "trash")

    def _take_empty(self, folder: int, name: str, stray: Stray) -> Pruned | str:
        """Not by a rename: another process may just be putting a file into it, and would put it into the trash. The
        trash has it first: where that has no room, nothing happened."""
        run = self.trash.note_empty(stray.path)
        try:
            os.rmdir(name, dir_fd=folder)
        except OSError as error:
            self.trash.drop_empty(run, stray.path)
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return "it changed since it was looked at"
        return Pruned(stray.path, 0, "trash")

    def _spared(self, run: str, stray: Stray, entry: LedgerEntry, in_store: Callable[[str], bool]) -> bool:
        """Take out of the trash what the store has; whether that was done. Where it cannot be told, and where it is
        time to stop, it stays there."""
        try:
            if not in_store(entry.sha256) or not self._is_spare(run, stray, entry):
                return False
            self.trash.drop(run, stray.path)
        except (OSError, FileError, Interrupted):
            return False
        return True

    def _is_spare(self, run: str, stray: Stray, entry: LedgerEntry) -> bool:
        """Whether what is in the trash now can go: nobody changed it since it was looked at, and its bytes stay, under
        another name, or because they are those that the store has. A ledger may have been edited: it proves nothing."""
        moved = self.trash.stat(run, stray.path)
        if moved is None or identity(moved) != stray.identity:
            return False
        if stat.S_ISLNK(moved.st_mode) or moved.st_nlink > 1:
            return True
        return self.trash.sha256(run, stray.path, self.stop) == entry.sha256

    def _settle(self, folders: set[str]) -> None:
        for folder in sorted(folders, key=len, reverse=True):
            try:
                with opened(self.base, joined(self.root, folder)) as left:
                    os.fsync(left)
                remove_empty(self.base, self.root, folder)
            except (OSError, UnsafePath):
                continue

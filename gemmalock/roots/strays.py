"""What is in a root that the lock does not list. Changes nothing; what is to become of it is decided in `folder`."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gemmalock.errors import UnsafePath
from gemmalock.paths import OWN_NAMES, folded, joined
from gemmalock.roots.walk import lstat_at, opened, split


@dataclass(frozen=True, slots=True)
class Found:
    """A path in a root, from that root: a file, a link, or a folder that is empty. It has its lstat, or else `keep`:
    why it was not looked at."""

    path: str
    stat: os.stat_result | None
    keep: str | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder; what is in it, if anything, was found by itself."""
        return self.stat is not None and stat.S_ISDIR(self.stat.st_mode)


@dataclass(slots=True)
class Scan:
    """One walk over everything in the root `root` below `base`, looking for what is not among `locked`."""

    base: Path
    root: str
    locked: frozenset[str]
    _found: list[Found] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _pending: list[str] = field(default_factory=lambda: [""])
    #: The folders that locked files go into: they are not strays, though they may be empty for now.
    _leading: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self._leading = {folder for path in self.locked for folder in parents(split(path)[0])}

    def run(self) -> list[Found]:
        """Every path that is not locked, sorted. Links are found, never followed.

        A folder that cannot be read, that something is mounted on, or that belongs to somebody else (a git
        repository, another managed folder) is one path, with its reason. A root that is not there holds nothing.
        Raises OSError or UnsafePath where the root itself would not be read.
        """
        device: int | None = None
        while self._pending:
            folder = self._pending.pop()
            try:
                with opened(self.base, joined(self.root, folder)) as opened_folder:
                    device = os.fstat(opened_folder).st_dev if device is None else device
                    self._look_into(opened_folder, folder, device)
            except (FileNotFoundError, NotADirectoryError):
                continue  # it is gone, or no folder any more: the next run sees what it became
            except (OSError, UnsafePath) as error:
                if not folder:
                    raise
                self._keep(folder, f"the disk would not say what is in it: {reason_of(error)}")
        unseen = {folded(path): path for path in self.locked - self._seen}
        return sorted(
            (found for found in self._found if not self._is_locked_in_other_case(found, unseen)),
            key=lambda found: found.path,
        )

    def _look_into(self, opened_folder: int, folder: str, device: int) -> None:
        if os.fstat(opened_folder).st_dev != device:
            return self._keep(folder, "it is a mount point")
        with os.scandir(opened_folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
            if folder and (owner := next((entry.name for entry in listed if _is_own(entry.name)), None)):
                return self._keep(folder, f"it belongs to somebody else: there is a `{owner}` in it")
            if folder and not listed and folder not in self._leading:
                self._found.append(Found(folder, os.fstat(opened_folder)))
            for entry in listed:
                if folder or not _is_own(entry.name):
                    self._judge(entry, joined(folder, entry.name))
        return None

    def _judge(self, entry: os.DirEntry[str], path: str) -> None:
        try:
            if entry.is_dir(follow_symlinks=False):
                self._pending.append(path)
            elif path in self.locked:
                self._seen.add(path)
            else:
                self._found.append(Found(path, entry.stat(follow_symlinks=False)))
        except FileNotFoundError:
            return
        except OSError as error:
            self._keep(path, f"the disk would not say what it is: {reason_of(error)}")

    def _keep(self, path: str, why: str) -> None:
        self._found.append(Found(path, None, why))

    def _is_locked_in_other_case(self, found: Found, unseen: dict[str, str]) -> bool:
        """Whether this is a locked file under the name that a case-insensitive file system shows for it."""
        path = unseen.get(folded(found.path))
        if path is None or found.stat is None:
            return False
        try:
            folder, name = split(joined(self.root, path))
            with opened(self.base, folder) as opened_folder:
                same = lstat_at(opened_folder, name)
        except (OSError, UnsafePath):
            return False
        return same is not None and (same.st_dev, same.st_ino) == (found.stat.st_dev, found.stat.st_ino)


def parents(path: str) -> Iterator[str]:
    """A path, then every folder above it."""
    while path:
        yield path
        path = split(path)[0]


def reason_of(error: OSError | UnsafePath) -> str:
    """The end of a sentence that says why the disk would not."""
    return error.message if isinstance(error, UnsafePath) else error.strerror or str(error)


def _is_own(name: str) -> bool:
    return folded(name) in OWN_NAMES

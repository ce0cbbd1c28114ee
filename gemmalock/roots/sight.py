"""What the stat of a path says of a locked file, given the ledger: rules only. Nothing here looks at a disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from gemmalock.errors import DigestMismatch, FileError, PolicyRefused, ReadWriteFailed, SizeMismatch
from gemmalock.ledger import LedgerEntry
from gemmalock.lockfile import LockedFile
from gemmalock.machine import UNPROVABLE, PlaceSight
from gemmalock.plan import Place

#: What is neither a file nor a link, by the test of its mode.
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
)
SYMLINK = "symlink"
ABSENT = PlaceSight(Place.ABSENT)
_SHOWN_DIGITS = 12
_BEHIND = "the file that the symbolic link in place leads to"


@dataclass(frozen=True, slots=True)
class Doubt:
    """Only the bytes can tell: their sha256 has to be `expected`, as `teller` says. `known`: the ledger's stat
    agrees; `linked`: they are behind a symbolic link."""

    expected: str
    known: bool
    teller: str = "the lock"
    linked: bool = False

    def settled(self, sha256: str) -> PlaceSight:
        """What is to be said when the bytes have this sha256."""
        if sha256 == self.expected:
            return PlaceSight(Place.KNOWN, sha256=sha256) if self.known else PlaceSight(Place.MATCHING)
        was, now = f"`{self.expected[:_SHOWN_DIGITS]}…`", f"`{sha256[:_SHOWN_DIGITS]}…`"
        if self.known:
            return other(DigestMismatch, f"the bytes rotted: their sha256 was {was}, and is {now}")
        what = f"{_BEHIND} changed: its bytes" if self.linked else "the bytes"
        return other(DigestMismatch, f"{what} have sha256 {now}, {self.teller} says {was}")


def judge(
    file: LockedFile, found: os.stat_result, entry: LedgerEntry | None, verify: bool, *, linked: bool = False
) -> PlaceSight | Doubt:
    """What the stat of a path says. `linked`: it is a symbolic link that the ledger records, and `found` is the stat of
    the file that it leads to, which is the one that sync linked."""
    if (kind := kind_of(found.st_mode)) is not None:
        return other(ReadWriteFailed, f"{kind} is in place")
    agrees = entry is not None and is_recorded(found, entry)
    if entry is not None and agrees and proves(entry, file):
        return Doubt(entry.sha256, known=True) if verify else PlaceSight(Place.KNOWN, sha256=entry.sha256)
    if found.st_size != file.size:
        what = f"{_BEHIND} has {found.st_size} bytes" if linked else f"{found.st_size} bytes are in place"
        return other(SizeMismatch, f"{what}, the lock says {file.size}")
    if entry is not None and agrees and file.sha256 is not None and not verify:
        return Doubt(file.sha256, known=False).settled(entry.sha256)
    expected = file.sha256 or (entry.sha256 if entry is not None and proves(entry, file) else None)
    if expected is None:
        return other(PolicyRefused, UNPROVABLE)
    return Doubt(expected, known=False, teller="the lock" if file.sha256 else "the ledger", linked=linked)


def other(kind: type[FileError], detail: str) -> PlaceSight:
    """Something else than the locked bytes stands there, and as what kind of error that is told."""
    return PlaceSight(Place.OTHER, detail, error=kind(detail))


def is_recorded(found: os.stat_result, entry: LedgerEntry) -> bool:
    """Whether a stat is the one that the ledger has."""
    return identity(found) == (entry.size, entry.mtime_ns, entry.inode)


def identity(found: os.stat_result) -> tuple[int, int, int]:
    """What a file is known by: size, mtime_ns and inode."""
    return found.st_size, found.st_mtime_ns, found.st_ino


def proves(entry: LedgerEntry, file: LockedFile) -> bool:
    """Whether the bytes of an entry are those that the lock wants: by digest, or else by the task that fetched them."""
    if entry.size != file.size:
        return False
    return entry.sha256 == file.sha256 if file.sha256 is not None else entry.task_id == file.task_id


def kind_of(mode: int) -> str | None:
    """What a mode is of that is neither a regular file nor a symbolic link, in words, or None."""
    return next((words for is_kind, words in _KINDS if is_kind(mode)), None)

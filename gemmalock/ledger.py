"""What the ledger of a root remembers of one file. Pure: its JSON is the codec's, keeping it on disk is the root's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One file that sync put into a root, as its stat was when that was done.

    `size` in bytes, `mtime_ns` and `inode` as stat(2) gave them, `sha256` 64 lower-case hexadecimal digits, `task_id`
    the task that fetched it, `link` how it was put there: `reflink`, `hardlink`, `symlink` or `copy`.
    """

    size: int
    mtime_ns: int
    inode: int
    sha256: str
    task_id: str
    link: str

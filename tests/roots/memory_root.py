"""The in-memory twin of a managed folder: passes the conformance suite of `machine.Root`, and touches no disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gemmalock.errors import DigestMismatch, ReadWriteFailed, SizeMismatch
from gemmalock.ledger import LedgerEntry
from gemmalock.lockfile import LockedFile
from gemmalock.machine import UNPROVABLE, PlaceSight, PruneResult, Stray
from gemmalock.outcome import Pruned, StrayKept
from gemmalock.plan import Place


@dataclass(slots=True)
class MemoryFile:
    """Bytes with a stat."""

    content: bytes
    mtime_ns: int
    inode: int

    @property
    def identity(self) -> tuple[int, int, int]:
        """Size, mtime_ns and inode."""
        return len(self.content), self.mtime_ns, self.inode

    @property
    def sha256(self) -> str:
        """The digest of the bytes."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(slots=True)
class MemoryDisk:
    """What outlives a MemoryRoot: files, trash, and the ledger as it was saved."""

    files: dict[str, MemoryFile] = field(default_factory=dict)
    trash: list[tuple[str, bytes]] = field(default_factory=list)
    ledger: dict[str, LedgerEntry] | None = None
    clock: int = 0

    def write(self, path: str, content: bytes) -> MemoryFile:
        """A new file."""
        self.clock += 1
        self.files[path] = MemoryFile(content, self.clock, self.clock)
        return self.files[path]


class MemoryRoot:
    """`machine.Root` on a MemoryDisk."""

    def __init__(self, disk: MemoryDisk | None = None) -> None:
        self.disk = disk or MemoryDisk()
        self.folder = Path("/memory/models")
        self._changes: dict[str, LedgerEntry | None] = {}

    def look(
        self, file: LockedFile, *, verify: bool = False, on_read: Callable[[int], None] | None = None
    ) -> PlaceSight:
        found = self.disk.files.get(file.path)
        if found is None:
            return PlaceSight(Place.ABSENT)
        entry = self._entry(file.path)
        expected = self._expected(file)
        if entry is not None and found.identity == (entry.size, entry.mtime_ns, entry.inode) and expected is not None:
            if entry.sha256 == expected and not verify:
                return PlaceSight(Place.KNOWN, sha256=found.sha256)
            if entry.sha256 == expected:
                agrees = _read(found, on_read) == expected
                return (
                    PlaceSight(Place.KNOWN, sha256=found.sha256)
                    if agrees
                    else PlaceSight(Place.OTHER, "the bytes rotted")
                )
        if len(found.content) != file.size:
            return PlaceSight(Place.OTHER, f"{len(found.content)} bytes are in place, the lock says {file.size}")
        if expected is None:
            return PlaceSight(Place.OTHER, UNPROVABLE)
        agrees = _read(found, on_read) == expected
        return PlaceSight(Place.MATCHING) if agrees else PlaceSight(Place.OTHER, "other bytes")

    def adopt(self, file: LockedFile) -> str:
        found = self.disk.files.get(file.path)
        if found is None:
            raise ReadWriteFailed(f"cannot read `{file.path}`: it is not there")
        expected = self._expected(file)
        if len(found.content) != file.size:
            raise SizeMismatch(f"`{file.path}` has {len(found.content)} bytes, the lock says {file.size}")
        if expected is None:
            raise ReadWriteFailed(f"nothing could prove the bytes of `{file.path}`: the lock has no digest")
        if found.sha256 != expected:
            raise DigestMismatch(f"`{file.path}` has sha256 `{found.sha256}`, not `{expected}`")
        self._enter(file, found)
        return found.sha256

    def place(self, file: LockedFile, object_path: Path, sha256: str) -> str:
        try:
            content = object_path.read_bytes()
        except OSError as error:
            raise ReadWriteFailed(f"cannot read the object of `{file.path}`: {error.strerror}") from error
        if len(content) != file.size:
            raise SizeMismatch(f"the store has {len(content)} bytes for `{file.path}`, not {file.size}")
        self.discard(file)
        self._enter(file, self.disk.write(file.path, content))
        if file.sha256 is None:
            self.save()
        return "copy"

    def discard(self, file: LockedFile) -> None:
        if (found := self.disk.files.pop(file.path, None)) is not None:
            self.disk.trash.append((file.path, found.content))
            self._changes[file.path] = None

    def has_ledger(self) -> bool:
        return self.disk.ledger is not None

    def strays(self, locked: frozenset[str]) -> tuple[Stray, ...]:
        return tuple(
            Stray(path, len(found.content), found.identity, self._ours(path, found))
            for path, found in sorted(self.disk.files.items())
            if path not in locked
        )

    def prune(self, strays: Iterable[Stray], in_store: Callable[[str], bool]) -> PruneResult:
        pruned: list[Pruned] = []
        kept: list[StrayKept] = []
        for stray in strays:
            found = self.disk.files.get(stray.path)
            if stray.keep is not None:
                kept.append(StrayKept(stray.path, stray.keep))
            elif found is not None and found.identity != stray.identity:
                kept.append(StrayKept(stray.path, "it changed since it was looked at"))
            elif found is not None:
                pruned.append(self._take(stray, found, in_store))
        return PruneResult(tuple(pruned), tuple(kept))

    def save(self) -> None:
        if not self._changes:
            return
        ledger = dict(self.disk.ledger or {})
        for path, entry in self._changes.items():
            if entry is not None:
                ledger[path] = entry
            else:
                ledger.pop(path, None)
        self.disk.ledger = ledger
        self._changes.clear()

    def _take(self, stray: Stray, found: MemoryFile, in_store: Callable[[str], bool]) -> Pruned:
        entry = self._entry(stray.path)
        spare = stray.ours and entry is not None and in_store(entry.sha256)
        del self.disk.files[stray.path]
        self._changes[stray.path] = None
        if not spare:
            self.disk.trash.append((stray.path, found.content))
        return Pruned(stray.path, stray.size, "store" if spare else "trash")

    def _ours(self, path: str, found: MemoryFile) -> str | None:
        entry = self._entry(path)
        if entry is None or found.identity != (entry.size, entry.mtime_ns, entry.inode):
            return None
        return entry.sha256

    def _entry(self, path: str) -> LedgerEntry | None:
        return self._changes[path] if path in self._changes else (self.disk.ledger or {}).get(path)

    def _expected(self, file: LockedFile) -> str | None:
        entry = self._entry(file.path)
        if file.sha256 is None and entry is not None and entry.task_id == file.task_id:
            return entry.sha256
        return file.sha256

    def _enter(self, file: LockedFile, found: MemoryFile) -> None:
        self._changes[file.path] = LedgerEntry(*found.identity, found.sha256, file.task_id, "copy")


def _read(found: MemoryFile, on_read: Callable[[int], None] | None) -> str:
    if on_read is not None:
        on_read(len(found.content))
    return found.sha256

"""The in-memory twin of the store: what is in it is a dictionary, where it is a folder of the test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gemmalock.errors import SizeMismatch
from gemmalock.journal import Chunk
from gemmalock.machine import Salvage


@dataclass
class MemoryStore:
    """Finished files; passes the same conformance suite as the store on the disk."""

    folder: Path
    known: set[str] = field(default_factory=set)
    learned: dict[str, str] = field(default_factory=dict)
    chunks: dict[str, tuple[Chunk, ...]] = field(default_factory=dict)

    def has(self, sha256: str, size: int) -> bool:
        """Whether it is there and sound."""
        path = self.object_path(sha256)
        if not path.is_file() or path.stat().st_size != size:
            return False
        return hashlib.sha256(path.read_bytes()).hexdigest() == sha256

    def checked(self, sha256: str, size: int, *, verify: bool = False) -> Path | None:
        """Where it is; a rotten one goes."""
        path = self.object_path(sha256)
        if self.has(sha256, size):
            return path
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            path.rename(self._rotten(sha256))
        return None

    def salvage(self, sha256: str) -> Salvage | None:
        """What is left of it."""
        path, chunks = self._rotten(sha256), self.chunks.get(sha256, ())
        return Salvage(path, chunks) if path.is_file() and chunks else None

    def _rotten(self, sha256: str) -> Path:
        return self.folder / f"{sha256}.rotten"

    def object_path(self, sha256: str) -> Path:
        """Where it is, or would be."""
        return self.folder / sha256

    def enter(self, part: Path, sha256: str, size: int, chunks: Iterable[Chunk] = ()) -> Path:
        """Take it in."""
        path = self.object_path(sha256)
        if self.checked(sha256, size):
            part.unlink()
            return path
        if part.stat().st_size != size:
            raise SizeMismatch(f"`{part}` has another size")
        part.chmod(0o444)
        self.chunks[sha256] = tuple(chunks)
        return part.rename(path)

    def learn(self, task_id: str, sha256: str) -> None:
        """Note it."""
        self.learned[task_id] = sha256

    def digest_of(self, task_id: str) -> str | None:
        """What was noted."""
        return self.learned.get(task_id)

    def free_bytes(self) -> int:
        """Plenty."""
        return 2**40

"""One object of the store: its bytes, and beside them a small file that says what they were when they were checked.

Everything here raises OSError as it is. What becomes of an object is `disk`'s to decide.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from gemmalock.durable import fill_at, open_folder, replace_at, write_file
from gemmalock.journal import CHUNK, Chunk, Validator, chunk_size
from gemmalock.stopping import Stop
from gemmalock.turns import aside

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_BUFFER = 1024 * 1024
#: How many chunks of a sidecar are made text at once.
_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object: its digest, its size in bytes, and when it was last used (nanoseconds since 1970)."""

    sha256: str
    size: int
    used_ns: int


@dataclass(frozen=True, slots=True)
class StoreVerified:
    """What hashing the store found: how many objects are sound, and the digests of those that were not."""

    sound: int = 0
    rotten: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The stat of an object when its bytes were last known to be right, and the checks of its chunks, as
    (index, length, check), for whoever wants to check or fetch a part of it."""

    size: int
    mtime_ns: int
    inode: int
    chunks: tuple[tuple[int, int, str], ...] = ()

    @classmethod
    def of(cls, found: os.stat_result, chunks: Iterable[Chunk] = ()) -> Sidecar:
        """What is to be recorded of an object with this stat."""
        return cls(found.st_size, found.st_mtime_ns, found.st_ino, tuple(map(_listed, chunks)))

    def holds(self, found: os.stat_result) -> bool:
        """Whether an object with this stat has not been touched since."""
        return (self.size, self.mtime_ns, self.inode) == (found.st_size, found.st_mtime_ns, found.st_ino)

    def write(self) -> bytes:
        """The sidecar as JSON; `read` reads it back."""
        return self.write_with(self.chunks)

    def write_with(self, chunks: Iterable[tuple[int, int, str]]) -> bytes:
        """The same with these chunks instead: a large file's are thousands, and are never all in memory as objects."""
        rest, separator = iter(chunks), b""
        text = bytearray(b'{"chunks": [')
        while some := tuple(islice(rest, _AT_ONCE)):
            text += separator + json.dumps(some)[1:-1].encode()
            separator = b", "
        fields = {"inode": self.inode, "mtime_ns": self.mtime_ns, "size": self.size}
        text += b"], " + json.dumps(fields)[1:].encode() + b"\n"
        return bytes(text)

    @classmethod
    def read(cls, text: bytes) -> Sidecar | None:
        """The sidecar that was written, or None where the text is something else."""
        with suppress(ValueError, TypeError, KeyError):
            fields = json.loads(text)
            size, mtime_ns, inode = (fields[name] for name in ("size", "mtime_ns", "inode"))
            chunks = tuple((index, length, check) for index, length, check in fields["chunks"])
            if all(type(number) is int for number in (size, mtime_ns, inode)):
                return cls(size, mtime_ns, inode, chunks)
        return None


#: The validator of chunks whose sidecar is all that tells of them: it proves nothing, and speaks against nothing.
UNKNOWN = Validator(etag=None, origin="")


def chunks_of(sidecar: Sidecar) -> tuple[Chunk, ...]:
    """The chunks that a sidecar lists."""
    unit = chunk_size(sidecar.size)
    return tuple(Chunk(index, length, check, UNKNOWN, unit) for index, length, check in sidecar.chunks)


def _listed(chunk: Chunk) -> tuple[int, int, str]:
    return chunk.index, chunk.length, chunk.check


def sidecar_path(path: Path) -> Path:
    """Where the sidecar of an object is."""
    return path.with_name(f"{path.name}.json")


def read_sidecar(path: Path) -> Sidecar | None:
    """The sidecar of the object at `path`; None where there is none that can be read and understood."""
    try:
        file = os.open(sidecar_path(path), _READ)
    except OSError:
        return None
    with open(file, "rb") as stream, suppress(OSError):
        return Sidecar.read(stream.read())
    return None


def write_sidecar(path: Path, found: os.stat_result, chunks: Iterable[Chunk] = ()) -> None:
    """Record the stat of the object at `path`, whose bytes are known to be right, and make its name outlive a power
    cut. So does the record, unless to hash the object again is quicker than to wait for the disk once more."""
    name, text = sidecar_path(path).name, Sidecar.of(found).write_with(map(_listed, chunks))
    with open_folder(path.parent) as shelf:
        if found.st_size > CHUNK or not _is_new(shelf, name, text):
            replace_at(shelf, name, text)
        else:
            with aside():
                os.fsync(shelf)


def _is_new(shelf: int, name: str, text: bytes) -> bool:
    """Write a sidecar where there is none. Half of one is none."""
    with suppress(FileExistsError):
        fill_at(shelf, name, text)
        return True
    return False


def refresh_sidecar(path: Path, checked: os.stat_result) -> None:
    """Record that the bytes of the object at `path` were right when its stat was `checked`; chunks stay."""
    old = read_sidecar(path)
    fresh = Sidecar(checked.st_size, checked.st_mtime_ns, checked.st_ino, () if old is None else old.chunks)
    if fresh != old:
        write_file(sidecar_path(path), fresh.write())


def hash_object(path: Path, stop: Stop) -> tuple[str, os.stat_result] | None:
    """The sha256 of the regular file at `path` with the stat it had meanwhile; None where there is no such file.

    Follows no link. Memory stays flat. Raises OSError and Interrupted.
    """
    try:
        file = os.open(path, _READ)
    except FileNotFoundError:
        return None
    try:
        before = os.fstat(file)
        if not stat.S_ISREG(before.st_mode):
            return None
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(min(_BUFFER, max(before.st_size, 1))))
        while count := os.readv(file, [buffer]):
            digest.update(buffer[:count])
            stop.check()
        return digest.hexdigest(), before
    finally:
        os.close(file)

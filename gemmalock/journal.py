"""The journal of a partial: which of its bytes are known to be on disk. Pure: text in, values out.

A partial is cut into chunks of one size. When a chunk, or the beginning of one, is on disk for good, a line is
added to the journal; its checksum makes a torn line tell itself. Reading never fails: a line that is not whole
vouches for nothing. Who writes it, and when to sync, is transfer's.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

#: Small enough that a file of a few MiB is shared among connections, large enough that its line weighs nothing.
CHUNK = 1024 * 1024
#: No file has more chunks: what is known of a file of a terabyte takes no more memory than of one of 16 GiB.
_MOST_CHUNKS = 16 * 1024


def chunk_size(size: int) -> int:
    """How many bytes a chunk of a file of `size` bytes has, the last one apart: CHUNK, and more only for a file that
    would have too many of them."""
    unit = CHUNK
    while size > unit * _MOST_CHUNKS:
        unit *= 2
    return unit


@dataclass(frozen=True, slots=True)
class Validator:
    """Under which entity tag, from which origin (scheme, host, port), bytes arrived."""

    etag: str | None
    origin: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """`length` bytes at the beginning of chunk `index` are on disk, and have this `check`: a sha256, or the checksum
    that `transfer.checks` writes (hexadecimal). `unit`: how many bytes a whole chunk of the file has."""

    index: int
    length: int
    check: str
    validator: Validator
    unit: int = CHUNK

    @property
    def start(self) -> int:
        """Where its bytes begin in the file."""
        return self.index * self.unit

    @property
    def end(self) -> int:
        """One past its last byte."""
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Journal:
    """What a journal vouches for: index → Chunk."""

    chunks: Mapping[int, Chunk] = field(default_factory=dict)

    @property
    def kept(self) -> int:
        """Bytes in all."""
        return sum(chunk.length for chunk in self.chunks.values())

    @property
    def validators(self) -> frozenset[Validator]:
        """Every validator under which a chunk of it came."""
        return frozenset(chunk.validator for chunk in self.chunks.values())

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The byte ranges, joined where they touch: (start, end), end exclusive."""
        return joined_ranges((chunk.start, chunk.end) for _, chunk in sorted(self.chunks.items()))


def joined_ranges(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Sorted ranges with those that touch made one."""
    out: list[tuple[int, int]] = []
    for start, end in ranges:
        if out and out[-1][1] == start:
            out[-1] = (out[-1][0], end)
        elif end > start:
            out.append((start, end))
    return tuple(out)


def write_chunk(chunk: Chunk) -> bytes:
    """The line of one chunk."""
    validator = json.dumps([chunk.validator.etag, chunk.validator.origin])
    body = f"{chunk.index} {chunk.length} {chunk.check} {validator}"
    return f"{zlib.crc32(body.encode()):08x} {body}\n".encode()


def read_journal(text: bytes, size: int) -> Journal:
    """What the journal of a file of `size` bytes vouches for; a later line of a chunk replaces an earlier one."""
    unit = chunk_size(size)
    chunks: dict[int, Chunk] = {}
    validators: dict[Validator, Validator] = {}
    for line in text.split(b"\n"):
        chunk = _read_chunk(line, unit, validators)
        if chunk is not None and 0 < chunk.length <= unit and chunk.index >= 0 and chunk.end <= size:
            chunks[chunk.index] = chunk
    return Journal(chunks)


def _read_chunk(line: bytes, unit: int, validators: dict[Validator, Validator]) -> Chunk | None:
    """The chunk of one line; validators that are equal are one object."""
    checksum, _, body = line.partition(b" ")
    if checksum != f"{zlib.crc32(body):08x}".encode():
        return None
    try:
        index, length, check, text = body.decode().split(" ", 3)
        etag, origin = json.loads(text)
        validator = Validator(etag, origin)
        return Chunk(int(index), int(length), check, validators.setdefault(validator, validator), unit)
    except (ValueError, TypeError):
        return None

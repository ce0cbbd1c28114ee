"""The journal of a partial: which of its bytes are known to be on disk. Pure: text in, values out.

A partial is cut into chunks of one size. When a chunk, or the beginning of one, is on disk for good, a line is
added to the journal; its checksum makes a torn line tell itself. Reading never fails: a line that is not whole
vouches for nothing. Who writes it, and when to sync, is transfer's.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass

#: Small enough that a file of a few MiB is shared among connections, large enough that its line weighs nothing.
CHUNK = 1024 * 1024
#: No file has more chunks: what is known of a file of a terabyte takes no more memory than of one of 16 GiB.
_MOST_CHUNKS = 16 * 1024
#: No check is longer than a sha256.
_MOST_CHECK = 64
#: A record of a journal's table: length, number of the validator, check (and how long that is).
_NO_CHECK = struct.Struct("<QI1p")
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")


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


class Journal(MutableMapping[int, Chunk]):
    """What a journal vouches for: index → Chunk, in the order of the file. Chunks may go while one looks through it.

    A large file has thousands of chunks: each takes the bytes of its record, and is an object only while it is looked
    at.
    """

    __slots__ = ("_count", "_form", "_numbers", "_records", "_unit", "_validators", "_width")

    def __init__(self, chunks: Iterable[Chunk] = ()) -> None:
        self._unit = CHUNK
        self._count = self._width = 0
        self._form = _NO_CHECK
        self._records = bytearray()
        #: Few, and in many chunks: a record has the number of its one.
        self._validators: list[Validator] = []
        self._numbers: dict[Validator, int] = {}
        for chunk in chunks:
            self[chunk.index] = chunk

    def __getitem__(self, index: int) -> Chunk:
        length, number, check = self._record(index)
        if not length:
            raise KeyError(index)
        return Chunk(index, length, check.decode(), self._validators[number], self._unit)

    def __setitem__(self, index: int, chunk: Chunk) -> None:
        check = chunk.check.encode()
        if len(check) > self._width:
            self._widen(len(check))
        missing = (index + 1) * self._form.size - len(self._records)
        if missing > 0:
            self._records.extend(bytes(missing))
        number = self._numbers.setdefault(chunk.validator, len(self._validators))
        if number == len(self._validators):
            self._validators.append(chunk.validator)
        self._count += not self.length_of(index)
        self._unit = chunk.unit
        self._form.pack_into(self._records, index * self._form.size, chunk.length, number, check)

    def __delitem__(self, index: int) -> None:
        if not self.length_of(index):
            raise KeyError(index)
        self._form.pack_into(self._records, index * self._form.size, 0, 0, b"")
        self._count -= 1

    def __iter__(self) -> Iterator[int]:
        return (index for index, _, _ in self._records_in_order())

    def __len__(self) -> int:
        return self._count

    def clear(self) -> None:
        """It vouches for nothing."""
        self._records.clear()
        self._count = 0

    def length_of(self, index: int) -> int:
        """How many bytes of a chunk are vouched for; 0 where it is not there."""
        return int(self._record(index)[0])

    @property
    def kept(self) -> int:
        """Bytes in all."""
        return sum(length for _, length, _ in self._records_in_order())

    @property
    def validators(self) -> tuple[Validator, ...]:
        """Every validator under which a chunk of it came, once, in the order in which they were first heard of."""
        numbers = {number for _, _, number in self._records_in_order()}
        return tuple(self._validators[number] for number in sorted(numbers))

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The byte ranges, joined where they touch: (start, end), end exclusive."""
        starts = ((index * self._unit, length) for index, length, _ in self._records_in_order())
        return joined_ranges((start, start + length) for start, length in starts)

    def _record(self, index: int) -> tuple[int, int, bytes]:
        place = index * self._form.size
        if not 0 <= place < len(self._records):
            return 0, 0, b""
        length, number, check = self._form.unpack_from(self._records, place)
        return length, number, check

    def _records_in_order(self) -> Iterator[tuple[int, int, int]]:
        """The index, the length and the number of the validator of each chunk."""
        for index in range(len(self._records) // self._form.size):
            length, number, _ = self._record(index)
            if length:
                yield index, length, number

    def _widen(self, width: int) -> None:
        """Make room for checks of so many bytes."""
        old = self._form.iter_unpack(bytes(self._records))
        self._form, self._width = struct.Struct(f"<QI{width + 1}p"), width
        self._records = bytearray(b"".join(self._form.pack(*fields) for fields in old))


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
    return JournalReader(size).read(line[0] for line in _LINE.finditer(text)).journal


class JournalReader:
    """Reads the journal of a file of `size` bytes line by line. `journal`: what it vouches for so far. `is_tidy`: it
    has a whole line for each of its chunks, in their order, and nothing else."""

    def __init__(self, size: int) -> None:
        self.journal = Journal()
        self.is_tidy = True
        self._size = size
        self._unit = chunk_size(size)
        #: Those that are equal are one object, and their text is understood once.
        self._validators: dict[bytes, Validator] = {}
        self._last = -1

    def read(self, lines: Iterable[bytes]) -> JournalReader:
        """Take in lines, the last one with or without its end. Itself."""
        for line in lines:
            chunk = self._chunk(line.removesuffix(b"\n"))
            if chunk is None or chunk.index <= self._last or not line.endswith(b"\n"):
                self.is_tidy = False
            if chunk is not None:
                self.journal[chunk.index] = chunk
                self._last = chunk.index
        return self

    def _chunk(self, line: bytes) -> Chunk | None:
        """The chunk of a line; None where the file cannot have it."""
        checksum, _, body = line.partition(b" ")
        if checksum != f"{zlib.crc32(body):08x}".encode():
            return None
        try:
            index, length, check, text = body.split(b" ", 3)
            chunk = Chunk(int(index), int(length), check.decode(), self._validator(text), self._unit)
        except (ValueError, TypeError):
            return None
        fits = 0 < chunk.length <= self._unit and chunk.index >= 0 and chunk.end <= self._size
        return chunk if fits and len(check) <= _MOST_CHECK else None

    def _validator(self, text: bytes) -> Validator:
        if text not in self._validators:
            etag, origin = json.loads(text.decode())
            if not (isinstance(origin, str) and isinstance(etag, str | None)):
                raise ValueError("no validator is like that")
            self._validators[text] = Validator(etag, origin)
        return self._validators[text]

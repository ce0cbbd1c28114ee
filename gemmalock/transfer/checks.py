"""What the journal writes of a chunk, so that a later run can tell whether its bytes are still there.

Where the lock has a digest, that of the whole file proves the bytes; the journal only has to find the chunk that is
wrong, and a CRC-32 (RFC 1952, 8) does, at a quarter of the cost. Where the lock has none, nothing else will: SHA-256.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Protocol

_CRC = "crc32:"


class Hasher(Protocol):
    """What hashlib's objects have."""

    def update(self, block: memoryview, /) -> None:
        """Take in a block."""

    def hexdigest(self) -> str:
        """The digest of all blocks so far, as hexadecimal."""


class Crc32:
    """A CRC-32, as hashlib would have it; its digest says what it is."""

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value = 0

    def update(self, block: memoryview, /) -> None:
        """Take in a block."""
        self._value = zlib.crc32(block, self._value)

    def hexdigest(self) -> str:
        """`crc32:` and eight hexadecimal digits."""
        return f"{_CRC}{self._value:08x}"


def new_check(*, proven: bool) -> Hasher:
    """A hasher for the chunks of a file whose digest is, or is not, in the lock."""
    return Crc32() if proven else hashlib.sha256()


def check_like(digest: str) -> Hasher:
    """A hasher that gives digests of the kind of this one."""
    return new_check(proven=kind_of(digest) == _CRC)


def kind_of(digest: str) -> str:
    """What kind of digest this is: only those of one kind can be compared."""
    return _CRC if digest.startswith(_CRC) else "sha256:"

"""A run of bytes that one connection receives in order, and how another connection takes the end of it over.

Only numbers: who locks, writes and hashes is `ranges`.
"""

from __future__ import annotations

from collections.abc import Iterable

from gemmalock.journal import CHUNK, Validator
from gemmalock.transfer.checks import Hasher

#: Less than this is not worth a connection of its own.
_WORTH = 2 * CHUNK


class Stretch:
    """The bytes [start, end): those up to `here` are written, those up to `safe` are journaled, those up to `hashed`
    are in chunks or in `hasher`; a write that is going on ends at `ahead`. A chunk belongs to one stretch at a time:
    a stretch ends at the end of one, or of the file."""

    __slots__ = ("ahead", "end", "hashed", "hasher", "here", "safe", "start", "validator")

    def __init__(self, bounds: tuple[int, int], validator: Validator, hasher: Hasher) -> None:
        self.start, self.end = bounds
        self.here = self.safe = self.hashed = self.ahead = self.start
        self.validator = validator
        self.hasher = hasher

    @property
    def rest(self) -> int:
        """How many bytes nobody has begun to write."""
        return self.end - self.ahead


def steal(stretches: Iterable[Stretch]) -> tuple[int, int] | None:
    """Take the second half of the largest rest away from its stretch; None when none is worth it."""
    victim = max(stretches, key=lambda stretch: stretch.rest, default=None)
    if victim is None or victim.rest < _WORTH:
        return None
    middle = -(-(victim.ahead + victim.rest // 2) // CHUNK) * CHUNK
    if middle >= victim.end:
        return None
    stolen = middle, victim.end
    victim.end = middle
    return stolen


def split(gap: tuple[int, int], count: int) -> list[tuple[int, int]]:
    """A gap in at most `count` pieces of about one size, which end at the ends of chunks."""
    start, end = gap
    pieces: list[tuple[int, int]] = []
    for left in range(count, 0, -1):
        until = end if left == 1 else -(-(start + (end - start) // left) // CHUNK) * CHUNK
        if start < min(until, end):
            pieces.append((start, min(until, end)))
            start = pieces[-1][1]
    return pieces

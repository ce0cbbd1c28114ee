"""A run of bytes that one connection receives in order, and how another connection takes the end of it over.

Only numbers: who locks, writes and hashes is `ranges`.
"""

from __future__ import annotations

from collections.abc import Iterable

from gemmalock.journal import CHUNK, Validator
from gemmalock.transfer.checks import Hasher

#: Less than this is not worth a connection of its own.
_WORTH = CHUNK + CHUNK // 4
#: How long a pace is looked at before it is one, in seconds.
_LOOK = 0.25
#: A rest that comes within so many seconds is left where it is: what a server has sent already would come twice.
_SOON = 1.0


class Stretch:
    """The bytes [start, end): those up to `here` are written, those up to `safe` are journaled, those up to `hashed`
    are in chunks or in `hasher`; a write that is going on ends at `ahead`, and none may go beyond `granted` before the
    journal is looked at again. A chunk belongs to one stretch at a time:
    a stretch ends at the end of one, or of the file. It began at `since`, in seconds of a monotonic clock."""

    __slots__ = ("ahead", "end", "granted", "hashed", "hasher", "here", "safe", "since", "start", "validator")

    def __init__(self, bounds: tuple[int, int], validator: Validator, hasher: Hasher, since: float = 0.0) -> None:
        self.start, self.end = bounds
        self.here = self.safe = self.hashed = self.ahead = self.granted = self.start
        self.validator = validator
        self.hasher = hasher
        self.since = since

    @property
    def rest(self) -> int:
        """How many bytes nobody has begun to write."""
        return self.end - self.ahead

    def crawls(self, now: float) -> bool:
        """Whether its rest, at the pace so far, is long in coming."""
        seconds = now - self.since
        return seconds > _LOOK and self.rest * seconds > _SOON * max(1, self.here - self.start)


def steal(stretches: Iterable[Stretch], now: float, unit: int = CHUNK) -> tuple[int, int] | None:
    """Take the second half of the largest rest that crawls away from its stretch, at the end of a chunk of `unit`
    bytes; None when none is worth it."""
    victim = slowest(stretches, now)
    if victim is None:
        return None
    half = victim.ahead + victim.rest // 2
    middle = min((-(-half // unit) * unit, half // unit * unit), key=lambda end: abs(end - half))
    if not victim.ahead < middle < victim.end:
        return None
    stolen = middle, victim.end
    victim.end = middle
    return stolen


def slowest(stretches: Iterable[Stretch], now: float) -> Stretch | None:
    """The stretch with the largest rest that crawls; None where there is none that is worth a connection."""
    crawling = [stretch for stretch in stretches if stretch.crawls(now) and stretch.rest >= _WORTH]
    return max(crawling, key=lambda stretch: stretch.rest, default=None)


def split(gap: tuple[int, int], count: int, unit: int = CHUNK) -> list[tuple[int, int]]:
    """A gap in at most `count` pieces of about one size, which end at the ends of chunks of `unit` bytes."""
    start, end = gap
    pieces: list[tuple[int, int]] = []
    for left in range(count, 0, -1):
        until = end if left == 1 else -(-(start + (end - start) // left) // unit) * unit
        if start < min(until, end):
            pieces.append((start, min(until, end)))
            start = pieces[-1][1]
    return pieces

"""Receiving one answer into one stretch of the part: one connection, one buffer, in order."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gemmalock.errors import SizeMismatch, SourceError
from gemmalock.ports import Answer
from gemmalock.stopping import Stop
from gemmalock.transfer.pace import RateLimit
from gemmalock.transfer.part import BLOCK
from gemmalock.transfer.ranges import DurableRanges, Stretch

#: How often somebody who watches is told, in seconds.
_TELL_SECONDS = 0.1


@dataclass(slots=True)
class Segment:
    """A receiver and its buffer, used for one answer after the other. `came` is told of every piece."""

    ranges: DurableRanges
    stop: Stop
    limit: RateLimit | None
    came: Callable[[int], None]
    size: int
    _buffer: memoryview = field(init=False)

    def __post_init__(self) -> None:
        step = BLOCK if self.limit is None else min(BLOCK, self.limit.step)
        self._buffer = memoryview(bytearray(max(1, min(step, self.size))))

    def receive(self, answer: Answer, stretch: Stretch) -> None:
        """Write the body into the stretch until that is full or the body ends. Raises SourceError, DiskError and
        Interrupted; whatever came before is written."""
        while stretch.here < stretch.end:
            self.stop.check()
            room = self.ranges.room(stretch)
            count = answer.readinto(self._buffer[:room])
            if count == 0:
                return
            self.ranges.write(stretch, self._buffer[:count])
            self.came(count)
            if self.limit is not None:
                self.limit.take(count, self.stop)

    def refuse_more(self, answer: Answer) -> None:
        """Raise SizeMismatch when a body of unknown length goes on behind the end of the file."""
        try:
            more = answer.readinto(self._buffer[:1])
        except SourceError:
            # The file is complete; how the body would have ended is the server's affair.
            return
        if more:
            raise SizeMismatch(f"the source sends more than {self.size} bytes, the lock says {self.size}")


class Throttle:
    """Passes on what changes often only now and then."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._told = 0.0

    def __call__(self, have: int) -> None:
        now = time.monotonic()
        if now - self._told >= _TELL_SECONDS:
            self._told = now
            self._tell(have)

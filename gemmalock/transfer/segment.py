"""Receiving one answer into one stretch of the part: one connection, in order, one block after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from gemmalock.errors import SizeMismatch, SourceError
from gemmalock.ports import Answer
from gemmalock.stopping import Stop
from gemmalock.transfer.blocks import BLOCK, Blocks
from gemmalock.transfer.pace import RateLimit
from gemmalock.transfer.ranges import DurableRanges
from gemmalock.transfer.stretch import Stretch


@dataclass(frozen=True, slots=True)
class Segment:
    """A receiver of answers. `came` is told of every piece how many bytes were received, and
    how many of them are of use."""

    ranges: DurableRanges
    blocks: Blocks
    stop: Stop
    limit: RateLimit | None
    came: Callable[[int, int], None]

    def receive(self, answer: Answer, stretch: Stretch) -> None:
        """Write the body into the stretch until that is full, or the body ends, or the rest was stolen. Raises
        SourceError, DiskError and Interrupted; whatever came before is written."""
        block = self.blocks.next(stretch.here)
        try:
            with self.limit.shared() if self.limit is not None else contextlib.nullcontext():
                while stretch.here < stretch.end:
                    self.stop.check()
                    room = min(self.ranges.room(stretch), BLOCK if self.limit is None else self.limit.step)
                    if room <= 0:
                        return
                    if not block.rest:
                        block = self.blocks.next(stretch.here, done=block)
                    count = answer.readinto(block.rest[:room])
                    if count == 0:
                        return
                    kept = self.ranges.write(stretch, block.rest[:count])
                    self.blocks.grow(block, kept)
                    self.came(count, kept)
                    if self.limit is not None:
                        self.limit.take(count, self.stop)
        finally:
            self.blocks.done(block)


def refuse_more(answer: Answer, size: int) -> None:
    """Raise SizeMismatch when a body of unknown length goes on behind the end of the file of `size` bytes."""
    try:
        more = answer.readinto(memoryview(bytearray(1)))
    except SourceError:
        # The file is complete; how the body would have ended is the server's affair.
        return
    if more:
        raise SizeMismatch(f"the source sends more than {size} bytes, the lock says {size}")

"""The last blocks that were written, still in memory: the journal hashes them from there, without a read.

Only an optimisation, and bounded: a block that is gone, or was never here, is read from the file.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator

#: How much is received, written, read or hashed at once.
BLOCK = 512 * 1024


class Block:
    """A buffer that holds the bytes of a file from `start` on, `length` of them so far."""

    __slots__ = ("buffer", "filling", "length", "readers", "start")

    def __init__(self, size: int) -> None:
        self.buffer = memoryview(bytearray(size))
        self.start = self.length = self.readers = 0
        self.filling = False

    @property
    def end(self) -> int:
        """Where the next byte of the file goes."""
        return self.start + self.length

    @property
    def rest(self) -> memoryview:
        """The room that is left."""
        return self.buffer[self.length :]


class Blocks:
    """At most about `count` blocks of `size` bytes. Safe to use from many threads."""

    def __init__(self, count: int, size: int = BLOCK) -> None:
        self._most = count
        self._size = size
        self._made = 0
        #: Those that hold something, the oldest first, by the number of the block of the file.
        self._held: OrderedDict[int, list[Block]] = OrderedDict()
        self._lock = threading.Lock()

    def next(self, start: int, done: Block | None = None) -> Block:
        """A block for the bytes from `start` on, to be filled by the caller alone; `done` is the one before."""
        with self._lock:
            if done is not None:
                done.filling = False
            block = self._free()
            block.start, block.length, block.filling = start, 0, True
            self._held.setdefault(start // self._size, []).append(block)
            return block

    def done(self, block: Block) -> None:
        """Nobody fills it any more."""
        with self._lock:
            block.filling = False

    def grow(self, block: Block, count: int) -> None:
        """So many bytes more are in the block, and on their way to the file."""
        with self._lock:
            block.length += count

    def clear(self) -> None:
        """What they hold is no longer what is in the file."""
        with self._lock:
            self._made = 0
            self._held.clear()

    @contextlib.contextmanager
    def reading(self, offset: int) -> Iterator[memoryview | None]:
        """The bytes of the file from `offset` on that are here, or None; they stay while the block lasts."""
        block = self._pinned(offset)
        try:
            yield None if block is None else block.buffer[offset - block.start : block.length]
        finally:
            if block is not None:
                with self._lock:
                    block.readers -= 1

    def _pinned(self, offset: int) -> Block | None:
        with self._lock:
            # A block begins anywhere, so that it reaches into the next number too.
            for number in (offset // self._size, offset // self._size - 1):
                for block in self._held.get(number, ()):
                    if block.start <= offset < block.end:
                        block.readers += 1
                        return block
        return None

    def _free(self) -> Block:
        if self._made >= self._most:
            for number, blocks in self._held.items():
                for block in blocks:
                    if not block.filling and not block.readers:
                        blocks.remove(block)
                        if not blocks:
                            del self._held[number]
                        return block
        self._made += 1
        return Block(self._size)

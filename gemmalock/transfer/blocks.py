"""The last blocks that were written, still in memory: the journal hashes them from there, without a read.

Only an optimisation, and bounded: a block that is gone, or was never here, is read from the file. The memory itself is
shared by all files of a run, and used again: what is freed and asked for anew, by many threads, does not all come back.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator

#: How much is received, written, read or hashed at once.
BLOCK = 512 * 1024


class Buffers:
    """Memory in pieces of BLOCK bytes, for all who receive, read or hash. Safe to use from many threads."""

    def __init__(self) -> None:
        self._spare: list[memoryview] = []

    def take(self) -> memoryview:
        """A piece, with anything in it."""
        try:
            return self._spare.pop()
        except IndexError:
            return memoryview(bytearray(BLOCK))

    def give(self, buffer: memoryview) -> None:
        """Nobody uses the piece any more."""
        self._spare.append(buffer)


class Block:
    """A buffer that holds the bytes of a file from `start` on, `length` of them so far."""

    __slots__ = ("buffer", "filling", "length", "readers", "start")

    def __init__(self, buffer: memoryview) -> None:
        self.buffer = buffer
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
    """At most about `count` blocks. Safe to use from many threads."""

    def __init__(self, count: int, buffers: Buffers | None = None) -> None:
        self.buffers = buffers or Buffers()
        self._most = count
        self._made: list[Block] = []
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
            self._held.setdefault(start // BLOCK, []).append(block)
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
            self._held.clear()
            kept = [block for block in self._made if block.filling or block.readers]
            for block in self._made:
                if block not in kept:
                    self.buffers.give(block.buffer)
            self._made = kept

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
            for number in (offset // BLOCK, offset // BLOCK - 1):
                for block in self._held.get(number, ()):
                    if block.start <= offset < block.end:
                        block.readers += 1
                        return block
        return None

    def _free(self) -> Block:
        if len(self._made) >= self._most:
            for number, blocks in self._held.items():
                for block in blocks:
                    if not block.filling and not block.readers:
                        blocks.remove(block)
                        if not blocks:
                            del self._held[number]
                        return block
        block = Block(self.buffers.take())
        self._made.append(block)
        return block

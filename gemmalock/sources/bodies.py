"""Where a body ends: the framings of RFC 9112, section 6, read without copying. Only streams, no sockets, no clock.

`http.client` has them too, but reads until a buffer is full, however slowly it comes, and takes any text for a chunk's
size that Python takes for a number.
"""

from __future__ import annotations

import re
from typing import Protocol

from gemmalock.errors import ConnectionFailed, TimedOut
from gemmalock.sources.fields import quoted

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r?\n")
_MAX_LINE = 4096
_MAX_TRAILERS = 100


class Stream(Protocol):
    """What a body is read from: an `io.BufferedReader` over a connection."""

    def readinto1(self, buffer: memoryview, /) -> int:
        """Bytes of at most one read of the connection; 0 when it is at its end."""

    def readline(self, size: int, /) -> bytes:
        """A line, cut after `size` bytes."""


class Body(Protocol):
    """A body. `ended`: its end was seen, and the connection is ready for another request. `delimited`: it says itself
    where it ends, so that one that is cut short can be told from a whole one."""

    ended: bool
    delimited: bool

    def readinto(self, buffer: memoryview) -> int:
        """Some bytes of the body; 0 at its end. Raises ConnectionFailed when it is cut short."""


class Counted:
    """A body with a Content-Length (RFC 9112, 6.2)."""

    delimited = True

    def __init__(self, stream: Stream, length: int) -> None:
        self._stream = stream
        self._length = length
        self._left = length
        self.ended = length == 0

    def readinto(self, buffer: memoryview) -> int:
        """As Body has it."""
        if self._left == 0:
            return 0
        count = self._stream.readinto1(buffer[: self._left])
        if count == 0:
            raise ConnectionFailed(f"the connection ended after {self._length - self._left} of {self._length} bytes")
        self._left -= count
        self.ended = self._left == 0
        return count


class Chunked:
    """A body in chunks (RFC 9112, 7.1)."""

    delimited = True

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._left = 0
        self._begun = False
        self.ended = False

    def readinto(self, buffer: memoryview) -> int:
        """As Body has it."""
        if self.ended or (self._left == 0 and not self._next_chunk()):
            return 0
        count = self._stream.readinto1(buffer[: self._left])
        if count == 0:
            raise ConnectionFailed("the connection ended inside a chunk")
        self._left -= count
        return count

    def _next_chunk(self) -> bool:
        if self._begun and self._stream.readline(3) not in (b"\r\n", b"\n"):
            raise ConnectionFailed("the body has a chunk that does not end where it said")
        line = self._stream.readline(_MAX_LINE)
        size = _CHUNK_SIZE.fullmatch(line)
        if size is None:
            told = quoted(line.decode("latin-1").rstrip("\r\n"))
            raise ConnectionFailed(f"the body has no chunk size where one should be: `{told}`" if line else _CUT)
        self._begun = True
        self._left = int(size[1], 16)
        if self._left == 0:
            self._skip_trailers()
        return self._left > 0

    def _skip_trailers(self) -> None:
        for _ in range(_MAX_TRAILERS):
            line = self._stream.readline(_MAX_LINE)
            if line in (b"\r\n", b"\n"):
                self.ended = True
                return
            if not line.endswith(b"\n"):
                break
        raise ConnectionFailed("the body's trailers do not end")


class UntilClose:
    """A body that ends with its connection: nothing tells whether it is whole (RFC 9112, 6.3 and 8)."""

    delimited = False

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.ended = False

    def readinto(self, buffer: memoryview) -> int:
        """As Body has it."""
        return self._stream.readinto1(buffer)


class Gauge:
    """Notices a trickle: fewer than `rate` bytes a second, averaged over `seconds` of waiting for them.

    Only the time that was spent waiting for the network counts: whoever writes slowly to disk, or keeps to a rate
    limit, is not a slow server.
    """

    def __init__(self, rate: int, seconds: float) -> None:
        self._rate = rate
        self._seconds = seconds
        self._waited = 0.0
        self._count = 0

    def note(self, waited: float, count: int) -> None:
        """So many bytes came after so long a wait. Raises TimedOut for a trickle."""
        self._waited += waited
        self._count += count
        if self._waited < self._seconds:
            return
        if self._count < self._rate * self._waited:
            raise TimedOut(f"only {self._count} bytes came in {self._waited:.0f} s")
        self._waited = 0.0
        self._count = 0


_CUT = "the connection ended before the body did"

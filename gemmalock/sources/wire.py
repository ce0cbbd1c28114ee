"""What is ours below urllib3: connections that can be interrupted, and responses whose bytes are counted and timed.

urllib3 offers a seam for its connections (`ConnectionCls`), and `http.client` one for its responses
(`response_class`). Neither passes on who is asking; the thread's `Call` does.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import queue
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from gemmalock.errors import ConnectionFailed, SourceError
from gemmalock.sources.bodies import Gauge
from gemmalock.sources.connecting import Target, connect
from gemmalock.stopping import Stop
from gemmalock.turns import aside

#: Read ahead at most: the head of an answer and a small file behind it come in one piece.
_BUFFER = 64 * 1024
_MAX_LINE = 64 * 1024
#: How long a large read waits for more at most (socket(7), SO_RCVTIMEO): a quarter of a second.
_MOMENT = struct.pack("ll", 0, 250_000)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """How long and how much is waited for. Silence for `read_seconds`, or fewer than `low_speed_bytes` a second over
    `low_speed_seconds` of waiting, ends a request; so does a head of more than `head_bytes`."""

    connect_seconds: float = 10.0
    read_seconds: float = 20.0
    low_speed_bytes: int = 1024
    low_speed_seconds: float = 30.0
    hops: int = 10
    head_bytes: int = 128 * 1024


class Call:
    """What is known of the request that this thread is sending."""

    def __init__(self, limits: HttpLimits, stop: Stop, public_only: bool) -> None:
        self.limits = limits
        self.stop = stop
        self.public_only = public_only
        self.opened = False
        #: Whether there was no way to whom the connection is opened to: a proxy, where there is one.
        self.unreached = False
        self.response: Response | None = None
        self._handle: socket.socket | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """While inside, this is the thread's call, and a wish to stop ends it."""
        token = CALL.set(self)
        try:
            with self.stop.closing(self._wake):
                yield
        finally:
            CALL.reset(token)
            if self._handle is not None:
                self._handle.close()

    def watch(self, opened: socket.socket) -> None:
        """A connection was opened. Its duplicate stays usable while TLS moves the original to another object."""
        self.opened = True
        self._handle = opened.dup()

    @property
    def answered(self) -> Response:
        """The response whose head was read."""
        assert self.response is not None
        return self.response

    @property
    def peer(self) -> str | None:
        """The address that answered."""
        with contextlib.suppress(OSError, AttributeError, IndexError):
            return str(self.answered.connection.getpeername()[0])
        return None

    @property
    def is_stale(self) -> bool:
        """Whether a kept connection was used, and not a byte came of it."""
        return not self.opened and self.response is not None and self.response.wire.received == 0

    def _wake(self) -> None:
        for connection in (self._handle, self.response.connection if self.response else None):
            if connection is not None:
                shut_down(connection)


CALL: ContextVar[Call] = ContextVar("CALL")


class Wire(io.RawIOBase):
    """The bytes of a connection, counted and timed.

    A large read of a body waits until the buffer is full, or for a moment: of a fast connection it takes as many
    system calls as there are buffers, of a slow one a trickle is still seen as it comes.
    """

    def __init__(self, connection: socket.socket, limits: HttpLimits) -> None:
        self.received = 0
        self.head_limit: int | None = limits.head_bytes
        self._connection = connection
        self._raw: io.RawIOBase = connection.makefile("rb", buffering=0)
        self._patience = limits.read_seconds
        self._gauge = Gauge(limits.low_speed_bytes, limits.low_speed_seconds)
        #: Whether the kernel may do the waiting, and does, not Python: never for TLS, whose records come one by one.
        self._may_bulk = sys.platform == "linux" and type(connection) is socket.socket
        self._is_bulk = False

    def readable(self) -> bool:
        return True

    def wait_at_most(self, seconds: float) -> None:
        """From now on, silence for so long is too long."""
        self._patience = seconds
        if not self._is_bulk:
            self._connection.settimeout(seconds)

    def readinto(self, buffer: Any, /) -> int | None:
        begun = time.monotonic()
        with aside():
            count = self._read(buffer)
        self.received += count or 0
        if self.head_limit is not None and self.received > self.head_limit + _BUFFER:
            raise ConnectionFailed(f"the head of the answer is longer than {self.head_limit} bytes")
        if count:
            self._gauge.note(time.monotonic() - begun, count)
        return count

    def _read(self, buffer: Any) -> int | None:
        if self._may_bulk and self.head_limit is None and len(buffer) > _BUFFER:
            return self._bulk(buffer)
        if self._is_bulk:
            return self._received(buffer)
        return self._raw.readinto(buffer)

    def _bulk(self, buffer: Any) -> int:
        if not self._is_bulk:
            self._connection.settimeout(None)
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _MOMENT)
            self._is_bulk = True
        return self._received(buffer, socket.MSG_WAITALL)

    def _received(self, buffer: Any, flags: int = 0) -> int:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return self._connection.recv_into(buffer, len(buffer), flags)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TimeoutError("timed out") from None

    def close(self) -> None:
        self._raw.close()
        super().close()


@dataclass(frozen=True, slots=True)
class _Made:
    """A stream in the place of the socket that the standard library would make it from."""

    stream: io.BufferedReader

    def makefile(self, mode: str) -> io.BufferedReader:
        """The stream."""
        return self.stream


class Response(http.client.HTTPResponse):
    """The standard library's response, with a stream of ours below it."""

    def __init__(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
        call = CALL.get()
        self.wire = Wire(sock, call.limits)
        self.stream = io.BufferedReader(self.wire, _BUFFER)
        super().__init__(_Made(self.stream), debuglevel, method, url)  # type: ignore[arg-type]
        self.connection = sock
        call.response = self

    def insist_on_a_clean_end(self) -> None:
        """From now on, a TLS connection that ends without saying so is a cut one (RFC 9112, 9.8), and no end."""
        if hasattr(self.connection, "suppress_ragged_eofs"):
            self.connection.suppress_ragged_eofs = False

    def _read_status(self) -> tuple[str, int, str]:
        # The standard library's skips `100 Continue` alone; a client has to skip them all (RFC 9110, 15.2).
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 102 <= status < 200:
                return version, status, reason
            while self.fp.readline(_MAX_LINE) not in (b"\r\n", b"\n", b""):
                pass


class Connection(HTTPConnection):
    response_class = Response

    def _new_conn(self) -> socket.socket:
        return _opened(self)


class SecureConnection(HTTPSConnection):
    response_class = Response

    def _new_conn(self) -> socket.socket:
        return _opened(self)


class LiveFirst(queue.LifoQueue[Any]):
    """The connections that a pool keeps. One that is open is given out before a place where none is yet: what a failure
    leaves behind would else lie on top of it, and a server that talks to one at a time waits for the one below."""

    def _put(self, item: Any) -> None:
        if getattr(item, "sock", None) is None:
            self.queue.insert(0, item)
        else:
            self.queue.append(item)


class Pool(HTTPConnectionPool):
    ConnectionCls = Connection
    QueueCls = LiveFirst


class SecurePool(HTTPSConnectionPool):
    ConnectionCls = SecureConnection
    QueueCls = LiveFirst


def _opened(connection: HTTPConnection) -> socket.socket:
    call = CALL.get()
    target = Target(connection.host.strip("[]"), connection.port or 0, call.public_only)
    try:
        opened = connect(target, call.limits.connect_seconds, call.stop)
    except SourceError:
        call.unreached = True
        raise
    opened.settimeout(call.limits.connect_seconds)
    call.watch(opened)
    return opened


def shut_down(connection: Any) -> None:
    # An SSLSocket's own shutdown forgets its TLS state under the thread that is reading.
    bare = connection if isinstance(connection, socket.socket) else getattr(connection, "socket", None)
    with contextlib.suppress(OSError):
        if bare is not None:
            socket.socket.shutdown(bare, socket.SHUT_RDWR)

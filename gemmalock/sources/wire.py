"""The bytes of a connection, counted and timed, and the call that waits for them, which a wish to stop ends.

It is below HTTP: who makes connections and reads heads is `direct`, and `proxied` through urllib3.
"""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import sys
import time
from dataclasses import dataclass
from typing import Any

from gemmalock.errors import ConnectionFailed, SourceError
from gemmalock.sources.bodies import Gauge
from gemmalock.sources.connecting import Target, connect
from gemmalock.stopping import Stop
from gemmalock.turns import aside

#: Read ahead at most: the head of an answer and a small file behind it come in one piece.
BUFFER = 64 * 1024
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


class Wire(io.RawIOBase):
    """The bytes of a connection, counted and timed.

    A large read of a body waits until the buffer is full, or for a moment: of a fast connection it takes as many
    system calls as there are buffers, of a slow one a trickle is still seen as it comes.
    """

    def __init__(self, connection: Any, limits: HttpLimits) -> None:
        self.connection = connection
        self.received = 0
        self.head_limit: int | None = limits.head_bytes
        self._patience = limits.read_seconds
        self._gauge = Gauge(limits.low_speed_bytes, limits.low_speed_seconds)
        #: Whether the kernel may do the waiting, and does, not Python: never for TLS, whose records come one by one.
        self._may_bulk = sys.platform == "linux" and type(connection) is socket.socket
        self._is_bulk = False
        self._is_over = False

    def readable(self) -> bool:
        return True

    def wait_at_most(self, seconds: float) -> None:
        """From now on, silence for so long is too long."""
        self._patience = seconds
        if not self._is_bulk:
            self.connection.settimeout(seconds)

    def insist_on_a_clean_end(self) -> None:
        """From now on, a TLS connection that ends without saying so is a cut one (RFC 9112, 9.8), and no end."""
        if hasattr(self.connection, "suppress_ragged_eofs"):
            self.connection.suppress_ragged_eofs = False

    def end(self) -> None:
        """Read nothing more: what is not here by now is not waited for."""
        self._is_over = True

    def readinto(self, buffer: Any, /) -> int | None:
        if self._is_over:
            return 0
        begun = time.monotonic()
        with aside():
            count = self._read(buffer)
        self.came(count, time.monotonic() - begun)
        return count

    def came(self, count: int, seconds: float) -> None:
        """Count so many bytes, which were waited for so long. Raises ConnectionFailed for more than a head may have,
        and TimedOut for a trickle."""
        self.received += count
        if self.head_limit is not None and self.received > self.head_limit + BUFFER:
            raise ConnectionFailed(f"the head of the answer is longer than {self.head_limit} bytes")
        if count:
            self._gauge.note(seconds, count)

    def _read(self, buffer: Any) -> int:
        if self._may_bulk and self.head_limit is None and len(buffer) > BUFFER:
            return self._bulk(buffer)
        if self._is_bulk:
            return self._received(buffer)
        count: int = self.connection.recv_into(buffer)
        return count

    def _bulk(self, buffer: Any) -> int:
        if not self._is_bulk:
            self.connection.settimeout(None)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _MOMENT)
            self._is_bulk = True
        return self._received(buffer, socket.MSG_WAITALL)

    def _received(self, buffer: Any, flags: int = 0) -> int:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                count: int = self.connection.recv_into(buffer, len(buffer), flags)
                return count
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TimeoutError("timed out") from None


class Call:
    """What is known of a request that is under way."""

    def __init__(self, limits: HttpLimits, stop: Stop, public_only: bool) -> None:
        self.limits = limits
        self.stop = stop
        self.public_only = public_only
        self.opened = False
        #: Whether there was no way to whom the connection is opened to: a proxy, where there is one.
        self.unreached = False
        self.wire: Wire | None = None
        self._handle: socket.socket | None = None

    def wake(self) -> None:
        """End the call, from another thread."""
        for connection in (self._handle, self.wire.connection if self.wire else None):
            if connection is not None:
                shut_down(connection)

    def over(self) -> None:
        """Its answer is there, or will not come."""
        if self._handle is not None:
            self._handle.close()

    def connect(self, host: str, port: int) -> socket.socket:
        """A new connection, which a wish to stop closes. Raises SourceError and Interrupted."""
        try:
            opened = connect(Target(host, port, self.public_only), self.limits.connect_seconds, self.stop)
        except SourceError:
            self.unreached = True
            raise
        try:
            opened.settimeout(self.limits.connect_seconds)
            # The duplicate stays usable while TLS moves the original to another object.
            self._handle = opened.dup()
            # A wish that came before found nothing to close.
            self.stop.check()
        except BaseException:
            opened.close()
            raise
        self.opened = True
        return opened

    def reads(self, connection: Any) -> Wire:
        """The bytes that answer, on a connection, which a wish to stop ends. Raises Interrupted."""
        self.wire = Wire(connection, self.limits)
        self.stop.check()
        return self.wire

    @property
    def is_stale(self) -> bool:
        """Whether a kept connection was used, and not a byte came of it."""
        return not self.opened and self.wire is not None and self.wire.received == 0


def shut_down(connection: Any) -> None:
    """End a connection from another thread: whoever reads from it wakes up. Never raises."""
    # An SSLSocket's own shutdown forgets its TLS state under the thread that is reading.
    bare = connection if isinstance(connection, socket.socket) else getattr(connection, "socket", None)
    with contextlib.suppress(OSError):
        if bare is not None:
            socket.socket.shutdown(bare, socket.SHUT_RDWR)

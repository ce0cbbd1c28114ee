"""Requests over connections to the servers themselves: one request out, the head of its answer in.

Only the head is read here; what it means, and where the body ends, is `channel`'s. Requests have no body (GET and
HEAD). A connection that was let go of in good order is kept for the next request to the same place; over TLS the
certificate and the host's name are checked by `ssl`, as the context says.
"""

from __future__ import annotations

import contextlib
import io
import select
import socket
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from gemmalock.sources.head import Head, read_head
from gemmalock.sources.request import Place, Request, place_of, request_bytes
from gemmalock.sources.wire import BUFFER, Call, HttpLimits, Wire

if TYPE_CHECKING:
    import ssl

#: How many connections to one place wait at most, and to how many places.
_KEPT, _PLACES = 64, 32


class Line:
    """A connection whose answer is being read, as channel.Line has it."""

    def __init__(self, kept: Kept, place: Place, wire: Wire) -> None:
        self._kept = kept
        self._place = place
        self.wire = wire
        self.stream = io.BufferedReader(wire, BUFFER)

    def release(self, *, reusable: bool) -> None:
        """As channel.Line has it. One on which more came than the answer is not used again: the rest of that would be
        taken for the next answer (RFC 9112, 6.3)."""
        self.wire.end()
        if reusable and not self.stream.peek(1):
            self._kept.put(self._place, self.wire.connection)
        else:
            let_go(self.wire.connection)


class Kept:
    """Connections that wait for the next request, by place; the last that came is the first that goes. Safe to use
    from many threads."""

    def __init__(self) -> None:
        self._waiting: dict[Place, list[socket.socket]] = {}
        self._is_closed = False
        self._lock = threading.Lock()
        # Who forgets a source lets go of its connections too.
        weakref.finalize(self, _close_all, self._waiting)

    def take(self, place: Place) -> socket.socket | None:
        """One that its server has not ended since: a connection on which something came, though nothing was asked, is
        of no use either. None where there is none."""
        while True:
            with self._lock:
                waiting = self._waiting.get(place)
                connection = waiting.pop() if waiting else None
            if connection is None or not _is_readable(connection):
                return connection
            let_go(connection)

    def put(self, place: Place, connection: socket.socket) -> None:
        """Keep it, unless there are enough."""
        dropped = []
        with self._lock:
            if self._is_closed:
                dropped.append(connection)
            else:
                waiting = self._waiting.setdefault(place, [])
                waiting.append(connection)
                if len(waiting) > _KEPT:
                    dropped.append(waiting.pop(0))
                if len(self._waiting) > _PLACES:
                    dropped += self._waiting.pop(next(iter(self._waiting)))
        for each in dropped:
            let_go(each)

    def close(self) -> None:
        """Close all of them, and those that come later."""
        with self._lock:
            self._is_closed = True
            _close_all(self._waiting)


class Direct:
    """Sends requests to the servers themselves. Safe to use from many threads."""

    def __init__(self, limits: HttpLimits, context: Callable[[], ssl.SSLContext]) -> None:
        """`context`: whom to believe over TLS; asked for when it is needed."""
        self._limits = limits
        self._context = context
        self.kept = Kept()

    def send(self, request: Request, call: Call) -> tuple[Head, Line]:
        """Send one request: the head of its answer, and the connection, on which its body comes. Raises SourceError,
        and those of `failures.FOREIGN`."""
        place = place_of(request.url, public_only=call.public_only)
        text = request_bytes(request, place.authority)
        connection = self.kept.take(place) or self.open(place, call)
        try:
            line = Line(self.kept, place, call.reads(connection))
            connection.settimeout(self._limits.read_seconds)
            # A server may answer, and close, before it has read the request: what it says is read below.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(text)
            return read_head(line.stream), line
        except BaseException:
            let_go(connection)
            raise

    def close(self) -> None:
        """Close all connections that are kept."""
        self.kept.close()

    def open(self, place: Place, call: Call) -> socket.socket:
        """A new connection, over TLS where that is said. Raises what `send` does."""
        if place.scheme != "https":
            return call.connect(place.host, place.port)
        context = self._context()
        opened = call.connect(place.host, place.port)
        try:
            return context.wrap_socket(opened, server_hostname=place.name)
        except BaseException:
            let_go(opened)
            raise


def _is_readable(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def _close_all(waiting: dict[Place, list[socket.socket]]) -> None:
    while waiting:
        for connection in waiting.popitem()[1]:
            let_go(connection)


def let_go(connection: socket.socket) -> None:
    """Close a connection. Never raises."""
    with contextlib.suppress(OSError):
        connection.close()

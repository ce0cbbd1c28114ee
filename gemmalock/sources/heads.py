"""Answers to HEAD over many connections, which one thread waits for together. No redirects, no retries, no threads.

They have no body, so that a connection is free again when the head is here. What a head means, and whether its
connection can be trusted again, is said by `head` and `channel`, as for those who wait for one answer.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import socket
import threading
import time
from collections.abc import Iterable
from typing import NamedTuple

from gemmalock.errors import FileError
from gemmalock.sources.channel import Reply, reply_of
from gemmalock.sources.direct import Kept, let_go
from gemmalock.sources.failures import FOREIGN
from gemmalock.sources.head import Arrival
from gemmalock.sources.request import Place, Request, request_bytes
from gemmalock.sources.wire import BUFFER, HttpLimits, Wire

_READ, _WRITE = select.POLLIN, select.POLLOUT
#: The body of an answer to HEAD.
_NOTHING = io.BufferedReader(io.BytesIO())


class Question(NamedTuple):
    """A request to a place; `number` says whose it is."""

    number: int
    request: Request
    place: Place


class Pending:
    """A question whose answer is waited for, and the connection that it comes on (channel.Line)."""

    def __init__(self, heads: Heads, question: Question, wire: Wire, *, is_kept: bool) -> None:
        self.question = question
        self.wire = wire
        self.stream = _NOTHING
        self.arrival = Arrival()
        self.unsent = b""
        #: Since when nothing came, in seconds of the monotonic clock, less the time that nobody looked.
        self.since = time.monotonic()
        self._heads = heads
        self._is_kept = is_kept

    @property
    def is_stale(self) -> bool:
        """Whether a kept connection was used, and not a byte came of it."""
        return self._is_kept and self.wire.received == 0

    def release(self, *, reusable: bool) -> None:
        """As channel.Line has it. One on which more came than the answer, or that was answered before all of the
        request was sent, is not used again (RFC 9112, 6.3 and 9.3)."""
        self._heads.free(self, reusable=reusable and not self.arrival.rest and not self.unsent)


class Heads:
    """Requests that are under way, and connections that are free for more. Only `ring` may be called from other
    threads."""

    def __init__(self, limits: HttpLimits, kept: Kept, most_free: int) -> None:
        self._limits = limits
        self._most_free = most_free
        self._kept = kept
        self._pending: dict[int, Pending] = {}
        self._free: dict[int, tuple[Place, socket.socket]] = {}
        self._poll = select.poll()
        self._bell, self._rope = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._rope, False)
        self._poll.register(self._bell, _READ)
        self._is_closed = False
        self._closing = threading.Lock()

    def ring(self) -> None:
        """Wake whoever waits."""
        with self._closing:
            if not self._is_closed:
                # One that is full is heard too.
                with contextlib.suppress(BlockingIOError):
                    os.write(self._rope, b"!")

    def connection(self, place: Place) -> socket.socket | None:
        """One that is free for the next request to a place, or None."""
        for descriptor in [each for each, (where, _) in reversed(self._free.items()) if where == place]:
            if self._is_quiet(descriptor):
                return self._free.pop(descriptor)[1]
        return self._kept.take(place)

    def send(self, question: Question, connection: socket.socket, *, is_kept: bool) -> None:
        """Send a request over a connection, which is closed where that fails. Raises ValueError for one that cannot be
        sent over any, and OSError."""
        pending = Pending(self, question, Wire(connection, self._limits), is_kept=is_kept)
        connection.setblocking(False)
        descriptor = connection.fileno()
        self._pending[descriptor] = pending
        self._poll.register(descriptor, _READ)
        try:
            pending.unsent = request_bytes(question.request, question.place.authority)
            self._go_on_sending(pending)
        except BaseException:
            self._drop(pending)
            raise

    def wait(self, seconds: float) -> list[int]:
        """The connections on which something came, after at most so long."""
        ready = [descriptor for descriptor, _ in self._poll.poll(seconds * 1000)]
        if self._bell in ready:
            ready.remove(self._bell)
            with contextlib.suppress(BlockingIOError):
                os.read(self._bell, BUFFER)
        return ready

    def read(self, descriptor: int) -> tuple[Pending, Reply | Exception] | None:
        """The answer that has come on a connection, or why there will be none; None where it is not whole yet, or
        nobody waits for one there."""
        pending = self._pending.get(descriptor)
        if pending is None:
            self._is_quiet(descriptor)
            return None
        try:
            if pending.unsent:
                self._poll.register(descriptor, _READ)
                self._go_on_sending(pending)
            reply = self._come(pending)
        except (*FOREIGN, FileError) as error:
            self._drop(pending)
            return pending, error
        return None if reply is None else (pending, reply)

    def excuse(self, seconds: float) -> None:
        """For so long nobody looked whether something came: that was no silence."""
        for pending in self._pending.values():
            pending.since += seconds

    def silent(self, now: float) -> Iterable[tuple[Pending, Exception]]:
        """The requests of which nothing was heard for too long."""
        for pending in list(self._pending.values()):
            if now - pending.since > self._limits.read_seconds:
                self._drop(pending)
                yield pending, TimeoutError("timed out")

    def free(self, pending: Pending, *, reusable: bool) -> None:
        """An answer has been read: its connection is free for the next request, or goes."""
        descriptor = pending.wire.connection.fileno()
        if self._pending.get(descriptor) is pending:
            del self._pending[descriptor]
            self._free[descriptor] = pending.question.place, pending.wire.connection
            if not reusable:
                self._close(descriptor)
            elif len(self._free) > self._most_free:
                self._close(next(iter(self._free)))

    def close(self) -> None:
        """Give up what is under way, and keep the connections that are free for those who come later."""
        with self._closing:
            self._is_closed = True
            os.close(self._bell)
            os.close(self._rope)
        for pending in self._pending.values():
            let_go(pending.wire.connection)
        for place, connection in self._free.values():
            self._kept.put(place, connection)

    def _go_on_sending(self, pending: Pending) -> None:
        """Send what can be sent. A server may answer, and close, before it has read a request: what it says is read."""
        connection = pending.wire.connection
        try:
            pending.unsent = pending.unsent[connection.send(pending.unsent) :]
        except (BrokenPipeError, ConnectionResetError):
            pending.unsent = b""
        except OSError as error:
            if not _has_to_wait(error):
                raise
        if pending.unsent:
            self._poll.register(connection.fileno(), _READ | _WRITE)

    def _come(self, pending: Pending) -> Reply | None:
        """The answer, once all of its head is here."""
        head = None
        while head is None:
            try:
                piece = pending.wire.connection.recv(BUFFER)
            except OSError as error:
                if _has_to_wait(error):
                    return None
                raise
            now = time.monotonic()
            pending.wire.came(len(piece), now - pending.since)
            pending.since = now
            head = pending.arrival.take(piece)
        return reply_of(pending.question.request, head, pending)

    def _is_quiet(self, descriptor: int) -> bool:
        """Whether a connection is still free: one that its server has ended, or on which something came that nobody
        asked for, is closed."""
        if descriptor not in self._free:
            return False
        try:
            self._free[descriptor][1].recv(1)
        except OSError as error:
            # TLS has messages of its own.
            if _has_to_wait(error):
                return True
        self._close(descriptor)
        return False

    def _drop(self, pending: Pending) -> None:
        self.free(pending, reusable=False)

    def _close(self, descriptor: int) -> None:
        """Close a free connection."""
        self._poll.unregister(descriptor)
        let_go(self._free.pop(descriptor)[1])


def _has_to_wait(error: OSError) -> bool:
    """Whether an operation failed only for it cannot go on yet."""
    if isinstance(error, BlockingIOError):
        return True
    # Plain http that fails needs it for nothing else.
    import ssl

    return isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError)

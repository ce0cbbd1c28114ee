"""Opening a TCP connection that a `Stop` can end at once, to whichever of a host's addresses answers first.

Only sockets: no HTTP, no TLS. A name with several addresses is tried as RFC 8305 says: the next address gets its
chance when the one before has not answered after a short while, so that a black hole costs little.
"""

from __future__ import annotations

import contextlib
import os
import queue
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

from gemmalock.errors import ConnectionFailed, RedirectRefused, TimedOut
from gemmalock.sources.redirects import is_inner_address
from gemmalock.stopping import Stop
from gemmalock.turns import aside

#: RFC 8305, 5: the recommended Connection Attempt Delay.
_HEAD_START = 0.25
#: How long a wait may last before the wish to stop is looked at.
_SLICE = 0.1
_Address = tuple[int, int, int, str, tuple[object, ...]]
#: RFC 1035, 2.3.4.
_LONGEST_LABEL = 63
_REFUSED_HINT = "a public server has no business with addresses of your own network"


class Target(NamedTuple):
    """Where to connect. `public_only`: refuse addresses of this machine and of private networks."""

    host: str
    port: int
    public_only: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def connect(target: Target, seconds: float, stop: Stop) -> socket.socket:
    """A connected TCP socket without Nagle's delay and with no time limit of its own, after at most `seconds`.

    Raises TimedOut, ConnectionFailed (a name that is not known, a refused connection), RedirectRefused (no address
    that is allowed) and, within a moment of the wish to stop, Interrupted.
    """
    deadline = time.monotonic() + seconds
    with aside():
        addresses = _allowed(target, _look_up(target, deadline, stop))
        with _Race(target) as race:
            return race.run(addresses, deadline, stop)


def _look_up(target: Target, deadline: float, stop: Stop) -> list[_Address]:
    """The addresses of the target, by the system's resolver; in a thread, because that cannot be interrupted."""
    if is_literal(target.host):
        return _resolve(target)
    answers: queue.SimpleQueue[list[_Address] | OSError | UnicodeError] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            answers.put(_resolve(target))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    try:
        threading.Thread(target=resolve, name="gemmalock-resolve", daemon=True).start()
    except RuntimeError:
        # No more threads to be had.
        resolve()
    while True:
        stop.check()
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimedOut(f"looking up `{target.host}` took too long")
        with contextlib.suppress(queue.Empty):
            answer = answers.get(timeout=min(_SLICE, left))
            if isinstance(answer, list):
                return answer
            reason = getattr(answer, "strerror", None) or answer
            raise ConnectionFailed(
                f"cannot find the host `{target.host}`: {reason}", hint="check the name and the network"
            )


def is_literal(host: str) -> bool:
    """Whether a host is an address rather than a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, host.partition("%")[0])
            return True
    return False


def _resolve(target: Target) -> list[_Address]:
    found = socket.getaddrinfo(_name(target.host), target.port, type=socket.SOCK_STREAM)
    return _alternated([(family, kind, protocol, name, place) for family, kind, protocol, name, place in found])


def _name(host: str) -> str | bytes:
    """The host as the resolver takes it. Raises UnicodeError for a name that cannot be one."""
    if not host.isascii():
        return host
    labels = host.removesuffix(".").split(".")
    if any(len(label) > _LONGEST_LABEL for label in labels) or (len(labels) > 1 and "" in labels):
        # Resolvers do not agree on what to say of these, and some call it a failure of the moment.
        raise UnicodeError(f"a label of it is empty, or longer than {_LONGEST_LABEL} characters")
    # Of a text Python makes bytes by the tables of IDNA: to load them takes longer than to ask.
    return host.encode("ascii")


def _alternated(addresses: list[_Address]) -> list[_Address]:
    """The two families in turn, the resolver's first choice first (RFC 8305, 4)."""
    first = [each for each in addresses if each[0] == addresses[0][0]]
    other = [each for each in addresses if each[0] != addresses[0][0]]
    return [pair[index] for index in range(max(len(first), len(other))) for pair in (first, other) if index < len(pair)]


def _allowed(target: Target, addresses: list[_Address]) -> list[_Address]:
    if not target.public_only:
        return addresses
    allowed = [each for each in addresses if not is_inner_address(str(each[4][0]))]
    if not allowed:
        raise RedirectRefused(
            f"a redirect leads to `{target}`, which is an address of this machine or network", hint=_REFUSED_HINT
        )
    return allowed


class _Race:
    """Connection attempts that run at the same time; those that lose are closed."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._selector = selectors.DefaultSelector()
        self._sockets: set[socket.socket] = set()
        self._errors: list[OSError] = []

    def __enter__(self) -> _Race:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for loser in self._sockets:
            loser.close()

    def run(self, addresses: list[_Address], deadline: float, stop: Stop) -> socket.socket:
        """The first socket that is connected."""
        waiting = list(addresses)
        next_start = 0.0
        while waiting or self._sockets:
            stop.check()
            now = time.monotonic()
            if now >= deadline:
                raise TimedOut(f"`{self._target}` did not answer within the time to connect")
            if waiting and (now >= next_start or not self._sockets):
                self._begin(waiting.pop(0))
                next_start = now + _HEAD_START
            for winner in self._connected(min(_SLICE, deadline - now)):
                self._sockets.discard(winner)
                return _tuned(winner)
        why = self._errors[-1].strerror or str(self._errors[-1]) if self._errors else "it has no address"
        raise ConnectionFailed(f"cannot connect to `{self._target}`: {why}")

    def _begin(self, address: _Address) -> None:
        family, kind, protocol, _, place = address
        try:
            attempt = socket.socket(family, kind, protocol)
        except OSError as error:
            self._errors.append(error)
            return
        self._sockets.add(attempt)
        attempt.setblocking(False)
        try:
            _connect(attempt, place)
        except OSError as error:
            self._lost(attempt, error)
            return
        self._selector.register(attempt, selectors.EVENT_WRITE)

    def _connected(self, seconds: float) -> Iterator[socket.socket]:
        if not self._selector.get_map():
            return
        for key, _ in self._selector.select(seconds):
            attempt = key.fileobj
            assert isinstance(attempt, socket.socket)
            self._selector.unregister(attempt)
            code = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == 0:
                yield attempt
            else:
                self._lost(attempt, OSError(code, os.strerror(code)))

    def _lost(self, attempt: socket.socket, error: OSError) -> None:
        self._errors.append(error)
        self._sockets.discard(attempt)
        attempt.close()


def _connect(attempt: socket.socket, place: tuple[object, ...]) -> None:
    """Begin to connect a socket that does not block. Python calls again itself only where one blocks (PEP 475)."""
    while True:
        try:
            return attempt.connect(place)
        except InterruptedError:
            continue
        except BlockingIOError:
            return None


def _tuned(connected: socket.socket) -> socket.socket:
    connected.setblocking(True)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected

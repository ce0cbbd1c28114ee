"""Many exchanges at once, in one thread: it sends what they ask for, and goes on with each when its reply comes.

A thread for each would mostly wake others and hand Python's lock on. Only what cannot be waited for together has a
thread of its own for a while: opening a connection (names, addresses in turn, TLS), and all that is no HEAD, or goes
through a proxy.
"""

from __future__ import annotations

import collections
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from gemmalock.errors import FileError
from gemmalock.sources.channel import Channel, Reply
from gemmalock.sources.exchange import Exchange
from gemmalock.sources.failures import FOREIGN, is_silence, source_error, told_cause
from gemmalock.sources.heads import Heads, Pending, Question
from gemmalock.sources.request import Place, Request, place_of
from gemmalock.stopping import Stop

_Told = TypeVar("_Told")
_Brought = socket.socket | Reply | BaseException
#: With so many it begins.
_AT_FIRST = 8
#: How often it is looked whether more at once would help, and, when that is settled, whether somebody is silent, in
#: seconds.
_LOOK, _SLICE = 0.004, 0.1


class Outcome(NamedTuple, Generic[_Told]):
    """What became of an exchange, and after how many seconds: what it ended with, or the error."""

    told: _Told | FileError
    seconds: float

    def result(self) -> _Told:
        """What it ended with. Raises its error."""
        if isinstance(self.told, FileError):
            raise self.told
        return self.told


class _Run(NamedTuple, Generic[_Told]):
    """An exchange that was begun."""

    url: str
    exchange: Exchange[_Told]
    began: float


class Multiplexed(Generic[_Told]):
    """Drives exchanges (by the URL that each is about), at most `most` at once: few at first, and more as long as this
    thread has less to do than to wait for."""

    def __init__(self, channel: Channel, most: int, stop: Stop) -> None:
        self._channel = channel
        self._most = most
        self._stop = stop
        self._heads = Heads(channel.limits, channel.direct.kept, most)
        self._runs: dict[int, _Run[_Told]] = {}
        self._count = 0
        self._ended: list[tuple[str, Outcome[_Told]]] = []
        self._at_once = min(_AT_FIRST, most)
        #: When it was last looked at what is under way, and when at what has come.
        self._looked = self._seen = time.monotonic()
        self._waited = 0.0
        #: What came in other threads: whose, what was asked, and a connection, a reply or an error.
        self._handed: collections.deque[tuple[int, Request, _Brought]] = collections.deque()
        self._is_over = False
        self._handing = threading.Lock()

    def run(self, exchanges: Iterable[tuple[str, Exchange[_Told]]]) -> Iterator[tuple[str, Outcome[_Told]]]:
        """What became of each, in the order in which they end; no more are taken up than are under way at once. Raises
        Interrupted, and whatever an exchange raises that is no FileError."""
        waiting = iter(exchanges)
        try:
            with self._stop.closing(self._heads.ring):
                while self._begun(waiting):
                    self._wait()
                    yield from self._told()
                yield from self._told()
        finally:
            self._end()

    def _told(self) -> Iterator[tuple[str, Outcome[_Told]]]:
        ended, self._ended = self._ended, []
        return iter(ended)

    def _begun(self, waiting: Iterator[tuple[str, Exchange[_Told]]]) -> bool:
        """Whether anything is under way, once as many are begun as may be."""
        while len(self._runs) < self._at_once:
            following = next(waiting, None)
            if following is None:
                break
            self._count += 1
            self._runs[self._count] = _Run(*following, time.monotonic())
            self._go_on(self._count, following[1].__next__)
        return bool(self._runs)

    def _go_on(self, number: int, step: Callable[[], Request], opened: socket.socket | None = None) -> None:
        """Let an exchange go on until a request of it is under way, or it ends."""
        exchange = self._runs[number].exchange
        try:
            request = step()
            while (error := self._refused(number, request, opened)) is not None:
                request, opened = exchange.throw(error), None
        except StopIteration as end:
            self._ends(number, end.value)
        except FileError as error:
            self._ends(number, error)

    def _ends(self, number: int, told: _Told | FileError) -> None:
        run = self._runs.pop(number)
        self._ended.append((run.url, Outcome(told, time.monotonic() - run.began)))

    def _refused(self, number: int, request: Request, opened: socket.socket | None) -> Exception | None:
        """Send a request, over a connection that was opened for it, or one that is free, or have it sent: the error
        where that cannot be."""
        try:
            if request.method != "HEAD" or self._channel.routes.proxy_for(request.url) is not None:
                self._apart(number, request, lambda: self._replied(request))
            else:
                self._send(number, request, opened)
        except FileError as error:
            return error
        except FOREIGN as error:
            return _ours(error, request)
        return None

    def _send(self, number: int, request: Request, opened: socket.socket | None) -> None:
        place = _place(request)
        connection = opened or self._heads.connection(place)
        while connection is not None:
            try:
                self._heads.send(Question(number, request, place), connection, is_kept=opened is None)
                return
            except OSError:
                if opened is not None:
                    raise
                # Its server had closed a kept one (RFC 9112, 9.3.1).
                connection = self._heads.connection(place)
        if place.scheme == "https":
            # To read whom to believe is work, and no reason to have more at once.
            self._channel.context()
        self._apart(number, request, lambda: self._channel.open(request, self._stop))

    def _replied(self, request: Request) -> Reply:
        reply = self._channel.send(request, self._stop)
        # Here, for its rest may have to be waited for.
        reply.discard()
        return reply

    def _apart(self, number: int, request: Request, call: Callable[[], _Brought]) -> None:
        """Call in a thread of its own, or here where there is none to be had."""

        def work() -> None:
            came: _Brought
            try:
                came = call()
            except BaseException as error:  # it is raised by whoever waits for it
                came = error
            self._hand(number, request, came)

        try:
            threading.Thread(target=work, name="gemmalock-asker", daemon=True).start()
        except RuntimeError:
            work()

    def _hand(self, number: int, request: Request, came: _Brought) -> None:
        with self._handing:
            if not self._is_over:
                self._handed.append((number, request, came))
                self._heads.ring()
                return
        self._keep(request, came)

    def _keep(self, request: Request, came: _Brought) -> None:
        """What nobody waits for any more may be of use to others."""
        if isinstance(came, socket.socket):
            self._channel.direct.kept.put(_place(request), came)

    def _wait(self) -> None:
        """Go on with whatever has come."""
        began = time.monotonic()
        if began - self._seen > _SLICE:
            self._heads.excuse(began - self._seen)
        look = _SLICE if self._at_once == self._most else _LOOK
        ready = self._heads.wait(max(0.0, self._looked + look - began))
        self._seen = now = time.monotonic()
        self._waited += now - began
        self._stop.check()
        for descriptor in ready:
            answer = self._heads.read(descriptor)
            if answer is not None:
                self._answered(*answer)
        while self._handed:
            self._took(*self._handed.popleft())
        if now - self._looked >= look:
            for pending, error in self._heads.silent(now):
                self._answered(pending, error)
            if self._waited > (now - self._looked) / 2:
                self._at_once = min(self._most, 2 * self._at_once)
            self._looked, self._waited = now, 0.0

    def _answered(self, pending: Pending, came: Reply | Exception) -> None:
        number, request, _ = pending.question
        exchange = self._runs[number].exchange
        if isinstance(came, Reply):
            self._go_on(number, partial(exchange.send, came))
        elif isinstance(came, FOREIGN) and pending.is_stale and not is_silence(came):
            # The server had closed a kept connection before this request came (RFC 9112, 9.3.1).
            self._go_on(number, lambda: request)
        else:
            self._go_on(number, partial(exchange.throw, _ours(came, request)))

    def _took(self, number: int, request: Request, came: _Brought) -> None:
        """Go on with what another thread brought."""
        exchange = self._runs[number].exchange
        if isinstance(came, socket.socket):
            self._go_on(number, lambda: request, came)
        elif isinstance(came, Reply):
            self._go_on(number, partial(exchange.send, came))
        elif isinstance(came, FileError):
            self._go_on(number, partial(exchange.throw, came))
        else:
            raise came

    def _end(self) -> None:
        with self._handing:
            self._is_over = True
        for _, request, came in self._handed:
            self._keep(request, came)
        self._heads.close()


def _ours(error: Exception, request: Request) -> Exception:
    """An error in our own words."""
    if not isinstance(error, FOREIGN):
        return error
    ours = source_error(error, request.url)
    ours.__cause__ = told_cause(error)
    return ours


def _place(request: Request) -> Place:
    return place_of(request.url, public_only=request.public_only)

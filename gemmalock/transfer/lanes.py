"""How many connections a server gets, over all files of a run: what it refused, it is not asked for again for a while.

A refusal takes one connection away, but never one that brings a file by itself: a server that cannot have those says
so to each of them, and they wait by the rules of retries. After a quiet while there is one connection more, and one
more after each further while, which doubles when that was refused: a server with a fixed limit is hardly asked.

Counts only; opens nothing. A server is an origin: scheme, host and port of the URL that is asked.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gemmalock.stopping import Stop

Origin = tuple[str, str | None, int | None]
#: What one server gets at most, where nobody asks for more.
PER_HOST = 16
#: How long a wait may last before the wish to stop is looked at.
_SLICE = 0.1
#: After so many quiet seconds a server is asked for one connection more; after twice as many, where it refused that.
QUIET_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A server would have only `most` connections at `since`, and one more after each `quiet` seconds."""

    most: int
    since: float
    quiet: float


class Lanes:
    """The connections of a run, by origin: at most `per_host` to each, and, those apart that bring a file by
    themselves, at most `in_all`. Safe to use from many threads. `clock` is a monotonic one, in seconds."""

    def __init__(
        self, per_host: int = PER_HOST, in_all: int | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_host = per_host
        self._in_all = in_all
        self._clock = clock
        self._refusals: dict[Origin, _Refusal] = {}
        self._whole: set[Origin] = set()
        self._open: Counter[Origin] = Counter()
        #: Those of them without which a file would have none.
        self._firsts: Counter[Origin] = Counter()
        self._free = threading.Condition()

    @contextlib.contextmanager
    def first(self, origin: Origin, stop: Stop) -> Iterator[None]:
        """A file's first connection, which waits until there is a lane. Raises Interrupted."""
        with self._free:
            while not self._has_room(origin):
                stop.check()
                self._free.wait(_SLICE)
            self._open[origin] += 1
            self._firsts[origin] += 1
        try:
            yield
        finally:
            with self._free:
                self._firsts[origin] -= 1
            self.leave(origin)

    def further(self, origin: Origin) -> bool:
        """Whether a file may open one more connection now; who got a lane has to `leave` it."""
        with self._free:
            is_full = self._in_all is not None and self._open.total() >= self._in_all
            if is_full or origin in self._whole or not self._has_room(origin):
                return False
            self._open[origin] += 1
            return True

    def leave(self, origin: Origin, *, refused: bool = False) -> None:
        """A connection has ended; where the server refused it, it gets no more from now on than are left."""
        with self._free:
            self._open[origin] -= 1
            if refused:
                self._note(origin, self._open[origin])
            self._free.notify()

    def refused(self, origin: Origin) -> None:
        """The server would not have a connection beside the others, that cannot end: they have to become fewer."""
        with self._free:
            self._note(origin, self._open[origin] - 1)

    def whole_only(self, origin: Origin) -> None:
        """The server answers a request for a part with the whole: more than one connection a file is of no use."""
        with self._free:
            self._whole.add(origin)

    def has_refused(self, origin: Origin) -> bool:
        """Whether the server ever would not have a connection beside others."""
        with self._free:
            return origin in self._refusals

    def splits(self, origin: Origin) -> bool:
        """Whether a part of a file may be asked for, by all that is known."""
        with self._free:
            return origin not in self._whole

    def _note(self, origin: Origin, accepted: int) -> None:
        now, before, quiet = self._clock(), self._refusals.get(origin), QUIET_SECONDS
        if before is not None:
            quiet = before.quiet if now - before.since < before.quiet else 2 * before.quiet
        most = max(1, self._firsts[origin], min(self._most(origin), accepted))
        self._refusals[origin] = _Refusal(most, now, quiet)

    def _has_room(self, origin: Origin) -> bool:
        return self._open[origin] < self._most(origin)

    def _most(self, origin: Origin) -> int:
        refusal = self._refusals.get(origin)
        if refusal is None:
            return self._per_host
        return min(self._per_host, refusal.most + int((self._clock() - refusal.since) // refusal.quiet))

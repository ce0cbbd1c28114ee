"""How many connections a server gets, over all files of a run: what it refused once, it is not asked for again.

Counts only; opens nothing. A server is an origin: scheme, host and port of the URL that is asked.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator

from gemmalock.stopping import Stop

Origin = tuple[str, str | None, int | None]
#: What one server gets at most, where nobody asks for more.
PER_HOST = 16
#: How long a wait may last before the wish to stop is looked at.
_SLICE = 0.1


class Lanes:
    """The connections of a run, by origin. Safe to use from many threads."""

    def __init__(self, per_host: int = PER_HOST) -> None:
        self._per_host = per_host
        self._most: dict[Origin, int] = {}
        self._whole: set[Origin] = set()
        self._open: Counter[Origin] = Counter()
        self._free = threading.Condition()

    @contextlib.contextmanager
    def first(self, origin: Origin, stop: Stop) -> Iterator[None]:
        """A file's first connection, which waits until there is a lane. Raises Interrupted."""
        with self._free:
            while not self._has_room(origin):
                stop.check()
                self._free.wait(_SLICE)
            self._open[origin] += 1
        try:
            yield
        finally:
            self.leave(origin)

    def further(self, origin: Origin) -> bool:
        """Whether a file may open one more connection now; who got a lane has to `leave` it."""
        with self._free:
            if origin in self._whole or not self._has_room(origin):
                return False
            self._open[origin] += 1
            return True

    def leave(self, origin: Origin) -> None:
        """A connection has ended."""
        with self._free:
            self._open[origin] -= 1
            self._free.notify()

    def refused(self, origin: Origin) -> None:
        """The server would not have the last connection beside the others: from now on it gets one fewer."""
        with self._free:
            self._most[origin] = max(1, min(self._most.get(origin, self._per_host), self._open[origin] - 1))

    def whole_only(self, origin: Origin) -> None:
        """The server answers a request for a part with the whole: more than one connection a file is of no use."""
        with self._free:
            self._whole.add(origin)

    def splits(self, origin: Origin) -> bool:
        """Whether a part of a file may be asked for, by all that is known."""
        with self._free:
            return origin not in self._whole

    def _has_room(self, origin: Origin) -> bool:
        return self._open[origin] < self._most.get(origin, self._per_host)

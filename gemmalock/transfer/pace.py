"""One cap on the bytes a second, over all files and connections of a run."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from gemmalock.stopping import Stop

#: What an idle limit saves up, in seconds: short enough that a cap is a cap to whoever watches the line, long enough
#: that who wakes up late makes up for it.
_IDLE_SECONDS = 0.1
#: What all who share the line may have received before they wait, in seconds.
_STEP_SECONDS = 0.02


class RateLimit:
    """A promise of `bytes_per_second`, within 5 % over any 5 s, kept by whoever takes before going on.

    Everybody who shares the line shares the object. What a connection has received before it waits is its share of
    _STEP_SECONDS; even where many join one after the other, each with a smaller one, the line is never ahead by more
    than _IDLE_SECONDS and the sum of those: for 64 of them, 0.2 s. `clock` is a monotonic one, in seconds.
    """

    def __init__(self, bytes_per_second: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        if bytes_per_second <= 0:
            raise ValueError(f"a rate of {bytes_per_second} bytes a second moves nothing")
        self.bytes_per_second = bytes_per_second
        self._clock = clock
        self._free_at = clock()
        self._sharers = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """One more connection receives while this lasts."""
        with self._lock:
            self._sharers += 1
        try:
            yield
        finally:
            with self._lock:
                self._sharers -= 1

    @property
    def step(self) -> int:
        """How many bytes a connection may receive at once, so that nobody is far ahead of the line."""
        return max(1, int(self.bytes_per_second * _STEP_SECONDS / max(1, self._sharers)))

    def take(self, count: int, stop: Stop) -> None:
        """Count `count` bytes that were received, and wait until the line is free again. Raises Interrupted."""
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now - _IDLE_SECONDS) + count / self.bytes_per_second
            seconds = self._free_at - now
        if seconds > 0:
            stop.wait(seconds)

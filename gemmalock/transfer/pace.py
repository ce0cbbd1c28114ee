"""One cap on the bytes a second, over all files and connections of a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from gemmalock.stopping import Stop

#: What an idle limit saves up, in seconds: short enough that a cap is a cap to whoever watches the line.
_BURST_SECONDS = 0.1


class RateLimit:
    """A promise of at most `bytes_per_second` over any second or more, kept by whoever takes before going on.

    Everybody who shares the line shares the object. `clock` is a monotonic one, in seconds.
    """

    def __init__(self, bytes_per_second: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        if bytes_per_second <= 0:
            raise ValueError(f"a rate of {bytes_per_second} bytes a second moves nothing")
        self.bytes_per_second = bytes_per_second
        self._clock = clock
        self._free_at = clock()
        self._lock = threading.Lock()

    @property
    def step(self) -> int:
        """How many bytes to move at once, so that nobody holds the line for long."""
        return max(1024, int(self.bytes_per_second * _BURST_SECONDS))

    def take(self, count: int, stop: Stop) -> None:
        """Count `count` bytes that were moved, and wait until the line is free again. Raises Interrupted."""
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now - _BURST_SECONDS) + count / self.bytes_per_second
            seconds = self._free_at - now
        if seconds > 0:
            stop.wait(seconds)

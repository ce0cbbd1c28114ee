"""How much came, over all connections of one transfer, and telling it to who watches: now and then, not each time."""

from __future__ import annotations

import threading
import time

from gemmalock.machine import Watch

#: How often somebody who watches is told, in seconds.
_TELL_SECONDS = 0.1


class Tally:
    """`fetched`: bytes received, what was thrown away included. `have`: bytes of the file that are here. `answers`:
    how many answers the bytes that are here came in. Safe to use from many threads."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.fetched = 0
        self.have = 0
        self.answers = 0
        self._told = 0.0
        self._lock = threading.Lock()

    def begin(self, kept: int) -> None:
        """So many bytes of an earlier run are here, and no others."""
        with self._lock:
            self.have, self.answers = kept, 0
        self.watch.progress(kept)

    def lost(self, count: int) -> None:
        """So many bytes that were here have to come again."""
        with self._lock:
            self.have -= count

    def answered(self) -> None:
        """Another answer brings bytes."""
        with self._lock:
            self.answers += 1

    def came(self, count: int, kept: int) -> None:
        """So many bytes were received, and so many of them are of use."""
        now = time.monotonic()
        with self._lock:
            self.fetched += count
            self.have += kept
            if now - self._told < _TELL_SECONDS:
                return
            self._told = now
            # Under the lock: what is told only grows.
            self.watch.progress(self.have)
            self.watch.fetched(self.fetched)

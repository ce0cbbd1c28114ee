"""The wish to stop, shared by all who work: set once, by a signal or by a caller. Standard library only."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from gemmalock.errors import Interrupted
from gemmalock.turns import aside


class Stop:
    """A flag that ends waiting and closes what is open.

    Whoever may block for long registers how to be woken (`closing`); `set` wakes all of them. Safe to use from
    many threads, but `set` takes a lock: a signal handler only notes the signal and lets the main thread call it.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._wakers: dict[int, Callable[[], None]] = {}
        self._next = 0

    def set(self) -> None:
        """Ask everybody to stop, and wake those who wait. Calling it again changes nothing."""
        self._event.set()
        with self._lock:
            wakers = list(self._wakers.values())
        for wake in wakers:
            with contextlib.suppress(OSError, ValueError):
                wake()

    def is_set(self) -> bool:
        """Whether to stop."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise Interrupted when it is time to stop."""
        if self._event.is_set():
            raise Interrupted("interrupted")

    def wait(self, seconds: float) -> None:
        """Sleep for `seconds`, or raise Interrupted as soon as it is time to stop."""
        with aside():
            stopped = self._event.wait(seconds)
        if stopped:
            raise Interrupted("interrupted")

    def closing(self, wake: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
        """While inside, `set` also calls `wake` (from another thread)."""
        return _Closing(self, wake)

    def _register(self, wake: Callable[[], None]) -> int:
        with self._lock:
            self._next += 1
            self._wakers[self._next] = wake
            return self._next

    def _forget(self, key: int) -> None:
        with self._lock:
            del self._wakers[key]


class _Closing(contextlib.AbstractContextManager[None]):
    """As Stop.closing has it. No generator: one is made for every request."""

    __slots__ = ("_key", "_stop", "_wake")

    def __init__(self, stop: Stop, wake: Callable[[], None]) -> None:
        self._stop = stop
        self._wake = wake

    def __enter__(self) -> None:
        self._key = self._stop._register(self._wake)
        try:
            self._stop.check()
        except Interrupted:
            self._stop._forget(self._key)
            raise

    def __exit__(self, *_: object) -> None:
        self._stop._forget(self._key)


class Tolerance:
    """How many failures a run takes before it begins nothing more; None: any number. Safe to use from many threads."""

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._count = 0
        self._mutex = threading.Lock()

    def spend(self) -> None:
        """Count a failure."""
        with self._mutex:
            self._count += 1

    @property
    def is_spent(self) -> bool:
        """Whether nothing more is to be begun."""
        return self._most is not None and self._count >= self._most

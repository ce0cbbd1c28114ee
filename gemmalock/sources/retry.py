"""When to try again, and how long to wait first. `Backoff` is policy and pure; `with_retries` is the loop around it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from gemmalock.errors import FileError, RangeRefused, SourceError
from gemmalock.stopping import Stop

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often and how patiently to try: `attempts` in all, waits that grow from `base_seconds` to `cap_seconds`.

    A server that asks to be left alone for longer than `retry_after_cap_seconds` is not waited for.
    """

    attempts: int = 5
    base_seconds: float = 0.5
    cap_seconds: float = 20.0
    retry_after_cap_seconds: float = 120.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or min(self.base_seconds, self.cap_seconds, self.retry_after_cap_seconds) < 0:
            raise ValueError(f"{self} is no policy")

    def delay(self, attempt: int, error: Exception, chance: Callable[[], float]) -> float | None:
        """Seconds to wait after the failed `attempt` (they count from 1), or None to give up.

        `chance` gives a number in [0, 1): full jitter, so that many clients do not come back as one. A server's own
        Retry-After is a lower bound of the wait.
        """
        if not (isinstance(error, FileError) and error.transient) or attempt >= self.attempts:
            return None
        ceiling = min(self.cap_seconds, self.base_seconds * 2.0 ** min(attempt - 1, 60))
        jittered = chance() * ceiling
        after = error.after_seconds if isinstance(error, SourceError) else None
        if after is None:
            return jittered
        return None if after > self.retry_after_cap_seconds else after + jittered


def with_retries(
    call: Callable[[], T],
    backoff: Backoff,
    stop: Stop,
    on_retry: Callable[[FileError, float], None] | None = None,
) -> T:
    """What `call` returns, tried again by `backoff` as long as its errors are transient.

    `on_retry` is told the error and the seconds before each further attempt, and may raise another one instead. Raises
    the last error, or Interrupted.
    A RangeRefused is not for a blind repetition: the next request has to be another one.
    """
    attempt = 1
    while True:
        stop.check()
        try:
            return call()
        except FileError as error:
            seconds = None if isinstance(error, RangeRefused) else backoff.delay(attempt, error, random.random)
            if seconds is None:
                raise
            if on_retry is not None:
                on_retry(error, seconds)
            stop.wait(seconds)
            attempt += 1

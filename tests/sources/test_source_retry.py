"""When to try again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.errors import (
    ConnectionFailed,
    DigestMismatch,
    FileError,
    Forbidden,
    Interrupted,
    NotFound,
    RangeRefused,
    RateLimited,
    ServerError,
    TimedOut,
    TlsFailed,
)
from gemmalock.sources.retry import Backoff, with_retries
from gemmalock.stopping import Stop

EAGER = Backoff(attempts=3, base_seconds=0, cap_seconds=0)
TRANSIENT: list[type[FileError]] = [ConnectionFailed, TimedOut, ServerError, RateLimited]
FINAL: list[type[FileError]] = [NotFound, Forbidden, TlsFailed, DigestMismatch]


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_jittered_and_never_longer_than_the_cap(attempt: int, chance: float) -> None:
    backoff = Backoff(attempts=1000)
    delay = backoff.delay(attempt, TimedOut("x"), lambda: chance)
    assert delay is not None
    assert 0 <= delay <= min(20.0, 0.5 * 2.0 ** min(attempt - 1, 60))


WAITS: list[tuple[float | None, float | None]] = [
    (None, 0.25),
    (0.0, 0.25),
    (7.0, 7.25),
    (120.0, 120.25),
    (120.5, None),
    (1e9, None),
]


@pytest.mark.parametrize(("after", "delay"), WAITS)
def test_a_retry_after_is_honoured_up_to_the_cap(after: float | None, delay: float | None) -> None:
    """S29."""
    assert Backoff().delay(1, RateLimited("x", after_seconds=after), lambda: 0.5) == delay


def test_the_last_attempt_and_final_errors_give_up() -> None:
    assert Backoff(attempts=2).delay(2, TimedOut("x"), lambda: 0.5) is None
    for kind in FINAL:
        assert Backoff().delay(1, kind("x"), lambda: 0.5) is None


@pytest.mark.parametrize("kind", TRANSIENT)
def test_a_transient_error_is_tried_again_until_it_passes(kind: type[FileError]) -> None:
    """S30."""
    errors: list[FileError] = [kind("one"), kind("two")]
    told: list[tuple[str, float]] = []

    def call() -> str:
        if errors:
            raise errors.pop(0)
        return "here"

    assert with_retries(call, EAGER, Stop(), lambda error, seconds: told.append((error.message, seconds))) == "here"
    assert told == [("one", 0), ("two", 0)]


@pytest.mark.parametrize(
    ("kind", "calls"), [*((kind, 3) for kind in TRANSIENT), *((kind, 1) for kind in FINAL), (RangeRefused, 1)]
)
def test_the_last_error_comes_out(kind: type[FileError], calls: int) -> None:
    count = 0

    def call() -> None:
        nonlocal count
        count += 1
        raise kind(str(count))

    with pytest.raises(kind, match=str(calls)):
        with_retries(call, EAGER, Stop())
    assert count == calls


def test_a_stop_ends_the_waiting() -> None:
    stop = Stop()

    def call() -> None:
        raise TimedOut("x")

    with pytest.raises(Interrupted):
        with_retries(call, Backoff(base_seconds=1000, cap_seconds=1000), stop, lambda *_: stop.set())

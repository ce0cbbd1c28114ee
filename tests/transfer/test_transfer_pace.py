"""The cap on the rate, on a clock that only the waiting moves: what arrives when, over any connections and files."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.errors import Interrupted
from gemmalock.journal import CHUNK
from gemmalock.ports import Ask
from gemmalock.stopping import Stop
from gemmalock.transfer.pace import RateLimit
from tests.transfer.twins import Bench, Reply, ScriptedAnswer, ScriptedSource, locked, some_bytes

WINDOW = 5.0


class Sleeper(Stop):
    """A stop whose waiting only moves a clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0

    def wait(self, seconds: float) -> None:
        """Let the time pass."""
        self.check()
        self.now += seconds


@dataclass
class Arrivals:
    """When how many bytes came, in order."""

    times: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def note(self, now: float, count: int) -> None:
        """So many came now."""
        self.times.append(now)
        self.counts.append(count)

    def windows(self, first: float, last: float) -> tuple[float, float]:
        """The fewest and the most bytes a second over any WINDOW in that time: one begins, or ends, at an arrival."""
        sums = [0, *itertools.accumulate(self.counts)]
        most = fewest = sums[bisect_left(self.times, first + WINDOW)] - sums[bisect_left(self.times, first)]
        for time in self.times:
            if first <= time <= last - WINDOW:
                # Closed, it has what comes at both ends; open, what comes at neither.
                closed = sums[bisect_right(self.times, time + WINDOW)] - sums[bisect_left(self.times, time)]
                opened = sums[bisect_left(self.times, time + WINDOW)] - sums[bisect_right(self.times, time)]
                most, fewest = max(most, closed), min(fewest, opened)
        return fewest / WINDOW, most / WINDOW


def simulate(rate: int, connections: int, *, over_seconds: float, seed: int, late: float) -> tuple[Arrivals, float]:
    """What so many connections receive, of which the last joined after `over_seconds`; each wakes up to `late` seconds
    too late. And when the last one joined."""
    dice = random.Random(seed)
    line = Sleeper()
    limit = RateLimit(rate, clock=lambda: line.now)
    arrivals = Arrivals()
    began = line.now
    joins = sorted(began + dice.random() * over_seconds for _ in range(connections))
    ready = [(at, number) for number, at in enumerate(joins)]
    with contextlib.ExitStack() as sharing:
        joined: set[int] = set()
        while ready[0][0] < joins[-1] + 3 * WINDOW:
            now, number = heapq.heappop(ready)
            if number not in joined:
                joined.add(number)
                sharing.enter_context(limit.shared())
            line.now = now
            arrivals.note(now, limit.step)
            limit.take(limit.step, line)
            heapq.heappush(ready, (line.now + dice.random() * late, number))
    return arrivals, joins[-1]


@pytest.mark.parametrize("rate", [2_000, 1_000_000, 500_000_000])
@pytest.mark.parametrize("connections", [1, 2, 8, 64])
@pytest.mark.parametrize("over_seconds", [0.0, 0.3, 4.0])
@pytest.mark.parametrize("late", [0.0, 0.01])
def test_a_rate_is_exact_within_5_percent_over_any_5_seconds(
    rate: int, connections: int, over_seconds: float, late: float
) -> None:
    arrivals, joined = simulate(rate, connections, over_seconds=over_seconds, seed=connections, late=late)
    _, most = arrivals.windows(arrivals.times[0], arrivals.times[-1])
    fewest, _ = arrivals.windows(joined, joined + 3 * WINDOW)
    assert most <= 1.05 * rate
    assert fewest >= 0.95 * rate


def test_windows_see_a_burst_and_a_gap() -> None:
    """The oracle itself: a second's worth at once at 7 s, and nothing for a second after 12 s."""
    arrivals = Arrivals()
    for tick in range(200):
        if not 120 <= tick < 130:
            arrivals.note(tick / 10, 20 if 70 <= tick < 80 else 10)
    fewest, most = arrivals.windows(0.0, 20.0)
    assert fewest == pytest.approx(80, abs=3)
    assert most == pytest.approx(120, abs=3)


class Simulated(RateLimit):
    """A limit on a clock of its own, that all who take move."""

    def __init__(self, rate: int) -> None:
        self.line = Sleeper()
        super().__init__(rate, clock=lambda: self.line.now)

    def take(self, count: int, stop: Stop) -> None:
        """As always, in no time."""
        super().take(count, self.line)


class Timed(ScriptedSource):
    """A source that notes when its bytes are read."""

    arrivals: Arrivals
    limit: Simulated

    def open(self, ask: Ask, stop: Stop) -> ScriptedAnswer:
        """As it is scripted."""
        answer = super().open(ask, stop)
        read = answer.readinto

        def readinto(buffer: memoryview) -> int:
            count = read(buffer)
            self.arrivals.note(self.limit.line.now, count)
            return count

        answer.readinto = readinto  # type: ignore[method-assign]
        return answer


def test_one_cap_holds_over_the_files_of_a_run(bench: Bench) -> None:
    body, rate = some_bytes(2 * CHUNK + 77), 150_000
    limit, arrivals = Simulated(rate), Arrivals()
    began = limit.line.now
    bench.terms = replace(bench.terms, limit=limit)
    for _ in range(2):
        source = Timed([Reply(body, cut=CHUNK), Reply(body)])
        source.arrivals, source.limit = arrivals, limit
        bench.fetch(locked(body), source)
        bench.claim.drop_partial()
    assert sum(arrivals.counts) == 2 * len(body)
    fewest, most = arrivals.windows(began, limit.line.now)
    assert 0.95 * rate <= fewest <= most <= 1.05 * rate


@given(st.lists(st.tuples(st.integers(1, 100_000), st.floats(0, 3)), min_size=1, max_size=40))
def test_a_rate_is_kept_over_any_time(pieces: list[tuple[int, float]]) -> None:
    line = Sleeper()
    limit = RateLimit(50_000, clock=lambda: line.now)
    began, moved = line.now, 0
    for count, pause in pieces:
        limit.take(count, line)
        moved += count
        assert moved <= 50_000 * (line.now - began + 0.1) + 1
        line.now += pause


def test_those_who_share_the_line_share_the_step() -> None:
    limit = RateLimit(1_000_000)
    alone = limit.step
    with limit.shared(), limit.shared():
        assert limit.step == alone // 2
    assert limit.step == alone


def test_waiting_for_the_line_ends_with_the_wish_to_stop() -> None:
    stop = Stop()
    stop.set()
    with pytest.raises(Interrupted):
        RateLimit(1).take(1000, stop)


@pytest.mark.parametrize("rate", [0, -1])
def test_a_rate_that_moves_nothing_is_no_rate(rate: int) -> None:
    with pytest.raises(ValueError, match="moves nothing"):
        RateLimit(rate)

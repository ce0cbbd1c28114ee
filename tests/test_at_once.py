"""Many calls at once, and one call for many who want the same."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.at_once import Shared, at_once
from gemmalock.errors import Interrupted, NotFound
from gemmalock.stopping import Stop
from tests.guard import CHECKOUT


@given(st.lists(st.integers(), max_size=30), st.integers(1, 8))
def test_the_answers_come_in_the_order_of_the_items(items: list[int], most: int) -> None:
    assert at_once(lambda item: item + 1, items, most, Stop()) == tuple(item + 1 for item in items)


@given(st.lists(st.integers(0, 9), max_size=30))
def test_the_heaviest_are_begun_first_and_the_answers_stay_in_order(items: list[int]) -> None:
    begun: list[int] = []

    def call(item: int) -> int:
        begun.append(item)
        return item

    assert at_once(call, items, 1, Stop(), weight=lambda item: item) == tuple(items)
    assert begun == sorted(items, reverse=True)


def test_so_many_run_at_once() -> None:
    together = threading.Barrier(4, timeout=30)
    assert sorted(at_once(lambda _: together.wait(), range(8), 4, Stop())) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_error_of_the_first_that_failed_comes_out_and_nothing_more_is_begun() -> None:
    begun: list[int] = []

    def call(item: int) -> int:
        begun.append(item)
        if item == 2:
            raise NotFound("2")
        return item

    with pytest.raises(NotFound, match="2"):
        at_once(call, range(1000), 1, Stop())
    assert begun[:3] == [0, 1, 2]


def test_without_threads_it_is_done_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """P09."""

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    assert at_once(str, (1, 2, 3), 3, Stop()) == ("1", "2", "3")


def test_a_stop_ends_the_waiting_for_a_call_that_hangs() -> None:
    stop, over = Stop(), threading.Event()

    def hang(_: int) -> None:
        stop.set()
        over.wait()

    try:
        with pytest.raises(Interrupted):
            at_once(hang, (1,), 1, stop)
    finally:
        over.set()


def test_a_call_that_hangs_keeps_no_process_from_ending() -> None:
    text = (
        "import threading\nfrom gemmalock.at_once import at_once\nfrom gemmalock.errors import Interrupted\n"
        "from gemmalock.stopping import Stop\nstop = Stop()\n"
        "def hang(_):\n    stop.set()\n    threading.Event().wait()\n"
        "try:\n    at_once(hang, (1,), 1, stop)\nexcept Interrupted:\n    print('ended')\n"
    )
    ran = subprocess.run([sys.executable, "-c", text], cwd=CHECKOUT, capture_output=True, text=True, timeout=30)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "ended\n", "")


def test_one_question_is_asked_once_however_many_ask() -> None:
    shared: Shared[int] = Shared()
    calls: list[str] = []
    together = threading.Barrier(8, timeout=30)

    def ask(question: str) -> int:
        together.wait()
        return shared.answer(question, lambda: calls.append(question) or len(question))  # type: ignore[func-returns-value]

    assert at_once(ask, ("a", "bb") * 4, 8, Stop()) == (1, 2) * 4
    assert sorted(calls) == ["a", "bb"]


def test_an_error_is_an_answer_for_everybody() -> None:
    shared: Shared[int] = Shared()

    def fail() -> int:
        raise NotFound("gone")

    for _ in range(2):
        with pytest.raises(NotFound, match="gone"):
            shared.answer("a", fail)


def test_quick_calls_are_for_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is called for before there was a look at who is at work."""
    monkeypatch.setattr("gemmalock.at_once._FIRST_LOOK", 600.0)
    at_work: set[int] = set()
    assert at_once(lambda _: at_work.add(threading.get_ident()), range(5000), 48, Stop(), at_first=2)
    assert len(at_work) <= 2


def test_slow_calls_are_for_as_many_as_there_may_be() -> None:
    """None of them ends before all are under way."""
    together = threading.Barrier(24, timeout=30)
    assert len(at_once(lambda _: together.wait(), range(24), 24, Stop(), at_first=2)) == 24


def test_no_more_are_called_for_than_there_is_work() -> None:
    at_work: set[int] = set()

    def call(_: int) -> None:
        at_work.add(threading.get_ident())
        Stop().wait(0.2)

    at_once(call, range(3), 48, Stop(), at_first=1)
    assert len(at_work) <= 3

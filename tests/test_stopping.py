"""The wish to stop: set once, heard by all who wait."""

from __future__ import annotations

import threading

import pytest

from gemmalock.errors import Interrupted
from gemmalock.stopping import Stop


def test_nobody_is_stopped_before_it_is_wished() -> None:
    stop = Stop()
    assert not stop.is_set()
    stop.check()
    stop.wait(0)


def test_once_set_everything_that_asks_is_stopped() -> None:
    stop = Stop()
    stop.set()
    stop.set()
    assert stop.is_set()
    with pytest.raises(Interrupted):
        stop.check()
    with pytest.raises(Interrupted):
        stop.wait(1000)
    with pytest.raises(Interrupted), stop.closing(lambda: None):
        raise AssertionError("it was entered")


def test_whoever_waits_is_woken_at_once() -> None:
    stop, woken = Stop(), threading.Event()

    def wait() -> None:
        try:
            stop.wait(1000)
        except Interrupted:
            woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    stop.set()
    thread.join(30)
    assert woken.is_set()


def test_set_wakes_those_who_are_inside_and_nobody_else() -> None:
    stop, woken = Stop(), list[str]()
    with stop.closing(lambda: woken.append("before")):
        pass
    with stop.closing(lambda: woken.append("outer")), stop.closing(lambda: woken.append("inner")):
        stop.set()
    assert woken == ["outer", "inner"]


@pytest.mark.parametrize("error", [OSError("closed"), ValueError("closed")])
def test_a_waker_that_fails_keeps_nobody_asleep(error: Exception) -> None:
    stop, woken = Stop(), list[str]()

    def fail() -> None:
        raise error

    with stop.closing(fail), stop.closing(lambda: woken.append("second")):
        stop.set()
    assert woken == ["second"]


def test_a_waker_may_be_let_go_while_others_wait() -> None:
    stop, woken = Stop(), list[int]()
    entered, leave = threading.Barrier(9), threading.Event()

    def work(number: int) -> None:
        with stop.closing(lambda: woken.append(number)):
            entered.wait(30)
            leave.wait(30)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    entered.wait(30)
    stop.set()
    leave.set()
    for thread in threads:
        thread.join(30)
    assert sorted(woken) == list(range(8))

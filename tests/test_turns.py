"""One works at a time, but for who waits; and nobody ever waits for good."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from gemmalock.turns import Turns, aside

PATIENT, NOT_AT_ALL = 60.0, 0.0


def in_thread(work: Callable[[], None]) -> threading.Thread:
    """Start it."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_of_many_one_works_at_a_time() -> None:
    turns, mutex = Turns(PATIENT), threading.Lock()
    at_once: list[int] = []
    working = [0]

    def work() -> None:
        for _ in range(50):
            with turns.taking():
                with mutex:
                    working[0] += 1
                    at_once.append(working[0])
                with mutex:
                    working[0] -= 1

    threads = [in_thread(work) for _ in range(8)]
    for thread in threads:
        thread.join(60)
    assert len(at_once) == 400
    assert set(at_once) == {1}


def test_who_steps_aside_lets_another_one_work() -> None:
    turns, other_is_done = Turns(PATIENT), threading.Event()

    def other() -> None:
        with turns.taking():
            other_is_done.set()

    with turns.taking():
        thread = in_thread(other)
        with aside():
            assert other_is_done.wait(60)
        thread.join(60)


def test_who_has_waited_for_a_moment_works_without_a_turn() -> None:
    turns, done = Turns(NOT_AT_ALL), threading.Event()

    def other() -> None:
        with turns.taking(), aside():
            done.set()

    with turns.taking():
        in_thread(other).join(60)
        assert done.is_set()
        # The turn was never the other one's to give.
        with aside():
            pass


def test_an_error_gives_the_turn_back() -> None:
    turns, done = Turns(PATIENT), threading.Event()
    for _ in range(2):
        with pytest.raises(ValueError), turns.taking(), aside():
            raise ValueError

    def other() -> None:
        with turns.taking():
            done.set()

    in_thread(other).join(60)
    assert done.is_set()


def test_stepping_aside_is_nothing_where_nobody_takes_turns() -> None:
    with aside(), aside():
        pass


def test_turns_of_others_are_not_given_away() -> None:
    outer, inner = Turns(PATIENT), Turns(PATIENT)
    taken: list[bool] = []

    def other() -> None:
        with outer.taking():
            taken.append(True)

    with outer.taking():
        with inner.taking(), aside():
            pass
        thread = in_thread(other)
        assert taken == []
        with aside():
            thread.join(60)
            assert taken == [True]

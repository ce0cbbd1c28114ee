"""From many threads to the one who tells."""

from __future__ import annotations

import threading

from gemmalock.outbox import Outbox

FOR_EVER = 60.0


def test_what_was_left_is_taken_out_once_and_in_order() -> None:
    box: Outbox[int] = Outbox(0.0)
    box.put(1)
    box.put(2)
    assert box.take() == (1, 2)
    assert box.take() == ()


def test_a_hurry_ends_the_wait_and_only_that_one() -> None:
    box: Outbox[int] = Outbox(FOR_EVER)
    box.hurry()
    assert box.take() == ()
    box.put(1)
    threading.Thread(target=box.hurry).start()
    assert box.take() == (1,)


def test_nothing_is_lost_or_told_twice_between_many_threads() -> None:
    box: Outbox[tuple[int, int]] = Outbox(0.0)

    def work(name: int) -> None:
        for number in range(200):
            box.put((name, number))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    taken: list[tuple[int, int]] = []
    while any(thread.is_alive() for thread in threads):
        taken += box.take()
    taken += box.take()
    for name in range(4):
        assert [number for owner, number in taken if owner == name] == list(range(200))
    assert len(taken) == 800

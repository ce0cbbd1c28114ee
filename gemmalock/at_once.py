"""Many calls at once, and one call for many who want the same. Threads only; what is called is nobody's business here.

The threads are daemons: a disk that hangs must not keep an interrupted process from ending.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from gemmalock.stopping import Stop

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")
#: How often the wish to stop is looked at, in seconds.
_SLICE = 0.1
#: How long those who are at work may take to end, in seconds.
GRACE_SECONDS = 2.0
#: Who begins with few looks after so many seconds whether these are slow, and then again and again.
_FIRST_LOOK, _NEXT_LOOK = 0.025, 0.004


def at_once(
    call: Callable[[_Item], _Answer],
    items: Sequence[_Item],
    most: int,
    stop: Stop,
    *,
    weight: Callable[[_Item], int] | None = None,
    at_first: int | None = None,
) -> tuple[_Answer, ...]:
    """`call` of every item, at most `most` at once; the answers in the items' order. With `weight` the heaviest are
    begun first, so that all who work end at about the same time.

    Many threads whose calls hardly wait only hand Python's lock on. With `at_first` so many begin, and twice as many
    work from then on where these did not get done with one call each in a few milliseconds.

    Raises what the first call that failed raised, and Interrupted; those that are under way then have a moment to end.
    """
    crew = _Crew(call, items, weight, min(most, len(items)))
    crew.start(at_first or most)
    try:
        return crew.answers(stop)
    finally:
        crew.end()


class Shared(Generic[_Answer]):
    """Answers by what was asked: whoever asks what somebody else is asking already waits for that answer."""

    def __init__(self) -> None:
        self._answers: dict[Hashable, _Awaited[_Answer]] = {}
        self._lock = threading.Lock()

    def __contains__(self, question: Hashable) -> bool:
        """Whether somebody has asked this question."""
        with self._lock:
            return question in self._answers

    def answer(self, question: Hashable, call: Callable[[], _Answer]) -> _Answer:
        """What `call` returned, or raised, for the first who asked this question."""
        with self._lock:
            is_first = question not in self._answers
            answer = self._answers.setdefault(question, _Awaited())
        if is_first:
            answer.ask(call)
        return answer.wait()


class _Awaited(Generic[_Answer]):
    """An answer that may not be there yet."""

    def __init__(self) -> None:
        self._is_there = threading.Event()
        self._told: list[_Answer] = []
        self._error: BaseException | None = None

    def ask(self, call: Callable[[], _Answer]) -> None:
        try:
            self._told.append(call())
        except BaseException as error:  # whoever waits for the answer raises it
            self._error = error
        self._is_there.set()

    def wait(self) -> _Answer:
        self._is_there.wait()
        if self._error is not None:
            raise self._error
        return self._told[0]


class _Crew(Generic[_Item, _Answer]):
    """Those who work. Who waits for them is woken when all is done, or at the first failure, and not for each answer:
    to hand Python's lock over and back costs those who work more than a call may take."""

    def __init__(
        self,
        call: Callable[[_Item], _Answer],
        items: Sequence[_Item],
        weight: Callable[[_Item], int] | None,
        most: int,
    ) -> None:
        self._call = call
        self._items = items
        self._most = most
        order = range(len(items)) if weight is None else sorted(range(len(items)), key=lambda n: -weight(items[n]))
        self._todo = collections.deque(order)
        self._told: dict[int, _Answer] = {}
        self._failure: BaseException | None = None
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, count: int) -> None:
        """So many threads more, or as many as are to be had; where there is none, the work is done here and now."""
        try:
            for _ in range(min(count, self._most - len(self._threads))):
                thread = threading.Thread(target=self._work, name="gemmalock-crew", daemon=True)
                thread.start()
                self._threads.append(thread)
        except RuntimeError:
            self._most = len(self._threads)
            if not self._threads:
                self._work()

    def answers(self, stop: Stop) -> tuple[_Answer, ...]:
        """Every answer, once all are there. Raises what a call did, and Interrupted."""
        seconds, before = _FIRST_LOOK, 0
        while len(self._told) < len(self._items) and not self._over.wait(seconds):
            stop.check()
            done = len(self._told)
            is_slow = done - before < len(self._threads) < self._most
            if is_slow:
                self.start(len(self._threads))
            # Who looks takes Python's lock from those who are quick.
            seconds, before = _NEXT_LOOK if is_slow else min(_SLICE, 2 * seconds), done
        if self._failure is not None:
            raise self._failure
        return tuple(self._told[number] for number in range(len(self._items)))

    def end(self) -> None:
        """Take up nothing more; whoever is at work has a moment to end in good order."""
        self._over.set()
        deadline = time.monotonic() + GRACE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while not self._over.is_set():
            try:
                number = self._todo.popleft()
            except IndexError:
                return
            try:
                self._told[number] = self._call(self._items[number])
            except BaseException as error:  # whoever waits for the answers raises it
                self._failure = self._failure or error
                self._over.set()
            if len(self._told) == len(self._items):
                self._over.set()

"""Many calls at once, and one call for many who want the same. Threads only; what is called is nobody's business here.

The threads are daemons: a disk that hangs must not keep an interrupted process from ending.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

from gemmalock.stopping import Stop

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")
#: How often the wish to stop is looked at, in seconds.
_SLICE = 0.1
#: How long those who are at work may take to end, in seconds.
GRACE_SECONDS = 2.0


def at_once(
    call: Callable[[_Item], _Answer],
    items: Sequence[_Item],
    most: int,
    stop: Stop,
    *,
    weight: Callable[[_Item], int] | None = None,
) -> tuple[_Answer, ...]:
    """`call` of every item, at most `most` at once; the answers in the items' order. With `weight` the heaviest are
    begun first, so that all who work end at about the same time.

    Raises what the first call that failed raised, and Interrupted; those that are under way then have a moment to end.
    """
    crew = _Crew(call, items, weight)
    crew.start(min(most, len(items)))
    try:
        return tuple(_awaited(answer, stop) for answer in crew.answers)
    finally:
        crew.end()


class Shared(Generic[_Answer]):
    """Answers by what was asked: whoever asks what somebody else is asking already waits for that answer."""

    def __init__(self) -> None:
        self._answers: dict[Hashable, Future[_Answer]] = {}
        self._lock = threading.Lock()

    def answer(self, question: Hashable, call: Callable[[], _Answer]) -> _Answer:
        """What `call` returned, or raised, for the first who asked this question."""
        with self._lock:
            is_first = question not in self._answers
            answer = self._answers.setdefault(question, Future())
        if is_first:
            _fulfil(answer, call)
        return answer.result()


class _Crew(Generic[_Item, _Answer]):
    def __init__(
        self, call: Callable[[_Item], _Answer], items: Sequence[_Item], weight: Callable[[_Item], int] | None
    ) -> None:
        self.answers: list[Future[_Answer]] = [Future() for _ in items]
        self._call = call
        self._todo: queue.SimpleQueue[tuple[Future[_Answer], _Item]] = queue.SimpleQueue()
        work = list(zip(self.answers, items, strict=True))
        if weight is not None:
            work.sort(key=lambda piece: -weight(piece[1]))
        for piece in work:
            self._todo.put(piece)
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, count: int) -> None:
        """So many threads, or as many as are to be had; where there is none, the work is done here and now."""
        try:
            for _ in range(count):
                thread = threading.Thread(target=self._work, name="gemmalock-crew", daemon=True)
                thread.start()
                self._threads.append(thread)
        except RuntimeError:
            if not self._threads:
                self._work()

    def end(self) -> None:
        """Take up nothing more; whoever is at work has a moment to end in good order."""
        self._over.set()
        deadline = time.monotonic() + GRACE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while not self._over.is_set():
            try:
                answer, item = self._todo.get_nowait()
            except queue.Empty:
                return
            _fulfil(answer, lambda item=item: self._call(item))  # type: ignore[misc]


def _fulfil(answer: Future[_Answer], call: Callable[[], _Answer]) -> None:
    try:
        answer.set_result(call())
    except BaseException as error:  # whoever waits for the answer raises it
        answer.set_exception(error)


def _awaited(answer: Future[_Answer], stop: Stop) -> _Answer:
    while not wait([answer], _SLICE).done:
        stop.check()
    return answer.result()

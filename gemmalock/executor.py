"""Carries a plan out: a few threads, a file each, and outcomes as they come.

It sees the world through ports only. What to do was decided by `plan`; here it is done, and where the world has
moved since the look, the file is looked at again. Nothing here prints, and nothing is pruned.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Generator, Iterator, Sequence

from gemmalock.job import Crew, Job, refused
from gemmalock.outbox import Outbox
from gemmalock.outcome import FileOutcome, Outcome, failed
from gemmalock.plan import Action, FilePlan, Plan
from gemmalock.turns import Turns

#: How long a stop waits for threads that do not answer, in seconds.
GRACE_SECONDS = 2.0
#: Files of at most so many bytes are worked on in turns.
IN_TURNS = 4 * 1024 * 1024
#: How long an outcome may wait to be told, in seconds.
TELL_SECONDS = 0.05


def execute(plan: Plan, crew: Crew) -> tuple[FileOutcome, ...]:
    """Carry out every action of a plan; the outcomes are in the plan's order.

    A file that fails does not stop the others. When `crew.stop` is set, what runs is ended, what came is kept, and
    every file that is not in place is `cancelled`. Files with one task ID are fetched once.
    """
    outcomes: dict[str, FileOutcome] = {}
    work: list[list[FilePlan]] = []
    for group in _groups(plan.files, crew.first):
        idle = [file for file in group if not file.has_work]
        for file in idle:
            outcome = outcomes[file.node.id] = _without_work(file)
            if outcome.outcome is Outcome.FAILED:
                crew.tolerance.spend()
        if busy := [file for file in group if file not in idle]:
            work.append(busy)
    with contextlib.closing(_in_threads(work, crew)) as ending:
        for outcome in ending:
            outcomes[outcome.id] = outcome
    left = untouched if crew.tolerance.is_spent and not crew.stop.is_set() else _cancelled
    return tuple(outcomes.get(file.node.id) or left(file) for file in plan.files)


def untouched(file: FilePlan) -> FileOutcome:
    """A file of a run that did not come to it."""
    if file.action is Action.SKIP:
        return FileOutcome.of(file, Outcome.SKIPPED, verb="UP TO DATE")
    return FileOutcome.of(file, Outcome.PLANNED, verb="NOT BEGUN")


def _groups(files: Sequence[FilePlan], first: frozenset[str]) -> list[list[FilePlan]]:
    """Files with one task ID together, those with one of `first` before the others, then the largest transfers."""
    groups: dict[str, list[FilePlan]] = {}
    for file in files:
        groups.setdefault(file.node.file.task_id, []).append(file)
    return sorted(
        groups.values(), key=lambda group: (first.isdisjoint(file.node.id for file in group), -group[0].to_fetch)
    )


def _in_threads(work: list[list[FilePlan]], crew: Crew) -> Generator[FileOutcome, None, None]:
    todo: queue.SimpleQueue[list[FilePlan]] = queue.SimpleQueue()
    done: Outbox[FileOutcome | BaseException] = Outbox(TELL_SECONDS)
    for group in work:
        todo.put(group)
    threads = _started(min(crew.jobs, len(work)), todo, done, crew)
    try:
        yield from _ended(threads, done, sum(len(group) for group in work), crew)
    except BaseException:
        # A KeyboardInterrupt of a library's user too: nobody goes on behind the caller's back.
        crew.stop.set()
        deadline = time.monotonic() + GRACE_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        raise


def _ended(
    threads: Sequence[threading.Thread],
    done: Outbox[FileOutcome | BaseException],
    left: int,
    crew: Crew,
) -> Iterator[FileOutcome]:
    """The outcomes as they come, until there are `left` of them, or nobody works any more."""
    deadline = float("inf")
    while left:
        if crew.stop.is_set() and deadline == float("inf"):
            deadline = time.monotonic() + GRACE_SECONDS
        # Asked before the look into the box: the last thread may speak, and end, in between.
        is_over = time.monotonic() > deadline or not any(thread.is_alive() for thread in threads)
        outcomes = done.take()
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            left -= 1
            crew.reporter.finished(outcome)
            yield outcome
        if is_over and not outcomes:
            return


def _started(
    count: int,
    todo: queue.SimpleQueue[list[FilePlan]],
    done: Outbox[FileOutcome | BaseException],
    crew: Crew,
) -> list[threading.Thread]:
    """So many threads that work, or as many as are to be had; where there is none, the work is done here and now."""

    turns = Turns()

    def work() -> None:
        while not (crew.stop.is_set() or crew.tolerance.is_spent):
            try:
                group = todo.get_nowait()
            except queue.Empty:
                break
            learned: str | None = None
            for file in group:
                if crew.tolerance.is_spent:
                    break
                try:
                    with turns.taking() if file.node.file.size <= IN_TURNS else contextlib.nullcontext():
                        outcome = Job(file, crew, learned).run()
                except BaseException as error:  # handed to the main thread, which raises it
                    done.put(error)
                    done.hurry()
                    return
                if outcome.outcome is Outcome.FAILED:
                    crew.tolerance.spend()
                learned = outcome.sha256 if outcome.outcome is Outcome.DONE else learned
                done.put(outcome)
        done.hurry()

    threads: list[threading.Thread] = []
    try:
        for _ in range(count):
            # A daemon: a thread that hangs in a connect must not keep an interrupted run from ending.
            thread = threading.Thread(target=work, name="gemmalock-file", daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError:
        if not threads:
            work()
    return threads


def _without_work(file: FilePlan) -> FileOutcome:
    if file.action is Action.SKIP:
        return FileOutcome.of(file, Outcome.SKIPPED, verb="UP TO DATE")
    return failed(file, refused(file))


def _cancelled(file: FilePlan) -> FileOutcome:
    return FileOutcome.of(file, Outcome.CANCELLED, verb="CANCELLED", bytes_here=file.kept)

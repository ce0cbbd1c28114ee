"""Who watches a run: bars on a terminal, plain lines elsewhere, JSON events for programs, or nobody."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from gemmalock.cli.page import Page
from gemmalock.escaping import escaped, shown_json
from gemmalock.lockfile import Node
from gemmalock.outcome import FileOutcome
from gemmalock.sizes import shown_size

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from gemmalock.plan import FilePlan, Plan

#: Seconds between two plain lines, or two events, of one file.
PLAIN_SECONDS = 5.0
EVENT_SECONDS = 0.1


class LineReporter:
    """A line a file on the page, as it ends; `told` are the node IDs that had theirs. The base of all that watch."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.told: set[str] = set()
        self._waiting: set[str] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """No more will come."""

    def planned(self, plan: Plan) -> None: ...

    def hashing(self, node: Node) -> None: ...

    def started(self, file: FilePlan) -> None: ...

    def progress(self, id: str, have: int, size: int) -> None: ...

    def retrying(self, id: str, reason: str, after_seconds: float) -> None: ...

    def waiting(self, id: str, holder: str) -> None: ...

    def finished(self, outcome: FileOutcome) -> None:
        with self._lock:
            self.told.add(outcome.id)
            self.page.outcomes((outcome,))

    def note(self, message: str) -> None:
        with self._lock:
            self.page.warning(message)


class PlainReporter(LineReporter):
    """Now and then a line on standard error: for logs."""

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        self._next: dict[str, float] = {}

    def progress(self, id: str, have: int, size: int) -> None:
        now = time.monotonic()
        with self._lock:
            due = self._next.setdefault(id, now + PLAIN_SECONDS)
            if now < due:
                return
            self._next[id] = now + PLAIN_SECONDS
        share = f" ({100 * have // size} %)" if size else ""
        self._say(id, f"{shown_size(have)} of {shown_size(size)}{share}")

    def retrying(self, id: str, reason: str, after_seconds: float) -> None:
        self._say(id, f"{reason}; trying again in {after_seconds:.1f} s")

    def waiting(self, id: str, holder: str) -> None:
        with self._lock:
            first = id not in self._waiting
            self._waiting.add(id)
        if first:
            self._say(id, f"waiting, {holder}")

    def _say(self, id: str, text: str) -> None:
        if self.page.verbosity >= 0:
            with self._lock:
                click.echo(escaped(f"{self.page.named(id)}: {text}"), err=True)


class EventReporter(LineReporter):
    """A JSON object a line on standard error: `started`, `progress`, `retrying`, `waiting`, `finished`."""

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        self._begun: dict[str, tuple[float, int]] = {}
        self._last: dict[str, float] = {}

    def hashing(self, node: Node) -> None:
        self._start(node, 0)

    def started(self, file: FilePlan) -> None:
        self._start(file.node, file.kept)

    def progress(self, id: str, have: int, size: int) -> None:
        now = time.monotonic()
        if now - self._last.get(id, 0.0) < EVENT_SECONDS and have < size:
            return
        self._last[id] = now
        began, kept = self._begun.get(id, (now, have))
        speed = max(0.0, (have - kept) / (now - began)) if now > began else 0.0
        self._event("progress", id, have=have, size=size, bytes_per_second=round(speed))

    def retrying(self, id: str, reason: str, after_seconds: float) -> None:
        self._event("retrying", id, reason=reason, after_seconds=round(after_seconds, 3))

    def waiting(self, id: str, holder: str) -> None:
        with self._lock:
            first = id not in self._waiting
            self._waiting.add(id)
        if first:
            self._event("waiting", id, reason=holder)

    def finished(self, outcome: FileOutcome) -> None:
        error = outcome.error.code if outcome.error is not None else None
        self._event("finished", outcome.id, outcome=outcome.outcome.value, error=error)
        super().finished(outcome)

    def _start(self, node: Node, have: int) -> None:
        self._begun[node.id] = (time.monotonic(), have)
        self._last.pop(node.id, None)
        self._event("started", node.id, have=have, size=node.file.size)

    def _event(self, event: str, id: str, **rest: object) -> None:
        with self._lock:
            self.page.fresh_line()
            sys.stderr.write(shown_json({"event": event, "id": self.page.named(id), **rest}) + "\n")
            sys.stderr.flush()


class BarReporter(PlainReporter):
    """A bar for the whole and one for each file under way: bytes, speed, time left, from what was kept on. What is
    hashed before a plan is made has bars of its own."""

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._whole: TaskID | None = None
        self._have: dict[str, int] = {}
        self._total = 0
        self._plan: Plan | None = None
        self._hashing: set[str] = set()

    def close(self) -> None:
        if self._bars is not None:
            self._bars.stop()

    def planned(self, plan: Plan) -> None:
        with self._lock:
            self.close()
            self._bars = None
            self._tasks.clear()
            self._hashing.clear()
            self._plan = plan

    def hashing(self, node: Node) -> None:
        with self._lock:
            self._hashing.add(node.id)
            self._add_bar(node, 0)

    def started(self, file: FilePlan) -> None:
        with self._lock:
            self._add_bar(file.node, file.kept)

    def progress(self, id: str, have: int, size: int) -> None:
        with self._lock:
            self._have[id] = have
            if self._bars is None or id not in self._tasks or self._whole is None:
                return
            self._bars.update(self._tasks[id], completed=have)
            self._bars.update(self._whole, completed=sum(self._have.values()))
            if id in self._hashing and have >= size:
                self._bars.remove_task(self._tasks.pop(id))

    def finished(self, outcome: FileOutcome) -> None:
        with self._lock:
            if self._bars is not None and outcome.id in self._tasks:
                self._bars.remove_task(self._tasks.pop(outcome.id))
        super().finished(outcome)

    def _add_bar(self, node: Node, have: int) -> None:
        bars, size = self._made_bars(), node.file.size
        if node.id not in self._have and self._whole is not None:
            # Not of the plan: it is hashed, or `lock` fetches it to know its digest.
            self._have[node.id] = have
            self._total += size
            bars.update(self._whole, total=self._total, completed=sum(self._have.values()))
        self._tasks[node.id] = bars.add_task(escaped(node.file.path), total=size, completed=have)
        bars.start()

    def _made_bars(self) -> Progress:
        if self._bars is not None:
            return self._bars
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        console = Console(stderr=True, no_color=not self.page.error_color)
        # Lines go above the bars only where both are on the terminal: what is piped stays standard output's.
        above = sys.stdout is not None and sys.stdout.isatty()
        self._bars = Progress(*columns, console=console, transient=True, redirect_stdout=above)
        files = self._plan.files if self._plan is not None else ()
        fetched = {file.node.file.task_id: file for file in files if file.to_fetch}
        self._total = sum(file.node.file.size for file in fetched.values())
        self._have = {file.node.id: file.kept for file in fetched.values()}
        self._whole = self._bars.add_task("in all", total=self._total, completed=sum(self._have.values()))
        return self._bars


def reporter_for(choice: str, page: Page) -> LineReporter:
    """The reporter of a run: as `--progress` says; `auto` is bars on a terminal, plain lines elsewhere."""
    if choice == "auto":
        choice = "bar" if sys.stderr is not None and sys.stderr.isatty() and page.verbosity >= 0 else "plain"
    kinds = {"bar": BarReporter, "plain": PlainReporter, "json": EventReporter, "none": LineReporter}
    return kinds[choice](page)

"""One command line in several projects, one after the other, and the end of the whole. What it came to is added up by
`app.together`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeVar

from gemmalock.app.together import Ended, Vantage, together
from gemmalock.cli.page import Page
from gemmalock.cli.running import finish
from gemmalock.cli.state import Part, State
from gemmalock.collect import Collected, absolute
from gemmalock.errors import Deselected, GemmalockError
from gemmalock.outcome import ExitCode, Outcome, Report


class _Run(Protocol):
    @property
    def code(self) -> ExitCode: ...


_AnyRun = TypeVar("_AnyRun", bound=_Run)


@dataclass
class Keeping(Page):
    """A page that keeps the reports for the one of the whole."""

    kept: list[Report] = field(default_factory=list)

    def report(self, report: Report) -> None:
        """Keep it."""
        self.kept.append(report)


def until_interrupted(runs: Iterable[_AnyRun]) -> list[_AnyRun]:
    """The runs that were begun: none after one that was interrupted."""
    begun = []
    for run in runs:
        begun.append(run)
        if run.code is ExitCode.INTERRUPTED:
            break
    return begun


def run_in_each(state: State, found: Sequence[Collected], run: Callable[[State], int]) -> int:
    """Run a command line in each of these projects, as `run` does it in one; the exit code of the whole. Raises
    Deselected where flags leave nothing of any."""
    began = time.monotonic()
    state.project = absolute(state.folder)
    runs = until_interrupted(_runs(state, found, run))
    left_out = [run.page.ended_by for run in runs if isinstance(run.page.ended_by, Deselected)]
    if len(left_out) == len(runs):
        raise Deselected.of(sum(error.count for error in left_out), left_out[0].hint)
    whole = together(state.command, [run.ended for run in runs], time.monotonic() - began)
    if len(runs) < len(found) and whole.exit_code is not ExitCode.INTERRUPTED:
        whole = replace(whole, warnings=(*whole.warnings, _not_begun(state.project, found[len(runs) :])))
    told = {error for run in runs if run.page.ended_by is not None for error in run.as_told.errors}
    return finish(state, whole, told=told, lines=False, summary=any(run.page.closes for run in runs))


@dataclass
class _Lines(Keeping):
    """The page of a run that is a part: it has the lines as they come. What is told at the end, the whole tells."""

    ended_by: GemmalockError | None = None
    #: Whether the command ends with a summary.
    closes: bool = False

    def error(self, error: GemmalockError) -> None:
        """An error that ended the run. Nothing may be left of one project, where something is of another."""
        self.ended_by = error
        if not isinstance(error, Deselected):
            super().error(error)

    def failures(self, report: Report) -> None:
        """They are told at the end."""

    def closing(self, report: Report, kinds: str, durations: int | None) -> None:
        """It is the whole's."""

    def summary(self, report: Report) -> None:
        """It is the whole's."""
        self.closes = True


@dataclass(frozen=True, slots=True)
class _PartRun:
    """How the command line ended in one project."""

    command: str
    vantage: Vantage
    code: ExitCode
    page: _Lines

    @property
    def ended(self) -> Ended:
        """What it came to; where nothing was to be done, that is all."""
        if isinstance(self.page.ended_by, Deselected) or not self.page.kept:
            return Ended(self.vantage, Report(self.command, ExitCode.OK))
        return Ended(self.vantage, self.page.kept[-1])

    @property
    def as_told(self) -> Report:
        """The same as seen from where the run began."""
        return self.vantage.report(self.ended.report)


def _runs(state: State, found: Sequence[Collected], run: Callable[[State], int]) -> Iterator[_PartRun]:
    left = state.maxfail
    for collected in found:
        begun = _run(state, collected, left, run)
        yield begun
        if state.maxfail:
            left -= begun.ended.report.count(Outcome.FAILED)
            if left <= 0:
                return


def _run(state: State, collected: Collected, left: int, run: Callable[[State], int]) -> _PartRun:
    began = absolute(state.folder)
    vantage = Vantage(os.fspath(began), os.fspath(collected.project.folder))
    page = state.page
    if state.verbosity > 0:
        page.heading(vantage.shown)
    part = state.in_part(Part(collected, began, left))
    part.page = lines = _Lines(page.json, page.verbosity, page.color, page.error_color, vantage=vantage)
    code = ExitCode(run(part))
    lines.fresh_line()
    return _PartRun(state.command, vantage, code, lines)


def _not_begun(began: Path, found: Sequence[Collected]) -> str:
    names = ", ".join(f"`{os.path.relpath(project.folder, began)}`" for project, _ in found)
    return f"so many failed that nothing was begun in {names}"

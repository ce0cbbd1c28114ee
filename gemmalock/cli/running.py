"""What every command does at its end: the page gets the report, `--junitxml` its file, the shell the exit code."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container
from dataclasses import replace
from pathlib import Path

from gemmalock.cli.state import State
from gemmalock.errors import GemmalockError, disk_error
from gemmalock.outcome import ErrorNote, ExitCode, Report


def timed(work: Callable[[], Report]) -> Report:
    """The report of some work, with the seconds that it took."""
    began = time.monotonic()
    report = work()
    return replace(report, seconds=time.monotonic() - began)


def finish(
    state: State, report: Report, *, told: Container[object] = (), lines: bool = True, summary: bool = True
) -> int:
    """Write a report's `lines`, errors and summary, less the node IDs and the errors that were `told` as they came. Its
    exit code."""
    page = state.page
    page.outcomes(outcome for outcome in report.files if lines and outcome.id not in told)
    page.fresh_line()
    report = kept(state, report)
    page.report(report)
    page.failures(replace(report, errors=tuple(error for error in report.errors if error not in told)))
    annotate(state, report)
    page.closing(report, state.wishes.kinds, state.wishes.durations)
    if summary:
        page.summary(report)
    return int(report.exit_code)


def kept(state: State, report: Report) -> Report:
    """The report, once it is in the file of `--junitxml`, if there is to be one; where it would not go there, the
    report says so. A run has one such file: the first report that there is."""
    place = state.wishes.junitxml
    if place is None or state.is_kept:
        return report
    from gemmalock.cli.junit import write_junit

    try:
        write_junit(place, report)
    except OSError as error:
        lost = ErrorNote.of(disk_error(error, f"write `{place}`"))
        code = ExitCode.FAILED if report.ok else report.exit_code
        report = replace(report, exit_code=code, errors=(*report.errors, lost))
    state.is_kept = True
    return report


def annotate(state: State, report: Report) -> None:
    """Have a CI runner annotate the run with what went wrong, where one reads along."""
    page = state.page
    if not page.annotates:
        return
    from gemmalock.cli.annotations import Annotations

    checkout = Path(os.environ.get("GITHUB_WORKSPACE") or ".")
    page.annotations(Annotations(_project(state), checkout).of(report, warnings=page.verbosity > -2))


def _project(state: State) -> Path:
    """The folder that paths in errors start at: the project's, or where a command began that found none."""
    if state.project is not None:
        return state.project
    from gemmalock.collect import nearest

    try:
        project = nearest(state.folder)
    except GemmalockError:
        project = None
    return state.folder if project is None else project.folder

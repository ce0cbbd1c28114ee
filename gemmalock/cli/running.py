"""What every command does at its end: the page gets the report, the shell the exit code."""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from dataclasses import replace

from gemmalock.cli.state import State
from gemmalock.outcome import Report


def timed(work: Callable[[], Report]) -> Report:
    """The report of some work, with the seconds that it took."""
    began = time.monotonic()
    report = work()
    return replace(report, seconds=time.monotonic() - began)


def finish(state: State, report: Report, *, told: Container[str] = (), lines: bool = True, summary: bool = True) -> int:
    """Write a report's `lines` (less those of node IDs that were `told` as they came), errors and summary. Its exit
    code."""
    page = state.page
    for outcome in report.files if lines else ():
        if outcome.id not in told:
            page.outcome(outcome)
    page.report(report)
    page.failures(report)
    if summary:
        page.summary(report)
    return int(report.exit_code)

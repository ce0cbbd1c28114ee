"""`gemmalock demo`."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click

from gemmalock.cli.flags import global_flags
from gemmalock.cli.running import finish
from gemmalock.cli.state import State
from gemmalock.demo.story import Step, tell
from gemmalock.outcome import ErrorNote, ExitCode, Report


@click.command("demo")
@global_flags
@click.pass_obj
def command(state: State, /) -> int:
    """Show the whole story on this machine, in seconds and without a network.

    A loopback server with a model; lock; a sync killed half-way by kill -9; the resume; a sync with nothing to do; an
    upstream that changes; a stray. Exit 1 if any step is not what it should be.
    """
    began = time.monotonic()
    errors: list[ErrorNote] = []
    count = 0
    with tempfile.TemporaryDirectory(prefix="gemmalock-demo-") as folder:
        for step in tell(Path(folder), color=state.page.color):
            count += 1
            _show(state, step)
            errors += [ErrorNote("demo", f"{step.title}: {wrong}") for wrong in step.wrong]
    seconds = time.monotonic() - began
    code = ExitCode.FAILED if errors else ExitCode.OK
    report = Report("demo", code, seconds=seconds, errors=tuple(errors), facts=(("steps", count),))
    state.page.line("")
    summary = f"== {count} steps, {f'{len(errors)} wrong' if errors else 'all as they should be'} in {seconds:.2f}s =="
    state.page.passed_on(click.style(summary, fg="red" if errors else "green", bold=True))
    return finish(state, report, summary=False)


def _show(state: State, step: Step) -> None:
    page = state.page
    page.line("")
    page.passed_on(click.style(f"# {step.title}", fg="cyan"))
    page.passed_on(click.style(f"$ {step.command}", bold=True))
    for line in step.output.splitlines():
        page.passed_on(line)
    for fact in step.facts:
        page.passed_on(click.style(f"# {fact}", fg="cyan"))

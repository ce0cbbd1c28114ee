"""`gemmalock init`."""

from __future__ import annotations

import click

from gemmalock.app.starting import write_start
from gemmalock.cli.flags import global_flags
from gemmalock.cli.running import finish
from gemmalock.cli.state import State
from gemmalock.outcome import ExitCode, Report


@click.command("init")
@global_flags
@click.pass_obj
def command(state: State, /) -> int:
    """Write a starting manifest, and the .gitignore line for its root."""
    done = write_start(state.folder)
    if not state.json:
        for sentence in done:
            state.page.line(sentence)
    report = Report("init", ExitCode.OK, facts=(("done", list(done)),))
    return finish(state, report, summary=False)

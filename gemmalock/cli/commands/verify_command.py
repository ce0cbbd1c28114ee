"""`gemmalock verify`."""

from __future__ import annotations

import click

from gemmalock.app.inspecting import run_verify
from gemmalock.cli.flags import global_flags, selectors
from gemmalock.cli.running import finish, timed
from gemmalock.cli.signals import pausing
from gemmalock.cli.state import State


@click.command("verify")
@selectors
@global_flags
@click.pass_obj
def command(state: State, /, selectors: tuple[str, ...]) -> int:
    """Hash what is in place against the lock. Exit 1 on any difference; changes nothing."""
    reporter = state.reporter()
    session = state.begin(selectors, {}, reporter)
    with pausing(state.stop), reporter:
        report = timed(lambda: run_verify(session.workshop, session.papers, session.selection))
    return finish(state, report, told=reporter.told)

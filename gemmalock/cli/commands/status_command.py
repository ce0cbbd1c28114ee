"""`gemmalock status`."""

from __future__ import annotations

import click

from gemmalock.app.inspecting import run_status
from gemmalock.app.session import Choice
from gemmalock.cli.choosing import choosing, show_collected
from gemmalock.cli.flags import global_flags
from gemmalock.cli.opening import open_run
from gemmalock.cli.reporting import reporting_flags
from gemmalock.cli.running import finish, timed
from gemmalock.cli.signals import pausing
from gemmalock.cli.state import State


@click.command("status")
@choosing
@reporting_flags
@global_flags
@click.pass_obj
def command(state: State, /, selectors: tuple[str, ...], choice: Choice) -> int:
    """Show what sync would do and why, a line a file. Uses no network, changes nothing."""
    if state.page.verbosity == 0:
        # What is up to date is what was asked for.
        state.page.verbosity = 1
    session = state.begin(selectors, {}, choice=choice)
    if choice.collect_only:
        return show_collected(state, session, "status")
    open_run(state, session)
    with pausing(state.stop):
        report = timed(lambda: run_status(session.workshop, session.papers, session.selection))
    return finish(state, report)

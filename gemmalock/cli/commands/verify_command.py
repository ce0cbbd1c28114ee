"""`gemmalock verify`."""

from __future__ import annotations

import click

from gemmalock.app.inspecting import run_verify
from gemmalock.app.session import Choice
from gemmalock.cli.choosing import choosing, enduring, show_collected
from gemmalock.cli.flags import global_flags
from gemmalock.cli.opening import open_run
from gemmalock.cli.reporting import reporting_flags
from gemmalock.cli.running import finish, timed
from gemmalock.cli.signals import pausing
from gemmalock.cli.state import State
from gemmalock.stopping import Tolerance


@click.command("verify")
@choosing
@enduring
@reporting_flags
@global_flags
@click.pass_obj
def command(state: State, /, selectors: tuple[str, ...], choice: Choice, maxfail: int) -> int:
    """Hash what is in place against the lock. Exit 1 on any difference; changes nothing."""
    reporter = state.reporter()
    session = state.begin(selectors, {}, reporter, choice)
    if choice.collect_only:
        return show_collected(state, session, "verify")
    tolerance = Tolerance(maxfail or None)
    open_run(state, session)
    with pausing(state.stop), reporter:
        report = timed(lambda: run_verify(session.workshop, session.papers, session.selection, tolerance))
    return finish(state, report, told=reporter.told)

"""`gemmalock outdated`."""

from __future__ import annotations

from typing import Any

import click

from gemmalock.app.outdating import run_outdated
from gemmalock.app.session import Choice
from gemmalock.cli.choosing import choosing, show_collected
from gemmalock.cli.flags import age_settings, flag, global_flags, setting
from gemmalock.cli.opening import open_run
from gemmalock.cli.running import finish, timed
from gemmalock.cli.signals import pausing
from gemmalock.cli.state import State
from gemmalock.outcome import Outcome


@click.command("outdated")
@choosing
@flag("--check", "Exit 1 if anything moved.")
@setting("--offline", "Use no network.", is_flag=True)
@age_settings
@global_flags
@click.pass_obj
def command(state: State, /, selectors: tuple[str, ...], choice: Choice, check: bool, **flags: Any) -> int:
    """Show what upstream has that the lock has not.

    Asks for everything anew, as `lock --upgrade` does, and writes neither lock nor root. A selection (folders,
    manifests, node IDs) asks for its models alone.
    """
    reporter = state.reporter()
    session = state.begin(selectors, flags, reporter, choice)
    if choice.collect_only:
        return show_collected(state, session, "outdated")
    open_run(state, session)
    with pausing(state.stop), reporter:
        report = timed(lambda: run_outdated(session.workshop, session.papers, session.selection, check=check))
    session.workshop.close()
    if report.difference is not None:
        state.page.table(report.difference)
    moved = {file.id for file in report.files if file.outcome is Outcome.PLANNED}
    return finish(state, report, told=moved if state.verbosity >= 0 else ())

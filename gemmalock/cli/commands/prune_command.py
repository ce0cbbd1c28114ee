"""`gemmalock prune`."""

from __future__ import annotations

import click

from gemmalock.app.caring import PruneOptions, run_prune
from gemmalock.cli.flags import flag, global_flags
from gemmalock.cli.opening import open_run
from gemmalock.cli.reporting import summary_flag
from gemmalock.cli.running import finish, timed
from gemmalock.cli.signals import pausing
from gemmalock.cli.state import State


@click.command("prune")
@flag("--dry-run", "Show what would go, and do nothing.")
@flag("--adopt", "Also on a root without a ledger.")
@flag("--allow-empty", "Let a lock without a file prune a root empty.")
@summary_flag
@global_flags
@click.pass_obj
def command(state: State, /, dry_run: bool, adopt: bool, allow_empty: bool) -> int:
    """Take out of the roots what the lock does not list.

    What gemmalock did not write goes to the trash; what git tracks stays.
    """
    session = state.begin((), {})
    open_run(state, session)
    with pausing(state.stop):
        options = PruneOptions(dry_run, adopt, allow_empty)
        report = timed(lambda: run_prune(session.workshop, session.papers, session.selection, options))
    return finish(state, report)

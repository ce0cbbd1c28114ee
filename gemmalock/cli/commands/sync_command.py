"""`gemmalock sync`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import click

from gemmalock.app.session import Choice
from gemmalock.app.syncing import Sync, SyncOptions
from gemmalock.cli.choosing import choosing, enduring, show_collected
from gemmalock.cli.flags import flag, global_flags, sync_settings
from gemmalock.cli.opening import open_run
from gemmalock.cli.reporting import reporting_flags
from gemmalock.cli.running import finish
from gemmalock.cli.signals import pausing
from gemmalock.cli.state import State


@click.command("sync")
@choosing
@flag("--locked", "Fail if the lock is stale, instead of locking first.")
@flag("--frozen", "Go by the lock alone; the manifest is not read.")
@flag("--check", "Change nothing; exit 1 if something would be done.")
@flag("--dry-run", "Show what would be done, and do nothing.")
@flag("--verify", "Hash what is in place, whatever the ledger says.")
@flag("--no-prune", "Leave what the lock does not list.")
@flag("--adopt", "On a root without a ledger: take over what fits, move the rest to the trash.")
@flag("--allow-empty", "Let a lock without a file prune a root empty.")
@enduring
@sync_settings
@reporting_flags
@global_flags
@click.pass_obj
def command(state: State, /, selectors: tuple[str, ...], choice: Choice, **flags: Any) -> int:
    """Make every root what the lock says, then prune.

    Compares the disk with the lock and resumes, discards or skips file by file. Without a lock, or with a stale one,
    it locks first. A selection (folders, manifests, node IDs) never prunes.
    """
    options = SyncOptions(**{field.name: flags.pop(field.name) for field in fields(SyncOptions) if field.name in flags})
    reporter = state.reporter()
    session = state.begin(selectors, flags, reporter, choice)
    if choice.collect_only:
        return show_collected(state, session, "sync")
    open_run(state, session)
    with pausing(state.stop), reporter:
        report = Sync(session.workshop, session.papers, session.selection, options, session.first).run()
    session.workshop.close()
    return finish(state, report, told=reporter.told)

"""`gemmalock diff`."""

from __future__ import annotations

import os

import click

from gemmalock.app.comparing import Sides, run_diff
from gemmalock.cli.flags import flag, global_flags
from gemmalock.cli.running import finish, timed
from gemmalock.cli.state import State


@click.command("diff")
@click.argument("old", required=False)
@click.argument("new", required=False)
@flag("--check", "Exit 1 if they differ.")
@global_flags
@click.pass_obj
def command(state: State, /, old: str | None, new: str | None, check: bool) -> int:
    """Show in what two locks differ.

    OLD and NEW are lock files, or revisions of git: the lock of this project at that commit. Without OLD it is that of
    HEAD, without NEW the one that is here. Uses no network, changes nothing.
    """
    sides = Sides(state.folder, old, new)
    session = state.begin_anywhere({}) if sides.are_files else state.begin((), {})
    report = timed(lambda: run_diff(session.papers, sides, os.environ, check=check))
    if report.difference is not None:
        state.page.table(report.difference)
    return finish(state, report, lines=False)

"""`gemmalock remove`."""

from __future__ import annotations

import click

from gemmalock.app.editing import run_remove
from gemmalock.cli.flags import global_flags
from gemmalock.cli.running import finish, timed
from gemmalock.cli.signals import pausing
from gemmalock.cli.state import State


@click.command("remove")
@click.argument("name")
@global_flags
@click.pass_obj
def command(state: State, /, name: str) -> int:
    """Take a model out of the manifest, keeping comments and layout, then lock."""
    session = state.begin((), {})
    with pausing(state.stop):
        report = timed(lambda: run_remove(session.workshop, session.papers, name))
    session.workshop.close()
    return finish(state, report)

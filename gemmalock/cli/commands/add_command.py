"""`gemmalock add`."""

from __future__ import annotations

from typing import Any

import click

from gemmalock.app.editing import run_add
from gemmalock.cli.flags import age_settings, global_flags
from gemmalock.cli.running import finish, timed
from gemmalock.cli.signals import pausing
from gemmalock.cli.state import State


@click.command("add")
@click.argument("name")
@click.argument("source")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@age_settings
@global_flags
@click.pass_obj
def command(state: State, /, name: str, source: str, files: tuple[str, ...], **flags: Any) -> int:
    """Declare a model in the manifest, keeping comments and layout, then lock.

    SOURCE is a place with FILEs (names or globs) in it, or the URL of one file.
    """
    reporter = state.reporter()
    session = state.begin((), flags, reporter)
    with pausing(state.stop), reporter:
        report = timed(lambda: run_add(session.workshop, session.papers, name, source, files))
    session.workshop.close()
    return finish(state, report)

"""`gemmalock path`."""

from __future__ import annotations

import os

import click

from gemmalock.app.inspecting import find_path
from gemmalock.cli.flags import global_flags
from gemmalock.cli.running import finish
from gemmalock.cli.state import State
from gemmalock.outcome import ErrorNote, ExitCode, Report


@click.command("path")
@click.argument("name", metavar="MODEL[::FILE]")
@global_flags
@click.pass_obj
def command(state: State, /, name: str) -> int:
    """Print the local path of a model's folder, or of one of its files. Exit 1 if it is not in place."""
    session = state.begin((), {})
    found = find_path(session.workshop, session.papers, name)
    in_place = found.missing is None
    report = Report(
        "path",
        ExitCode.OK if in_place else ExitCode.FAILED,
        errors=() if found.missing is None else (ErrorNote.of(found.missing),),
        facts=(("path", str(found.place)), ("in_place", in_place)),
    )
    if in_place and not state.json:
        click.echo(os.fsencode(found.place))
    return finish(state, report, summary=False)

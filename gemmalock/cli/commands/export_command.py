"""`gemmalock export`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from gemmalock.app.exporting import formats, run_export, write_export
from gemmalock.app.session import Choice
from gemmalock.cli.choosing import choosing, show_collected
from gemmalock.cli.flags import global_flags, option
from gemmalock.cli.running import finish
from gemmalock.cli.state import State
from gemmalock.errors import GemmalockError, UsageError
from gemmalock.settings import load_settings


class _Export(click.Command):
    """The command, whose help has the formats that there are."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The formats, also where one plugin keeps all of them from being known."""
        state = ctx.find_object(State)
        assert state is not None
        try:
            rows = list(formats(load_settings(state.folder, os.environ, {"plugin": state.plugin or None})).items())
        except GemmalockError as error:
            rows = [("unknown", f"{error.message}; {error.hint}")]
        with formatter.section("Formats"):
            formatter.write_dl(rows)


@click.command("export", cls=_Export)
@click.argument("format")
@choosing
@option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", envvar="GEMMALOCK_OUTPUT",
        help="Write to FILE, whole or not at all, instead of standard output.")  # fmt: skip
@global_flags
@click.pass_obj
def command(state: State, /, format: str, selectors: tuple[str, ...], choice: Choice, output: Path | None) -> int:
    """Write the lock in the words of another program. Paths in it begin at the project's folder."""
    if state.json and output is None:
        raise UsageError("standard output cannot have both the export and its report", hint="give `--output FILE`")
    session = state.begin(selectors, {}, choice=choice)
    if choice.collect_only:
        return show_collected(state, session, "export")
    data, report = run_export(session.papers, session.selection, format)
    if output is not None:
        write_export(state.folder / output, data)
    else:
        click.echo(data, nl=False)
    return finish(state, report, summary=False)

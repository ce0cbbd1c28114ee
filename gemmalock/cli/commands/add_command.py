"""`gemmalock add`."""

from __future__ import annotations

from typing import Any

import click

from gemmalock.app.editing import Declaration, run_add
from gemmalock.cli.flags import age_settings, global_flags, option
from gemmalock.cli.running import finish, timed
from gemmalock.cli.signals import pausing
from gemmalock.cli.state import State


@click.command("add")
@click.argument("name")
@click.argument("source")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@option(
    "--quant",
    metavar="QUANT",
    envvar="GEMMALOCK_QUANT",
    help="The GGUF files of SOURCE that are of that quantisation, as Q4_K_M, with all their shards.",
)
@age_settings
@global_flags
@click.pass_obj
def command(state: State, /, name: str, source: str, files: tuple[str, ...], quant: str | None, **flags: Any) -> int:
    """Declare a model in the manifest, keeping comments and layout, then lock.

    SOURCE is a place with FILEs (names or globs) in it, or the URL of one file.
    """
    reporter = state.reporter()
    session = state.begin((), flags, reporter)
    with pausing(state.stop), reporter:
        report = timed(lambda: run_add(session.workshop, session.papers, name, Declaration(source, files, quant)))
    session.workshop.close()
    return finish(state, report)

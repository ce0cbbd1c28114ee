"""`gemmalock no-weights`."""

from __future__ import annotations

import os

import click

from gemmalock.app.no_weights import run_no_weights
from gemmalock.cli.flags import global_flags
from gemmalock.cli.running import finish, timed
from gemmalock.cli.state import State


@click.command("no-weights")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@global_flags
@click.pass_obj
def command(state: State, /, files: tuple[str, ...]) -> int:
    """Refuse to commit models: exit 1 if a staged FILE is in a managed root, or has the bytes of a locked file.

    Judges the bytes that git has staged, against every manifest and lock of the repository; without a FILE, all that
    is staged. A pre-commit hook: see docs/pre-commit.md.
    """
    report = timed(lambda: run_no_weights(state.folder, files, os.environ))
    code = finish(state, report, summary=False)
    facts = dict(report.facts)
    if state.verbosity >= 0:
        state.page.line(f"== {facts['judged']} staged, {facts['refused']} refused in {report.seconds:.2f}s ==")
    return code

"""`gemmalock list`."""

from __future__ import annotations

import click

from gemmalock.app.inspecting import run_list
from gemmalock.app.session import Choice
from gemmalock.cli.choosing import choosing, show_collected
from gemmalock.cli.flags import global_flags
from gemmalock.cli.running import finish, timed
from gemmalock.cli.state import State
from gemmalock.sizes import shown_size


@click.command("list")
@choosing
@global_flags
@click.pass_obj
def command(state: State, /, selectors: tuple[str, ...], choice: Choice) -> int:
    """Show the models of the lock with their files, sizes, licences and tags."""
    session = state.begin(selectors, {}, choice=choice)
    if choice.collect_only:
        return show_collected(state, session, "list")
    report = timed(lambda: run_list(session.workshop, session.papers, session.selection))
    if not state.json:
        for outcome in report.files:
            state.page.line("  ".join([outcome.id, shown_size(outcome.size or 0), outcome.reason]))
    return finish(state, report, lines=False, summary=False)

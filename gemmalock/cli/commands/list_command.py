"""`gemmalock list`."""

from __future__ import annotations

from dataclasses import replace

import click

from gemmalock.app.listing import run_list
from gemmalock.app.session import ALL, Choice
from gemmalock.cli.choosing import choosing, show_collected
from gemmalock.cli.flags import flag, global_flags
from gemmalock.cli.running import finish, timed
from gemmalock.cli.state import State
from gemmalock.errors import UsageError
from gemmalock.sizes import shown_size


@click.command("list")
@choosing
@flag("--catalogue", "Show the ready manifests that `gemmalock init --from NAME` takes; -k and -m choose among them.")
@global_flags
@click.pass_obj
def command(state: State, /, selectors: tuple[str, ...], choice: Choice, catalogue: bool) -> int:
    """Show the models of the lock with their files, sizes, licences and tags."""
    if catalogue:
        return _show_catalogue(state, selectors, choice)
    session = state.begin(selectors, {}, choice=choice)
    if choice.collect_only:
        return show_collected(state, session, "list")
    report = timed(lambda: run_list(session.workshop, session.papers, session.selection))
    if not state.json:
        for outcome in report.files:
            state.page.line("  ".join([state.page.named(outcome.id), shown_size(outcome.size or 0), outcome.reason]))
    return finish(state, report, lines=False, summary=False)


def _show_catalogue(state: State, selectors: tuple[str, ...], choice: Choice) -> int:
    """Show the catalogue as a table. No project is looked for."""
    from gemmalock.app.catalogue import GATED, catalogue_report, chosen_entries

    if selectors or replace(choice, keyword=None, tags=None) != ALL:
        raise UsageError(
            "`--catalogue` is about no files of a lock", hint="of what chooses, `-k EXPR` and `-m EXPR` go with it"
        )
    state.insist()
    entries = chosen_entries(choice.keyword, choice.tags)
    if not state.json:
        width = max(len(entry.name) for entry in entries)
        for entry in entries:
            gated = GATED if entry.licence_pages else ""
            tags = " ".join(f"#{tag}" for tag in entry.tags if tag != GATED)
            state.page.line(f"{entry.name:{width}}  {gated:{len(GATED)}}  {entry.title}  {tags}")
        state.page.line(f"== {len(entries)} in the catalogue; `gemmalock init --from NAME` begins with one ==")
    return finish(state, catalogue_report(entries), lines=False, summary=False)

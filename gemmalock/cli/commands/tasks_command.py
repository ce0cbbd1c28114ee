"""`gemmalock tasks`."""

from __future__ import annotations

import click

from gemmalock.app.caring import run_tasks
from gemmalock.cli.flags import global_flags
from gemmalock.cli.running import finish
from gemmalock.cli.state import State
from gemmalock.sizes import shown_size


@click.command("tasks")
@click.argument("what", required=False, type=click.Choice(["clear"]))
@global_flags
@click.pass_obj
def command(state: State, /, what: str | None) -> int:
    """Show the tasks that were begun on this machine; `clear` drops those that no process works on."""
    report = run_tasks(state.begin_anywhere({}).workshop, clear=what == "clear")
    facts = dict(report.facts)
    rows = facts["tasks"]
    assert isinstance(rows, list)
    if not state.json:
        for row in rows:
            names = ", ".join(row["nodes"]) or "asked for by nobody"
            size = shown_size(row["size"]) if row["size"] is not None else "unknown size"
            holder = f"  {row['holder']}" if row["holder"] else ""
            state.page.line(f"{row['task_id']}  {shown_size(row['bytes_kept'])} of {size}  {names}{holder}")
        if what == "clear":
            state.page.line(f"== {facts['cleared']} cleared, {facts['kept_live']} in work ==")
    return finish(state, report, summary=False)

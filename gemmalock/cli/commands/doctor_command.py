"""`gemmalock doctor`."""

from __future__ import annotations

from typing import Any

import click

from gemmalock.app.examining import run_doctor
from gemmalock.cli.flags import global_flags, sync_settings
from gemmalock.cli.running import finish, timed
from gemmalock.cli.state import State
from gemmalock.escaping import escaped
from gemmalock.outcome import Report

_COLORS = {"ok": "green", "no": "cyan", "warning": "yellow", "broken": "red"}


@click.command("doctor")
@sync_settings
@global_flags
@click.pass_obj
def command(state: State, /, **flags: Any) -> int:
    """Show where each setting comes from, and what works here.

    Store, file systems, links, locks, certificates, proxies, and credentials by name, never by value. What can be tried
    is tried, in folders that are gone afterwards; no network is used. The flags of sync show what they would come to.
    Exit 1 where something is broken.
    """
    report = timed(lambda: run_doctor(state.call(flags), state.added))
    if not state.json and state.verbosity >= 0:
        _show(state, report)
    code = finish(state, report, summary=False)
    if not state.json and state.verbosity > -2:
        counts = [(len(report.errors), "broken"), (len(report.warnings), "to look at")]
        told = ", ".join(f"{count} {what}" for count, what in counts if count) or "all works"
        color = "red" if report.errors else "green"
        state.page.passed_on(click.style(f"== {told} in {report.seconds:.2f}s ==", fg=color, bold=True))
    return code


def _show(state: State, report: Report) -> None:
    facts: dict[str, Any] = dict(report.facts)
    page = state.page
    page.line(f"gemmalock {facts['version']}, Python {facts['python']} ({facts['interpreter']}), {facts['system']}")
    page.line(f"project  {facts['project'] or 'none here, nor above'}")
    page.line("")
    page.line("settings")
    rows = [(row["name"], _value(row["value"]), _origin(row)) for row in facts["settings"]]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, origin in rows:
        page.line(f"  {name:{widths[0]}}  {value:{min(widths[1], 40)}}  {origin}")
    topic = ""
    for check in facts["checks"]:
        if check["about"] != topic:
            topic = check["about"]
            page.line("")
            page.line(topic)
        verdict = click.style(f"{check['verdict']:7}", fg=_COLORS[check["verdict"]], bold=True)
        page.passed_on(f"  {verdict}  {escaped(check['what'])}: {escaped(check['says'])}")


def _value(value: object) -> str:
    if value is None or value in ([], {}):
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ", ".join(f"{key} = {target}" for key, target in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _origin(row: dict[str, Any]) -> str:
    over = f" (over {', '.join(row['outweighed'])})" if row["outweighed"] else ""
    return f"{row['origin']}{over}"

"""`gemmalock each`."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from gemmalock.app.projects import Place, Projects, Wanted, projects
from gemmalock.app.weights import PAPERS
from gemmalock.cli.flags import flag, global_flags
from gemmalock.cli.page import Page
from gemmalock.cli.running import finish
from gemmalock.cli.several import Keeping, until_interrupted
from gemmalock.cli.state import State
from gemmalock.codec.report_json import write_report
from gemmalock.errors import UsageError
from gemmalock.outcome import ErrorNote, ExitCode, Report, gravest

#: So many untracked projects are named.
_SHOWN = 10
COMMANDS = ("lock", "sync", "status", "verify")


@click.command("each", context_settings={"ignore_unknown_options": True})
@click.argument("name", metavar="COMMAND", type=click.Choice(COMMANDS))
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[ARG|MANIFEST|LOCK]...")
@flag("--staged", "With `lock --check`: judge manifests and locks as the commit in progress has them, if there is one.")
@global_flags
@click.pass_context
def command(context: click.Context, /, name: str, words: tuple[str, ...], staged: bool) -> int:
    """Run lock, sync, status or verify in every project of this repository.

    A project is where git tracks a gemmalock.lock here or below; for `lock`, also where a gemmalock.yaml has none. A
    MANIFEST or a LOCK that is named means its project alone. What else is said is said to the COMMAND.
    """
    state: State = context.obj
    papers = tuple(word for word in words if os.path.basename(word) in PAPERS and "::" not in word)
    arguments = [name, *(word for word in words if word not in papers)]
    if name != "lock" or "--check" not in arguments:
        # The environment and a settings file speak to every command; what is typed, to this one.
        if staged and context.get_parameter_source("staged") is ParameterSource.COMMANDLINE:
            raise UsageError("`--staged` is for `lock --check` alone", hint="leave `--staged` out")
        staged = False
    began = time.monotonic()
    with projects(state.folder, Wanted(papers, name == "lock", staged), os.environ) as found:
        alone = len(found.places) == 1
        runs = until_interrupted(_run(state, place, arguments, alone=alone) for place in found.places)
    _tell_untracked(state, found)
    return _finish(state, arguments, runs, time.monotonic() - began)


def _tell_untracked(state: State, found: Projects) -> None:
    """Say which projects git does not know: whoever has just made one takes it for one of them."""
    if not found.untracked or state.verbosity < 0:
        return
    shown = ", ".join(f"`{place.shown}`" for place in found.untracked[:_SHOWN])
    rest = f" and {len(found.untracked) - _SHOWN} more" if len(found.untracked) > _SHOWN else ""
    count = "1 project" if len(found.untracked) == 1 else f"{len(found.untracked)} projects"
    state.page.say(
        "note",
        f"passed over {count} that git does not track: {shown}{rest}; `git add` a manifest and its lock to have it",
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """How the command ended in one project."""

    place: Place
    code: ExitCode
    reports: list[Report]


@dataclass
class _Telling(Keeping):
    """A page that also has what a run tells at its end; there is one JSON, that of the whole."""

    reported: bool = True

    def report(self, report: Report) -> None:
        """Write the report's lines, and keep it."""
        super().report(report)
        Page.report(self, report)


def _run(state: State, place: Place, arguments: list[str], *, alone: bool) -> _Run:
    """Run the command line in a project, with what the global flags said of the whole."""
    # It imports the program, which imports this.
    from gemmalock.cli.boundary import ended

    if not alone and state.verbosity > -2:
        state.page.heading(place.shown)
    inner = state.within(place.folder)
    page = state.page
    telling = _Telling(page.json, page.verbosity, page.color, page.error_color, page.annotates)
    inner.page = telling
    return _Run(place, ExitCode(ended(inner, arguments)), telling.kept)


def _finish(state: State, arguments: list[str], runs: list[_Run], seconds: float) -> int:
    """The whole as one report; with a project alone everything was said."""
    line = " ".join(("gemmalock", *arguments))
    notes = tuple(
        ErrorNote("project_failed", f"`{line}` ended with exit code {int(run.code)}", place=run.place.shown)
        for run in runs
        if run.code is not ExitCode.OK
    )
    code = gravest(run.code for run in runs)
    facts = (("projects", [_fact(run) for run in runs]),)
    report = Report("each", code, seconds=seconds, errors=notes if state.json or len(runs) > 1 else (), facts=facts)
    if not runs and state.verbosity >= 0:
        state.page.line("no project here: nothing to do")
    return finish(state, report, summary=False)


def _fact(run: _Run) -> dict[str, Any]:
    reports = [json.loads(write_report(report)) for report in run.reports]
    return {"folder": run.place.shown, "exit_code": int(run.code), "report": reports[-1] if reports else None}

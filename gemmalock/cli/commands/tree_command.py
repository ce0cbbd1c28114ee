"""`gemmalock tree`."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

import click

from gemmalock.app.listing import run_list
from gemmalock.app.session import Choice
from gemmalock.cli.choosing import choosing, show_collected
from gemmalock.cli.flags import global_flags
from gemmalock.cli.running import finish, timed
from gemmalock.cli.state import State
from gemmalock.outcome import FileOutcome
from gemmalock.sizes import shown_size


@click.command("tree")
@choosing
@global_flags
@click.pass_obj
def command(state: State, /, selectors: tuple[str, ...], choice: Choice) -> int:
    """Show the lock as a tree: manifests, models, files with their sizes."""
    session = state.begin(selectors, {}, choice=choice)
    if choice.collect_only:
        return show_collected(state, session, "tree")
    listed = timed(lambda: run_list(session.workshop, session.papers, session.selection))
    report = replace(listed, command="tree")
    if not state.json:
        for manifest, of_manifest in groupby(report.files, key=lambda file: file.id.split("::")[0]):
            state.page.line(state.page.named(manifest))
            models = [(model, list(files)) for model, files in groupby(of_manifest, key=lambda file: file.model)]
            for place, (model, files) in enumerate(models):
                _show_model(state, model, files, last=place == len(models) - 1)
    return finish(state, report, lines=False, summary=False)


def _show_model(state: State, model: str, files: list[FileOutcome], *, last: bool) -> None:
    size = shown_size(sum(file.size or 0 for file in files))
    state.page.line(f"{'└──' if last else '├──'} {model}  {size}  {files[0].reason}")
    for place, file in enumerate(files):
        branch = "└──" if place == len(files) - 1 else "├──"
        name = file.id.split("::", 2)[2]
        state.page.line(f"{'    ' if last else '│   '}{branch} {name}  {shown_size(file.size or 0)}")

"""`gemmalock init`."""

from __future__ import annotations

import click

from gemmalock.app.starting import write_start
from gemmalock.cli.flags import global_flags, option
from gemmalock.cli.running import finish
from gemmalock.cli.state import State
from gemmalock.outcome import ExitCode, Report


@click.command("init")
@option("--from", metavar="NAME", envvar="GEMMALOCK_FROM",
        help="Begin with a ready manifest: `gemmalock list --catalogue` has them.")  # fmt: skip
@global_flags
@click.pass_obj
def command(state: State, /, **told: str | None) -> int:
    """Write a starting manifest, and the .gitignore line for its root."""
    # `from` is a word of Python, and no parameter can be called so.
    name = told["from"]
    pages: tuple[str, ...] = ()
    if name is None:
        done = write_start(state.folder)
    else:
        from gemmalock.app.catalogue import entry_of

        entry = entry_of(name)
        done = write_start(state.folder, entry.text, entry.manifest.root)
        pages = entry.licence_pages
    if not state.json:
        for sentence in done:
            state.page.line(sentence)
        for page in pages:
            state.page.line(f"gated: before `gemmalock lock`, accept the licence at {page} and set `HF_TOKEN`")
    facts: tuple[tuple[str, object], ...] = (("done", list(done)), ("licence_pages", list(pages)))
    return finish(state, Report("init", ExitCode.OK, facts=facts), summary=False)

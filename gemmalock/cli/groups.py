"""Groups of commands that know which command was called, what a misspelt one was meant to be, and `addopts`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click

from gemmalock.cli.state import State
from gemmalock.settings import addopts_in


class NamedGroup(click.Group):
    """A group that notes the called command in the state, for the report of an error."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of the first word. Raises UsageError for one that there is not, with the nearest there is."""
        name, known = args[0], self.list_commands(ctx)
        if name not in known:
            import difflib

            close = difflib.get_close_matches(name, known, n=1)
            raise click.UsageError(
                f"no such command `{name}`" + (f"; did you mean `{close[0]}`?" if close else ""), ctx
            )
        state = ctx.find_object(State)
        assert state is not None
        state.command = f"{state.command} {name}".lstrip()
        called, command, typed = super().resolve_command(ctx, args)
        if command is None or isinstance(command, click.Group):
            return called, command, typed
        return called, command, _with_addopts(state, click.Context(command, ctx, resilient_parsing=True), typed)


def _typed_flags(context: click.Context, typed: list[str]) -> Mapping[str, object]:
    """The flags among the words behind a command, by name; nothing is made of them yet."""
    if not any(word.startswith("-") for word in typed):
        return {}
    return context.command.make_parser(context).parse_args(list(typed))[0]


def _with_addopts(state: State, context: click.Context, typed: list[str]) -> list[str]:
    """The words behind a command, with those that `addopts` puts before them where the run is to happen."""
    given = _typed_flags(context, typed)
    folder = given.get("folder")
    place = state.folder if folder is None else state.towards(Path(str(folder)))
    said = addopts_in(state.said_at(place), os.environ)
    if not said:
        return typed
    from gemmalock.cli.addopts import with_addopts

    return with_addopts(context, said, typed, given)

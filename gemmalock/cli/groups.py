"""Groups of commands that know which command was called, and what a misspelt one was meant to be."""

from __future__ import annotations

import click

from gemmalock.cli.state import State


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
        return super().resolve_command(ctx, args)

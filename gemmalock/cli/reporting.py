"""The flags that say what a run tells at its end, and to whom. They are wishes in the state, and no command's business.

A value is read as the settings file's is, wherever it was said.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from gemmalock.app.outputs import check_output
from gemmalock.cli.flags import option, said_by
from gemmalock.cli.state import State
from gemmalock.collect import absolute
from gemmalock.errors import UsageError
from gemmalock.settings.values import FLAGS, SUMMARY_KINDS

_Function = TypeVar("_Function", bound=Callable[..., Any])


def reporting_flags(function: _Function) -> _Function:
    """`-r`, `--durations` and `--junitxml`: for commands that are about files."""
    for add in reversed((_SUMMARY, _DURATIONS, _JUNIT)):
        function = add(function)
    return function


def summary_flag(function: _Function) -> _Function:
    """`-r` alone."""
    return _SUMMARY(function)


def _wish(context: click.Context, parameter: click.Parameter, value: object) -> None:
    state = context.find_object(State)
    assert state is not None and parameter.name is not None
    if value is None or state.part is not None:
        return
    try:
        read = FLAGS[parameter.name](value)
    except ValueError as error:
        hint = f"see `{context.command_path} --help`"
        raise UsageError(f"`{parameter.opts[0]}` {error}", hint=hint) from None
    if parameter.name == "junitxml":
        try:
            read = _place(state, str(read))
        except UsageError as error:
            if (said := said_by(context, parameter)) is None:
                raise
            state.note([said.problem(error.message, error.hint)])
            return
    wish: dict[str, Any] = {_FIELDS[parameter.name]: read}
    state.wishes = replace(state.wishes, **wish)


def _place(state: State, name: str) -> Path:
    """A file that is named on the command line: relative to where the run happens, as `-C` says."""
    path = Path(name)
    with contextlib.suppress(RuntimeError):  # there is no such user
        path = path.expanduser()
    place = absolute(state.folder / path)
    if place.is_dir():
        raise UsageError(f"`--junitxml` must be a file, and `{place}` is a folder", hint="name a file in it")
    check_output(place, "--junitxml")
    return place


#: A flag → the wish that it is.
_FIELDS = {"summary": "kinds", "durations": "durations", "junitxml": "junitxml"}


def _flag(*names: str, metavar: str, help: str) -> Callable[[_Function], _Function]:
    twins = [f"GEMMALOCK_{name.lstrip('-').upper()}" for name in reversed(names)]
    return option(*names, metavar=metavar, help=help, envvar=twins, expose_value=False, callback=_wish)


_SUMMARY = _flag(
    "-r",
    "--summary",
    metavar="CHARS",
    help=f"Close with a line for each: {', '.join(f'{kind} {what}' for kind, what in SUMMARY_KINDS.items())}.",
)
_DURATIONS = _flag("--durations", metavar="N", help="Show the N files that took longest; 0: every one.")
_JUNIT = _flag("--junitxml", metavar="FILE", help="Write what came of each file to FILE, as JUnit XML.")

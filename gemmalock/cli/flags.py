"""Flags: each has an environment twin, and the global ones may stand before or after the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from gemmalock.cli.state import State
from gemmalock.settings import LINK_MODES

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _twin(name: str) -> str:
    """The environment twin of a flag."""
    return "GEMMALOCK_" + name.lstrip("-").replace("-", "_").upper()


def flag(name: str, help: str) -> Callable[[_Function], _Function]:
    """A flag that is on or off, with its twin GEMMALOCK_<FLAG>."""
    return click.option(name, is_flag=True, help=help, envvar=_twin(name))


def setting(name: str, help: str, **rest: Any) -> Callable[[_Function], _Function]:
    """A flag that is a setting: its twin and its place in the settings file are read with all the others."""
    return click.option(name, default=None, help=f"{help}  [env: {_twin(name)}]", **rest)


def global_flags(function: _Function) -> _Function:
    """The global flags, for the program and for each of its commands."""
    for option in reversed(_GLOBAL):
        function = option(function)
    return function


def selectors(function: _Function) -> _Function:
    """The selectors of a command."""
    return click.argument("selectors", nargs=-1, metavar="[SELECTOR]...")(function)


SYNC_SETTINGS = (
    click.option("-j", "--jobs", default=None, metavar="N", help="Files at once.  [env: GEMMALOCK_JOBS]"),
    setting("--connections", "Connections for each file.", metavar="N"),
    setting("--limit-rate", "A cap over all files and connections, as 20M (bytes a second).", metavar="RATE"),
    setting("--link-mode", "How files come out of the store.", type=click.Choice(LINK_MODES)),
    setting("--offline", "Use no network.", is_flag=True),
)


def sync_settings(function: _Function) -> _Function:
    """The settings that have a flag of `sync`."""
    for option in reversed(SYNC_SETTINGS):
        function = option(function)
    return function


def _set_folder(context: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        state = context.find_object(State)
        assert state is not None
        state.folder = state.folder / value


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, _: click.Parameter, value: Any) -> None:
        state = context.find_object(State)
        assert state is not None
        if value not in (None, False):
            setattr(state, name, value)

    return callback


def _louder(step: int) -> Callable[[click.Context, click.Parameter, int], None]:
    def callback(context: click.Context, _: click.Parameter, value: int) -> None:
        state = context.find_object(State)
        assert state is not None
        state.verbosity += step * value

    return callback


def _global(*names: str, **rest: Any) -> Callable[[_Function], _Function]:
    return click.option(*names, expose_value=False, **rest)


_GLOBAL = (
    _global("-C", "folder", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="DIR",
            callback=_set_folder, help="Run as if started in DIR."),
    _global("-q", "--quiet", count=True, callback=_louder(-1), help="Say less."),
    _global("-v", "--verbose", count=True, callback=_louder(1), help="Say more; -vv most."),
    _global("--color", type=click.Choice(["auto", "always", "never"]), envvar="GEMMALOCK_COLOR",
            callback=_set("color"), help="Colours on standard output."),
    _global("--progress", type=click.Choice(["auto", "bar", "plain", "json", "none"]), envvar="GEMMALOCK_PROGRESS",
            callback=_set("progress"), help="How progress is shown, on standard error."),
    _global("--json", is_flag=True, envvar="GEMMALOCK_JSON", callback=_set("json"),
            help="The report on standard output, everything else on standard error."),
)  # fmt: skip

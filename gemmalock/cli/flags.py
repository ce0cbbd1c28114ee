"""Flags: each has an environment twin, and the global ones may stand before or after the command."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from gemmalock.cli.state import TYPED, State
from gemmalock.errors import Problem, SettingInvalid, UsageError
from gemmalock.settings import flags_in, read_said
from gemmalock.settings.said import From, Said
from gemmalock.settings.values import COLORS, FLAGS, LINK_MODES, PROGRESS

_Function = TypeVar("_Function", bound=Callable[..., Any])
#: A global flag may be given before and after the command: what has more weight counts, then what came last.
_WEIGHTS = {ParameterSource.DEFAULT_MAP: 1, ParameterSource.ENVIRONMENT: 2, ParameterSource.COMMANDLINE: TYPED}


def _twin(name: str) -> str:
    """The environment twin of a flag."""
    return "GEMMALOCK_" + name.lstrip("-").replace("-", "_").upper()


class Flag(click.Option):
    """A flag whose twin is read as the settings file is. What is wrong with it is noted in the state: commands that
    need no setting are not kept from their work, and the others tell all that is wrong at once."""

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """What the twin says, read; None where it says nothing, or what cannot be."""
        said = _twin_said(self)
        if said is None or said.name not in FLAGS:
            return super().value_from_envvar(ctx)
        try:
            return read_said(said)
        except SettingInvalid as error:
            if (state := ctx.find_object(State)) is not None:
                state.note(error.problems)
            return None


def said_by(context: click.Context, parameter: click.Parameter) -> Said | None:
    """Who says what a flag says here, where that is its twin or a settings file."""
    source, state = context.get_parameter_source(str(parameter.name)), context.find_object(State)
    if source is ParameterSource.ENVIRONMENT:
        return _twin_said(parameter)
    if source is not ParameterSource.DEFAULT_MAP or state is None:
        return None
    return next((said for said in reversed(state.said_at(state.folder)) if said.name == parameter.name), None)


def _twin_said(parameter: click.Parameter) -> Said | None:
    """What the environment twin of a flag says."""
    twins = [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar or ()
    twin = next((name for name in twins if os.environ.get(name)), None)
    return Said(str(parameter.name), os.environ[twin], From.ENVIRONMENT, twin) if twin is not None else None


def option(*names: str, **rest: Any) -> Callable[[_Function], _Function]:
    """As `click.option`, for a Flag."""
    return click.option(*names, cls=Flag, **rest)


def flag(name: str, help: str) -> Callable[[_Function], _Function]:
    """A flag that is on or off, with its twin GEMMALOCK_<FLAG>."""
    return option(name, is_flag=True, help=help, envvar=_twin(name))


def setting(name: str, help: str, **rest: Any) -> Callable[[_Function], _Function]:
    """A flag that is a setting: its twin and its place in the settings file are read with all the others."""
    return click.option(name, default=None, help=f"{help}  [env: {_twin(name)}]", **rest)


def global_flags(function: _Function) -> _Function:
    """The global flags, for the program and for each of its commands."""
    for add in reversed(_GLOBAL):
        function = add(function)
    return function


AGE_SETTINGS = (
    setting("--exclude-newer", "Follow a source to what it had at that time at the latest: 2026-11-01 (all of it, UTC) "
            "or 2026-11-01T12:00:00Z.", metavar="DATE"),
    setting("--minimum-age", "Follow a source to what it has had for so long, as 7d, 36h or 2w.", metavar="AGE"),
)  # fmt: skip


def age_settings(function: _Function) -> _Function:
    """The settings that say how new what is locked may be."""
    for add in reversed(AGE_SETTINGS):
        function = add(function)
    return function


SYNC_SETTINGS = (
    click.option("-j", "--jobs", default=None, metavar="N", help="Files at once.  [env: GEMMALOCK_JOBS]"),
    setting(
        "--connections", "Connections for each file; without it, as many as a slow one needs, up to 8.", metavar="N"
    ),
    setting("--limit-rate", "A cap over all files and connections, as 20M (bytes a second).", metavar="RATE"),
    setting("--link-mode", "How files come out of the store.", type=click.Choice(LINK_MODES)),
    setting("--offline", "Use no network.", is_flag=True),
    setting("--no-adopt-caches", "Download also what the hub client's cache has.", is_flag=True),
    *AGE_SETTINGS,
)


def sync_settings(function: _Function) -> _Function:
    """The settings that have a flag of `sync`."""
    for add in reversed(SYNC_SETTINGS):
        function = add(function)
    return function


def _weighed(context: click.Context, parameter: click.Parameter) -> tuple[State, int]:
    """The state, and the weight of what a flag says here: 0 where it says nothing, or less than was said before."""
    state = context.find_object(State)
    assert state is not None and parameter.name is not None
    source = context.get_parameter_source(parameter.name)
    weight = _WEIGHTS.get(source, 0) if source is not None else 0
    return state, weight if weight >= state.weights.get(parameter.name, 0) else 0


def _set_folder(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    """Go there, and take what the settings file of that place says of flags for their defaults."""
    state, weight = _weighed(context, parameter)
    if value is not None and weight:
        place = state.towards(value)
        if not place.is_dir():
            hint = f"see `{context.command_path} --help`"
            if weight == TYPED:
                raise UsageError(f"`{place}` is not a folder", hint=hint)
            wrong = Problem(_twin("directory"), 0, 0, f"`{place}` is not a folder", hint)
            raise SettingInvalid(str(wrong), problems=[wrong])
        state.folder, state.weights["folder"] = place, weight
    # What is wrong there is told by those commands that need a setting.
    context.default_map = flags_in(state.said_at(state.folder))


def _set(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    state, weight = _weighed(context, parameter)
    if weight and parameter.name is not None:
        setattr(state, parameter.name, value)
        state.weights[parameter.name] = weight


def _add_plugins(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> None:
    state = context.find_object(State)
    assert state is not None
    state.plugin += value


def _louder(step: int) -> Callable[[click.Context, click.Parameter, int], None]:
    def callback(context: click.Context, parameter: click.Parameter, value: int) -> None:
        state, weight = _weighed(context, parameter)
        if not weight or parameter.name is None:
            return
        before = state.counted.get(parameter.name, 0)
        again = weight == TYPED == state.weights.get(parameter.name)
        state.counted[parameter.name] = before + value if again else value
        state.weights[parameter.name] = weight
        state.verbosity += step * (state.counted[parameter.name] - before)

    return callback


def _global(*names: str, **rest: Any) -> Callable[[_Function], _Function]:
    return option(*names, expose_value=False, **rest)


_GLOBAL = (
    _global("-C", "--directory", "folder", type=click.Path(path_type=Path), metavar="DIR", is_eager=True,
            envvar="GEMMALOCK_DIRECTORY", callback=_set_folder, help="Run as if started in DIR."),
    _global("-q", "--quiet", count=True, envvar="GEMMALOCK_QUIET", callback=_louder(-1), help="Say less."),
    _global("-v", "--verbose", count=True, envvar="GEMMALOCK_VERBOSE", callback=_louder(1),
            help="Say more; -vv most."),
    _global("--color", type=click.Choice(COLORS), envvar="GEMMALOCK_COLOR", callback=_set,
            help="Whether to use colours; auto: on a terminal."),
    _global("--progress", type=click.Choice(PROGRESS), envvar="GEMMALOCK_PROGRESS", callback=_set,
            help="How progress is shown, on standard error."),
    _global("--json", is_flag=True, envvar="GEMMALOCK_JSON", callback=_set,
            help="The report on standard output, everything else on standard error."),
    _global("-p", "--plugin", multiple=True, metavar="[no:]NAME", callback=_add_plugins,
            help="no:NAME turns a plugin off; NAME is an error where it is not installed.  [env: GEMMALOCK_PLUGIN]"),
)  # fmt: skip

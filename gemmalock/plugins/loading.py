"""The plugins of this environment: found by their entry points, loaded, checked against the specification, and called.

They come from what is installed, never from a project. Nothing here knows what a phase of a run is.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Generic, TypeVar

import pluggy

from gemmalock.errors import GemmalockError, UsageError
from gemmalock.plugins import builtin, specs
from gemmalock.plugins.glimpse import GROUP, may_have_plugins, places
from gemmalock.plugins.guarding import guarded, hint_of, what_it_is, what_was_raised
from gemmalock.plugins.specs import Exporter, Scheme
from gemmalock.spec import SCHEMES

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_Value = TypeVar("_Value")
#: The plugin that brings what is built in.
BUILT_IN = "gemmalock"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_FORMAT = re.compile(r"[a-z0-9][a-z0-9._-]*")
_LOADING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Brought(Generic[_Value]):
    """Something that a plugin brings."""

    plugin: str
    value: _Value


@dataclass(frozen=True)
class Plugins:
    """Loaded plugins, what is built in among them; `names` are those of the others, in order."""

    manager: pluggy.PluginManager
    names: tuple[str, ...]
    schemes: Mapping[str, Brought[Scheme]]
    exporters: Mapping[str, Brought[Exporter]]

    def call(self, hook: str, **arguments: object) -> Iterator[Brought[object]]:
        """Call a hook, plugin by plugin; what each of them returned. Raises GemmalockError with the plugin's name."""
        return _called(self.manager, hook, arguments)

    def implementing(self, hook: str) -> tuple[str, ...]:
        """The names of the plugins that have this hook."""
        return tuple(impl.plugin_name for impl in reversed(_hook(self.manager, hook).get_hookimpls()))


def installed(choices: Sequence[str]) -> Plugins:
    """The plugins of this environment, less those that `no:NAME` turns off; the last word on a name counts.

    Loaded once for each `sys.path`. Raises UsageError for a NAME that is not there, and for a plugin that cannot be
    loaded.
    """
    with _LOADING:
        return _installed(tuple(choices), places())


@lru_cache(maxsize=8)
def _installed(choices: tuple[str, ...], where: tuple[str, ...]) -> Plugins:
    wanted = {choice.removeprefix("no:"): not choice.startswith("no:") for choice in choices}
    points = _entry_points(where)
    for name in (name for name, is_on in wanted.items() if is_on and name not in points):
        there = ", ".join(f"`{point}`" for point in points) or "none"
        raise UsageError(f"there is no plugin `{name}`", hint=f"install the package that has it; there is {there}")
    manager = pluggy.PluginManager(specs.NAMESPACE)
    manager.add_hookspecs(specs)
    names = tuple(name for name in points if wanted.get(name, True))
    # pluggy calls the last one first.
    for name in reversed(names):
        with _loading(name):
            plugin = points[name].load()
            manager.register(plugin, name)
            _refuse_unknown_hooks(manager, plugin)
    manager.register(builtin, BUILT_IN)
    return Plugins(manager, names, _schemes(manager), _exporters(manager))


def _entry_points(where: tuple[str, ...]) -> dict[str, EntryPoint]:
    """The entry point of each plugin, by its name, in order."""
    if not may_have_plugins():
        return {}
    found: dict[str, EntryPoint] = {}
    try:
        points = sorted(_named(where), key=lambda point: (point.name, _package(point)))
    except Exception as error:
        raise UsageError(f"cannot look for plugins: {what_was_raised(error)}") from error
    for point in points:
        if point.name in found or point.name == BUILT_IN:
            both = " and ".join(_package(each) for each in (found.get(point.name), point) if each is not None)
            raise UsageError(f"two plugins are called `{point.name}`: of {both}", hint="uninstall one of them")
        found[point.name] = point
    return found


def _named(where: tuple[str, ...]) -> Iterator[EntryPoint]:
    """Every entry point of the group; of a package that is there twice, those of the one that is imported."""
    from importlib.metadata import distributions

    seen: set[str] = set()
    for package in distributions(path=list(where)):
        points = package.entry_points.select(group=GROUP)
        if points and package.name not in seen:
            seen.add(package.name)
            yield from points


def _package(point: EntryPoint) -> str:
    return f"`{point.dist.name} {point.dist.version}`" if point.dist is not None else f"`{point.value}`"


@contextlib.contextmanager
def _loading(plugin: str) -> Iterator[None]:
    """Whatever goes wrong in here is a plugin that cannot be loaded."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise _unusable(plugin, f"cannot be loaded: {what_was_raised(error)}") from error


def _unusable(plugin: str, says: str) -> UsageError:
    return UsageError(f"plugin `{plugin}` {says}", hint=hint_of(plugin))


def _refuse_unknown_hooks(manager: pluggy.PluginManager, plugin: object) -> None:
    known = {name for name in dir(specs) if name.startswith("gemmalock_")}
    for name in dir(plugin):
        if manager.parse_hookimpl_opts(plugin, name) is not None and name not in known:
            raise ValueError(f"there is no hook `{name}`")


# --- calling -----------------------------------------------------------------------------------------------


def _hook(manager: pluggy.PluginManager, hook: str) -> pluggy.HookCaller:
    caller: pluggy.HookCaller = getattr(manager.hook, hook)
    return caller


def _called(manager: pluggy.PluginManager, hook: str, arguments: Mapping[str, object]) -> Iterator[Brought[object]]:
    """What each plugin returned, one call each: so that it is known whose an exception is."""
    for impl in reversed(_hook(manager, hook).get_hookimpls()):
        try:
            with guarded(impl.plugin_name, f"`{hook}`"):
                others = [plugin for plugin in manager.get_plugins() if plugin is not impl.plugin]
                answers = manager.subset_hook_caller(hook, others)(**arguments)
        except GemmalockError as error:
            if f"plugin `{impl.plugin_name}`" not in error.message:
                error.message = f"plugin `{impl.plugin_name}`: {error.message}"
            raise
        for answer in answers if isinstance(answers, list) else [answers]:
            yield Brought(impl.plugin_name, answer)


# --- what they bring ---------------------------------------------------------------------------------------


def _schemes(manager: pluggy.PluginManager) -> dict[str, Brought[Scheme]]:
    found: dict[str, Brought[Scheme]] = {}
    for name, brought in _brought(manager, "gemmalock_sources"):
        plugin, scheme = brought.plugin, brought.value
        if not isinstance(name, str) or not _SCHEME.fullmatch(name) or not isinstance(scheme, Scheme):
            raise _unusable(plugin, f"brings no scheme: {what_it_is(name)} with {what_it_is(scheme)}")
        if name in SCHEMES:
            raise _unusable(plugin, f"brings `{name}://`, which is built in")
        if name in found:
            raise _twice(f"`{name}://`", found[name].plugin, plugin)
        found[name] = Brought(plugin, scheme)
    return found


def _exporters(manager: pluggy.PluginManager) -> dict[str, Brought[Exporter]]:
    found: dict[str, Brought[Exporter]] = {}
    # What is built in comes first, whatever the order of calls: a clash is the other plugin's.
    answers = sorted(_brought(manager, "gemmalock_exporters"), key=lambda each: each[1].plugin != BUILT_IN)
    for name, brought in answers:
        plugin, exporter = brought.plugin, brought.value
        if not isinstance(name, str) or not _FORMAT.fullmatch(name) or not callable(exporter):
            raise _unusable(plugin, f"brings no format: {what_it_is(name)} with {what_it_is(exporter)}")
        if name in found and found[name].plugin == BUILT_IN:
            raise _unusable(plugin, f"brings the format `{name}`, which is built in")
        if name in found:
            raise _twice(f"the format `{name}`", found[name].plugin, plugin)
        found[name] = Brought(plugin, exporter)
    return found


def _brought(manager: pluggy.PluginManager, hook: str) -> Iterator[tuple[object, Brought[object]]]:
    """The entries of the mappings that plugins returned from a hook that is called once."""
    try:
        answers = list(_called(manager, hook, {}))
    except GemmalockError as error:
        raise UsageError(error.message, hint=error.hint) from error
    for answer in answers:
        if not isinstance(answer.value, Mapping):
            raise _unusable(answer.plugin, f"returned {what_it_is(answer.value)} from `{hook}`, and not a mapping")
        for name, value in answer.value.items():
            yield name, Brought(answer.plugin, value)


def _twice(what: str, first: str, second: str) -> UsageError:
    hint = f"turn one of them off: `-p no:{first}` or `-p no:{second}`"
    return UsageError(f"plugins `{first}` and `{second}` both bring {what}", hint=hint)

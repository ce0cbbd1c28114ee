"""One run: folder, selectors and settings → a workshop and its papers. Shared by the command line and the library."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from gemmalock import seal
from gemmalock.app.papers import Papers
from gemmalock.app.plugging import Chorus, check_plugins
from gemmalock.app.wiring import Silence, Workshop
from gemmalock.collect import Collected, Project, absolute, collect, nearest, prefixes_of
from gemmalock.errors import Problem, UsageError
from gemmalock.selection import Selection
from gemmalock.settings import Settings, load_settings
from gemmalock.stopping import Stop

if TYPE_CHECKING:
    from gemmalock.machine import Reporter
    from gemmalock.narrowing import Filter


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


_Options = TypeVar("_Options", bound=_Dataclass)


@dataclass(frozen=True, slots=True)
class Choice:
    """What of the named files a run is about, in words. `last_failed`: those that failed when they were last tried, or
    all where none did; `failed_first`: all, these first; `collect_only`: only to be shown."""

    keyword: str | None = None
    tags: str | None = None
    deselect: tuple[str, ...] = ()
    last_failed: bool = False
    failed_first: bool = False
    collect_only: bool = False

    @property
    def narrows(self) -> bool:
        """Whether anything was said of which files, if only what leaves none out."""
        said = self.keyword is not None or self.tags is not None
        return said or bool(self.deselect) or self.last_failed


ALL = Choice()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Call:
    """Where a run happens and what it was told. `collected`: what the selectors mean, where that is known. `flags` are
    settings that were given for this run alone; `problems` are known to be in its settings before they are read."""

    folder: Path
    selectors: tuple[str, ...] = ()
    flags: Mapping[str, object] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    reporter: Reporter = field(default_factory=Silence)
    stop: Stop = field(default_factory=Stop)
    choice: Choice = ALL
    problems: tuple[Problem, ...] = ()
    trace: Callable[[str], None] = lambda text: None
    collected: Collected | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Session:
    """A collected project with everything that a command works with. `first`: the node IDs of what goes first."""

    workshop: Workshop
    papers: Papers
    selection: Selection
    first: frozenset[str] = frozenset()


def begin(call: Call, *, anywhere: bool = False) -> Session:
    """Collect and wire. `anywhere`: for what concerns the store alone nothing below is looked at, and where there is
    no project, the folder stands in for one. Raises NothingCollected, UsageError, SettingInvalid."""
    narrowed = _filter(call.choice) if call.choice.narrows else None
    if anywhere:
        project, selection = nearest(call.folder) or Project(absolute(call.folder)), Selection()
    else:
        project, selection = call.collected or collect(call.folder, call.selectors)
    texts = _settings_texts(project.folder)
    settings = load_settings(project.folder, call.environ, call.flags, call.problems)
    check_plugins(settings)
    papers = Papers(project, settings, settings_texts=texts)
    workshop = Workshop(
        project, settings, call.environ, call.reporter, call.stop, first_root=papers.first_root, trace=call.trace
    )
    workshop.reporter = Chorus(call.reporter, workshop.plugging)
    if narrowed is not None:
        narrowed = replace(
            narrowed,
            deselected=tuple(p for text in call.choice.deselect for p in prefixes_of(call.folder, text, project)),
            only=_failed(workshop, papers) if call.choice.last_failed else None,
        )
        selection = replace(selection, filter=narrowed)
    first = _failed(workshop, papers) if call.choice.failed_first else frozenset[str]()
    return Session(workshop, papers, selection, first)


def _filter(choice: Choice) -> Filter:
    """What needs no project to be read. Raises UsageError for what is no expression."""
    # Most runs are about everything there is.
    from gemmalock.expressions import Expression
    from gemmalock.narrowing import Filter

    return Filter(
        Expression.parse(choice.keyword, "-k") if choice.keyword and choice.keyword.strip() else None,
        Expression.parse(choice.tags, "-m") if choice.tags and choice.tags.strip() else None,
    )


def _failed(workshop: Workshop, papers: Papers) -> frozenset[str]:
    from gemmalock.app.failing import failed_before

    return failed_before(workshop, papers)


def _settings_texts(folder: Path) -> Mapping[str, bytes] | None:
    try:
        return seal.settings_in(os.fspath(folder))
    except (OSError, seal.Unsealed):
        return None


def split_options(
    command: str, given: Mapping[str, object], kind: type[_Options]
) -> tuple[_Options, dict[str, object]]:
    """Keyword arguments as (the options of the command, those that are settings). Raises UsageError for a name that
    is neither, and for an option of another type."""
    own = {field.name: field.default for field in fields(kind)}
    settings = settings_of(command, {name: value for name, value in given.items() if name not in own}, own)
    options = {name: _option(command, name, given[name], default) for name, default in own.items() if name in given}
    return kind(**options), settings


def settings_of(command: str, given: Mapping[str, object], own: Iterable[str] = ()) -> dict[str, object]:
    """Keyword arguments that have to be settings. Raises UsageError for a name that is none."""
    known = {field.name for field in fields(Settings)}
    for name in given:
        if name not in known:
            import difflib

            close = difflib.get_close_matches(name, [*known, *own], n=1)
            hint = f"did you mean `{close[0]}`?" if close else "its options are the flags of that command"
            raise UsageError(f"`{command}` has no option `{name}`", hint=hint)
    return dict(given)


def _option(command: str, name: str, value: object, default: object) -> object:
    if isinstance(default, bool) and isinstance(value, bool):
        return value
    if isinstance(default, tuple) and isinstance(value, str):
        return (value,)
    if isinstance(default, tuple) and isinstance(value, Iterable):
        parts = tuple(value)
        if all(isinstance(part, str) for part in parts):
            return parts
    wanted = "true or false" if isinstance(default, bool) else "a name, or several"
    raise UsageError(f"`{name}` of `{command}` must be {wanted}, not {value!r}")

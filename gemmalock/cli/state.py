"""What the global flags say, for the command that runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from gemmalock.app.session import ALL, Call, Choice, Session, begin
from gemmalock.collect import Collected, nearest
from gemmalock.errors import Problem
from gemmalock.settings import refusal
from gemmalock.settings.said import Said, said_in_files
from gemmalock.settings.values import is_true
from gemmalock.stopping import Stop

if TYPE_CHECKING:
    from gemmalock.cli.page import Page
    from gemmalock.cli.progress import LineReporter
    from gemmalock.machine import Reporter

#: The global flags that count by their weight.
_GLOBAL = ("folder", "quiet", "verbose", "color", "progress", "json")
#: The weight of a flag that was typed, as against one that a variable or a file gave.
TYPED = 3


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a run is to tell at its end: `-r`, `--durations`, and the file of `--junitxml`."""

    kinds: str = ""
    durations: int | None = None
    junitxml: Path | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What a run has to do in one of several projects: what was collected there; `began`, the folder that the whole
    began in, which selectors are from; and how many failures it takes (0: any number)."""

    collected: Collected
    began: Path
    maxfail: int = 0


@dataclass(eq=False, repr=False)
class State:
    """The global flags, and what a command needs to speak and to be stopped. `project`: the folder of the project that
    the run is about, once that is known; `is_kept`: the run has its file of `--junitxml`; `maxfail`: how many failures
    it takes (0: any number); `part`: it is about one of several projects."""

    command: str = ""
    folder: Path = field(default_factory=Path)
    verbosity: int = 0
    color: str = "auto"
    progress: str = "auto"
    json: bool = False
    #: Plugins that are wanted, or (`no:NAME`) not.
    plugin: tuple[str, ...] = ()
    stop: Stop = field(default_factory=Stop)
    wishes: Wishes = Wishes()
    project: Path | None = None
    is_kept: bool = False
    maxfail: int = 0
    part: Part | None = None
    #: How much weight what a global flag says has so far, and how often one that counts was counted.
    weights: dict[str, int] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    #: What `addopts` put before the typed flags of the command, by name with its origin; and what is wrong with it.
    added: dict[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    _said: dict[Path, tuple[Said, ...]] = field(default_factory=dict)

    def towards(self, place: Path) -> Path:
        """Where `-C place` leads: as in git from where one before it led, and not from where a variable did."""
        return self.folder / place if self.weights.get("folder") == TYPED else place

    def said_at(self, folder: Path) -> tuple[Said, ...]:
        """What the settings files say for a run in `folder`; read once."""
        if folder not in self._said:
            project = nearest(folder)
            self._said[folder] = tuple(said_in_files(project.folder if project is not None else folder)[0])
        return self._said[folder]

    @cached_property
    def page(self) -> Page:
        """Where the command writes."""
        from gemmalock.cli.page import Page

        color, error_color = (wants_color(self.color, os.environ, stream) for stream in (sys.stdout, sys.stderr))
        return Page(
            json=self.json,
            verbosity=self.verbosity,
            color=color,
            error_color=error_color,
            annotates=is_true(os.environ.get("GITHUB_ACTIONS", "")),
        )

    def reporter(self) -> LineReporter:
        """Who watches the run."""
        from gemmalock.cli.progress import reporter_for

        return reporter_for(self.progress, self.page)

    def begin(
        self,
        selectors: tuple[str, ...],
        flags: Mapping[str, object],
        reporter: Reporter | None = None,
        choice: Choice = ALL,
    ) -> Session:
        """Collect the project that the command is about."""
        call = replace(self.call(flags, selectors), choice=choice)
        return begin(call if reporter is None else replace(call, reporter=reporter))

    def begin_anywhere(self, flags: Mapping[str, object]) -> Session:
        """The same for a command that is about this machine's store: there need not be a project."""
        return begin(self.call(flags), anywhere=True)

    def call(self, flags: Mapping[str, object], selectors: tuple[str, ...] = ()) -> Call:
        """Where the command runs, and what it was told."""
        problems = self.problems
        told = {**flags, "plugin": self.plugin or None}
        call = Call(self.folder, selectors, told, os.environ, stop=self.stop, problems=problems, trace=self._trace)
        return call if self.part is None else replace(call, folder=self.part.began, collected=self.part.collected)

    def takes(self, maxfail: int) -> int:
        """How many failures the run takes (0: any number), where its flags say `maxfail`."""
        bounds = (maxfail, self.part.maxfail if self.part is not None else 0)
        self.maxfail = min(filter(None, bounds), default=0)
        return self.maxfail

    def note(self, problems: Iterable[Problem]) -> None:
        """Keep what is wrong with settings, each once, for a command that needs a setting."""
        self.problems = tuple(dict.fromkeys((*self.problems, *problems)))

    def insist(self) -> None:
        """Raise SettingInvalid with what was noted: for a command that reads no settings, and goes by twins."""
        if self.problems:
            raise refusal(self.problems)

    def _trace(self, message: str) -> None:
        self.page.trace(message)

    def within(self, folder: Path) -> State:
        """The same flags for a run in another folder, whatever the environment says of folders."""
        weights = self.weights | {"folder": sys.maxsize}
        return replace(self, command="", folder=folder, weights=weights, counted=dict(self.counted), project=None)

    def in_part(self, part: Part) -> State:
        """The same for a part of the run: its command line is read once more, for what the project's settings say of
        it. What the global flags and the wishes are was said of the whole."""
        inner = self.within(part.collected.project.folder)
        weights = dict.fromkeys(_GLOBAL, sys.maxsize)
        return replace(
            inner, part=part, weights=weights, plugin=(), wishes=Wishes(), is_kept=True, added={}, problems=()
        )


def wants_color(choice: str, environ: Mapping[str, str], stream: TextIO | None) -> bool:
    """Whether to colour what goes to a stream: the flag, then NO_COLOR, FORCE_COLOR, then whether it is a terminal."""
    if choice != "auto":
        return choice == "always"
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return stream is not None and stream.isatty() and environ.get("TERM") != "dumb"

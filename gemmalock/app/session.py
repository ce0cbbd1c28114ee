"""One run: folder, selectors and settings → a workshop and its papers. Shared by the command line and the library."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gemmalock.app.papers import Papers
from gemmalock.app.wiring import Silence, Workshop
from gemmalock.collect import Project, Selection, collect
from gemmalock.errors import NothingCollected, UsageError
from gemmalock.ports import Reporter
from gemmalock.settings import load_settings
from gemmalock.stopping import Stop


@dataclass(frozen=True, slots=True)
class Call:
    """Where a run happens and what it was told. `flags` are settings that were given for this run alone."""

    folder: Path
    selectors: tuple[str, ...] = ()
    flags: Mapping[str, object] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    reporter: Reporter = field(default_factory=Silence)
    stop: Stop = field(default_factory=Stop)


@dataclass(frozen=True, slots=True)
class Session:
    """A collected project with everything that a command works with."""

    workshop: Workshop
    papers: Papers
    selection: Selection


def begin(call: Call, *, anywhere: bool = False) -> Session:
    """Collect and wire. `anywhere`: where there is no project, the folder stands in for one, for what concerns the
    store alone. Raises NothingCollected, UsageError, SettingInvalid."""
    try:
        project, selection = collect(call.folder, call.selectors)
    except (NothingCollected, UsageError):
        if not anywhere:
            raise
        project, selection = Project(Path(os.path.abspath(call.folder))), Selection()
    settings = load_settings(project.folder, call.environ, call.flags)
    workshop = Workshop(project, settings, call.environ, call.reporter, call.stop)
    return Session(workshop, Papers(project, settings), selection)


def split_options(options: Mapping[str, object], own: Sequence[str]) -> tuple[dict[str, object], dict[str, object]]:
    """Keyword arguments as (those of the command, those that are settings)."""
    return (
        {name: value for name, value in options.items() if name in own},
        {name: value for name, value in options.items() if name not in own},
    )

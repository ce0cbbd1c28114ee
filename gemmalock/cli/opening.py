"""What a run says before it begins, to those who asked for more: who runs, and on what."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence

from gemmalock import __version__
from gemmalock.app.plugging import plugins_of
from gemmalock.app.session import Session
from gemmalock.cli.state import State
from gemmalock.errors import GemmalockError

#: So many manifests are named; of the others it is said how many they are.
_NAMED = 5


def open_run(state: State, session: Session) -> None:
    """Note which project the run is about, and with `-v` say so: version, Python, manifests, store and plugins."""
    state.project = session.workshop.project.folder
    if state.verbosity > 0:
        for line in _header(session):
            state.page.line(line)


def _header(session: Session) -> Iterator[str]:
    yield f"gemmalock {__version__}, Python {sys.version.split()[0]}, {sys.platform}"
    yield f"root: {session.workshop.project.folder}"
    # What is wrong with them is the run's to tell.
    with contextlib.suppress(GemmalockError):
        yield f"manifests: {_listed(session.papers.paths)}"
    with contextlib.suppress(GemmalockError):
        yield f"store: {session.workshop.store_folder}"
    with contextlib.suppress(GemmalockError):
        if (plugins := plugins_of(session.workshop.settings)) is not None:
            yield f"plugins: {', '.join(plugins.names)}"


def _listed(names: Sequence[str]) -> str:
    told = ", ".join(names[:_NAMED])
    return told if len(names) <= _NAMED else f"{told} and {len(names) - _NAMED} more"

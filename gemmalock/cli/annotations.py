"""Workflow commands that make errors and warnings annotations of a run on GitHub, at their place in the manifest.

Form and escapes: "Workflow commands for GitHub Actions", and the runner's ActionCommand.cs, which reads them. A line
that is made here is the only one of ours that may begin with `::`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gemmalock.errors import Interrupted
from gemmalock.escaping import escaped
from gemmalock.lockfile import LOCK_NAME
from gemmalock.outcome import ErrorNote, FileOutcome, Report

#: Somebody's wish; and what `each` says of a project that has said everything itself.
_UNTOLD = frozenset({Interrupted.code, "project_failed"})
_PLACE = re.compile(r"(?P<path>.+?)(?::(?P<line>\d+):(?P<column>\d+))?", re.DOTALL)
#: No manifest that is looked into for a line is larger.
_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is: a file as GitHub names it, or empty; line and column from 1, or 0."""

    file: str = ""
    line: int = 0
    column: int = 0


def workflow_command(kind: str, title: str, message: str, place: Place = Place()) -> str:
    """A line that the runner takes for a command; `message` may have several lines."""
    told = {"file": place.file, "line": place.line, "col": place.column, "title": title}
    properties = ",".join(f"{name}={_property(str(value))}" for name, value in told.items() if value)
    return f"::{kind} {properties}::{_message(message)}"


def _message(text: str) -> str:
    lines = (escaped(line) for line in text.split("\n"))
    return "%0A".join(line.replace("%", "%25") for line in lines)


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


@dataclass(frozen=True, slots=True)
class Annotations:
    """The annotations of runs in a project in `folder`; `checkout` is the folder that GitHub counts paths from."""

    folder: Path
    checkout: Path
    _models: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)

    def of(self, report: Report, *, warnings: bool = True) -> Iterator[str]:
        """The lines for everything that went wrong here."""
        for outcome in report.files:
            if outcome.error is not None:
                title = outcome.id.partition("::")[2]
                yield workflow_command("error", title, _told(outcome.error), self._place_of_file(outcome))
        for error in report.errors:
            if error.code not in _UNTOLD:
                yield workflow_command("error", f"gemmalock {report.command}", _told(error), self._place_of(error))
        for warning in report.warnings if warnings else ():
            yield workflow_command("warning", f"gemmalock {report.command}", warning)

    def _place_of(self, error: ErrorNote) -> Place:
        found = _PLACE.fullmatch(error.place)
        if found is None or not (file := self._file(found["path"])):
            return Place()
        return Place(file, int(found["line"] or 0), int(found["column"] or 0))

    def _place_of_file(self, outcome: FileOutcome) -> Place:
        """Where the file's model is declared; the lock, where there is no manifest."""
        manifest = outcome.id.partition("::")[0]
        if file := self._file(manifest):
            return Place(file, *self._models_of(manifest).get(outcome.model, (0, 0)))
        return Place(self._file(LOCK_NAME))

    def _file(self, path: str) -> str:
        """A path from the project's folder as GitHub has it; empty where there is no such file."""
        with contextlib.suppress(OSError):
            # The folder may be reached through links; what a link in it is called is what people know.
            place = self.folder.resolve() / path
            if path and place.is_file():
                inside = place.is_relative_to(self.checkout.resolve())
                return place.relative_to(self.checkout.resolve()).as_posix() if inside else str(place)
        return ""

    def _models_of(self, manifest: str) -> dict[str, tuple[int, int]]:
        if manifest not in self._models:
            self._models[manifest] = _model_places(self.folder / manifest)
        return self._models[manifest]


def _told(error: ErrorNote) -> str:
    return f"{error.message}\nhint: {error.hint}" if error.hint else error.message


def _model_places(path: Path) -> dict[str, tuple[int, int]]:
    from gemmalock.codec.manifest import model_places
    from gemmalock.durable import read_file

    try:
        return {name: (place.line, place.column) for name, place in model_places(read_file(path, _MAX_BYTES)).items()}
    except OSError:
        return {}

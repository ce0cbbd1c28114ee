"""What a run came to in each of several projects, as one report that names everything from where the run began."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gemmalock.differing import FileChange, LockDifference, ModelChange
from gemmalock.lockfile import LOCK_NAME
from gemmalock.outcome import ErrorNote, FileOutcome, LockChange, ProjectEnd, Report, gravest
from gemmalock.settings.said import FILES
from gemmalock.spec import MANIFEST_NAME

#: What may be wrong and lies in the folder of a project. Anything else that has a name is a variable's or a flag's.
_PAPERS = frozenset({MANIFEST_NAME, LOCK_NAME, *FILES})
#: The facts that are lists of node IDs.
_IDS = frozenset({"collected", "added", "changed", "removed"})


@dataclass(frozen=True, slots=True)
class Vantage:
    """The folder that a run began in, and that of the project that is named from there; both absolute."""

    began: str
    folder: str

    @property
    def shown(self) -> str:
        """The project's folder."""
        return os.path.relpath(self.folder, self.began)

    def name(self, name: str) -> str:
        """A path in the project, or a node ID of it."""
        path, separator, rest = name.partition("::")
        return f"{os.path.relpath(os.path.join(self.folder, path), self.began)}{separator}{rest}"

    def place(self, place: str) -> str:
        """The place of something that is wrong, which may have a line and a column."""
        path, colon, rest = place.partition(":")
        if not place:
            return self.shown
        return f"{self.name(path)}{colon}{rest}" if path.rpartition("/")[2] in _PAPERS else place

    def says(self, message: str) -> str:
        """A sentence that the project alone would have known the place of."""
        return f"{self.shown}: {message}"

    def difference(self, found: LockDifference) -> LockDifference:
        """In what its locks differ."""
        manifests = tuple(replace(each, path=self.name(each.path)) for each in found.manifests)
        return LockDifference(manifests, tuple(self._model(each) for each in found.models))

    def _model(self, change: ModelChange) -> ModelChange:
        files = tuple(FileChange(self.name(file.id), file.before, file.after) for file in change.files)
        return replace(change, id=self.name(change.id), files=files)

    def report(self, report: Report) -> Report:
        """What a run in it came to."""
        return replace(
            report,
            files=tuple(self._file(file) for file in report.files),
            pruned=tuple(replace(gone, path=self.name(gone.path)) for gone in report.pruned),
            strays_kept=tuple(replace(stray, path=self.name(stray.path)) for stray in report.strays_kept),
            lock=report.lock and LockChange(self.name(report.lock.path), report.lock.changed),
            errors=tuple(self._note(error) for error in report.errors),
            warnings=tuple(self.says(warning) for warning in report.warnings),
            facts=tuple((name, self._fact(name, value)) for name, value in report.facts),
            difference=report.difference and self.difference(report.difference),
        )

    def _file(self, file: FileOutcome) -> FileOutcome:
        return replace(file, id=self.name(file.id), path=self.name(file.path))

    def _note(self, error: ErrorNote) -> ErrorNote:
        return replace(error, place=self.place(error.place))

    def _fact(self, name: str, value: object) -> object:
        if name in _IDS and isinstance(value, list):
            return [self.name(id) for id in value]
        if name == "shared" and isinstance(value, list):
            return [{**pin, "models": [self.name(id) for id in pin["models"]]} for pin in value]
        return value


@dataclass(frozen=True, slots=True)
class Ended:
    """What a run came to in a project, as the project names things."""

    vantage: Vantage
    report: Report


def together(command: str, ends: Sequence[Ended], seconds: float) -> Report:
    """The report of the whole, in the order of the projects."""
    reports = [end.vantage.report(end.report) for end in ends]
    differences = [report.difference for report in reports if report.difference is not None]
    return Report(
        command,
        gravest(report.exit_code for report in reports),
        files=tuple(file for report in reports for file in report.files),
        pruned=tuple(gone for report in reports for gone in report.pruned),
        strays_kept=tuple(stray for report in reports for stray in report.strays_kept),
        seconds=seconds,
        # What is wrong with a variable is wrong in every project.
        errors=tuple(dict.fromkeys(error for report in reports for error in report.errors)),
        warnings=tuple(warning for report in reports for warning in report.warnings),
        facts=tuple(_added_up(report.facts for report in reports).items()),
        difference=_joined(differences) if differences else None,
        projects=tuple(
            ProjectEnd(end.vantage.shown, report.exit_code, report.lock)
            for end, report in zip(ends, reports, strict=True)
        ),
    )


def _joined(differences: Iterable[LockDifference]) -> LockDifference:
    manifests, models = zip(*((found.manifests, found.models) for found in differences), strict=True)
    return LockDifference(sum(manifests, ()), sum(models, ()))


def _added_up(facts: Iterable[Iterable[tuple[str, object]]]) -> Mapping[str, object]:
    """Lists become one; what holds for one of them holds; figures are added."""
    whole: dict[str, object] = {}
    for name, value in (fact for own in facts for fact in own):
        before = whole.get(name)
        if isinstance(before, list) and isinstance(value, list):
            whole[name] = [*before, *value]
        elif isinstance(before, int) and isinstance(value, int) and not isinstance(value, bool):
            whole[name] = before + value
        else:
            whole[name] = before or value
    return whole

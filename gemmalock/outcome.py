"""What came of a run: outcomes, the report, exit codes. Its JSON is the codec's, its text the command line's."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gemmalock.errors import FileError, GemmalockError, InputError, Interrupted, NotFound, Problem
from gemmalock.lockfile import Node, follows

if TYPE_CHECKING:
    from gemmalock.differing import LockDifference
    from gemmalock.plan import Action, FilePlan, ResumeStatus

REPORT_VERSION = 1


class ExitCode(enum.IntEnum):
    """pytest's exit codes."""

    OK = 0
    FAILED = 1
    INTERRUPTED = 2
    INTERNAL = 3
    USAGE = 4
    NOTHING_COLLECTED = 5


#: What a whole ends with is the first of these that a part of it ended with.
_GRAVEST = (
    ExitCode.INTERRUPTED,
    ExitCode.INTERNAL,
    ExitCode.USAGE,
    ExitCode.FAILED,
    ExitCode.NOTHING_COLLECTED,
    ExitCode.OK,
)


class Outcome(enum.StrEnum):
    """How it ended for one file."""

    DONE = "done"
    SKIPPED = "skipped"
    PLANNED = "planned"
    FAILED = "failed"
    CANCELLED = "cancelled"


#: The cure of a file that the lock has, and its model's source has not: a glob forgets it, a name has to be changed.
_GONE = (
    "if it is gone from there, run `gemmalock lock --upgrade-model {}`; where `files` of the manifest has its very "
    "name, change that first"
)


@dataclass(frozen=True, slots=True)
class ErrorNote:
    """An error as data: a stable code, what happened, what to do about it, and where (a place in a file)."""

    code: str
    message: str
    hint: str = ""
    place: str = ""

    @classmethod
    def of(cls, error: GemmalockError) -> ErrorNote:
        """The note of an error."""
        return cls(error.code, error.message, error.hint)

    @classmethod
    def of_pin(cls, error: GemmalockError, model: str, *, in_source: bool) -> ErrorNote:
        """The note of an error with a model's locked file; `in_source`: the manifest has it by a name or a glob in the
        model's source. One that is gone from there is not to be looked for in the manifest alone."""
        note = cls.of(error)
        if not in_source or not isinstance(error, NotFound) or error.hint != NotFound.default_hint:
            return note
        return replace(note, hint=_GONE.format(model))

    @classmethod
    def of_problem(cls, error: InputError, problem: Problem) -> ErrorNote:
        """The note of one problem of an input error."""
        place = f"{problem.path}:{problem.line}:{problem.column}" if problem.line else problem.path
        return cls(error.code, problem.message, problem.hint or error.hint, place)


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """What came of one file. `path` is from the workspace root; sizes in bytes, `seconds` of wall time.

    `bytes_kept` came in an earlier run and are used by this one; `bytes_here` are all that an unfinished file has on
    the disk, for the next run to go on from. `resume_status`, `action` are None for commands that do not look at the
    disk. `verb` is the word that the line of a run begins with, as `RESUMED`.
    """

    id: str
    model: str
    path: str
    task_id: str | None
    size: int | None
    sha256: str | None
    resume_status: ResumeStatus | None
    reason: str
    action: Action | None
    outcome: Outcome
    bytes_kept: int = 0
    bytes_fetched: int = 0
    seconds: float = 0.0
    error: ErrorNote | None = None
    verb: str = ""
    notes: tuple[str, ...] = ()
    bytes_here: int = 0

    @property
    def told(self) -> str:
        """The reason and what was noted on the way, as one: what a note repeats is said once."""
        parts = tuple(dict.fromkeys(part for part in (self.reason, *self.notes) if part))
        return "; ".join(part for part in parts if not any(other.endswith(f": {part}") for other in parts))

    @classmethod
    def of(cls, file: FilePlan, outcome: Outcome, **rest: object) -> FileOutcome:
        """The outcome of a planned file; `rest` are further fields."""
        node = file.node
        values: dict[str, object] = {
            "bytes_kept": file.kept,
            "sha256": node.file.sha256 or file.sha256,
            "resume_status": file.resume_status,
            "reason": file.reason,
            "action": file.action,
        } | rest
        return cls.of_node(node, outcome, **values)

    @classmethod
    def of_node(cls, node: Node, outcome: Outcome, **rest: object) -> FileOutcome:
        """The outcome of a locked file for a command that made no plan; `rest` are further fields."""
        values: dict[str, object] = {
            "id": node.id,
            "model": node.model.name,
            "path": node.path,
            "task_id": node.file.task_id,
            "size": node.file.size,
            "sha256": node.file.sha256,
            "resume_status": None,
            "reason": "",
            "action": None,
            "outcome": outcome,
        } | rest
        return cls(**values)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Pruned:
    """A stray that is no longer in a root. `to` is `trash`, or `store` where the store still has its bytes."""

    path: str
    size: int
    to: str


@dataclass(frozen=True, slots=True)
class StrayKept:
    """A stray that was left where it is, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class LockChange:
    """Where the lock is, from the workspace root, and whether the run changed it."""

    path: str
    changed: bool


@dataclass(frozen=True, slots=True)
class ProjectEnd:
    """How a run ended in one of several projects, whose `folder` is from where the run began."""

    folder: str
    exit_code: ExitCode
    lock: LockChange | None


@dataclass(frozen=True, slots=True)
class Summary:
    """How many files ended how, what was pruned, and what came: bytes, and seconds of wall time."""

    done: int
    skipped: int
    planned: int
    failed: int
    cancelled: int
    pruned: int
    bytes_fetched: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """What a command did. `errors` are those of the run as a whole; `facts` are a command's own figures; `difference`,
    of the two locks that it is about: the one before and the one after, where it is about two; `projects`, how it ended
    in each, where it is about several: then they have the locks."""

    command: str
    exit_code: ExitCode
    files: tuple[FileOutcome, ...] = ()
    pruned: tuple[Pruned, ...] = ()
    strays_kept: tuple[StrayKept, ...] = ()
    lock: LockChange | None = None
    seconds: float = 0.0
    errors: tuple[ErrorNote, ...] = ()
    warnings: tuple[str, ...] = ()
    facts: tuple[tuple[str, object], ...] = field(default=())
    difference: LockDifference | None = None
    projects: tuple[ProjectEnd, ...] = ()

    def count(self, outcome: Outcome) -> int:
        """How many files ended so."""
        return sum(1 for file in self.files if file.outcome is outcome)

    @property
    def bytes_fetched(self) -> int:
        """Bytes that came from sources, over all files."""
        return sum(file.bytes_fetched for file in self.files)

    @property
    def locks_written(self) -> int:
        """How many locks the run changed."""
        locks = (self.lock, *(project.lock for project in self.projects))
        return sum(1 for lock in locks if lock is not None and lock.changed)

    @property
    def summary(self) -> Summary:
        """The figures of the run."""
        counts = {outcome.value: self.count(outcome) for outcome in Outcome}
        return Summary(**counts, pruned=len(self.pruned), bytes_fetched=self.bytes_fetched, seconds=self.seconds)

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return self.exit_code is ExitCode.OK


def exit_code_of(outcomes: Iterable[FileOutcome]) -> ExitCode:
    """The exit code of a run with these outcomes: an interruption beats a failure."""
    results = {outcome.outcome for outcome in outcomes}
    if Outcome.CANCELLED in results:
        return ExitCode.INTERRUPTED
    return ExitCode.FAILED if Outcome.FAILED in results else ExitCode.OK


def gravest(codes: Iterable[ExitCode]) -> ExitCode:
    """The exit code of a whole whose parts ended with these."""
    return min(codes, key=_GRAVEST.index, default=ExitCode.OK)


def exit_code_after(error: GemmalockError) -> ExitCode:
    """The exit code of a run that did something, and that this error ended or marred: another one than where the error
    kept it from doing anything."""
    return ExitCode.INTERRUPTED if isinstance(error, Interrupted) else ExitCode.FAILED


def failed(file: FilePlan, error: FileError, **rest: object) -> FileOutcome:
    """The outcome of a planned file that could not be had."""
    node = file.node
    source, name = node.model.source, node.file.name
    in_source = source is not None and follows(node.file.url, source, node.model.revision, name)
    note = ErrorNote.of_pin(error, node.model.name, in_source=in_source)
    return FileOutcome.of(file, Outcome.FAILED, error=note, verb="FAILED", **rest)

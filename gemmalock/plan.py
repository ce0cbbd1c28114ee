"""One look at the disk, and what follows from it: rules as tables.

Pure: a `Sight` says what was seen of one file, `plan_file` gives the first row of the contract's table (section 5)
that fits: its status, its action, its reason. Nothing here looks, deletes or downloads.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gemmalock.errors import FileError
from gemmalock.lockfile import LockedFile, Node


class ResumeStatus(enum.StrEnum):
    """What one look at the disk says of a locked file."""

    UNREADABLE = "unreadable"
    FILE_COMPLETE = "file_complete"
    MODIFIED = "modified"
    IN_STORE = "in_store"
    ACTIVE = "active"
    CAN_RESUME = "can_resume"
    CANNOT_RESUME = "cannot_resume"
    NO_TASK = "no_task"
    FILE_NOT_FOUND = "file_not_found"


class Action(enum.StrEnum):
    """What sync does about a file."""

    REFUSE = "refuse"
    SKIP = "skip"
    ADOPT = "adopt"
    DISCARD = "discard"
    LINK = "link"
    WAIT = "wait"
    RESUME = "resume"
    DOWNLOAD = "download"


class Place(enum.Enum):
    """What stands at a file's path in its root."""

    ABSENT = "absent"
    #: The ledger's stat agrees (or, with --verify, the digest too): sync put these bytes here.
    KNOWN = "known"
    #: Not in the ledger as it stands, but size and digest are the locked ones.
    MATCHING = "matching"
    #: Something else stands there.
    OTHER = "other"
    #: The disk would not say.
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What this machine knows of a task that was begun.

    `url` is without credentials; `size` in bytes, or None where only the task's name was registered; `ranges` are
    (start, end) pairs of bytes known to be on disk, end exclusive; `nodes` are the node IDs that asked for it and
    `locks` the lock files that named them; `begun` is an RFC 3339 time stamp.
    """

    task_id: str
    url: str | None
    size: int | None
    etag: str | None
    sha256: str | None
    nodes: tuple[str, ...]
    locks: tuple[str, ...]
    ranges: tuple[tuple[int, int], ...]
    begun: str


@dataclass(frozen=True, slots=True)
class TaskSight:
    """What was seen of a task's folder in the store.

    `has_bytes`: there is a partial. `kept`: bytes of it that the journal vouches for. `validator`: the ETag under
    which they came, or None. `holder`: the live process that holds the task, in words, or None.
    """

    record: TaskRecord | None = None
    has_bytes: bool = False
    kept: int = 0
    validator: str | None = None
    holder: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """Everything that was seen of one locked file. `detail` completes the reason where `place` needs one; `in_store` is
    the sha256 under which the store has it, or None; `sha256` the one that it has in place by the ledger, or None;
    `error` why the disk would not say, where that is known."""

    place: Place
    detail: str = ""
    in_store: str | None = None
    task: TaskSight = TaskSight()
    sha256: str | None = None
    error: FileError | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one look saw: node ID → Sight."""

    sights: Mapping[str, Sight]


@dataclass(frozen=True, slots=True)
class FilePlan:
    """What is to be done about one file, and why. `kept`: bytes that will not be fetched again; `sha256`: the digest
    that the bytes are known to have that are in place, or in the store; None where there are none; `error`: why it is
    refused, where that is known."""

    node: Node
    resume_status: ResumeStatus
    action: Action
    reason: str
    kept: int = 0
    sha256: str | None = None
    error: FileError | None = field(default=None, compare=False)

    @property
    def has_work(self) -> bool:
        """Whether anything is to be done: it is neither in place nor refused."""
        return self.action not in (Action.SKIP, Action.REFUSE)

    @property
    def to_fetch(self) -> int:
        """How many bytes have to come from a source."""
        return self.node.file.size - self.kept if self.action in FETCHING else 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done about every file of a lock, in the lock's order."""

    files: tuple[FilePlan, ...]

    @property
    def is_noop(self) -> bool:
        """Whether every file is in place already."""
        return all(file.action is Action.SKIP for file in self.files)

    @property
    def to_fetch(self) -> int:
        """How many bytes have to come from sources; files with one task ID count once."""
        most: dict[str, int] = {}
        for file in self.files:
            most[file.node.file.task_id] = max(file.to_fetch, most.get(file.node.file.task_id, 0))
        return sum(most.values())


#: The actions that may need bytes from a source.
FETCHING = frozenset({Action.DISCARD, Action.RESUME, Action.DOWNLOAD})


def plan(nodes: tuple[Node, ...], snapshot: Snapshot) -> Plan:
    """What to do about each of `nodes`, given what was seen of it."""
    return Plan(tuple(plan_file(node, snapshot.sights[node.id]) for node in nodes))


def plan_file(node: Node, sight: Sight) -> FilePlan:
    """What the first row of TABLE that fits says of one file."""
    row = next(row for row in TABLE if row.fits(node.file, sight))
    kept = sight.task.kept if row.action is Action.RESUME else 0
    known, error = sight.sha256 or sight.in_store, sight.error if row.action is Action.REFUSE else None
    return FilePlan(node, row.status, row.action, row.reason(node.file, sight), kept, known, error)


def task_doubt(file: LockedFile, task: TaskSight) -> str | None:
    """Why the partial that was seen cannot be continued as `file`, as a sentence, or None when it can."""
    record = task.record
    if record is None:
        return "the bytes that are here have no task record"
    for what, recorded, locked in (
        ("size", record.size, file.size),
        ("ETag", record.etag, file.etag),
        ("digest", record.sha256, file.sha256),
    ):
        # A digest that the lock, or the task, has learned since is no contradiction.
        if recorded != locked and not (what == "digest" and None in (recorded, locked)):
            return f"the task record has {what} {_shown(recorded)}, the lock has {_shown(locked)}"
    if not file.continuable:
        weak = "weak" if file.etag else "missing"
        return f"nothing could prove the bytes: the lock has no digest, and the ETag is {weak}"
    if task.kept == 0:
        return "no part of the bytes that are here is vouched for by the journal"
    if file.sha256 is None and task.validator != file.etag:
        return f"the bytes that are here came with ETag {_shown(task.validator)}, the lock has {_shown(file.etag)}"
    return None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: when it fits (`when` says it in words), and what follows (`does`, in words).

    `reason` makes the sentence of the report.
    """

    when: str
    status: ResumeStatus
    action: Action
    does: str
    fits: Callable[[LockedFile, Sight], bool]
    reason: Callable[[LockedFile, Sight], str]


def _at(place: Place) -> Callable[[LockedFile, Sight], bool]:
    return lambda file, sight: sight.place is place


def _says(otherwise: str) -> Callable[[LockedFile, Sight], str]:
    return lambda file, sight: sight.detail or otherwise


def _matches(file: LockedFile, sight: Sight) -> str:
    if file.sha256 is None:
        return "in place with the digest that the ledger has of it, and not with the stat"
    return "in place with the locked digest, and not in the ledger as it stands"


def _doubtful(file: LockedFile, sight: Sight) -> bool:
    return sight.task.has_bytes and task_doubt(file, sight.task) is not None


def _doubt(file: LockedFile, sight: Sight) -> str:
    return task_doubt(file, sight.task) or ""


def _resumes(file: LockedFile, sight: Sight) -> str:
    proof = "has their digest" if file.sha256 is not None else "has a strong ETag for them"
    return f"{sight.task.kept} of {file.size} bytes are here, and the lock {proof}"


#: What is told of a file that is as the ledger has it.
AS_LEFT = "in place, as sync left it"

#: The contract's table, section 5: the first row that fits gives status and action. The last one always fits.
TABLE: tuple[Row, ...] = (
    Row(
        "the disk would not say (permission, I/O error)",
        ResumeStatus.UNREADABLE,
        # A disk error is not evidence that the bytes are bad: delete nothing.
        Action.REFUSE,
        "reported, nothing deleted",
        lambda file, sight: sight.place is Place.UNREADABLE or sight.task.error is not None,
        lambda file, sight: sight.task.error or sight.detail or "the disk would not say what is there",
    ),
    Row(
        "in place and the ledger agrees (or, with `--verify`, the digest does)",
        ResumeStatus.FILE_COMPLETE,
        Action.SKIP,
        "nothing",
        _at(Place.KNOWN),
        _says(AS_LEFT),
    ),
    Row(
        "in place, not in the ledger, size and digest agree",
        ResumeStatus.FILE_COMPLETE,
        Action.ADOPT,
        "enter it in the ledger, no download",
        _at(Place.MATCHING),
        _matches,
    ),
    Row(
        "in place but other bytes",
        ResumeStatus.MODIFIED,
        Action.DISCARD,
        "move it to the trash, then fetch (or link)",
        _at(Place.OTHER),
        _says("other bytes are in place"),
    ),
    Row(
        "not in place, the store has the object",
        ResumeStatus.IN_STORE,
        Action.LINK,
        "link it into place",
        lambda file, sight: sight.in_store is not None,
        _says("the store has these bytes"),
    ),
    Row(
        "a live process holds the task",
        ResumeStatus.ACTIVE,
        Action.WAIT,
        "wait for it, then look again",
        lambda file, sight: sight.task.holder is not None,
        lambda file, sight: f"{sight.task.holder} is fetching it",
    ),
    Row(
        "a partial with a task record, and proof",
        ResumeStatus.CAN_RESUME,
        Action.RESUME,
        "check what is here again, and fetch the rest",
        lambda file, sight: sight.task.has_bytes and task_doubt(file, sight.task) is None,
        _resumes,
    ),
    Row(
        "a partial whose record differs in size, ETag or digest, or without proof",
        ResumeStatus.CANNOT_RESUME,
        Action.DISCARD,
        "discard the partial, then download",
        lambda file, sight: _doubtful(file, sight) and sight.task.record is not None,
        _doubt,
    ),
    Row(
        "a partial without a task record",
        ResumeStatus.NO_TASK,
        Action.DISCARD,
        "discard the partial, then download",
        _doubtful,
        _doubt,
    ),
    Row(
        "nothing",
        ResumeStatus.FILE_NOT_FOUND,
        Action.DOWNLOAD,
        "download it",
        lambda file, sight: True,
        lambda file, sight: "nothing is here yet",
    ),
)


def _shown(value: object) -> str:
    return "none" if value is None else f"`{value}`"

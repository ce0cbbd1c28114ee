"""One look at the disk, and what follows from it: rules as tables.

Pure: a `Sight` says what was seen of one file, `plan_file` gives the first row of the contract's table (section 5)
that fits, `ACTIONS` gives its action. Nothing here looks, deletes or downloads.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from gemmalock.lockfile import LockedFile, Node, is_strong


class ResumeStatus(enum.Enum):
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


class Action(enum.Enum):
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
    """Everything that was seen of one locked file. `detail` completes the reason where `place` needs one."""

    place: Place
    detail: str = ""
    in_store: bool = False
    task: TaskSight = TaskSight()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one look saw: node ID → Sight."""

    sights: Mapping[str, Sight]


@dataclass(frozen=True, slots=True)
class FilePlan:
    """What is to be done about one file, and why. `kept`: bytes that will not be fetched again."""

    node: Node
    status: ResumeStatus
    action: Action
    reason: str
    kept: int = 0

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
        return sum({file.node.file.task_id: file.to_fetch for file in self.files}.values())


#: The action of each status. `file_complete` has two: what the ledger does not know yet is adopted.
ACTIONS: Mapping[ResumeStatus, Action] = {
    # A disk error is not evidence that the bytes are bad: delete nothing.
    ResumeStatus.UNREADABLE: Action.REFUSE,
    ResumeStatus.FILE_COMPLETE: Action.SKIP,
    ResumeStatus.MODIFIED: Action.DISCARD,
    ResumeStatus.IN_STORE: Action.LINK,
    ResumeStatus.ACTIVE: Action.WAIT,
    ResumeStatus.CAN_RESUME: Action.RESUME,
    # The doubtful partial is discarded before anything is asked for.
    ResumeStatus.CANNOT_RESUME: Action.DISCARD,
    ResumeStatus.NO_TASK: Action.DISCARD,
    ResumeStatus.FILE_NOT_FOUND: Action.DOWNLOAD,
}
#: The actions that may need bytes from a source.
FETCHING = frozenset({Action.DISCARD, Action.RESUME, Action.DOWNLOAD})


def plan(nodes: tuple[Node, ...], snapshot: Snapshot) -> Plan:
    """What to do about each of `nodes`, given what was seen of it."""
    return Plan(tuple(plan_file(node, snapshot.sights[node.id]) for node in nodes))


def plan_file(node: Node, sight: Sight) -> FilePlan:
    """The first row of the table that fits what was seen of one file."""
    status, reason, kept = _judge(node.file, sight)
    action = ACTIONS[status]
    if status is ResumeStatus.FILE_COMPLETE and sight.place is Place.MATCHING:
        action = Action.ADOPT
    return FilePlan(node, status, action, reason, kept)


def task_doubt(file: LockedFile, task: TaskSight) -> str | None:
    """Why the partial that was seen cannot be continued as `file`, as a sentence, or None when it can."""
    record = task.record
    if record is None:
        return "the bytes that are here have no task record"
    for field, recorded, locked in (
        ("size", record.size, file.size),
        ("ETag", record.etag, file.etag),
        ("digest", record.sha256, file.sha256),
    ):
        if recorded != locked and not (field == "digest" and recorded is None):
            return f"the task record has {field} {_shown(recorded)}, the lock has {_shown(locked)}"
    if not file.continuable:
        return "nothing could prove the bytes: the lock has no digest, and the ETag is " + (
            "weak" if file.etag else "missing"
        )
    if task.kept == 0:
        return "no part of the bytes that are here is vouched for by the journal"
    if file.sha256 is None and task.validator != file.etag:
        return f"the bytes that are here came with ETag {_shown(task.validator)}, the lock has {_shown(file.etag)}"
    return None


def _judge(file: LockedFile, sight: Sight) -> tuple[ResumeStatus, str, int]:
    if sight.place is Place.UNREADABLE:
        return ResumeStatus.UNREADABLE, sight.detail or "the disk would not say what is there", 0
    if sight.place is Place.KNOWN:
        return ResumeStatus.FILE_COMPLETE, sight.detail or "in place, as sync left it", 0
    if sight.place is Place.MATCHING:
        return ResumeStatus.FILE_COMPLETE, sight.detail or "in place with the locked digest, not yet in the ledger", 0
    if sight.place is Place.OTHER:
        return ResumeStatus.MODIFIED, sight.detail or "other bytes are in place", 0
    if sight.in_store:
        return ResumeStatus.IN_STORE, "the store has these bytes", 0
    return _judge_task(file, sight.task)


def _judge_task(file: LockedFile, task: TaskSight) -> tuple[ResumeStatus, str, int]:
    if task.error is not None:
        return ResumeStatus.UNREADABLE, task.error, 0
    if task.holder is not None:
        return ResumeStatus.ACTIVE, f"{task.holder} is fetching it", 0
    if not task.has_bytes:
        return ResumeStatus.FILE_NOT_FOUND, "nothing is here yet", 0
    if doubt := task_doubt(file, task):
        return (ResumeStatus.NO_TASK if task.record is None else ResumeStatus.CANNOT_RESUME), doubt, 0
    proof = "has their digest" if file.sha256 is not None else "has a strong ETag for them"
    assert file.sha256 is not None or is_strong(file.etag)
    return ResumeStatus.CAN_RESUME, f"{task.kept} of {file.size} bytes are here, and the lock {proof}", task.kept


def _shown(value: object) -> str:
    return "none" if value is None else f"`{value}`"

"""Task records as values: how one begins, which file it is of, who asks for it. Reads a clock, and nothing else.

Who asks is a name in a project: a node ID, or what a program calls its file, with the lock of the project that means
it. In a record `nodes` and `locks` are these pairs, one beside the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from gemmalock.lockfile import LockedFile, Node
from gemmalock.plan import TaskRecord


class Asked(NamedTuple):
    """A name, and the lock of the project in which it is one."""

    name: str
    lock: str


def record_of(node: Node, lock: str) -> TaskRecord:
    """The record of a task that begins now."""
    file = node.file
    return TaskRecord(file.task_id, file.url, file.size, file.etag, file.sha256, (node.id,), (lock,), (), _now())


def named_record(task_id: str, *asked: Asked) -> TaskRecord:
    """The record of a task of which nothing is known but its ID and who asks for it."""
    return asked_by(TaskRecord(task_id, None, None, None, None, (), (), (), _now()), asked)


def is_of(record: TaskRecord, file: LockedFile) -> bool:
    """Whether the bytes of a task with this record can be those of `file`. A digest may have been learned since: by
    the lock, or by the task."""
    same = (record.url, record.size, record.etag) == (file.url, file.size, file.etag)
    return same and (None in (record.sha256, file.sha256) or record.sha256 == file.sha256)


def continued(old: TaskRecord, fresh: TaskRecord) -> TaskRecord:
    """The record of a task that goes on: what it is and who asks now as in `fresh`, how far it came as in `old`."""
    return asked_too(replace(fresh, ranges=old.ranges, begun=old.begun), old)


def asked_too(record: TaskRecord, other: TaskRecord) -> TaskRecord:
    """The record, asked for by those too who ask for the other one."""
    return asked_by(record, (*askers(record), *askers(other)))


def askers(record: TaskRecord) -> tuple[Asked, ...]:
    """Who asks for the task. Where names and locks are no pairs, everybody asked for everything."""
    if len(record.nodes) == len(record.locks):
        return tuple(Asked(*pair) for pair in zip(record.nodes, record.locks, strict=True))
    return tuple(Asked(name, lock) for name in record.nodes for lock in record.locks)


def asked_by(record: TaskRecord, asked: Iterable[Asked]) -> TaskRecord:
    """The record, asked for by these and by nobody else."""
    pairs = sorted(set(asked))
    return replace(record, nodes=tuple(pair.name for pair in pairs), locks=tuple(pair.lock for pair in pairs))


def lock_name(lock_path: Path) -> str:
    """The absolute path of a lock as text, also where its bytes are none."""
    return os.fsencode(lock_path.absolute()).decode("utf-8", "backslashreplace")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

"""Task records as values: how one begins, which file it is of, who asks for it. Reads a clock, and nothing else."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from gemmalock.lockfile import LockedFile, Node
from gemmalock.plan import TaskRecord


def record_of(node: Node, lock: str) -> TaskRecord:
    """The record of a task that begins now."""
    file = node.file
    return TaskRecord(file.task_id, file.url, file.size, file.etag, file.sha256, (node.id,), (lock,), (), _now())


def named_record(task_id: str, *names: str) -> TaskRecord:
    """The record of a task of which nothing is known but its ID and the names of its file."""
    return TaskRecord(task_id, None, None, None, None, names, (), (), _now())


def is_of(record: TaskRecord, file: LockedFile) -> bool:
    """Whether the bytes of a task with this record can be those of `file`. A digest may have been learned since."""
    same = (record.url, record.size, record.etag) == (file.url, file.size, file.etag)
    return same and record.sha256 in (None, file.sha256)


def continued(old: TaskRecord, fresh: TaskRecord) -> TaskRecord:
    """The record of a task that goes on: what it is and who asks now as in `fresh`, how far it came as in `old`."""
    return asked_too(replace(fresh, ranges=old.ranges, begun=old.begun), old)


def asked_too(record: TaskRecord, other: TaskRecord) -> TaskRecord:
    """The record, asked for by those too who ask for the other one."""
    return replace(record, nodes=_joined(record.nodes, other.nodes), locks=_joined(record.locks, other.locks))


def named_too(record: TaskRecord, name: str) -> TaskRecord:
    """The record, asked for by one more name."""
    return replace(record, nodes=_joined(record.nodes, (name,)))


def lock_name(lock_path: Path) -> str:
    """The absolute path of a lock as text, also where its bytes are none."""
    return os.fsencode(lock_path.absolute()).decode("utf-8", "backslashreplace")


def _joined(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*one, *other}))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

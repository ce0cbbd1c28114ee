"""Task records as JSON. What is not whole, or of another version, is no record: it vouches for nothing."""

from __future__ import annotations

import json
import re
from itertools import pairwise

from gemmalock.lockfile import TASK_ID
from gemmalock.plan import TaskRecord

RECORD_VERSION = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEYS = frozenset({"record_version", "task_id", "url", "size", "etag", "sha256", "nodes", "locks", "ranges", "begun"})
MAX_BYTES = 16 * 1024 * 1024


def write_record(record: TaskRecord) -> bytes:
    """The bytes of a task record."""
    value = {
        "record_version": RECORD_VERSION,
        "task_id": record.task_id,
        "url": record.url,
        "size": record.size,
        "etag": record.etag,
        "sha256": record.sha256,
        "nodes": list(record.nodes),
        "locks": list(record.locks),
        "ranges": [list(pair) for pair in record.ranges],
        "begun": record.begun,
    }
    # On one line: one is written for every file, and the standard library indents slowly.
    return (json.dumps(value, sort_keys=True) + "\n").encode()


def read_record(text: bytes) -> TaskRecord | None:
    """The task record in `text`, or None for anything that is not whole and known. Never raises."""
    if len(text) > MAX_BYTES:
        return None
    try:
        value = json.loads(text)
        return _record(value) if isinstance(value, dict) else None
    except (ValueError, RecursionError, _NotWhole):
        return None


class _NotWhole(Exception):
    """A key is missing, or has a value that it cannot have."""


def _record(value: dict[str, object]) -> TaskRecord:
    version = value.get("record_version")
    if type(version) is not int or version != RECORD_VERSION or value.keys() != _KEYS:
        raise _NotWhole
    task_id, sha256, size = _text(value["task_id"]), _text_or_none(value["sha256"]), value["size"]
    if not TASK_ID.fullmatch(task_id) or (sha256 is not None and not _SHA256.fullmatch(sha256)):
        raise _NotWhole
    return TaskRecord(
        task_id=task_id,
        url=_text_or_none(value["url"]),
        size=None if size is None else _count(size),
        etag=_text_or_none(value["etag"]),
        sha256=sha256,
        nodes=tuple(_text(node) for node in _list(value["nodes"])),
        locks=tuple(_text(lock) for lock in _list(value["locks"])),
        ranges=_ranges(value["ranges"], size if isinstance(size, int) else None),
        begun=_text(value["begun"]),
    )


def _ranges(value: object, size: int | None) -> tuple[tuple[int, int], ...]:
    """Ranges in order, not empty, not overlapping, and within the file where its size is known."""
    ranges: list[tuple[int, int]] = []
    for pair in _list(value):
        start, end = (_count(bound) for bound in _pair(pair))
        if start >= end or (size is not None and end > size):
            raise _NotWhole
        ranges.append((start, end))
    if any(former[1] > latter[0] for former, latter in pairwise(ranges)):
        raise _NotWhole
    return tuple(ranges)


def _pair(value: object) -> list[object]:
    pair = _list(value)
    if len(pair) != 2:
        raise _NotWhole
    return pair


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise _NotWhole
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise _NotWhole
    return value


def _text(value: object) -> str:
    # A lone surrogate is no text: it could not be written again.
    if not isinstance(value, str) or any("\ud800" <= character <= "\udfff" for character in value):
        raise _NotWhole
    return value


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)

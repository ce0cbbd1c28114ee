"""Ledgers as JSON. One that cannot be read whole is none: what it does not list is not believed to be ours."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from gemmalock.ledger import LedgerEntry
from gemmalock.lockfile import TASK_ID
from gemmalock.paths import path_problem

LEDGER_VERSION = 1
LINKS = frozenset({"reflink", "hardlink", "symlink", "copy"})
_KEYS = frozenset({"size", "mtime_ns", "inode", "sha256", "task_id", "link"})
_SHA256 = re.compile(r"[0-9a-f]{64}")


def write_ledger(entries: Mapping[str, LedgerEntry]) -> bytes:
    """The bytes of a ledger; entries by their path in the root. JSON, sorted and indented by 1."""
    # By hand: the standard library indents so slowly that a root of many files would wait for it.
    files = ",\n".join(f"  {json.dumps(path)}: {_written(entries[path])}" for path in sorted(entries))
    listed = f"{{\n{files}\n }}" if files else "{}"
    return f'{{\n "files": {listed},\n "ledger_version": {LEDGER_VERSION}\n}}\n'.encode()


def read_ledger(text: bytes) -> Mapping[str, LedgerEntry] | None:
    """Path → entry, or None for anything that cannot be read whole or is of another version. Never raises."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or value.keys() != {"ledger_version", "files"}:
        return None
    version, files = value["ledger_version"], value["files"]
    if type(version) is not int or version != LEDGER_VERSION or not isinstance(files, dict):
        return None
    entries: dict[str, LedgerEntry] = {}
    for path, raw in files.items():
        entry = _entry(raw)
        # A ledger that was edited by hand must not make a path outside of the root ours.
        if entry is None or path_problem(path):
            return None
        entries[path] = entry
    return entries


def _written(entry: LedgerEntry) -> str:
    link, sha256, task_id = (json.dumps(text) for text in (entry.link, entry.sha256, entry.task_id))
    fields = (
        f'   "inode": {entry.inode}',
        f'   "link": {link}',
        f'   "mtime_ns": {entry.mtime_ns}',
        f'   "sha256": {sha256}',
        f'   "size": {entry.size}',
        f'   "task_id": {task_id}',
    )
    return "{\n" + ",\n".join(fields) + "\n  }"


def _entry(value: object) -> LedgerEntry | None:
    if not isinstance(value, dict) or value.keys() != _KEYS:
        return None
    size, mtime_ns, inode = value["size"], value["mtime_ns"], value["inode"]
    if type(size) is not int or type(mtime_ns) is not int or type(inode) is not int or size < 0:
        return None
    sha256, task_id, link = value["sha256"], value["task_id"], value["link"]
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        return None
    if not isinstance(task_id, str) or not TASK_ID.fullmatch(task_id) or not isinstance(link, str):
        return None
    return LedgerEntry(size, mtime_ns, inode, sha256, task_id, link) if link in LINKS else None

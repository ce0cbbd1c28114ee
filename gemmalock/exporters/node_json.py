"""A lock as one list of files, for programs: what the lock says of a file and of its model, under its node ID."""

from __future__ import annotations

import json
from typing import Any

from gemmalock.lockfile import LOCK_VERSION, Lock, Node


def node_json(lock: Lock) -> str:
    """What the lock says, as a list of files with their node IDs.

    Every key is there for every file. `path` begins at the project's folder.
    """
    document = {"lock_version": LOCK_VERSION, "files": [_file(node) for node in lock.nodes()]}
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _file(node: Node) -> dict[str, Any]:
    file, model = node.file, node.model
    return {
        "id": node.id,
        "manifest": node.manifest.path,
        "model": model.name,
        "name": file.name,
        "path": node.path,
        "url": file.url,
        "mirrors": list(file.mirrors),
        "size": file.size,
        "etag": file.etag,
        "sha256": file.sha256,
        "task_id": file.task_id,
        "source": model.source,
        "revision": model.revision,
        "license": model.license,
        "tags": list(model.tags),
    }

"""A lock as a bill of materials: CycloneDX 1.6, JSON (ECMA-424).

No time stamp and no random serial number: the same lock gives the same bytes.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from gemmalock.lockfile import TASK_NAMESPACE, Lock, LockedManifest, LockedModel, Node
from gemmalock.version import VERSION


def cyclonedx(lock: Lock) -> str:
    """A CycloneDX 1.6 bill of materials, as JSON.

    A component `machine-learning-model` for each model, and a `file` in it for each of its files.
    """
    components = [_model(manifest, model) for manifest in lock.manifests for model in manifest.models]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "gemmalock", "version": VERSION}]},
        },
        "components": components,
    }
    serial = uuid.uuid5(uuid.UUID(TASK_NAMESPACE), json.dumps(document, sort_keys=True))
    return json.dumps(document | {"serialNumber": f"urn:uuid:{serial}"}, indent=2, sort_keys=True) + "\n"


def _model(manifest: LockedManifest, model: LockedModel) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": f"{manifest.path}::{model.name}",
        "name": model.name,
        "components": [_file(Node(manifest, model, file)) for file in model.files],
    }
    if model.revision is not None:
        component["version"] = model.revision
    if model.license is not None:
        # By name: what people and hubs write is not always an identifier of SPDX.
        component["licenses"] = [{"license": {"name": model.license}}]
    if model.source is not None:
        component["externalReferences"] = [{"type": "distribution", "url": model.source}]
    if model.tags:
        component["tags"] = list(model.tags)
    return component


def _file(node: Node) -> dict[str, Any]:
    file = node.file
    hashes = {} if file.sha256 is None else {"hashes": [{"alg": "SHA-256", "content": file.sha256}]}
    places = [{"type": "distribution", "url": url} for url in dict.fromkeys((file.url, *file.mirrors))]
    return {
        "type": "file",
        "bom-ref": node.id,
        "name": node.path,
        "externalReferences": [place | hashes for place in places],
        "properties": [
            {"name": "gemmalock:size", "value": str(file.size)},
            {"name": "gemmalock:task_id", "value": file.task_id},
        ],
    } | hashes

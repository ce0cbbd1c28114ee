"""What a manifest means, as JSON that only this version of gemmalock reads again: so that YAML and schema are spared.

Not a format of anybody else's: a text that does not say what `write_meaning` writes means nothing.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from operator import attrgetter
from typing import Any

from gemmalock.spec import FileSpec, Manifest, ModelSpec, Workspace

#: A value is written as its fields in their order; `astuple` would copy every part of them.
_FIELDS = {kind: attrgetter(*(field.name for field in fields(kind))) for kind in (FileSpec, ModelSpec, Workspace)}


def write_meaning(manifest: Manifest) -> bytes:
    """The bytes of a meaning: a line with their sha256, for nobody waits until they are on disk, and the JSON."""
    meaning = [manifest.root, manifest.models, manifest.workspace]
    text = json.dumps(meaning, default=lambda value: _FIELDS[type(value)](value)).encode()
    return hashlib.sha256(text).hexdigest().encode() + b"\n" + text


def read_meaning(data: bytes) -> Manifest | None:
    """The manifest that was written, or None for anything else. Never raises."""
    digest, _, text = data.partition(b"\n")
    if hashlib.sha256(text).hexdigest().encode() != digest:
        return None
    try:
        root, models, workspace = json.loads(text)
        section = None if workspace is None else Workspace(*map(_strings, workspace))
        return Manifest(root, tuple(_model(*model) for model in models), section)
    except (ValueError, TypeError, RecursionError):
        return None


def _model(
    name: str, path: str, source: str | None, patterns: list[str], files: list[list[Any]], *rest: object
) -> ModelSpec:
    exclude, license, tags, quant = rest
    return ModelSpec(
        name=name,
        path=path,
        source=source,
        patterns=tuple(patterns),
        files=tuple(_file(*file) for file in files),
        exclude=_strings(exclude),
        license=None if license is None else str(license),
        tags=_strings(tags),
        quant=None if quant is None else str(quant),
    )


def _file(url: str, path: str, sha256: str | None, size: int | None, mirrors: object) -> FileSpec:
    return FileSpec(url, path, sha256, size, _strings(mirrors))


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(value)
    return tuple(map(str, value))

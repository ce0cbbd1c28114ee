"""In what two locks differ as JSON: `difference` among the facts of a report. Its schema is that of the report."""

from __future__ import annotations

from gemmalock.differing import FileChange, LockDifference, ManifestChange, ModelChange
from gemmalock.lockfile import LockedFile, LockedManifest, LockedModel


def difference_value(found: LockDifference) -> dict[str, object]:
    """A difference as a JSON value: for each manifest, model and file what it was before and is after, or null."""
    return {
        "manifests": [_manifest(change) for change in found.manifests],
        "models": [_model(change) for change in found.models],
    }


def _manifest(change: ManifestChange) -> dict[str, object]:
    return {
        "path": change.path,
        "change": change.change.value,
        "before": _manifest_value(change.before),
        "after": _manifest_value(change.after),
    }


def _manifest_value(manifest: LockedManifest | None) -> dict[str, object] | None:
    return None if manifest is None else {"root": manifest.root, "declared": manifest.declared}


def _model(change: ModelChange) -> dict[str, object]:
    return {
        "id": change.id,
        "name": change.name,
        "change": change.change.value,
        "before": _model_value(change.before),
        "after": _model_value(change.after),
        "files": [_file(file) for file in change.files],
    }


def _model_value(model: LockedModel | None) -> dict[str, object] | None:
    if model is None:
        return None
    return {
        "source": model.source,
        "revision": model.revision,
        "license": model.license,
        "tags": sorted(model.tags),
    }


def _file(change: FileChange) -> dict[str, object]:
    return {
        "id": change.id,
        "name": change.name,
        "change": change.change.value,
        "same_bytes": change.same_bytes,
        "before": _file_value(change.before),
        "after": _file_value(change.after),
    }


def _file_value(file: LockedFile | None) -> dict[str, object] | None:
    if file is None:
        return None
    return {
        "path": file.path,
        "url": file.url,
        "mirrors": list(file.mirrors),
        "size": file.size,
        "etag": file.etag,
        "sha256": file.sha256,
        "task_id": file.task_id,
    }

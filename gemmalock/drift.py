"""In what a lock does not follow from its manifests. Pure: the two are all it needs."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice

from gemmalock.lockfile import (
    Lock,
    LockedFile,
    LockedManifest,
    LockedModel,
    UrlRule,
    fixed_revision,
    follows,
    is_declared,
    source_url,
    task_id,
)
from gemmalock.paths import matches
from gemmalock.sets import gaps, is_index, may_be_named_by, models_among
from gemmalock.spec import FileSpec, Manifest, ModelSpec, is_local

#: So many of the shards that a set lacks are named.
_FIRST = 20


class DriftKind(enum.Enum):
    """In what a lock does not follow from its manifest."""

    MANIFEST_UNLOCKED = "manifest_unlocked"
    MANIFEST_REMOVED = "manifest_removed"
    MODEL_ADDED = "model_added"
    MODEL_REMOVED = "model_removed"
    ROOT = "root"
    SOURCE = "source"
    LICENSE = "license"
    TAGS = "tags"
    FILE_ADDED = "file_added"
    FILE_REMOVED = "file_removed"
    PATH = "path"
    URL = "url"
    MIRRORS = "mirrors"
    DIGEST = "digest"
    SIZE = "size"
    TASK_ID = "task_id"
    REVISION = "revision"
    SELECTION = "selection"


@dataclass(frozen=True, slots=True)
class Drift:
    """One way in which the lock does not follow from the manifest. `where` is a node ID or a prefix of one."""

    kind: DriftKind
    where: str
    says: str

    def __str__(self) -> str:
        return f"{self.where}: {self.says}"


def drift(
    path: str, manifest: Manifest, locked: LockedManifest | None, rule: UrlRule = source_url
) -> tuple[Drift, ...]:
    """Everything in `locked` that does not follow from `manifest`; empty means that the lock is in date.

    It needs nothing but the two: that an upstream moved is not drift. An entry that could not have come from the
    manifest (another host, another digest) is, even where `declared` agrees. `rule`: also for schemes of plugins.
    """
    if locked is None:
        return (Drift(DriftKind.MANIFEST_UNLOCKED, path, "is not in the lock"),)
    found: list[Drift] = []
    if manifest.root != locked.root:
        found.append(Drift(DriftKind.ROOT, path, f"root is `{manifest.root}`, and `{locked.root}` in the lock"))
    for model in manifest.models:
        pinned = locked.model(model.name)
        where = f"{path}::{model.name}"
        if pinned is None:
            found.append(Drift(DriftKind.MODEL_ADDED, where, "is not in the lock"))
        else:
            found.extend(_model_drift(where, model, pinned, rule))
    declared = {model.name for model in manifest.models}
    found.extend(
        Drift(DriftKind.MODEL_REMOVED, f"{path}::{pinned.name}", "is no longer in the manifest")
        for pinned in locked.models
        if pinned.name not in declared
    )
    if not found and manifest.declared != locked.declared:
        found.append(Drift(DriftKind.SELECTION, path, "the manifest's `files`, `exclude` or `license` changed"))
    return tuple(found)


def strange_manifests(lock: Lock, known: Collection[str]) -> tuple[Drift, ...]:
    """The manifests of a lock that are not among the paths of those that are `known`: nothing vouches for them."""
    return tuple(
        Drift(DriftKind.MANIFEST_REMOVED, manifest.path, "is not a manifest of this project")
        for manifest in lock.manifests
        if manifest.path not in known
    )


def shared_pins(lock: Lock) -> list[tuple[str, list[str]]]:
    """The sources that models of more than one manifest have in common, with the node IDs of these models: each is one
    pin for all of them. Relative places are their own manifests' and shared by none."""
    models: dict[tuple[str, str | None], list[tuple[str, str]]] = {}
    for manifest in lock.manifests:
        for model in manifest.models:
            if model.source is not None and not is_local(model.source):
                models.setdefault((model.source, model.revision), []).append(
                    (manifest.path, f"{manifest.path}::{model.name}")
                )
    return [
        (source, [id for _, id in found])
        for (source, _), found in sorted(models.items(), key=lambda item: item[0][0])
        if len({path for path, _ in found}) > 1
    ]


def entry_drift(
    where: str, model: ModelSpec, revision: str | None, file: LockedFile, rule: UrlRule = source_url
) -> tuple[Drift, ...]:
    """Everything in one locked file that does not follow from its model's declaration; whether that wants a file of
    this name is not asked here."""
    spec = next((spec for spec in model.files if spec.path == file.name), None)
    where = f"{where}::{file.name}"
    found: list[Drift] = []
    if file.path != model.place(file.name):
        found.append(Drift(DriftKind.PATH, where, f"goes to `{model.place(file.name)}`, not to `{file.path}`"))
    if file.task_id != task_id(file.url, file.size, file.etag):
        found.append(Drift(DriftKind.TASK_ID, where, "its task ID does not follow from its URL, size and ETag"))
    if spec is not None:
        found.extend(_declared_drift(where, spec, file))
    elif model.source is not None and not follows(file.url, model.source, revision, file.name, rule):
        found.append(Drift(DriftKind.URL, where, f"`{file.url}` is not a place in `{model.source}`"))
    return tuple(found)


def _model_drift(where: str, model: ModelSpec, pinned: LockedModel, rule: UrlRule) -> Iterator[Drift]:
    if model.source != pinned.source:
        yield Drift(
            DriftKind.SOURCE, where, f"source is {_shown(model.source)}, and {_shown(pinned.source)} in the lock"
        )
        return
    if model.license is not None and model.license != pinned.license:
        yield Drift(DriftKind.LICENSE, where, f"license is `{model.license}`, and {_shown(pinned.license)} in the lock")
    if sorted(model.tags) != sorted(pinned.tags):
        yield Drift(DriftKind.TAGS, where, "its tags changed")
    wanted = fixed_revision(model.source or "")
    if wanted is not None and pinned.revision != wanted:
        says = f"the source names `{wanted}`, and the lock has {_shown(pinned.revision)}"
        yield Drift(DriftKind.REVISION, where, says)
    yield from _selection_drift(where, model, frozenset(file.name for file in pinned.files))
    for file in pinned.files:
        yield from entry_drift(where, model, pinned.revision, file, rule)


def _selection_drift(where: str, model: ModelSpec, names: frozenset[str]) -> Iterator[Drift]:
    """What of these locked names the manifest does not select, and what it does that is not among them."""
    mapped = model.mapped
    named = [name for name in model.names if not model.excludes(name)]
    for name in (*named, *(spec.path for spec in model.files)):
        if name not in names:
            yield Drift(DriftKind.FILE_ADDED, f"{where}::{name}", "is not in the lock")
    listed = [name for name in names - mapped if not model.excludes(name)]
    for glob in model.globs:
        if not any(matches(name, (glob,)) for name in listed):
            yield Drift(DriftKind.FILE_ADDED, f"{where}::{glob}", "matches nothing in the lock")
    if model.quant is not None:
        models = models_among(name for name in listed if model.is_quantised(name))
        if len(models) != 1:
            says = f"`quant: {model.quant}` selects {len(models)} models in the lock"
            yield Drift(DriftKind.SELECTION if models else DriftKind.FILE_ADDED, where, says)
    for name, says in lacking(model, names):
        if name in names or (name not in named and name not in mapped):
            yield Drift(DriftKind.FILE_ADDED, f"{where}::{name}", says)
    selected = mapped | named_by_indexes(model, names)
    for name in sorted(names - selected):
        if not model.selects(name):
            yield Drift(DriftKind.FILE_REMOVED, f"{where}::{name}", "is not among the manifest's files")


def named_by_indexes(model: ModelSpec, names: Collection[str]) -> frozenset[str]:
    """Those of the names in a model's source that an index among them may name. What it names indeed is in its text,
    which no lock has."""
    mapped = model.mapped
    indexes = [name for name in names if is_index(name) and name not in mapped and model.selects(name)]
    named = (name for name in names if any(may_be_named_by(index, name) for index in indexes))
    return frozenset(name for name in named if name not in mapped and not model.excludes(name))


def lacking(model: ModelSpec, names: Collection[str]) -> tuple[tuple[str, str], ...]:
    """What is missing among the names of a model, as far as names tell, with its sentence: shards of sets that are not
    whole (the first ones of each), and all shards of an index in the source that has none."""
    missing = [(name, "is not in the lock") for gap in gaps(names) for name in islice(gap.missing(), _FIRST)]
    shards, mapped = named_by_indexes(model, names), model.mapped
    missing += [
        (index, "its shards are not in the lock")
        for index in names
        if is_index(index) and index not in mapped and not any(may_be_named_by(index, name) for name in shards)
    ]
    return tuple(sorted(missing))


def _declared_drift(where: str, spec: FileSpec, file: LockedFile) -> Iterator[Drift]:
    if not is_declared(file.url, spec.url):
        yield Drift(DriftKind.URL, where, f"url is `{spec.url}`, and `{file.url}` in the lock")
    if spec.mirrors != file.mirrors:
        yield Drift(DriftKind.MIRRORS, where, "its mirrors changed")
    if spec.sha256 is not None and spec.sha256 != file.sha256:
        yield Drift(DriftKind.DIGEST, where, f"sha256 is `{spec.sha256}`, and {_shown(file.sha256)} in the lock")
    if spec.size is not None and spec.size != file.size:
        yield Drift(DriftKind.SIZE, where, f"size is {spec.size}, and {file.size} in the lock")


def _shown(value: str | None) -> str:
    return "none" if value is None else f"`{value}`"

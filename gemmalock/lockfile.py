"""What was resolved: the lock as frozen, valid values, its task IDs, and how it drifts from a manifest.

Reading and writing its JSON is the codec's. Nothing here opens a file. (The module is not called `lock`, because
`gemmalock.lock` is the library's verb.)
"""

from __future__ import annotations

import enum
import json
import re
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from gemmalock.paths import joined, matches, path_problem
from gemmalock.spec import MAX_SIZE, SHA256, FileSpec, Manifest, ModelSpec, is_local, scheme_of

LOCK_NAME = "gemmalock.lock"
LOCK_VERSION = 1
#: The namespace of task IDs; schemas/README.md has the encoding and test vectors.
TASK_NAMESPACE = uuid.UUID("6f0b8d2e-7c1a-5e43-9b57-3f6d1c0a9e24")
#: DQUOTE *etagc DQUOTE (RFC 9110, 8.8.3): no quotes, spaces or controls inside, so that it is safe in a header.
_STRONG = re.compile('"[!\x23-\x7e\x80-\xff]*"')
#: How a task ID is written (RFC 9562, 4).
TASK_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
#: The URL of a file: of (source, revision, name in the source). None: that cannot be told, or not without a revision.
UrlRule = Callable[[str, str | None, str], str | None]


def task_id(url: str, size: int, etag: str | None) -> str:
    """The name of the bytes that `url` had when it was locked: UUIDv5 (RFC 9562, 5.5) of the canonical JSON
    (RFC 8785, but every digit of a size beyond 2^53 too) of `[url, size, etag]` in TASK_NAMESPACE."""
    name = json.dumps([url, size, etag], ensure_ascii=False, separators=(",", ":"))
    return str(uuid.uuid5(TASK_NAMESPACE, name))


def is_strong(etag: str | None) -> bool:
    """Whether an entity tag is a strong validator as RFC 9110, 8.8.3 writes it: quoted, and without `W/`."""
    return etag is not None and _STRONG.fullmatch(etag) is not None


@dataclass(frozen=True, slots=True)
class LockedFile:
    """One file, pinned.

    `name` is its path inside the model, `path` its path inside the root, `size` in bytes, `sha256` 64 lower-case
    hexadecimal digits or None where no one published it, `etag` as the server sent it or None.
    """

    name: str
    path: str
    url: str
    size: int
    etag: str | None
    sha256: str | None
    task_id: str
    mirrors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for path in (self.path, self.name):
            if problem := path_problem(path):
                raise ValueError(f"path `{path}` {problem}")
        if not 0 <= self.size <= MAX_SIZE:
            raise ValueError(f"size {self.size} is not between 0 and 2^63 - 1")
        if self.sha256 is not None and not SHA256.fullmatch(self.sha256):
            raise ValueError(f"`{self.sha256}` is not 64 lower-case hexadecimal digits")

    @classmethod
    def pin(
        cls,
        *,
        name: str,
        path: str,
        url: str,
        size: int,
        etag: str | None,
        sha256: str | None,
        mirrors: tuple[str, ...] = (),
    ) -> LockedFile:
        """A locked file with the task ID that follows from its URL, size and ETag."""
        return cls(name, path, url, size, etag, sha256, task_id(url, size, etag), mirrors)

    @property
    def continuable(self) -> bool:
        """Whether a partial of this file can be proved to belong to it: by digest, or by a strong ETag."""
        return self.sha256 is not None or is_strong(self.etag)

    @property
    def needs_network(self) -> bool:
        """Whether its URL leads off this machine's file systems."""
        return not is_local(self.url)


@dataclass(frozen=True, slots=True)
class LockedModel:
    """A model, pinned. `revision` is the commit that `source` pointed at, where there is such a thing."""

    name: str
    files: tuple[LockedFile, ...]
    source: str | None = None
    revision: str | None = None
    license: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LockedManifest:
    """What one manifest was resolved to. `path` is the manifest's, from the lock's folder, with `/`."""

    path: str
    root: str
    declared: str
    models: tuple[LockedModel, ...]

    def __post_init__(self) -> None:
        # The root on its own too: below `apps/`, a root of `.` would be the manifest's own folder.
        for path in (self.path, self.root, self.root_path):
            if problem := path_problem(path):
                raise ValueError(f"path `{path}` {problem}")

    @property
    def folder(self) -> str:
        """The manifest's folder, from the lock's folder; empty where they are one."""
        return self.path.rpartition("/")[0]

    @property
    def root_path(self) -> str:
        """The root, from the lock's folder."""
        return joined(self.folder, self.root)

    def model(self, name: str) -> LockedModel | None:
        """The model of that name, or None."""
        return next((model for model in self.models if model.name == name), None)

    def files(self) -> Iterator[tuple[LockedModel, LockedFile]]:
        """Every file with its model, in the lock's order."""
        for model in self.models:
            for file in model.files:
                yield model, file


@dataclass(frozen=True, slots=True)
class Lock:
    """A whole lock: the manifests of a workspace, sorted by path."""

    manifests: tuple[LockedManifest, ...] = ()

    def manifest(self, path: str) -> LockedManifest | None:
        """What the manifest at that path was resolved to, or None."""
        return next((manifest for manifest in self.manifests if manifest.path == path), None)

    def nodes(self) -> Iterator[Node]:
        """Every file of the lock, in its order."""
        for manifest in self.manifests:
            for model, file in manifest.files():
                yield Node(manifest, model, file)


@dataclass(frozen=True, slots=True)
class Node:
    """One file of a lock together with where it stands."""

    manifest: LockedManifest
    model: LockedModel
    file: LockedFile

    @property
    def id(self) -> str:
        """The node ID: manifest, model and file, with `::` between them."""
        return f"{self.manifest.path}::{self.model.name}::{self.file.name}"

    @property
    def path(self) -> str:
        """The file's path from the workspace root."""
        return joined(self.manifest.root_path, self.file.path)


# --- places ----------------------------------------------------------------------------------------------


def source_url(source: str, revision: str | None, name: str) -> str | None:
    """The URL of the file `name` of a source, or None where the scheme has no rule here."""
    scheme = scheme_of(source)
    if scheme in ("http", "https", "file"):
        return below(source, revision, name)
    if scheme == "hf":
        if revision is None or not _COMMIT.fullmatch(revision):
            return None
        repository = source.partition("://")[2].partition("@")[0]
        return f"https://huggingface.co/{repository}/resolve/{revision}/{quoted(name)}"
    return None


def below(source: str, revision: str | None, name: str) -> str:
    """The URL of the file `name` where a source is a folder: the name, written as in its URL, after it."""
    if is_local(source):
        # Percent escapes are decoded in file URLs too, and nothing else in them means anything.
        return f"{source.rstrip('/')}/{name.replace('%', '%25')}"
    return f"{source.rstrip('/')}/{quoted(name)}"


def quoted(name: str) -> str:
    """A path, percent-encoded for a URL (RFC 3986, 3.3); `/` stays."""
    from urllib.parse import quote

    return quote(name, safe="/!$&'()*+,;=:@~")


def follows(url: str, source: str, revision: str | None, name: str, rule: UrlRule = source_url) -> bool:
    """Whether `url` is where the file `name` of `source` is, at `revision`."""
    return url == rule(source, revision, name)


# --- drift -------------------------------------------------------------------------------------------------


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
    models: dict[str, list[tuple[str, str]]] = {}
    for manifest in lock.manifests:
        for model in manifest.models:
            if model.source is not None and not is_local(model.source):
                models.setdefault(model.source, []).append((manifest.path, f"{manifest.path}::{model.name}"))
    return [
        (source, [id for _, id in found])
        for source, found in sorted(models.items())
        if len({path for path, _ in found}) > 1
    ]


def entry_drift(
    where: str, model: ModelSpec, revision: str | None, file: LockedFile, rule: UrlRule = source_url
) -> tuple[Drift, ...]:
    """Everything in one locked file that does not follow from its model's declaration."""
    spec = next((spec for spec in model.files if spec.path == file.name), None)
    where = f"{where}::{file.name}"
    found: list[Drift] = []
    if file.path != model.place(file.name):
        found.append(Drift(DriftKind.PATH, where, f"goes to `{model.place(file.name)}`, not to `{file.path}`"))
    if file.task_id != task_id(file.url, file.size, file.etag):
        found.append(Drift(DriftKind.TASK_ID, where, "its task ID does not follow from its URL, size and ETag"))
    if spec is not None:
        found.extend(_declared_drift(where, spec, file))
    elif not matches(file.name, model.patterns) or matches(file.name, model.exclude):
        found.append(Drift(DriftKind.FILE_REMOVED, where, "is not among the manifest's files"))
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
    wanted = (model.source or "").rpartition("@")[2]
    if _COMMIT.fullmatch(wanted) and pinned.revision != wanted:
        says = f"the source names commit `{wanted}`, and the lock has {_shown(pinned.revision)}"
        yield Drift(DriftKind.REVISION, where, says)
    names = {file.name for file in pinned.files}
    for name in (*model.names, *(spec.path for spec in model.files)):
        if name not in names and not (name in model.names and matches(name, model.exclude)):
            yield Drift(DriftKind.FILE_ADDED, f"{where}::{name}", "is not in the lock")
    listed = [name for name in names - {spec.path for spec in model.files} if not matches(name, model.exclude)]
    for glob in model.globs:
        if not any(matches(name, (glob,)) for name in listed):
            yield Drift(DriftKind.FILE_ADDED, f"{where}::{glob}", "matches nothing in the lock")
    for file in pinned.files:
        yield from entry_drift(where, model, pinned.revision, file, rule)


def _declared_drift(where: str, spec: FileSpec, file: LockedFile) -> Iterator[Drift]:
    if spec.url != file.url:
        yield Drift(DriftKind.URL, where, f"url is `{spec.url}`, and `{file.url}` in the lock")
    if spec.mirrors != file.mirrors:
        yield Drift(DriftKind.MIRRORS, where, "its mirrors changed")
    if spec.sha256 is not None and spec.sha256 != file.sha256:
        yield Drift(DriftKind.DIGEST, where, f"sha256 is `{spec.sha256}`, and {_shown(file.sha256)} in the lock")
    if spec.size is not None and spec.size != file.size:
        yield Drift(DriftKind.SIZE, where, f"size is {spec.size}, and {file.size} in the lock")


def _shown(value: str | None) -> str:
    return "none" if value is None else f"`{value}`"


@dataclass(frozen=True, slots=True)
class LockDifference:
    """What a new lock has that an old one has not, by node ID."""

    added: tuple[str, ...] = field(default=())
    removed: tuple[str, ...] = field(default=())
    changed: tuple[str, ...] = field(default=())

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def difference(old: Lock, new: Lock) -> LockDifference:
    """In which files two locks differ."""
    before = {node.id: node.file for node in old.nodes()}
    after = {node.id: node.file for node in new.nodes()}
    return LockDifference(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=tuple(sorted(name for name in after.keys() & before.keys() if after[name] != before[name])),
    )

"""In what two locks differ: by manifest, model and file, before and after. Pure: the two locks are all it needs.

It is the one truth for whoever tells of it: `lock`, `outdated` and `diff`, as text and as JSON.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from gemmalock.lockfile import COMMIT, Lock, LockedFile, LockedManifest, LockedModel

_Value = TypeVar("_Value", LockedManifest, LockedModel, LockedFile)
#: What is told of each, in this order: name of the field → what people call it.
MANIFEST_FIELDS: Mapping[str, str] = {"root": "root", "declared": "declaration"}
MODEL_FIELDS: Mapping[str, str] = {"source": "source", "revision": "revision", "license": "licence", "tags": "tags"}
FILE_FIELDS: Mapping[str, str] = {
    "path": "path",
    "url": "URL",
    "size": "size",
    "etag": "ETag",
    "sha256": "sha256",
    "mirrors": "mirrors",
}
#: How many characters of a long digest or ETag are shown.
_SHOWN = 12
#: How many in a table; a commit as git abbreviates it.
_BRIEF: Mapping[str, int] = {"revision": 7, "sha256": 12, "etag": 13, "declared": 14}
#: Fields whose values are told by their beginning, unless that is what two of them have in common.
_LONG = frozenset({"etag", "sha256", "revision", "declared"})


class Change(enum.StrEnum):
    """What became of something from one lock to the next."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that has another value. `words`: what people call it."""

    name: str
    words: str
    before: object
    after: object

    @property
    def sentence(self) -> str:
        """As `its size was 7, and is 10`."""
        if isinstance(self.before, tuple) or isinstance(self.after, tuple):
            return f"its {self.words} changed"
        before, after = (_told(value, self._is_cut and self._is_long(value)) for value in (self.before, self.after))
        return f"its {self.words} was {before}, and is {after}"

    @property
    def arrow(self) -> str:
        """As `revision 4f1c2a9 → 77aa0c1`: long values by as much of them as tells them apart."""
        before, after = (self._brief(value) for value in (self.before, self.after))
        if before == after:
            before, after = _plain(self.before), _plain(self.after)
        return f"{self.words} {before} → {after}"

    @property
    def _is_cut(self) -> bool:
        return self.name in _LONG and str(self.before)[:_SHOWN] != str(self.after)[:_SHOWN]

    def _is_long(self, value: object) -> bool:
        """Whether a value may be told by its beginning: of revisions a commit, and no tag."""
        return self.name != "revision" or COMMIT.fullmatch(_plain(value)) is not None

    def _brief(self, value: object) -> str:
        return shown_revision(_plain(value)) if self.name == "revision" else _plain(value)[: _BRIEF.get(self.name)]


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file of which two locks say different things; None: the one lock does not have it. `id` is its node ID."""

    id: str
    before: LockedFile | None
    after: LockedFile | None

    @property
    def change(self) -> Change:
        """What became of it."""
        return _change(self.before, self.after)

    @property
    def name(self) -> str:
        """Its name in its model."""
        return self.id.split("::", 2)[2]

    @property
    def fields(self) -> tuple[FieldChange, ...]:
        """What differs of a file that both have."""
        return _file_fields(self.before, self.after)

    @property
    def same_bytes(self) -> bool | None:
        """Whether both locks mean the same bytes, by size and digest; None where that cannot be told, or only one has
        the file."""
        old, new = self.before, self.after
        if old is None or new is None:
            return None
        if old.size != new.size:
            return False
        return None if old.sha256 is None or new.sha256 is None else old.sha256 == new.sha256


@dataclass(frozen=True, slots=True)
class ModelChange:
    """A model of which two locks say different things, with those of its files of which they do. `id`: its node ID."""

    id: str
    before: LockedModel | None
    after: LockedModel | None
    files: tuple[FileChange, ...]

    @property
    def change(self) -> Change:
        """What became of it."""
        return _change(self.before, self.after)

    @property
    def fields(self) -> tuple[FieldChange, ...]:
        """What differs of a model that both have, besides its files."""
        return _fields(self.before, self.after, MODEL_FIELDS)

    @property
    def name(self) -> str:
        """Its name in its manifest."""
        return self.id.split("::")[1]

    def only_the_revision(self, change: FileChange) -> bool:
        """Whether a file's URL is another one only because the source is at another revision."""
        if change.before is None or change.after is None or self.before is None or self.after is None:
            return False
        old, new = self.before.revision, self.after.revision
        return bool(old and new) and change.before.url.replace(str(old), str(new)) == change.after.url


@dataclass(frozen=True, slots=True)
class ManifestChange:
    """A manifest that only one lock has, or whose root or declaration is another one."""

    path: str
    before: LockedManifest | None
    after: LockedManifest | None

    @property
    def change(self) -> Change:
        """What became of it."""
        return _change(self.before, self.after)

    @property
    def fields(self) -> tuple[FieldChange, ...]:
        """What differs of a manifest that both have, besides its models."""
        return _fields(self.before, self.after, MANIFEST_FIELDS)


@dataclass(frozen=True, slots=True)
class LockDifference:
    """What a new lock says otherwise than an old one, in the order of node IDs."""

    manifests: tuple[ManifestChange, ...] = ()
    models: tuple[ModelChange, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.manifests or self.models)

    @property
    def files(self) -> tuple[FileChange, ...]:
        """Every file that is new, gone or otherwise."""
        return tuple(file for model in self.models for file in model.files)

    def ids(self, change: Change) -> tuple[str, ...]:
        """The node IDs of the files that became so, sorted."""
        return tuple(sorted(file.id for file in self.files if file.change is change))

    @property
    def sentences(self) -> Iterator[str]:
        """What is said otherwise of manifests and models that both have, besides their files."""
        for manifest in self.manifests:
            yield from (f"{manifest.path}: {field.sentence}" for field in manifest.fields)
        for model in self.models:
            yield from (f"{model.id}: {field.sentence}" for field in model.fields)


def shown_revision(revision: str) -> str:
    """A commit as git abbreviates it; anything else, as a tag, whole."""
    return revision[: _BRIEF["revision"]] if COMMIT.fullmatch(revision) else revision


def difference(old: Lock, new: Lock) -> LockDifference:
    """In what two locks differ."""
    manifests = tuple(
        ManifestChange(path, before, after)
        for path, before, after in _pairs(_manifests(old), _manifests(new))
        if before is None or after is None or _fields(before, after, MANIFEST_FIELDS)
    )
    compared = (
        ModelChange(id, before, after, _file_changes(id, before, after))
        for id, before, after in _pairs(_models(old), _models(new))
        if before != after
    )
    # What is written in another order is the same.
    models = (model for model in compared if model.files or model.fields or model.change is not Change.CHANGED)
    return LockDifference(manifests, tuple(models))


def file_sentences(old: LockedFile, new: LockedFile) -> tuple[str, ...]:
    """In what two pins of one file differ, a sentence each."""
    return tuple(field.sentence for field in _file_fields(old, new))


def _manifests(lock: Lock) -> dict[str, LockedManifest]:
    return {manifest.path: manifest for manifest in lock.manifests}


def _models(lock: Lock) -> dict[str, LockedModel]:
    return {f"{manifest.path}::{model.name}": model for manifest in lock.manifests for model in manifest.models}


def _file_changes(id: str, before: LockedModel | None, after: LockedModel | None) -> tuple[FileChange, ...]:
    old, new = ({file.name: file for file in model.files} if model else {} for model in (before, after))
    changes = (FileChange(f"{id}::{name}", was, now) for name, was, now in _pairs(old, new))
    return tuple(each for each in changes if each.change is not Change.CHANGED or each.fields)


def _pairs(old: Mapping[str, _Value], new: Mapping[str, _Value]) -> Iterator[tuple[str, _Value | None, _Value | None]]:
    return ((name, old.get(name), new.get(name)) for name in sorted(old.keys() | new.keys()))


def _change(before: object, after: object) -> Change:
    if before is None:
        return Change.ADDED
    return Change.REMOVED if after is None else Change.CHANGED


def _fields(before: object, after: object, names: Mapping[str, str]) -> tuple[FieldChange, ...]:
    if before is None or after is None:
        return ()
    values = ((name, words, getattr(before, name), getattr(after, name)) for name, words in names.items())
    # Tags have no order; mirrors are asked in theirs.
    return tuple(
        FieldChange(name, words, was, now)
        for name, words, was, now in values
        if (sorted(was) != sorted(now) if name == "tags" else was != now)
    )


def _file_fields(before: LockedFile | None, after: LockedFile | None) -> tuple[FieldChange, ...]:
    # A task ID follows from the others: that it alone is another one is somebody's mistake, and told.
    return _fields(before, after, FILE_FIELDS) or _fields(before, after, {"task_id": "task ID"})


def _told(value: object, cut: bool) -> str:
    if not isinstance(value, str):
        return _plain(value)
    return f"`{value[:_SHOWN]}…`" if cut and len(value) > 2 * _SHOWN else f"`{value}`"


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)

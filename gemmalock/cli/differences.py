"""In what two locks differ as a table: a heading a model, a line a file. Pure: values in, lines out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gemmalock.differing import (
    Change,
    FieldChange,
    FileChange,
    LockDifference,
    ManifestChange,
    ModelChange,
    shown_revision,
)
from gemmalock.lockfile import LockedModel
from gemmalock.sizes import shown_size

#: What became of a file → the colour of its verb. `MOVED`: the same bytes at another place.
COLORS: Mapping[str, str] = {"ADDED": "green", "CHANGED": "yellow", "MOVED": "cyan", "REMOVED": "red"}
_WIDTH = max(map(len, COLORS))
#: How many characters of a digest are shown.
_DIGEST = 12


class Row(NamedTuple):
    """A line: its verb, or empty in a heading, and the rest."""

    verb: str
    rest: str

    @property
    def indented(self) -> str:
        """The verb as it stands in the table: below its heading, as wide as all are."""
        return f"  {self.verb:{_WIDTH}}"


def rows_of(found: LockDifference) -> Iterator[Row]:
    """The table of a difference."""
    for manifest in found.manifests:
        yield Row("", _line(manifest.path, *_of_manifest(manifest)))
    for model in found.models:
        yield Row("", _line(model.id, *_of_model(model)))
        names = max((len(file.name) for file in model.files), default=0)
        sizes = max((len(_size(file)) for file in model.files), default=0)
        for file in model.files:
            cells = f"{file.name:{names}}", f"{_size(file):{sizes}}", *_of_file(model, file)
            yield Row(verb_of(file), _line(*cells))


def verb_of(file: FileChange) -> str:
    """The word for what became of a file."""
    return "MOVED" if file.same_bytes else file.change.value.upper()


def _line(*cells: str) -> str:
    return "  ".join(cells).rstrip()


def _of_manifest(manifest: ManifestChange) -> Iterator[str]:
    if manifest.change is not Change.CHANGED:
        yield manifest.change.value
    # Two digests of what a manifest means say nothing to anybody.
    yield from ("declaration changed" if field.name == "declared" else field.arrow for field in manifest.fields)


def _of_model(model: ModelChange) -> Iterator[str]:
    if model.change is not Change.CHANGED:
        yield model.change.value
        yield from _card(model.after or model.before)
    yield from (field.arrow for field in model.fields)


def _card(model: LockedModel | None) -> Iterator[str]:
    if model is not None and model.source:
        yield model.source
    if model is not None and model.revision:
        yield f"revision {shown_revision(model.revision)}"


def _size(file: FileChange) -> str:
    sizes = [pinned.size for pinned in (file.before, file.after) if pinned is not None]
    told = [shown_size(size) for size in dict.fromkeys(sizes)]
    # A few bytes of many are told too.
    return " → ".join(told if len(set(told)) == len(told) else [f"{size} B" for size in sizes])


def _of_file(model: ModelChange, file: FileChange) -> Iterator[str]:
    pinned = file.after or file.before
    if file.change is not Change.CHANGED and pinned is not None:
        yield f"sha256 {pinned.sha256[:_DIGEST]}" if pinned.sha256 else "no digest"
    yield from (field.arrow for field in file.fields if not _goes_without_saying(model, file, field))


def _goes_without_saying(model: ModelChange, file: FileChange, field: FieldChange) -> bool:
    """Sizes have their column; a digest says more than an ETag, and a heading what revision a URL has."""
    match field.name:
        case "size":
            return True
        case "etag":
            return any(other.name == "sha256" and None not in (other.before, other.after) for other in file.fields)
        case "url":
            return model.only_the_revision(file)
    return False

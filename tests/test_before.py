"""What an old lock has of one model: which of its pins, names and revisions may stay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gemmalock.before import Before, OldPins
from gemmalock.lockfile import LockedFile, LockedManifest, LockedModel, source_url
from gemmalock.spec import ModelSpec

SOURCE, COMMIT, OTHER = "hf://o/n@main", "1" * 40, "2" * 40
MODEL = ModelSpec("m", "m", SOURCE, ("*.bin",), exclude=("old/*",), quant="Q8_0")


def file(name: str, commit: str = COMMIT) -> LockedFile:
    """A file of the source, as it is locked for the model."""
    url = source_url(SOURCE, commit, name) or ""
    return LockedFile.pin(name=name, path=f"m/{name}", url=url, size=1, etag=None, sha256=None)


def locked(*names: str, name: str = "m", revision: str | None = COMMIT, source: str = SOURCE) -> LockedManifest:
    """A manifest of an old lock, with one model that has these files; of another one, in a folder of its name."""
    files = tuple(file(each, revision or COMMIT) for each in names)
    path = "gemmalock.yaml" if name == "m" else f"{name}/gemmalock.yaml"
    return LockedManifest(path, "models", "", (LockedModel(name, files, source, revision),))


def before(manifest: LockedManifest | None, *others: LockedManifest, is_renewed: bool = False) -> Before:
    """What the lock has of MODEL, whose manifest says what it said."""
    pins = OldPins((*others, *((manifest,) if manifest is not None else ())))
    return Before(MODEL, manifest, pins, is_as_declared=True, is_renewed=is_renewed, rule=source_url)


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        (("a.bin", "x-Q8_0.gguf"), {"a.bin", "x-Q8_0.gguf"}),
        (("a.bin", "x-Q8_0.gguf", "README.md", "old/a.bin"), {"a.bin", "x-Q8_0.gguf"}),
        (("a.bin", "x-Q8_0-1-of-2.gguf", "x-Q8_0-2-of-2.gguf"), {"a.bin", "x-Q8_0-1-of-2.gguf", "x-Q8_0-2-of-2.gguf"}),
        # A set that is torn, and two sets where one belongs: the source has to be asked.
        (("a.bin", "x-Q8_0-1-of-2.gguf"), set()),
        (("a.bin", "x-Q8_0.gguf", "y-Q8_0.gguf"), set()),
        (("a.bin", "x-Q8_0.gguf", "old/y-Q8_0.gguf"), {"a.bin", "x-Q8_0.gguf"}),
    ],
)
def test_what_was_listed_before_is_what_is_selected_and_whole(names: tuple[str, ...], listed: set[str]) -> None:
    assert before(locked(*names)).listed == listed
    assert replace(before(locked(*names)), is_as_declared=False).listed == frozenset()
    assert before(locked(*names), is_renewed=True).listed == frozenset()
    assert before(None).listed == frozenset()


def test_shards_beside_an_index_that_is_selected_were_brought_by_it() -> None:
    index = "model.safetensors.index.json"
    model = replace(MODEL, patterns=("*.json",), quant=None)
    names = (index, "a.safetensors", "old/b.safetensors", "c.bin")
    assert replace(before(locked(*names)), model=model).listed == {index, "a.safetensors"}
    assert replace(before(locked(index, "c.bin")), model=model).listed == frozenset()


def test_the_revision_is_that_of_the_model_else_of_another_with_its_source() -> None:
    other = locked(name="other", revision=OTHER)
    assert before(locked(), other).revision == COMMIT
    assert before(locked(revision=None), other).revision == OTHER
    assert before(None, other).revision == OTHER
    assert before(locked(), other, is_renewed=True).revision is None
    assert before(None, locked(name="other", source="hf://o/else@main")).revision is None


def test_a_pin_is_known_by_its_url_and_its_own_entry_comes_first() -> None:
    url = file("a.bin").url
    assert before(locked("a.bin")).pinned("a.bin", url, None) == file("a.bin")
    assert before(None, locked("a.bin", name="other")).pinned("a.bin", url, None) == file("a.bin")
    assert before(locked("a.bin")).pinned("a.bin", file("a.bin", OTHER).url, None) is None
    assert before(locked("a.bin"), is_renewed=True).namesake("a.bin") == file("a.bin")
    assert before(locked("a.bin")).namesake("b.bin") is None

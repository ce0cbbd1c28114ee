"""In what two locks differ: tables of an old and a new value, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from gemmalock.differing import FILE_FIELDS, Change, LockDifference, difference, file_sentences
from gemmalock.lockfile import Lock, LockedFile, LockedManifest, LockedModel

ONE, TWO = "4f1c2a9b3d0e4f1c2a9b3d0e4f1c2a9b3d0e4f1c", "77aa0c1d2e3f77aa0c1d2e3f77aa0c1d2e3f77aa"
DIGEST, OTHER = "a5" * 32, "5a" * 32
HUB = "https://huggingface.co/o/r/resolve"


def pinned(name: str = "a.gguf", revision: str = ONE, **rest: object) -> LockedFile:
    """A file of a repository, at a revision."""
    values = {"url": f"{HUB}/{revision}/{name}", "size": 7, "etag": f'"{DIGEST}"', "sha256": DIGEST} | rest
    return LockedFile.pin(name=name, path=f"m/{name}", **values)  # type: ignore[arg-type]


def model(*files: LockedFile, **rest: object) -> LockedModel:
    """The model of these files."""
    values: dict[str, object] = {"source": "hf://o/r@main", "revision": ONE, "license": "mit", "tags": ("a", "b")}
    return LockedModel("m", files, **(values | rest))  # type: ignore[arg-type]


def lock(*models: LockedModel, **rest: str) -> Lock:
    """The lock of one manifest."""
    values = {"root": "models", "declared": f"sha256:{DIGEST}"} | rest
    return Lock((LockedManifest("gemmalock.yaml", models=models, **values),))


OLD = lock(model(pinned(), pinned("b.gguf")))


def test_a_lock_does_not_differ_from_itself() -> None:
    assert difference(OLD, OLD) == LockDifference()
    assert not difference(OLD, OLD)


def test_what_is_written_in_another_order_is_the_same() -> None:
    assert not difference(OLD, lock(model(pinned("b.gguf"), pinned(), tags=("b", "a"))))


def test_files_are_new_gone_or_otherwise() -> None:
    new = lock(model(pinned(size=8), pinned("c.gguf")))
    found = difference(OLD, new)
    assert {change: found.ids(change) for change in Change} == {
        Change.ADDED: ("gemmalock.yaml::m::c.gguf",),
        Change.REMOVED: ("gemmalock.yaml::m::b.gguf",),
        Change.CHANGED: ("gemmalock.yaml::m::a.gguf",),
    }
    (changed,) = found.models
    assert (changed.id, changed.name, changed.change, changed.fields) == ("gemmalock.yaml::m", "m", Change.CHANGED, ())
    assert [file.name for file in changed.files] == ["a.gguf", "b.gguf", "c.gguf"]
    back = difference(new, OLD)
    assert back.ids(Change.ADDED) == found.ids(Change.REMOVED)


@pytest.mark.parametrize(("old", "new", "change"), [(Lock(), OLD, Change.ADDED), (OLD, Lock(), Change.REMOVED)])
def test_a_manifest_comes_and_goes_with_all_that_is_in_it(old: Lock, new: Lock, change: Change) -> None:
    found = difference(old, new)
    assert [(each.path, each.change) for each in found.manifests] == [("gemmalock.yaml", change)]
    assert [(each.id, each.change) for each in found.models] == [("gemmalock.yaml::m", change)]
    assert found.ids(change) == ("gemmalock.yaml::m::a.gguf", "gemmalock.yaml::m::b.gguf")
    assert {file.same_bytes for file in found.files} == {None}
    assert list(found.sentences) == []


@pytest.mark.parametrize(
    ("values", "arrow", "sentence"),
    [
        ({"revision": TWO}, "revision 4f1c2a9 → 77aa0c1", f"its revision was `{ONE[:12]}…`, and is `{TWO[:12]}…`"),
        ({"revision": None}, "revision 4f1c2a9 → none", f"its revision was `{ONE[:12]}…`, and is none"),
        ({"revision": f"{ONE[:20]}{TWO[:20]}"}, f"revision {ONE} → {ONE[:20]}{TWO[:20]}",
         f"its revision was `{ONE}`, and is `{ONE[:20]}{TWO[:20]}`"),
        ({"revision": "2.0.0-release-candidate-1"}, "revision 4f1c2a9 → 2.0.0-release-candidate-1",
         f"its revision was `{ONE[:12]}…`, and is `2.0.0-release-candidate-1`"),
        ({"license": "gemma"}, "licence mit → gemma", "its licence was `mit`, and is `gemma`"),
        ({"source": "hf://o/r@v2"}, "source hf://o/r@main → hf://o/r@v2",
         "its source was `hf://o/r@main`, and is `hf://o/r@v2`"),
        ({"tags": ()}, "tags a b → none", "its tags changed"),
    ],
)  # fmt: skip
def test_a_model_may_differ_in_no_file(values: Mapping[str, object], arrow: str, sentence: str) -> None:
    found = difference(OLD, lock(model(*OLD.manifests[0].models[0].files, **values)))
    assert found.files == ()
    assert [field.arrow for field in found.models[0].fields] == [arrow]
    assert list(found.sentences) == [f"gemmalock.yaml::m: {sentence}"]


def test_a_manifest_differs_in_its_root_and_its_declaration() -> None:
    found = difference(OLD, lock(*OLD.manifests[0].models, root="weights", declared=f"sha256:{OTHER}"))
    (manifest,) = found.manifests
    assert [field.arrow for field in manifest.fields] == [
        "root models → weights",
        "declaration sha256:a5a5a5a → sha256:5a5a5a5",
    ]
    assert next(found.sentences) == "gemmalock.yaml: its root was `models`, and is `weights`"
    assert found


@pytest.mark.parametrize(
    ("values", "arrows", "same_bytes"),
    [
        ({"size": 8}, ["size 7 → 8"], False),
        ({"sha256": OTHER}, ["sha256 a5a5a5a5a5a5 → 5a5a5a5a5a5a"], False),
        ({"sha256": None}, ["sha256 a5a5a5a5a5a5 → none"], None),
        ({"etag": '"x"'}, ['ETag "a5a5a5a5a5a5 → "x"'], True),
        ({"etag": None}, ['ETag "a5a5a5a5a5a5 → none'], True),
        ({"etag": f'"{DIGEST[:-1]}6"'}, [f'ETag "{DIGEST}" → "{DIGEST[:-1]}6"'], True),
        ({"url": f"{HUB}/{TWO}/a.gguf"}, [f"URL {HUB}/{ONE}/a.gguf → {HUB}/{TWO}/a.gguf"], True),
        ({"mirrors": ("https://m.example/a",)}, ["mirrors none → https://m.example/a"], True),
    ],
)
def test_a_file_is_told_by_what_differs(values: Mapping[str, object], arrows: list[str], same_bytes: bool) -> None:
    found = difference(lock(model(pinned())), lock(model(pinned(**values))))  # type: ignore[arg-type]
    (file,) = found.files
    assert [field.arrow for field in file.fields] == arrows
    assert file.same_bytes is same_bytes


def test_that_only_a_task_id_differs_is_told_and_else_it_follows_from_the_rest() -> None:
    forged = replace(pinned(), task_id="00000000-0000-0000-0000-000000000000")
    assert [text.partition(" was ")[0] for text in file_sentences(pinned(), forged)] == ["its task ID"]
    assert [text.partition(" was ")[0] for text in file_sentences(pinned(), pinned(size=8))] == ["its size"]


def test_every_field_of_a_locked_file_is_told() -> None:
    assert {*FILE_FIELDS, "name", "task_id"} == set(LockedFile.__slots__)


@pytest.mark.parametrize(
    ("url", "only"),
    [
        (f"{HUB}/{TWO}/a.gguf", True),
        (f"{HUB}/{TWO}/elsewhere.gguf", False),
        (f"https://mirror.example/{TWO}/a.gguf", False),
    ],
)
def test_a_url_that_follows_the_revision_is_known(url: str, only: bool) -> None:
    (changed,) = difference(lock(model(pinned())), lock(model(pinned(url=url), revision=TWO))).models
    assert changed.only_the_revision(changed.files[0]) is only


def test_without_a_revision_no_url_follows_one() -> None:
    (changed,) = difference(
        lock(model(pinned(), revision=None)), lock(model(pinned(url=f"{HUB}/{TWO}/a.gguf"), pinned("c"), revision=None))
    ).models
    assert [changed.only_the_revision(file) for file in changed.files] == [False, False]

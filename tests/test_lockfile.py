"""The lock's values, task IDs and drift: what does not follow from the manifest, in English."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.drift import Drift, DriftKind, drift, strange_manifests
from gemmalock.lockfile import (
    TASK_NAMESPACE,
    Lock,
    LockedFile,
    LockedManifest,
    LockedModel,
    is_strong,
    source_url,
    task_id,
)
from gemmalock.spec import FileSpec, Manifest, ModelSpec

SCHEMAS = Path(__file__).parent.parent / "schemas" / "README.md"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER_COMMIT = COMMIT[::-1]
DIGEST = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
OTHER_DIGEST = DIGEST[::-1]
PLAIN = "https://models.example.org/minilm/model.safetensors"


def _hub_file(name: str = "gemma.gguf") -> LockedFile:
    url = f"https://huggingface.co/o/r/resolve/{COMMIT}/{name}"
    return LockedFile.pin(name=name, path=f"gemma/{name}", url=url, size=3, etag=f'"{DIGEST}"', sha256=DIGEST)


SPEC = FileSpec(PLAIN, "model.safetensors", DIGEST, 7, ("https://mirror.example.net/m",))
PLAIN_FILE = LockedFile.pin(
    name="model.safetensors",
    path="minilm/model.safetensors",
    url=PLAIN,
    size=7,
    etag=None,
    sha256=DIGEST,
    mirrors=SPEC.mirrors,
)
GEMMA = ModelSpec("gemma", "gemma", "hf://o/r@main", ("*.gguf", "README.md"), (), ("*.imatrix",), "gemma", ("llm",))
EMBEDDER = ModelSpec("embedder", "minilm", files=(SPEC,))
MANIFEST = Manifest("models", (GEMMA, EMBEDDER))
LOCKED_GEMMA = LockedModel(
    "gemma", (_hub_file("README.md"), _hub_file()), GEMMA.source, COMMIT, GEMMA.license, GEMMA.tags
)
LOCKED_EMBEDDER = LockedModel("embedder", (PLAIN_FILE,))
LOCKED = LockedManifest("gemmalock.yaml", "models", MANIFEST.declared, (LOCKED_EMBEDDER, LOCKED_GEMMA))


def _gemma(**change: object) -> Manifest:
    return replace(MANIFEST, models=(replace(GEMMA, **change), EMBEDDER))  # type: ignore[arg-type]


def _embedder_file(**change: object) -> Manifest:
    spec = replace(SPEC, **change)  # type: ignore[arg-type]
    return replace(MANIFEST, models=(GEMMA, replace(EMBEDDER, files=(spec,))))


def _locked_gemma(**change: object) -> LockedManifest:
    return replace(LOCKED, models=(LOCKED_EMBEDDER, replace(LOCKED_GEMMA, **change)))  # type: ignore[arg-type]


def _locked_file(file: LockedFile) -> LockedManifest:
    return _locked_gemma(files=(LOCKED_GEMMA.files[0], file))


def _moved(url: str) -> LockedFile:
    file = _hub_file()
    return LockedFile.pin(name=file.name, path=file.path, url=url, size=file.size, etag=file.etag, sha256=file.sha256)


#: What was changed → the manifest, what is locked, and the one sentence that is said of it.
DRIFTS: dict[str, tuple[Manifest, LockedManifest | None, str]] = {
    "nothing locked": (MANIFEST, None, "gemmalock.yaml: is not in the lock"),
    "another root": (
        replace(MANIFEST, root="weights"),
        LOCKED,
        "gemmalock.yaml: root is `weights`, and `models` in the lock",
    ),
    "a model more": (
        replace(MANIFEST, models=(*MANIFEST.models, ModelSpec("new", "new", "hf://o/n", ("a",)))),
        LOCKED,
        "gemmalock.yaml::new: is not in the lock",
    ),
    "a model less": (
        replace(MANIFEST, models=(GEMMA,)),
        LOCKED,
        "gemmalock.yaml::embedder: is no longer in the manifest",
    ),
    "another source": (
        _gemma(source="hf://o/r@v2"),
        LOCKED,
        "gemmalock.yaml::gemma: source is `hf://o/r@v2`, and `hf://o/r@main` in the lock",
    ),
    "another license": (
        _gemma(license="mit"),
        LOCKED,
        "gemmalock.yaml::gemma: license is `mit`, and `gemma` in the lock",
    ),
    "a license where there was none": (
        _gemma(license="mit"),
        replace(LOCKED, models=(LOCKED_EMBEDDER, replace(LOCKED_GEMMA, license=None))),
        "gemmalock.yaml::gemma: license is `mit`, and none in the lock",
    ),
    "another tag": (_gemma(tags=("llm", "mobile")), LOCKED, "gemmalock.yaml::gemma: its tags changed"),
    "a name more": (
        _gemma(patterns=("*.gguf", "README.md", "LICENSE")),
        LOCKED,
        "gemmalock.yaml::gemma::LICENSE: is not in the lock",
    ),
    "a name less": (
        _gemma(patterns=("*.gguf",)),
        LOCKED,
        "gemmalock.yaml::gemma::README.md: is not among the manifest's files",
    ),
    "a name excluded": (
        _gemma(exclude=("*.md",)),
        LOCKED,
        "gemmalock.yaml::gemma::README.md: is not among the manifest's files",
    ),
    "a glob more, which matches nothing in the lock": (
        _gemma(patterns=("*.gguf", "README.md", "*.json")),
        LOCKED,
        "gemmalock.yaml::gemma::*.json: matches nothing in the lock",
    ),
    "a glob more, which may match anything": (
        _gemma(patterns=("*.gguf", "README.md", "*.md")),
        LOCKED,
        "gemmalock.yaml: the manifest's `files`, `exclude` or `license` changed",
    ),
    "another URL": (
        _embedder_file(url="https://other.example.org/model.safetensors"),
        LOCKED,
        "gemmalock.yaml::embedder::model.safetensors: "
        f"url is `https://other.example.org/model.safetensors`, and `{PLAIN}` in the lock",
    ),
    "another digest": (
        _embedder_file(sha256=OTHER_DIGEST),
        LOCKED,
        f"gemmalock.yaml::embedder::model.safetensors: sha256 is `{OTHER_DIGEST}`, and `{DIGEST}` in the lock",
    ),
    "another size": (
        _embedder_file(size=8),
        LOCKED,
        "gemmalock.yaml::embedder::model.safetensors: size is 8, and 7 in the lock",
    ),
    "no mirrors": (
        _embedder_file(mirrors=()),
        LOCKED,
        "gemmalock.yaml::embedder::model.safetensors: its mirrors changed",
    ),
    "a lock that sends a file to another host, with a digest that fits": (
        MANIFEST,
        _locked_file(_moved("https://evil.example/gemma.gguf")),
        "gemmalock.yaml::gemma::gemma.gguf: `https://evil.example/gemma.gguf` is not a place in `hf://o/r@main`",
    ),
    "a lock that goes by a branch": (
        MANIFEST,
        _locked_file(_moved("https://huggingface.co/o/r/resolve/main/gemma.gguf")),
        "gemmalock.yaml::gemma::gemma.gguf: "
        "`https://huggingface.co/o/r/resolve/main/gemma.gguf` is not a place in `hf://o/r@main`",
    ),
    "a lock that moves a file": (
        MANIFEST,
        _locked_file(replace(_hub_file(), path="elsewhere/gemma.gguf")),
        "gemmalock.yaml::gemma::gemma.gguf: goes to `gemma/gemma.gguf`, not to `elsewhere/gemma.gguf`",
    ),
    "a lock whose size was edited": (
        MANIFEST,
        _locked_file(replace(_hub_file(), size=4)),
        "gemmalock.yaml::gemma::gemma.gguf: its task ID does not follow from its URL, size and ETag",
    ),
}


@pytest.mark.parametrize(("manifest", "locked", "said"), DRIFTS.values(), ids=DRIFTS.keys())
def test_drift_says_in_what(manifest: Manifest, locked: LockedManifest | None, said: str) -> None:
    assert [str(each) for each in drift("gemmalock.yaml", manifest, locked)] == [said]


def test_a_lock_that_follows_does_not_drift() -> None:
    assert drift("gemmalock.yaml", MANIFEST, LOCKED) == ()


def test_an_upstream_that_moved_is_no_drift() -> None:
    files = tuple(
        LockedFile.pin(
            name=file.name,
            path=file.path,
            url=file.url.replace(COMMIT, OTHER_COMMIT),
            size=99,
            etag=None,
            sha256=OTHER_DIGEST,
        )
        for file in LOCKED_GEMMA.files
    )
    moved = _locked_gemma(files=files, revision=OTHER_COMMIT)
    assert drift("gemmalock.yaml", MANIFEST, moved) == ()


def test_a_source_that_names_a_commit_is_held_to_it() -> None:
    source = f"hf://o/r@{OTHER_COMMIT}"
    locked = replace(_locked_gemma(source=source), declared=_gemma(source=source).declared)
    found = drift("gemmalock.yaml", _gemma(source=source), locked)
    assert [each.kind for each in found] == [DriftKind.REVISION]


@pytest.mark.parametrize(
    ("source", "revision", "drifts"),
    [
        ("github://o/r@v1", "v1", False),
        ("github://o/r", "v1", False),
        ("github://o/r@v1", "v2", True),
        ("github://o/r@v1", None, True),
        ("github://o/r@s/p@1", "s/p@1", False),
    ],
)
def test_a_source_that_names_a_release_is_held_to_it(source: str, revision: str | None, drifts: bool) -> None:
    manifest = _gemma(source=source)
    files = tuple(
        LockedFile.pin(
            name=name,
            path=f"gemma/{name}",
            url=str(source_url(source, revision, name)),
            size=3,
            etag=None,
            sha256=DIGEST,
        )
        for name in ("README.md", "gemma.gguf")
    )
    locked = replace(_locked_gemma(source=source, revision=revision, files=files), declared=manifest.declared)
    found = drift("gemmalock.yaml", manifest, locked)
    assert (DriftKind.REVISION in {each.kind for each in found}) == drifts
    assert bool(found) == drifts


def test_a_license_of_the_model_card_is_no_drift() -> None:
    manifest = _gemma(license=None)
    assert drift("gemmalock.yaml", manifest, replace(LOCKED, declared=manifest.declared)) == ()


def test_a_name_that_is_excluded_need_not_be_locked() -> None:
    manifest = _gemma(exclude=("README.md",))
    locked = replace(_locked_gemma(files=(_hub_file(),)), declared=manifest.declared)
    assert drift("gemmalock.yaml", manifest, locked) == ()


def test_every_kind_of_drift_has_a_sentence_here() -> None:
    found = {each.kind for manifest, locked, _ in DRIFTS.values() for each in drift("x", manifest, locked)}
    assert found | {DriftKind.REVISION, DriftKind.MANIFEST_REMOVED} == set(DriftKind)


def test_a_manifest_that_nobody_declared_is_drift() -> None:
    forged = replace(LOCKED, path="hooks/gemmalock.yaml")
    lock = Lock((LOCKED, forged))
    assert [each.where for each in strange_manifests(lock, {LOCKED.path})] == ["hooks/gemmalock.yaml"]
    assert strange_manifests(lock, {LOCKED.path, forged.path}) == ()


def test_a_drift_says_where() -> None:
    assert str(Drift(DriftKind.TAGS, "a::b", "its tags changed")) == "a::b: its tags changed"


@pytest.mark.parametrize(
    ("source", "revision", "name", "url"),
    [
        ("https://h.example/m/", None, "a b#.gguf", "https://h.example/m/a%20b%23.gguf"),
        ("hf://o/r@main", COMMIT, "x/y.gguf", f"https://huggingface.co/o/r/resolve/{COMMIT}/x/y.gguf"),
        ("hf://o/r", COMMIT, "a?.gguf", f"https://huggingface.co/o/r/resolve/{COMMIT}/a%3F.gguf"),
        ("hf://o/r@main", "main", "y.gguf", None),
        ("hf://o/r@main", None, "y.gguf", None),
        ("file://weights", None, "a b.gguf", "file://weights/a b.gguf"),
        ("file://weights", None, "100%25.gguf", "file://weights/100%2525.gguf"),
        ("github://o/r@v1", "v1", "a.gguf", "https://github.com/o/r/releases/download/v1/a.gguf"),
        ("github://o/r", "v1+q4", "a@b.gguf", "https://github.com/o/r/releases/download/v1%2Bq4/a%40b.gguf"),
        ("github://o/r.x@rel/v1", "rel/v1", "a", "https://github.com/o/r.x/releases/download/rel%2Fv1/a"),
        ("github://o/r@@s/p@1", "@s/p@1", "a", "https://github.com/o/r/releases/download/%40s%2Fp%401/a"),
        ("github://o/r@v1", None, "a.gguf", None),
        ("github://o/..@v1", "v1", "a.gguf", None),
        ("github://o/r/x@v1", "v1", "a.gguf", None),
        ("foo://weights", None, "a", None),
    ],
)
def test_where_a_file_of_a_source_is(source: str, revision: str | None, name: str, url: str | None) -> None:
    assert source_url(source, revision, name) == url


# --- task IDs ----------------------------------------------------------------------------------------------

VECTORS = re.findall(r"^\| `(\[.*\])` \| `([0-9a-f-]{36})` \|$", SCHEMAS.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_namespace_is_the_published_one() -> None:
    assert f"`{TASK_NAMESPACE}`" in SCHEMAS.read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "expected"), VECTORS)
def test_task_ids_are_those_of_the_published_vectors(name: str, expected: str) -> None:
    url, size, etag = json.loads(name)
    assert task_id(url, size, etag) == expected


def test_the_vectors_cover_what_is_easy_to_get_wrong() -> None:
    read = [json.loads(name) for name, _ in VECTORS]
    cases: dict[str, Callable[[str, int, str | None], bool]] = {
        "null": lambda url, size, etag: etag is None,
        "weak": lambda url, size, etag: (etag or "").startswith("W/"),
        "Unicode": lambda url, size, etag: not url.isascii(),
        "quotes and backslashes": lambda url, size, etag: '"' in (etag or "")[1:-1] and "\\" in (etag or ""),
        "empty": lambda url, size, etag: size == 0,
        "beyond 2^53": lambda url, size, etag: size == 2**53 + 1,
    }
    assert len(read) >= 8
    for what, fits in cases.items():
        assert any(fits(*each) for each in read), what


_URLS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)


@given(_URLS, st.integers(0, 2**63 - 1), st.none() | _URLS)
def test_a_task_id_changes_with_each_of_its_parts(url: str, size: int, etag: str | None) -> None:
    name = task_id(url, size, etag)
    canonical = json.dumps([url, size, etag], ensure_ascii=False, separators=(",", ":"))
    assert name == str(uuid5(UUID(TASK_NAMESPACE), canonical))
    assert (
        len({name, task_id(url + "x", size, etag), task_id(url, size + 1, etag), task_id(url, size, f"{etag}x")}) == 4
    )


@pytest.mark.parametrize(
    ("etag", "strong"),
    [
        (None, False),
        ("", False),
        ('"', False),
        ('""', True),
        ('"abc"', True),
        ('"a,b;c"', True),
        ('"\xe9"', True),
        ('W/"abc"', False),
        ('w/"abc"', False),
        ("abc", False),
        ('"abc', False),
        ('"a"b"', False),
        ('"a" ', False),
        ('"a b"', False),
        ('"a\r\nHost: x"', False),
        ('"a\x7f"', False),
        ('"模"', False),
    ],
)
def test_only_a_quoted_tag_without_w_is_strong(etag: str | None, strong: bool) -> None:
    assert is_strong(etag) is strong


# --- values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("gemmalock.yaml", "."),
        ("gemmalock.yaml", ".."),
        ("apps/gemmalock.yaml", "."),
        ("apps/gemmalock.yaml", ""),
        ("apps/gemmalock.yaml", "../models"),
        ("apps/gemmalock.yaml", "/srv"),
        ("../gemmalock.yaml", "models"),
        ("/gemmalock.yaml", "models"),
    ],
)
def test_a_root_is_below_its_manifest_and_not_its_folder(path: str, root: str) -> None:
    with pytest.raises(ValueError, match="path"):
        LockedManifest(path, root, "", ())


@pytest.mark.parametrize("change", [{"path": "../x"}, {"name": "/x"}, {"size": -1}, {"size": 2**63}, {"sha256": "x"}])
def test_a_locked_file_that_cannot_be_is_never_made(change: dict[str, str | int]) -> None:
    with pytest.raises(ValueError, match=r"path|size|hexadecimal"):
        replace(_hub_file(), **change)  # type: ignore[arg-type]


def test_a_file_can_be_continued_with_a_digest_or_a_strong_tag() -> None:
    file = _hub_file()
    assert file.continuable
    assert replace(file, sha256=None).continuable
    assert replace(file, etag=None).continuable
    assert not replace(file, sha256=None, etag='W/"x"').continuable


def test_node_ids_and_paths_are_from_the_workspace_root() -> None:
    lock = Lock((replace(LOCKED, path="apps/chat/gemmalock.yaml"),))
    node = next(lock.nodes())
    assert node.id == "apps/chat/gemmalock.yaml::embedder::model.safetensors"
    assert node.path == "apps/chat/models/minilm/model.safetensors"
    assert lock.manifest("apps/chat/gemmalock.yaml") is lock.manifests[0]
    assert lock.manifest("gemmalock.yaml") is None

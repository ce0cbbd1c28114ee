"""Manifests and what sources say → a lock: which pins stay, which are asked for anew, and every failure at once."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.codec.lock_json import write_lock
from gemmalock.drift import drift, shared_pins
from gemmalock.errors import FileError, GemmalockError, NotFound, PermissionRefused, PolicyRefused, ReadWriteFailed
from gemmalock.lockfile import Lock, LockedFile, source_url
from gemmalock.pinning import SMALL, Learned, Pinned, Unlocked, Wish, pin
from gemmalock.ports import Listing, Probe
from gemmalock.resolver import Resolution, resolve
from gemmalock.spec import FileSpec, Manifest, ModelSpec
from gemmalock.stopping import Stop
from tests.sources.twin import MemorySource

HERE = "https://models.example.org"
FOLDER = "file://weights"
LARGE = bytes(SMALL)
DIGEST = "a" * 64
#: Nothing special is wished.
AS_IT_IS = Wish()


def sha256(body: bytes) -> str:
    """The digest, as locks have it."""
    return hashlib.sha256(body).hexdigest()


@dataclass
class World:
    """A resolver.Asker over a source in memory, that remembers what it was asked.

    `remembered`: manifests whose meaning it remembers.
    `published`: whether the source tells digests. `sizes`: whether it tells sizes. `delimited`: whether
    a body that is cut short tells itself. `maps`: what was to be pinned at once.
    """

    files: dict[str, bytes]
    published: bool = True
    sizes: bool = True
    delimited: bool = True
    unlistable: FileError | None = None
    wish: Wish = AS_IT_IS
    asked: list[str] = field(default_factory=list)
    learned: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    maps: list[list[str]] = field(default_factory=list)
    remembered: list[Manifest] = field(default_factory=list)

    def probe(self, file: Unlocked) -> Probe:
        """As the source says, less what it is told to keep to itself."""
        self.asked.append(file.url)
        told = MemorySource(self.files).probe(file.url, Stop())
        return Probe(told.size if self.sizes else None, told.etag, told.sha256 if self.published else None)

    def list(self, id: str, source: str, *, is_pinned: bool = False) -> Listing:
        """As the source says."""
        self.asked.append(source)
        if self.unlistable is not None:
            raise self.unlistable
        return MemorySource(self.files).list(source, Stop())

    def source_url(self, source: str, revision: str | None, name: str) -> str | None:
        """As the built-in schemes have it."""
        return source_url(source, revision, name)

    def meant(self, declared: str) -> Manifest | None:
        """As it is remembered."""
        return next((manifest for manifest in self.remembered if manifest.declared == declared), None)

    def learn(self, file: Unlocked, probe: Probe) -> Learned:
        """Fetch it."""
        self.learned.append(file.url)
        body = self.files[file.url]
        etag = MemorySource(self.files).probe(file.url, Stop()).etag
        return Learned(len(body), sha256(body), etag, self.delimited)

    def text(self, file: Unlocked) -> bytes:
        """Read it."""
        self.read.append(file.name)
        return self.files[file.url]

    def map(self, asks: Iterable[Unlocked]) -> Iterable[Pinned]:
        """One after the other."""
        listed = list(asks)
        self.maps.append([ask.id for ask in listed])
        return [pin(ask, self.wish, self) for ask in listed]

    def resolve(self, manifest: Manifest, old: Lock | None = None, wish: Wish = AS_IT_IS) -> Resolution:
        """Resolve one manifest from an empty memory."""
        self.wish = wish
        self.asked.clear()
        self.learned.clear()
        self.read.clear()
        self.maps.clear()
        return resolve({"gemmalock.yaml": manifest}, old, wish, self)


def by_url(name: str, *files: FileSpec, **rest: str) -> ModelSpec:
    """A model whose files are declared by URL."""
    return ModelSpec(name, rest.get("path", name), files=files)


def spec(name: str, *, size: int | None = None, digest: str | None = None, mirrors: tuple[str, ...] = ()) -> FileSpec:
    """A file of the web server."""
    return FileSpec(f"{HERE}/{name}", name, digest, size, mirrors)


def folder(name: str, *patterns: str, exclude: tuple[str, ...] = (), path: str | None = None) -> ModelSpec:
    """A model out of the folder."""
    return ModelSpec(name, path or name, source=FOLDER, patterns=patterns, exclude=exclude)


def lock_of(resolution: Resolution) -> Lock:
    """The lock, which has to be there."""
    assert resolution.lock is not None, [pin.error for pin in resolution.failures]
    return resolution.lock


def files_of(lock: Lock) -> dict[str, LockedFile]:
    """The locked files by `model::name`."""
    return {node.id.partition("::")[2]: node.file for node in lock.nodes()}


def without(lock: Lock, names: set[str]) -> Lock:
    """The lock as a badly resolved merge leaves it: those files of its first model are gone, all else agrees."""
    (locked,) = lock.manifests
    first, *rest = locked.models
    files = tuple(file for file in first.files if file.name not in names)
    return Lock((replace(locked, models=(replace(first, files=files), *rest)),))


def errors_of(resolution: Resolution) -> list[tuple[str, str]]:
    """The failures as (node ID, code)."""
    return [(pin.file.id, pin.error.code) for pin in resolution.failures if pin.error is not None]


WEB: Mapping[str, bytes] = {f"{HERE}/{name}": name.encode() * 9 for name in ("a.gguf", "b.gguf", "c.gguf")}
WEIGHTS: Mapping[str, bytes] = {
    f"{FOLDER}/{name}": name.encode() * 7
    for name in ("README.md", "model-Q4.gguf", "model-Q8.gguf", "onnx/model.onnx", "onnx/deep/x.onnx", "x.imatrix")
}


@pytest.fixture
def world() -> World:
    """Three files on the web and a folder."""
    return World({**WEB, **WEIGHTS})


# --- what is pinned ----------------------------------------------------------------------------------------


def test_url_etag_size_and_digest_are_pinned(world: World) -> None:
    lock = lock_of(world.resolve(Manifest(models=(by_url("m", spec("a.gguf")),))))
    body = world.files[f"{HERE}/a.gguf"]
    assert files_of(lock)["m::a.gguf"] == LockedFile.pin(
        name="a.gguf", path="m/a.gguf", url=f"{HERE}/a.gguf", size=len(body), etag=f'"{sha256(body)}"',
        sha256=sha256(body),
    )  # fmt: skip


def test_licence_tags_mirrors_and_root_come_from_the_manifest(world: World) -> None:
    mirrors = ("https://one.example/a.gguf", "https://two.example/a.gguf")
    model = replace(by_url("m", spec("a.gguf", mirrors=mirrors)), license="gemma", tags=("llm", "chat"))
    (manifest,) = lock_of(world.resolve(Manifest("weights", (model,)))).manifests
    assert (manifest.root, manifest.models[0].license, manifest.models[0].tags) == ("weights", "gemma", ("chat", "llm"))
    assert manifest.models[0].files[0].mirrors == mirrors
    assert world.asked == [f"{HERE}/a.gguf"]


def test_a_declared_digest_and_size_are_believed_over_the_server_and_it_is_told(world: World) -> None:
    found = world.resolve(Manifest(models=(by_url("m", spec("a.gguf", size=5, digest=DIGEST)),)))
    file = files_of(lock_of(found))["m::a.gguf"]
    assert (file.size, file.sha256) == (5, DIGEST)
    assert [warning.split(": ")[0] for warning in found.warnings] == ["gemmalock.yaml::m::a.gguf"] * 2
    assert world.learned == []


def test_a_declared_size_that_the_fetched_bytes_contradict_is_a_failure(world: World) -> None:
    world.published = False
    found = world.resolve(Manifest(models=(by_url("m", spec("a.gguf", size=5)),)))
    assert errors_of(found) == [("gemmalock.yaml::m::a.gguf", "size_mismatch")]
    assert found.lock is None


def test_a_declared_digest_that_the_fetched_bytes_contradict_is_a_failure(world: World) -> None:
    world.sizes = False
    found = world.resolve(Manifest(models=(by_url("m", spec("a.gguf", digest=DIGEST)),)))
    assert errors_of(found) == [("gemmalock.yaml::m::a.gguf", "digest_mismatch")]


@pytest.mark.parametrize(
    ("size", "published", "hash_all", "fetched"),
    [
        (SMALL - 1, True, False, False),
        (SMALL - 1, False, False, True),
        (SMALL, False, False, False),
        (SMALL, False, True, True),
        (SMALL, True, True, False),
    ],
)
def test_small_files_without_a_published_digest_are_fetched_and_with_hash_all_are(
    size: int, published: bool, hash_all: bool, fetched: bool
) -> None:
    body = bytes(size)
    world = World({f"{HERE}/a.gguf": body}, published=published)
    lock = lock_of(world.resolve(Manifest(models=(by_url("m", spec("a.gguf")),)), wish=Wish(hash_all=hash_all)))
    assert world.learned == ([f"{HERE}/a.gguf"] if fetched else [])
    assert files_of(lock)["m::a.gguf"].sha256 == (sha256(body) if fetched or published else None)


def test_a_server_that_tells_no_size_makes_lock_fetch_the_file() -> None:
    world = World({f"{HERE}/a.gguf": LARGE}, published=False, sizes=False)
    file = files_of(lock_of(world.resolve(Manifest(models=(by_url("m", spec("a.gguf")),)))))["m::a.gguf"]
    assert (file.size, file.sha256) == (SMALL, sha256(LARGE))
    assert world.learned == [f"{HERE}/a.gguf"]


def test_a_declared_size_and_digest_spare_the_fetch_of_a_silent_server() -> None:
    world = World({f"{HERE}/a.gguf": LARGE}, published=False, sizes=False)
    declared = spec("a.gguf", size=SMALL, digest=sha256(LARGE))
    assert lock_of(world.resolve(Manifest(models=(by_url("m", declared),))))
    assert world.learned == []


# --- folders and globs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "exclude", "names"),
    [
        (("README.md",), (), ["README.md"]),
        (("*.gguf",), (), ["model-Q4.gguf", "model-Q8.gguf"]),
        (("*Q4*", "README.md"), (), ["README.md", "model-Q4.gguf"]),
        (("*.gguf",), ("*Q8*",), ["model-Q4.gguf"]),
        (("*.onnx", "onnx/*.onnx"), (), None),
        (("onnx/*.onnx",), (), ["onnx/model.onnx"]),
        (("onnx/**",), (), ["onnx/deep/x.onnx", "onnx/model.onnx"]),
        (("**/*.onnx",), ("onnx/deep/**",), ["onnx/model.onnx"]),
        (("**",), ("*.imatrix", "onnx/**"), ["README.md", "model-Q4.gguf", "model-Q8.gguf"]),
        (("*.gguf", "model-*"), (), ["model-Q4.gguf", "model-Q8.gguf"]),
        (("model-Q4.gguf", "*.gguf"), ("model-Q4.gguf",), ["model-Q8.gguf"]),
    ],
)
def test_globs_select_inside_the_source_and_exclude_takes_away(
    world: World, patterns: tuple[str, ...], exclude: tuple[str, ...], names: list[str] | None
) -> None:
    found = world.resolve(Manifest(models=(folder("m", *patterns, exclude=exclude),)))
    if names is None:
        assert errors_of(found) == [(f"gemmalock.yaml::m::{patterns[0]}", "not_found")]
    else:
        assert [file.name for file in files_of(lock_of(found)).values()] == names


def test_a_glob_that_matches_nothing_names_what_is_there(world: World) -> None:
    found = world.resolve(Manifest(models=(folder("m", "*.safetensors"),)))
    (failure,) = found.failures
    assert isinstance(failure.error, NotFound)
    assert "`*.safetensors` matches nothing in `file://weights`" in failure.error.message
    for url in WEIGHTS:
        assert f"`{url.removeprefix(FOLDER + '/')}`" in failure.error.message
    assert "`files` or `exclude`" in failure.error.hint


def test_a_glob_whose_every_match_is_excluded_matches_nothing(world: World) -> None:
    found = world.resolve(Manifest(models=(folder("m", "*.gguf", exclude=("model-*",)),)))
    assert errors_of(found) == [("gemmalock.yaml::m::*.gguf", "not_found")]


def test_of_many_names_only_the_first_are_shown_and_the_rest_counted() -> None:
    world = World({f"{FOLDER}/part-{number:03}.bin": b"x" for number in range(50)})
    (failure,) = world.resolve(Manifest(models=(folder("m", "*.gguf"),))).failures
    assert failure.error is not None
    assert "and 30 more" in failure.error.message
    assert len(failure.error.message) < 1000


def test_plain_names_need_no_listing(world: World) -> None:
    world.resolve(Manifest(models=(folder("m", "README.md", "model-Q4.gguf"),)))
    assert FOLDER not in world.asked


def test_two_models_whose_globs_meet_on_one_path_are_a_failure_that_names_both(world: World) -> None:
    models = (folder("one", "*.gguf", path="shared"), folder("two", "model-Q4.gguf", "*.md", path="shared"))
    found = world.resolve(Manifest(models=models))
    (failure,) = found.failures
    assert isinstance(failure.error, PolicyRefused)
    assert "gemmalock.yaml::one::model-Q4.gguf" in failure.error.message
    assert failure.file.id == "gemmalock.yaml::two::model-Q4.gguf"
    assert found.lock is None


@pytest.mark.parametrize("name", ["aux.gguf", "CON", "a:b.gguf", "trailing.", ".git/x", "a\u202eb.gguf"])
def test_a_listed_name_that_is_unsafe_on_some_platform_is_refused(world: World, name: str) -> None:
    world.files[f"{FOLDER}/sub/{name}"] = b"x"
    found = world.resolve(Manifest(models=(folder("m", "sub/**"),)))
    assert errors_of(found) == [(f"gemmalock.yaml::m::sub/{name}", "policy")]


def test_all_failures_are_told_at_once_and_there_is_no_lock(world: World) -> None:
    models = (
        by_url("gone", spec("nowhere.gguf"), spec("a.gguf"), spec("neither.gguf")),
        folder("nothing", "*.safetensors", "*.gguf", "*.ckpt"),
        ModelSpec("lost", "lost", source="file://elsewhere", patterns=("*",)),
    )
    found = world.resolve(Manifest(models=models))
    assert found.lock is None
    assert sorted(errors_of(found)) == [
        ("gemmalock.yaml::gone::neither.gguf", "not_found"),
        ("gemmalock.yaml::gone::nowhere.gguf", "not_found"),
        ("gemmalock.yaml::lost", "not_found"),
        ("gemmalock.yaml::nothing::*.ckpt", "not_found"),
        ("gemmalock.yaml::nothing::*.safetensors", "not_found"),
    ]
    assert [pin.file.name for pin in found.pins if pin.locked] == ["a.gguf", "model-Q4.gguf", "model-Q8.gguf"]


# --- what stays --------------------------------------------------------------------------------------------


def changed_upstream(world: World) -> None:
    """Every file has other bytes now."""
    for url in world.files:
        world.files[url] += b"changed"


MANY = Manifest(models=(by_url("one", spec("a.gguf"), spec("b.gguf")), by_url("two", spec("c.gguf"))))


def test_pins_that_follow_from_the_manifest_stay_whatever_upstream_has_now(world: World) -> None:
    before = lock_of(world.resolve(MANY))
    changed_upstream(world)
    again = world.resolve(MANY, before)
    assert again.lock == before
    assert world.asked == []
    assert [pin.asked for pin in again.pins] == [False] * 3


def test_upgrade_asks_for_everything_anew(world: World) -> None:
    before = lock_of(world.resolve(MANY))
    changed_upstream(world)
    after = files_of(lock_of(world.resolve(MANY, before, Wish(upgrade=True))))
    assert len(world.asked) == 3
    assert all(file.task_id != files_of(before)[name].task_id for name, file in after.items())


def test_upgrade_model_asks_for_that_model_alone(world: World) -> None:
    before = lock_of(world.resolve(MANY))
    changed_upstream(world)
    after = files_of(lock_of(world.resolve(MANY, before, Wish(upgrade_models=frozenset({"one"})))))
    assert sorted(world.asked) == [f"{HERE}/a.gguf", f"{HERE}/b.gguf"]
    assert after["two::c.gguf"] == files_of(before)["two::c.gguf"]
    assert after["one::a.gguf"] != files_of(before)["one::a.gguf"]


@pytest.mark.parametrize(
    ("changed", "asked"),
    [
        (by_url("one", spec("a.gguf"), spec("b.gguf"), spec("c.gguf")), ["c.gguf"]),
        (by_url("one", spec("b.gguf")), []),
        (by_url("one", replace(spec("a.gguf"), path="renamed.gguf"), spec("b.gguf")), []),
        (by_url("one", spec("a.gguf"), spec("b.gguf"), path="elsewhere"), []),
        (by_url("renamed", spec("a.gguf"), spec("b.gguf")), []),
        (by_url("one", spec("a.gguf", mirrors=("https://m.example/a",)), spec("b.gguf")), []),
        (by_url("one", spec("a.gguf", digest=DIGEST), spec("b.gguf")), ["a.gguf"]),
        (by_url("one", spec("a.gguf", size=1, digest=DIGEST), spec("b.gguf")), ["a.gguf"]),
        (replace(by_url("one", spec("a.gguf"), spec("b.gguf")), license="mit", tags=("t",)), []),
    ],
)
def test_a_changed_manifest_asks_only_for_what_changed(world: World, changed: ModelSpec, asked: list[str]) -> None:
    before = lock_of(world.resolve(Manifest(models=(by_url("one", spec("a.gguf"), spec("b.gguf")),))))
    changed_upstream(world)
    manifest = Manifest(models=(changed,))
    after = lock_of(world.resolve(manifest, before))
    assert world.asked == [f"{HERE}/{name}" for name in asked]
    assert drift("gemmalock.yaml", manifest, after.manifest("gemmalock.yaml")) == ()


def test_a_pin_with_a_forged_task_id_or_host_does_not_stay(world: World) -> None:
    manifest = Manifest(models=(by_url("m", spec("a.gguf")),))
    before = lock_of(world.resolve(manifest))
    (locked,) = before.manifests
    (model,) = locked.models
    (file,) = model.files
    for forged in (replace(file, task_id="00000000-0000-5000-8000-000000000000"),
                   replace(file, url="https://evil.example/a.gguf")):  # fmt: skip
        tampered = Lock((replace(locked, models=(replace(model, files=(forged,)),)),))
        assert lock_of(world.resolve(manifest, tampered)) == before
        assert world.asked == [f"{HERE}/a.gguf"]


@pytest.mark.parametrize(
    ("patterns", "dropped", "asked"),
    [
        (("README.md", "model-Q4.gguf"), {"README.md"}, [f"{FOLDER}/README.md"]),
        (("*.gguf", "README.md"), {"README.md"}, [f"{FOLDER}/README.md"]),
        (("*.gguf", "README.md"), {"model-Q8.gguf"}, None),
        (("*Q4*", "*.md"), {"README.md"}, [FOLDER, f"{FOLDER}/README.md"]),
        (("*.gguf",), {"model-Q4.gguf", "model-Q8.gguf"}, [FOLDER] + [f"{FOLDER}/model-Q{n}.gguf" for n in (4, 8)]),
    ],
)
def test_what_a_merge_dropped_from_the_lock_is_added_again_where_the_manifest_tells(
    world: World, patterns: tuple[str, ...], dropped: set[str], asked: list[str] | None
) -> None:
    manifest = Manifest(models=(folder("m", *patterns), by_url("n", spec("a.gguf"))))
    before = lock_of(world.resolve(manifest))
    merged = without(before, dropped)
    after = lock_of(world.resolve(manifest, merged))
    if asked is None:
        # The glob has a match left: that there was another is upstream's to tell, and that is not asked.
        assert (after, world.asked) == (merged, [])
    else:
        assert (after, world.asked) == (before, asked)
        assert drift("gemmalock.yaml", manifest, merged.manifest("gemmalock.yaml")) != ()


@pytest.mark.parametrize(("patterns", "exclude"), [(("*.gguf",), ()), (("*.gguf", "*.md"), ("*.md", "*.imatrix"))])
def test_what_a_merge_brought_into_the_lock_and_no_pattern_selects_goes(
    world: World, patterns: tuple[str, ...], exclude: tuple[str, ...]
) -> None:
    both = lock_of(world.resolve(Manifest(models=(folder("m", "*.gguf", "*.md", "*.imatrix"),))))
    manifest = Manifest(models=(folder("m", *patterns[:1], exclude=exclude),))
    before = lock_of(world.resolve(manifest))
    merged = Lock((replace(both.manifests[0], declared=manifest.declared),))
    assert lock_of(world.resolve(manifest, merged)) == before
    assert world.asked == []


def test_a_file_by_url_that_a_glob_would_match_too_is_not_taken_for_one_of_the_source(world: World) -> None:
    manifest = Manifest(models=(replace(folder("m", "*.md"), files=(spec("a.md"),)),))
    world.files[f"{HERE}/a.md"] = b"a"
    before = lock_of(world.resolve(manifest))
    assert lock_of(world.resolve(manifest, before)) == before
    merged = without(before, {"README.md"})
    assert lock_of(world.resolve(manifest, merged)) == before
    assert drift("gemmalock.yaml", manifest, merged.manifest("gemmalock.yaml")) != ()


def test_hash_all_asks_only_for_pins_without_a_digest(world: World) -> None:
    world.files = {f"{HERE}/a.gguf": LARGE, f"{HERE}/b.gguf": b"small"}
    world.published = False
    manifest = Manifest(models=(by_url("m", spec("a.gguf"), spec("b.gguf")),))
    before = lock_of(world.resolve(manifest))
    assert files_of(before)["m::a.gguf"].sha256 is None
    after = files_of(lock_of(world.resolve(manifest, before, Wish(hash_all=True))))
    assert world.learned == [f"{HERE}/a.gguf"]
    assert after["m::a.gguf"] == replace(files_of(before)["m::a.gguf"], sha256=sha256(LARGE))


def test_hash_all_does_not_pin_another_upstream_unasked(world: World) -> None:
    world.files, world.published = {f"{HERE}/a.gguf": LARGE}, False
    manifest = Manifest(models=(by_url("m", spec("a.gguf")),))
    before = lock_of(world.resolve(manifest))
    world.files = {f"{HERE}/a.gguf": LARGE + b"changed"}
    found = world.resolve(manifest, before, Wish(hash_all=True))
    assert errors_of(found) == [("gemmalock.yaml::m::a.gguf", "upstream_changed")]
    assert lock_of(world.resolve(manifest, before, Wish(upgrade=True, hash_all=True)))


def test_a_lock_that_was_written_twice_has_the_same_bytes(world: World) -> None:
    models = (folder("z", "*.gguf"), by_url("a", spec("b.gguf"), spec("a.gguf")))
    first = write_lock(lock_of(world.resolve(Manifest(models=models))))
    other = World({**WEIGHTS, **WEB})
    assert write_lock(lock_of(other.resolve(Manifest(models=models[::-1])))) == first


def test_manifests_are_locked_by_path_each_for_itself(world: World) -> None:
    one, two = Manifest(models=(by_url("m", spec("a.gguf")),)), Manifest("weights", (by_url("m", spec("b.gguf")),))
    found = resolve({"b/gemmalock.yaml": two, "a/gemmalock.yaml": one}, None, Wish(), world)
    assert [(manifest.path, manifest.root) for manifest in lock_of(found).manifests] == [
        ("a/gemmalock.yaml", "models"), ("b/gemmalock.yaml", "weights"),
    ]  # fmt: skip


names = st.sampled_from(["a.gguf", "b.gguf", "c.gguf"])
models = st.dictionaries(
    st.sampled_from(["one", "two", "three"]),
    st.dictionaries(names, st.tuples(st.none() | st.just(DIGEST), st.none() | st.just(3)), max_size=3),
)


def manifest_of(declared: Mapping[str, Mapping[str, tuple[str | None, int | None]]]) -> Manifest:
    """A manifest as the strategy draws it."""
    return Manifest(
        models=tuple(
            by_url(model, *(spec(name, digest=digest, size=size) for name, (digest, size) in files.items()))
            for model, files in declared.items()
        )
    )


@given(models, models)
def test_a_lock_never_drifts_from_the_manifest_that_it_was_made_of(
    first: Mapping[str, Mapping[str, tuple[str | None, int | None]]],
    second: Mapping[str, Mapping[str, tuple[str | None, int | None]]],
) -> None:
    world = World(dict(WEB))
    before = lock_of(world.resolve(manifest_of(first)))
    after = lock_of(world.resolve(manifest_of(second), before))
    assert drift("gemmalock.yaml", manifest_of(second), after.manifest("gemmalock.yaml")) == ()
    assert lock_of(world.resolve(manifest_of(second), after)) == after
    assert world.asked == []


def test_the_files_of_all_models_are_asked_for_at_once(world: World) -> None:
    manifest = Manifest(models=(by_url("one", spec("a.gguf"), spec("b.gguf")), by_url("two", spec("c.gguf"))))
    found = world.resolve(manifest)
    ids = ["gemmalock.yaml::one::a.gguf", "gemmalock.yaml::one::b.gguf", "gemmalock.yaml::two::c.gguf"]
    assert world.maps == [ids]
    assert [pin.file.id for pin in found.pins] == ids


LISTING_FAILS = [NotFound("gone"), PolicyRefused("no"), PermissionRefused("denied"), ReadWriteFailed("bad sector")]


@pytest.mark.parametrize("error", LISTING_FAILS, ids=lambda error: error.code)
def test_a_source_that_cannot_be_listed_fails_its_model_and_no_other(world: World, error: FileError) -> None:
    world.unlistable = error
    found = world.resolve(Manifest(models=(folder("one", "*.gguf"), by_url("two", spec("a.gguf")))))
    assert errors_of(found) == [("gemmalock.yaml::one", error.code)]
    assert [pin.file.id for pin in found.pins if pin.locked] == ["gemmalock.yaml::two::a.gguf"]


@pytest.mark.parametrize(
    ("delimited", "declared", "warns"),
    [(False, {}, True), (True, {}, False), (False, {"size": 54}, False), (False, {"digest": True}, False)],
)
def test_a_size_that_nobody_told_and_nothing_checked_is_warned_of(
    world: World, delimited: bool, declared: dict[str, int | bool], warns: bool
) -> None:
    world.sizes, world.published, world.delimited = False, False, delimited
    body = WEB[f"{HERE}/a.gguf"]
    assert len(body) == 54
    size = 54 if "size" in declared else None
    digest = sha256(body) if "digest" in declared else None
    found = world.resolve(Manifest(models=(by_url("m", spec("a.gguf", size=size, digest=digest)),)))
    assert files_of(lock_of(found))["m::a.gguf"].size == 54
    assert [warning.split(": ")[0] for warning in found.warnings] == ["gemmalock.yaml::m::a.gguf"] * warns


def test_an_error_that_is_no_file_error_is_not_swallowed(world: World) -> None:
    class Broken(World):
        def probe(self, file: Unlocked) -> Probe:
            raise GemmalockError("interrupted")

    with pytest.raises(GemmalockError, match="interrupted"):
        Broken({}).resolve(MANY)


# --- one source, one pin -----------------------------------------------------------------------------------

HUB = "hf://owner/repo@main"
OLD, NEW = "1" * 40, "2" * 40


class Hub(World):
    """A source that is at a commit, and whose files have other bytes at each."""

    commit = OLD

    def list(self, id: str, source: str, *, is_pinned: bool = False) -> Listing:
        """What there is, and the commit: the one that is named, else the one where `main` is."""
        self.asked.append(source)
        ref = source.partition("@")[2]
        return Listing(("a.gguf", "b.json"), self.commit if ref == "main" else ref)

    def probe(self, file: Unlocked) -> Probe:
        """Every file is there at every commit."""
        return Probe(SMALL, f'"{file.url}"', sha256(file.url.encode()))


def shared(name: str, *patterns: str) -> Manifest:
    """A manifest with a model out of the hub."""
    return Manifest(models=(ModelSpec(name, name, source=HUB, patterns=patterns),))


def revisions_of(lock: Lock) -> dict[str, set[str | None]]:
    """The commits that each model's own word and the URLs of its files have."""
    return {
        model.name: {model.revision, *(file.url.split("/")[6] for file in model.files)}
        for manifest in lock.manifests
        for model in manifest.models
    }


@pytest.mark.parametrize("late", [("a.gguf",), ("*.json",), ("b.json", "*.gguf")])
@pytest.mark.parametrize("wish", [Wish(), Wish(upgrade_models=frozenset({"early"}))])
def test_one_source_is_at_one_commit_whoever_comes_to_it_when(late: tuple[str, ...], wish: Wish) -> None:
    hub = Hub({})
    first = lock_of(resolve({"apps/a/gemmalock.yaml": shared("early", "*.gguf")}, None, Wish(), hub))
    assert revisions_of(first) == {"early": {OLD}}
    hub.commit = NEW
    manifests = {"apps/a/gemmalock.yaml": shared("early", "*.gguf"), "apps/b/gemmalock.yaml": shared("late", *late)}
    both = lock_of(resolve(manifests, first, wish, hub))
    found = revisions_of(both)
    assert found["early"] == found["late"]
    assert len(found["early"]) == 1
    assert [ids for _, ids in shared_pins(both)] == [["apps/a/gemmalock.yaml::early", "apps/b/gemmalock.yaml::late"]]


def test_two_models_of_one_manifest_share_a_commit_too() -> None:
    hub = Hub({})
    (early,) = shared("early", "*.gguf").models
    (late,) = shared("late", "*.json").models
    first = lock_of(hub.resolve(Manifest(models=(early,))))
    hub.commit = NEW
    found = revisions_of(lock_of(hub.resolve(Manifest(models=(early, late)), first)))
    assert found["early"] == found["late"] == {OLD}


def test_a_name_in_a_source_that_others_have_takes_their_commit() -> None:
    hub = Hub({})
    first = lock_of(resolve({"apps/a/gemmalock.yaml": shared("early", "*.gguf")}, None, Wish(), hub))
    hub.commit = NEW
    manifests = {"apps/a/gemmalock.yaml": shared("early", "*.gguf"), "apps/b/gemmalock.yaml": shared("late", "b.json")}
    assert revisions_of(lock_of(resolve(manifests, first, Wish(), hub))) == {"early": {OLD}, "late": {OLD}}


# --- repositories ------------------------------------------------------------------------------------------

BLOB = "b" * 40


@dataclass
class Repository(World):
    """A source that tells of all of its files at once, at a commit; nothing of it has to be probed."""

    commit: str = OLD
    license: str | None = "gemma"
    told: dict[str, Probe] = field(default_factory=dict)

    def list(self, id: str, source: str, *, is_pinned: bool = False) -> Listing:
        """Everything, at the commit that is named, else at the one where `main` is."""
        self.asked.append(source)
        ref = source.partition("@")[2]
        return Listing(tuple(self.told), self.commit if ref == "main" else ref, self.license, self.told)

    def learn(self, file: Unlocked, probe: Probe) -> Learned:
        """Fetch it."""
        self.learned.append(file.url)
        assert probe.size is not None
        return Learned(probe.size, sha256(file.name.encode()), 'W/"of a CDN"')


@pytest.fixture
def repository() -> Repository:
    """A large file with its digest, and a small one with its blob."""
    large = Probe(5 * SMALL, f'"{DIGEST}"', DIGEST)
    small = Probe(12, f'"{BLOB}"', None, BLOB)
    return Repository({}, told={"a.gguf": large, "deep/b.json": small})


def test_what_a_listing_tells_of_is_not_asked_for_again(repository: Repository) -> None:
    lock = lock_of(repository.resolve(Manifest(models=shared("early", "*.gguf", "deep/b.json").models)))
    assert repository.asked == [HUB]
    assert repository.learned == [f"https://huggingface.co/owner/repo/resolve/{OLD}/deep/b.json"]
    large, small = (file for _, file in lock.manifests[0].files())
    assert (large.size, large.etag, large.sha256) == (5 * SMALL, f'"{DIGEST}"', DIGEST)
    # The name of the blob, whatever tag it came with.
    assert (small.size, small.etag, small.sha256) == (12, f'"{BLOB}"', sha256(b"deep/b.json"))


@pytest.mark.parametrize(("declared", "locked"), [(None, "gemma"), ("apache-2.0", "apache-2.0")])
def test_the_licence_is_the_manifests_else_the_sources(
    repository: Repository, declared: str | None, locked: str
) -> None:
    model = ModelSpec("m", "m", source=HUB, patterns=("a.gguf",), license=declared)
    first = lock_of(repository.resolve(Manifest(models=(model,))))
    repository.license = "changed since"
    again = lock_of(repository.resolve(Manifest(models=(model,)), first))
    assert [lock.manifests[0].models[0].license for lock in (first, again)] == [locked, locked]


@pytest.mark.parametrize("is_remembered", [True, False])
def test_a_model_that_stayed_is_not_asked_for_where_its_manifest_is_remembered(
    repository: Repository, is_remembered: bool
) -> None:
    (early,) = shared("early", "**").models
    before = Manifest(models=(early,))
    first = lock_of(repository.resolve(before))
    repository.asked.clear()
    repository.remembered = [before] if is_remembered else []
    late = ModelSpec("late", "late", source="hf://owner/other@main", patterns=("a.gguf",))
    second = lock_of(repository.resolve(Manifest(models=(early, late)), first))
    asked = ["hf://owner/other@main"]
    assert repository.asked == (asked if is_remembered else [f"hf://owner/repo@{OLD}", *asked])
    assert second.manifests[0].models[0] == first.manifests[0].models[0]
    # One that changed is looked for, whatever is remembered.
    repository.asked.clear()
    changed = replace(early, patterns=("**", "*.gguf"), exclude=("*.json",))
    lock_of(repository.resolve(Manifest(models=(changed,)), first))
    assert repository.asked == [f"hf://owner/repo@{OLD}"]


def test_a_licence_that_left_the_manifest_leaves_the_lock(repository: Repository) -> None:
    ours = ModelSpec("m", "m", source=HUB, patterns=("a.gguf",), license="mit")
    first = lock_of(repository.resolve(Manifest(models=(ours,))))
    theirs = Manifest(models=(replace(ours, license=None),))
    again = lock_of(repository.resolve(theirs, first))
    assert again == lock_of(repository.resolve(theirs))
    assert again.manifests[0].models[0].license == "gemma"
    # Of a file by its URL nobody else says a licence.
    file = FileSpec(f"{HERE}/a.gguf", "a.gguf")
    declared = ModelSpec("m", "m", files=(file,), license="mit")
    world = World({f"{HERE}/a.gguf": LARGE})
    first = lock_of(world.resolve(Manifest(models=(declared,))))
    again = lock_of(world.resolve(Manifest(models=(replace(declared, license=None),)), first))
    assert again.manifests[0].models[0].license is None


def test_a_new_name_is_looked_for_at_the_commit_that_is_pinned(repository: Repository) -> None:
    first = lock_of(repository.resolve(Manifest(models=shared("early", "a.gguf").models)))
    repository.commit = NEW
    repository.asked.clear()
    second = lock_of(repository.resolve(Manifest(models=shared("early", "a.gguf", "deep/b.json").models), first))
    assert repository.asked == [f"hf://owner/repo@{OLD}"]
    assert revisions_of(second) == {"early": {OLD}}


def test_a_blob_that_stayed_is_not_fetched_again_at_another_commit(repository: Repository) -> None:
    manifest = Manifest(models=shared("early", "**/*.json").models)
    first = lock_of(repository.resolve(manifest))
    repository.commit = NEW
    repository.learned.clear()
    second = lock_of(repository.resolve(manifest, first, Wish(upgrade=True)))
    assert repository.learned == []
    assert revisions_of(second) == {"early": {NEW}}
    assert [file.sha256 for _, file in second.manifests[0].files()] == [sha256(b"deep/b.json")]


def test_a_blob_is_learned_however_large_it_is(repository: Repository) -> None:
    repository.told["tokenizer.json"] = Probe(9 * SMALL, f'"{BLOB}"', None, BLOB)
    lock = lock_of(repository.resolve(Manifest(models=shared("early", "tokenizer.json").models)))
    assert [file.sha256 for _, file in lock.manifests[0].files()] == [sha256(b"tokenizer.json")]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("a.ggfu", "did you mean `a.gguf`?"),
        ("b.json", "did you mean `deep/b.json`?"),
        ("nothing like it", "there is `a.gguf`, `deep/b.json`"),
    ],
)
def test_a_name_that_a_repository_has_not_is_told_with_near_ones(repository: Repository, name: str, hint: str) -> None:
    (failure,) = repository.resolve(Manifest(models=shared("early", name, "a.gguf").models)).failures
    assert failure.file.id == f"gemmalock.yaml::early::{name}"
    assert isinstance(failure.error, NotFound)
    assert (failure.error.message, failure.error.hint) == (f"`{name}` is not in `{HUB}`", hint)


def declared_by_url(ref: str = "main", **keys: str) -> Manifest:
    """A manifest with one file that is declared by its place in a repository."""
    file = FileSpec(f"hf://owner/repo@{ref}/deep/b.json", "b.json", **keys)  # type: ignore[arg-type]
    return Manifest(models=(ModelSpec("m", "m", files=(file,)),))


def test_a_file_by_its_place_in_a_repository_is_pinned_to_a_commit(repository: Repository) -> None:
    manifest = declared_by_url()
    first = lock_of(repository.resolve(manifest))
    (file,) = (file for _, file in first.manifests[0].files())
    assert (file.url, file.name) == (f"https://huggingface.co/owner/repo/resolve/{OLD}/deep/b.json", "b.json")
    assert drift("gemmalock.yaml", manifest, first.manifests[0]) == ()
    repository.commit = NEW
    repository.asked.clear()
    assert lock_of(repository.resolve(manifest, first)) == first
    assert repository.asked == []
    upgraded = lock_of(repository.resolve(manifest, first, Wish(upgrade=True)))
    assert [file.url.split("/")[6] for _, file in upgraded.manifests[0].files()] == [NEW]


@pytest.mark.parametrize("manifest", [declared_by_url(NEW), declared_by_url(sha256="e" * 64)])
def test_a_file_of_a_repository_that_is_declared_otherwise_is_drift(repository: Repository, manifest: Manifest) -> None:
    first = lock_of(repository.resolve(declared_by_url()))
    assert drift("gemmalock.yaml", manifest, first.manifests[0])


def test_a_file_that_its_repository_has_not_is_told_by_its_path(repository: Repository) -> None:
    del repository.told["deep/b.json"]
    (failure,) = repository.resolve(declared_by_url()).failures
    assert failure.file.id == "gemmalock.yaml::m::b.json"
    assert isinstance(failure.error, NotFound)


def steps_to_lock_again(count: int) -> int:
    """How many functions are called to lock so many files anew, in models of one each, whose pins all stay."""
    files = {f"{HERE}/{number}.gguf": LARGE for number in range(count)}
    manifest = Manifest(models=tuple(by_url(f"m{number}", spec(f"{number}.gguf")) for number in range(count)))
    world, called = World(files), 0
    old = lock_of(world.resolve(manifest))

    def note(frame: object, event: str, arg: object) -> None:
        nonlocal called
        called += event == "call"

    sys.setprofile(note)
    try:
        again = world.resolve(manifest, old)
    finally:
        sys.setprofile(None)
    assert lock_of(again) == old
    assert not world.asked
    return called


def test_to_lock_again_takes_steps_for_each_file_and_not_for_each_pair() -> None:
    assert steps_to_lock_again(400) < 5 * steps_to_lock_again(100)

"""Model sets at lock time: a quantisation, numbered shards, and the shards that an index names."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import pytest

from gemmalock.drift import Drift, drift
from gemmalock.errors import ConnectionFailed, FileError
from gemmalock.lockfile import Lock
from gemmalock.missing import instead_of
from gemmalock.pinning import SMALL, Unlocked, Wish
from gemmalock.ports import Listing, Probe
from gemmalock.resolver import Resolution
from gemmalock.spec import FileSpec, Manifest, ModelSpec
from tests.test_resolver import FOLDER, HERE, HUB, NEW, OLD, Repository, World, errors_of, files_of, lock_of, without

INDEX = "model.safetensors.index.json"
SHARDS = tuple(f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3))
WHOLE = tuple(f"big-Q8_0-{number:05}-of-00002.gguf" for number in (1, 2))


def index_of(*shards: str) -> bytes:
    """The text of an index that names these shards."""
    return json.dumps({"metadata": {}, "weight_map": {f"layer.{n}": name for n, name in enumerate(shards)}}).encode()


@dataclass
class Models(Repository):
    """A repository of these names; the texts of its indexes."""

    texts: dict[str, bytes] = field(default_factory=dict)

    def text(self, file: Unlocked) -> bytes:
        """Read it."""
        self.read.append(file.name)
        return self.texts[file.name]


def having(*names: str, **texts: bytes) -> Models:
    """A repository of these names, every one with a digest that is published; `index` is the text of INDEX."""
    told = {name: Probe(SMALL, f'"{name}"', f"{number:064}") for number, name in enumerate(names)}
    return Models({}, told=told, texts={INDEX: texts["index"]} if "index" in texts else {})


def model(*patterns: str, quant: str | None = None, exclude: tuple[str, ...] = (), source: str = HUB) -> Manifest:
    """A manifest with one model."""
    return Manifest(models=(ModelSpec("m", "m", source=source, patterns=patterns, exclude=exclude, quant=quant),))


def names_of(resolution: Resolution) -> list[str]:
    """The names of the files that are locked."""
    return [id.removeprefix("m::") for id in files_of(lock_of(resolution))]


def said(resolution: Resolution) -> list[tuple[str, str, str]]:
    """The failures, as (name, message, hint)."""
    found = [(pin.file.id, pin.error) for pin in resolution.failures if pin.error is not None]
    return [(id.removeprefix("gemmalock.yaml::m::"), error.message, error.hint) for id, error in found]


def drifts(manifest: Manifest, lock: Lock) -> tuple[Drift, ...]:
    """What `lock --check` finds in a lock."""
    return drift("gemmalock.yaml", manifest, lock.manifests[0])


# --- quantisations -------------------------------------------------------------------------------------------

GGUFS = (
    "README.md", "big-Q4_K_M.gguf", *WHOLE, "big-UD-Q4_K_XL.gguf", "big-Q4_K_S.gguf", "mmproj-Q8_0.gguf",
    "imatrix-Q4_K_M.gguf",
)  # fmt: skip


@pytest.mark.parametrize(
    ("quant", "selected"),
    [
        ("Q4_K_M", ["big-Q4_K_M.gguf"]),
        ("Q8_0", list(WHOLE)),
        ("UD-Q4_K_XL", ["big-UD-Q4_K_XL.gguf"]),
    ],
)
def test_a_quantisation_selects_its_files_and_all_of_their_shards(quant: str, selected: list[str]) -> None:
    repository = having(*GGUFS)
    found = repository.resolve(model(quant=quant))
    assert names_of(found) == selected
    assert repository.asked == [HUB]


def test_files_add_to_a_quantisation_and_exclude_takes_out() -> None:
    repository = having(*GGUFS, "draft-Q4_K_M.gguf")
    found = repository.resolve(model("*.md", "mmproj-Q8_0.gguf", quant="Q4_K_M", exclude=("draft-*",)))
    assert names_of(found) == ["README.md", "big-Q4_K_M.gguf", "mmproj-Q8_0.gguf"]


@pytest.mark.parametrize(
    ("names", "quant", "message", "hint"),
    [
        (
            GGUFS,
            "Q5_K_M",
            "selects nothing in `hf://owner/repo@main`; there is `Q4_K_M`, `Q4_K_S`, `Q8_0`, `UD-Q4_K_XL`",
            "write one of them, or name the files in `files`",
        ),
        (GGUFS, "Q4_K_XL", "there is `Q4_K_M`, `Q4_K_S`, `Q8_0`, `UD-Q4_K_XL`", "did you mean `UD-Q4_K_XL`?"),
        (GGUFS, "Q4_K", "selects nothing", "did you mean `Q4_K_M`, `Q4_K_S`, `UD-Q4_K_XL`?"),
        (("a.gguf", "b.safetensors"), "Q4_K_M", "it has no GGUF file whose name tells a quantisation", "`files`"),
        (("mmproj-F16.gguf",), "F16", "it has no GGUF file whose name tells a quantisation", "`files`"),
        (("old/a-Q4_0.gguf",), "Q4_0", "selects nothing in `hf://owner/repo@main`", "`exclude` takes out all files"),
    ],
)
def test_a_quantisation_that_is_not_there_is_told_with_those_that_are(
    names: tuple[str, ...], quant: str, message: str, hint: str
) -> None:
    ((id, told, advice),) = said(having(*names).resolve(model(quant=quant, exclude=("old/*",))))
    assert id == quant
    assert told.startswith(f"`quant: {quant}`")
    assert message in told
    assert hint in advice


def test_a_quantisation_that_several_models_have_is_told_with_all_of_them() -> None:
    manifest = model(quant="Q8_0")
    ((id, told, advice),) = said(having(*WHOLE, "small-Q8_0.gguf", "mmproj-Q8_0.gguf").resolve(manifest))
    models = "`big-Q8_0-*-of-00002.gguf`, `small-Q8_0.gguf`"
    assert (id, told) == ("Q8_0", f"`quant: Q8_0` fits 2 models in `{HUB}`: {models}")
    assert "`exclude`" in advice


def test_a_source_that_cannot_be_listed_fails_as_a_whole_where_a_quantisation_is_wanted() -> None:
    class Unreachable(Models):
        def list(self, id: str, source: str, *, is_pinned: bool = False) -> Listing:
            """Nobody is there."""
            raise ConnectionFailed("nobody")

    found = Unreachable({}).resolve(model(quant="Q8_0"))
    assert errors_of(found) == [("gemmalock.yaml::m", "connection")]


def test_a_quantisation_stays_as_it_is_locked_until_an_upgrade() -> None:
    repository = having(*GGUFS)
    manifest = model(quant="Q8_0")
    first = lock_of(repository.resolve(manifest))
    assert drifts(manifest, first) == ()
    repository.told = having("new-Q8_0.gguf").told
    repository.commit = NEW
    assert lock_of(repository.resolve(manifest, first)) == first
    assert (repository.asked, repository.read) == ([], [])
    assert names_of(repository.resolve(manifest, first, Wish(upgrade=True))) == ["new-Q8_0.gguf"]


# --- numbered shards -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("quant", [None, "Q8_0"])
def test_a_set_with_a_gap_is_an_error_that_names_each_shard_that_is_not_there(quant: str | None) -> None:
    names = [f"m-Q8_0-{number:05}-of-00005.gguf" for number in (1, 3, 4)]
    manifest = model(*(() if quant else ("*.gguf",)), quant=quant)
    ((id, told, advice),) = said(having(*names).resolve(manifest))
    assert id == "m-Q8_0-00002-of-00005.gguf"
    assert told == (
        f"`m-Q8_0-00002-of-00005.gguf`, `m-Q8_0-00005-of-00005.gguf` are not in `{HUB}`: "
        "the set of 5 shards is not whole without them"
    )
    assert advice == "ask the publisher for the whole set, or exclude all of it: `m-Q8_0-*-of-00005.gguf`"


def test_a_set_that_is_excluded_as_the_hint_says_is_no_error() -> None:
    repository = having("a.json", *SHARDS[:2])
    ((_, _, advice),) = said(repository.resolve(model("*")))
    glob = advice.split("`")[1]
    assert names_of(repository.resolve(model("*", exclude=(glob,)))) == ["a.json"]


def test_a_shard_that_is_there_and_not_selected_or_excluded_is_told_so() -> None:
    repository = having("a.json", *SHARDS)
    ((id, told, advice),) = said(repository.resolve(model(*SHARDS[:2])))
    ending = "the set of 3 shards is not whole without it"
    assert (id, told) == (SHARDS[2], f"`{SHARDS[2]}` is in `{HUB}`, but not selected: {ending}")
    assert advice == "select the whole set: `model-*-of-00003.safetensors`"
    ((id, told, advice),) = said(repository.resolve(model("*", exclude=("*-00002-*",))))
    assert (id, told) == (SHARDS[1], f"`{SHARDS[1]}` is taken out by `exclude`: {ending}")
    assert advice == "exclude the whole set, `model-*-of-00003.safetensors`, or none of its shards"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("w/00O1.bin", "`w/0001.bin`"),
        ("w/l00l.bin", "`w/1001.bin`"),
        ("W/0901.BIN", "`w/0901.bin`"),
        ("w/0001.bim", "`w/0001.bin`"),
    ],
)
def test_a_name_that_looks_like_the_one_that_was_written_is_proposed_first(name: str, near: str) -> None:
    names = [f"w/{number:04}.bin" for number in (1, 901, 801, 701, 601, 1001)]
    assert instead_of(name, names).startswith(f"did you mean {near}")
    assert instead_of(name, names).count("`") <= 6


def test_each_reason_for_a_gap_is_told_by_itself() -> None:
    names = [f"m-{number}-of-6.bin" for number in (1, 2, 3, 4)]
    found = said(having(*names).resolve(model("m-1-of-6.bin", "m-[23]-of-6.bin", exclude=("m-3-*",))))
    assert [(id, told.split(":")[0]) for id, told, _ in found] == [
        ("m-3-of-6.bin", "`m-3-of-6.bin` is taken out by `exclude`"),
        ("m-4-of-6.bin", "`m-4-of-6.bin` is in `hf"),
        ("m-5-of-6.bin", "`m-5-of-6.bin`, `m-6-of-6.bin` are not in `hf"),
    ]


def test_a_shard_that_is_named_and_not_there_is_told_once() -> None:
    ((id, told, _),) = said(having(*SHARDS[:2]).resolve(model(*SHARDS)))
    assert (id, told) == (SHARDS[2], f"`{SHARDS[2]}` is not in `{HUB}`")


def test_of_a_huge_gap_the_first_shards_are_named_and_the_others_counted() -> None:
    ((_, told, _),) = said(having("m-00001-of-99999.gguf").resolve(model("*.gguf")))
    assert told.startswith("`m-00002-of-99999.gguf`, ")
    assert "`m-00021-of-99999.gguf` and 99978 more are not in" in told


def by_url(*names: str) -> Manifest:
    """A model whose files are declared by URL."""
    return Manifest(models=(ModelSpec("m", "m", files=tuple(FileSpec(f"{HERE}/{name}", name) for name in names)),))


def on_the_web(**texts: bytes) -> World:
    """A web server with the shards, and the index."""
    return World({f"{HERE}/{name}": name.encode() for name in SHARDS} | {f"{HERE}/{INDEX}": texts.get("index", b"")})


def test_shards_that_are_declared_by_url_are_a_set_too() -> None:
    world = on_the_web()
    assert names_of(world.resolve(by_url(*SHARDS))) == list(SHARDS)
    ((id, told, advice),) = said(world.resolve(by_url(SHARDS[0], SHARDS[2])))
    ending = "the set of 3 shards is not whole without it"
    assert (id, told) == (SHARDS[1], f"`{SHARDS[1]}` is not among the model's files: {ending}")
    assert advice == "name all shards of the set, as text or by `url`"


def test_a_set_may_come_from_a_source_and_by_url() -> None:
    url = FileSpec(f"{HERE}/{SHARDS[2]}", SHARDS[2])
    (spec,) = model(*SHARDS[:2]).models
    repository = having(*SHARDS[:2])
    repository.files[url.url] = b"3"

    def probe(file: Unlocked) -> Probe:
        return Probe(SMALL, '"3"', "3" * 64)

    repository.probe = probe  # type: ignore[method-assign]
    assert names_of(repository.resolve(Manifest(models=(replace(spec, files=(url,)),)))) == list(SHARDS)


# --- indexes -------------------------------------------------------------------------------------------------


def test_the_shards_that_an_index_names_are_of_the_model() -> None:
    repository = having(INDEX, *SHARDS, "other.safetensors", index=index_of(*SHARDS))
    manifest = model(INDEX)
    lock = lock_of(repository.resolve(manifest))
    assert [name.removeprefix("m::") for name in files_of(lock)] == [*SHARDS, INDEX]
    assert (repository.asked, repository.read) == ([HUB], [INDEX])
    assert drifts(manifest, lock) == ()
    repository.commit = NEW
    assert lock_of(repository.resolve(manifest, lock)) == lock
    assert (repository.asked, repository.read) == ([], [])


def test_an_index_in_a_folder_names_files_of_that_folder() -> None:
    names = ("unet/diffusion.safetensors.index.json", "unet/a.safetensors", "unet/deep/b.safetensors", "a.safetensors")
    repository = having(*names)
    repository.texts[names[0]] = index_of("a.safetensors", "deep/b.safetensors")
    manifest = model("unet/*.json")
    lock = lock_of(repository.resolve(manifest))
    assert sorted(file.name for _, file in lock.manifests[0].files()) == sorted(names[:3])
    assert drifts(manifest, lock) == ()


def test_shards_of_an_index_that_are_not_there_are_the_indexs_error() -> None:
    repository = having(INDEX, SHARDS[0], index=index_of(*SHARDS))
    ((id, told, advice),) = said(repository.resolve(model(INDEX)))
    assert (id, told) == (INDEX, f"`{INDEX}` names `{SHARDS[1]}`, `{SHARDS[2]}`, which are not in `{HUB}`")
    assert "the publisher" in advice


def test_shards_of_an_index_that_are_excluded_are_the_indexs_error() -> None:
    repository = having("config.json", INDEX, *SHARDS, index=index_of(*SHARDS))
    ((id, told, advice),) = said(repository.resolve(model("*", exclude=(SHARDS[1],))))
    assert (id, told) == (INDEX, f"`{INDEX}` names `{SHARDS[1]}`, which `exclude` takes out")
    assert advice == "exclude the index as well, or none of its shards"
    assert names_of(repository.resolve(model("*", exclude=("*.safetensors", INDEX)))) == ["config.json"]


def test_an_index_that_is_none_is_an_error_with_its_name() -> None:
    ((id, told, _),) = said(having(INDEX, *SHARDS, index=b"<html>").resolve(model(INDEX)))
    assert (id, told) == (INDEX, f"`{INDEX}` is no index of shards: it is not JSON")
    found = having(INDEX, *SHARDS, index=index_of("../../x.safetensors")).resolve(model(INDEX))
    assert errors_of(found) == [(f"gemmalock.yaml::m::{INDEX}", "unsafe_path")]


def test_an_index_that_cannot_be_read_fails_and_the_others_do_not() -> None:
    class Cut(Models):
        def text(self, file: Unlocked) -> bytes:
            """The connection is cut."""
            raise ConnectionFailed("cut")

    found = Cut({}, told=having(INDEX, "a.json").told).resolve(model(INDEX, "a.json"))
    assert errors_of(found) == [(f"gemmalock.yaml::m::{INDEX}", "connection")]


def test_an_index_is_read_anew_when_its_model_is_upgraded() -> None:
    repository = having(INDEX, *SHARDS, index=index_of(*SHARDS))
    manifest = model(INDEX)
    first = lock_of(repository.resolve(manifest))
    repository.commit = NEW
    repository.told |= having("new.safetensors").told
    repository.texts[INDEX] = index_of("new.safetensors")
    assert sorted(names_of(repository.resolve(manifest, first, Wish(upgrade=True)))) == [INDEX, "new.safetensors"]


def test_a_folder_that_cannot_be_listed_has_what_its_index_names() -> None:
    web = "https://models.example.org"
    world = on_the_web(index=index_of(*SHARDS))
    world.unlistable = FileError("cannot be listed")
    assert sorted(names_of(world.resolve(model(INDEX, source=web)))) == sorted([*SHARDS, INDEX])
    del world.files[f"{web}/{SHARDS[2]}"]
    assert errors_of(world.resolve(model(INDEX, source=web))) == [(f"gemmalock.yaml::m::{SHARDS[2]}", "not_found")]


def test_a_local_folder_that_lacks_a_shard_of_an_index_is_told_so() -> None:
    files = {f"{FOLDER}/{name}": name.encode() for name in SHARDS[:2]} | {f"{FOLDER}/{INDEX}": index_of(*SHARDS)}
    ((id, told, _),) = said(World(files).resolve(model(INDEX, source=FOLDER)))
    assert (id, told) == (INDEX, f"`{INDEX}` names `{SHARDS[2]}`, which is not in `{FOLDER}`")


def test_an_index_by_url_is_held_against_its_declared_siblings_and_brings_none() -> None:
    world = on_the_web(index=index_of(*SHARDS))
    assert names_of(world.resolve(by_url(INDEX))) == [INDEX]
    assert world.read == []
    manifest = by_url(INDEX, *SHARDS)
    lock = lock_of(world.resolve(manifest))
    assert world.read == [INDEX]
    assert drifts(manifest, lock) == ()
    assert lock_of(world.resolve(manifest, lock)) == lock
    assert (world.asked, world.read) == ([], [])
    world.files[f"{HERE}/more.safetensors"] = b"more"
    ((id, told, advice),) = said(world.resolve(by_url(INDEX, "more.safetensors")))
    assert (id, told) == (INDEX, f"`{INDEX}` names {', '.join(f'`{name}`' for name in SHARDS)}, and the model does not")
    assert "`url`" in advice


def test_an_index_by_url_is_not_read_again_for_an_edit_elsewhere() -> None:
    world = on_the_web(index=index_of(*SHARDS))
    world.files[f"{HERE}/other.gguf"] = b"other"
    manifest = by_url(INDEX, *SHARDS)
    lock = lock_of(world.resolve(manifest))
    other = ModelSpec("other", "other", files=(FileSpec(f"{HERE}/other.gguf", "other.gguf"),))
    assert lock_of(world.resolve(Manifest(models=(*manifest.models, other)), lock)) != lock
    assert (world.asked, world.read) == ([f"{HERE}/other.gguf"], [])
    # Other siblings, other shards: now it is.
    assert world.resolve(by_url(INDEX, *SHARDS[:2], "model.safetensors"), lock).lock is None
    assert world.read == [INDEX]


# --- locks that do not follow --------------------------------------------------------------------------------


def test_a_lock_that_lost_a_shard_is_stale_and_mended_at_the_same_commit() -> None:
    repository = having(INDEX, *SHARDS, *WHOLE, index=index_of(*SHARDS))
    for manifest, name in ((model(INDEX), SHARDS[1]), (model("*.gguf"), WHOLE[0]), (model(quant="Q8_0"), WHOLE[1])):
        repository.commit = OLD
        lock = lock_of(repository.resolve(manifest))
        repository.commit = NEW
        torn = without(lock, {name})
        (found,) = drifts(manifest, torn)
        assert str(found) == f"gemmalock.yaml::m::{name}: is not in the lock"
        assert lock_of(repository.resolve(manifest, torn)) == lock
        assert repository.asked == [f"hf://owner/repo@{OLD}"]


def test_an_index_without_any_shard_makes_a_lock_stale() -> None:
    repository = having(INDEX, *SHARDS, index=index_of(*SHARDS))
    manifest = model(INDEX)
    lock = lock_of(repository.resolve(manifest))
    torn = without(lock, set(SHARDS))
    (found,) = drifts(manifest, torn)
    assert str(found) == f"gemmalock.yaml::m::{INDEX}: its shards are not in the lock"
    assert lock_of(repository.resolve(manifest, torn)) == lock


@pytest.mark.parametrize(
    ("manifest", "more", "says"),
    [
        (model(INDEX), "x.bin", "gemmalock.yaml::m::x.bin: is not among the manifest's files"),
        (model(INDEX, exclude=("x*",)), "x.safetensors", "gemmalock.yaml::m::x.safetensors: is not among the"),
        (model(quant="Q8_0"), "x-Q4_K_M.gguf", "gemmalock.yaml::m::x-Q4_K_M.gguf: is not among the manifest's files"),
        (model(quant="Q8_0"), "x.safetensors", "gemmalock.yaml::m::x.safetensors: is not among the manifest's files"),
        (model(quant="Q8_0"), "x-Q8_0.gguf", "gemmalock.yaml::m: `quant: Q8_0` selects 2 models in the lock"),
    ],
)
def test_a_lock_with_a_file_that_no_set_brings_is_stale(manifest: Manifest, more: str, says: str) -> None:
    repository = having(INDEX, *SHARDS, *WHOLE, index=index_of(*SHARDS))
    lock = lock_of(repository.resolve(manifest))
    extra = lock_of(having(more).resolve(model(more))).manifests[0].models[0].files
    (locked,) = lock.manifests
    (first,) = locked.models
    tampered = Lock((replace(locked, models=(replace(first, files=(*first.files, *extra)),)),))
    (found,) = drifts(manifest, tampered)
    assert str(found).startswith(says)
    # And a new lock has it no more.
    assert lock_of(repository.resolve(manifest, tampered)) == lock


def test_another_quantisation_makes_a_lock_stale() -> None:
    lock = lock_of(having(*GGUFS).resolve(model(quant="Q4_K_M")))
    found = [str(each) for each in drifts(model(quant="Q8_0"), lock)]
    assert found == [
        "gemmalock.yaml::m: `quant: Q8_0` selects 0 models in the lock",
        "gemmalock.yaml::m::big-Q4_K_M.gguf: is not among the manifest's files",
    ]

"""Model sets as a person has them: quantisations, shards and indexes, from a folder and from a web server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.running import Gemmalock, Project
from tests.servers.fileserver import Content, FileServer
from tests.servers.hub import Hub, Lfs

INDEX = "model.safetensors.index.json"
SHARDS = tuple(f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3))
GGUFS = (
    "tiny-Q4_K_M.gguf",
    "Q8_0/tiny-Q8_0-00001-of-00002.gguf",
    "Q8_0/tiny-Q8_0-00002-of-00002.gguf",
    "mmproj-F16.gguf",
)


def index_of(*shards: str) -> bytes:
    """The text of an index that names these shards."""
    return json.dumps({"weight_map": {f"layer.{n}": name for n, name in enumerate(shards)}}).encode()


@pytest.fixture
def weights(project: Project) -> Path:
    """A folder with GGUF files, and with the shards of an index."""
    folder = project.folder / "weights"
    (folder / "Q8_0").mkdir(parents=True)
    for name in (*GGUFS, *SHARDS):
        (folder / name).write_bytes(name.encode() * 3)
    (folder / INDEX).write_bytes(index_of(*SHARDS))
    return folder


def declare(project: Project, *lines: str) -> None:
    """A manifest with one model of the folder."""
    text = "".join(f"    {line}\n" for line in lines)
    project.write_manifest(f"version: 1\nmodels:\n  m:\n{text}")


def locked(project: Project) -> list[str]:
    """The names that are locked."""
    (manifest,) = json.loads(project.lock.read_text())["manifests"]
    return sorted(file["name"] for model in manifest["models"] for file in model["files"])


def test_a_quantisation_is_added_locked_proved_and_synced(
    project: Project, gemmalock: Gemmalock, weights: Path
) -> None:
    project.write_manifest("version: 1\nmodels: {}\n")
    done = gemmalock("add", "tiny", "file://weights", "mmproj-F16.gguf", "--quant", "q8_0")
    assert done.code == 0, done.err
    model = "    source: file://weights\n    quant: q8_0\n    files:\n      - mmproj-F16.gguf\n"
    assert project.manifest.read_text() == f"version: 1\nmodels:\n  tiny:\n{model}"
    assert locked(project) == [*GGUFS[1:3], "mmproj-F16.gguf"]
    assert gemmalock("lock", "--check").code == 0
    assert gemmalock("sync", "--locked").code == 0
    assert (project.folder / "models/tiny" / GGUFS[2]).read_bytes() == (weights / GGUFS[2]).read_bytes()
    # The twin of the flag, without a file that is named.
    assert gemmalock("add", "small", "file://weights", env={"GEMMALOCK_QUANT": "Q4_K_M"}).code == 0
    assert locked(project) == sorted([GGUFS[0], *GGUFS[1:3], "mmproj-F16.gguf"])


def test_a_quantisation_that_cannot_be_is_not_added(project: Project, gemmalock: Gemmalock, weights: Path) -> None:
    project.write_manifest("version: 1\nmodels: {}\n")
    before = project.manifest.read_bytes()
    done = gemmalock("add", "tiny", "file://weights", "--quant", "4bit")
    assert (done.code, "`4bit` is no quantisation of GGUF files" in done.err) == (4, True)
    done = gemmalock("add", "tiny", "file://weights", "--quant", "Q5_K_M")
    assert done.code == 1
    assert "`quant: Q5_K_M` selects nothing in `file://weights`; there is `Q4_K_M`, `Q8_0`" in done.err
    assert project.manifest.read_bytes() == before


def test_an_index_brings_its_shards_and_the_lock_proves_itself_offline(
    project: Project, gemmalock: Gemmalock, weights: Path
) -> None:
    declare(project, "source: file://weights", f"files: [{INDEX}]")
    done = gemmalock("lock")
    assert done.code == 0, done.err
    assert locked(project) == sorted([*SHARDS, INDEX])
    before = project.lock.read_bytes()
    weights.rename(weights.with_name("gone"))
    for words in (["lock", "--check"], ["lock"]):
        done = gemmalock(*words)
        assert done.code == 0, done.err
    assert project.lock.read_bytes() == before


@pytest.mark.parametrize(
    ("selected", "removed", "says", "hint"),
    [
        (
            f"files: [{INDEX}]",
            SHARDS[1],
            f"`{INDEX}` names `{SHARDS[1]}`, which is not in",
            "exclude` leaves the index",
        ),
        ("files: ['*-of-*']", SHARDS[1], f"`{SHARDS[1]}` is not in `file://weights`: the set of 3 shards", "publisher"),
        (f"files: [{SHARDS[0]}, {SHARDS[2]}]", "", f"`{SHARDS[1]}` is in `file://weights`, but not selected", "-*-of-"),
        ("quant: Q8_0", GGUFS[1], f"`{GGUFS[1]}` is not in `file://weights`: the set of 2 shards", "publisher"),
    ],
)
def test_a_gap_is_named_at_lock_time_and_nothing_is_locked(
    project: Project, gemmalock: Gemmalock, weights: Path, selected: str, removed: str, says: str, hint: str
) -> None:
    declare(project, "source: file://weights", selected)
    if removed:
        (weights / removed).unlink()
    done = gemmalock("lock")
    assert done.code == 1
    assert says in done.err
    assert hint in done.err
    assert not project.lock.exists()


def test_a_lock_that_lost_a_shard_is_stale_and_one_with_a_file_more_too(
    project: Project, gemmalock: Gemmalock, weights: Path
) -> None:
    declare(project, "source: file://weights", f"files: [{INDEX}]", "quant: Q4_K_M")
    assert gemmalock("lock").code == 0
    whole = project.lock.read_text()
    lock = json.loads(whole)
    files = lock["manifests"][0]["models"][0]["files"]
    (lost,) = [file for file in files if file["name"] == SHARDS[1]]
    files.remove(lost)
    project.lock.write_text(json.dumps(lock))
    done = gemmalock("lock", "--check")
    assert (done.code, f"{SHARDS[1]}: is not in the lock" in done.err) == (1, True)
    assert gemmalock("lock").code == 0
    assert project.lock.read_text() == whole
    project.lock.write_text(whole.replace(f"weights/{GGUFS[0]}", "weights/mmproj-F16.gguf"))
    assert gemmalock("lock", "--check").code == 1


@pytest.fixture
def server() -> FileServer:
    """A web server with the index and its shards; not yet begun."""
    return FileServer({f"/m/{name}": name.encode() for name in SHARDS} | {f"/m/{INDEX}": index_of(*SHARDS)})


def test_an_index_on_a_web_server_is_fetched_once(project: Project, gemmalock: Gemmalock, server: FileServer) -> None:
    with server:
        declare(project, f"source: {server.origin}/m", f"files: [{INDEX}]")
        done = gemmalock("lock")
        assert done.code == 0, done.err
        assert locked(project) == sorted([*SHARDS, INDEX])
        assert len(server.gets(f"/m/{INDEX}")) == 1
        server.forget()
        assert gemmalock("lock").code == 0
        assert server.requests == ()
        assert gemmalock("sync").code == 0
        # The store has it since it was read.
        assert server.gets(f"/m/{INDEX}") == ()
    assert (project.folder / "models/m" / INDEX).read_bytes() == index_of(*SHARDS)


def test_an_index_by_url_names_the_shards_that_are_not_declared(
    project: Project, gemmalock: Gemmalock, server: FileServer
) -> None:
    with server:
        urls = [f"  - url: {server.origin}/m/{name}" for name in (INDEX, *SHARDS)]
        declare(project, "files:", *urls)
        done = gemmalock("lock")
        assert done.code == 0, done.err
        assert len(server.gets(f"/m/{INDEX}")) == 1
        declare(project, "files:", *urls[:-1])
        done = gemmalock("lock")
        assert done.code == 1
        assert f"`{INDEX}` names `{SHARDS[2]}`, and the model does not" in done.err


def test_an_index_that_is_too_large_is_not_read(project: Project, gemmalock: Gemmalock, server: FileServer) -> None:
    """It is told by its size, before a byte of it is asked for."""
    with server:
        server.put(f"/m/{INDEX}", Content(bytes(64 * 1024 * 1024 + 1), repr_digest=True))
        declare(project, f"source: {server.origin}/m", f"files: [{INDEX}]")
        done = gemmalock("lock")
        assert done.code == 1
        assert f"`{INDEX}` has 67108865 bytes, and is read only up to 67108864" in done.err
        assert server.gets(f"/m/{INDEX}") == ()


def test_an_index_that_is_another_one_than_its_server_says_is_refused(
    project: Project, gemmalock: Gemmalock, server: FileServer
) -> None:
    with server:
        server.put(f"/m/{INDEX}", Content(index_of(*SHARDS), headers={"Repr-Digest": f"sha-256=:{'A' * 43}=:"}))
        declare(project, f"source: {server.origin}/m", f"files: [{INDEX}]")
        done = gemmalock("lock")
        assert done.code == 1
        assert "and should have" in done.err


@pytest.mark.parametrize(("kind", "code"), [("right", 0), ("wrong", 1)])
def test_a_declared_digest_of_an_index_is_believed_over_its_server(
    project: Project, gemmalock: Gemmalock, server: FileServer, kind: str, code: int
) -> None:
    digest = hashlib.sha256(index_of(*SHARDS) if kind == "right" else b"another").hexdigest()
    with server:
        urls = [f"  - url: {server.origin}/m/{name}" for name in (INDEX, *SHARDS)]
        declare(project, "files:", urls[0], f"    sha256: {digest}", *urls[1:])
        done = gemmalock("lock")
        assert (done.code, "and should have" in done.err) == (code, code == 1), done.err


# --- the hub -------------------------------------------------------------------------------------------------

REPO: Mapping[str, bytes | Lfs] = {
    "README.md": b"---\nlicense: mit\n---\n",
    "config.json": b"{}",
    INDEX: index_of(*SHARDS),
    **{name: Lfs(name.encode() * 9) for name in (*SHARDS, *GGUFS)},
}


def test_a_repository_is_locked_by_one_listing_and_one_text(project: Project, gemmalock: Gemmalock) -> None:
    with Hub() as hub:
        repo = hub.repo("org/tiny")
        repo.commit(REPO)
        env = {"HF_ENDPOINT": hub.url}
        declare(project, "source: hf://org/tiny@main", f"files: [{INDEX}]", "quant: Q8_0")
        done = gemmalock("lock", env=env)
        assert done.code == 0, done.err
        assert locked(project) == sorted([*SHARDS, INDEX, *GGUFS[1:3]])
        assert [len(hub.resolves(name)) for name in (INDEX, *SHARDS)] == [1, 0, 0, 0]
        before = project.lock.read_bytes()
        hub.forget()
        repo.commit({"new.txt": b"new"})
        assert gemmalock("lock", env=env).code == 0
        assert gemmalock("lock", "--check").code == 0
        assert (project.lock.read_bytes(), hub.requests) == (before, ())
        # The index stayed the same blob, and is not fetched for another commit.
        assert gemmalock("lock", "--upgrade", env=env).code == 0
        assert project.lock.read_bytes() != before
        assert hub.resolves(INDEX) == ()
        assert gemmalock("sync", "--locked", env=env).code == 0
        assert (hub.resolves(INDEX), hub.failures) == ((), [])
    assert (project.folder / "models/m" / SHARDS[2]).read_bytes() == SHARDS[2].encode() * 9


def test_what_a_repository_lacks_of_a_set_is_named(project: Project, gemmalock: Gemmalock) -> None:
    with Hub() as hub:
        hub.repo("org/tiny").commit({name: body for name, body in REPO.items() if name not in (SHARDS[1], GGUFS[1])})
        text = "  {}:\n    source: hf://org/tiny@main\n    {}\n"
        models = (("index", f"files: [{INDEX}]"), ("quant", "quant: Q8_0"), ("none", "quant: Q6_K"))
        project.write_manifest("version: 1\nmodels:\n" + "".join(text.format(*model) for model in models))
        done = gemmalock("lock", env={"HF_ENDPOINT": hub.url})
    assert done.code == 1
    assert f"`{INDEX}` names `{SHARDS[1]}`, which is not in `hf://org/tiny@main`" in done.err
    assert f"`{GGUFS[1]}` is not in `hf://org/tiny@main`: the set of 2 shards is not whole without it" in done.err
    assert "`quant: Q6_K` selects nothing in `hf://org/tiny@main`; there is `Q4_K_M`, `Q8_0`" in done.err

"""What `lock` asks of servers: many at once, each file once, with what goes wrong told and told apart."""

from __future__ import annotations

import collections
import hashlib
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from gemmalock.app.wiring import Workshop
from gemmalock.collect import Project as Collected
from gemmalock.lockfile import LockedFile, LockedManifest, LockedModel, Node
from gemmalock.pinning import SMALL
from gemmalock.settings import Settings
from tests.running import Gemmalock, Project
from tests.servers.fileserver import Content, FileServer
from tests.servers.scripted import Exchange, ScriptedServer

LARGE = bytes(range(256)) * (SMALL // 256 + 1)
TINY = b"tiny weights"
WHOLE = {"ETag": '"v1"', "Content-Length": str(SMALL)}


def declare(project: Project, **models: str) -> None:
    """A manifest of models with a file each: name → URL."""
    text = "".join(f"  {name}:\n    files:\n      - url: {url}\n" for name, url in models.items())
    project.write_manifest(f"version: 1\nmodels:\n{text}")


def files_of(project: Project) -> dict[str, Any]:
    """The locked files by their model."""
    (manifest,) = json.loads(project.lock.read_text())["manifests"]
    return {model["name"]: model["files"][0] for model in manifest["models"]}


def test_the_files_of_many_models_are_asked_for_at_once(gemmalock: Gemmalock, project: Project) -> None:
    """Nobody gets an answer before everybody has asked."""
    together = threading.Barrier(4, timeout=20)

    def script(exchange: Exchange) -> None:
        if exchange.request.method == "HEAD":
            together.wait()
        exchange.answer(200, {"Content-Length": str(SMALL), "ETag": '"v1"'})

    with ScriptedServer(script) as server:
        declare(project, **{name: f"{server.url}/{name}.gguf" for name in ("one", "two", "three", "four")})
        done = gemmalock("lock")
        assert (done.code, server.failures) == (0, []), done.err
    assert set(files_of(project)) == {"one", "two", "three", "four"}


@pytest.mark.parametrize("body", [LARGE, TINY], ids=["large", "small"])
def test_a_file_of_two_models_is_fetched_once_to_be_hashed(gemmalock: Gemmalock, project: Project, body: bytes) -> None:
    with FileServer({"/a.gguf": Content(body, throttle=4 * len(body))}) as server:
        declare(project, one=f"{server.url}/a.gguf", two=f"{server.url}/a.gguf")
        done = gemmalock("lock", "--hash")
        assert done.code == 0, done.err
        assert server.bytes_served() == len(body)
        assert len(server.gets("/a.gguf")) == 1
    digest = hashlib.sha256(body).hexdigest()
    assert {name: file["sha256"] for name, file in files_of(project).items()} == {"one": digest, "two": digest}


def test_two_processes_fetch_a_file_once_to_hash_it(gemmalock: Gemmalock, project: Project, tmp_path: Path) -> None:
    other = Project(tmp_path / "other")
    with FileServer({"/a.gguf": Content(LARGE, throttle=4 * len(LARGE))}) as server:
        for each in (project, other):
            declare(each, one=f"{server.url}/a.gguf")
        with (
            gemmalock.started("lock", "--hash") as first,
            gemmalock.started("lock", "--hash", folder=other.folder) as second,
        ):
            assert [process.wait(timeout=60) for process in (first, second)] == [0, 0]
        assert server.bytes_served() == len(LARGE)
    assert files_of(project)["one"] == files_of(other)["one"]


def test_a_file_that_came_whole_before_a_kill_is_not_fetched_again(gemmalock: Gemmalock, project: Project) -> None:
    """The process died after the store had the file, and before its task was gone."""
    with FileServer({"/a.gguf": LARGE}) as server:
        url, digest = f"{server.url}/a.gguf", hashlib.sha256(LARGE).hexdigest()
        etag = server.files["/a.gguf"].etag_now()
        file = LockedFile.pin(name="a.gguf", path="one/a.gguf", url=url, size=len(LARGE), etag=etag, sha256=None)
        model = LockedModel("one", (file,))
        workshop = Workshop(Collected(project.folder), Settings(store=os.environ["GEMMALOCK_STORE"]))
        claim = workshop.registry.claim(
            Node(LockedManifest("gemmalock.yaml", "models", "", (model,)), model, file), project.lock
        )
        workshop.store.learn(file.task_id, digest)
        staged = workshop.store.staging()
        staged.write_bytes(LARGE)
        workshop.store.enter(staged, digest, len(LARGE))
        claim.release()
        declare(project, one=url)
        done = gemmalock("lock", "--hash")
        assert done.code == 0, done.err
        assert server.gets("/a.gguf") == ()
    assert files_of(project)["one"]["sha256"] == digest
    assert workshop.registry.tasks() == ()


def test_a_file_that_cannot_be_had_leaves_nothing_staged(gemmalock: Gemmalock, project: Project) -> None:
    with FileServer({"/a.gguf": Content(TINY, fail_first=[404])}) as server:
        declare(project, one=f"{server.url}/a.gguf")
        assert gemmalock("lock").code == 1
    assert os.listdir(Path(os.environ["GEMMALOCK_STORE"]) / "staging") == []


def test_a_lock_that_has_to_try_again_says_so(gemmalock: Gemmalock, project: Project) -> None:
    with FileServer({"/a.gguf": Content(TINY, head=False, fail_first=[503])}) as server:
        declare(project, one=f"{server.url}/a.gguf")
        done = gemmalock("lock", "--progress", "json")
        assert done.code == 0, done.err
    events = [json.loads(line) for line in done.err.splitlines()]
    retried = [event for event in events if event["event"] == "retrying"]
    assert [event["id"] for event in retried] == ["gemmalock.yaml::one::a.gguf"]
    assert "answered 503" in retried[0]["reason"]
    assert retried[0]["after_seconds"] >= 0


def test_a_size_that_nobody_tells_is_what_came_and_is_warned_of(gemmalock: Gemmalock, project: Project) -> None:
    def script(exchange: Exchange) -> None:
        exchange.head(200, {"Connection": "close", "ETag": '"v1"'})
        if exchange.request.method == "GET":
            exchange.send(TINY)
        exchange.close()

    with ScriptedServer(script) as server:
        declare(project, one=f"{server.url}/a.gguf")
        done = gemmalock("lock", "--json")
        assert done.code == 0, done.err
    (warning,) = done.json()["warnings"]
    assert warning.startswith("gemmalock.yaml::one::a.gguf: the server tells no size")
    assert files_of(project)["one"]["size"] == len(TINY)


def test_a_reset_is_not_taken_for_the_end_of_a_file(gemmalock: Gemmalock, project: Project) -> None:
    def script(exchange: Exchange) -> None:
        exchange.head(200, {"Connection": "close"})
        if exchange.request.method == "GET" and exchange.range is None:
            exchange.send(TINY).reset()
        exchange.close()

    with ScriptedServer(script) as server:
        declare(project, one=f"{server.url}/a.gguf")
        (project.folder / "gemmalock.toml").write_text("retries = 1\n")
        done = gemmalock("lock", "--json")
    assert done.code == 1
    assert done.json()["files"][0]["error"]["code"] == "connection"
    assert not project.lock.exists()


# --- schemes and hosts -------------------------------------------------------------------------------------


def test_a_scheme_without_a_source_fails_its_own_file_and_no_other(gemmalock: Gemmalock, project: Project) -> None:
    with FileServer({"/a.gguf": TINY}) as server:
        project.write_manifest(
            "version: 1\nmodels:\n"
            "  named:\n    source: s3://bucket/models\n    files: [a.gguf]\n"
            "  globbed:\n    source: s3://bucket/models\n    files: ['*.gguf']\n"
            "  linked:\n    files:\n      - url: az://account/a.gguf\n"
            f"  good:\n    files:\n      - url: {server.url}/a.gguf\n"
        )
        done = gemmalock("lock", "--json")
    assert done.code == 1, done.err
    found = {file["id"]: file["error"] and file["error"]["code"] for file in done.json()["files"]}
    assert found == {
        "gemmalock.yaml::named::a.gguf": "policy",
        "gemmalock.yaml::globbed": "policy",
        "gemmalock.yaml::linked::a.gguf": "policy",
        "gemmalock.yaml::good::a.gguf": None,
    }
    assert "no source for `s3://`" in done.out
    assert "Traceback" not in done.err
    assert not project.lock.exists()


def test_a_mirror_whose_scheme_has_no_source_is_passed_over(gemmalock: Gemmalock, project: Project) -> None:
    with FileServer({"/a.gguf": TINY, "/b.gguf": TINY}) as server:
        project.write_manifest(
            f"version: 1\nmodels:\n  one:\n    files:\n      - url: {server.url}/a.gguf\n"
            f"        mirrors: ['s3://bucket/a.gguf', '{server.url}/b.gguf']\n"
        )
        assert gemmalock("lock").code == 0
        del server.files["/a.gguf"]
        store = Path(os.environ["GEMMALOCK_STORE"])
        store.rename(store.with_name("old"))
        done = gemmalock("sync", "--locked", "--json")
        assert done.code == 0, done.err
    assert (project.folder / "models/one/a.gguf").read_bytes() == TINY


def test_a_redirect_to_a_host_that_is_not_allowed_is_a_matter_of_policy(gemmalock: Gemmalock, project: Project) -> None:
    with FileServer({"/a.gguf": TINY}) as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost") + "/a.gguf"
        with FileServer({}, redirects={"/a.gguf": elsewhere}) as server:
            declare(project, one=f"{server.url}/a.gguf")
            done = gemmalock("lock", "--json", env={"GEMMALOCK_ALLOWED_HOSTS": "127.0.0.1"})
            assert done.code == 1
            assert done.json()["files"][0]["error"]["code"] == "policy"
            assert other.requests == ()
            assert gemmalock("lock", env={"GEMMALOCK_ALLOWED_HOSTS": "127.0.0.1,localhost"}).code == 0


def test_what_failed_when_all_were_asked_together_was_the_first_attempt(gemmalock: Gemmalock, project: Project) -> None:
    """As many attempts as the settings say, and one connection's worth of patience with each server."""
    with ScriptedServer(lambda e: e.answer(503, {}, b"")) as server, FileServer({"/b.gguf": LARGE}) as other:
        declare(project, a=f"{server.url}/a.gguf", b=f"{other.url}/b.gguf", c=f"{server.url}/c.gguf")
        (project.folder / "gemmalock.toml").write_text("retries = 1\n")
        done = gemmalock("lock", "--json")
        assert done.code == 1, done.err
        # An attempt asks by HEAD, and then by GET.
        asked = sorted((each.path, each.method) for each in server.requests)
        assert asked == sorted((f"/{name}.gguf", method) for name in "ac" for method in ("GET", "HEAD") * 2)
        assert len(other.requests) == 1
    failed = {file["id"] for file in json.loads(done.out)["files"] if file.get("error")}
    assert failed == {"gemmalock.yaml::a::a.gguf", "gemmalock.yaml::c::c.gguf"}


def test_a_file_took_as_long_as_its_source(gemmalock: Gemmalock, project: Project) -> None:
    """Also where it was asked together with others."""

    def slow(exchange: Exchange) -> None:
        exchange.pause(0.5 if exchange.request.path == "/slow.gguf" else 0.0)
        exchange.answer(200, {"Content-Length": str(SMALL), "ETag": '"v1"'})

    with ScriptedServer(slow) as server:
        declare(project, fast=f"{server.url}/fast.gguf", slow=f"{server.url}/slow.gguf")
        done = gemmalock("lock", "--json")
        assert done.code == 0, done.err
    seconds = {file["id"].rpartition("::")[2]: file["seconds"] for file in json.loads(done.out)["files"]}
    assert seconds["slow.gguf"] >= 0.5 > seconds["fast.gguf"]


def test_a_wish_to_stop_ends_a_lock_that_waits_for_many(gemmalock: Gemmalock, project: Project) -> None:
    is_asked = threading.Event()

    def never(exchange: Exchange) -> None:
        is_asked.set()
        exchange.hang()

    with ScriptedServer(never) as server:
        declare(project, **{f"m{n}": f"{server.url}/{n}.gguf" for n in range(100)})
        with gemmalock.started("lock") as process:
            assert is_asked.wait(30)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=15) == 2
    assert not project.lock.exists()


def test_an_index_is_asked_once_and_its_pin_is_of_the_bytes_that_named_the_shards(
    gemmalock: Gemmalock, project: Project
) -> None:
    """Published anew right after it was read."""
    was_read = threading.Event()

    def script(exchange: Exchange) -> None:
        if not exchange.request.path.endswith(".json"):
            exchange.answer(200, WHOLE)
            return
        edition = "new" if was_read.is_set() else "old"
        shards = {"a": f"{edition}-00001-of-00002.safetensors", "b": f"{edition}-00002-of-00002.safetensors"}
        exchange.answer(200, {"ETag": f'"{edition}"'}, json.dumps({"weight_map": shards}).encode())
        if exchange.request.method == "GET":
            was_read.set()

    with ScriptedServer(script) as server:
        project.write_manifest(
            f"version: 1\nmodels:\n  one:\n    source: {server.url}\n    files: [model.safetensors.index.json]\n"
            f"  two:\n    files:\n      - url: {server.url}/b.gguf\n"
        )
        done = gemmalock("lock")
        assert done.code == 0, done.err
        methods = [each.method for each in server.requests if each.path.endswith(".json")]
    (manifest,) = json.loads(project.lock.read_text())["manifests"]
    files = {file["name"]: file for model in manifest["models"] for file in model["files"]}
    assert files["model.safetensors.index.json"]["etag"] == '"old"'
    assert methods == ["HEAD", "GET"]


def test_files_of_this_machine_need_no_service(gemmalock: Gemmalock, project: Project) -> None:
    for name in "ab":
        (project.folder / f"{name}.gguf").write_bytes(b"x")
    project.write_manifest(
        "version: 1\nmodels:\n  m:\n    files:\n      - url: file://a.gguf\n      - url: file://b.gguf\n"
    )
    done = gemmalock("lock", env={"HF_ENDPOINT": "nonsense"})
    assert done.code == 0, done.err


def test_what_came_of_asking_together_is_patience_for_what_fails(gemmalock: Gemmalock, project: Project) -> None:
    """As what came of asking alone was: transfer.attempts.RunBudget."""
    asked: collections.Counter[str] = collections.Counter()

    def flaky(exchange: Exchange) -> None:
        asked[exchange.request.path] += exchange.request.method == "HEAD"
        exchange.answer(*((503, {}) if asked[exchange.request.path] <= 3 else (200, WHOLE)))

    def well(exchange: Exchange) -> None:
        exchange.pause(0.01)
        exchange.answer(200, WHOLE)

    with ScriptedServer(flaky) as bad, ScriptedServer(well) as good:
        text = "".join(
            f"  m{n}:\n    files:\n      - url: {bad.url}/{n}\n        path: m{n}/a\n"
            + "".join(f"      - url: {good.url}/{n}{k}\n        path: m{n}/{k}\n" for k in "xyz")
            for n in range(150)
        )
        project.write_manifest(f"version: 1\nmodels:\n{text}")
        done = gemmalock("lock", "--json")
    assert done.code == 0, [file["error"]["message"] for file in done.json()["files"] if file["error"]][:2]

"""The main job as a user has it: lock, sync, nothing to do, a modified file, a stray, a changed upstream."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from gemmalock.codec.report_json import report_problems
from tests.e2e.conftest import SIZE, Scene


def report(scene: Scene, *arguments: str, code: int = 0) -> Any:
    """The JSON report of a command that ended with `code`, after a look at its shape."""
    done = scene.run(*arguments, "--json")
    assert done.code == code, (done.out, done.err)
    assert report_problems(done.out) == []
    return done.json()


def by_name(found: Any) -> dict[str, Any]:
    """The files of a report by the last part of their node ID."""
    return {file["id"].rpartition("::")[2]: file for file in found["files"]}


def test_lock_then_sync_puts_the_exact_bytes_in_place(scene: Scene) -> None:
    assert scene.run("lock").code == 0
    done = scene.run("sync")
    assert done.code == 0, done.err
    assert scene.model.read_bytes() == scene.content().body
    assert "DOWNLOADED  gemmalock.yaml::gemma::model.gguf  10.0 MiB fetched" in done.out
    assert done.out.splitlines()[-1].startswith("== ")


def test_the_lock_pins_size_etag_and_the_digest_of_small_files(scene: Scene) -> None:
    scene.run("lock")
    lock = json.loads(scene.project.lock.read_text())
    model = lock["manifests"][0]["models"][0]
    files = {file["name"]: file for file in model["files"]}
    assert files["model.gguf"]["size"] == SIZE
    assert files["model.gguf"]["etag"] == scene.content().etag_now()
    assert files["model.gguf"]["sha256"] is None
    assert files["tokenizer.json"]["sha256"] == hashlib.sha256(b'{"version": "1.0"}').hexdigest()
    assert model["license"] == "gemma"
    assert model["tags"] == ["llm"]
    assert set(lock) == {"lock_version", "manifests"}


def test_a_plain_sync_writes_the_digest_that_it_learned(scene: Scene) -> None:
    scene.run("lock")
    found = report(scene, "sync")
    assert found["lock"]["changed"] is True
    digest = hashlib.sha256(scene.content().body).hexdigest()
    assert f'"sha256": "{digest}"' in scene.project.lock.read_text()
    assert by_name(found)["model.gguf"]["sha256"] == digest


@pytest.mark.parametrize("mode", ["--locked", "--frozen"])
def test_locked_and_frozen_never_write_the_lock(scene: Scene, mode: str) -> None:
    scene.run("lock")
    before = scene.project.lock.read_bytes()
    found = report(scene, "sync", mode)
    assert scene.project.lock.read_bytes() == before
    assert any("has no digest" in warning for warning in found["warnings"])


def test_sync_locks_first_where_there_is_no_lock(scene: Scene) -> None:
    found = report(scene, "sync")
    assert found["lock"] == {"path": "gemmalock.lock", "changed": True}
    assert scene.model.is_file()


def test_a_sync_with_nothing_to_do_asks_nobody_and_prints_one_line(scene: Scene) -> None:
    scene.run("sync")
    scene.server.forget()
    done = scene.run("sync")
    assert done.code == 0
    assert done.out.splitlines() == [done.out.strip()]
    assert done.out.startswith("== 2 up to date in ")
    assert scene.server.requests == ()


def test_check_and_dry_run_change_nothing(scene: Scene) -> None:
    scene.run("lock")
    assert report(scene, "sync", "--check", code=1)["files"][0]["outcome"] == "planned"
    assert report(scene, "sync", "--dry-run")["files"][0]["outcome"] == "planned"
    assert not scene.model.exists()
    scene.run("sync")
    assert report(scene, "sync", "--check")["summary"]["skipped"] == 2


def test_a_stale_lock_fails_a_locked_sync_and_says_in_what(scene: Scene) -> None:
    scene.run("sync")
    scene.declare(sha256="a" * 64)
    done = scene.run("sync", "--locked")
    assert done.code == 1
    assert "sha256 is `" in done.err
    assert "hint: run `gemmalock lock`" in done.err
    assert scene.run("lock", "--check").code == 1
    assert scene.run("sync", "--frozen").code == 0


def test_a_changed_comment_does_not_make_the_lock_stale(scene: Scene) -> None:
    scene.run("sync")
    manifest = scene.project.manifest
    manifest.write_text("# for the chat\n" + manifest.read_text())
    assert scene.run("lock", "--check").code == 0
    assert scene.run("sync", "--locked").code == 0


def test_a_modified_file_goes_to_the_trash_and_is_had_again(scene: Scene) -> None:
    scene.run("sync")
    scene.model.unlink()
    scene.model.write_bytes(b"my own notes")
    found = by_name(report(scene, "sync"))["model.gguf"]
    assert (found["resume_status"], found["action"], found["outcome"]) == ("modified", "discard", "done")
    assert scene.model.read_bytes() == scene.content().body
    assert [path.read_bytes() for path in scene.trash] == [b"my own notes"]


def test_a_touched_file_is_hashed_once_and_adopted(scene: Scene) -> None:
    scene.run("sync")
    scene.server.forget()
    scene.model.touch()
    found = by_name(report(scene, "sync"))["model.gguf"]
    assert (found["resume_status"], found["action"], found["bytes_fetched"]) == ("file_complete", "adopt", 0)
    assert scene.run("sync").out.startswith("== 2 up to date")
    assert scene.server.requests == ()


def test_a_second_project_links_from_the_store(scene: Scene) -> None:
    scene.run("sync")
    other = scene.project.folder / "other"
    other.mkdir()
    for name in ("gemmalock.yaml", "gemmalock.lock"):
        (other / name).write_bytes((scene.project.folder / name).read_bytes())
    scene.server.forget()
    done = scene.run("sync", "--json", folder=other)
    assert {file["resume_status"] for file in done.json()["files"]} == {"in_store"}
    assert {file["action"] for file in done.json()["files"]} == {"link"}
    assert scene.server.requests == ()
    assert (other / "models/gemma/model.gguf").read_bytes() == scene.content().body


def test_a_changed_upstream_is_refused_until_it_is_asked_for(scene: Scene) -> None:
    scene.run("sync")
    scene.run("cache", "prune")
    scene.model.unlink()
    scene.run("cache", "prune")
    scene.content().body = bytes(SIZE)
    found = by_name(report(scene, "sync", code=1))["model.gguf"]
    assert found["error"]["code"] in ("upstream_changed", "digest_mismatch")
    assert not scene.model.exists()
    assert report(scene, "lock")["lock"]["changed"] is False
    assert scene.run("lock", "--check", "--upgrade").code == 1
    assert report(scene, "lock", "--upgrade")["lock"]["changed"] is True
    assert scene.run("sync").code == 0
    assert scene.model.read_bytes() == bytes(SIZE)


def test_a_stray_goes_to_the_trash_and_a_selection_never_prunes(scene: Scene) -> None:
    scene.run("sync")
    stray = scene.project.folder / "models/old/notes.txt"
    stray.parent.mkdir()
    stray.write_text("not in the lock")
    for selector in ("gemmalock.yaml::gemma", "gemmalock.yaml", "."):
        assert report(scene, "sync", selector)["pruned"] == []
    assert report(scene, "sync", "--no-prune")["pruned"] == []
    assert report(scene, "sync", "--dry-run")["pruned"] == [{"path": "models/old/notes.txt", "size": 15, "to": "trash"}]
    assert stray.exists()
    assert report(scene, "sync")["pruned"] == [{"path": "models/old/notes.txt", "size": 15, "to": "trash"}]
    assert not stray.parent.exists()
    assert [path.read_text() for path in scene.trash] == ["not in the lock"]


def test_a_run_in_which_a_file_failed_never_prunes(scene: Scene) -> None:
    scene.run("sync")
    stray = scene.project.folder / "models/notes.txt"
    stray.write_text("keep me for now")
    scene.model.unlink()
    scene.run("cache", "prune")
    del scene.server.files["/model.gguf"]
    found = report(scene, "sync", code=1)
    assert by_name(found)["model.gguf"]["error"]["code"] == "not_found"
    assert found["pruned"] == []
    assert stray.exists()


def test_a_root_with_files_and_no_ledger_stops_before_anything_is_changed(scene: Scene) -> None:
    mine = scene.project.folder / "models/mine.bin"
    mine.parent.mkdir()
    mine.write_text("mine")
    scene.run("lock")
    done = scene.run("sync")
    assert done.code == 1
    assert "--adopt" in done.err
    assert not scene.model.exists()
    assert report(scene, "sync", "--adopt")["pruned"][0]["to"] == "trash"
    assert [path.read_text() for path in scene.trash] == ["mine"]


def test_a_lost_ledger_costs_no_byte(scene: Scene) -> None:
    scene.run("sync")
    (scene.project.folder / "models/.gemmalock/ledger.json").unlink()
    scene.server.forget()
    assert {file["action"] for file in report(scene, "sync")["files"]} == {"adopt"}
    assert scene.server.requests == ()


def test_an_empty_lock_prunes_nothing_without_allow_empty(scene: Scene) -> None:
    scene.run("sync")
    scene.project.write_manifest("version: 1\nmodels: {}\n")
    assert report(scene, "sync")["pruned"] == []
    assert scene.model.exists()
    assert len(report(scene, "sync", "--allow-empty")["pruned"]) == 2
    assert not scene.model.exists()


def test_checking_out_an_old_branch_and_back_costs_no_byte(scene: Scene) -> None:
    scene.run("sync")
    manifest, lock = scene.project.manifest.read_text(), scene.project.lock.read_bytes()
    scene.project.write_manifest(manifest.replace(f"      - url: {scene.server.origin}/model.gguf\n", ""))
    assert [gone["path"] for gone in report(scene, "sync")["pruned"]] == ["models/gemma/model.gguf"]
    scene.project.manifest.write_text(manifest)
    scene.project.lock.write_bytes(lock)
    scene.server.forget()
    assert scene.run("sync", "--locked").code == 0
    assert scene.model.read_bytes() == scene.content().body
    assert scene.server.requests == ()


def test_offline_names_what_is_missing_and_moves_nothing(scene: Scene) -> None:
    scene.run("lock")
    found = report(scene, "sync", "--offline", code=1)
    assert by_name(found)["model.gguf"]["error"]["code"] == "offline"
    scene.run("sync")
    scene.server.forget()
    assert scene.run("sync", "--offline").code == 0
    assert scene.server.requests == ()


def test_verify_finds_a_rotten_byte_and_sync_verify_mends_it(scene: Scene) -> None:
    scene.run("sync", "--link-mode", "copy")
    assert scene.run("verify").code == 0
    stat = scene.model.stat()
    rotten = bytearray(scene.model.read_bytes())
    rotten[SIZE // 2] ^= 1
    with scene.model.open("r+b") as file:
        file.write(rotten)

    os.utime(scene.model, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert scene.run("sync", "--check").code == 0
    found = by_name(report(scene, "verify", code=1))["model.gguf"]
    assert found["error"]["code"] == "digest_mismatch"
    assert scene.run("sync", "--verify").code == 0
    assert scene.model.read_bytes() == scene.content().body
    assert scene.run("verify").code == 0


def test_rot_in_a_hard_linked_file_is_not_linked_back(scene: Scene) -> None:
    scene.run("sync", "--link-mode", "hardlink")
    stat = scene.model.stat()
    assert stat.st_nlink == 2
    scene.model.chmod(0o644)
    with scene.model.open("r+b") as file:
        file.seek(5)
        file.write(b"rot")

    os.utime(scene.model, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert scene.run("sync", "--verify").code == 0
    assert scene.model.read_bytes() == scene.content().body


def test_status_says_what_sync_would_do_and_asks_nobody(scene: Scene) -> None:
    scene.run("lock")
    scene.server.forget()
    found = by_name(report(scene, "status"))
    assert found["model.gguf"]["resume_status"] == "file_not_found"
    assert found["model.gguf"]["action"] == "download"
    assert scene.server.requests == ()


def test_path_prints_where_a_file_is_once_it_is_there(scene: Scene) -> None:
    scene.run("lock")
    assert scene.run("path", "gemma").code == 1
    scene.run("sync")
    assert scene.run("path", "gemma").out.strip() == str(scene.model.parent)
    assert scene.run("path", "gemma::model.gguf").out.strip() == str(scene.model)
    assert scene.run("path", "gemmma").code == 1


def test_exit_codes_of_usage_and_of_nothing_collected(scene: Scene) -> None:
    assert scene.run("snyc").code == 4
    assert "did you mean `sync`?" in scene.run("snyc").err
    assert scene.run("sync", "--nope").code == 4
    empty = scene.project.folder / "empty"
    (empty / ".git").mkdir(parents=True)
    assert scene.run("sync", folder=empty).code == 5


def test_a_broken_manifest_reports_every_problem_with_its_place(scene: Scene) -> None:
    scene.project.write_manifest("version: 1\nmodles: {}\nroot: ../out\n")
    done = scene.run("sync", "--json")
    assert done.code == 4
    assert "gemmalock.yaml:2:1: " in done.err
    assert "gemmalock.yaml:3:7: " in done.err
    assert report_problems(done.out) == []
    assert {error["place"] for error in done.json()["errors"]} >= {"gemmalock.yaml:2:1", "gemmalock.yaml:3:7"}


def test_the_same_url_twice_is_fetched_once(scene: Scene) -> None:
    scene.project.write_manifest(
        "version: 1\nmodels:\n"
        f"  a:\n    files: [{{url: {scene.server.origin}/model.gguf}}]\n"
        f"  b:\n    files: [{{url: {scene.server.origin}/model.gguf}}]\n"
    )
    assert scene.run("sync").code == 0
    assert scene.server.bytes_served("/model.gguf") == SIZE
    assert (scene.project.folder / "models/b/model.gguf").read_bytes() == scene.content().body


@pytest.mark.parametrize("locked", [True, False])
def test_processes_with_a_store_each_fetch_a_file_once_for_one_root(scene: Scene, tmp_path: Path, locked: bool) -> None:
    """Promise 5: on one root, whatever the store, also where all of them have to lock first."""
    if locked:
        scene.run("lock")
    scene.content().throttle = SIZE
    stores = [tmp_path / f"store-{number}" for number in range(3)]
    with contextlib.ExitStack() as stack:
        crowd = [
            stack.enter_context(scene.run.started("sync", "--progress", "plain", env={"GEMMALOCK_STORE": str(store)}))
            for store in stores
        ]
        told = [process.communicate(timeout=60)[1] for process in crowd]
        assert [process.returncode for process in crowd] == [0, 0, 0], told
    assert scene.server.bytes_served("/model.gguf") == SIZE
    assert hashlib.sha256(scene.model.read_bytes()).digest() == hashlib.sha256(scene.content().body).digest()
    assert os.listdir(scene.project.folder / "models/.gemmalock/guests") == []


def test_processes_that_all_have_to_lock_first_all_end_well(scene: Scene) -> None:
    """A file without a published digest: the lock changes again when it is learned."""
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(scene.run.started("sync")) for _ in range(4)]
        told = [process.communicate(timeout=60) for process in crowd]
        assert [process.returncode for process in crowd] == [0] * 4, told
    assert scene.server.bytes_served("/model.gguf") == SIZE
    assert scene.run("sync", "--check", "--locked").code == 0

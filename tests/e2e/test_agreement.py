"""Only what follows from the manifest passes a lock, and nobody's lock is written over."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import SIZE, Scene
from tests.running import environment

DIES_BEFORE_PLACING = """
import os, sys
import gemmalock.roots
place = gemmalock.roots.RootFolder.place
gemmalock.roots.RootFolder.place = lambda self, file, *rest: (
    os._exit(9) if file.name == "model.gguf" else place(self, file, *rest)
)
from gemmalock.cli import main
main(["sync", "--frozen"])
"""


def test_a_second_manifest_in_the_lock_is_drift(scene: Scene) -> None:
    scene.run("sync")
    lock = json.loads(scene.project.lock.read_text())
    forged = copy.deepcopy(lock["manifests"][0])
    forged.update(path="zz/gemmalock.yaml", root="hooks")
    lock["manifests"].append(forged)
    scene.project.lock.write_text(json.dumps(lock, indent=2, sort_keys=True) + "\n")
    assert scene.run("lock", "--check").code == 1
    done = scene.run("sync", "--locked")
    assert done.code == 1
    assert "zz/gemmalock.yaml: is not a manifest of this project" in done.err
    assert not (scene.project.folder / "zz").exists()


def test_a_refused_run_has_not_written_the_lock(scene: Scene) -> None:
    mine = scene.project.folder / "models/mine.bin"
    mine.parent.mkdir()
    mine.write_text("mine")
    done = scene.run("sync")
    assert done.code == 1
    assert "--adopt" in done.err
    assert not scene.project.lock.exists()


def test_killed_between_store_and_root_a_file_without_a_digest_is_not_fetched_again(scene: Scene) -> None:
    scene.run("lock")
    died = subprocess.run(
        [sys.executable, "-c", DIES_BEFORE_PLACING], cwd=scene.project.folder, env=environment(), check=False
    )
    assert died.returncode == 9
    assert scene.server.bytes_served("/model.gguf") == SIZE
    done = scene.run("sync", "--json")
    assert done.code == 0, done.err
    assert scene.server.bytes_served("/model.gguf") == SIZE
    file = next(file for file in done.json()["files"] if file["id"].endswith("model.gguf"))
    assert (file["resume_status"], file["action"]) == ("in_store", "link")
    assert scene.model.read_bytes() == scene.content().body
    assert list((Path(os.environ["GEMMALOCK_STORE"]) / "tasks").iterdir()) == []
    assert file["sha256"] in scene.project.lock.read_text()


def test_what_was_linked_by_a_run_that_failed_is_kept_by_cache_prune(scene: Scene) -> None:
    scene.run("lock")
    del scene.server.files["/model.gguf"]
    assert scene.run("sync", "--link-mode", "symlink").code == 1
    tokenizer = scene.model.with_name("tokenizer.json")
    assert tokenizer.is_symlink()
    assert scene.run("cache", "prune").code == 0
    assert tokenizer.read_bytes() == b'{"version": "1.0"}'


def test_a_broken_manifest_is_reported_not_edited(scene: Scene) -> None:
    scene.project.write_manifest("models: [\n")
    for arguments in (("add", "x", "file://w/x"), ("remove", "gemma")):
        done = scene.run(*arguments)
        assert done.code == 4
        assert "gemmalock.yaml:" in done.err
    assert scene.project.manifest.read_text() == "models: [\n"


def test_a_bar_leaves_standard_output_to_the_data(scene: Scene) -> None:
    out = scene.project.folder / "out.txt"
    command = f"{sys.executable} -m gemmalock --progress bar sync > {out}"
    done = subprocess.run(["sh", "-c", command], cwd=scene.project.folder, env=environment(), check=False)
    assert done.returncode == 0
    text = out.read_text()
    assert "DOWNLOADED  gemmalock.yaml::gemma::model.gguf" in text
    assert text.splitlines()[-1].startswith("== 1 downloaded, 1 linked")


def test_one_task_of_two_projects_is_fetched_once_also_without_a_digest(scene: Scene) -> None:
    scene.run("lock")
    other = scene.project.folder / "other"
    other.mkdir()
    for name in ("gemmalock.yaml", "gemmalock.lock"):
        (other / name).write_bytes((scene.project.folder / name).read_bytes())
    assert scene.run("sync", "--frozen").code == 0
    done = scene.run("sync", "--json", folder=other)
    assert done.code == 0
    assert scene.server.bytes_served("/model.gguf") == SIZE
    assert {file["action"] for file in done.json()["files"]} == {"link"}
    assert all(file["sha256"] for file in done.json()["files"])


def test_a_weak_etag_names_no_bytes_for_another_project(scene: Scene) -> None:
    scene.content().etag = 'W/"1"'
    scene.run("lock")
    other = scene.project.folder / "other"
    other.mkdir()
    for name in ("gemmalock.yaml", "gemmalock.lock"):
        (other / name).write_bytes((scene.project.folder / name).read_bytes())
    assert scene.run("sync", "--frozen").code == 0
    assert scene.run("sync", "--frozen", folder=other).code == 0
    assert scene.server.bytes_served("/model.gguf") >= 2 * SIZE

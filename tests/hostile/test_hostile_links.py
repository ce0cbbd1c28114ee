"""Symbolic links, hard links and other things that somebody planted where gemmalock looks or writes: rows X02 to X04.

The canary is what they lead to. Nothing of it is changed, and nothing appears beside it.
"""

from __future__ import annotations

import os
import shutil
from itertools import product
from pathlib import Path

import pytest

from tests.hostile.faults import file_system
from tests.hostile.stage import Stage


def plant(path: Path, target: Path) -> None:
    """Put a link at a path, in place of whatever is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize(("there", "state"), [(True, True), (True, False), (False, False)], ids=str)
def test_a_root_that_is_a_link_out_of_the_project_is_refused(stage: Stage, there: bool, state: bool) -> None:
    outside = stage.base / "outside"
    if there:
        outside.mkdir()
        (outside / "gemma").mkdir()
        (outside / "gemma" / "model.gguf").write_bytes(b"theirs")
        if state:
            (outside / ".gemmalock").mkdir()
    stage.run("lock")
    plant(stage.root, Path("../outside"))
    done = stage.run("sync", code=1)
    assert "is a symbolic link" in done.err
    stage.run("sync", "--adopt", code=1)
    stage.run("sync", "--frozen", code=1)
    stage.run("prune", "--adopt", "--allow-empty", code=[0, 1])
    stage.run("verify", code=1)
    assert stage.root.is_symlink()


def test_a_root_that_is_a_link_with_an_empty_lock_writes_nothing_outside(stage: Stage) -> None:
    outside = stage.base / "outside"
    (outside / ".gemmalock").mkdir(parents=True)
    stage.project.write_manifest("version: 1\nmodels: {}\n")
    stage.run("lock")
    plant(stage.root, Path("../outside"))
    stage.run("sync", code=[0, 1])
    stage.run("sync", "--allow-empty", "--adopt", code=[0, 1])


def test_a_nested_root_behind_a_link_is_refused(stage: Stage) -> None:
    stage.declare(root="assets/models")
    stage.root = stage.project.folder / "assets" / "models"
    stage.run("lock")
    plant(stage.project.folder / "assets", stage.canary)
    assert "is a symbolic link" in stage.run("sync", code=1).err
    stage.root = stage.canary / "models"


@pytest.mark.parametrize(
    "target",
    ["/etc", "../../canary", "../../canary/theirs.bin", "/dev/null", "loop", "nowhere"],
)
def test_a_model_folder_that_is_a_link_leads_nobody_outside(stage: Stage, target: str) -> None:
    stage.run("lock")
    plant(stage.root / "gemma", Path(target if target != "loop" else "gemma"))
    done = stage.run("sync", "--adopt", code=1)
    assert "`models/gemma` is a symbolic link" in done.err
    assert (stage.root / "gemma").is_symlink()
    assert not (Path("/etc") / "model.gguf").exists()
    (stage.root / "gemma").unlink()
    stage.run("sync", "--adopt")


@pytest.mark.parametrize(
    "target",
    ["/etc/hostname", "../../../canary/theirs.bin", "nowhere", "model.gguf"],
)
def test_a_link_where_a_file_goes_is_trashed_as_a_link_and_never_written_through(stage: Stage, target: str) -> None:
    stage.run("lock")
    plant(stage.model, Path(target))
    stage.run("verify", code=1)
    stage.run("sync", "--adopt")
    assert not stage.model.is_symlink()
    assert stage.trashed == []
    (link,) = (path for path in (stage.own / "trash").rglob("*") if path.is_symlink())
    assert os.fspath(link.readlink()) == target


def test_a_file_that_is_a_second_name_of_somebody_s_file_is_replaced_and_theirs_stays(stage: Stage) -> None:
    stage.run("lock")
    stage.model.parent.mkdir(parents=True)
    theirs = stage.canary / "theirs.bin"
    os.link(theirs, stage.model)
    stage.run("sync", "--adopt")
    assert theirs.read_bytes() == b"a canary's bytes"


OWN = ("ledger.json", "lock", ".gitignore", "memo", "staging", "trash")


@pytest.mark.parametrize(
    ("name", "target"),
    [*product(OWN, ["file", "folder", "nowhere"]), *product(("ledger.json", "lock"), ["itself", "zero"])],
)
def test_links_planted_in_the_state_folder_are_not_followed(stage: Stage, name: str, target: str) -> None:
    stage.run("lock")
    place = stage.own / name
    leads = {
        "file": stage.canary / "theirs.bin",
        "folder": stage.canary,
        "nowhere": stage.canary / "new",
        "itself": place,
        "zero": Path("/dev/zero"),
    }[target]
    (stage.root / "gemma").mkdir(parents=True)
    (stage.root / "gemma" / "model.gguf").write_bytes(b"mine")
    (stage.root / "stray.txt").write_text("a stray")
    plant(place, leads)
    for words in (["sync"], ["sync", "--adopt"], ["prune", "--adopt"]):
        stage.run(*words, code=[0, 1], timeout=20)
    assert b"mine" in stage.trashed or stage.model.read_bytes() == b"mine" or (stage.own / "trash").is_symlink()
    place.unlink()
    stage.heals_with_adopt()


@pytest.mark.parametrize("target", ["folder", "nowhere"])
def test_a_state_folder_that_is_a_link_is_refused(synced: Stage, target: str) -> None:
    plant(synced.own, synced.canary if target == "folder" else synced.canary / "new")
    synced.model.unlink()
    assert "is a symbolic link" in synced.run("sync", code=1).err
    (synced.root / "stray.txt").write_text("a stray")
    synced.run("sync", "--adopt", code=1)
    synced.run("prune", "--adopt", code=1)
    assert (synced.root / "stray.txt").exists()
    synced.own.unlink()
    synced.run("sync", "--adopt")


STORE = ("objects", "staging", "tasks", "roots", "quarantine")


@pytest.mark.parametrize(("name", "target"), [*product(STORE, ["folder", "nowhere"])])
def test_links_planted_in_the_store_put_no_byte_outside(stage: Stage, name: str, target: str) -> None:
    stage.run("lock")
    plant(stage.store / name, stage.canary if target == "folder" else stage.canary / "new")
    stage.run("sync", code=[0, 1])
    stage.run("tasks", "clear", code=[0, 1])
    stage.run("cache", "verify", code=[0, 1])
    stage.run("cache", "prune", code=[0, 1])
    (stage.store / name).unlink()
    stage.run("sync")


def test_a_task_folder_that_is_a_link_is_refused_and_not_followed(stage: Stage) -> None:
    stage.content.cut_after = 300_000
    stage.run("sync", code=1, env={"GEMMALOCK_RETRIES": "0"})
    stage.content.cut_after = None
    (task,) = (stage.store / "tasks").iterdir()
    plant(task, stage.canary)
    done = stage.run("sync", code=1)
    assert "symbolic link" in done.err
    stage.run("tasks", code=[0, 1])
    stage.run("tasks", "clear", code=[0, 1])
    task.unlink(missing_ok=True)
    stage.heals()


@pytest.mark.parametrize("target", ["canary", "the same bytes"])
def test_an_object_that_is_a_link_is_no_object(synced: Stage, target: str) -> None:
    body = synced.content.body
    (path,) = (path for path in synced.store.glob("objects/*/*") if path.is_file() and path.stat().st_size == len(body))
    elsewhere = synced.canary / "theirs.bin"
    if target == "the same bytes":
        elsewhere = synced.base / "elsewhere.bin"
        elsewhere.write_bytes(body)
    plant(path, elsewhere)
    synced.model.unlink()
    synced.run("sync", "--link-mode", "symlink", code=[0, 1])
    synced.run("sync")
    assert synced.model.read_bytes() == body


def test_a_store_in_a_root_behind_a_link_makes_nothing_outside(tmp_path: Path, stage: Stage) -> None:
    # The store goes into a root on another file system than the cache: here, one that a link leads to.
    with file_system(tmp_path / "other", "20m") as other:
        stage.env["GEMMALOCK_STORE"] = ""
        # Where the store is as long as the root itself is on the same file system.
        stage.ours.append(stage.home / ".cache")
        for planted in (stage.root, stage.own):
            stage.root = planted
            plant(planted, other)
            for words in (["lock"], ["sync"], ["status"], ["tasks"], ["cache", "size"]):
                stage.run(*words, code=[0, 1])
            assert list(other.iterdir()) == []
            planted.unlink()
        stage.root = stage.project.folder / "models"


def test_a_tree_full_of_links_is_pruned_link_by_link(synced: Stage) -> None:
    for number, target in enumerate(["/etc", "../../canary", "/", ".", "..", "nowhere", "/dev/zero", "/proc/self/fd"]):
        plant(synced.root / "links" / str(number), Path(target))
    synced.run("sync")
    assert not (synced.root / "links").exists()
    assert synced.canary.is_dir()


@pytest.mark.parametrize("kind", ["folder", "fifo", "socket"])
def test_what_is_no_file_where_a_file_goes_is_moved_away_whole(stage: Stage, kind: str) -> None:
    import socket

    stage.run("lock")
    stage.model.parent.mkdir(parents=True)
    if kind == "folder":
        (stage.model / "deep").mkdir(parents=True)
        (stage.model / "deep" / "notes").write_text("mine")
    elif kind == "fifo":
        os.mkfifo(stage.model)
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            here = Path.cwd()
            os.chdir(stage.model.parent)
            listener.bind("model.gguf")
            os.chdir(here)
    stage.run("verify", code=1, timeout=20)
    stage.run("sync", "--adopt", timeout=20)
    assert stage.trashed == ([b"mine"] if kind == "folder" else [])
    assert any((stage.own / "trash").rglob("model.gguf"))

"""Pruning under fire: rows G. Nothing that cannot be had again is ever deleted, whatever goes wrong, and when."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.hostile.oracles import picture
from tests.hostile.stage import Stage
from tests.running import run_tool


def stray(stage: Stage, name: str = "stray.txt", text: str = "a stray") -> Path:
    """A file that the lock does not list."""
    path = stage.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def without_tokenizer(stage: Stage) -> None:
    """Declare only the large file, so that the tokenizer becomes a stray of ours."""
    text = stage.project.manifest.read_text()
    stage.project.manifest.write_text(text.replace(f"      - url: {stage.server.origin}/tokenizer.json\n", ""))


@pytest.mark.parametrize("how", ["a file is gone", "wrong bytes", "no connection", "offline", "no space in the line"])
def test_a_run_in_which_a_file_failed_deletes_nothing_and_says_so(synced: Stage, how: str) -> None:
    left = stray(synced)
    synced.model.unlink()
    shutil.rmtree(synced.store)
    body = synced.content.body
    env = {"GEMMALOCK_RETRIES": "0"}
    match how:
        case "a file is gone":
            content = synced.server.files.pop("/model.gguf")
            synced.server.files["/other"] = content
        case "wrong bytes":
            synced.content.body = bytes(len(body))
        case "no connection":
            synced.content.cut_after = 0
        case "offline":
            env["GEMMALOCK_OFFLINE"] = "1"
        case _:
            synced.content.body = body[:-1]
    done = synced.run("sync", code=1, env=env)
    assert left.exists()
    assert "not pruning 1 stray(s)" in done.err
    assert synced.trashed == []


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_interrupted_deletes_nothing(synced: Stage, sent: signal.Signals) -> None:
    left = stray(synced)
    synced.model.unlink()
    shutil.rmtree(synced.store)
    synced.content.throttle = 200_000
    synced.server.forget()
    with (
        synced.gemmalock.started("sync", env=synced.env) as process,
        synced.meanwhile(
            lambda: process.send_signal(sent), when=lambda: synced.server.bytes_served("/model.gguf") > 50_000
        ),
    ):
        out, err = process.communicate(timeout=30)
    assert process.returncode == 2, (out, err)
    assert left.exists()
    synced.content.throttle = None
    synced.heals()


def test_a_missing_lock_prunes_nothing(synced: Stage) -> None:
    left = stray(synced)
    synced.lock.unlink()
    for words in (["prune"], ["sync", "--frozen"], ["sync", "--locked"]):
        assert "there is no `gemmalock.lock`" in synced.run(*words, code=1).err
    assert left.exists()
    assert synced.model.exists()


def test_a_file_of_ours_that_somebody_changed_goes_to_the_trash_and_not_for_good(synced: Stage) -> None:
    path = synced.root / "gemma" / "tokenizer.json"
    without_tokenizer(synced)
    path.unlink()
    path.write_text("my own tokenizer")
    found = synced.report("sync")
    assert [gone["to"] for gone in found["pruned"]] == ["trash"]
    assert synced.trashed == [b"my own tokenizer"]


def test_a_file_of_ours_that_is_not_in_the_store_goes_to_the_trash(synced: Stage) -> None:
    without_tokenizer(synced)
    shutil.rmtree(synced.store)
    found = synced.report("sync")
    assert [gone["to"] for gone in found["pruned"]] == ["trash"]
    assert synced.trashed == [synced.server.files["/tokenizer.json"].body]


def test_a_ledger_that_was_edited_to_claim_foreign_files_deletes_none_of_them(synced: Stage) -> None:
    mine = stray(synced, "mine.txt", "mine alone")
    ledger = synced.own / "ledger.json"
    value = json.loads(ledger.read_text())
    entry = next(iter(value["files"].values()))
    found = mine.stat()
    # The stat is right, and the digest is one that the store has: all that could be forged is.
    value["files"]["mine.txt"] = entry | {
        "size": found.st_size, "mtime_ns": found.st_mtime_ns, "inode": found.st_ino
    }  # fmt: skip
    for escape in ("../src/main.py", "/etc/hostname"):
        synced.project.folder.joinpath("src").mkdir(exist_ok=True)
        ledger.write_text(json.dumps(value | {"files": value["files"] | {escape: entry}}))
        synced.run("sync", code=1)
    ledger.write_text(json.dumps(value))
    synced.run("sync")
    assert synced.trashed == [b"mine alone"]


@pytest.mark.parametrize("how", ["environment", "settings"])
def test_more_strays_than_max_delete_allows_stop_the_run_before_it_begins(synced: Stage, how: str) -> None:
    for number in range(5):
        stray(synced, f"stray-{number}")
    synced.model.unlink()
    env = {"GEMMALOCK_MAX_DELETE": "4"} if how == "environment" else {}
    if how == "settings":
        (synced.project.folder / "gemmalock.toml").write_text("max-delete = 4\n")
    for command in ("sync", "prune"):
        done = synced.run(command, code=1, env=env)
        assert "5 strays would be pruned, and `max-delete` is 4" in done.err
    assert not synced.model.exists()
    (synced.root / "stray-0").unlink()
    synced.run("sync", env=env)
    assert len(synced.trashed) == 4


def test_what_git_tracks_stays(synced: Stage) -> None:
    tracked, other = stray(synced, "tracked.txt", "committed"), stray(synced, "other.txt", "not committed")
    inside = stray(synced, "gemma/tracked-too.txt", "committed")
    for words in (["init", "-q"], ["add", "-f", str(tracked), str(inside)]):
        run_tool(["git", *words], synced.project.folder)
    synced.ours.append(synced.project.folder / ".git")
    found = synced.report("sync")
    assert {kept["path"] for kept in found["strays_kept"]} == {"models/tracked.txt", "models/gemma/tracked-too.txt"}
    assert tracked.exists() and inside.exists() and not other.exists()
    (synced.project.folder / ".git" / "index").write_bytes(b"DIRC rotten")
    last = stray(synced, "last.txt")
    synced.run("sync")
    assert last.exists()


def test_a_git_repository_in_a_root_is_somebody_else_s(synced: Stage) -> None:
    folder = synced.root / "checkout"
    folder.mkdir()
    run_tool(["git", "init", "-q"], folder)
    (folder / "work.txt").write_text("uncommitted work")
    synced.run("sync")
    assert (folder / "work.txt").exists()


def test_a_lock_that_changes_during_the_run_stops_the_pruning(synced: Stage) -> None:
    left = stray(synced)
    synced.model.unlink()
    shutil.rmtree(synced.store)
    synced.content.throttle = 2_000_000
    synced.server.forget()

    def checkout() -> None:
        synced.lock.write_bytes(synced.lock.read_bytes() + b"\n")

    with synced.meanwhile(checkout, when=lambda: synced.server.bytes_served("/model.gguf") > 50_000):
        done = synced.run("sync", "--frozen", "-v")
    assert left.exists()
    assert "the lock changed during the run" in done.out


@pytest.mark.parametrize("word", ["sync", "prune"])
def test_the_dry_run_says_what_the_run_does(synced: Stage, word: str) -> None:
    for name in ("a.txt", "old/b.txt", "old/deep/c.txt"):
        stray(synced, name)
    without_tokenizer(synced)
    synced.run("lock")
    tree = picture(synced.base)
    planned = synced.report(word, "--dry-run")["pruned"]
    assert picture(synced.base) == tree
    done = synced.report(word)["pruned"]
    assert [gone["path"] for gone in planned] == [gone["path"] for gone in done]
    assert len(done) == 4


def test_pruning_leaves_the_partial_of_a_file_that_is_still_locked(synced: Stage) -> None:
    synced.model.unlink()
    shutil.rmtree(synced.store)
    synced.content.cut_after = 600_000
    synced.run("sync", code=1, env={"GEMMALOCK_RETRIES": "0"})
    synced.content.cut_after = None
    stray(synced)
    (part,) = synced.store.glob("tasks/*/data.part")
    before = part.read_bytes()
    synced.run("prune")
    synced.run("cache", "prune")
    assert part.read_bytes() == before
    assert synced.trashed == [b"a stray"]
    synced.heals()


@pytest.mark.parametrize("why", ["unmounted", "unreadable record", "closed"])
def test_a_second_project_that_would_not_say_what_it_uses_keeps_the_store(synced: Stage, why: str) -> None:
    second = synced.project.folder / "second"
    second.mkdir()
    for name in ("gemmalock.yaml", "gemmalock.lock"):
        shutil.copy(synced.project.folder / name, second / name)
    root = synced.root
    synced.root, synced.project = second / "models", type(synced.project)(second)
    synced.run("sync", "--link-mode", "symlink")
    synced.root, synced.project = root, type(synced.project)(second.parent)
    synced.ours.append(second)
    shutil.rmtree(synced.root)
    (record,) = (path for path in (synced.store / "roots").iterdir() if str(second) in path.read_text())
    whole = record.read_text()
    if why == "unmounted":
        shutil.move(second, synced.base / "gone")
        value = json.loads(whole)
        record.write_text(json.dumps(value | {"device": value["device"] + 1}))
    elif why == "unreadable record":
        record.write_text(whole[: len(whole) // 2])
    else:
        (second / "models" / "gemma").rename(second / "models" / "gemma.aside")
        (second / "models" / "gemma").symlink_to("gemma")
    objects = sorted(synced.store.glob("objects/*/*"))
    if why == "closed":
        synced.run("cache", "prune", code=[0, 1])
    else:
        assert "would not say" in synced.run("cache", "prune", code=1).err
    assert sorted(synced.store.glob("objects/*/*")) == objects


def test_a_root_that_was_filled_by_hand_is_not_pruned_without_being_told(stage: Stage) -> None:
    mine = [stray(stage, name, name) for name in ("weights.bin", "gemma/notes.md")]
    stage.run("lock")
    for words in (["sync"], ["prune"], ["sync", "--frozen"]):
        done = stage.run(*words, code=1)
        assert "--adopt" in done.err
        assert all(path.exists() for path in mine)
        assert not stage.own.exists()
    stage.run("sync", "--adopt")
    assert stage.trashed == [b"gemma/notes.md", b"weights.bin"]


def test_two_prunes_and_a_sync_at_once_lose_nothing(synced: Stage) -> None:
    for number in range(40):
        stray(synced, f"old/{number}.txt", f"stray {number}")
    synced.model.unlink()
    commands = [synced.gemmalock.command(*words) for words in (["prune"], ["sync"], ["prune"], ["sync"])]
    environment = os.environ | synced.env | {"PYTHONPATH": os.fspath(Path(__file__).parents[2])}
    running = [
        subprocess.Popen(
            command, cwd=synced.project.folder, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for command in commands
    ]
    ended = [(*process.communicate(timeout=60), process.returncode) for process in running]
    assert {code for *_, code in ended} == {0}, ended
    assert synced.trashed == sorted(f"stray {number}".encode() for number in range(40))
    synced.run("sync", "--check")

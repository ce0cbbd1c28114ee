"""Disks that are full, broken, read-only, foreign or lie about themselves: rows D."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import pytest

from gemmalock.journal import CHUNK
from tests.hostile.faults import failing, file_system, resized, with_files_of_at_most, without_rights
from tests.hostile.stage import Stage

MIB = 1024 * 1024
#: More than two chunks of a journal.
LARGE = 9 * MIB + 321
Disk = Callable[[str, str], Path]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mounts small file systems below `tmp_path`: `disk("store", "2m")`."""
    with ExitStack() as mounts:
        yield lambda name, size: mounts.enter_context(file_system(tmp_path / name, size))


def gets(stage: Stage) -> int:
    """How often the large file was asked for by GET."""
    return len(stage.server.gets("/model.gguf"))


def at(stage: Stage, store: Path) -> None:
    """Let the store be there."""
    stage.store = store
    stage.ours.append(store.parent)
    stage.env["GEMMALOCK_STORE"] = str(store)


def half(stage: Stage, at_byte: int) -> None:
    """Let the next sync fail after that many bytes. They come slowly enough for nearly all of them to be read before
    the reset, which takes what was not; and over one connection, for others would fetch the rest."""
    stage.content.cut_after, stage.content.cut_times, stage.content.throttle = at_byte, None, 4 * MIB
    stage.run("sync", code=1, env={"GEMMALOCK_RETRIES": "0", "GEMMALOCK_CONNECTIONS": "1"})
    stage.content.cut_after = stage.content.throttle = None


# --- room --------------------------------------------------------------------------------------------------


def test_too_little_room_in_the_store_is_said_with_numbers_before_the_first_byte(disk: Disk, stage: Stage) -> None:
    small = disk("store", "900k")
    at(stage, small / "cache")
    stage.run("lock")
    stage.server.forget()
    found = stage.report("sync", code=1)
    error = found["files"][0]["error"]
    assert error["code"] == "no_space"
    numbers = [int(number) for number in re.findall(r"\d{4,}", error["message"])]
    assert numbers[0] >= len(stage.content.body) > numbers[-1] > 0
    assert stage.server.requests == ()
    resized(small, "20m")
    stage.heals()


def test_too_little_room_in_a_root_of_its_own_disk_is_said_before_the_first_byte(disk: Disk, stage: Stage) -> None:
    root = disk("project/models", "600k")
    stage.run("lock")
    stage.server.forget()
    found = stage.report("sync", code=1)
    assert found["files"][0]["error"]["code"] == "no_space"
    assert "models" in found["files"][0]["error"]["message"]
    assert stage.server.requests == ()
    resized(root, "20m")
    stage.heals()


def test_what_is_here_already_needs_no_room(disk: Disk, stage: Stage) -> None:
    stage.content.body = random.Random(1).randbytes(LARGE)
    at(stage, disk("store", "12m") / "cache")
    stage.env["GEMMALOCK_LINK_MODE"] = "copy"
    half(stage, 8 * MIB + 500_000)
    stage.server.forget()
    kept = stage.report("sync")["files"][0]["bytes_kept"]
    assert kept > 4 * MIB
    assert stage.server.bytes_served("/model.gguf") == LARGE - kept


def test_a_disk_that_fills_up_on_the_way_keeps_what_came(disk: Disk, stage: Stage) -> None:
    stage.content.body = random.Random(1).randbytes(LARGE)
    small = disk("store", "12m")
    at(stage, small / "cache")
    stage.run("lock")
    stage.content.throttle = 8 * MIB

    def fill() -> None:
        (small / "theirs").write_bytes(bytes(6 * MIB))

    with stage.meanwhile(fill, when=lambda: stage.server.bytes_served("/model.gguf") > MIB):
        found = stage.report("sync", code=1)
    error = next(file["error"] for file in found["files"] if file["error"])
    assert error["code"] == "no_space"
    assert "No space left" in error["message"]
    (small / "theirs").unlink()
    stage.content.throttle = None
    stage.server.forget()
    stage.heals()
    assert stage.server.bytes_served("/model.gguf") < LARGE


# --- system calls that fail --------------------------------------------------------------------------------

CODES = {
    "ENOSPC": "no_space",
    "EDQUOT": "no_space",
    "EFBIG": "no_space",
    "EIO": "io_error",
    "EROFS": "permission",
    "EACCES": "permission",
    "EPERM": "permission",
}
WRITES = ("pwrite64|pwritev", "fsync", "fdatasync", "ftruncate", "fchmod|fchmodat|chmod")
NAMES = ("rename|renameat|renameat2", "link|linkat", "mkdir|mkdirat", "unlink|unlinkat|rmdir")
SHORT = [
    ("pwrite64|pwritev", "ENOSPC", "1"),
    ("pwrite64|pwritev", "EDQUOT", "1"),
    ("pwrite64|pwritev", "EFBIG", "1"),
    ("fdatasync", "EIO", "1"),
    ("fsync", "EIO", "2"),
    ("fsync", "EROFS", "1"),
    ("rename|renameat|renameat2", "EPERM", "1"),
    ("link|linkat", "ENOSPC", "1"),
    ("mkdir|mkdirat", "EACCES", "2"),
]


def break_once(stage: Stage, call: str, error: str, when: str) -> None:
    """A first sync and one that replaces, updates and prunes, each with a call that fails; then one without."""
    log = stage.home / "trace"
    stage.ours.append(log)
    under = failing(call, error, when, log)
    before = stage.lock.read_bytes() if stage.lock.exists() else None
    done = stage.run("sync", "--json", code=[0, 1], under=under)
    if done.code:
        codes = {file["error"]["code"] for file in done.json()["files"] if file["error"]}
        codes |= {note["code"] for note in done.json().get("errors", ())}
        assert CODES[error] in codes, (codes, done.err)
    if stage.lock.exists() and stage.lock.read_bytes() != before:
        stage.run("lock", "--check")
    else:
        assert (stage.lock.read_bytes() if stage.lock.exists() else None) == before


def sweep(stage: Stage, call: str, error: str, when: str) -> None:
    """The fault in a first sync, in one that replaces and prunes, and healing after each."""
    break_once(stage, call, error, when)
    stage.heals()
    stage.model.unlink()
    stage.model.write_bytes(b"my own bytes")
    (stage.root / "stray.txt").write_text("a stray")
    shutil.rmtree(stage.store)
    break_once(stage, call, error, when)
    assert b"my own bytes" in stage.trashed or stage.model.read_bytes() == b"my own bytes"
    assert b"a stray" in stage.trashed or (stage.root / "stray.txt").exists()
    stage.heals()
    assert stage.trashed == [b"a stray", b"my own bytes"]


@pytest.mark.parametrize(("call", "error", "when"), SHORT)
def test_a_system_call_that_fails_leaves_old_or_new_and_the_next_run_heals(
    stage: Stage, call: str, error: str, when: str
) -> None:
    sweep(stage, call, error, when)


@pytest.mark.parametrize(("error", "when"), [("EIO", "1"), ("ENOSPC", "3"), ("EIO", "1+2"), ("ENOSPC", "2+")])
@pytest.mark.parametrize("call", [*WRITES, *NAMES])
def test_every_system_call_may_fail(stage: Stage, call: str, error: str, when: str) -> None:
    sweep(stage, call, error, when)


def test_a_sync_that_failed_once_is_not_believed_when_it_succeeds_later(stage: Stage) -> None:
    stage.content.body = random.Random(1).randbytes(LARGE)
    stage.run("lock")
    log = stage.home / "trace"
    stage.ours.append(log)
    done = stage.run("sync", "--json", code=1, under=failing("fdatasync", "EIO", "1", log))
    assert "io_error" in {file["error"]["code"] for file in done.json()["files"] if file["error"]}
    stage.server.forget()
    stage.heals()
    assert stage.server.bytes_served("/model.gguf") == LARGE


@pytest.mark.parametrize("call", ["pwrite64|pwritev", "fsync|fdatasync", "recvfrom", "flock", "connect"])
def test_calls_that_are_interrupted_are_invisible(stage: Stage, call: str) -> None:
    log = stage.home / "trace"
    stage.ours.append(log)
    done = stage.run("sync", under=failing(call, "EINTR", "1+2", log))
    assert done.err == ""
    assert "EINTR" in log.read_text()


@pytest.mark.parametrize("error", ["ENOLCK", "ENOSYS", "EOPNOTSUPP", "EIO"])
def test_without_file_locks_a_sync_goes_on_and_says_so_once(synced: Stage, error: str) -> None:
    (synced.root / "stray.txt").write_text("a stray")
    log = synced.home / "trace"
    synced.ours.append(log)
    done = synced.run("sync", code=[0, 1], under=failing("flock", error, "1+", log))
    if error != "EIO":
        assert done.code == 0
        assert done.err.count("has no locks") == 1
        assert synced.trashed == [b"a stray"]
    synced.heals()


def test_a_file_size_limit_is_an_error_and_no_crash(stage: Stage) -> None:
    stage.run("lock")
    done = stage.run("sync", "--json", code=1, under=with_files_of_at_most(300_000))
    assert "no_space" in {file["error"]["code"] for file in done.json()["files"] if file["error"]}
    stage.heals()


# --- rights ------------------------------------------------------------------------------------------------

PLACES: dict[str, Callable[[Stage], Path]] = {
    "the project": lambda stage: stage.project.folder,
    "the root": lambda stage: stage.root,
    "the model's folder": lambda stage: stage.model.parent,
    "the state folder": lambda stage: stage.own,
    "the store": lambda stage: stage.store,
    "the objects": lambda stage: stage.store / "objects",
    "the tasks": lambda stage: stage.store / "tasks",
}


@pytest.mark.parametrize(("place", "mode"), [*product(PLACES, [0o500, 0o000])])
def test_a_folder_that_may_not_be_written_is_told_and_nothing_is_lost(stage: Stage, place: str, mode: int) -> None:
    under = without_rights()
    stage.run("sync")
    stage.content.body = stage.content.body[::-1]
    (stage.root / "stray.txt").write_text("a stray")
    folder = PLACES[place](stage)
    folder.mkdir(exist_ok=True)
    before = folder.stat().st_mode & 0o777
    folder.chmod(mode)
    try:
        stage.run("lock", "--upgrade", code=[0, 1, 4, 5], under=under)
        done = stage.run("sync", code=[0, 1, 4, 5], under=under)
        stage.run("status", code=[0, 1, 4, 5], under=under)
        stage.run("verify", code=[0, 1, 4, 5], under=under)
    finally:
        folder.chmod(before)
    if done.code:
        assert "error: " in done.err
        assert (stage.root / "stray.txt").exists()
    stage.run("lock", "--upgrade")
    stage.heals()


@pytest.mark.parametrize("kind", ["a file", "the ledger", "an object", "the lock", "the manifest"])
def test_a_file_that_may_not_be_read_is_told_and_not_replaced(stage: Stage, kind: str) -> None:
    under = without_rights()
    stage.run("sync")
    objects = (path for path in (stage.store / "objects").rglob("*") if path.is_file() and len(path.name) == 64)
    path = {
        "a file": stage.model,
        "the ledger": stage.own / "ledger.json",
        "an object": max(objects, key=lambda path: path.stat().st_size),
        "the lock": stage.lock,
        "the manifest": stage.project.manifest,
    }[kind]
    if kind == "a file":
        stage.model.unlink()
        stage.model.write_bytes(stage.content.body[::-1])  # of the right size: only reading it would tell
    if kind == "an object":
        stage.model.unlink()
    content = path.read_bytes()
    mode = path.stat().st_mode & 0o777
    path.chmod(0)
    try:
        done = stage.run("sync", "--verify", code=[1, 4], under=under)
        assert "error: " in done.err
        stage.run("status", code=[0, 1, 4], under=under)
    finally:
        path.chmod(mode)
    if kind != "a file":
        assert path.read_bytes() == content
    stage.run("sync")


def test_a_read_only_root_that_is_in_sync_is_in_sync(stage: Stage) -> None:
    under = without_rights()
    stage.run("sync")
    stage.run("sync")
    folders = [stage.root, *(path for path in stage.root.rglob("*") if path.is_dir()), stage.store]
    modes = [(folder, folder.stat().st_mode & 0o777) for folder in folders]
    for folder, _ in modes:
        folder.chmod(0o500)
    try:
        for words in (["sync"], ["sync", "--locked"], ["sync", "--frozen"], ["verify"]):
            stage.run(*words, under=under)
    finally:
        for folder, mode in modes:
            folder.chmod(mode)


@pytest.mark.parametrize("mask", ["077", "002", "022"])
def test_the_umask_is_kept_and_nothing_private_is_widened(stage: Stage, mask: str) -> None:
    under = ("sh", "-c", f'umask {mask}; exec "$@"', "sh")
    stage.run("sync", "--link-mode", "copy", under=under)
    allowed = ~int(mask, 8)
    for path in (stage.lock, stage.model, stage.model.parent, stage.root, stage.own / "ledger.json"):
        found = path.stat().st_mode & 0o777
        assert found & allowed == found, (path, oct(found))
    assert stage.lock.stat().st_mode & 0o777 == 0o666 & allowed
    for path in stage.store.rglob("*"):
        assert path.stat().st_mode & 0o222 & ~0o200 == 0, path
        assert not path.is_dir() or path.stat().st_mode & 0o077 == 0, path
    stage.lock.chmod(0o640)
    stage.content.body = stage.content.body[::-1]
    stage.run("lock", "--upgrade", under=under)
    assert stage.lock.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_a_store_that_everybody_can_write_to_is_not_used(stage: Stage, mode: int) -> None:
    stage.store.mkdir(parents=True)
    stage.store.chmod(mode)
    done = stage.run("sync", code=1)
    assert "everybody can write" in done.err
    assert not stage.model.exists()
    stage.store.chmod(0o700)
    stage.heals()


# --- names and places --------------------------------------------------------------------------------------


def test_a_name_of_255_bytes_in_folders_of_255_bytes_works(stage: Stage) -> None:
    name, folder = "é" * 127 + "x", "d" * 255
    path = "/".join([folder] * 6 + [name])
    stage.declare(path=path)
    stage.run("sync")
    assert (stage.root / "gemma" / path).read_bytes() == stage.content.body
    stage.run("sync")
    (stage.root / "gemma" / path).unlink()
    stage.heals()


def test_a_root_on_another_file_system_than_the_cache_has_the_store_in_it(disk: Disk, stage: Stage) -> None:
    disk("project/models", "20m")
    stage.env["GEMMALOCK_STORE"] = ""
    cache = stage.home / ".cache"
    for words in (["lock"], ["tasks"], ["sync"], ["cache", "size"]):
        stage.run(*words)
        assert not cache.exists()
        assert not (stage.project.folder / ".gemmalock").exists()
    assert (stage.own / "store" / "objects").is_dir()
    assert stage.run("cache", "dir").out.strip() == str(stage.own / "store")
    assert (stage.own / ".gitignore").read_text() == "*\n"
    stage.model.unlink()
    stage.server.forget()
    stage.run("sync")
    assert stage.server.requests == ()
    stage.run("prune")
    assert stage.model.stat().st_nlink == 2


def test_a_first_sync_on_another_file_system_puts_the_store_into_the_root_too(disk: Disk, stage: Stage) -> None:
    disk("project/models", "20m")
    stage.env["GEMMALOCK_STORE"] = ""
    stage.run("sync")
    assert (stage.own / "store" / "objects").is_dir()
    assert not (stage.project.folder / ".gemmalock").exists()
    assert not (stage.home / ".cache").exists()


def test_a_store_on_another_file_system_than_the_root_is_copied_from(disk: Disk, stage: Stage) -> None:
    at(stage, disk("store", "20m") / "cache")
    for mode in ("auto", "hardlink", "reflink", "copy"):
        stage.run("sync", "--link-mode", mode)
        assert stage.model.stat().st_nlink == 1
        stage.model.unlink()
    stage.run("sync", "--link-mode", "symlink")
    assert stage.model.is_symlink()


def test_a_root_whose_disk_is_not_mounted_is_filled_again_and_not_pruned(disk: Disk, stage: Stage) -> None:
    with file_system(stage.root, "20m"):
        stage.run("sync")
        (stage.root / "stray.txt").write_text("a stray")
    assert not stage.model.exists()
    stage.run("status")
    stage.server.forget()
    stage.run("sync")
    assert stage.trashed == []
    assert stage.server.bytes_served() == 0


@pytest.mark.parametrize(
    "what",
    ["the root", "the state folder", "the ledger", "the store", "the tasks", "all of it"],
)
def test_state_that_somebody_deleted_costs_at_most_a_hash(synced: Stage, what: str) -> None:
    gone = {
        "the root": [synced.root],
        "the state folder": [synced.own],
        "the ledger": [synced.own / "ledger.json"],
        "the store": [synced.store],
        "the tasks": [synced.store / "tasks"],
        "all of it": [synced.own, synced.store],
    }[what]
    for folder in gone:
        if folder.is_dir():
            shutil.rmtree(folder)
        else:
            folder.unlink(missing_ok=True)
    synced.server.forget()
    synced.run("status")
    synced.heals()
    assert synced.server.requests == ()
    synced.run("verify")


# --- rot and clocks ----------------------------------------------------------------------------------------


def test_files_from_the_future_or_the_past_are_judged_by_their_bytes(synced: Stage) -> None:
    for year in (4102444800, 0):
        for folder in (synced.root, synced.store):
            for path in [folder, *folder.rglob("*")]:
                os.utime(path, (year, year), follow_symlinks=False)
        synced.server.forget()
        synced.run("sync")
        synced.run("verify")
        assert synced.server.requests == ()
        assert synced.trashed == []


def test_an_installed_file_that_was_cut_is_told_by_its_size_and_put_right(synced: Stage) -> None:
    body = synced.content.body
    for keep in (0, 1, len(body) - 1):
        synced.model.unlink()
        synced.model.write_bytes(body[:keep])
        found = synced.report("status")["files"]
        assert "modified" in {file["resume_status"] for file in found}
        synced.server.forget()
        synced.run("sync")
        assert synced.server.requests == ()


def test_a_chunk_of_a_partial_that_a_disk_forgot_is_fetched_again_and_no_other(stage: Stage) -> None:
    stage.content.body = random.Random(1).randbytes(LARGE)
    half(stage, 8 * MIB + 500_000)
    (part,) = stage.store.glob("tasks/*/data.part")
    with part.open("r+b") as file:
        file.seek(4 * MIB + 5)
        file.write(bytes(4096))
    stage.server.forget()
    stage.heals()
    assert CHUNK < stage.server.bytes_served("/model.gguf") <= CHUNK + 2 * MIB


@pytest.mark.parametrize(
    ("what", "damage"),
    [
        *product(["journal", "data.part"], ["cut", "flipped", "zeros", "empty", "longer", "folder", "fifo", "link"]),
        *product(["record.json", "claim"], ["cut", "empty", "folder", "fifo", "link"]),
    ],
)
def test_a_damaged_task_heals_and_never_puts_a_wrong_byte_in_place(stage: Stage, what: str, damage: str) -> None:
    half(stage, MIB)
    (task,) = (stage.store / "tasks").iterdir()
    path = task / what if what != "claim" else task / "claim.1"
    spoil(path, damage, stage)
    stage.run("tasks")
    stage.run("status", code=0)
    # What is no file at all is refused, and cleared by one command.
    if stage.run("sync", code=[0, 1]).code:
        assert damage in ("folder", "fifo", "link")
        stage.run("tasks", "clear")
        for left in task.iterdir() if task.exists() else ():
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    stage.run("sync")


def spoil(path: Path, damage: str, stage: Stage) -> None:
    """Damage a file, in the middle, or put something else in its place."""
    text = path.read_bytes() if path.exists() else b""
    middle = len(text) // 2
    match damage:
        case "cut":
            path.write_bytes(text[:middle])
        case "flipped":
            path.write_bytes(
                text[:middle] + bytes(byte ^ 0x10 for byte in text[middle : middle + 1]) + text[middle + 1 :]
            )
        case "zeros":
            path.write_bytes(bytes(len(text)))
        case "empty":
            path.write_bytes(b"")
        case "longer":
            path.write_bytes(text + b"\0" * 5000)
        case _:
            path.unlink(missing_ok=True)
            if damage == "folder":
                path.mkdir()
            elif damage == "fifo":
                os.mkfifo(path)
            else:
                path.symlink_to(stage.canary / "theirs.bin")


@pytest.mark.parametrize("seed", range(6))
def test_state_with_a_bit_flipped_anywhere_heals_and_deletes_nothing(synced: Stage, seed: int) -> None:
    dice = random.Random(seed)
    state = [synced.own / "ledger.json", synced.own / "memo", *sorted(synced.store.glob("objects/*/*.json"))]
    state += sorted((synced.store / "roots").iterdir())
    (synced.root / "mine.txt").write_text("mine")
    for path in state:
        whole = path.read_bytes()
        place = dice.randrange(len(whole))
        if b"_version" in whole and whole[place : place + 1] == b"1":
            place -= 2  # another version is another case
        mode = path.stat().st_mode
        path.chmod(0o600)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << dice.randrange(7)]) + whole[place + 1 :])
        path.chmod(mode)
    synced.server.forget()
    synced.run("status")
    synced.run("sync", "--adopt")
    synced.run("verify")
    assert synced.server.requests == ()
    assert synced.trashed == [b"mine"]


@pytest.mark.parametrize("end", [0, 1, 50, 200, -2])
def test_a_ledger_that_was_cut_heals_and_prunes_nothing_by_itself(synced: Stage, end: int) -> None:
    ledger = synced.own / "ledger.json"
    (synced.root / "mine.txt").write_text("mine")
    ledger.write_bytes(ledger.read_bytes()[:end])
    done = synced.run("sync", code=1)
    assert "--adopt" in done.err
    assert (synced.root / "mine.txt").exists()
    synced.run("sync", "--no-prune")
    assert (synced.root / "mine.txt").exists()
    synced.run("sync")
    assert synced.trashed == [b"mine"]


# --- the future --------------------------------------------------------------------------------------------


def test_a_ledger_of_a_newer_gemmalock_is_not_overwritten_and_says_who_is_needed(synced: Stage) -> None:
    ledger = synced.own / "ledger.json"
    newer = ledger.read_bytes().replace(b'"ledger_version": 1', b'"ledger_version": 2')
    ledger.write_bytes(newer)
    synced.model.unlink()
    (synced.root / "stray.txt").write_text("a stray")
    for words in (["sync"], ["sync", "--adopt"], ["sync", "--frozen"], ["prune"], ["status"], ["verify"]):
        done = synced.run(*words, code=4)
        assert "newer gemmalock" in done.err
        assert "hint: update gemmalock" in done.err
        assert ledger.read_bytes() == newer
    assert (synced.root / "stray.txt").exists()
    assert synced.trashed == []
    synced.looks_change_nothing()
    ledger.unlink()
    synced.run("sync", "--adopt")


def test_a_task_of_a_newer_gemmalock_is_not_dropped_and_says_who_is_needed(stage: Stage) -> None:
    half(stage, MIB)
    (task,) = (stage.store / "tasks").iterdir()
    record = task / "record.json"
    newer = record.read_bytes().replace(b'"record_version": 1', b'"record_version": 7')
    record.write_bytes(newer)
    part = (task / "data.part").read_bytes()
    for words in (["sync"], ["lock", "--hash"]):
        done = stage.run(*words, code=1)
        assert "newer gemmalock" in done.err
        assert record.read_bytes() == newer
        assert (task / "data.part").read_bytes() == part
    stage.run("tasks", "clear")
    stage.heals()

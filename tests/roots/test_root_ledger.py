"""The ledger of a root on disk: corrupt it anyhow, write it from many processes, and nothing is lost or believed."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys

import pytest

from gemmalock.errors import Interrupted, StateTooNew
from gemmalock.plan import Place
from gemmalock.stopping import Stop
from tests.guard import CHECKOUT
from tests.roots.world import World, locked, nothing_in_store, sha256_of

ONE, TWO = b"one", b"two two"


def in_sync(world: World) -> bytes:
    """Two files in place and in the ledger; the ledger's bytes."""
    root = world.open()
    world.put(root, "m/one.bin", ONE)
    world.put(root, "m/two.bin", TWO)
    root.save()
    return (world.models / ".gemmalock/ledger.json").read_bytes()


def test_a_ledger_is_written_only_when_it_says_something_new(world: World) -> None:
    world.write("m/one.bin", ONE)
    stamps = []
    for _ in range(3):
        root = world.open()
        root.adopt(locked("m/one.bin", ONE))
        root.save()
        root.save()
        stamps.append((world.models / ".gemmalock/ledger.json").stat().st_mtime_ns)
    assert len(set(stamps)) == 1


def test_a_save_with_nothing_to_say_makes_no_folder(world: World) -> None:
    world.open().save()
    assert not world.models.exists()


def test_a_root_has_a_ledger_before_it_has_a_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gemmalock.roots.placing.Placer._place", die)
    with pytest.raises(KeyboardInterrupt):
        world.put(world.open(), "m/one.bin", ONE)
    assert world.tree() == {}
    assert world.open().has_ledger()


def test_what_a_killed_run_has_put_in_place_is_known_but_for_the_last_second(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("gemmalock.roots.book.time.monotonic", lambda: clock[0])
    killed = world.open()
    known: list[list[str]] = []
    for name, seconds in (("a", 0.4), ("b", 0.4), ("c", 0.4), ("d", 0.4)):
        clock[0] += seconds
        world.put(killed, name, ONE)
        again = world.open()
        known.append([each for each in "abcd" if again.look(locked(each, ONE)).place is Place.KNOWN])
    assert known == [[], [], ["a", "b", "c"], ["a", "b", "c"]]


def test_a_ledger_that_others_hold_is_not_waited_for_while_files_are_placed(world: World) -> None:
    in_sync(world)
    root = world.open()
    lock = os.open(world.models / ".gemmalock/lock", os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file = world.put(root, "m/three.bin", ONE)
    finally:
        os.close(lock)
    assert world.open().look(file).place is Place.MATCHING
    root.save()
    assert world.open().look(file).place is Place.KNOWN


def test_a_ledger_cut_at_any_byte_is_none_and_breaks_nothing(world: World) -> None:
    whole = in_sync(world)
    ledger = world.models / ".gemmalock/ledger.json"
    for end in range(len(whole.rstrip())):
        ledger.write_bytes(whole[:end])
        root = world.open()
        assert not root.has_ledger()
        assert root.look(locked("m/one.bin", ONE)).place is Place.MATCHING
        assert not any(stray.ours for stray in root.strays(frozenset()))


def test_a_ledger_with_any_byte_wrong_deletes_nothing_for_good(world: World) -> None:
    whole = in_sync(world)
    ledger = world.models / ".gemmalock/ledger.json"
    for place in range(0, len(whole), 3):
        ledger.write_bytes(whole[:place] + bytes([whole[place] ^ 0x11]) + whole[place + 1 :])
        root = world.open()
        assert root.look(locked("m/one.bin", ONE)).place in (Place.KNOWN, Place.MATCHING)
        assert root.look(locked("m/two.bin", TWO), verify=True).place in (Place.KNOWN, Place.MATCHING)
        root.strays(frozenset({"m/one.bin", "m/two.bin"}))


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 500, b"[]", b"null", b'{"ledger_version": 0, "files": {}}', b"\xff\xfe", b"[" * 20000],
    ids=["empty", "zeros", "a list", "null", "from the past", "not text", "deep"],
)
def test_a_corrupt_ledger_is_none_and_the_next_save_heals_it(world: World, content: bytes) -> None:
    in_sync(world)
    (world.models / ".gemmalock/ledger.json").write_bytes(content)
    root = world.open()
    assert not root.has_ledger()
    assert root.adopt(locked("m/one.bin", ONE)) == sha256_of(ONE)
    root.save()
    assert world.open().has_ledger()
    assert world.open().look(locked("m/one.bin", ONE)).place is Place.KNOWN
    assert world.tree() == {"m/one.bin": ONE, "m/two.bin": TWO}


def test_a_ledger_of_a_newer_gemmalock_is_neither_judged_nor_overwritten(world: World) -> None:
    in_sync(world)
    ledger = world.models / ".gemmalock/ledger.json"
    newer = ledger.read_bytes().replace(b'"ledger_version": 1', b'"ledger_version": 2')
    ledger.write_bytes(newer)
    root = world.open()
    for use in (
        root.has_ledger,
        lambda: root.look(locked("m/one.bin", ONE)),
        lambda: root.adopt(locked("m/one.bin", ONE)),
        lambda: root.place(locked("m/new.bin", TWO), world.object(TWO), sha256_of(TWO)),
        lambda: root.strays(frozenset()),
    ):
        with pytest.raises(StateTooNew, match="a newer gemmalock"):
            use()
    assert ledger.read_bytes() == newer
    assert world.tree() == {"m/one.bin": ONE, "m/two.bin": TWO}


def test_a_corrupt_ledger_is_no_leave_to_delete(world: World) -> None:
    whole = in_sync(world)
    (world.models / ".gemmalock/ledger.json").write_bytes(whole[: len(whole) // 2])
    root = world.open()
    root.prune(root.strays(frozenset()), lambda _: True)
    assert world.trashed() == [("m/one.bin", ONE), ("m/two.bin", TWO)]


@pytest.mark.parametrize("kind", ["link", "folder", "fifo"])
def test_a_ledger_that_is_no_file_is_none_and_is_not_followed(world: World, kind: str) -> None:
    in_sync(world)
    ledger = world.models / ".gemmalock/ledger.json"
    outside = world.base / "outside.json"
    ledger.rename(outside)
    before = outside.read_bytes()
    if kind == "link":
        ledger.symlink_to(outside)
    elif kind == "folder":
        ledger.mkdir()
    else:
        os.mkfifo(ledger)
    root = world.open()
    assert not root.has_ledger()
    assert root.look(locked("m/one.bin", ONE)).place is Place.UNREADABLE
    assert outside.read_bytes() == before


def test_two_roots_that_save_in_turn_undo_nothing(world: World) -> None:
    first, second = world.open(), world.open()
    assert not first.has_ledger()
    assert not second.has_ledger()
    world.put(first, "m/one.bin", ONE)
    world.put(second, "m/two.bin", TWO)
    first.save()
    second.save()
    again = world.open()
    assert again.look(locked("m/one.bin", ONE)).place is Place.KNOWN
    assert again.look(locked("m/two.bin", TWO)).place is Place.KNOWN


def test_what_another_process_put_back_is_not_forgotten(world: World) -> None:
    in_sync(world)
    pruner, syncer = world.open(), world.open()
    pruner.prune(pruner.strays(frozenset({"m/two.bin"})), nothing_in_store)
    (world.objects / sha256_of(ONE)).unlink()
    world.put(syncer, "m/one.bin", ONE)
    syncer.save()
    pruner.save()
    assert world.open().look(locked("m/one.bin", ONE)).place is Place.KNOWN


SAVE_MANY = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[4].split("\\n")
from gemmalock.lockfile import LockedFile
from gemmalock.roots import RootFolder
root = RootFolder(Path(sys.argv[1]), "models")
for number in range(int(sys.argv[3])):
    path = f"{sys.argv[2]}/{number}.bin"
    root.adopt(LockedFile.pin(name=path, path=path, url="https://models.example.org/" + path, size=1, etag=None,
                              sha256="2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"))
    root.save()
"""


def test_processes_that_save_at_once_lose_nothing(world: World) -> None:
    names, count = ("a", "b", "c"), 25
    files = [f"{name}/{number}.bin" for name in names for number in range(count)]
    for path in files:
        world.write(path, b"x")
    search = "\n".join([str(CHECKOUT), *sys.path])
    running = [
        subprocess.Popen([sys.executable, "-c", SAVE_MANY, str(world.base), name, str(count), search]) for name in names
    ]
    assert [process.wait() for process in running] == [0] * len(names)
    root = world.open()
    assert {root.look(locked(path, b"x")).place for path in files} == {Place.KNOWN}


def test_whoever_waits_for_the_lock_hears_the_wish_to_stop(world: World) -> None:
    in_sync(world)
    stop = Stop()
    root = world.open(stop=stop)
    root.adopt(locked("m/one.bin", ONE))
    root.discard(locked("m/two.bin", TWO))
    lock = os.open(world.models / ".gemmalock/lock", os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stop.set()
        with pytest.raises(Interrupted):
            root.save()
    finally:
        os.close(lock)
    world.open().save()
    assert world.open().look(locked("m/one.bin", ONE)).place is Place.KNOWN


def test_a_planted_lock_is_not_followed(world: World) -> None:
    outside = world.base / "outside"
    (world.models / ".gemmalock").mkdir(parents=True)
    (world.models / ".gemmalock/lock").symlink_to(outside)
    root = world.open()
    with pytest.raises(Exception, match="symbolic link"):
        world.put(root, "m/one.bin", ONE)
    assert not outside.exists()

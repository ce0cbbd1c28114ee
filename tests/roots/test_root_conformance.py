"""What every `machine.Root` promises: the real folder and its in-memory twin pass the same tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import pytest

from gemmalock.errors import FileError
from gemmalock.machine import Root
from gemmalock.plan import Place
from tests.roots.memory_root import MemoryDisk, MemoryRoot
from tests.roots.world import World, locked, nothing_in_store, rot, sha256_of

OLD, NEW = b"old bytes", b"new bytes, and more of them"


class Stage(Protocol):
    """A root with hands: what a person or a failing disk can do to it."""

    def open(self) -> Root: ...
    def object(self, content: bytes) -> Path: ...
    def write(self, path: str, content: bytes) -> None: ...
    def touch(self, path: str) -> None: ...
    def rot(self, path: str) -> None: ...
    def read(self, path: str) -> bytes | None: ...
    def trashed(self) -> list[tuple[str, bytes]]: ...


class DiskStage:
    def __init__(self, world: World) -> None:
        self.world = world

    def open(self) -> Root:
        return self.world.open()

    def object(self, content: bytes) -> Path:
        return self.world.object(content)

    def write(self, path: str, content: bytes) -> None:
        self.world.write(path, content)

    def touch(self, path: str) -> None:
        os.utime(self.world.models / path, ns=(1, 1))

    def rot(self, path: str) -> None:
        rot(self.world.models / path)

    def read(self, path: str) -> bytes | None:
        target = self.world.models / path
        return target.read_bytes() if target.exists() else None

    def trashed(self) -> list[tuple[str, bytes]]:
        return self.world.trashed()


class MemoryStage:
    def __init__(self, world: World) -> None:
        self.world = world
        self.disk = MemoryDisk()

    def open(self) -> Root:
        return MemoryRoot(self.disk)

    def object(self, content: bytes) -> Path:
        return self.world.object(content)

    def write(self, path: str, content: bytes) -> None:
        self.disk.write(path, content)

    def touch(self, path: str) -> None:
        self.disk.clock += 1
        self.disk.files[path].mtime_ns = self.disk.clock

    def rot(self, path: str) -> None:
        content = self.disk.files[path].content
        self.disk.files[path].content = bytes([content[0] ^ 1]) + content[1:]

    def read(self, path: str) -> bytes | None:
        found = self.disk.files.get(path)
        return None if found is None else found.content

    def trashed(self) -> list[tuple[str, bytes]]:
        return sorted(self.disk.trash)


@pytest.fixture(params=[DiskStage, MemoryStage])
def stage(request: pytest.FixtureRequest, world: World) -> Stage:
    made: Stage = request.param(world)
    return made


def placed(stage: Stage, root: Root, path: str, content: bytes, *, digest: bool = True) -> None:
    root.place(locked(path, content, digest=digest), stage.object(content), sha256_of(content))


def test_nothing_is_absent(stage: Stage) -> None:
    assert stage.open().look(locked("m/a.bin", OLD), verify=False).place is Place.ABSENT
    assert not stage.open().has_ledger()
    assert stage.open().strays(frozenset()) == ()


def test_what_was_placed_is_known_and_has_its_bytes(stage: Stage) -> None:
    root = stage.open()
    placed(stage, root, "m/a.bin", OLD)
    assert stage.read("m/a.bin") == OLD
    assert root.look(locked("m/a.bin", OLD), verify=False).place is Place.KNOWN
    assert root.look(locked("m/a.bin", OLD), verify=True).place is Place.KNOWN


def test_whoever_wants_to_know_is_told_how_many_bytes_were_read(stage: Stage) -> None:
    root, told = stage.open(), list[int]()
    file = locked("m/a.bin", OLD)
    placed(stage, root, "m/a.bin", OLD)
    assert root.look(file, verify=False, on_read=told.append).place is Place.KNOWN
    assert told == [], "a stat was enough"
    assert root.look(file, verify=True, on_read=told.append).place is Place.KNOWN
    assert told[-1] == len(OLD)
    stage.touch("m/a.bin")
    assert stage.open().look(file, verify=False, on_read=told.append).place is Place.MATCHING


def test_a_saved_ledger_is_known_to_the_next_process(stage: Stage) -> None:
    root = stage.open()
    placed(stage, root, "m/a.bin", OLD)
    root.save()
    assert stage.open().has_ledger()
    assert stage.open().look(locked("m/a.bin", OLD), verify=False).place is Place.KNOWN


def test_what_a_killed_process_placed_still_matches(stage: Stage) -> None:
    placed(stage, stage.open(), "m/a.bin", OLD)
    assert stage.open().look(locked("m/a.bin", OLD), verify=False).place in (Place.MATCHING, Place.KNOWN)


def test_what_has_no_digest_is_in_the_ledger_before_anybody_saves(stage: Stage) -> None:
    placed(stage, stage.open(), "m/a.bin", OLD, digest=False)
    assert stage.open().look(locked("m/a.bin", OLD, digest=False), verify=False).place is Place.KNOWN


def test_a_touched_file_without_a_digest_is_proved_by_the_ledger(stage: Stage) -> None:
    placed(stage, stage.open(), "m/a.bin", OLD, digest=False)
    stage.touch("m/a.bin")
    file = locked("m/a.bin", OLD, digest=False)
    assert stage.open().look(file, verify=False).place is Place.MATCHING
    assert stage.open().adopt(file) == sha256_of(OLD)


def test_bytes_that_nothing_can_prove_are_others(stage: Stage) -> None:
    stage.write("m/a.bin", OLD)
    file = locked("m/a.bin", OLD, digest=False)
    sight = stage.open().look(file, verify=False)
    assert sight.place is Place.OTHER
    assert "nothing could prove" in sight.detail
    with pytest.raises(FileError):
        stage.open().adopt(file)


def test_a_task_of_another_upstream_proves_nothing(stage: Stage) -> None:
    placed(stage, stage.open(), "m/a.bin", OLD, digest=False)
    moved = locked("m/a.bin", OLD, digest=False, etag='"2"')
    assert stage.open().look(moved, verify=False).place is Place.OTHER


def test_the_right_bytes_are_adopted_without_being_touched(stage: Stage) -> None:
    stage.write("m/a.bin", OLD)
    root = stage.open()
    assert root.look(locked("m/a.bin", OLD), verify=False).place is Place.MATCHING
    assert root.adopt(locked("m/a.bin", OLD)) == sha256_of(OLD)
    assert root.look(locked("m/a.bin", OLD), verify=False).place is Place.KNOWN
    root.save()
    assert stage.open().look(locked("m/a.bin", OLD), verify=False).place is Place.KNOWN


@pytest.mark.parametrize("content", [NEW, bytes(len(OLD))], ids=["another size", "the same size"])
def test_other_bytes_are_not_adopted(stage: Stage, content: bytes) -> None:
    stage.write("m/a.bin", content)
    root = stage.open()
    assert root.look(locked("m/a.bin", OLD), verify=False).place is Place.OTHER
    with pytest.raises(FileError):
        root.adopt(locked("m/a.bin", OLD))
    assert root.look(locked("m/a.bin", OLD), verify=False).place is Place.OTHER


def test_what_stood_there_goes_to_the_trash(stage: Stage) -> None:
    stage.write("m/a.bin", OLD)
    placed(stage, stage.open(), "m/a.bin", NEW)
    assert stage.read("m/a.bin") == NEW
    assert stage.trashed() == [("m/a.bin", OLD)]


def test_discarding_moves_to_the_trash_and_forgets(stage: Stage) -> None:
    root = stage.open()
    placed(stage, root, "m/a.bin", OLD)
    root.discard(locked("m/a.bin", OLD))
    assert root.look(locked("m/a.bin", OLD), verify=False).place is Place.ABSENT
    assert stage.trashed() == [("m/a.bin", OLD)]
    root.discard(locked("m/a.bin", OLD))
    root.discard(locked("nowhere/a.bin", OLD))


def test_rot_is_found_by_verify_only(stage: Stage) -> None:
    root = stage.open()
    placed(stage, root, "m/a.bin", OLD)
    stage.rot("m/a.bin")
    assert root.look(locked("m/a.bin", OLD), verify=False).place is Place.KNOWN
    sight = root.look(locked("m/a.bin", OLD), verify=True)
    assert sight.place is Place.OTHER
    assert "rotted" in sight.detail


def test_an_object_of_the_wrong_size_is_not_placed(stage: Stage) -> None:
    root = stage.open()
    with pytest.raises(FileError):
        root.place(locked("m/a.bin", OLD), stage.object(NEW), sha256_of(OLD))
    assert stage.read("m/a.bin") is None


def test_an_object_that_is_gone_is_an_error_of_that_file(stage: Stage) -> None:
    stage.write("m/a.bin", NEW)
    with pytest.raises(FileError):
        stage.open().place(locked("m/a.bin", OLD), Path("/nowhere/object"), sha256_of(OLD))
    assert stage.read("m/a.bin") == NEW


def test_strays_are_what_the_lock_does_not_list(stage: Stage) -> None:
    root = stage.open()
    placed(stage, root, "m/mine.bin", OLD)
    placed(stage, root, "m/old.bin", NEW)
    stage.write("theirs.txt", b"a person's")
    strays = root.strays(frozenset({"m/mine.bin"}))
    assert [(stray.path, stray.size, stray.ours, stray.keep) for stray in strays] == [
        ("m/old.bin", len(NEW), True, None),
        ("theirs.txt", 10, False, None),
    ]


def test_only_what_the_store_has_is_pruned_for_good(stage: Stage) -> None:
    root = stage.open()
    placed(stage, root, "m/stored.bin", OLD)
    placed(stage, root, "m/unstored.bin", NEW)
    stage.write("theirs.bin", OLD)
    result = root.prune(root.strays(frozenset()), lambda sha256: sha256 == sha256_of(OLD))
    assert [(gone.path, gone.size, gone.to) for gone in result.pruned] == [
        ("m/stored.bin", len(OLD), "store"),
        ("m/unstored.bin", len(NEW), "trash"),
        ("theirs.bin", len(OLD), "trash"),
    ]
    assert stage.trashed() == [("m/unstored.bin", NEW), ("theirs.bin", OLD)]
    assert root.strays(frozenset()) == ()


def test_what_was_changed_since_sync_put_it_there_goes_to_the_trash(stage: Stage) -> None:
    root = stage.open()
    placed(stage, root, "m/a.bin", OLD)
    stage.write("m/a.bin", NEW)
    (stray,) = root.strays(frozenset())
    assert not stray.ours
    root.prune([stray], lambda _: True)
    assert stage.trashed() == [("m/a.bin", NEW)]


def test_what_changed_since_the_look_stays(stage: Stage) -> None:
    stage.write("a.bin", OLD)
    root = stage.open()
    strays = root.strays(frozenset())
    stage.write("a.bin", NEW)
    result = root.prune(strays, nothing_in_store)
    assert result.pruned == ()
    assert [kept.path for kept in result.kept] == ["a.bin"]
    assert stage.read("a.bin") == NEW


def test_what_is_gone_since_the_look_is_not_reported(stage: Stage) -> None:
    root = stage.open()
    placed(stage, root, "a.bin", OLD)
    strays = root.strays(frozenset())
    root.discard(locked("a.bin", OLD))
    result = root.prune(strays, nothing_in_store)
    assert (result.pruned, result.kept) == ((), ())


def test_pruned_paths_leave_the_ledger(stage: Stage) -> None:
    root = stage.open()
    placed(stage, root, "a.bin", OLD)
    placed(stage, root, "b.bin", NEW)
    root.save()
    root.prune(root.strays(frozenset({"b.bin"})), nothing_in_store)
    root.save()
    stage.write("a.bin", OLD)
    assert stage.open().look(locked("a.bin", OLD), verify=False).place is Place.MATCHING
    assert stage.open().look(locked("b.bin", NEW), verify=False).place is Place.KNOWN

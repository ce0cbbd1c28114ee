"""Putting files in place: whole, in one step, and never over something that cannot be had again."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gemmalock.errors import DiskError, PermissionRefused, SizeMismatch, UnsafePath
from gemmalock.holders import mark
from gemmalock.links import LinkMode
from gemmalock.plan import Place
from gemmalock.roots import staging
from tests.guard import CHECKOUT
from tests.roots.world import World, as_a_user, locked, sha256_of

OLD, NEW = b"old bytes", b"new bytes, and more of them"
#: Prints a mark of a process that is dead when it is read.
MARK = "from gemmalock.holders import mark; print(mark())"


@pytest.mark.parametrize("mode", [LinkMode.AUTO, LinkMode.HARDLINK, LinkMode.SYMLINK, LinkMode.COPY])
def test_every_way_of_linking_gives_the_same_bytes_and_is_known_again(world: World, mode: LinkMode) -> None:
    root = world.open(link_mode=mode)
    file = locked("m/a.bin", NEW)
    how = root.place(file, world.object(NEW), sha256_of(NEW))
    assert how == mode.value or mode is LinkMode.AUTO
    assert (world.models / "m/a.bin").read_bytes() == NEW
    root.save()
    assert world.open().look(file).place is Place.KNOWN
    assert world.staged() == []


def test_a_hard_link_to_a_free_name_needs_no_staging(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemmalock.roots.placing.Placer._commit", None)
    root = world.open(link_mode=LinkMode.HARDLINK)
    file = world.put(root, "m/a.bin", NEW)
    assert root.look(file).place is Place.KNOWN
    assert (world.models / "m/a.bin").samefile(world.object(NEW))


def test_an_object_of_another_size_is_never_placed(world: World) -> None:
    source = world.object(NEW)
    source.chmod(0o644)
    source.write_bytes(OLD)
    with pytest.raises(SizeMismatch):
        world.open(link_mode=LinkMode.HARDLINK).place(locked("m/a.bin", NEW), source, sha256_of(NEW))
    assert world.tree() == {}
    assert world.staged() == []


@pytest.mark.parametrize("mode", [LinkMode.HARDLINK, LinkMode.SYMLINK, LinkMode.COPY])
def test_placing_the_same_file_again_leaves_it_and_nothing_else(world: World, mode: LinkMode) -> None:
    root = world.open(link_mode=mode)
    file = world.put(root, "m/a.bin", NEW)
    world.put(root, "m/a.bin", NEW)
    assert (world.models / "m/a.bin").read_bytes() == NEW
    assert root.look(file).place is Place.KNOWN
    assert world.staged() == []
    assert {path for path, _ in world.trashed()} <= {"m/a.bin"}


def test_a_name_of_255_bytes_is_placed_displaced_and_pruned(world: World) -> None:
    path = "m/" + "n" * 251 + ".bin"
    root = world.open()
    world.put(root, path, OLD)
    world.put(root, path, NEW)
    assert world.tree() == {path: NEW}
    root.prune(root.strays(frozenset()), lambda _: False)
    assert world.tree() == {}
    assert world.trashed() == sorted([(path, OLD), (path, NEW)])


def test_a_file_in_the_place_of_a_folder_goes_to_the_trash(world: World) -> None:
    world.write("m", OLD)
    world.put(world.open(), "m/deep/a.bin", NEW)
    assert world.tree() == {"m/deep/a.bin": NEW}
    assert world.trashed() == [("m", OLD)]


def test_a_folder_in_the_place_of_a_file_goes_to_the_trash_whole(world: World) -> None:
    world.write("m/a.bin/b/c.txt", OLD)
    world.put(world.open(), "m/a.bin", NEW)
    assert world.tree() == {"m/a.bin": NEW}
    assert world.trashed() == [("m/a.bin/b/c.txt", OLD)]


def test_a_link_in_the_place_of_a_file_goes_to_the_trash_and_its_target_stays(world: World) -> None:
    target = world.base / "theirs"
    target.write_bytes(OLD)
    (world.models / "m").mkdir(parents=True)
    (world.models / "m/a.bin").symlink_to(target)
    world.put(world.open(), "m/a.bin", NEW)
    assert world.tree() == {"m/a.bin": NEW}
    assert target.read_bytes() == OLD


def test_nothing_in_the_trash_is_ever_replaced(world: World) -> None:
    root = world.open()
    versions = [b"version %d" % number for number in range(5)]
    for version in versions:
        world.write("m/a.bin", version)
        root.discard(locked("m/a.bin", NEW))
    world.write("m/a.bin/b", b"in a folder")
    root.discard(locked("m/a.bin", NEW))
    world.write("m/a.bin/b", b"below a file of the trash")
    root.discard(locked("m/a.bin/b", NEW))
    assert world.trashed() == sorted(
        [
            *(("m/a.bin", version) for version in versions),
            ("m/a.bin/b", b"in a folder"),
            ("m/a.bin/b", b"below a file of the trash"),
        ]
    )


def test_gemmalock_s_own_folder_is_invisible_to_git(world: World) -> None:
    world.put(world.open(), "m/a.bin", NEW)
    assert (world.models / ".gemmalock/.gitignore").read_bytes() == b"*\n"


@pytest.mark.parametrize("link", ["models", "models/m", "models/.gemmalock", "models/.gemmalock/staging"])
def test_nothing_is_written_through_a_link(world: World, link: str) -> None:
    outside = world.base / "outside"
    outside.mkdir()
    (world.base / link).parent.mkdir(parents=True, exist_ok=True)
    (world.base / link).symlink_to(outside)
    with pytest.raises(UnsafePath, match=rf"`{link}` is a symbolic link"):
        world.put(world.open(), "m/a.bin", NEW)
    assert list(outside.iterdir()) == []
    assert (world.base / link).is_symlink()


def test_a_trash_that_is_a_link_keeps_what_stands_there(world: World) -> None:
    outside = world.base / "outside"
    outside.mkdir()
    world.write("m/a.bin", OLD)
    (world.models / ".gemmalock").mkdir()
    (world.models / ".gemmalock/trash").symlink_to(outside)
    with pytest.raises(UnsafePath):
        world.put(world.open(), "m/a.bin", NEW)
    assert world.tree() == {"m/a.bin": OLD}
    assert list(outside.iterdir()) == []


def test_a_root_that_is_a_file_is_an_error_and_stays(world: World) -> None:
    world.models.write_bytes(OLD)
    with pytest.raises(DiskError):
        world.put(world.open(), "m/a.bin", NEW)
    assert world.models.read_bytes() == OLD


def test_a_root_may_be_deep(world: World) -> None:
    from gemmalock.roots import RootFolder

    root = RootFolder(world.base, "assets/models")
    file = locked("m/a.bin", NEW)
    root.place(file, world.object(NEW), sha256_of(NEW))
    assert (world.base / "assets/models/m/a.bin").read_bytes() == NEW
    assert root.look(file).place is Place.KNOWN


def test_a_relative_base_means_the_folder_of_that_moment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from gemmalock.roots import RootFolder

    monkeypatch.chdir(world.base)
    root = RootFolder(Path(), "models")
    monkeypatch.chdir("/")
    world.put(root, "m/a.bin", NEW)
    assert world.tree() == {"m/a.bin": NEW}


def test_a_folder_that_may_not_be_written_is_refused_and_untouched() -> None:
    with as_a_user() as world:
        world.write("m/a.bin", OLD)
        (world.models / "m").chmod(0o555)
        try:
            with pytest.raises(PermissionRefused):
                world.put(world.open(), "m/a.bin", NEW)
        finally:
            (world.models / "m").chmod(0o755)
        assert world.tree() == {"m/a.bin": OLD}
        assert world.staged() == []


def test_many_threads_place_one_file_and_it_is_whole(world: World) -> None:
    root = world.open(link_mode=LinkMode.COPY)
    file = locked("m/a.bin", NEW)
    source = world.object(NEW)
    failures: list[BaseException] = []

    def place() -> None:
        try:
            for _ in range(10):
                root.place(file, source, sha256_of(NEW))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=place) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert world.tree() == {"m/a.bin": NEW}
    assert world.staged() == []


def test_placing_goes_on_while_pruning_removes_empty_folders(world: World) -> None:
    placer, pruner = world.open(), world.open()
    failures: list[BaseException] = []

    def place() -> None:
        try:
            for number in range(60):
                world.put(placer, f"shared/deep/{number}.bin", NEW)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=place)
    thread.start()
    pruned = 0
    while thread.is_alive():
        # A folder that is still empty, or empty again, goes too: its size is 0.
        gone = pruner.prune(pruner.strays(frozenset()), lambda _: False).pruned
        pruned += sum(1 for stray in gone if stray.size)
    thread.join()
    assert failures == []
    assert pruned + len(world.tree()) == 60


def test_what_a_dead_process_staged_is_swept_and_what_a_live_one_staged_stays(world: World) -> None:
    folder = world.models / ".gemmalock/staging"
    folder.mkdir(parents=True)
    left = subprocess.run([sys.executable, "-c", MARK], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    host, boot, namespace, process, started, _ = mark().split(".")
    here = f"{host}.{boot}.{namespace}"
    (folder / left.stdout.strip()).write_bytes(b"left behind")
    (folder / f"{here}.{process}.1.00000000").write_bytes(b"left behind by a process of the same number")
    (folder / f"{host}.00000000.{namespace}.{process}.{started}.00000000").write_bytes(b"from before the last boot")
    living = [f"{here}.{os.getppid()}.0.00000000", f"00000000.{boot}.{namespace}.1.1.00000000", "theirs"]
    for name in living:
        (folder / name).write_bytes(b"of a live process, of another machine, of nobody we know")
    world.put(world.open(), "m/a.bin", NEW)
    assert world.staged() == sorted(living)


def test_what_nobody_can_be_asked_about_is_swept_when_it_is_old(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.put(world.open(), "m/a.bin", NEW)
    (world.models / ".gemmalock/staging/00000000.11111111.22222222.1.1.00000000").write_bytes(b"of another container")
    world.put(world.open(), "m/b.bin", NEW)
    assert len(world.staged()) == 1
    monkeypatch.setattr(staging, "KEPT_SECONDS", -1)
    world.open().purge_trash(0)
    assert world.staged() == []

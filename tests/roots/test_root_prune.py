"""What pruning takes, what it leaves, and that nothing is lost: the trash has what gemmalock did not make."""

from __future__ import annotations

import errno
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemmalock.errors import Interrupted, ReadWriteFailed, UnsafePath
from gemmalock.links import LinkMode
from gemmalock.machine import NOT_REACHED, Stray
from gemmalock.paths import clashes
from gemmalock.stopping import Stop
from tests.roots.world import World, as_a_user, locked, nothing_in_store, sha256_of

MINE, THEIRS = b"locked bytes", b"a person's bytes"


def kept_of(strays: tuple[Stray, ...]) -> dict[str, str | None]:
    return {stray.path: stray.keep for stray in strays}


def test_a_link_is_itself_a_stray_and_its_target_stays(world: World) -> None:
    outside = world.base / "outside"
    outside.mkdir()
    (outside / "x.bin").write_bytes(THEIRS)
    world.put(world.open(), "m/a.bin", MINE)
    (world.models / "folder").symlink_to(outside)
    (world.models / "file").symlink_to(outside / "x.bin")
    (world.models / "dangling").symlink_to("nowhere")
    root = world.open()
    strays = root.strays(frozenset({"m/a.bin"}))
    assert [stray.path for stray in strays] == ["dangling", "file", "folder"]
    result = root.prune(strays, nothing_in_store)
    assert [gone.to for gone in result.pruned] == ["trash"] * 3
    assert (outside / "x.bin").read_bytes() == THEIRS
    assert world.tree() == {"m/a.bin": MINE}


def test_a_link_that_sync_made_goes_for_good_and_the_object_stays(world: World) -> None:
    root = world.open(link_mode=LinkMode.SYMLINK)
    world.put(root, "m/a.bin", MINE)
    strays = root.strays(frozenset())
    assert strays[0].ours
    assert [gone.to for gone in root.prune(strays, lambda _: True).pruned] == ["store"]
    assert world.object(MINE).read_bytes() == MINE
    assert not (world.models / "m").exists()


def test_folders_that_pruning_empties_go_and_those_that_were_empty_too(world: World) -> None:
    world.put(world.open(), "m/a.bin", MINE)
    world.write("old/deep/x.bin", THEIRS)
    world.write("m/old/y.bin", THEIRS)
    (world.models / "empty/in/empty").mkdir(parents=True)
    (world.models / "old/hollow").mkdir()
    root = world.open()
    strays = root.strays(frozenset({"m/a.bin"}))
    assert [(stray.path, stray.size, stray.is_folder) for stray in strays if stray.is_folder] == [
        ("empty/in/empty", 0, True),
        ("old/hollow", 0, True),
    ]
    result = root.prune(strays, nothing_in_store)
    assert {gone.path: gone.to for gone in result.pruned}["empty/in/empty"] == "trash"
    assert sorted(path.name for path in world.models.iterdir()) == [".gemmalock", "m"]
    assert [path.name for path in (world.models / "m").iterdir()] == ["a.bin"]


def test_an_empty_folder_that_locked_files_go_into_is_no_stray(world: World) -> None:
    (world.models / "m/onnx").mkdir(parents=True)
    assert world.open().strays(frozenset({"m/onnx/deep/a.bin"})) == ()


def test_a_folder_that_is_no_longer_empty_stays(world: World) -> None:
    (world.models / "empty").mkdir(parents=True)
    root = world.open()
    strays = root.strays(frozenset())
    world.write("empty/new.bin", THEIRS)
    (kept,) = root.prune(strays, nothing_in_store).kept
    assert kept.reason == "it changed since it was looked at"
    assert (world.models / "empty/new.bin").read_bytes() == THEIRS


def test_the_root_itself_stays_when_all_of_it_is_pruned(world: World) -> None:
    world.write("x.bin", THEIRS)
    root = world.open()
    root.prune(root.strays(frozenset()), nothing_in_store)
    assert [path.name for path in world.models.iterdir()] == [".gemmalock"]


@pytest.mark.parametrize("pattern", ["notes/*.md", "notes", "**/todo.md", "notes/todo.md"])
def test_what_a_keep_setting_names_stays(world: World, pattern: str) -> None:
    world.write("notes/todo.md", THEIRS)
    world.write("x.bin", THEIRS)
    root = world.open(keep=(pattern,))
    result = root.prune(root.strays(frozenset()), nothing_in_store)
    assert [gone.path for gone in result.pruned] == ["x.bin"]
    assert [(kept.path, kept.reason) for kept in result.kept] == [("notes/todo.md", "a `keep` setting names it")]
    assert world.tree() == {"notes/todo.md": THEIRS}


@pytest.mark.parametrize("mark", [".git", ".gemmalock", ".GIT"])
def test_a_folder_of_somebody_else_is_left_whole(world: World, mark: str) -> None:
    world.write(f"clone/{mark}/config", THEIRS)
    world.write("clone/x.bin", THEIRS)
    root = world.open()
    (stray,) = root.strays(frozenset())
    assert stray.path == "clone"
    assert stray.keep is not None
    assert mark in stray.keep
    assert root.prune([stray], nothing_in_store).pruned == ()
    assert world.tree()["clone/x.bin"] == THEIRS


def test_a_folder_that_may_not_be_read_is_kept_with_its_reason() -> None:
    with as_a_user() as world:
        world.write("closed/x.bin", THEIRS)
        world.write("open/y.bin", THEIRS)
        (world.models / "closed").chmod(0)
        try:
            root = world.open()
            result = root.prune(root.strays(frozenset()), nothing_in_store)
        finally:
            (world.models / "closed").chmod(0o755)
        assert [kept.path for kept in result.kept] == ["closed"]
        assert "Permission denied" in result.kept[0].reason
        assert world.tree() == {"closed/x.bin": THEIRS}


def test_a_stray_that_may_not_be_moved_is_kept_with_its_reason() -> None:
    with as_a_user() as world:
        world.write("m/x.bin", THEIRS)
        root = world.open()
        strays = root.strays(frozenset())
        (world.models / "m").chmod(0o555)
        try:
            result = root.prune(strays, nothing_in_store)
        finally:
            (world.models / "m").chmod(0o755)
        assert [kept.path for kept in result.kept] == ["m/x.bin"]
        assert "Permission denied" in result.kept[0].reason
        assert world.tree() == {"m/x.bin": THEIRS}


def test_an_empty_folder_that_the_trash_has_no_place_for_stays() -> None:
    with as_a_user() as world:
        (world.models / "empty").mkdir(parents=True)
        trash = world.models / ".gemmalock/trash"
        trash.mkdir(parents=True)
        root = world.open()
        strays = root.strays(frozenset())
        trash.chmod(0o555)
        try:
            result = root.prune(strays, nothing_in_store)
        finally:
            trash.chmod(0o755)
        assert result.pruned == ()
        assert [(kept.path, kept.reason) for kept in result.kept] == [
            ("empty", "it cannot be moved to the trash: Permission denied")
        ]
        assert (world.models / "empty").is_dir()


@pytest.mark.parametrize("what", ["may not be removed", "is no longer empty", "is gone"])
def test_an_empty_folder_that_is_not_removed_leaves_nothing_in_the_trash(what: str) -> None:
    with as_a_user() as world:
        empty = world.models / "m/empty"
        empty.mkdir(parents=True)
        root = world.open()
        strays = root.strays(frozenset({"m/a.bin"}))
        found = empty.stat()
        if what == "may not be removed":
            empty.parent.chmod(0o555)
        elif what == "is gone":
            empty.rmdir()
        else:
            # As if it came after the look again, just before the folder is removed.
            (empty / "new.bin").write_bytes(THEIRS)
            os.utime(empty, ns=(found.st_atime_ns, found.st_mtime_ns))
            stray, found = strays[0], empty.stat()
            strays = (replace(stray, identity=(found.st_size, found.st_mtime_ns, found.st_ino)),)
        try:
            result = root.prune(strays, nothing_in_store)
        finally:
            empty.parent.chmod(0o755)
        reasons = {
            "may not be removed": ["it cannot be moved to the trash: Permission denied"],
            "is no longer empty": ["it changed since it was looked at"],
            "is gone": [],
        }
        assert (result.pruned, [kept.reason for kept in result.kept]) == ((), reasons[what])
        assert list((world.models / ".gemmalock/trash").glob("*")) == []


def test_an_empty_folder_does_not_replace_what_the_trash_has_of_that_name(world: World) -> None:
    root = world.open()
    world.write("m", THEIRS)
    root.prune(root.strays(frozenset()), nothing_in_store)
    (world.models / "m/empty").mkdir(parents=True)
    (gone,) = root.prune(root.strays(frozenset()), nothing_in_store).pruned
    assert gone.path == "m/empty"
    assert world.trashed() == [("m", THEIRS)]
    assert [path.name for path in (world.models / ".gemmalock/trash").glob("*/m/empty")] == ["empty"]


def test_who_is_stopped_while_pruning_tells_what_was_done_and_finishes_it(world: World) -> None:
    stop = Stop()
    for path in ("old/a.bin", "old/b.bin", "z.bin"):
        world.put(world.open(link_mode=LinkMode.COPY), path, MINE)
    world.write("new/c.bin", THEIRS)
    root = world.open(link_mode=LinkMode.COPY, stop=stop, keep=("z.bin",))
    for path in ("old/a.bin", "old/b.bin", "z.bin"):
        root.adopt(locked(path, MINE))
    strays = root.strays(frozenset())
    assert [stray.path for stray in strays] == ["new/c.bin", "old/a.bin", "old/b.bin", "z.bin"]

    def has(_: str) -> bool:
        stop.set()
        return True

    result = root.prune(strays, has)
    # Whether it could go for good was not to be read any more: it stays in the trash.
    assert [(gone.path, gone.to) for gone in result.pruned] == [("new/c.bin", "trash"), ("old/a.bin", "trash")]
    assert [(kept.path, kept.reason) for kept in result.kept] == [
        ("old/b.bin", NOT_REACHED),
        ("z.bin", "a `keep` setting names it"),
    ]
    assert isinstance(result.error, Interrupted)
    assert world.trashed() == [("new/c.bin", THEIRS), ("old/a.bin", MINE)]
    assert not (world.models / "new").exists()


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), ReadWriteFailed("cannot read the store")])
def test_what_the_store_cannot_tell_stays_in_the_trash_and_is_told_as_gone(world: World, error: Exception) -> None:
    root = world.open()
    world.put(root, "a.bin", MINE)

    def ask(_: str) -> bool:
        raise error

    result = root.prune(root.strays(frozenset()), ask)
    assert [(gone.path, gone.to) for gone in result.pruned] == [("a.bin", "trash")]
    assert (result.kept, result.error, world.trashed()) == ((), None, [("a.bin", MINE)])


def test_a_root_that_is_a_link_has_no_strays_but_an_error(world: World) -> None:
    outside = world.base / "outside"
    outside.mkdir()
    (outside / "x.bin").write_bytes(THEIRS)
    world.models.symlink_to(outside)
    root = world.open()
    with pytest.raises(UnsafePath, match="`models` is a symbolic link"):
        root.strays(frozenset())
    forged = Stray("x.bin", len(THEIRS), (len(THEIRS), 0, 0), sha256_of(THEIRS))
    with pytest.raises(UnsafePath):
        root.prune([forged], lambda _: True)
    assert (outside / "x.bin").read_bytes() == THEIRS


def test_names_that_differ_in_case_only_are_two_files_where_the_disk_says_so(world: World) -> None:
    world.put(world.open(), "m/model.bin", MINE)
    world.write("m/Model.bin", THEIRS)
    if len(world.tree()) == 1:
        pytest.skip("this file system does not tell case")
    root = world.open()
    strays = root.strays(frozenset({"m/model.bin"}))
    assert [stray.path for stray in strays] == ["m/Model.bin"]
    root.prune(strays, nothing_in_store)
    assert world.tree() == {"m/model.bin": MINE}


def test_a_locked_file_that_the_disk_shows_in_another_case_is_no_stray(world: World) -> None:
    world.put(world.open(), "m/Model.bin", MINE)
    if not (world.models / "m/model.bin").exists():
        pytest.skip("this file system tells case")
    assert world.open().strays(frozenset({"m/model.bin"})) == ()


def test_a_look_for_strays_changes_nothing(world: World) -> None:
    world.write("m/x.bin", THEIRS)
    before = {path: path.lstat() for path in world.base.rglob("*")}
    world.open().strays(frozenset())
    after = {path: path.lstat() for path in world.base.rglob("*")}
    assert {path: (seen.st_mtime_ns, seen.st_ino) for path, seen in before.items()} == {
        path: (seen.st_mtime_ns, seen.st_ino) for path, seen in after.items()
    }


def test_pruning_nothing_touches_nothing(world: World) -> None:
    world.write("m/x.bin", THEIRS)
    root = world.open(keep=("**/*.bin",))
    result = root.prune(root.strays(frozenset()), nothing_in_store)
    assert [kept.path for kept in result.kept] == ["m/x.bin"]
    assert not (world.models / ".gemmalock").exists()


def test_special_files_and_odd_names_are_strays_too(world: World) -> None:
    odd = [b"new\nline", b"\xff\xfe not unicode", b"-rf", b" ", b"tab\t"]
    world.models.mkdir()
    for name in odd:
        Path(os.fsdecode(os.path.join(os.fsencode(world.models), name))).write_bytes(THEIRS)
    os.mkfifo(world.models / "fifo")
    root = world.open()
    strays = root.strays(frozenset())
    assert len(strays) == len(odd) + 1
    assert len(root.prune(strays, nothing_in_store).pruned) == len(odd) + 1
    assert sorted(content for _, content in world.trashed()) == [THEIRS] * len(odd)


NAMES = st.sampled_from(["a", "b", "C", "c", "\u00e9", "e\u0301", "x.bin"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
CONTENT = st.binary(max_size=8)


def without_clashes(paths: list[str]) -> list[str]:
    """Those paths that can stand beside each other on every file system."""
    kept: list[str] = []
    for path in paths:
        if not clashes([*kept, path]):
            kept.append(path)
    return kept


@settings(max_examples=60)
@given(st.lists(PATHS, max_size=12), st.lists(CONTENT, min_size=12, max_size=12), st.data())
def test_pruning_never_takes_a_locked_path_and_never_loses_a_byte(
    paths: list[str], contents: list[bytes], data: st.DataObject
) -> None:
    files = dict(zip(without_clashes(paths), contents, strict=False))
    mine = {path for path in files if data.draw(st.booleans(), label=f"locked: {path!r}")}
    made = {path for path in files if data.draw(st.booleans(), label=f"placed by sync: {path!r}")}
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        root = world.open()
        for path, content in files.items():
            if path in made:
                root.place(locked(path, content), world.object(content), sha256_of(content))
            else:
                world.write(path, content)
        before = world.tree()
        result = root.prune(root.strays(frozenset(mine)), lambda _: True)
        assert world.tree() == {path: content for path, content in before.items() if path in mine}
        assert {gone.path for gone in result.pruned} == before.keys() - mine
        assert world.trashed() == sorted((path, content) for path, content in before.items() if path not in mine | made)

"""The trash keeps for some days by the names of its runs, and is emptied without following a link."""

from __future__ import annotations

import calendar
import os
from pathlib import Path

import pytest

from tests.roots.world import World, locked, nothing_in_store

DAY = 24 * 60 * 60
NOON = calendar.timegm((2024, 5, 17, 12, 0, 0, 0, 0, 0))


def run(world: World, name: str) -> Path:
    folder = world.models / ".gemmalock/trash" / name
    (folder / "m").mkdir(parents=True)
    (folder / "m/a.bin").write_bytes(b"old")
    return folder


@pytest.mark.parametrize(
    ("name", "now", "goes"),
    [
        ("20240510T115959Z-0123abcd", NOON, True),
        ("20240510T120000Z-0123abcd", NOON, False),
        ("20240517T120000Z-0123abcd", NOON, False),
        ("20990101T000000Z-0123abcd", NOON, False),
        ("20240517T120000Z-0123abcd", NOON - 365 * DAY, False),
        ("20241399T120000Z-0123abcd", NOON + 900 * DAY, False),
        ("a person's folder", NOON + 900 * DAY, False),
        ("20240510T115959Z", NOON, False),
    ],
)
def test_a_run_goes_when_its_name_says_that_it_is_old(world: World, name: str, now: float, goes: bool) -> None:
    folder = run(world, name)
    assert world.open(trash_days=7).purge_trash(now) == int(goes)
    assert folder.exists() is not goes


def test_links_in_the_trash_are_unlinked_and_not_followed(world: World) -> None:
    outside = world.base / "outside"
    outside.mkdir()
    (outside / "x").write_bytes(b"theirs")
    folder = run(world, "20240101T000000Z-0123abcd")
    (folder / "link").symlink_to(outside)
    link = world.models / ".gemmalock/trash/20240101T000000Z-89abcdef"
    link.symlink_to(outside)
    world.open().purge_trash(NOON)
    assert (outside / "x").read_bytes() == b"theirs"
    assert not folder.exists()


def test_what_was_just_pruned_outlives_the_purge_of_the_same_run(world: World) -> None:
    world.write("x.bin", b"theirs")
    root = world.open(trash_days=7)
    root.prune(root.strays(frozenset()), nothing_in_store)
    (name,) = os.listdir(world.models / ".gemmalock/trash")
    now = calendar.timegm((*(int(name[a:b]) for a, b in ((0, 4), (4, 6), (6, 8), (9, 11), (11, 13), (13, 15))), 0, 0))
    assert root.purge_trash(now + 7 * DAY) == 0
    assert world.trashed() == [("x.bin", b"theirs")]
    assert root.purge_trash(now + 7 * DAY + 1) == 1
    assert world.trashed() == []


def test_one_run_of_the_trash_is_made_once(world: World) -> None:
    root = world.open()
    for number in range(5):
        world.write(f"m/{number}.bin", b"theirs")
        root.discard(locked(f"m/{number}.bin", b"mine"))
    assert len(os.listdir(world.models / ".gemmalock/trash")) == 1


def test_without_a_trash_there_is_nothing_to_purge(world: World) -> None:
    assert world.open().purge_trash(NOON) == 0
    world.models.mkdir()
    assert world.open().purge_trash(NOON) == 0
    assert list(world.models.iterdir()) == []

"""Who is at work in a root, and with which store."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gemmalock.errors import PermissionRefused, UnsafePath
from gemmalock.holders import mark
from tests.roots.world import World
from tests.running import environment

ELSEWHERE = "00000000.00000000.00000000.1.0.0123456789ab"


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Path, Path]:
    """Two stores."""
    return tmp_path / "one", tmp_path / "two"


def guests(world: World) -> list[str]:
    """The marks in the root."""
    return os.listdir(world.models / ".gemmalock/guests")


def test_those_of_one_store_work_beside_each_other_and_others_wait(world: World, stores: tuple[Path, Path]) -> None:
    first, second, other = world.open(), world.open(), world.open()
    assert first.enter(stores[0])
    assert second.enter(stores[0])
    assert not other.enter(stores[1])
    first.leave()
    assert not other.enter(stores[1])
    second.leave()
    assert other.enter(stores[1])
    other.leave()
    assert guests(world) == []


def test_two_ways_to_one_store_are_one_store(world: World, stores: tuple[Path, Path]) -> None:
    stores[0].mkdir()
    stores[1].symlink_to(stores[0])
    assert world.open().enter(stores[0])
    assert world.open().enter(stores[1])


def test_the_dead_and_those_whom_nobody_can_ask_are_not_waited_for(world: World, stores: tuple[Path, Path]) -> None:
    code = "import sys; from gemmalock.roots import RootFolder; from pathlib import Path\n"
    code += "assert RootFolder(Path(sys.argv[1]), 'models').enter(Path(sys.argv[2]))"
    command = [sys.executable, "-c", code, str(world.base), str(stores[0])]
    subprocess.run(command, check=True, env=environment(), timeout=60)
    (dead,) = guests(world)
    (world.models / ".gemmalock/guests" / f"{'0' * 16}-{ELSEWHERE}").touch()
    (world.models / ".gemmalock/guests/readme").touch()
    root = world.open()
    assert root.enter(stores[1])
    assert dead not in guests(world)
    root.leave()
    assert sorted(guests(world)) == [f"{'0' * 16}-{ELSEWHERE}", "readme"]


def test_what_nobody_can_ask_goes_when_it_is_old(world: World, stores: tuple[Path, Path]) -> None:
    first = world.open()
    first.enter(stores[0])
    (world.models / ".gemmalock/guests" / f"{'0' * 16}-{ELSEWHERE}").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gemmalock.roots.staging.KEPT_SECONDS", -1)
        assert not world.open().enter(stores[1])
    assert [name.partition("-")[0] == "0" * 16 for name in guests(world)] == [False]


def test_a_living_mark_is_waited_for(world: World, stores: tuple[Path, Path]) -> None:
    world.open().enter(stores[0])
    (name,) = guests(world)
    assert name.partition("-")[2].split(".")[:4] == mark().split(".")[:4]
    assert not world.open().enter(stores[1])


def test_who_never_entered_leaves_nothing_behind(world: World) -> None:
    world.open().leave()
    assert not world.models.exists()


def test_a_link_in_the_way_is_refused(world: World, stores: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    world.models.mkdir()
    (world.models / ".gemmalock").symlink_to(tmp_path / "outside")
    with pytest.raises((UnsafePath, PermissionRefused)):
        world.open().enter(stores[0])
    assert os.listdir(tmp_path / "outside") == []

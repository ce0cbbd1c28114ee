"""Somebody swaps a folder of the root for a symbolic link, all the time: nothing behind the link ever changes."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemmalock.errors import FileError
from gemmalock.links import LinkMode
from gemmalock.machine import Stray
from tests.roots.world import World, locked, nothing_in_store, sha256_of

THEIRS, MINE = b"a canary's bytes", b"locked bytes"


class Canary:
    """A folder outside the root that holds the very files of the folder in it, by the same inodes: looking at a file
    through a link shows the right identity, so that nothing but the walk protects it."""

    def __init__(self, world: World) -> None:
        self.folder = world.base / "canary"
        self.folder.mkdir()
        self.inside = world.models / "m"
        world.write("m/x.bin", THEIRS)
        self.file = self.folder / "x.bin"
        os.link(self.inside / "x.bin", self.file)
        self.before = self.state()

    def state(self) -> dict[str, tuple[int, int, bytes]]:
        """Every name in the folder with its inode, mtime and bytes."""
        return {
            path.name: (path.lstat().st_ino, path.lstat().st_mtime_ns, path.read_bytes())
            for path in self.folder.iterdir()
        }

    def restore_inside(self) -> None:
        """Put the file back into the root's folder, whichever that is now."""
        for place in (self.inside, self.inside.with_name("m.aside")):
            if place.is_dir() and not place.is_symlink():
                with contextlib.suppress(OSError):
                    os.link(self.file, place / "x.bin")


@contextlib.contextmanager
def swapping(folder: Path, outside: Path) -> Iterator[None]:
    """Swap `folder` for a link to `outside` and back, in a thread, until the end of the block."""
    done = threading.Event()
    aside = folder.with_name(f"{folder.name}.aside")

    def swap() -> None:
        while not done.is_set():
            with contextlib.suppress(OSError):
                folder.rename(aside)
            with contextlib.suppress(OSError):
                folder.symlink_to(outside)
            with contextlib.suppress(OSError):
                folder.unlink()
            with contextlib.suppress(OSError):
                aside.rename(folder)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def race(world: World, rounds: int) -> int:
    """Prune, place and discard `rounds` times in a folder that is being swapped; how often pruning got something."""
    canary = Canary(world)
    found = (canary.inside / "x.bin").lstat()
    stray = Stray("m/x.bin", found.st_size, (found.st_size, found.st_mtime_ns, found.st_ino), sha256_of(THEIRS))
    root = world.open(link_mode=LinkMode.HARDLINK)
    source = world.object(MINE)
    got = 0
    with swapping(canary.inside, canary.folder):
        for _ in range(rounds):
            got += len(root.prune([stray], nothing_in_store).pruned)
            with contextlib.suppress(FileError):
                root.place(locked("m/y.bin", MINE), source, sha256_of(MINE))
            with contextlib.suppress(FileError):
                root.discard(locked("m/x.bin", MINE))
            with contextlib.suppress(FileError):
                root.strays(frozenset())
            canary.restore_inside()
    assert canary.state() == canary.before
    return got


def test_a_folder_that_is_swapped_for_a_link_leads_nobody_outside(world: World) -> None:
    race(world, 150)


@pytest.mark.long
def test_thousands_of_swaps_lead_nobody_outside(world: World) -> None:
    assert race(world, 4000) > 0


def test_the_race_would_be_lost_without_the_walk(world: World) -> None:
    canary = Canary(world)
    with swapping(canary.inside, canary.folder):
        for _ in range(200000):
            with contextlib.suppress(OSError):
                (canary.inside / "x.bin").unlink()
            if canary.state() != canary.before:
                break
            canary.restore_inside()
    assert canary.state() != canary.before


@pytest.mark.parametrize("name", ["ledger.json", ".gitignore", "lock"])
def test_planted_links_in_gemmalock_s_own_folder_change_nothing_outside(world: World, name: str) -> None:
    outside = world.base / "outside"
    outside.write_bytes(THEIRS)
    own = world.models / ".gemmalock"
    own.mkdir(parents=True)
    (own / name).symlink_to(outside)
    root = world.open()
    with contextlib.suppress(FileError):
        world.put(root, "m/a.bin", MINE)
        root.save()
    with contextlib.suppress(FileError):
        root.prune(root.strays(frozenset()), nothing_in_store)
    assert outside.read_bytes() == THEIRS

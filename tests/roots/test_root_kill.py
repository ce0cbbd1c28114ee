"""Killed at any system call, a root shows the old file, none, or the new one whole; the next run finds its way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gemmalock.plan import Place
from tests.guard import CHECKOUT
from tests.roots.world import World, locked, nothing_in_store, sha256_of

OLD, NEW, THEIRS = b"old bytes", b"new bytes, and more of them", b"a person's bytes"
#: Every system call with which a root changes the disk; a kernel may lack the older ones.
CHANGING = (
    "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat", "rmdir",
    "mkdir", "mkdirat", "write", "fsync", "ftruncate",
)  # fmt: skip

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]

START = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[3].split("\\n")
from gemmalock.links import LinkMode
from gemmalock.lockfile import LockedFile
from gemmalock.roots import RootFolder
root = RootFolder(Path(sys.argv[1]), "models", link_mode=LinkMode(sys.argv[2]))
"""
PLACE = """
file = LockedFile.pin(name="m/a.bin", path="m/a.bin", url="https://models.example.org/m/a.bin", size={size},
                      etag='"1"', sha256={locked!r})
root.place(file, Path({source!r}), {sha256!r})
root.save()
"""
PRUNE = """
root.prune(root.strays(frozenset(["m/a.bin"])), lambda sha256: True)
root.save()
"""


@pytest.fixture(params=CHANGING)
def call(request: pytest.FixtureRequest) -> str:
    """One of the system calls, each in turn."""
    return str(request.param)


def killed_at(world: World, tmp_path: Path, mode: str, script: str, when: tuple[str, int]) -> bool:
    """Run the script, and kill it when it makes some system call for the n-th time. Whether it did."""
    call, number = when
    command = ["strace", "-f", "-o", str(tmp_path / "trace"), "-e", f"trace=?{call}"]
    command += ["-e", f"inject=?{call}:signal=SIGKILL:when={number}"]
    search = "\n".join([str(CHECKOUT), *sys.path])
    command += [sys.executable, "-B", "-S", "-c", START + script, str(world.base), mode, search]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    killed = "killed by SIGKILL" in (tmp_path / "trace").read_text()
    assert killed or ran.returncode == 0, ran.stderr
    return killed


@pytest.mark.parametrize("mode", ["hardlink", "copy", "symlink"])
@pytest.mark.parametrize("digest", [True, False], ids=["with a digest", "without a digest"])
def test_a_kill_while_placing_leaves_old_none_or_new(tmp_path: Path, mode: str, digest: bool, call: str) -> None:
    number = 0
    killed = True
    while killed:
        number += 1
        world = World(tmp_path / str(number))
        world.write("m/a.bin", OLD)
        source = world.object(NEW)
        file = locked("m/a.bin", NEW, digest=digest)
        script = PLACE.format(size=len(NEW), locked=file.sha256, source=str(source), sha256=sha256_of(NEW))
        killed = killed_at(world, tmp_path, mode, script, (call, number))
        target = world.models / "m/a.bin"
        shown = target.read_bytes() if target.exists() else None
        assert shown in (None, OLD, NEW)
        assert shown == OLD or ("m/a.bin", OLD) in world.trashed()
        root = world.open()
        sight = root.look(file)
        if shown == NEW and mode != "symlink":
            assert sight.place in ((Place.KNOWN, Place.MATCHING) if digest else (Place.KNOWN,))
        root.place(file, source, sha256_of(NEW))
        root.save()
        assert target.read_bytes() == NEW
        assert world.staged() == []
        assert source.read_bytes() == NEW


def test_a_kill_while_pruning_loses_nothing_that_the_store_has_not(tmp_path: Path, call: str) -> None:
    number = 0
    killed = True
    while killed:
        number += 1
        world = World(tmp_path / str(number))
        root = world.open()
        world.put(root, "m/a.bin", NEW)
        world.put(root, "m/old/spare.bin", OLD)
        world.write("m/old/theirs.bin", THEIRS)
        root.save()
        killed = killed_at(world, tmp_path, "hardlink", PRUNE, (call, number))
        everything = [*world.tree().items(), *world.trashed()]
        assert world.tree()["m/a.bin"] == NEW
        assert ("m/old/theirs.bin", THEIRS) in everything
        assert (world.objects / sha256_of(OLD)).read_bytes() == OLD
        again = world.open()
        assert again.look(locked("m/a.bin", NEW)).place is Place.KNOWN
        again.prune(again.strays(frozenset(["m/a.bin"])), nothing_in_store)
        again.save()
        assert world.tree() == {"m/a.bin": NEW}


def test_the_kills_hit_what_a_root_does(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    world.write("m/a.bin", OLD)
    source = world.object(NEW)
    script = PLACE.format(size=len(NEW), locked=None, source=str(source), sha256=sha256_of(NEW))
    hit = {call for call in CHANGING if killed_at(World(tmp_path / call), tmp_path, "hardlink", script, (call, 1))}
    assert hit >= {"fsync", "linkat", "mkdirat", "unlinkat", "write"}
    assert hit & {"rename", "renameat", "renameat2"}
    assert not killed_at(world, tmp_path, "hardlink", script, ("fsync", 1000))
    assert (world.models / "m/a.bin").read_bytes() == NEW

"""Roots on file systems that lack something, or that are several: no locks, mounts inside, a full disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gemmalock.plan import Place
from tests.guard import CHECKOUT
from tests.roots.world import World, locked, sha256_of

OLD, NEW = b"old bytes", b"new bytes, and more of them"
UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]


def can(command: list[str]) -> bool:
    return shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0


pytestmark = pytest.mark.long
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
needs_mounts = pytest.mark.skipif(not can([*UNSHARE, "true"]), reason="no mount namespaces here")

START = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2].split("\\n")
from gemmalock.errors import FileError
from gemmalock.links import LinkMode
from gemmalock.lockfile import LockedFile
from gemmalock.roots import RootFolder
root = RootFolder(Path(sys.argv[1]), "models", link_mode=LinkMode.COPY)
def place(path, source, sha256, size):
    file = LockedFile.pin(name=path, path=path, url="https://models.example.org/" + path, size=size, etag='"1"',
                          sha256=sha256)
    return root.place(file, Path(source), sha256)
"""


def run(world: World, script: str, *before: str) -> str:
    search = "\n".join([str(CHECKOUT), *sys.path])
    command = [*before, sys.executable, "-B", "-S", "-c", START + script, str(world.base), search]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def placing(world: World) -> str:
    return f"place('m/a.bin', {str(world.object(NEW))!r}, {sha256_of(NEW)!r}, {len(NEW)})"


@needs_strace
@pytest.mark.parametrize("error", ["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
def test_without_locks_a_root_warns_once_and_goes_on(world: World, tmp_path: Path, error: str) -> None:
    world.write("x.bin", OLD)
    script = f"""
{placing(world)}
root.save()
root.prune(root.strays(frozenset(["m/a.bin"])), lambda sha256: False)
root.save()
print(len(root.warnings), root.warnings[0])
"""
    tracer = ["strace", "-f", "-o", str(tmp_path / "trace"), "-e", "trace=flock", "-e", f"inject=flock:error={error}"]
    said = run(world, script, *tracer)
    assert said.startswith("1 the file system of `models/.gemmalock` has no locks")
    assert world.open().look(locked("m/a.bin", NEW)).place is Place.KNOWN
    assert world.trashed() == [("x.bin", OLD)]


@needs_strace
@pytest.mark.parametrize("call", ["fsync", "renameat", "linkat", "mkdirat", "write"])
@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EROFS"])
def test_a_disk_that_will_not_write_leaves_what_stands_or_has_it_in_the_trash(
    world: World, tmp_path: Path, call: str, error: str
) -> None:
    world.write("m/a.bin", OLD)
    script = f"""
try:
    {placing(world)}
    root.save()
except FileError as failure:
    print(failure.code)
"""
    tracer = ["strace", "-f", "-o", str(tmp_path / "trace"), "-e", f"trace={call}"]
    codes = {"ENOSPC": "no_space", "EIO": "io_error", "EROFS": "permission"}
    for number in range(1, 4):
        said = run(world, script, *tracer, "-e", f"inject={call}:error={error}:when={number}")
        assert said.strip() in ("", codes[error])
        target = world.models / "m/a.bin"
        assert not target.exists() or target.read_bytes() in (OLD, NEW)
        assert ("m/a.bin", OLD) in world.trashed() or target.read_bytes() == OLD
        assert world.staged() == []


@needs_mounts
def test_what_is_mounted_in_a_root_is_left_alone(world: World) -> None:
    world.write("on-tmpfs/x", OLD)
    world.write("bound/y", OLD)
    world.write("bound-file", OLD)
    world.write("plain", OLD)
    outside = world.base / "outside"
    outside.mkdir()
    (outside / "z").write_bytes(OLD)
    script = """
import subprocess
base = Path(sys.argv[1])
models = base / "models"
subprocess.run(["mount", "-t", "tmpfs", "none", str(models / "on-tmpfs")], check=True)
subprocess.run(["mount", "--bind", str(base / "outside"), str(models / "bound")], check=True)
subprocess.run(["mount", "--bind", str(base / "outside/z"), str(models / "bound-file")], check=True)
result = root.prune(root.strays(frozenset()), lambda sha256: True)
print(sorted(gone.path for gone in result.pruned), sorted(stray.path for stray in result.kept))
"""
    assert run(world, script, *UNSHARE) == "['plain'] ['bound-file', 'bound/z', 'on-tmpfs']\n"
    assert (outside / "z").read_bytes() == OLD
    assert world.tree() == {"on-tmpfs/x": OLD, "bound/y": OLD, "bound-file": OLD}


@needs_mounts
def test_a_full_disk_is_said_and_leaves_the_old_file(world: World) -> None:
    source = world.object(bytes(2 * 1024 * 1024))
    world.models.mkdir()
    script = f"""
import subprocess
models = Path(sys.argv[1]) / "models"
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(models)], check=True)
(models / "m").mkdir()
(models / "m/a.bin").write_bytes(b"old")
try:
    place("m/a.bin", {str(source)!r}, {source.name!r}, 2 * 1024 * 1024)
except FileError as failure:
    print(failure.code, (models / "m/a.bin").read_bytes(), list((models / ".gemmalock/staging").iterdir()))
"""
    assert run(world, script, *UNSHARE) == "no_space b'old' []\n"

"""What a root says of what stands at a path: a table, and the looks that a disk refuses."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gemmalock.errors import FileError, Interrupted
from gemmalock.links import LinkMode
from gemmalock.plan import Place
from gemmalock.stopping import Stop
from tests.guard import CHECKOUT
from tests.roots.world import World, as_a_user, locked, sha256_of

BYTES = b"the locked bytes"
SAME_SIZE = b"THE LOCKED BYTES"


def nothing(_: World) -> None:
    return


def a_folder(world: World) -> None:
    (world.models / "m/a.bin").mkdir(parents=True)


def a_fifo(world: World) -> None:
    (world.models / "m").mkdir(parents=True)
    os.mkfifo(world.models / "m/a.bin")


def a_socket(world: World) -> None:
    (world.models / "m").mkdir(parents=True)
    here = Path.cwd()
    os.chdir(world.models / "m")
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("a.bin")
    finally:
        os.chdir(here)


def a_foreign_link(world: World) -> None:
    (world.models / "m").mkdir(parents=True)
    (world.models / "m/a.bin").symlink_to(world.object(BYTES))


def a_dangling_link(world: World) -> None:
    (world.models / "m").mkdir(parents=True)
    (world.models / "m/a.bin").symlink_to("nowhere")


def a_file_for_a_folder(world: World) -> None:
    world.write("m", b"a file")


def a_root_that_is_a_file(world: World) -> None:
    world.models.write_bytes(b"a file")


def other_bytes(world: World) -> None:
    world.write("m/a.bin", SAME_SIZE)


def another_size(world: World) -> None:
    world.write("m/a.bin", b"short")


def the_locked_bytes(world: World) -> None:
    world.write("m/a.bin", BYTES)


def an_empty_file(world: World) -> None:
    world.write("m/a.bin", b"")


TABLE: tuple[tuple[Callable[[World], None], Place, str, str], ...] = (
    (nothing, Place.ABSENT, "", ""),
    (a_folder, Place.OTHER, "a folder", "io_error"),
    (a_fifo, Place.OTHER, "a FIFO", "io_error"),
    (a_socket, Place.OTHER, "a socket", "io_error"),
    (a_foreign_link, Place.OTHER, "symbolic link that sync did not make", "unsafe_path"),
    (a_dangling_link, Place.OTHER, "symbolic link that sync did not make", "unsafe_path"),
    (a_file_for_a_folder, Place.ABSENT, "", ""),
    (a_root_that_is_a_file, Place.UNREADABLE, "`models` is not a folder", "io_error"),
    (
        other_bytes,
        Place.OTHER,
        f"the bytes have sha256 `{sha256_of(SAME_SIZE)[:12]}…`, the lock says `",
        "digest_mismatch",
    ),
    (another_size, Place.OTHER, f"5 bytes are in place, the lock says {len(BYTES)}", "size_mismatch"),
    (an_empty_file, Place.OTHER, f"0 bytes are in place, the lock says {len(BYTES)}", "size_mismatch"),
    (the_locked_bytes, Place.MATCHING, "", ""),
)


@pytest.mark.parametrize(("make", "place", "detail", "code"), TABLE, ids=[row[0].__name__ for row in TABLE])
@pytest.mark.parametrize("verify", [False, True])
def test_one_look_says_what_stands_there(
    world: World, make: Callable[[World], None], place: Place, detail: str, code: str, verify: bool
) -> None:
    make(world)
    before = sorted(path.as_posix() for path in world.base.rglob("*"))
    sight = world.open().look(locked("m/a.bin", BYTES), verify=verify)
    assert sight.place is place
    assert detail in sight.detail
    assert (sight.error.code if sight.error is not None else "") == code
    assert sorted(path.as_posix() for path in world.base.rglob("*")) == before


@pytest.mark.parametrize("link", ["models", "models/m"])
def test_a_link_for_a_folder_is_named_and_nothing_is_said_of_what_is_behind(world: World, link: str) -> None:
    behind = world.base / "behind"
    (behind / "m").mkdir(parents=True)
    (behind / "m/a.bin").write_bytes(BYTES)
    (behind / "a.bin").write_bytes(BYTES)
    (world.base / link).parent.mkdir(exist_ok=True)
    (world.base / link).symlink_to(behind)
    sight = world.open().look(locked("m/a.bin", BYTES))
    assert sight.place is Place.UNREADABLE
    assert f"`{link}` is a symbolic link" in sight.detail


def test_a_folder_for_gemmalock_that_is_a_link_is_refused(world: World) -> None:
    world.write("m/a.bin", BYTES)
    (world.base / "elsewhere").mkdir()
    (world.models / ".gemmalock").symlink_to(world.base / "elsewhere")
    sight = world.open().look(locked("m/a.bin", BYTES))
    assert sight.place is Place.UNREADABLE
    assert "`models/.gemmalock` is a symbolic link" in sight.detail
    assert not world.open().has_ledger()


def test_a_linked_file_is_known_by_its_target(world: World) -> None:
    root = world.open(link_mode=LinkMode.SYMLINK)
    file = world.put(root, "m/a.bin", BYTES)
    assert (world.models / "m/a.bin").is_symlink()
    assert root.look(file).place is Place.KNOWN
    assert root.look(file, verify=True).place is Place.KNOWN


@pytest.mark.parametrize("digest", [True, False])
def test_a_linked_file_that_was_only_touched_is_adopted_as_the_link_that_it_is(world: World, digest: bool) -> None:
    root = world.open(link_mode=LinkMode.SYMLINK)
    file = world.put(root, "m/a.bin", BYTES, digest=digest)
    os.utime(world.object(BYTES), ns=(5, 5))
    assert root.look(file).place is Place.MATCHING
    assert root.adopt(file) == sha256_of(BYTES)
    assert root.look(file).place is Place.KNOWN
    assert (world.models / "m/a.bin").is_symlink()


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (SAME_SIZE, f"leads to changed: its bytes have sha256 `{sha256_of(SAME_SIZE)[:12]}…`, the lock says"),
        (BYTES[:3], f"leads to has 3 bytes, the lock says {len(BYTES)}"),
    ],
)
def test_a_link_whose_file_changed_is_told_from_one_that_leads_elsewhere(
    world: World, content: bytes, says: str, verify: bool
) -> None:
    root = world.open(link_mode=LinkMode.SYMLINK)
    file = world.put(root, "m/a.bin", BYTES)
    world.object(BYTES).chmod(0o644)
    world.object(BYTES).write_bytes(content)
    os.utime(world.object(BYTES), ns=(5, 5))
    sight = root.look(file, verify=verify)
    assert sight.place is Place.OTHER
    assert says in sight.detail


def test_a_linked_file_that_leads_elsewhere_now_is_another(world: World) -> None:
    root = world.open(link_mode=LinkMode.SYMLINK)
    file = world.put(root, "m/a.bin", BYTES)
    link = world.models / "m/a.bin"
    for target, says in (
        (world.write("theirs", BYTES), "leads to another file than the one that sync linked"),
        (world.base / "nowhere", "a symbolic link to nothing"),
    ):
        link.unlink()
        link.symlink_to(target)
        sight = root.look(file)
        assert sight.place is Place.OTHER
        assert says in sight.detail
        with pytest.raises(FileError):
            root.adopt(file)


def test_a_link_in_the_place_of_a_file_that_sync_put_there_is_another(world: World) -> None:
    root = world.open()
    file = world.put(root, "m/a.bin", BYTES)
    target = world.models / "m/a.bin"
    target.rename(world.base / "moved")
    target.symlink_to(world.base / "moved")
    assert root.look(file).place is Place.OTHER


def test_a_new_lock_of_the_same_size_is_told_from_the_ledger_alone(world: World) -> None:
    root = world.open()
    world.put(root, "m/a.bin", BYTES)
    sight = root.look(locked("m/a.bin", SAME_SIZE))
    assert sight.place is Place.OTHER
    assert sha256_of(BYTES)[:12] in sight.detail
    assert sha256_of(SAME_SIZE)[:12] in sight.detail


def test_what_another_process_placed_in_the_meantime_is_known(world: World) -> None:
    here, there = world.open(), world.open()
    file = locked("m/a.bin", BYTES, digest=False)
    assert here.look(file).place is Place.ABSENT
    there.place(file, world.object(BYTES), sha256_of(BYTES))
    assert here.look(file).place is Place.KNOWN


def test_a_wish_to_stop_is_heard_while_hashing(world: World) -> None:
    world.write("m/a.bin", BYTES)
    stop = Stop()
    stop.set()
    with pytest.raises(Interrupted):
        world.open(stop=stop).look(locked("m/a.bin", BYTES))


def test_a_folder_that_may_not_be_read_is_unreadable() -> None:
    with as_a_user() as world:
        world.write("m/a.bin", BYTES)
        (world.models / "m").chmod(0)
        try:
            sight = world.open().look(locked("m/a.bin", BYTES))
        finally:
            (world.models / "m").chmod(0o755)
        assert sight.place is Place.UNREADABLE
        assert "Permission denied" in sight.detail


def test_a_file_that_may_not_be_read_is_unreadable_and_not_another() -> None:
    with as_a_user() as world:
        world.write("m/a.bin", BYTES).chmod(0)
        sight = world.open().look(locked("m/a.bin", BYTES))
        assert sight.place is Place.UNREADABLE
        assert "Permission denied" in sight.detail


def test_a_ledger_that_may_not_be_read_makes_no_file_another() -> None:
    with as_a_user() as world:
        root = world.open()
        file = world.put(root, "m/a.bin", BYTES, digest=False)
        ledger = world.models / ".gemmalock/ledger.json"
        ledger.chmod(0)
        again = world.open()
        assert again.look(file).place is Place.UNREADABLE
        assert not again.has_ledger()
        ledger.chmod(0o644)
        assert world.open().look(file).place is Place.KNOWN


def test_paths_longer_than_a_system_call_takes_are_looked_at(world: World) -> None:
    path = "/".join(["d" * 200] * 19) + "/a.bin"
    root = world.open()
    file = world.put(root, path, BYTES)
    assert len(str(world.models / path)) > 3800
    assert root.look(file).place is Place.KNOWN
    deep = world.base / "/".join(["e" * 200] * 3)
    deep.mkdir(parents=True)
    inner = World(deep)
    file = inner.put(inner.open(), path, BYTES)
    assert len(str(inner.models / path)) > 4096
    assert inner.open().look(file, verify=True).place in (Place.MATCHING, Place.KNOWN)


LOOK_AT_ALL = """
import sys
from pathlib import Path
from gemmalock.lockfile import LockedFile
from gemmalock.roots import RootFolder
root = RootFolder(Path(sys.argv[1]), "models")
for number in range(int(sys.argv[2])):
    path = f"m{number % 10}/{number}.bin"
    file = LockedFile.pin(name=path, path=path, url="https://models.example.org/" + path, size=1, etag=None,
                          sha256="2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881")
    print(root.look(file).place.value, root.look(file).detail) if number < 1 else root.look(file).place.value
"""


def traced(folder: Path, arguments: list[str], script: str, *rest: object) -> subprocess.CompletedProcess[str]:
    command = ["strace", "-f", "-o", str(folder / "trace"), *arguments, sys.executable, "-S", "-c", script]
    path = os.pathsep.join([str(CHECKOUT), *(entry for entry in sys.path if entry)])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run([*command, *map(str, rest)], env=environment, capture_output=True, text=True, check=False)


needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@pytest.mark.long
@needs_strace
def test_a_look_at_what_is_in_sync_costs_one_stat_a_file(world: World, tmp_path: Path) -> None:
    root = world.open()
    count = 2000
    for number in range(count):
        world.write(f"m{number % 10}/{number}.bin", b"x")
        root.adopt(locked(f"m{number % 10}/{number}.bin", b"x"))
    root.save()
    calls = {}
    for looked_at in (1, count):
        ran = traced(tmp_path, ["-e", "trace=%stat,%%stat,openat"], LOOK_AT_ALL, world.base, looked_at)
        assert ran.stdout.startswith("known"), ran.stderr
        lines = (tmp_path / "trace").read_text().splitlines()
        calls[looked_at] = [sum(1 for line in lines if "stat" in line), sum(1 for line in lines if "openat(" in line)]
    stats, opens = (after - before for before, after in zip(calls[1], calls[count], strict=True))
    assert count - 1 <= stats <= 1.1 * count
    assert opens <= count / 10


@pytest.mark.long
@needs_strace
def test_an_input_output_error_is_unreadable(world: World, tmp_path: Path) -> None:
    target = world.write("m0/0.bin", b"y")
    arguments = ["-e", "trace=%stat,%%stat", "-P", str(target), "-e", "inject=%stat,%%stat:error=EIO"]
    ran = traced(tmp_path, arguments, LOOK_AT_ALL, world.base, 1)
    assert ran.stdout.startswith("unreadable cannot look at `m0/0.bin`: Input/output error"), ran.stderr

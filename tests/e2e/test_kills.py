"""`kill -9`, SIGINT and SIGTERM at any moment: the next sync goes on, and no byte is wrong."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from gemmalock.journal import CHUNK as JOURNAL_CHUNK
from gemmalock.journal import read_journal
from gemmalock.transfer.ranges import AHEAD
from tests.conftest import SEED
from tests.running import Gemmalock, Project
from tests.servers.fileserver import Content, FileServer

#: Whether the lock has the digests, or only the bytes themselves will tell them.
DIGESTS = pytest.mark.parametrize("digest", [True, False], ids=["digest", "no digest"])
LINK_MODES = pytest.mark.parametrize("link_mode", ["auto", "copy"])
CHUNK = 4 * 1024 * 1024
PAGE = 4096
NAMES = ("a.gguf", "b.gguf", "c.safetensors")


@contextlib.contextmanager
def three_files(
    project: Project, size: int, throttle: int | None, *, digest: bool = True, names: Sequence[str] = NAMES
) -> Iterator[FileServer]:
    """Three files of `size` bytes (or those that are named) behind a server, and a manifest of them. With `digest` the
    server tells their digests, and so the lock has them."""
    bodies = {f"/{name}": random.Random(name).randbytes(size) for name in names}
    files = {path: Content(body, throttle=throttle, repr_digest=digest) for path, body in bodies.items()}
    with FileServer(files) as server:
        lines = "".join(f"      - url: {server.origin}/{name}\n" for name in names)
        project.write_manifest(f"version: 1\nmodels:\n  m:\n    files:\n{lines}")
        yield server


def wrong_files(project: Project, server: FileServer) -> list[str]:
    """Every path in the root that shows anything but the exact bytes of its file."""
    root = project.folder / "models"
    found = [path for path in root.rglob("*") if path.is_file() and ".gemmalock" not in path.parts]
    return [str(path) for path in found if path.read_bytes() != server.files[f"/{path.name}"].body]


def left_over(store: Path) -> list[str]:
    """What a finished sync may not leave in the store: tasks, staging."""
    return [
        str(path.relative_to(store))
        for name in ("tasks", "staging")
        if (store / name).is_dir()
        for path in (store / name).iterdir()
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_came_and_says_how_to_go_on(
    project: Project, gemmalock: Gemmalock, number: signal.Signals
) -> None:
    with three_files(project, 3 * CHUNK, throttle=2 * CHUNK) as server:
        assert gemmalock("lock").code == 0
        with gemmalock.started("sync") as process:
            wait_for_bytes(server, 3 * CHUNK)
            process.send_signal(number)
            out, err = process.communicate(timeout=30)
        assert process.returncode == 2, (out, err)
        assert "CANCELLED" in out
        assert " error" not in out
        assert "run `gemmalock sync` again to go on" in err
        status = gemmalock("status", "--json").json()
        assert {file["resume_status"] for file in status["files"]} <= {"can_resume", "file_complete"}
        for content in server.files.values():
            content.throttle = None
        done = gemmalock("sync", "--json")
        assert done.code == 0, done.err
        kept = sum(file["bytes_kept"] for file in done.json()["files"])
        assert kept >= 2 * CHUNK
        assert wrong_files(project, server) == []


def test_killed_half_way_the_next_sync_resumes(project: Project, gemmalock: Gemmalock) -> None:
    with three_files(project, 3 * CHUNK, throttle=2 * CHUNK) as server:
        assert gemmalock("lock").code == 0
        with gemmalock.started("sync") as process:
            wait_for_bytes(server, 6 * CHUNK)
            process.kill()
            process.wait()
        assert wrong_files(project, server) == []
        tasks = gemmalock("tasks", "--json").json()["facts"]["tasks"]
        assert len(tasks) == 3
        server.forget()
        done = gemmalock("sync", "--json")
        assert done.code == 0, done.err
        assert {file["action"] for file in done.json()["files"]} <= {"resume", "download", "skip", "link"}
        assert sum(file["bytes_kept"] for file in done.json()["files"]) >= 2 * CHUNK
        assert wrong_files(project, server) == []
        assert left_over(Path(os.environ["GEMMALOCK_STORE"])) == []


#: Where a process is killed by itself, and what was done by then.
SEAMS = (
    ("gemmalock.store.disk", "DiskStore", "enter"),  # the partial is whole
    ("gemmalock.roots", "RootFolder", "place"),  # the store has it
    ("gemmalock.registry", "DiskClaim", "finish"),  # it is in place
    ("gemmalock.roots", "RootFolder", "save"),  # nothing is left to be done but to note it
)
DYING = """
import os
import {module}
{module}.{kind}.{name} = lambda *arguments, **named: os._exit(9)
from gemmalock.cli import main
main(["sync"])
"""


@LINK_MODES
@DIGESTS
@pytest.mark.parametrize("seam", SEAMS, ids=[f"before {kind}.{name}" for _, kind, name in SEAMS])
def test_killed_between_two_steps_no_byte_is_fetched_again(
    project: Project, gemmalock: Gemmalock, seam: tuple[str, str, str], digest: bool, link_mode: str
) -> None:
    module, kind, name = seam
    settings = {"GEMMALOCK_LINK_MODE": link_mode}
    with three_files(project, CHUNK + 4321, None, digest=digest, names=NAMES[:1]) as server:
        assert gemmalock("lock").code == 0
        dying = Gemmalock(project.folder, (sys.executable, "-c"))
        assert dying(DYING.format(module=module, kind=kind, name=name), env=settings).code == 9
        assert wrong_files(project, server) == []
        server.forget()
        done = gemmalock("sync", "--json", env=settings)
        assert done.code == 0, done.err
        (file,) = done.json()["files"]
        assert (file["bytes_fetched"], server.gets(f"/{NAMES[0]}")) == (0, ())
        assert (project.folder / "models/m" / NAMES[0]).read_bytes() == server.files[f"/{NAMES[0]}"].body
        assert hashlib.sha256(server.files[f"/{NAMES[0]}"].body).hexdigest() in project.lock.read_text()
        assert left_over(Path(os.environ["GEMMALOCK_STORE"])) == []


@pytest.mark.long
@LINK_MODES
@DIGESTS
def test_fifty_of_two_hundred_kills_at_random_moments(
    project: Project, gemmalock: Gemmalock, digest: bool, link_mode: str, dice: random.Random
) -> None:
    seed = os.environ[SEED]
    size = 4 * CHUNK + 4321
    store = Path(os.environ["GEMMALOCK_STORE"])
    settings = {"GEMMALOCK_LINK_MODE": link_mode}
    kills = 0
    with three_files(project, size, throttle=3 * CHUNK, digest=digest) as server:
        assert gemmalock("lock").code == 0
        locked = project.lock.read_bytes()
        while kills < 50:
            kills_here = 0
            server.forget()
            finished = False
            while not finished:
                if killed_before_its_end(gemmalock, dice, settings):
                    kills_here += 1
                else:
                    finished = True
                assert wrong_files(project, server) == [], f"seed {seed}"
            kills += kills_here
            done = gemmalock("sync", "--json", env=settings)
            assert done.code == 0, (seed, done.err)
            assert {file["outcome"] for file in done.json()["files"]} == {"skipped"}
            assert left_over(store) == [], f"seed {seed}"
            served = sum(server.bytes_served(f"/{name}") for name in NAMES)
            # One connection a file, and three files: each kill costs at most a chunk of each.
            assert served <= 3 * size + kills_here * 3 * CHUNK, f"seed {seed}"
            remove(project.folder / "models")
            remove(store)
            # The digests that it has learned are to be learned again.
            assert (project.lock.read_bytes() == locked) == digest
            project.lock.write_bytes(locked)


@pytest.mark.long
@DIGESTS
def test_a_hundred_of_two_hundred_kills_of_eight_connections(
    project: Project, gemmalock: Gemmalock, digest: bool, dice: random.Random
) -> None:
    """One file, so that what its connections may be ahead of the journal in all is what a kill may cost."""
    seed = os.environ[SEED]
    size = 10 * CHUNK + 4321
    store = Path(os.environ["GEMMALOCK_STORE"])
    settings = {"GEMMALOCK_CONNECTIONS": "8"}
    kills = lost = 0
    with three_files(project, size, throttle=CHUNK, digest=digest, names=NAMES[:1]) as server:
        body = server.files[f"/{NAMES[0]}"].body
        assert gemmalock("lock").code == 0
        locked = project.lock.read_bytes()
        while kills < 100:
            kills_here, kept = 0, 0
            server.forget()
            while kills_here < 8 and killed_while_bytes_come(gemmalock, server, dice, settings):
                kills_here += 1
                assert wrong_files(project, server) == [], f"seed {seed}"
                lost_here, kept = lost_and_kept(store, body)
                # Of each connection the last page may have come in part.
                assert lost_here <= AHEAD + 8 * PAGE, f"seed {seed}"
                lost = max(lost, lost_here)
            kills += kills_here
            server.files[f"/{NAMES[0]}"].throttle = None
            done = gemmalock("sync", "--json", env=settings)
            server.files[f"/{NAMES[0]}"].throttle = CHUNK
            assert done.code == 0, (seed, done.err)
            (file,) = done.json()["files"]
            if file["bytes_fetched"]:
                assert (file["bytes_kept"], file["bytes_fetched"]) == (kept, size - kept), f"seed {seed}"
            assert (project.folder / "models/m" / NAMES[0]).read_bytes() == body, f"seed {seed}"
            assert left_over(store) == [], f"seed {seed}"
            remove(project.folder / "models")
            remove(store)
            project.lock.write_bytes(locked)
        assert server.most_at_once > 1
        assert server.failures == []
    assert lost > 0, "nothing was ahead of the journal"


def lost_and_kept(store: Path, body: bytes) -> tuple[int, int]:
    """How many bytes of the only partial, in whole pages, the journal does not vouch for, and how many it does. The
    former are blanked, so that the next look finds only what came since."""
    lost = 0
    for part in (store / "tasks").glob("*/data.part"):
        text = part.with_name("journal").read_bytes() if part.with_name("journal").exists() else b""
        journal = read_journal(text, len(body))
        with part.open("r+b") as file:
            for start in range(0, len(body), JOURNAL_CHUNK):
                chunk = journal.get(start // JOURNAL_CHUNK)
                begin = start if chunk is None else -(-chunk.end // PAGE) * PAGE
                file.seek(begin)
                found = file.read(start + JOURNAL_CHUNK - begin)
                if found == bytes(len(found)):
                    continue
                pages = [found[place : place + PAGE] for place in range(0, len(found), PAGE)]
                lost += sum(len(page) for page in pages if page != bytes(len(page)))
                file.seek(begin)
                file.write(bytes(len(found)))
        return lost, journal.kept
    return 0, 0


def killed_while_bytes_come(
    gemmalock: Gemmalock, server: FileServer, dice: random.Random, settings: Mapping[str, str]
) -> bool:
    """Start a sync and kill it a random while after its first byte was sent; False when it was done before."""
    before = server.bytes_served()
    with gemmalock.started("sync", env=settings) as process:
        while server.bytes_served() == before and process.poll() is None:
            time.sleep(0.005)
        return not ended(process, dice.uniform(0.0, 0.4))


def killed_before_its_end(gemmalock: Gemmalock, dice: random.Random, settings: Mapping[str, str]) -> bool:
    """Start a sync and kill it after a random while; False when it was done before."""
    with gemmalock.started("sync", env=settings) as process:
        return not ended(process, dice.uniform(0.05, 1.2))


def ended(process: subprocess.Popen[str], seconds: float) -> bool:
    """Whether it ended well within that time; else it is killed."""
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return False
    assert process.returncode == 0
    return True


def wait_for_bytes(server: FileServer, count: int) -> None:
    """Until the server has sent so many bytes."""
    deadline = time.monotonic() + 30
    while sum(server.bytes_served(f"/{name}") for name in NAMES) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def remove(folder: Path) -> None:
    """Remove a folder that is ours."""
    shutil.rmtree(folder, ignore_errors=True)

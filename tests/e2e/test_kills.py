"""`kill -9`, SIGINT and SIGTERM at any moment: the next sync goes on, and no byte is wrong."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SEED
from tests.running import Gemmalock, Project
from tests.servers.fileserver import Content, FileServer

CHUNK = 4 * 1024 * 1024
NAMES = ("a.gguf", "b.gguf", "c.safetensors")


@contextlib.contextmanager
def three_files(project: Project, size: int, throttle: int | None) -> Iterator[FileServer]:
    """Three files of `size` bytes behind a server, locked by a manifest with their digests."""
    bodies = {f"/{name}": random.Random(name).randbytes(size) for name in NAMES}
    files = {path: Content(body, throttle=throttle, repr_digest=True) for path, body in bodies.items()}
    with FileServer(files) as server:
        lines = "".join(f"      - url: {server.origin}/{name}\n" for name in NAMES)
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


@pytest.mark.long
def test_two_hundred_kills_at_random_moments(project: Project, gemmalock: Gemmalock) -> None:
    seed = int(os.environ[SEED])
    chance = random.Random(seed)
    size = 4 * CHUNK + 4321
    store = Path(os.environ["GEMMALOCK_STORE"])
    kills = 0
    with three_files(project, size, throttle=3 * CHUNK) as server:
        assert gemmalock("lock").code == 0
        while kills < 200:
            kills_here = 0
            server.forget()
            finished = False
            while not finished:
                if killed_before_its_end(gemmalock, chance):
                    kills_here += 1
                else:
                    finished = True
                assert wrong_files(project, server) == [], f"seed {seed}"
            kills += kills_here
            done = gemmalock("sync", "--json")
            assert done.code == 0, (seed, done.err)
            assert {file["outcome"] for file in done.json()["files"]} == {"skipped"}
            assert left_over(store) == [], f"seed {seed}"
            served = sum(server.bytes_served(f"/{name}") for name in NAMES)
            # One connection a file, and three files: each kill costs at most a chunk of each.
            assert served <= 3 * size + kills_here * 3 * CHUNK, f"seed {seed}"
            remove(project.folder / "models")
            remove(store)


def killed_before_its_end(gemmalock: Gemmalock, chance: random.Random) -> bool:
    """Start a sync and kill it after a random while; False when it was done before."""
    with gemmalock.started("sync") as process:
        try:
            process.communicate(timeout=chance.uniform(0.05, 1.2))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return True
        assert process.returncode == 0
        return False


def wait_for_bytes(server: FileServer, count: int) -> None:
    """Until the server has sent so many bytes."""
    deadline = time.monotonic() + 30
    while sum(server.bytes_served(f"/{name}") for name in NAMES) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def remove(folder: Path) -> None:
    """Remove a folder that is ours."""
    shutil.rmtree(folder, ignore_errors=True)

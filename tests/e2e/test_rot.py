"""A rotten byte in a finished file: its chunk alone is fetched again, and the old bytes are kept."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from gemmalock.journal import CHUNK
from tests.e2e.conftest import Scene

SIZE = 40 * 1024 * 1024 + 17
#: What a server sends besides, at most: nothing, as of today.
LITTLE = 64 * 1024


@pytest.fixture
def large(scene: Scene) -> Scene:
    """The scene with a model of ten chunks and a bit."""
    scene.server.put("/model.gguf", random.Random(11).randbytes(SIZE))
    return scene


def flip(path: Path, place: int, *, in_secret: bool) -> bytes:
    """Change one byte in place; `in_secret`, as a failing disk does it, leaves the old stat. What all bytes are now."""
    found = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1]))
    path.chmod(found.st_mode & 0o777)
    if in_secret:
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    return path.read_bytes()


def object_of(scene: Scene) -> Path:
    """The large object of the store."""
    return max((scene.store / "objects").rglob("*"), key=lambda path: path.stat().st_size)


def mended(scene: Scene, *arguments: str) -> Any:
    """The model's entry in the report of a `sync --verify` after which every byte is right."""
    scene.server.forget()
    done = scene.run("sync", "--verify", "--json", *arguments)
    assert done.code == 0, (done.out, done.err)
    assert scene.model.read_bytes() == scene.content().body
    assert scene.run("verify").code == 0
    assert scene.run("cache", "verify").code == 0
    return next(file for file in done.json()["files"] if file["path"].endswith("model.gguf"))


@pytest.mark.parametrize(
    ("mode", "in_secret"), [("auto", True), ("auto", False), ("symlink", True), ("copy", True), ("copy", False)]
)
def test_one_rotten_byte_costs_one_chunk(large: Scene, mode: str, in_secret: bool) -> None:
    flags = () if mode == "auto" else ("--link-mode", mode)
    assert large.run("sync", *flags).code == 0
    rotten = flip(large.model, SIZE // 2, in_secret=in_secret)
    if object_of(large).read_bytes() != rotten:
        flip(object_of(large), SIZE // 2, in_secret=in_secret)
    file = mended(large, *flags)
    assert 0 < large.server.bytes_served("/model.gguf") <= CHUNK + LITTLE
    assert file["bytes_fetched"] == large.server.bytes_served("/model.gguf")
    assert file["bytes_kept"] == SIZE - CHUNK
    assert (file["resume_status"], file["outcome"]) == ("modified", "done")
    assert "its rotten chunks are fetched again" in file["reason"]
    if mode != "symlink":
        assert [path.read_bytes() for path in large.trash] == [rotten]
    assert not list((large.store / "tasks").iterdir())


def test_where_only_the_copy_in_place_has_rotted_the_store_replaces_it(large: Scene) -> None:
    assert large.run("sync", "--link-mode", "copy").code == 0
    rotten = flip(large.model, 5, in_secret=True)
    assert mended(large, "--link-mode", "copy")["bytes_fetched"] == 0
    assert large.server.requests == ()
    assert [path.read_bytes() for path in large.trash] == [rotten]


def test_what_cache_verify_put_away_is_of_use_to_the_next_sync(large: Scene) -> None:
    assert large.run("sync", "--link-mode", "hardlink").code == 0
    flip(large.model, 0, in_secret=True)
    flip(large.model, SIZE - 1, in_secret=True)
    assert large.run("cache", "verify").code == 1
    file = mended(large, "--link-mode", "hardlink")
    assert large.server.bytes_served("/model.gguf") == CHUNK + 17
    assert file["bytes_kept"] == SIZE - CHUNK - 17


def test_a_file_that_was_cut_short_is_mended_from_what_is_left(large: Scene) -> None:
    assert large.run("sync", "--link-mode", "hardlink").code == 0
    large.model.chmod(0o644)
    os.truncate(large.model, 3 * CHUNK + 5)
    file = mended(large, "--link-mode", "hardlink")
    assert (file["bytes_kept"], file["bytes_fetched"]) == (3 * CHUNK, SIZE - 3 * CHUNK)


def test_a_sync_that_was_killed_while_it_mended_goes_on(large: Scene) -> None:
    assert large.run("sync", "--link-mode", "hardlink").code == 0
    flip(large.model, 0, in_secret=True)
    flip(large.model, SIZE // 2, in_secret=True)
    large.server.forget()
    large.content().throttle = CHUNK
    with large.run.started("sync", "--verify", "--link-mode", "hardlink") as process:
        deadline = time.monotonic() + 60
        while large.server.bytes_served("/model.gguf") < CHUNK + LITTLE:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
        process.wait()
    large.content().throttle = None
    assert not large.model.exists()
    file = mended(large, "--link-mode", "hardlink")
    assert (file["resume_status"], file["bytes_kept"]) == ("can_resume", SIZE - file["bytes_fetched"])
    assert file["bytes_fetched"] <= 2 * CHUNK


def test_the_line_of_the_run_says_what_was_kept_and_what_was_fetched(large: Scene) -> None:
    assert large.run("sync", "--link-mode", "hardlink").code == 0
    flip(large.model, SIZE // 2, in_secret=True)
    done = large.run("sync", "--verify")
    assert done.code == 0, done.err
    assert "RESUMED  gemmalock.yaml::gemma::model.gguf  39.0 MiB kept, 1.0 MiB fetched" in done.out

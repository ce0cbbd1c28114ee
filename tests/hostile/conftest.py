"""The stage of every hostile case."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.hostile.stage", "tests.hostile.oracles")

from tests.hostile.stage import Stage  # noqa: E402
from tests.running import Project  # noqa: E402
from tests.servers.fileserver import FileServer  # noqa: E402

#: More than `lock` fetches to learn a digest, and less than a chunk: most cases are not about size.
SIZE = 1024 * 1024 + 4321
TOKENIZER = b'{"version": "1.0"}'


@pytest.fixture
def stage(tmp_path: Path, house: Path, project: Project) -> Iterator[Stage]:
    """A declared project that is not yet locked. At the end, what only looks is held to its word."""
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "theirs.bin").write_bytes(b"a canary's bytes")
    (canary / "link").symlink_to("theirs.bin")
    store = Path(os.environ["GEMMALOCK_STORE"])
    with FileServer({"/model.gguf": random.Random(5).randbytes(SIZE), "/tokenizer.json": TOKENIZER}) as server:
        stage = Stage(tmp_path, house, server, project, store, project.folder / "models")
        stage.declare()
        yield stage
        stage.looks_change_nothing()
        assert server.failures == []


@pytest.fixture
def synced(stage: Stage) -> Stage:
    """The same, locked and in sync."""
    stage.run("sync")
    return stage

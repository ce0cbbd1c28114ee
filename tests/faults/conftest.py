"""The stage that every fault is played on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.origin import Origin, running
from tests.faults.stage import SIZE, Stage
from tests.running import Project

BODY = random.Random(20).randbytes(SIZE)


@pytest.fixture
def stage(project: Project, tmp_path: Path, house: Path) -> Iterator[Stage]:
    """An origin with one file of two chunks, and an empty project."""
    with running(Origin({"/model.gguf": BODY})) as origin:
        yield Stage(tmp_path, house, origin, project)

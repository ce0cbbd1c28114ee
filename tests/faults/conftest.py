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


#: Every fault over one connection, over some, and over more than there are pieces to be had.
OVER_MANY = pytest.mark.parametrize("connections", [1, 4, 8], indirect=True)


@pytest.fixture
def connections(request: pytest.FixtureRequest) -> int | None:
    """Over how many connections the commands of the stage fetch a file; None: nobody says, and one that is slow is
    joined by others."""
    count: int | None = getattr(request, "param", None)
    return count


@pytest.fixture
def stage(project: Project, tmp_path: Path, house: Path, connections: int | None) -> Iterator[Stage]:
    """An origin with one file, and an empty project."""
    with running(Origin({"/model.gguf": BODY})) as origin:
        stage = Stage(tmp_path, house, origin, project, connections)
        if connections is not None:
            stage.environ["GEMMALOCK_CONNECTIONS"] = str(connections)
        yield stage

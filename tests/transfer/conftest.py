"""A bench to work on, for every test of the room."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.transfer.twins import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An empty task."""
    return Bench(tmp_path / "task")

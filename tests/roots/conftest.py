"""Fixtures of the tests of roots."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.roots.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A folder with a root to be."""
    return World(tmp_path / "project")

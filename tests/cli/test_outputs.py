"""A file that somebody names for output takes nothing's place that gemmalock lives by."""

from __future__ import annotations

import pytest

from tests.running import Gemmalock, Project

PLACES = ["gemmalock.lock", "gemmalock.yaml", "models/x", "models/.gemmalock/ledger.json", "elsewhere/gemmalock.lock"]


@pytest.fixture
def synced(project: Project, gemmalock: Gemmalock) -> Project:
    """A project in sync."""
    (project.folder / "elsewhere").mkdir()
    (project.folder / "upstream.bin").write_bytes(b"weights")
    project.write_manifest("version: 1\nmodels:\n  m:\n    files:\n      - url: file://upstream.bin\n")
    assert gemmalock("sync").code == 0
    return project


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", [("sync", "--junitxml"), ("export", "json", "-o")])
def test_no_paper_and_no_root_is_written_over(
    synced: Project, gemmalock: Gemmalock, command: tuple[str, ...], place: str
) -> None:
    before = {path: path.read_bytes() for path in synced.folder.rglob("*") if path.is_file()}
    done = gemmalock(*command, place)
    assert (done.code, "would write" in done.err) == (4, True), done.err
    assert {path: path.read_bytes() for path in synced.folder.rglob("*") if path.is_file()} == before


def test_a_link_to_the_lock_is_the_lock(synced: Project, gemmalock: Gemmalock) -> None:
    (synced.folder / "report.xml").symlink_to("gemmalock.lock")
    assert gemmalock("sync", "--junitxml", "report.xml").code == 4


@pytest.mark.parametrize("line", ['junitxml = "a\\u0000"', 'store = "a\\u0000b"'])
def test_a_null_character_is_no_path(synced: Project, gemmalock: Gemmalock, line: str) -> None:
    (synced.folder / "gemmalock.toml").write_text(line)
    for command in ("sync", "doctor"):
        done = gemmalock(command)
        assert (done.code, "Traceback" in done.err) == (4, False)
        assert "gemmalock.toml:1:1" in done.err

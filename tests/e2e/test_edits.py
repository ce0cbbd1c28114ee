"""`init`, `add`, `remove`, `list` and `tree` as a person uses them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.running import Gemmalock, Project

COMMENTED = """\
# what the chat needs
version: 1   # of the format
models:
  # the first one
  one:
    source: "file://weights"
    files:
      - a.gguf   # the small one
"""


@pytest.fixture
def weights(project: Project) -> Path:
    """Two files to declare."""
    folder = project.folder / "weights"
    folder.mkdir()
    (folder / "a.gguf").write_bytes(b"a" * 10)
    (folder / "b.gguf").write_bytes(b"b" * 20)
    project.write_manifest(COMMENTED)
    return folder


def test_add_keeps_comments_and_layout_and_locks(project: Project, gemmalock: Gemmalock, weights: Path) -> None:
    done = gemmalock("add", "two", "file://weights", "*.gguf")
    assert done.code == 0, done.err
    text = project.manifest.read_text()
    assert text.startswith(COMMENTED)
    assert text.removeprefix(COMMENTED) == "  two:\n    source: file://weights\n    files:\n      - '*.gguf'\n"
    assert gemmalock("lock", "--check").code == 0
    assert "gemmalock.yaml::two::b.gguf" in gemmalock("list").out


def test_add_and_remove_give_back_the_same_bytes(project: Project, gemmalock: Gemmalock, weights: Path) -> None:
    gemmalock("lock")
    lock = project.lock.read_bytes()
    assert gemmalock("add", "two", "file://weights/b.gguf").code == 0
    assert project.lock.read_bytes() != lock
    assert gemmalock("remove", "two").code == 0
    assert project.manifest.read_text() == COMMENTED
    assert project.lock.read_bytes() == lock


def test_a_model_that_cannot_be_locked_is_not_declared(project: Project, gemmalock: Gemmalock, weights: Path) -> None:
    gemmalock("lock")
    before = project.manifest.read_bytes(), project.lock.read_bytes()
    assert gemmalock("add", "two", "file://weights", "c.gguf").code == 1
    assert gemmalock("add", "one", "file://weights", "b.gguf").code == 4
    assert gemmalock("add", "bad name", "file://weights", "b.gguf").code == 4
    assert gemmalock("remove", "three").code == 4
    assert (project.manifest.read_bytes(), project.lock.read_bytes()) == before


def test_a_crlf_manifest_stays_one(project: Project, gemmalock: Gemmalock, weights: Path) -> None:
    project.manifest.write_bytes(COMMENTED.replace("\n", "\r\n").encode())
    assert gemmalock("add", "two", "file://weights", "b.gguf").code == 0
    text = project.manifest.read_bytes()
    assert text.count(b"\n") == text.count(b"\r\n")


def test_init_writes_a_manifest_that_locks_and_the_gitignore_line(project: Project, gemmalock: Gemmalock) -> None:
    (project.folder / ".gitignore").write_text("dist")
    assert gemmalock("init").code == 0
    assert (project.folder / ".gitignore").read_text() == "dist\n/models/\n"
    assert gemmalock("lock").code == 0
    assert gemmalock("init").code == 4


def test_the_first_model_opens_up_the_empty_mapping(project: Project, gemmalock: Gemmalock, weights: Path) -> None:
    project.manifest.unlink()
    gemmalock("init")
    assert gemmalock("add", "one", "file://weights/a.gguf").code == 0
    assert "\nmodels:\n  one:\n    files:\n      - url: file://weights/a.gguf\n" in project.manifest.read_text()


def test_the_tree_shows_manifest_models_and_files(gemmalock: Gemmalock, weights: Path) -> None:
    gemmalock("add", "two", "file://weights", "*.gguf")
    assert gemmalock("tree").out == (
        "gemmalock.yaml\n"
        "├── one  10 B  no licence is stated\n"
        "│   └── a.gguf  10 B\n"
        "└── two  30 B  no licence is stated\n"
        "    ├── a.gguf  10 B\n"
        "    └── b.gguf  20 B\n"
    )

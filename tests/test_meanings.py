"""What a manifest means is remembered by its bytes; forgetting it costs time, never correctness."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gemmalock import meanings
from gemmalock.codec.manifest import read_manifest
from gemmalock.codec.meaning_json import read_meaning, write_meaning
from gemmalock.meanings import FOLDER, Meanings
from gemmalock.spec import SCHEMES, Manifest
from tests.guard import CHECKOUT
from tests.running import Gemmalock, Project

VALID = sorted((CHECKOUT / "manifest/cases/valid").glob("*.yaml"))


@pytest.fixture
def known(tmp_path: Path) -> Meanings:
    """The meanings of a store."""
    return Meanings.of(tmp_path, schemes=SCHEMES, allow_http=False)


@pytest.mark.parametrize("case", VALID, ids=lambda path: path.stem)
def test_a_meaning_is_read_as_it_was_written(case: Path) -> None:
    meaning = read_manifest(case.read_bytes(), case.name, allow_http=True)
    again = read_meaning(write_meaning(meaning))
    assert again == meaning
    assert again is not None and again.declared == meaning.declared


def test_a_text_that_was_cut_or_changed_means_nothing() -> None:
    data = write_meaning(Manifest("models"))
    assert read_meaning(data) == Manifest("models")
    for end in range(len(data)):
        assert read_meaning(data[:end]) is None
    assert read_meaning(data.replace(b"models", b"movies")) is None


def test_only_the_very_bytes_are_recalled_by_the_very_rules(known: Meanings) -> None:
    known.remember(Manifest("models"), b"text")
    assert known.recall(b"text") == Manifest("models")
    assert known.recall(b"text ") is None
    assert Meanings.of(known.store, schemes=SCHEMES, allow_http=True).recall(b"text") is None
    assert Meanings.of(known.store, schemes={*SCHEMES, "x"}, allow_http=False).recall(b"text") is None


def test_what_a_crash_left_is_replaced(known: Meanings) -> None:
    known.remember(Manifest("models"), b"text")
    (left,) = (known.store / FOLDER).iterdir()
    left.write_bytes(b"")
    assert known.recall(b"text") is None
    known.remember(Manifest("models"), b"text")
    assert known.recall(b"text") == Manifest("models")


def test_there_are_never_more_than_so_many(known: Meanings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meanings, "MOST", 3)
    for number in range(7):
        known.remember(Manifest("models"), b"%d" % number)
        assert len(list((known.store / FOLDER).iterdir())) <= 3
    assert known.recall(b"6") == Manifest("models")


def test_without_a_store_nothing_is_made(tmp_path: Path) -> None:
    absent = Meanings.of(tmp_path / "absent", schemes=SCHEMES, allow_http=False)
    absent.remember(Manifest("models"), b"text")
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_not_written_through(known: Meanings, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (known.store / FOLDER).symlink_to(tmp_path / "other")
    known.remember(Manifest("models"), b"text")
    assert list((tmp_path / "other").iterdir()) == []


def test_a_manifest_that_was_read_once_needs_no_yaml_in_another_project(project: Project, gemmalock: Gemmalock) -> None:
    (project.folder / "weights").mkdir()
    (project.folder / "weights/a.bin").write_bytes(b"a")
    project.write_manifest("version: 1\nmodels:\n  m:\n    source: file://weights\n    files: [a.bin]\n")
    assert gemmalock("sync").code == 0
    project.lock.unlink()
    code = (
        "import sys\nfrom gemmalock.cli import main\n"
        "try:\n    main(['lock'])\n"
        "finally:\n    assert not {'yaml', 'jsonschema'} & set(sys.modules), 'it was read anew'\n"
    )
    watched = replace(gemmalock, program=(sys.executable, "-c", code))
    assert watched().code == 0

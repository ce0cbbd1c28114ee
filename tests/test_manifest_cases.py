"""The conformance cases of the manifest format, every one: manifest/cases/valid and manifest/cases/invalid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gemmalock.codec.manifest import read_manifest
from gemmalock.errors import ManifestInvalid

CASES = Path(__file__).parent.parent / "manifest" / "cases"
VALID = sorted((CASES / "valid").glob("*.yaml"))
INVALID = sorted((CASES / "invalid").glob("*.yaml"))


def _named(path: Path) -> str:
    return path.stem


def _comments(text: bytes) -> list[str]:
    lines = text.decode("utf-8-sig").splitlines()
    return [line[2:] for line in lines if line.startswith("# ")]


@pytest.mark.parametrize("case", VALID, ids=_named)
def test_a_valid_case_means_what_it_declares(case: Path) -> None:
    text = case.read_bytes()
    what, declared = _comments(text)[:2]
    assert what.startswith("valid: ")
    assert f"declared: {read_manifest(text, case.name).declared}" == declared


@pytest.mark.parametrize("case", INVALID, ids=_named)
def test_an_invalid_case_has_the_problems_that_it_expects_and_no_others(case: Path) -> None:
    text = case.read_bytes()
    expected = [
        (int(found[1]), int(found[2]), found[3])
        for line in _comments(text)
        if (found := re.fullmatch(r"expect: (\d+):(\d+) (.+)", line))
    ]
    with pytest.raises(ManifestInvalid) as caught:
        read_manifest(text, case.name)
    said = [(problem.line, problem.column, problem.message) for problem in caught.value.problems]
    assert len(said) == len(expected), said
    for (line, column, message), (wanted_line, wanted_column, part) in zip(said, expected, strict=True):
        assert (line, column) == (wanted_line, wanted_column), message
        assert part in message


@pytest.mark.parametrize("case", INVALID, ids=_named)
def test_an_excerpt_is_the_line_and_a_caret_and_nothing_that_drives_a_terminal(case: Path) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        read_manifest(case.read_bytes(), case.name)
    for problem in caught.value.problems:
        shown = f"{problem.path}{problem.message}{problem.hint}{problem.excerpt}".replace("\n", "")
        assert shown.isprintable()
        if problem.excerpt:
            line, caret = problem.excerpt.split("\n")
            assert line
            assert caret.strip() == "^"


def test_there_are_enough_cases_of_both_kinds() -> None:
    assert len(VALID) >= 20
    assert len(INVALID) >= 60


def test_the_same_meaning_in_another_order_has_the_same_declared() -> None:
    first, second = (read_manifest((CASES / "valid" / name).read_bytes(), name) for name in _TWINS)
    assert first.declared == second.declared


_TWINS = ("contract.yaml", "key-order.yaml")

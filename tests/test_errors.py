"""The error tree: what the docstring draws is what there is, and every leaf has a code, an exit code and a cure."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterator

import pytest

from gemmalock import errors
from gemmalock.errors import FileError, Gated, GemmalockError, InputError, Problem, Unauthorized, disk_error
from gemmalock.outcome import ExitCode
from tests.guard import CHECKOUT

SCHEMA = json.loads((CHECKOUT / "schemas/report.v1.schema.json").read_text())
FILE_CODES = set(SCHEMA["$defs"]["file"]["properties"]["error"]["properties"]["code"]["enum"])


def below(kind: type[GemmalockError]) -> Iterator[type[GemmalockError]]:
    """A class and all classes below it, of the module."""
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from below(child)


EVERY = sorted(set(below(GemmalockError)), key=lambda kind: kind.__name__)


def test_the_drawn_tree_names_every_class() -> None:
    drawn = set(re.findall(r"[A-Z][A-Za-z]+", (errors.__doc__ or "").split("Every error keeps")[0]))
    assert {kind.__name__ for kind in EVERY} <= drawn


def test_the_codes_of_file_errors_are_just_those_of_the_report() -> None:
    assert {kind.code for kind in EVERY if issubclass(kind, FileError)} == FILE_CODES


@pytest.mark.parametrize("kind", EVERY)
def test_every_error_has_a_code_and_an_exit_code_of_the_contract(kind: type[GemmalockError]) -> None:
    assert re.fullmatch(r"[a-z_]+", kind.code)
    assert kind.exit_code in {1, 2, 4, 5}
    assert (kind.exit_code == ExitCode.USAGE) == issubclass(kind, InputError)
    assert kind.__doc__


@pytest.mark.parametrize("kind", EVERY)
def test_every_error_keeps_its_words_and_takes_a_better_cure(kind: type[GemmalockError]) -> None:
    assert str(kind("cannot read `a`")) == "cannot read `a`"
    assert kind("x").hint == kind.default_hint
    assert kind("x", hint="do this").hint == "do this"
    assert kind("x", hint="").hint == ""


@pytest.mark.parametrize("kind", EVERY)
def test_standing_hints_are_lower_case_and_without_a_full_stop(kind: type[GemmalockError]) -> None:
    assert not kind.default_hint.endswith(".")
    assert kind.default_hint[:1] == kind.default_hint[:1].lower()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, errors.NoSpace),
        (errno.EDQUOT, errors.NoSpace),
        (errno.EFBIG, errors.NoSpace),
        (errno.EACCES, errors.PermissionRefused),
        (errno.EPERM, errors.PermissionRefused),
        (errno.EROFS, errors.PermissionRefused),
        (errno.ELOOP, errors.UnsafePath),
        (errno.EIO, errors.ReadWriteFailed),
        (errno.EMFILE, errors.ReadWriteFailed),
    ],
)
def test_an_error_of_the_system_becomes_one_of_ours(number: int, kind: type[FileError]) -> None:
    import os

    seen = disk_error(OSError(number, os.strerror(number)), "write `x`")
    assert type(seen) is kind
    assert seen.message == f"cannot write `x`: {os.strerror(number)}"


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("gemmalock.yaml", 3, 7, "is wrong"), "gemmalock.yaml:3:7: is wrong"),
        (Problem("GEMMALOCK_JOBS", 0, 0, "is wrong"), "GEMMALOCK_JOBS: is wrong"),
    ],
)
def test_a_problem_says_its_place(problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_an_input_error_keeps_every_problem_in_order() -> None:
    problems = [Problem("m", 1, 1, "a"), Problem("m", 2, 1, "b")]
    assert errors.ManifestInvalid("2 problems", problems=iter(problems)).problems == tuple(problems)


@pytest.mark.parametrize(
    "kind", [each for each in EVERY if issubclass(each, FileError)], ids=lambda kind: kind.__name__
)
def test_an_error_in_other_words_is_the_same_error(kind: type[FileError]) -> None:
    told = kind("it failed", hint="do this").reworded("it failed again")
    assert (type(told), told.message, told.hint) == (kind, "it failed again", "do this")
    assert kind("it failed", hint="do this").reworded("x", "do that").hint == "do that"


def test_what_is_known_of_an_answer_stays_in_other_words() -> None:
    error = Unauthorized("it said 401", hint="x", after_seconds=3.0, may_have_expired=True)
    error.status, error.told, error.said, error.credential = 401, "GatedRepo", "Accept it", "HF_TOKEN"
    for told, kind in ((error.reworded("so"), Unauthorized), (error.reworded("so", "then", Gated), Gated)):
        assert type(told) is kind
        assert (told.status, told.told, told.said, told.credential) == (401, "GatedRepo", "Accept it", "HF_TOKEN")
        assert (told.after_seconds, told.may_have_expired) == (3.0, True)

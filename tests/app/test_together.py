"""What a run came to in several projects, named from one folder and added up."""

from __future__ import annotations

import pytest

from gemmalock.app.together import Ended, Vantage, together
from gemmalock.outcome import ErrorNote, ExitCode, LockChange, ProjectEnd, Pruned, Report, StrayKept, gravest

A, B = Vantage("/yard", "/yard/apps/a"), Vantage("/yard", "/other/b")


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("gemmalock.yaml", "apps/a/gemmalock.yaml"),
        ("gemmalock.yaml::m::x/y.gguf", "apps/a/gemmalock.yaml::m::x/y.gguf"),
        ("in/gemmalock.yaml::m", "apps/a/in/gemmalock.yaml::m"),
        ("models/m/x.gguf", "apps/a/models/m/x.gguf"),
    ],
)
def test_a_name_leads_from_where_the_run_began(name: str, there: str) -> None:
    assert A.name(name) == there
    assert B.name(name) == there.replace("apps/a", "../other/b")


@pytest.mark.parametrize(
    ("place", "there"),
    [
        ("gemmalock.yaml:12:5", "apps/a/gemmalock.yaml:12:5"),
        ("in/gemmalock.yaml:12:5", "apps/a/in/gemmalock.yaml:12:5"),
        ("gemmalock.lock", "apps/a/gemmalock.lock"),
        ("pyproject.toml:3:1", "apps/a/pyproject.toml:3:1"),
        ("gemmalock.toml", "apps/a/gemmalock.toml"),
        ("GEMMALOCK_JOBS", "GEMMALOCK_JOBS"),
        ("--jobs", "--jobs"),
        ("", "apps/a"),
    ],
)
def test_what_is_wrong_has_a_place_in_the_project_or_none(place: str, there: str) -> None:
    assert A.place(place) == there


def test_a_member_is_named_from_a_folder_in_its_workspace() -> None:
    assert Vantage("/yard/apps", "/yard").name("apps/a/gemmalock.yaml::m") == "a/gemmalock.yaml::m"


def test_reports_become_one() -> None:
    wrong, variable = ErrorNote("manifest", "no", place="gemmalock.yaml:1:1"), ErrorNote("setting", "no", place="X")
    one = Report(
        "sync",
        ExitCode.FAILED,
        pruned=(Pruned("models/x", 3, "trash"),),
        strays_kept=(StrayKept("models/y", "git tracks it"),),
        lock=LockChange("gemmalock.lock", changed=True),
        errors=(wrong, variable),
        warnings=("beware",),
        facts=(("collected", ["gemmalock.yaml::m::x"]), ("bytes", 3), ("dry_run", True),
               ("shared", [{"source": "s", "models": ["gemmalock.yaml::m"]}])),
    )  # fmt: skip
    whole = together("sync", [Ended(A, one), Ended(B, one), Ended(B, Report("sync", ExitCode.OK))], 1.5)
    assert whole == Report(
        "sync",
        ExitCode.FAILED,
        pruned=(Pruned("apps/a/models/x", 3, "trash"), Pruned("../other/b/models/x", 3, "trash")),
        strays_kept=(
            StrayKept("apps/a/models/y", "git tracks it"), StrayKept("../other/b/models/y", "git tracks it")
        ),
        seconds=1.5,
        errors=(
            ErrorNote("manifest", "no", place="apps/a/gemmalock.yaml:1:1"),
            variable,
            ErrorNote("manifest", "no", place="../other/b/gemmalock.yaml:1:1"),
        ),
        warnings=("apps/a: beware", "../other/b: beware"),
        facts=(
            ("collected", ["apps/a/gemmalock.yaml::m::x", "../other/b/gemmalock.yaml::m::x"]),
            ("bytes", 6),
            ("dry_run", True),
            ("shared", [{"source": "s", "models": ["apps/a/gemmalock.yaml::m"]},
                        {"source": "s", "models": ["../other/b/gemmalock.yaml::m"]}]),
        ),
        projects=(
            ProjectEnd("apps/a", ExitCode.FAILED, LockChange("apps/a/gemmalock.lock", changed=True)),
            ProjectEnd("../other/b", ExitCode.FAILED, LockChange("../other/b/gemmalock.lock", changed=True)),
            ProjectEnd("../other/b", ExitCode.OK, None),
        ),
    )  # fmt: skip
    assert whole.locks_written == 2


@pytest.mark.parametrize(
    ("codes", "whole"),
    [
        ("", ExitCode.OK),
        ("00", ExitCode.OK),
        ("05", ExitCode.NOTHING_COLLECTED),
        ("51", ExitCode.FAILED),
        ("14", ExitCode.USAGE),
        ("43", ExitCode.INTERNAL),
        ("32", ExitCode.INTERRUPTED),
    ],
)
def test_the_gravest_code_is_the_wholes(codes: str, whole: ExitCode) -> None:
    assert gravest(ExitCode(int(code)) for code in codes) is whole
    assert gravest(ExitCode(int(code)) for code in reversed(codes)) is whole


def test_every_exit_code_has_its_gravity() -> None:
    assert {gravest([code]) for code in ExitCode} == set(ExitCode)

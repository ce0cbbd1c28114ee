"""`-r` and `--durations`: what a run says at its end because it was asked."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from gemmalock.cli.closing import GROUPS, expanded, short_summary, slowest
from gemmalock.outcome import ErrorNote, ExitCode, Outcome, Pruned, Report, StrayKept
from gemmalock.settings.values import SUMMARY_KINDS
from tests.cli.conftest import Shop
from tests.cli.test_loudness import failed, outcome_of

REPORT = Report(
    "sync",
    ExitCode.FAILED,
    (
        outcome_of("done", Outcome.DONE, seconds=1.25),
        outcome_of("planned", Outcome.PLANNED, verb="NOT BEGUN"),
        outcome_of("skipped", Outcome.SKIPPED),
        failed("failed", "no such file"),
        outcome_of("cancelled", Outcome.CANCELLED),
    ),
    pruned=(Pruned("models/old", 5, "trash"),),
    strays_kept=(StrayKept("models/mine", "git tracks it"),),
    errors=(ErrorNote("manifest", "two roots", place="gemmalock.yaml:3:1"),),
)
#: A kind → how its lines begin.
LINES = {
    "f": ["FAILED  gemmalock.yaml::gemma::failed  no such file"],
    "E": ["ERROR  gemmalock.yaml:3:1: two roots"],
    "s": ["UP TO DATE  gemmalock.yaml::gemma::skipped"],
    "c": ["CANCELLED  gemmalock.yaml::gemma::cancelled"],
    "d": ["DOWNLOADED  gemmalock.yaml::gemma::done", "NOT BEGUN  gemmalock.yaml::gemma::planned"],
    "p": ["PRUNED  models/old  5 B to trash"],
    "k": ["KEPT  models/mine  git tracks it"],
}


def told(kinds: str) -> list[str]:
    """The lines that `-r` gives of REPORT."""
    return [f"{verb}  {rest}" for verb, rest, _ in short_summary(REPORT, kinds)]


def test_every_kind_has_lines_or_stands_for_others() -> None:
    assert LINES.keys() | GROUPS.keys() == SUMMARY_KINDS.keys()
    assert set("".join(GROUPS.values())) == set(LINES)
    assert set(GROUPS["A"]) == set(LINES)
    assert set(GROUPS["a"]) == set(LINES) - {"s", "d"}


@pytest.mark.parametrize("kind", LINES)
def test_a_kind_shows_its_own_and_nothing_else(kind: str) -> None:
    lines = told(kind)
    assert len(lines) == len(LINES[kind])
    assert all(line.startswith(begin) for line, begin in zip(lines, LINES[kind], strict=True))


@pytest.mark.parametrize(
    ("kinds", "meant"),
    [("", ""), ("fE", "fE"), ("ff", "f"), ("A", GROUPS["A"]), ("fN", ""), ("fNs", "s"), ("as", GROUPS["a"] + "s")],
)
def test_kinds_are_told_in_their_order_and_once(kinds: str, meant: str) -> None:
    assert expanded(kinds) == meant
    assert told(kinds) == [line for kind in meant for line in told(kind)]


def test_an_unknown_kind_is_a_usage_error_that_names_the_known_ones(shop: Shop) -> None:
    done = shop.here("sync", "-r", "fx")
    assert done.code == 4
    assert done.err.startswith("error: `-r` has no kind `x`; there are `f` failed, `E` errors of the run, ")
    (shop.project.folder / "gemmalock.toml").write_text('summary = "x"\n')
    done = shop.here("sync")
    assert done.code == 4
    assert "error: gemmalock.toml:1:1: `summary` has no kind `x`" in done.err


def test_the_short_summary_stands_right_before_the_summary_line(shop: Shop) -> None:
    shop.here("lock")
    del shop.server.files["/model.gguf"]
    lines = shop.here("sync", "-q", "-r", "df").out.splitlines()
    assert lines[1:3] == [
        "== short summary ==",
        "LINKED  gemmalock.yaml::gemma::tokenizer.json  18 B",
    ]
    assert lines[3].startswith("FAILED  gemmalock.yaml::gemma::model.gguf  ")
    assert lines[4].startswith("== 1 linked, 1 failed in ")
    assert "short summary" not in shop.here("sync").out


def test_a_short_summary_without_a_line_is_none(shop: Shop) -> None:
    shop.here("sync")
    assert len(shop.here("sync", "-r", "afpkcE").out.splitlines()) == 1
    assert [line.split("  ")[0] for line in shop.here("sync", "-rs").out.splitlines()[1:3]] == ["UP TO DATE"] * 2


def test_prune_tells_what_went(shop: Shop) -> None:
    shop.here("sync")
    (shop.project.folder / "models/notes.txt").write_text("mine")
    lines = shop.here("prune", "-q", "-rp").out.splitlines()
    assert lines[:2] == ["== short summary ==", "PRUNED  models/notes.txt  4 B to trash"]


# --- durations ---------------------------------------------------------------------------------------------


def test_the_slowest_come_first_and_those_that_took_nothing_are_counted() -> None:
    report = replace(REPORT, files=(*REPORT.files, outcome_of("slow", Outcome.DONE, seconds=12.5)))
    slow, done = "12.50s  gemmalock.yaml::gemma::slow", "1.25s  gemmalock.yaml::gemma::done"
    hidden = "(3 below 0.005s are hidden; `-vv` shows them)"
    assert slowest(report, 0) == [slow, done, hidden]
    assert slowest(report, 1) == [slow]
    assert len(slowest(report, 0, all=True)) == 5
    assert slowest(replace(REPORT, files=(outcome_of("skipped", Outcome.SKIPPED),)), 0) == []


@pytest.mark.parametrize("command", [("lock",), ("sync",), ("verify",)])
def test_durations_are_told_of_every_command_that_works_on_files(shop: Shop, command: tuple[str, ...]) -> None:
    if command == ("verify",):
        shop.here("sync")
    lines = shop.here(*command, "--durations", "1", "-vv").out.splitlines()
    place = lines.index("== slowest 1 files ==")
    assert re.fullmatch(r"\d+\.\d\ds  gemmalock\.yaml::gemma::[a-z.]+", lines[place + 1])
    assert lines[place + 2].startswith("== ")


def test_a_sync_with_nothing_to_do_has_no_durations(shop: Shop) -> None:
    shop.here("sync")
    assert len(shop.here("sync", "--durations", "0").out.splitlines()) == 1


@pytest.mark.parametrize("value", ["-1", "many", "1.5"])
def test_durations_are_a_number_of_files(shop: Shop, value: str) -> None:
    done = shop.here("sync", "--durations", value)
    assert done.code == 4
    assert "error: `--durations` must be a whole number of at least 0" in done.err

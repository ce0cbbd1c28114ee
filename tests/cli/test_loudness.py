"""What a run says at each verbosity: a header, a line or a letter a file, what went wrong, the summary."""

from __future__ import annotations

import json
import platform
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gemmalock import __version__
from gemmalock.cli import opening
from gemmalock.cli.page import Page
from gemmalock.cli.render import letter
from gemmalock.errors import NotFound, PermissionRefused
from gemmalock.outcome import ErrorNote, ExitCode, FileOutcome, Outcome, Report
from tests.cli.conftest import Shop
from tests.guard import CHECKOUT
from tests.running import Gemmalock, Project

MODEL = "gemmalock.yaml::gemma::model.gguf"


def outcome_of(name: str, outcome: Outcome, **rest: Any) -> FileOutcome:
    """What came of the file `name` of the model `gemma`."""
    values: dict[str, Any] = {
        "id": f"gemmalock.yaml::gemma::{name}", "model": "gemma", "path": f"models/gemma/{name}", "task_id": None,
        "size": 7, "sha256": None, "resume_status": None, "reason": "", "action": None, "outcome": outcome,
        "verb": {Outcome.DONE: "DOWNLOADED", Outcome.SKIPPED: "UP TO DATE"}.get(outcome, outcome.name),
    }  # fmt: skip
    return FileOutcome(**values | rest)


def failed(name: str, message: str, hint: str = "", *notes: str) -> FileOutcome:
    """A file that failed."""
    return outcome_of(name, Outcome.FAILED, error=ErrorNote("not_found", message, hint), notes=notes)


# --- the header --------------------------------------------------------------------------------------------


def test_the_header_says_who_runs_and_on_what(shop: Shop) -> None:
    shop.here("lock")
    lines = shop.here("sync", "-v").out.splitlines()
    assert lines[:3] == [
        f"gemmalock {__version__}, Python {platform.python_version()}, {sys.platform}",
        f"root: {shop.project.folder}",
        "manifests: gemmalock.yaml",
    ]
    assert re.fullmatch(r"store: /.+", lines[3])
    assert {line.split("  ")[0] for line in lines[4:6]} == {"DOWNLOADED", "LINKED"}


@pytest.mark.parametrize("command", ["sync", "status", "verify", "lock", "prune"])
def test_every_run_has_its_header_with_v_and_none_without(shop: Shop, command: str) -> None:
    shop.here("sync")
    assert shop.here(command, "-v").out.startswith("gemmalock ")
    assert "gemmalock 0" not in shop.here(command).out


@pytest.mark.parametrize("command", [["path", "gemma"], ["list"], ["tree"], ["cache", "dir"]])
def test_data_on_standard_output_has_no_header(shop: Shop, command: list[str]) -> None:
    shop.here("sync")
    assert shop.here(*command, "-v").out == shop.here(*command).out


def test_the_header_of_a_workspace_counts_what_it_does_not_name(shop: Shop) -> None:
    shop.project.write_manifest('version: 1\nworkspace: {members: ["apps/*"]}\n')
    for number in range(6):
        shop.project.write_manifest("version: 1\nmodels: {}\n", f"apps/{number}")
    (line,) = [line for line in shop.here("lock", "-v").out.splitlines() if line.startswith("manifests: ")]
    named = ", ".join(f"apps/{number}/gemmalock.yaml" for number in range(5))
    assert line == f"manifests: {named} and 2 more"


def test_a_header_keeps_nobody_from_the_error_of_a_run(shop: Shop) -> None:
    shop.project.write_manifest("version: 1\nmodels: {\n")
    done = shop.here("lock", "-v")
    assert done.code == 4
    assert "error: " in done.err


def test_the_header_names_the_plugins_that_are_on(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.here("lock")
    assert "plugins:" not in shop.here("status", "-v").out
    plugins = SimpleNamespace(names=("torrents", "zips"))
    monkeypatch.setattr(opening, "plugins_of", lambda settings: plugins)
    assert shop.here("status", "-v").out.splitlines()[4] == "plugins: torrents, zips"


def test_with_json_the_header_leaves_standard_output_alone(shop: Shop) -> None:
    done = shop.here("sync", "-v", "--json")
    assert done.json()["exit_code"] == 0
    assert done.err.startswith("gemmalock ")


# --- letters -----------------------------------------------------------------------------------------------


def test_every_outcome_has_a_letter_of_its_own() -> None:
    assert len({letter(outcome)[0] for outcome in Outcome}) == len(Outcome)


def test_quiet_is_a_letter_a_file_and_the_summary(shop: Shop) -> None:
    shop.here("lock")
    del shop.server.files["/model.gguf"]
    done = shop.here("sync", "-q")
    letters, summary = done.out.splitlines()
    assert sorted(letters) == [".", "F"]
    assert summary.startswith("== 1 linked, 1 failed in ")
    assert shop.here("status", "-q").out.splitlines()[0] == "w"


@pytest.mark.parametrize("flags", [[], ["-q"]])
def test_a_sync_with_nothing_to_do_prints_only_its_summary_line(shop: Shop, flags: list[str]) -> None:
    shop.here("sync")
    done = shop.here("sync", *flags)
    assert re.fullmatch(r"== 2 up to date in \d+\.\d\ds ==\n", done.out)
    assert done.err == ""


@pytest.mark.parametrize("together", [[1] * 23, [23], [10, 10, 3], [4, 16, 3]])
def test_letters_fill_lines_as_wide_as_the_terminal(
    together: list[int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    page = Page(verbosity=-1)
    for count in together:
        page.outcomes([outcome_of("x", Outcome.DONE)] * count)
    page.line("the end")
    assert capsys.readouterr().out == f"{'.' * 10}\n{'.' * 10}\n...\nthe end\n"


def test_lines_that_are_told_together_are_those_that_are_told_alone(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = [outcome_of(f"x{number}", outcome) for number, outcome in enumerate(Outcome)]
    Page(color=True).outcomes(outcomes)
    together = capsys.readouterr().out
    for outcome in outcomes:
        Page(color=True).outcomes([outcome])
    assert capsys.readouterr().out == together
    # All but what was skipped.
    assert together.count("\n") == len(Outcome) - 1


def test_a_line_of_letters_ends_before_anything_else_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    page = Page(verbosity=-1, json=True)
    page.outcomes([outcome_of("x", Outcome.DONE)])
    page.warning("it rains")
    page.outcomes([outcome_of("y", Outcome.CANCELLED)])
    page.report(Report("sync", ExitCode.OK))
    page.summary(Report("sync", ExitCode.OK))
    assert capfd.readouterr().err == ".\nwarning: it rains\nc\n== nothing to do in 0.00s ==\n"


def test_letters_and_events_do_not_share_a_line(shop: Shop) -> None:
    shop.here("lock")
    done = shop.here("sync", "-q", "--json", "--progress", "json")
    events = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    assert [event["outcome"] for event in events if event["event"] == "finished"] == ["done", "done"]
    assert set("".join(line for line in done.err.splitlines() if line[0] not in "{=")) == {"."}


def test_very_quiet_says_what_went_wrong_and_nothing_else(shop: Shop) -> None:
    assert (shop.here("sync", "-qq").out, shop.here("sync", "-qq").err) == ("", "")
    (shop.project.folder / "models/gemma/model.gguf").unlink()
    done = shop.here("verify", "-qq")
    assert (done.code, done.out) == (1, "")
    assert [line.split(":")[0] for line in done.err.splitlines()] == ["error", "hint"]


def test_twice_verbose_says_task_and_seconds(shop: Shop) -> None:
    shop.here("lock")
    line = next(line for line in shop.here("sync", "-vv").out.splitlines() if line.startswith("DOWNLOADED"))
    assert re.search(r"sha256 [0-9a-f]{64}  task [0-9a-f-]{36}  in \d+\.\d\ds$", line)


# --- what went wrong ---------------------------------------------------------------------------------------


def test_failures_stand_together_at_the_end_and_say_each_thing_once(capsys: pytest.CaptureFixture[str]) -> None:
    cure = "check the URL"
    files = (
        failed("a", "no such file", cure, "the mirror had none either", "the mirror had none either", "no such file"),
        outcome_of("b", Outcome.DONE),
        failed("c", "the disk is full", "free some space"),
        failed("d", "no such file", cure),
        failed("e", "nobody knows"),
    )
    errors = (ErrorNote("io_error", "a ledger would not be written", "free some space"),)
    Page().failures(Report("sync", ExitCode.FAILED, files, errors=errors))
    assert capsys.readouterr().err.splitlines() == [
        "== failures ==",
        "error: gemmalock.yaml::gemma::a: no such file",
        "note: the mirror had none either",
        "error: gemmalock.yaml::gemma::d: no such file",
        "hint: check the URL",
        "error: gemmalock.yaml::gemma::c: the disk is full",
        "error: a ledger would not be written",
        "hint: free some space",
        "error: gemmalock.yaml::gemma::e: nobody knows",
    ]


def test_what_was_tried_is_told_with_the_failure_and_not_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("sync", ExitCode.FAILED, (failed("a", "no such file", "look", "tried twice"),))
    page = Page()
    page.outcomes(report.files[:1])
    page.failures(report)
    caught = capsys.readouterr()
    assert (caught.out + caught.err).count("tried twice") == 1
    assert "note: tried twice" in caught.err


def test_without_a_failed_file_there_is_no_section(capsys: pytest.CaptureFixture[str]) -> None:
    error = ErrorNote.of(PermissionRefused("cannot write"))
    Page().failures(Report("sync", ExitCode.FAILED, (outcome_of("a", Outcome.DONE),), errors=(error,)))
    assert capsys.readouterr().err == "error: cannot write\n"


def test_the_section_comes_before_the_summary_and_on_standard_error(shop: Shop, tmp_path: Path) -> None:
    shop.here("lock")
    del shop.server.files["/model.gguf"]
    done = shop.here("sync")
    assert "failures" not in done.out
    title, error, hint = done.err.splitlines()
    assert title == "== failures =="
    assert error.startswith(f"error: {MODEL}: ")
    assert hint == f"hint: {NotFound.default_hint}"


def test_the_session_of_the_guide_is_what_happens(project: Project, gemmalock: Gemmalock) -> None:
    project.write_manifest("version: 1\nmodels: {gemma: {source: file://weights, files: ['*']}}\n")
    (project.folder / "weights").mkdir()
    for name, size in (("model.gguf", 20), ("tokenizer.json", 5)):
        (project.folder / "weights" / name).write_bytes(bytes(size))
    assert gemmalock("lock").code == 0
    guide = (CHECKOUT / "docs/output.md").read_text("utf-8")
    (session,) = re.findall(r"```console\n(.*?)```", guide, re.DOTALL)
    for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", session, re.MULTILINE):
        program, *words = command.split()
        if program == "rm":
            (project.folder / words[0]).unlink()
            continue
        done = gemmalock(*words)
        said, wanted = (re.sub(r"\d+\.\d\ds ==", "0.00s ==", text) for text in (done.out + done.err, expected))
        assert sorted(said.splitlines()) == sorted(wanted.splitlines()), command

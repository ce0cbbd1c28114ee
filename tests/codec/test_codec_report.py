"""The report as JSON: the shape of the contract, and a schema that describes it exactly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gemmalock import errors
from gemmalock.codec.report_json import report_problems, write_report
from gemmalock.errors import FileError
from gemmalock.outcome import ErrorNote, ExitCode, FileOutcome, LockChange, Outcome, Pruned, Report, StrayKept
from gemmalock.plan import Action, ResumeStatus
from gemmalock.resources import schema_text

DIGEST = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
FILE = FileOutcome(
    id="gemmalock.yaml::gemma::gemma.gguf",
    model="gemma",
    path="models/gemma/gemma.gguf",
    task_id="cd6cc49b-a92f-5e55-be4a-db1bed7583e3",
    size=253115392,
    sha256=DIGEST,
    resume_status=ResumeStatus.CAN_RESUME,
    reason="125829120 of 253115392 bytes are here, and the lock has their digest",
    action=Action.RESUME,
    outcome=Outcome.DONE,
    bytes_kept=125829120,
    bytes_fetched=127286272,
    seconds=1.23456,
    verb="RESUMED",
)
REPORT = Report(
    command="sync",
    exit_code=ExitCode.OK,
    files=(FILE,),
    pruned=(Pruned("models/old/x.gguf", 123, "trash"),),
    strays_kept=(StrayKept("models/notes.txt", "git tracks it"),),
    lock=LockChange("gemmalock.lock", False),
    seconds=1.3,
)


def test_the_report_is_that_of_the_contract() -> None:
    assert json.loads(write_report(REPORT)) == {
        "report_version": 1,
        "command": "sync",
        "exit_code": 0,
        "files": [
            {
                "id": "gemmalock.yaml::gemma::gemma.gguf",
                "model": "gemma",
                "path": "models/gemma/gemma.gguf",
                "task_id": "cd6cc49b-a92f-5e55-be4a-db1bed7583e3",
                "size": 253115392,
                "sha256": DIGEST,
                "resume_status": "can_resume",
                "reason": "125829120 of 253115392 bytes are here, and the lock has their digest",
                "action": "resume",
                "outcome": "done",
                "bytes_kept": 125829120,
                "bytes_fetched": 127286272,
                "seconds": 1.235,
                "error": None,
            }
        ],
        "pruned": [{"path": "models/old/x.gguf", "size": 123, "to": "trash"}],
        "strays_kept": [{"path": "models/notes.txt", "reason": "git tracks it"}],
        "lock": {"path": "gemmalock.lock", "changed": False},
        "errors": [],
        "warnings": [],
        "facts": {},
        "summary": {
            "done": 1,
            "skipped": 0,
            "planned": 0,
            "failed": 0,
            "cancelled": 0,
            "pruned": 1,
            "bytes_fetched": 127286272,
            "seconds": 1.3,
        },
    }


def _reports() -> Iterator[Report]:
    yield REPORT
    yield Report("list", ExitCode.OK)
    yield replace(REPORT, lock=None, warnings=("one",), facts=(("objects", 3), ("rows", [{"a": None}])))
    yield replace(REPORT, errors=(ErrorNote("manifest", "unknown key `x`", "did you mean `y`?", "gemmalock.yaml:1:2"),))
    for outcome in Outcome:
        yield replace(REPORT, files=(replace(FILE, outcome=outcome),))
    for status in (*ResumeStatus, None):
        yield replace(REPORT, files=(replace(FILE, resume_status=status),))
    for action in (*Action, None):
        yield replace(REPORT, files=(replace(FILE, action=action),))
    yield replace(REPORT, files=(replace(FILE, size=None, sha256=None, task_id=None),))


@pytest.mark.parametrize("report", list(_reports()))
def test_every_report_fits_its_schema(report: Report) -> None:
    assert report_problems(write_report(report)) == []


def _file_errors(error: type[FileError] = FileError) -> Iterator[type[FileError]]:
    yield error
    for below in error.__subclasses__():
        yield from _file_errors(below)


@pytest.mark.parametrize("error", list(_file_errors()))
def test_every_error_of_a_file_has_a_code_of_the_contract(error: type[FileError]) -> None:
    note = ErrorNote.of(error("it went wrong"))
    report = replace(REPORT, files=(replace(FILE, outcome=Outcome.FAILED, error=note),))
    assert report_problems(write_report(report)) == []


def test_every_code_of_the_schema_is_one_that_an_error_has() -> None:
    schema = json.loads(schema_text("report.v1.schema.json"))
    codes = schema["$defs"]["file"]["properties"]["error"]["properties"]["code"]["enum"]
    assert set(codes) == {error.code for error in _file_errors()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"extra": 1}, "unknown key `extra`"),
        ({"report_version": 2}, "must be 1"),
        ({"exit_code": "0"}, "/exit_code"),
        ({"exit_code": 6}, "at most 5"),
        ({"files": [{}]}, "/files/0: `id` is missing"),
        ({"summary": {}}, "/summary: `done` is missing"),
        ({"lock": "gemmalock.lock"}, "/lock"),
        ({"errors": [{"code": "No Code", "message": "", "hint": "", "place": ""}]}, "/errors/0/code"),
    ],
)
def test_what_is_no_report_does_not_fit(change: dict[str, object], said: str) -> None:
    text = json.dumps(json.loads(write_report(REPORT)) | change)
    assert any(said in problem for problem in report_problems(text)), report_problems(text)


def test_what_is_to_be_noted_of_a_file_is_in_its_reason() -> None:
    noted = replace(FILE, reason="nothing is here yet", notes=("the server sent it from zero: 12 bytes were lost",))
    (file,) = json.loads(write_report(replace(REPORT, files=(noted,))))["files"]
    assert file["reason"] == "nothing is here yet; the server sent it from zero: 12 bytes were lost"


def test_a_report_drives_no_terminal() -> None:
    nasty = replace(FILE, id="\x1b]0;x\x07\u202e\x9b", reason="größe")
    text = write_report(replace(REPORT, files=(nasty,)))
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    assert json.loads(text)["files"][0]["id"] == nasty.id


def test_the_error_tree_is_the_one_that_was_asked() -> None:
    assert set(_file_errors()) >= {errors.NotFound, errors.NoSpace, errors.Busy, errors.PolicyRefused}

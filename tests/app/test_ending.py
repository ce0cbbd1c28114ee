"""What goes wrong at the end of a run undoes no file: it is told beside what was done."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest

import gemmalock
from gemmalock.codec.report_json import report_problems, write_report
from gemmalock.errors import GemmalockError, Interrupted, StateTooNew
from gemmalock.registry import DiskRegistry
from tests.app.conftest import LARGE, SMALL, Desk
from tests.servers.fileserver import Content


def meanwhile(desk: Desk, act: Callable[[], object]) -> None:
    """Declare a file more, and lock; `act` happens while it is on its way."""
    desk.declare("small.json")
    desk.sync()
    desk.declare("small.json", "large.gguf")
    desk.lock(hash=True)
    shutil.rmtree(os.environ["GEMMALOCK_STORE"])
    (desk.project.folder / "models/mine").write_text("mine")
    tag = desk.server.files["/large.gguf"].etag_now()

    def acting() -> str | None:
        act()
        return tag

    desk.server.put("/large.gguf", Content(LARGE, etag=acting))


def all_told(report: gemmalock.Report, code: int, error: str) -> None:
    """The report has the files, what stays, and the error."""
    assert (int(report.exit_code), [note.code for note in report.errors]) == (code, [error])
    assert {file.id.rpartition("::")[2]: file.outcome.value for file in report.files} == {
        "large.gguf": "done",
        "small.json": "skipped",
    }
    assert report.bytes_fetched == len(LARGE)
    assert report_problems(write_report(report)) == []


@pytest.mark.parametrize("options", [{}, {"locked": True}, {"frozen": True}])
def test_a_lock_that_cannot_be_read_at_the_end_is_told_beside_what_was_done(
    desk: Desk, options: dict[str, Any]
) -> None:
    def replaced() -> None:
        desk.project.lock.unlink()
        desk.project.lock.mkdir()

    meanwhile(desk, replaced)
    report = desk.sync(**options)
    all_told(report, 1, "lock")
    assert report.pruned == ()
    assert [(stray.path, stray.reason) for stray in report.strays_kept] == [
        ("models/mine", "cannot read `gemmalock.lock`: Is a directory")
    ]


def test_a_ledger_that_a_newer_gemmalock_wrote_meanwhile_is_told_beside_what_was_done(desk: Desk) -> None:
    ledger = desk.project.folder / "models/.gemmalock/ledger.json"
    newer = json.dumps({"ledger_version": 99})
    meanwhile(desk, lambda: ledger.write_text(newer))
    report = desk.sync()
    all_told(report, 1, "state")
    assert [stray.reason for stray in report.strays_kept] == ["a run in which something failed prunes nothing"]
    assert ledger.read_text() == newer


@pytest.mark.parametrize(("error", "code"), [(Interrupted("interrupted"), 2), (StateTooNew("newer"), 1)])
def test_what_ends_the_tidying_is_told_beside_what_was_done(
    desk: Desk, error: GemmalockError, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile(desk, lambda: None)

    def begun(registry: DiskRegistry, task_ids: frozenset[str]) -> frozenset[str]:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(DiskRegistry, "begun", begun)
        report = desk.sync()
    all_told(report, code, error.code)
    assert [gone.path for gone in report.pruned] == ["models/mine"]
    assert not any("not pruning" in warning for warning in report.warnings)
    assert desk.sync().ok
    assert (desk.project.folder / "models/m/small.json").read_bytes() == SMALL

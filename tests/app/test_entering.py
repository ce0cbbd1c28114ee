"""A root whose lock another process holds: a sync waits for a while, says for what, and ends."""

from __future__ import annotations

import fcntl
from dataclasses import dataclass, field

import pytest

from gemmalock.app.session import Call, begin
from gemmalock.app.syncing import Sync, SyncOptions
from gemmalock.app.wiring import Silence
from gemmalock.outcome import Report
from gemmalock.stopping import Stop
from tests.app.conftest import Desk


@dataclass
class Waiting(Silence):
    """A reporter that keeps what is waited for, and loses its patience with what goes on and on."""

    stop: Stop
    reasons: list[str] = field(default_factory=list)

    def waiting(self, id: str, holder: str) -> None:
        self.reasons.append(holder)
        if len(self.reasons) > 3:
            self.stop.set()


def synced(desk: Desk, reporter: Waiting) -> Report:
    """A sync that is watched."""
    session = begin(Call(desk.project.folder, reporter=reporter, stop=reporter.stop))
    return Sync(session.workshop, session.papers, session.selection, SyncOptions()).run()


def test_a_root_whose_lock_is_not_let_go_of_is_busy(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemmalock.roots.book._LOCK_SECONDS", 0.0)
    monkeypatch.setattr("gemmalock.app.entering._QUIET_SECONDS", 0.0, raising=False)
    desk.declare("small.json")
    desk.sync()
    desk.declare("small.json", "large.gguf")
    desk.lock()
    (desk.project.folder / "models/mine").write_text("mine")
    desk.server.forget()
    with (desk.project.folder / "models/.gemmalock/lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        reporter = Waiting(Stop())
        report = synced(desk, reporter)
    assert reporter.reasons == ["another process holds the lock of this root"]
    assert report.exit_code == 1
    large, small = report.files
    assert (large.outcome.value, small.outcome.value) == ("failed", "skipped")
    assert large.error is not None
    assert (large.error.code, large.error.message) == (
        "busy",
        "another process has held the lock `models/.gemmalock/lock` for 0 s",
    )
    assert "run it again" in large.error.hint
    assert desk.server.requests == ()
    assert [stray.path for stray in report.strays_kept] == ["models/mine"]
    again = desk.sync()
    assert (again.exit_code, [gone.path for gone in again.pruned]) == (0, ["models/mine"])

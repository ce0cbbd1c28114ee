"""Pruning that is interrupted or goes wrong on its way: what was done until then is told, and so is what stays."""

from __future__ import annotations

from pathlib import Path

import pytest

import gemmalock
from gemmalock.app.caring import PruneOptions, run_prune
from gemmalock.app.papers import Papers
from gemmalock.app.pruning import Pruning, prune_roots
from gemmalock.app.session import Call, begin
from gemmalock.app.wiring import Workshop
from gemmalock.collect import Project as Collected
from gemmalock.errors import DiskError
from gemmalock.lockfile import Lock, LockedManifest
from gemmalock.machine import NOT_REACHED
from gemmalock.settings import Settings
from gemmalock.stopping import Stop
from gemmalock.store.disk import DiskStore
from tests.app.conftest import SMALL, Desk


def with_strays(desk: Desk) -> None:
    """A synced project in whose root are `a.bin` and `b.bin`, which sync put there and the lock no longer lists."""
    for name in ("a.bin", "b.bin"):
        desk.server.put(f"/{name}", SMALL + name.encode())
    desk.declare("small.json", "a.bin", "b.bin")
    desk.sync()
    desk.declare("small.json")
    desk.lock()


@pytest.mark.parametrize("command", ["sync", "prune"])
def test_an_interrupted_pruning_tells_what_it_took(desk: Desk, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_strays(desk)
    stop = Stop()
    holds = DiskStore.holds

    def stopping(store: DiskStore, sha256: str) -> bool:
        stop.set()
        return holds(store, sha256)

    with monkeypatch.context() as patch:
        patch.setattr(DiskStore, "holds", stopping)
        if command == "sync":
            report = desk.sync(stop=stop)
        else:
            session = begin(Call(desk.project.folder, stop=stop))
            report = run_prune(session.workshop, session.papers, session.selection, PruneOptions())
    assert report.exit_code is gemmalock.ExitCode.INTERRUPTED
    assert [gone.path for gone in report.pruned] == ["models/m/a.bin"]
    assert [(stray.path, stray.reason) for stray in report.strays_kept] == [("models/m/b.bin", NOT_REACHED)]
    assert [error.code for error in report.errors] == ["interrupted"]
    assert report.warnings == ()
    root = desk.project.folder / "models/m"
    assert sorted(path.name for path in root.iterdir()) == ["b.bin", "small.json"]
    again = desk.sync()
    assert ([gone.path for gone in again.pruned], again.exit_code) == (["models/m/b.bin"], 0)


def test_an_error_in_one_root_keeps_what_was_done_in_those_before(tmp_path: Path) -> None:
    names = ("a", "b", "c")
    lock = Lock(tuple(LockedManifest(f"{name}/gemmalock.yaml", "models", "sha256:" + "0" * 64, ()) for name in names))
    for name in names:
        (tmp_path / name / "models").mkdir(parents=True)
        (tmp_path / name / "models/mine").write_text(name)
    # A folder where the lock of the root should be.
    (tmp_path / "b/models/.gemmalock/lock").mkdir(parents=True)
    project = Collected(tmp_path)
    workshop = Workshop(project, Settings(), lock=lock)
    pruning = Pruning.of(workshop, lock.manifests, adopt=True, allow_empty=True)
    result = prune_roots(workshop, Papers(project, Settings()), pruning)
    assert [gone.path for gone in result.pruned] == ["a/models/mine"]
    assert isinstance(result.error, DiskError)
    assert [(stray.path, stray.reason) for stray in result.kept] == [
        ("b/models/mine", result.error.message),
        ("c/models/mine", NOT_REACHED),
    ]
    assert [(tmp_path / name / "models/mine").exists() for name in names] == [False, True, True]


def test_a_ledger_that_cannot_be_saved_after_pruning_is_told_beside_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_strays(desk)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gemmalock.roots.book.replace_at", full)
    report = desk.sync()
    assert (report.exit_code, [error.code for error in report.errors]) == (1, ["no_space"])
    assert [gone.path for gone in report.pruned] == ["models/m/a.bin", "models/m/b.bin"]
    assert not any("not pruning" in warning for warning in report.warnings)

"""`outdated` against real servers and folders: what moved upstream is told, and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gemmalock.app.outdating import run_outdated
from gemmalock.app.session import Call, begin
from gemmalock.codec.report_json import report_problems, write_report
from gemmalock.errors import LockMissing, ManifestInvalid, NothingCollected
from gemmalock.outcome import Report
from tests.app.conftest import LARGE, SMALL, Desk
from tests.servers.fileserver import Content


def outdated(folder: Path, *selectors: str, check: bool = False) -> Report:
    """`gemmalock outdated`, whose report fits its schema."""
    session = begin(Call(folder, selectors))
    try:
        report = run_outdated(session.workshop, session.papers, session.selection, check=check)
    finally:
        session.workshop.close()
    assert report_problems(write_report(report)) == []
    return report


def told(report: Report) -> dict[str, tuple[str, str]]:
    """Verb and outcome of each file, by model and name."""
    return {file.id.partition("::")[2]: (file.verb, file.outcome.value) for file in report.files}


def facts(report: Report) -> Any:
    """The facts as JSON has them."""
    return json.loads(write_report(report))["facts"]


UP_TO_DATE = ("UP TO DATE", "skipped")


def test_what_did_not_move_is_up_to_date(desk: Desk) -> None:
    desk.declare("large.gguf", "small.json")
    desk.lock()
    report = outdated(desk.project.folder, check=True)
    assert report.exit_code == 0
    assert told(report) == {"m::large.gguf": UP_TO_DATE, "m::small.json": UP_TO_DATE}
    assert not report.difference
    assert facts(report)["difference"] == {"manifests": [], "models": []}


@pytest.mark.parametrize("check", [False, True])
def test_what_moved_is_told_with_before_and_after_and_only_a_check_fails(desk: Desk, check: bool) -> None:
    desk.declare("large.gguf", "small.json")
    desk.lock()
    before = desk.project.lock.read_bytes(), desk.files["small.json"]
    desk.server.put("/small.json", Content(SMALL + b"\n"))
    report = outdated(desk.project.folder, check=check)
    assert report.exit_code == int(check)
    assert told(report) == {"m::large.gguf": UP_TO_DATE, "m::small.json": ("CHANGED", "planned")}
    (model,) = facts(report)["difference"]["models"]
    (file,) = model["files"]
    assert (file["change"], file["same_bytes"]) == ("changed", False)
    assert file["before"] == {"mirrors": [], **{name: value for name, value in before[1].items() if name != "name"}}
    assert file["after"]["size"] == len(SMALL) + 1
    assert facts(report)["changed"] == ["gemmalock.yaml::m::small.json"]
    assert desk.project.lock.read_bytes() == before[0]
    assert not (desk.project.folder / "models").exists()
    # And the upgrade does what was told.
    desk.lock(upgrade=True)
    assert desk.files["small.json"]["sha256"] == file["after"]["sha256"]
    assert outdated(desk.project.folder, check=True).ok


def test_a_file_with_another_tag_and_the_same_bytes_has_moved(desk: Desk) -> None:
    desk.declare("small.json")
    desk.lock()
    desk.server.put("/small.json", Content(SMALL, etag='"another"'))
    report = outdated(desk.project.folder)
    assert told(report) == {"m::small.json": ("MOVED", "planned")}
    assert report.difference is not None
    assert [file.same_bytes for file in report.difference.files] == [True]


def test_a_large_file_without_a_digest_is_told_by_its_tag_and_not_fetched(desk: Desk) -> None:
    desk.declare("large.gguf")
    desk.lock()
    desk.server.put("/large.gguf", Content(LARGE[::-1]))
    report = outdated(desk.project.folder)
    assert told(report) == {"m::large.gguf": ("CHANGED", "planned")}
    assert report.difference is not None
    (file,) = report.difference.files
    assert (file.same_bytes, [field.name for field in file.fields]) == (None, ["etag"])
    assert desk.server.bytes_served("/large.gguf") == 0


@pytest.fixture
def weights(desk: Desk) -> Path:
    """A folder of two files beside the manifest of `m`, which is all of it, and of `n`, which is on the server."""
    folder = desk.project.folder / "weights"
    folder.mkdir()
    for name in ("a.gguf", "b.gguf"):
        (folder / name).write_text(name)
    desk.project.write_manifest(
        "version: 1\nmodels:\n  m: {source: 'file://weights', files: ['*']}\n"
        f"  n: {{files: [{{url: '{desk.server.origin}/small.json'}}]}}\n"
    )
    desk.lock()
    return folder


def test_what_came_to_a_source_and_went_from_it_is_told(desk: Desk, weights: Path) -> None:
    (weights / "a.gguf").unlink()
    (weights / "c.gguf").write_text("c.gguf")
    report = outdated(desk.project.folder)
    assert told(report) == {
        "m::a.gguf": ("REMOVED", "planned"),
        "m::b.gguf": UP_TO_DATE,
        "m::c.gguf": ("ADDED", "planned"),
        "n::small.json": UP_TO_DATE,
    }
    assert (facts(report)["added"], facts(report)["removed"]) == (
        ["gemmalock.yaml::m::c.gguf"], ["gemmalock.yaml::m::a.gguf"],
    )  # fmt: skip


@pytest.mark.parametrize("selector", ["gemmalock.yaml::m", "gemmalock.yaml::m::b.gguf"])
def test_a_selection_asks_for_its_models_alone(desk: Desk, weights: Path, selector: str) -> None:
    (weights / "a.gguf").write_text("other")
    desk.server.put("/small.json", b"other")
    desk.server.forget()
    report = outdated(desk.project.folder, selector)
    assert told(report) == {"m::a.gguf": ("CHANGED", "planned"), "m::b.gguf": UP_TO_DATE}
    assert desk.server.requests == ()
    with pytest.raises(NothingCollected):
        outdated(desk.project.folder, "gemmalock.yaml::nothing")


def test_a_file_that_cannot_be_asked_for_fails_and_the_others_are_told(desk: Desk, weights: Path) -> None:
    del desk.server.files["/small.json"]
    (weights / "a.gguf").write_text("other")
    report = outdated(desk.project.folder)
    assert report.exit_code == 1
    assert told(report) == {
        "m::a.gguf": ("CHANGED", "planned"),
        "m::b.gguf": UP_TO_DATE,
        "n::small.json": ("FAILED", "failed"),
    }
    assert facts(report)["removed"] == []


def test_of_a_model_with_a_file_that_fails_the_others_are_told_and_nobody_is_asked_twice(desk: Desk) -> None:
    desk.declare("large.gguf", "small.json")
    desk.lock()
    del desk.server.files["/large.gguf"]
    desk.server.put("/small.json", b"other")
    desk.server.forget()
    report = outdated(desk.project.folder)
    assert told(report) == {"m::large.gguf": ("FAILED", "failed"), "m::small.json": ("CHANGED", "planned")}
    assert facts(report)["changed"] == ["gemmalock.yaml::m::small.json"]
    assert len(desk.server.gets("/small.json")) == 1


def test_a_source_that_is_gone_fails_and_none_of_its_files_is_taken_for_removed(desk: Desk, weights: Path) -> None:
    for file in weights.iterdir():
        file.unlink()
    weights.rmdir()
    desk.server.put("/small.json", b"other")
    report = outdated(desk.project.folder)
    assert report.exit_code == 1
    assert told(report)["n::small.json"] == ("CHANGED", "planned")
    assert (facts(report)["removed"], facts(report)["changed"]) == ([], ["gemmalock.yaml::n::small.json"])


def test_a_new_model_that_fails_has_nothing_else_to_tell(desk: Desk, weights: Path) -> None:
    text = desk.project.manifest.read_text()
    desk.project.write_manifest(f"{text}  o: {{files: [{{url: '{desk.server.origin}/nowhere'}}]}}\n")
    report = outdated(desk.project.folder)
    assert told(report)["o::nowhere"] == ("FAILED", "failed")
    assert not report.difference


def test_a_stale_lock_is_told_and_no_upstream_has_changed_a_root(desk: Desk, weights: Path) -> None:
    text = desk.project.manifest.read_text()
    desk.project.write_manifest(text.replace("version: 1\n", "version: 1\nroot: elsewhere\n"))
    report = outdated(desk.project.folder, check=True)
    assert report.ok
    assert report.warnings == ("the lock is stale: gemmalock.yaml: root is `elsewhere`, and `models` in the lock",)


def test_a_member_asks_for_what_is_its_own(desk: Desk) -> None:
    desk.project.write_manifest("version: 1\nworkspace: {members: ['apps/*']}\n")
    for name in ("chat", "search"):
        where = f"{desk.server.origin}/{'small.json' if name == 'chat' else 'large.gguf'}"
        desk.project.write_manifest(f"version: 1\nmodels: {{m: {{files: [{{url: '{where}'}}]}}}}\n", f"apps/{name}")
    desk.lock()
    desk.server.put("/small.json", b"other")
    desk.server.put("/large.gguf", b"other")
    desk.server.forget()
    report = outdated(desk.project.folder / "apps/chat")
    assert [file.id for file in report.files] == ["apps/chat/gemmalock.yaml::m::small.json"]
    assert desk.server.bytes_served("/large.gguf") == 0
    assert len(outdated(desk.project.folder).files) == 2


def test_without_a_lock_there_is_nothing_to_compare_with(desk: Desk) -> None:
    desk.declare("small.json")
    with pytest.raises(LockMissing):
        outdated(desk.project.folder)
    desk.project.write_manifest("version: 1\nmodles: {}\n")
    with pytest.raises(ManifestInvalid):
        outdated(desk.project.folder)

"""`lock` against real servers and folders: what is pinned, what is fetched for it, and when the file is written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gemmalock
from gemmalock.codec.lock_json import read_lock
from gemmalock.codec.report_json import write_report
from gemmalock.errors import RunRefused
from gemmalock.registry import DiskRegistry
from gemmalock.resolver import Resolution
from tests.app.conftest import LARGE, SMALL, Desk, errors_of
from tests.running import Gemmalock, Project
from tests.servers.fileserver import WEAK, Content, FileServer

CHUNK = 4 * 1024 * 1024


def sha256(body: bytes) -> str:
    """The digest, as locks have it."""
    return hashlib.sha256(body).hexdigest()


def identity(path: Path) -> tuple[int, int, bytes]:
    """What changes when a file is written."""
    return path.stat().st_mtime_ns, path.stat().st_ino, path.read_bytes()


# --- bytes of the lock -------------------------------------------------------------------------------------


def test_locking_twice_writes_once(desk: Desk) -> None:
    desk.declare("large.gguf", "small.json")
    assert desk.lock().lock == gemmalock.LockChange("gemmalock.lock", changed=True)
    before = identity(desk.project.lock)
    for options in ({}, {"upgrade": True}, {"upgrade_model": "m"}, {"dry_run": True}, {"check": True}):
        assert desk.lock(**options).lock == gemmalock.LockChange("gemmalock.lock", changed=False)
        assert identity(desk.project.lock) == before


def test_two_machines_write_the_same_bytes(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.declare("large.gguf", "small.json")
    desk.lock(hash=True)
    other = Project(tmp_path / "somewhere/else/entirely")
    other.folder.mkdir(parents=True)
    manifest = desk.project.manifest.read_text()
    other.write_manifest("# the same in other words\r\n" + manifest.replace("version: 1\n", "") + "version: 1\n")
    monkeypatch.setenv("GEMMALOCK_STORE", str(tmp_path / "another store"))
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    gemmalock.lock(other.folder, hash=True)
    assert other.lock.read_bytes() == desk.project.lock.read_bytes()
    assert str(tmp_path).encode() not in other.lock.read_bytes()


def test_sync_leaves_a_lock_that_says_all_alone(desk: Desk) -> None:
    desk.declare("large.gguf", "small.json")
    desk.lock(hash=True)
    before = identity(desk.project.lock)
    for options in ({}, {}, {"verify": True}, {"locked": True}, {"frozen": True}):
        assert desk.sync(**options).ok
        assert identity(desk.project.lock) == before


def test_line_endings_of_a_lock_stay_as_they_are(desk: Desk) -> None:
    desk.declare("small.json")
    desk.lock()
    desk.project.lock.write_bytes(desk.project.lock.read_bytes().replace(b"\n", b"\r\n"))
    before = identity(desk.project.lock)
    assert desk.lock().lock == gemmalock.LockChange("gemmalock.lock", changed=False)
    assert identity(desk.project.lock) == before
    desk.declare("small.json", "large.gguf")
    desk.lock()
    assert desk.project.lock.read_bytes().count(b"\r\n") == desk.project.lock.read_bytes().count(b"\n") > 10


def test_the_mode_of_a_lock_stays(desk: Desk) -> None:
    desk.declare("small.json")
    desk.lock()
    desk.project.lock.chmod(0o640)
    desk.declare("large.gguf")
    desk.lock()
    assert desk.project.lock.stat().st_mode & 0o777 == 0o640


def test_a_lock_that_is_a_link_inside_of_the_project_is_written_through(desk: Desk) -> None:
    (desk.project.folder / "locks").mkdir()
    desk.project.lock.symlink_to("locks/real.lock")
    desk.declare("small.json")
    desk.lock()
    assert desk.project.lock.is_symlink()
    assert "small.json" in (desk.project.folder / "locks/real.lock").read_text()


def test_a_lock_that_is_a_link_out_of_the_project_is_refused(desk: Desk, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text('{"lock_version": 1, "manifests": []}\n')
    desk.project.lock.symlink_to(target)
    desk.declare("small.json")
    with pytest.raises(gemmalock.RunRefused, match="symbolic link"):
        desk.lock()
    assert target.read_text() == '{"lock_version": 1, "manifests": []}\n'


def test_a_failure_writes_nothing_and_tells_all_failures(desk: Desk) -> None:
    desk.declare("small.json")
    desk.lock()
    before = identity(desk.project.lock)
    desk.declare("small.json", "nowhere.gguf", "large.gguf", "neither.gguf")
    report = desk.lock()
    assert report.exit_code is gemmalock.ExitCode.FAILED
    assert errors_of(report) == [("nowhere.gguf", "not_found"), ("neither.gguf", "not_found")]
    assert identity(desk.project.lock) == before
    assert not desk.sync().ok
    assert identity(desk.project.lock) == before
    assert not (desk.project.folder / "models").exists()


# --- what the server says ----------------------------------------------------------------------------------


def test_a_small_file_is_fetched_and_hashed_and_a_large_one_is_not(desk: Desk) -> None:
    desk.declare("large.gguf", "small.json")
    desk.lock()
    assert desk.server.bytes_served("/large.gguf") == 0
    assert desk.server.bytes_served("/small.json") == len(SMALL)
    assert (desk.files["large.gguf"]["sha256"], desk.files["small.json"]["sha256"]) == (None, sha256(SMALL))
    assert desk.files["large.gguf"]["size"] == len(LARGE)
    desk.server.forget()
    assert desk.sync().ok
    assert desk.server.gets("/small.json") == ()


@pytest.mark.parametrize("name", ["large.gguf", "small.json"])
def test_a_published_digest_is_taken_without_a_byte(desk: Desk, name: str) -> None:
    desk.server.files[f"/{name}"].repr_digest = True
    desk.declare(name)
    desk.lock()
    assert desk.server.bytes_served() == 0
    assert desk.files[name]["sha256"] == sha256(desk.server.files[f"/{name}"].body)


def test_a_declared_digest_is_believed_over_the_server_and_kept_from_the_disk_by_the_bytes(desk: Desk) -> None:
    desk.server.files["/large.gguf"].repr_digest = True
    desk.declare("large.gguf", sha256="a" * 64, size="1048576")
    report = desk.lock()
    assert report.ok
    assert desk.files["large.gguf"]["sha256"] == "a" * 64
    assert any("the manifest declares sha256" in warning for warning in report.warnings)
    assert errors_of(desk.sync()) == [("large.gguf", "digest_mismatch")]
    assert not (desk.project.folder / "models/m/large.gguf").exists()


def test_a_declared_size_is_believed_over_the_server(desk: Desk) -> None:
    desk.declare("large.gguf", size="7000000")
    report = desk.lock()
    assert desk.files["large.gguf"]["size"] == 7_000_000
    assert any("the manifest declares size 7000000" in warning for warning in report.warnings)
    assert errors_of(desk.sync()) == [("large.gguf", "size_mismatch")]


def test_a_declared_size_that_the_bytes_contradict_is_a_failure_and_never_a_stale_lock(desk: Desk) -> None:
    desk.declare("small.json", size="5")
    assert errors_of(desk.lock()) == [("small.json", "size_mismatch")]
    assert not desk.project.lock.exists()


@pytest.mark.parametrize("name", ["large.gguf", "small.json"])
def test_a_server_that_tells_no_size_makes_lock_fetch_the_file(desk: Desk, name: str) -> None:
    content = desk.server.files[f"/{name}"]
    content.content_length, content.ranges = False, False
    desk.declare(name)
    assert desk.lock().ok
    assert desk.files[name]["size"] == len(content.body)
    assert desk.files[name]["sha256"] == sha256(content.body)
    desk.server.forget()
    assert desk.sync().ok
    assert desk.server.requests == ()


@pytest.mark.parametrize(("etag", "locked"), [(None, None), (WEAK, "W/"), ('"x"', '"x"')])
def test_an_etag_is_kept_as_it_was_sent(desk: Desk, etag: str | None, locked: str | None) -> None:
    desk.server.put("/large.gguf", Content(LARGE, etag=etag))
    desk.declare("large.gguf")
    desk.lock()
    found = desk.files["large.gguf"]["etag"]
    assert found is None if locked is None else found.startswith(locked)


def test_a_server_that_stumbles_is_asked_again(desk: Desk) -> None:
    desk.server.put("/small.json", Content(SMALL, head=False, fail_first=[503, 503]))
    desk.declare("small.json")
    assert desk.lock().ok
    assert desk.files["small.json"]["sha256"] == sha256(SMALL)


def test_a_check_asks_nobody_also_where_upstream_moved(desk: Desk) -> None:
    desk.declare("large.gguf", "small.json")
    desk.lock()
    desk.server.put("/large.gguf", LARGE + b"changed")
    desk.server.forget()
    assert desk.lock(check=True).ok
    assert desk.server.requests == ()
    assert not desk.lock(check=True, upgrade=True).ok
    assert desk.server.requests != ()


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        (lambda lock, file: file.update(url="https://evil.example/large.gguf"), "url is"),
        (lambda lock, file: file.update(sha256="b" * 64), "sha256 is"),
        (lambda lock, file: file.update(path="m/other.gguf"), "goes to"),
        (lambda lock, file: file.update(mirrors=["https://evil.example/large.gguf"]), "mirrors"),
        (lambda lock, file: lock["manifests"][0].update(root="other"), "root is"),
        (lambda lock, file: lock["manifests"][0]["models"][0].update(license="mit"), "changed"),
    ],
)
def test_a_check_proves_from_the_two_files_alone_that_the_lock_follows(desk: Desk, tamper: object, says: str) -> None:
    desk.declare("large.gguf", sha256=sha256(LARGE))
    desk.lock()
    lock = json.loads(desk.project.lock.read_text())
    file = lock["manifests"][0]["models"][0]["files"][0]
    assert callable(tamper)
    tamper(lock, file)
    file["task_id"] = gemmalock.task_id(file["url"], file["size"], file["etag"])
    desk.project.lock.write_text(json.dumps(lock, indent=2, sort_keys=True) + "\n")
    desk.server.forget()
    if says == "changed":
        # A licence that the manifest does not declare may come from the source: it is no drift.
        assert desk.lock(check=True).ok
        return
    report = desk.lock(check=True)
    assert report.exit_code is gemmalock.ExitCode.FAILED
    assert any(says in note.message for note in report.errors)
    assert desk.server.requests == ()


def _edited(project: Project, edit: Callable[[list[dict[str, Any]]], None]) -> None:
    """Edit the files of the lock's only model, as a merge may."""
    lock = json.loads(project.lock.read_text())
    edit(lock["manifests"][0]["models"][0]["files"])
    project.lock.write_text(json.dumps(lock, indent=2, sort_keys=True) + "\n")


@pytest.mark.parametrize("files", ["[README.md, q4.gguf]", '["*.md", "*q4*"]'])
@pytest.mark.parametrize("verb", ["lock", "sync"])
def test_what_a_merge_dropped_from_the_lock_comes_back(project: Project, weights: Path, files: str, verb: str) -> None:
    declared(project, files)
    gemmalock.sync(project.folder)
    before = project.lock.read_bytes()
    _edited(project, lambda files: files.__delitem__(0))
    assert not gemmalock.lock(project.folder, check=True).ok
    with pytest.raises(gemmalock.LockOutdated):
        gemmalock.sync(project.folder, locked=True)
    report = getattr(gemmalock, verb)(project.folder)
    assert (report.ok, report.lock) == (True, gemmalock.LockChange("gemmalock.lock", changed=True))
    assert project.lock.read_bytes() == before
    assert gemmalock.sync(project.folder, locked=True).ok


def test_an_agreement_is_noted_only_where_it_was_proved(
    project: Project, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared(project, "[README.md, q4.gguf]")
    gemmalock.lock(project.folder)
    whole = read_lock(project.lock.read_bytes(), "gemmalock.lock")
    _edited(project, lambda files: files.__delitem__(0))
    wrong = read_lock(project.lock.read_bytes(), "gemmalock.lock")
    assert wrong != whole
    # A resolver that makes of the manifest what does not follow from it.
    monkeypatch.setattr("gemmalock.resolver.resolve", lambda *_: Resolution(wrong, ()))
    assert gemmalock.sync(project.folder).ok
    with pytest.raises(gemmalock.LockOutdated):
        gemmalock.sync(project.folder, locked=True)


# --- hash --------------------------------------------------------------------------------------------------


def test_lock_hash_learns_every_digest_and_spares_sync_the_bytes(desk: Desk) -> None:
    desk.declare("large.gguf", "small.json")
    desk.lock()
    desk.lock(hash=True)
    assert desk.files["large.gguf"]["sha256"] == sha256(LARGE)
    desk.server.forget()
    assert {file.action for file in desk.sync().files} == {gemmalock.Action.LINK}
    assert desk.server.requests == ()


def test_lock_hash_does_not_pin_another_upstream(desk: Desk) -> None:
    desk.declare("large.gguf")
    desk.lock()
    before = identity(desk.project.lock)
    desk.server.put("/large.gguf", bytes(len(LARGE)))
    assert errors_of(desk.lock(hash=True)) == [("large.gguf", "upstream_changed")]
    assert identity(desk.project.lock) == before
    assert desk.lock(hash=True, upgrade=True).ok
    assert desk.files["large.gguf"]["sha256"] == sha256(bytes(len(LARGE)))


def test_a_digest_that_was_learned_of_the_wrong_bytes_is_learned_anew_by_upgrade_and_hash(desk: Desk) -> None:
    wrong = bytes(len(LARGE))
    desk.server.put("/large.gguf", Content(wrong, etag='"one"'))
    desk.declare("large.gguf")
    desk.sync()
    assert desk.files["large.gguf"]["sha256"] == sha256(wrong)
    desk.server.put("/large.gguf", Content(LARGE, etag='"one"'))
    # Nothing that can be asked for without the bytes has changed.
    assert desk.lock(upgrade=True).lock == gemmalock.LockChange("gemmalock.lock", changed=False)
    # The store of this machine still has what was learned.
    assert desk.lock(upgrade=True, hash=True).ok
    assert desk.files["large.gguf"]["sha256"] == sha256(LARGE)
    assert desk.sync().ok
    assert (desk.project.folder / "models/m/large.gguf").read_bytes() == LARGE


def test_the_hint_of_a_digest_mismatch_names_the_cure_of_a_learned_digest(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.server.put("/large.gguf", Content(bytes(len(LARGE)), etag='"one"'))
    desk.declare("large.gguf")
    desk.sync()
    desk.server.put("/large.gguf", Content(LARGE, etag='"one"'))
    shutil.rmtree(desk.project.folder / "models")
    monkeypatch.setenv("GEMMALOCK_STORE", str(tmp_path / "another store"))
    (file,) = desk.sync().files
    assert file.error is not None
    assert file.error.code == "digest_mismatch"
    assert "`gemmalock lock --upgrade --hash`" in file.error.hint


def test_a_killed_lock_hash_goes_on_where_it_was(desk: Desk, gemmalock: Gemmalock) -> None:
    body = LARGE * 12 + b"end"
    desk.server.put("/large.gguf", Content(body, throttle=CHUNK * 2))
    desk.declare("large.gguf")
    with gemmalock.started("lock", "--hash") as process:
        while desk.server.bytes_served("/large.gguf") < 2 * CHUNK and process.poll() is None:
            pass
        process.kill()
    assert not desk.project.lock.exists()
    (task,) = gemmalock("tasks", "--json").json()["facts"]["tasks"]
    kept = task["bytes_kept"]
    assert kept >= CHUNK
    desk.server.put("/large.gguf", Content(body))
    desk.server.forget()
    assert gemmalock("lock", "--hash").code == 0
    assert desk.files["large.gguf"]["sha256"] == sha256(body)
    assert desk.server.bytes_served("/large.gguf") <= len(body) - kept
    assert gemmalock("tasks", "--json").json()["facts"]["tasks"] == []


@pytest.mark.parametrize("selected", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_what_a_killed_lock_hash_left_of_a_file_in_place_goes_with_the_next_sync(
    desk: Desk, gemmalock: Gemmalock, tmp_path: Path, shared: bool, selected: bool
) -> None:
    body = LARGE * 12 + b"end"
    desk.server.put("/large.gguf", Content(body))
    desk.declare("large.gguf", "small.json")
    assert desk.sync().ok
    store = Path(os.environ["GEMMALOCK_STORE"])
    shutil.rmtree(store)
    desk.project.lock.unlink()
    desk.server.put("/large.gguf", Content(body, throttle=CHUNK * 2))
    desk.server.forget()
    with gemmalock.started("lock", "--hash") as process:
        while desk.server.bytes_served("/large.gguf") < 2 * CHUNK and process.poll() is None:
            pass
        process.kill()
    desk.server.put("/large.gguf", Content(body))
    assert desk.lock().ok
    desk.server.forget()
    registry, elsewhere = DiskRegistry(store), tmp_path / "elsewhere/gemmalock.lock"
    (task,) = registry.tasks()
    assert task.stored
    if shared:
        (node,) = (
            node for node in read_lock(desk.project.lock.read_bytes(), "lock").nodes() if node.file.size == len(body)
        )
        registry.claim(node, elsewhere).release()
    report = desk.sync(select=["gemmalock.yaml::m::small.json"] if selected else [])
    assert {file.outcome.value for file in report.files} == {"skipped"}
    left = [view.record.locks for view in registry.tasks() if view.record is not None]
    # What another project asks for is its own to take up.
    assert left == ([(str(elsewhere),)] if shared else [])
    assert desk.server.bytes_served("/large.gguf") == 0
    # In sync and tidy: the store is not even looked at.
    assert desk.sync().ok
    shutil.rmtree(store)
    store.write_text("in the way")
    assert desk.sync().warnings == ()


# --- folders -----------------------------------------------------------------------------------------------


@pytest.fixture
def weights(project: Project) -> Path:
    """A folder of files beside the project."""
    folder = project.folder.parent / "weights"
    for name in ("README.md", "q4.gguf", "q8.gguf", "onnx/model.onnx", "50% & ü.bin"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def declared(project: Project, files: str, exclude: str = "[]") -> None:
    """A model out of the folder."""
    project.write_manifest(
        f"version: 1\nmodels:\n  m:\n    source: file://../weights\n    files: {files}\n    exclude: {exclude}\n"
    )


@pytest.mark.parametrize(
    ("files", "exclude", "names"),
    [
        ('["*.gguf"]', "[]", ["q4.gguf", "q8.gguf"]),
        ('["**"]', '["*.gguf", "README.md"]', ["50% & ü.bin", "onnx/model.onnx"]),
        ('[q4.gguf, "onnx/*"]', "[]", ["onnx/model.onnx", "q4.gguf"]),
    ],
)
def test_a_folder_is_locked_by_globs_and_synced(
    project: Project, weights: Path, files: str, exclude: str, names: list[str]
) -> None:
    declared(project, files, exclude)
    assert gemmalock.lock(project.folder).ok
    assert gemmalock.sync(project.folder).ok
    root = project.folder / "models/m"
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()) == names
    assert all((root / name).read_text() == name for name in names)
    assert gemmalock.lock(project.folder, check=True).ok


def test_a_glob_that_matches_nothing_names_what_is_there(project: Project, weights: Path) -> None:
    declared(project, '["*.safetensors"]')
    (file,) = gemmalock.lock(project.folder).files
    assert file.error is not None
    assert "`q4.gguf`" in file.error.message
    assert not project.lock.exists()


def test_what_comes_and_goes_in_a_folder_is_followed_only_when_it_is_asked_for(project: Project, weights: Path) -> None:
    declared(project, '["*.gguf"]')
    gemmalock.lock(project.folder)
    before = project.lock.read_bytes()
    (weights / "q4.gguf").write_text("changed")
    (weights / "q2.gguf").write_text("new")
    (weights / "q8.gguf").unlink()
    assert gemmalock.lock(project.folder, check=True).ok
    report = gemmalock.lock(project.folder)
    assert {file.id.rpartition("::")[2]: file.outcome.value for file in report.files} == {
        "q4.gguf": "skipped",
        "q8.gguf": "skipped",
    }
    assert project.lock.read_bytes() == before
    assert gemmalock.lock(project.folder, upgrade=True).ok
    (model,) = json.loads(project.lock.read_text())["manifests"][0]["models"]
    upgraded = {file["name"]: file["sha256"] for file in model["files"]}
    assert upgraded == {"q2.gguf": sha256(b"new"), "q4.gguf": sha256(b"changed")}


def test_the_cure_of_a_file_that_is_gone_from_its_folder_cures(project: Project, weights: Path) -> None:
    declared(project, '["*.gguf"]')
    gemmalock.lock(project.folder)
    (weights / "q8.gguf").unlink()
    (error,) = (file.error for file in gemmalock.sync(project.folder).files if file.error is not None)
    assert error.code == "not_found"
    assert "run `gemmalock lock --upgrade-model m`" in error.hint
    assert gemmalock.lock(project.folder).lock == gemmalock.LockChange("gemmalock.lock", changed=False)
    assert gemmalock.lock(project.folder, upgrade_model=("m",)).ok
    assert gemmalock.sync(project.folder).ok


@pytest.mark.parametrize("options", [{}, {"upgrade": True}])
def test_a_name_that_is_gone_is_to_be_changed_in_the_manifest(
    project: Project, weights: Path, options: dict[str, Any]
) -> None:
    declared(project, "[q4.gguf]")
    gemmalock.lock(project.folder)
    (weights / "q4.gguf").unlink()
    report = gemmalock.lock(project.folder, **options) if options else gemmalock.sync(project.folder)
    (error,) = (file.error for file in report.files if file.error is not None)
    assert error.code == "not_found"
    assert "change" in error.hint
    assert "manifest" in error.hint
    assert ("--upgrade-model" in error.hint) == (not options)


@pytest.mark.parametrize("in_source", [True, False])
def test_a_file_that_is_gone_from_a_server_names_the_upgrade_if_it_is_of_a_source(desk: Desk, in_source: bool) -> None:
    lines = (
        f"source: {desk.server.origin}\n    files: [large.gguf]"
        if in_source
        else (f"files: [{{url: '{desk.server.origin}/large.gguf'}}]")
    )
    desk.project.write_manifest(f"version: 1\nmodels:\n  m:\n    {lines}\n")
    desk.lock()
    del desk.server.files["/large.gguf"]
    for report in (desk.sync(), desk.lock(hash=True)):
        (error,) = (file.error for file in report.files)
        assert error is not None
        assert error.code == "not_found"
        assert ("`gemmalock lock --upgrade-model m`" in error.hint) == in_source


@pytest.mark.parametrize("files", ["[link.gguf]", '["link*"]', "[folder/x.gguf]", '["folder/*"]'])
@pytest.mark.parametrize("leads_out", [True, False])
def test_a_name_and_a_glob_follow_the_same_links(project: Project, weights: Path, files: str, leads_out: bool) -> None:
    behind = weights.parent / "elsewhere" if leads_out else weights / "deep"
    behind.mkdir()
    (behind / "x.gguf").write_text("x")
    (weights / "link.gguf").symlink_to(behind / "x.gguf")
    (weights / "folder").symlink_to(behind)
    declared(project, files)
    report = gemmalock.lock(project.folder)
    assert report.ok != leads_out
    assert project.lock.exists() != leads_out
    if leads_out:
        (error,) = (file.error for file in report.files)
        assert error is not None
        assert error.code == ("not_found" if "*" in files else "unsafe_path")
        assert "symbolic link" in error.message + error.hint


def test_a_source_that_is_a_link_itself_is_its_folder(project: Project, weights: Path) -> None:
    (weights.parent / "real").mkdir()
    weights.rename(weights.parent / "real/weights")
    weights.symlink_to("real/weights")
    declared(project, '[q4.gguf, "onnx/*"]')
    assert gemmalock.lock(project.folder).ok


def test_a_changed_declaration_lists_a_folder_anew_and_old_pins_stay(project: Project, weights: Path) -> None:
    declared(project, '["*.gguf"]')
    gemmalock.lock(project.folder)
    (weights / "q4.gguf").write_text("changed")
    (weights / "q2.gguf").write_text("new")
    declared(project, '["q*.gguf"]')
    outcomes = {file.id.rpartition("::")[2]: file.outcome.value for file in gemmalock.lock(project.folder).files}
    assert outcomes == {"q2.gguf": "done", "q4.gguf": "skipped", "q8.gguf": "skipped"}


# --- what an upgrade changes -------------------------------------------------------------------------------


def told(report: gemmalock.Report) -> dict[str, tuple[str, str, str]]:
    """Outcome, verb and reason of each file, by its name; the reason as `--json` has it."""
    files = json.loads(write_report(report))["files"]
    verbs = {file.id: file.verb for file in report.files}
    return {file["id"].rpartition("::")[2]: (file["outcome"], verbs[file["id"]], file["reason"]) for file in files}


@pytest.mark.parametrize(
    ("options", "outcome", "verbs", "code"),
    [
        ({"upgrade": True}, "done", ("LOCKED", "UPDATED", "REMOVED"), 0),
        ({"upgrade": True, "dry_run": True}, "planned", ("WOULD LOCK", "WOULD UPDATE", "WOULD REMOVE"), 0),
        ({"upgrade": True, "check": True}, "planned", ("WOULD LOCK", "WOULD UPDATE", "WOULD REMOVE"), 1),
        ({"upgrade_model": ("m",)}, "done", ("LOCKED", "UPDATED", "REMOVED"), 0),
    ],
)
def test_an_upgrade_tells_apart_what_is_new_changed_gone_and_the_same(
    project: Project, weights: Path, options: dict[str, Any], outcome: str, verbs: tuple[str, ...], code: int
) -> None:
    declared(project, '["*.gguf", README.md]')
    gemmalock.lock(project.folder)
    (weights / "q2.gguf").write_text("new")
    (weights / "q4.gguf").write_text("it changed")
    (weights / "q8.gguf").unlink()
    report = gemmalock.lock(project.folder, **options)
    assert report.exit_code == code
    new, changed, gone = verbs
    digests = sha256(b"q4.gguf"), sha256(b"it changed")
    assert told(report) == {
        "README.md": ("skipped", "UNCHANGED", "asked for anew, and the same"),
        "q2.gguf": (outcome, new, "it was not in the lock before"),
        "q4.gguf": (
            outcome,
            changed,
            f"it is pinned otherwise than before; its size was 7, and is 10; "
            f'its ETag was `"{digests[0][:11]}…`, and is `"{digests[1][:11]}…`; '
            f"its sha256 was `{digests[0][:12]}…`, and is `{digests[1][:12]}…`",
        ),
        "q8.gguf": (outcome, gone, "it is no longer among the files of the manifest and its sources"),
    }
    facts = {name: [id.rpartition("::")[2] for id in ids] for name, ids in dict(report.facts).items()}  # type: ignore[attr-defined]
    assert facts == {"added": ["q2.gguf"], "changed": ["q4.gguf"], "removed": ["q8.gguf"]}


@pytest.mark.parametrize(
    ("etags", "says"),
    [
        (('"one"', '"two"'), 'its ETag was `"one"`, and is `"two"`'),
        (('"one"', None), 'its ETag was `"one"`, and is none'),
        ((f'"{"0" * 40}1"', f'"{"0" * 40}2"'), f'its ETag was `"{"0" * 40}1"`, and is `"{"0" * 40}2"`'),
    ],
)
def test_an_etag_is_shown_as_far_as_it_tells_two_apart(desk: Desk, etags: tuple[str, str | None], says: str) -> None:
    desk.declare("large.gguf")
    for etag in etags:
        desk.server.put("/large.gguf", Content(LARGE, etag=etag))
        report = desk.lock(upgrade=True)
    assert told(report) == {"large.gguf": ("done", "UPDATED", f"it is pinned otherwise than before; {says}")}


@pytest.mark.parametrize("options", [{}, {"dry_run": True}, {"check": True}])
def test_an_upgrade_that_changes_nothing_says_so_of_every_file(desk: Desk, options: dict[str, bool]) -> None:
    desk.declare("large.gguf", "small.json")
    desk.lock()
    report = desk.lock(upgrade=True, **options)
    assert report.ok
    assert {(file.outcome.value, file.verb) for file in report.files} == {("skipped", "UNCHANGED")}


def test_a_check_that_fails_says_in_what_where_no_file_differs(desk: Desk) -> None:
    desk.declare("large.gguf")
    desk.lock()
    text = desk.project.manifest.read_text()
    desk.project.write_manifest(text.replace("  m:\n", "  m:\n    license: mit\n"))
    report = desk.lock(upgrade=True, check=True)
    assert report.exit_code is gemmalock.ExitCode.FAILED
    assert {file.verb for file in report.files} == {"UNCHANGED"}
    assert ["license is `mit`" in note.message for note in report.errors] == [True]


@pytest.mark.parametrize("options", [{}, {"dry_run": True}, {"upgrade": True}])
def test_every_reason_of_a_lock_is_a_sentence(desk: Desk, options: dict[str, bool]) -> None:
    desk.declare("large.gguf", "small.json")
    assert all(file.reason for file in desk.lock(**options).files)
    desk.declare("large.gguf", "small.json", "gone.bin")
    failed = desk.lock(**options)
    assert not failed.ok
    assert all(file.reason for file in failed.files)
    (gone,) = (file for file in failed.files if file.error is not None)
    assert "gone.bin" in gone.reason


# --- mirrors -----------------------------------------------------------------------------------------------


def test_a_mirror_is_locked_and_used_when_the_main_place_fails(desk: Desk) -> None:
    with FileServer({"/copy.gguf": LARGE}) as mirror:
        desk.declare("large.gguf", mirrors=f"[{mirror.origin}/copy.gguf]", sha256=sha256(LARGE))
        desk.lock()
        assert desk.files["large.gguf"]["mirrors"] == [f"{mirror.origin}/copy.gguf"]
        assert mirror.requests == ()
        del desk.server.files["/large.gguf"]
        report = desk.sync()
        assert report.ok
        assert mirror.bytes_served("/copy.gguf") == len(LARGE)
    assert (desk.project.folder / "models/m/large.gguf").read_bytes() == LARGE


def test_a_mirror_with_other_bytes_is_not_believed(desk: Desk) -> None:
    with FileServer({"/copy.gguf": bytes(len(LARGE))}) as mirror:
        desk.declare("large.gguf", mirrors=f"[{mirror.origin}/copy.gguf]", sha256=sha256(LARGE))
        desk.lock()
        del desk.server.files["/large.gguf"]
        assert not desk.sync().ok
    assert not (desk.project.folder / "models/m/large.gguf").exists()


def test_the_store_is_no_part_of_a_lock(desk: Desk) -> None:
    desk.declare("small.json")
    desk.lock()
    shutil.rmtree(os.environ["GEMMALOCK_STORE"])
    assert desk.lock(check=True).ok
    assert desk.sync(locked=True).ok


def test_a_lock_that_knows_more_replaces_the_same_one_that_was_written_meanwhile(desk: Desk) -> None:
    """`lock --hash` takes long; a sync beside it has locked without the digest by then."""
    desk.declare("large.gguf", "small.json")
    desk.lock()
    theirs = desk.project.lock.read_bytes()
    desk.project.lock.unlink()
    desk.locked_meanwhile(theirs)
    assert desk.lock(hash=True).ok
    assert desk.files["large.gguf"]["sha256"] == sha256(LARGE)


def test_a_lock_of_other_files_that_was_written_meanwhile_stays(desk: Desk) -> None:
    desk.declare("large.gguf")
    desk.lock()
    theirs = desk.project.lock.read_bytes()
    desk.project.lock.unlink()
    desk.declare("large.gguf", "small.json")
    desk.locked_meanwhile(theirs)
    with pytest.raises(RunRefused):
        desk.lock(hash=True)
    assert desk.project.lock.read_bytes() == theirs

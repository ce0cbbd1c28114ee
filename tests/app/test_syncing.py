"""`sync` through the front door: what the settings forbid, what pruning leaves, and what costs nothing."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import gemmalock
from gemmalock import durable
from gemmalock.app.caring import CachePruneOptions, PruneOptions, run_cache_prune, run_prune
from gemmalock.app.listing import run_list
from gemmalock.app.session import Call, begin
from gemmalock.errors import RunRefused
from gemmalock.stopping import Stop
from tests.app.conftest import LARGE, SMALL, Desk, errors_of
from tests.running import run_tool
from tests.servers.fileserver import Content


def settings(desk: Desk, text: str) -> None:
    """Write the settings file."""
    (desk.project.folder / "gemmalock.toml").write_text(text)


def test_required_digests_refuse_the_whole_run_before_anything_is_fetched(desk: Desk) -> None:
    desk.declare("large.gguf", "small.json")
    desk.lock()
    desk.server.forget()
    report = desk.sync(require_digests=True)
    assert errors_of(report) == [("large.gguf", "policy")]
    assert [file.outcome.value for file in report.files] == ["failed", "planned"]
    assert desk.server.requests == ()
    assert desk.lock(hash=True).ok
    assert desk.sync(require_digests=True).ok


@pytest.mark.parametrize("hosts", ['["models.example.org"]', '["models.example.org", "localhost"]'])
def test_a_host_that_is_not_allowed_is_not_asked(desk: Desk, hosts: str) -> None:
    desk.declare("large.gguf", "small.json")
    settings(desk, f"allowed-hosts = {hosts}\n")
    assert {code for _, code in errors_of(desk.lock())} == {"policy"}
    assert desk.server.requests == ()
    settings(desk, "")
    desk.lock()
    desk.server.forget()
    settings(desk, f"allowed-hosts = {hosts}\n")
    assert errors_of(desk.sync(locked=True)) == [("large.gguf", "policy")]
    assert desk.server.requests == ()
    settings(desk, 'allowed-hosts = ["127.0.0.1"]\n')
    assert desk.sync().ok


def test_more_strays_than_max_delete_stop_the_run_before_it_changes_anything(desk: Desk) -> None:
    desk.declare("small.json")
    desk.sync()
    root = desk.project.folder / "models"
    for name in "abc":
        (root / name).write_text(name)
    (root / "m/small.json").unlink()
    with pytest.raises(gemmalock.RunRefused, match="3 strays would be pruned, and `max-delete` is 2"):
        desk.sync(max_delete=2)
    assert not (root / "m/small.json").exists()
    assert (root / "a").exists()
    assert len(desk.sync(max_delete=3).pruned) == 3


def test_what_keep_names_is_left_and_said(desk: Desk) -> None:
    desk.declare("small.json")
    settings(desk, 'keep = ["*.txt", "notes/**"]\n')
    desk.sync()
    root = desk.project.folder / "models"
    (root / "notes").mkdir()
    for name in ("a.txt", "notes/b.md", "c.bin"):
        (root / name).write_text(name)
    report = desk.sync()
    assert [gone.path for gone in report.pruned] == ["models/c.bin"]
    assert {stray.path for stray in report.strays_kept} == {"models/a.txt", "models/notes/b.md"}
    assert (root / "notes/b.md").read_text() == "notes/b.md"


RUNS: dict[str, tuple[dict[str, Any], str]] = {
    "no prune": ({"no_prune": True}, "`--no-prune` was given"),
    "no prune, dry": ({"no_prune": True, "dry_run": True}, "`--no-prune` was given"),
    "selection": ({"select": ["gemmalock.yaml::m::small.json"]}, "a run with a selection prunes nothing"),
    "folder": ({"select": ["."]}, "a run with a selection prunes nothing"),
    "failure": ({}, "a run in which something failed prunes nothing"),
    "interruption": ({}, "an interrupted run prunes nothing"),
}


@pytest.mark.parametrize("run", RUNS)
def test_a_run_that_keeps_strays_lists_them_with_the_reason(
    desk: Desk, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.declare("small.json", "large.gguf")
    settings(desk, 'keep = ["*.txt"]\n')
    desk.lock()
    root = desk.project.folder / "models"
    (root / "old").mkdir(parents=True)
    for name in ("a.txt", "old/b.bin", "tracked.bin"):
        (root / name).write_text(name)
    for words in (["init", "-q"], ["add", "-f", str(root / "tracked.bin")]):
        run_tool(["git", *words], desk.project.folder)
    if run == "failure":
        del desk.server.files["/large.gguf"]
    options, why = RUNS[run]
    stop = Stop()
    tag = desk.server.files["/large.gguf"].etag_now() if run == "interruption" else None

    def stopping() -> str | None:
        stop.set()
        return tag

    if run == "interruption":
        desk.server.files["/large.gguf"].etag = stopping
    # Without a ledger, only a run that may prune has to be told to.
    report = desk.sync(**options, stop=stop, adopt=run in ("failure", "interruption"))
    assert report.exit_code == {"failure": 1, "interruption": 2}.get(run, 0)
    assert {(stray.path, stray.reason) for stray in report.strays_kept} == {
        ("models/a.txt", "a `keep` setting names it"),
        ("models/old/b.bin", why),
        ("models/tracked.bin", "git tracks it"),
    }
    assert report.pruned == ()
    assert (root / "old/b.bin").exists()


def test_status_lists_the_strays_that_a_selection_would_keep(desk: Desk) -> None:
    desk.declare("small.json")
    desk.sync()
    (desk.project.folder / "models/mine").write_text("mine")
    report = gemmalock.status(desk.project.folder, select=["gemmalock.yaml::m"])
    assert [(stray.path, stray.reason) for stray in report.strays_kept] == [
        ("models/mine", "a run with a selection prunes nothing")
    ]
    assert gemmalock.status(desk.project.folder).strays_kept == ()


def test_a_root_that_would_not_be_looked_into_is_listed_as_kept(desk: Desk, tmp_path: Path) -> None:
    desk.declare("small.json")
    desk.lock()
    (tmp_path / "elsewhere").mkdir()
    (desk.project.folder / "models").symlink_to(tmp_path / "elsewhere")
    report = desk.sync(no_prune=True)
    (kept,) = report.strays_kept
    assert kept.path == "models"
    assert "symbolic link" in kept.reason
    assert not any("not pruning" in warning for warning in report.warnings)


def test_a_selection_that_fits_nothing_changes_nothing(desk: Desk) -> None:
    desk.declare("small.json")
    with pytest.raises(gemmalock.NothingCollected):
        desk.sync(select=["gemmalock.yaml::other"])
    assert not desk.project.lock.exists()


def test_an_interrupted_or_failed_run_says_that_it_does_not_prune(desk: Desk) -> None:
    desk.declare("small.json", "large.gguf")
    desk.lock()
    del desk.server.files["/large.gguf"]
    (desk.project.folder / "models").mkdir()
    (desk.project.folder / "models/mine").write_text("mine")
    report = desk.sync(adopt=True)
    assert not report.ok
    assert report.pruned == ()
    assert any("not pruning 1 stray" in warning for warning in report.warnings)
    assert (desk.project.folder / "models/mine").exists()


def test_a_lock_that_changes_during_the_run_prunes_nothing(desk: Desk) -> None:
    desk.declare("large.gguf", "small.json")
    desk.lock(hash=True)
    desk.sync()
    root, lock = desk.project.folder / "models", desk.project.lock
    (root / "mine").write_text("mine")
    (root / "m/large.gguf").unlink()
    shutil.rmtree(os.environ["GEMMALOCK_STORE"])
    tag = desk.server.files["/large.gguf"].etag_now()

    def checkout() -> str | None:
        """Somebody checks another branch out while the file is on its way."""
        lock.write_bytes(lock.read_bytes().replace(b"small.json", b"other.json"))
        return tag

    desk.server.put("/large.gguf", Content(LARGE, etag=checkout))
    report = desk.sync()
    assert report.pruned == ()
    assert {stray.path for stray in report.strays_kept} == {"models/mine"}
    assert (root / "mine").read_text() == "mine"
    assert (root / "m/large.gguf").read_bytes() == LARGE


@pytest.mark.parametrize("mode", ["reflink", "hardlink", "symlink", "copy"])
def test_a_link_mode_that_cannot_be_had_is_an_error_or_exact(desk: Desk, mode: str) -> None:
    desk.declare("small.json")
    desk.lock()
    report = desk.sync(link_mode=mode)
    placed = desk.project.folder / "models/m/small.json"
    assert report.ok == placed.exists()
    if report.ok:
        assert placed.read_bytes() == SMALL
        assert placed.is_symlink() == (mode == "symlink")
        assert (placed.lstat().st_nlink > 1) == (mode == "hardlink")


@pytest.mark.parametrize("mode", ["auto", "symlink"])
def test_a_sync_with_nothing_to_do_writes_nothing(desk: Desk, mode: str) -> None:
    desk.declare("small.json", "large.gguf")
    desk.sync(link_mode=mode)
    desk.sync()
    places = [desk.project.folder, Path(os.environ["GEMMALOCK_STORE"])]

    def state() -> dict[str, tuple[int, int]]:
        return {
            str(path): (path.lstat().st_mtime_ns, path.lstat().st_ino) for place in places for path in place.rglob("*")
        }

    before = state()
    desk.server.forget()
    assert {file.outcome.value for file in desk.sync().files} == {"skipped"}
    assert state() == before
    assert desk.server.requests == ()


@pytest.mark.parametrize("copied", [False, True])
def test_what_a_moved_or_copied_root_links_to_is_kept_by_cache_prune(desk: Desk, tmp_path: Path, copied: bool) -> None:
    desk.declare("small.json", "large.gguf")
    desk.sync(link_mode="symlink")
    there = tmp_path / "there"
    if copied:
        shutil.copytree(desk.project.folder, there, symlinks=True)
        shutil.rmtree(desk.project.folder)
    else:
        desk.project.folder.rename(there)
    assert {file.outcome.value for file in gemmalock.sync(there).files} == {"skipped"}
    session = begin(Call(there))
    assert run_cache_prune(session.workshop, CachePruneOptions()).facts[0] == ("objects", 0)
    assert (there / "models/m/large.gguf").read_bytes() == LARGE


def test_a_store_that_cannot_be_told_of_a_moved_root_is_a_warning(desk: Desk, tmp_path: Path) -> None:
    desk.declare("small.json")
    desk.sync(link_mode="symlink")
    there = tmp_path / "there"
    desk.project.folder.rename(there)
    roots = Path(os.environ["GEMMALOCK_STORE"]) / "roots"
    shutil.rmtree(roots)
    roots.write_text("in the way")
    report = gemmalock.sync(there)
    assert report.ok
    assert any("`cache prune` may take what" in warning for warning in report.warnings)


@pytest.mark.parametrize("command", ["sync", "sync --check", "sync --dry-run", "status"])
def test_a_lock_without_a_file_keeps_every_stray_and_says_how_to_prune(desk: Desk, command: str) -> None:
    desk.declare("small.json")
    desk.sync()
    desk.project.write_manifest("version: 1\nmodels: {}\n")
    desk.lock()
    verb, *flags = command.split()
    report = getattr(gemmalock, verb)(desk.project.folder, **{flag[2:].replace("-", "_"): True for flag in flags})
    assert (report.exit_code, report.pruned) == (0, ())
    assert [stray.path for stray in report.strays_kept] == ["models/m/small.json"]
    assert "--allow-empty" in report.strays_kept[0].reason
    assert [warning for warning in report.warnings if "--allow-empty" in warning]
    assert (desk.project.folder / "models/m/small.json").exists()
    assert [gone.path for gone in desk.sync(allow_empty=True).pruned] == ["models/m/small.json"]


@pytest.mark.parametrize("mode", ["hardlink", "copy", "symlink"])
def test_every_plan_says_where_a_stray_goes_as_the_act_does(desk: Desk, mode: str) -> None:
    desk.declare("small.json", "large.gguf")
    desk.sync(link_mode=mode)
    desk.declare("small.json")
    desk.lock()
    (desk.project.folder / "models/mine").write_text("mine")
    plans = [
        gemmalock.status(desk.project.folder).pruned,
        desk.sync(dry_run=True).pruned,
        desk.sync(check=True).pruned,
        _prune(desk, dry_run=True),
    ]
    act = desk.sync().pruned
    assert [(gone.path, gone.to) for gone in act] == [("models/m/large.gguf", "store"), ("models/mine", "trash")]
    assert plans == [act] * 4


def _prune(desk: Desk, *, dry_run: bool, adopt: bool = False) -> tuple[gemmalock.Pruned, ...]:
    """What `gemmalock prune` takes out."""
    session = begin(Call(desk.project.folder))
    return run_prune(
        session.workshop, session.papers, session.selection, PruneOptions(dry_run=dry_run, adopt=adopt)
    ).pruned


def test_a_prune_that_would_be_refused_is_refused_as_a_dry_run_too(desk: Desk) -> None:
    desk.declare("small.json")
    desk.lock()
    root = desk.project.folder / "models"
    root.mkdir()
    (root / "mine").write_text("mine")
    for dry_run in (True, False):
        with pytest.raises(RunRefused, match="no ledger says"):
            _prune(desk, dry_run=dry_run)
    for dry_run in (True, False):
        assert [gone.path for gone in _prune(desk, dry_run=dry_run, adopt=True)] == ["models/mine"]
        assert (root / "mine").exists() == dry_run


@pytest.mark.parametrize("verb", ["lock", "sync"])
def test_where_no_lock_is_written_no_file_is_done(desk: Desk, verb: str) -> None:
    desk.declare("small.json", "gone.bin")
    report = getattr(desk, verb)()
    assert {file.path: (file.verb, file.outcome.value) for file in report.files} == {
        "models/m/small.json": ("NOT LOCKED", "planned"),
        "models/m/gone.bin": ("FAILED", "failed"),
    }
    assert not desk.project.lock.exists()


def test_a_file_that_fails_in_two_ways_is_one_entry(desk: Desk) -> None:
    folder = desk.project.folder
    (folder / "weights").mkdir()
    (folder / "weights/a.bin").write_bytes(SMALL)
    files = f"['*.bin', '*.gguf', '*.onnx', {{url: '{desk.server.origin}/small.json', path: A.bin}}]"
    desk.project.write_manifest(f"version: 1\nmodels:\n  m:\n    source: file://weights\n    files: {files}\n")
    report = desk.lock()
    ids = [file.id.removeprefix("gemmalock.yaml::m::") for file in report.files]
    assert sorted(ids) == ["*.gguf", "*.onnx", "A.bin", "a.bin"]
    assert {file.outcome.value for file in report.files if file.error is None} <= {"planned"}


def test_a_declared_digest_that_the_source_contradicts_is_to_be_changed_in_the_manifest(desk: Desk) -> None:
    desk.declare("large.gguf", sha256="ab" * 32)
    desk.lock()
    report = desk.sync()
    assert errors_of(report) == [("large.gguf", "digest_mismatch")]
    (error,) = (file.error for file in report.files if file.error is not None)
    assert "change its `sha256`" in error.hint
    assert "where the manifest declares" in error.hint


#: What was done to a file whose lock has no digest → what `verify` says of it, and what to do.
DOUBTS = {
    "no ledger": ("policy", "nothing could prove the bytes in place: the lock has no digest", "gemmalock lock --hash"),
    "other bytes": ("digest_mismatch", "the ledger says", "gemmalock sync --verify"),
    "other size": ("size_mismatch", "1 bytes are in place, the lock says", "gemmalock sync --verify"),
    "a folder": ("io_error", "a folder is in place", "gemmalock sync --verify"),
    "a link": ("unsafe_path", "a symbolic link that sync did not make", "gemmalock sync --verify"),
}


@pytest.mark.parametrize("what", DOUBTS)
def test_verify_says_who_knows_a_digest_and_where_nobody_does(desk: Desk, what: str) -> None:
    desk.declare("large.gguf")
    desk.lock()
    desk.sync(locked=True)
    placed = desk.project.folder / "models/m/large.gguf"
    placed.unlink()
    if what == "a folder":
        placed.mkdir()
    elif what == "a link":
        placed.symlink_to("elsewhere")
    else:
        placed.write_bytes({"no ledger": LARGE, "other bytes": LARGE[::-1], "other size": b"x"}[what])
    if what == "no ledger":
        (desk.project.folder / "models/.gemmalock/ledger.json").unlink()
    (error,) = (file.error for file in gemmalock.verify(desk.project.folder).files)
    code, message, hint = DOUBTS[what]
    assert error is not None
    assert error.code == code
    assert message in error.message
    assert hint in error.hint


@pytest.mark.parametrize(("hashed", "teller"), [(True, "the lock's"), (False, "the ledger's; the lock has none")])
def test_verify_says_whose_digest_agreed(desk: Desk, hashed: bool, teller: str) -> None:
    desk.declare("large.gguf")
    desk.lock(hash=hashed)
    desk.sync(locked=True)
    (file,) = gemmalock.verify(desk.project.folder).files
    assert file.reason == f"in place, and its digest is {teller}"
    assert file.sha256 == hashlib.sha256(LARGE).hexdigest()
    os.utime(desk.project.folder / "models/m/large.gguf")
    (touched,) = gemmalock.verify(desk.project.folder).files
    assert touched.reason == file.reason
    (seen,) = gemmalock.status(desk.project.folder).files
    assert ("the ledger has" if not hashed else "the locked digest") in seen.reason


@pytest.mark.parametrize(
    "command", ["sync", "sync --locked", "sync --check", "sync --dry-run", "status", "lock --check"]
)
def test_a_wrong_manifest_is_told_before_a_missing_lock(desk: Desk, command: str) -> None:
    verb, *flags = command.split()
    options = {flag[2:].replace("-", "_"): True for flag in flags}
    desk.project.write_manifest("version: 1\nmodles: {}\n")
    with pytest.raises(gemmalock.ManifestInvalid):
        getattr(gemmalock, verb)(desk.project.folder, **options)
    desk.declare("small.json")
    if "--locked" in flags or "--check" in flags:
        with pytest.raises(gemmalock.LockMissing):
            getattr(gemmalock, verb)(desk.project.folder, **options)


#: What stands in the way → the code, and what message and hint name.
BLOCKED = {
    "a link for the root": ("unsafe_path", "`models` is a symbolic link", "replace the link with a real folder"),
    "a link for the model": ("unsafe_path", "`models/m` is a symbolic link", "replace the link with a real folder"),
    "a file for the root": ("io_error", "`models` is not a folder", "move what is there away"),
}


@pytest.mark.parametrize("what", BLOCKED)
def test_what_stands_in_the_way_of_a_root_is_named_with_its_cure(desk: Desk, what: str) -> None:
    desk.declare("small.json")
    desk.lock()
    root, elsewhere = desk.project.folder / "models", desk.project.folder.parent / "elsewhere"
    elsewhere.mkdir()
    if what == "a link for the root":
        root.symlink_to(elsewhere)
    elif what == "a link for the model":
        root.mkdir()
        (root / "m").symlink_to(elsewhere)
    else:
        root.write_text("mine")
    (seen,) = gemmalock.status(desk.project.folder).files
    code, message, hint = BLOCKED[what]
    assert (seen.resume_status, message in seen.reason) == (gemmalock.ResumeStatus.UNREADABLE, True)
    for report in (desk.sync(adopt=True), desk.sync(no_prune=True), gemmalock.verify(desk.project.folder)):
        (error,) = (file.error for file in report.files)
        assert error is not None
        assert (error.code, message in error.message, hint in error.hint) == (code, True, True)
    assert list(elsewhere.iterdir()) == []
    assert what != "a file for the root" or root.read_text() == "mine"


def test_the_report_of_an_interrupted_run_says_so(desk: Desk) -> None:
    desk.declare("large.gguf")
    desk.lock()
    stop = Stop()
    desk.server.put("/large.gguf", Content(LARGE, etag=lambda: stop.set()))
    report = desk.sync(stop=stop)
    assert (report.exit_code, [error.code for error in report.errors]) == (2, ["interrupted"])
    assert "again to go on" in report.errors[0].hint


def test_a_sync_that_cannot_write_the_lock_at_its_end_tells_what_was_done(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.declare("large.gguf", "small.json")
    desk.lock()
    stray = desk.project.folder / "models/mine"
    stray.parent.mkdir()
    stray.write_text("mine")

    write = durable.write_file

    def denied(path: Path, text: bytes, *, mode: int = 0o600) -> None:
        if path == desk.project.lock:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        write(path, text, mode=mode)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "write_file", denied)
        report = desk.sync(adopt=True)
    assert report.exit_code == 1
    assert [error.code for error in report.errors] == ["permission"]
    assert "gemmalock.lock" in report.errors[0].message
    assert {file.outcome.value for file in report.files} == {"done"}
    assert report.bytes_fetched == len(LARGE)
    assert report.lock is not None
    assert not report.lock.changed
    assert report.pruned == ()
    assert stray.exists()
    desk.server.forget()
    assert desk.sync().lock == gemmalock.LockChange("gemmalock.lock", changed=True)
    assert desk.server.requests == ()


def test_a_sync_that_cannot_write_a_ledger_tells_what_was_done(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.declare("small.json")
    desk.lock()
    write = durable.replace_at

    def full(folder: int, name: str, text: bytes, mode: int) -> None:
        if b"small.json" in text:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        write(folder, name, text, mode)

    monkeypatch.setattr("gemmalock.roots.book.replace_at", full)
    report = desk.sync()
    assert (report.exit_code, [error.code for error in report.errors]) == (1, ["no_space"])
    assert [file.outcome.value for file in report.files] == ["done"]


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ("", "no licence is stated"),
        ("    license: mit\n    tags: [a, b]\n", "the licence is mit, and the tags are #a #b"),
    ],
)
def test_the_reason_of_a_listed_file_is_a_sentence(desk: Desk, extra: str, says: str) -> None:
    desk.project.write_manifest(
        f"version: 1\nmodels:\n  m:\n{extra}    files: [{{url: '{desk.server.origin}/small.json'}}]\n"
    )
    desk.lock()
    session = begin(Call(desk.project.folder))
    (listed,) = run_list(session.workshop, session.papers, session.selection).files
    assert listed.reason == says


def test_dry_runs_change_nothing_but_the_cache(desk: Desk) -> None:
    desk.declare("small.json", "large.gguf")
    before = sorted(desk.project.folder.rglob("*"))
    assert desk.sync(dry_run=True).ok
    assert desk.lock(dry_run=True).ok
    assert sorted(desk.project.folder.rglob("*")) == before


@pytest.mark.parametrize("url", ["file://weights.bin", "FILE://weights.bin"])
def test_a_file_url_needs_no_network(desk: Desk, url: str) -> None:
    (desk.project.folder / "weights.bin").write_bytes(LARGE)
    desk.project.write_manifest(f"version: 1\nmodels:\n  m:\n    files:\n      - {{url: '{url}', path: w.bin}}\n")
    assert desk.lock(offline=True).ok
    assert [file.outcome.value for file in desk.sync(offline=True, dry_run=True).files] == ["planned"]
    report = desk.sync(offline=True)
    assert [(file.outcome.value, file.bytes_fetched) for file in report.files] == [("done", len(LARGE))]
    assert (desk.project.folder / "models/m/w.bin").read_bytes() == LARGE


def test_a_file_that_is_removed_from_the_manifest_is_pruned_and_had_again_for_nothing(desk: Desk) -> None:
    desk.declare("small.json", "large.gguf")
    desk.sync()
    desk.declare("small.json")
    assert [(gone.path, gone.to) for gone in desk.sync().pruned] == [("models/m/large.gguf", "store")]
    desk.declare("small.json", "large.gguf")
    desk.server.forget()
    report = desk.sync()
    assert report.ok
    assert (desk.project.folder / "models/m/large.gguf").read_bytes() == LARGE


def test_status_warns_of_a_stale_lock_and_of_a_root_without_a_ledger(desk: Desk) -> None:
    desk.declare("small.json")
    desk.lock()
    (desk.project.folder / "models").mkdir()
    (desk.project.folder / "models/mine").write_text("mine")
    assert any("--adopt" in warning for warning in gemmalock.status(desk.project.folder).warnings)
    desk.declare("small.json", "large.gguf")
    assert any("the lock is stale" in warning for warning in gemmalock.status(desk.project.folder).warnings)


def test_the_manifest_is_not_read_by_frozen(desk: Desk) -> None:
    desk.declare("small.json")
    desk.lock()
    desk.project.manifest.write_text("this: [is no manifest")
    assert desk.sync(frozen=True).ok
    desk.project.manifest.unlink()
    assert desk.sync(frozen=True).ok
    with pytest.raises(gemmalock.NothingCollected, match=r"no `gemmalock\.yaml`"):
        desk.sync()


def test_a_run_that_is_refused_leaves_no_trace_in_the_root(desk: Desk) -> None:
    desk.declare("large.gguf")
    desk.lock()
    report = desk.sync(require_digests=True)
    assert errors_of(report) == [("large.gguf", "policy")]
    assert not (desk.project.folder / "models").exists()


def test_another_lock_of_the_same_manifest_is_gone_by(desk: Desk) -> None:
    """Somebody else has locked, and learned a digest, between this run's questions and its lock."""
    desk.declare("large.gguf", "small.json")
    desk.lock(hash=True)
    theirs = desk.project.lock.read_bytes()
    desk.project.lock.unlink()
    desk.locked_meanwhile(theirs)
    report = desk.sync()
    assert report.ok, report
    assert desk.project.lock.read_bytes() == theirs
    assert (desk.project.folder / "models/m/large.gguf").read_bytes() == LARGE


def test_another_lock_of_another_manifest_is_refused(desk: Desk) -> None:
    desk.declare("large.gguf")
    desk.lock()
    theirs = desk.project.lock.read_bytes()
    desk.project.lock.unlink()
    desk.declare("large.gguf", "small.json")
    desk.locked_meanwhile(theirs)
    with pytest.raises(RunRefused, match="changed during the run"):
        desk.sync()
    assert desk.project.lock.read_bytes() == theirs

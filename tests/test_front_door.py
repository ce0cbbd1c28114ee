"""`import gemmalock`: values come back, errors are raised; it never prints, never exits, never reads `sys.argv`."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import gemmalock
from gemmalock.stopping import Stop
from tests.running import Project, environment
from tests.servers.fileserver import Content, FileServer

LARGE = bytes(range(256)) * 5000
SMALL = b'{"version": "1.0"}'


@pytest.fixture
def server(project: Project) -> Iterator[FileServer]:
    """A model of two files, and a project that declares it."""
    with FileServer({"/model.gguf": LARGE, "/tokenizer.json": SMALL}) as running:
        project.write_manifest(
            "version: 1\nmodels:\n  gemma:\n    files:\n"
            f"      - url: {running.origin}/model.gguf\n      - url: {running.origin}/tokenizer.json\n"
        )
        yield running


@pytest.fixture(autouse=True)
def _argv_of_another_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["other", "--json", "sync", "--frozen"])


@pytest.fixture(autouse=True)
def _nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capfd.readouterr() == ("", "")


def statuses(report: gemmalock.Report) -> dict[str, str]:
    """The files of a report with how they ended."""
    return {file.id.rpartition("::")[2]: file.outcome.value for file in report.files}


# --- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", gemmalock.__all__)
def test_every_name_of_the_door_resolves_and_is_listed(name: str) -> None:
    assert getattr(gemmalock, name) is not None
    assert name in dir(gemmalock)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'snyc'"):
        gemmalock.snyc  # noqa: B018


def test_importing_everything_by_star_works_in_a_fresh_interpreter_and_is_silent() -> None:
    code = "from gemmalock import *; assert callable(sync) and callable(lock) and callable(path), sync"
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_importing_the_door_opens_nothing_heavy() -> None:
    code = "import sys, gemmalock; print(sorted(name for name in sys.modules if name.startswith('gemmalock')))"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert done.stdout.strip() == "['gemmalock', 'gemmalock.version']"


@pytest.mark.parametrize("name", sorted(set(gemmalock.__all__) - {"__version__"}))
def test_every_type_of_the_door_is_frozen_an_enum_an_error_or_the_registry(name: str) -> None:
    value = getattr(gemmalock, name)
    if not isinstance(value, type):
        assert callable(value)
    elif dataclasses.is_dataclass(value):
        assert value.__dataclass_params__.frozen  # type: ignore[attr-defined]
    else:
        assert issubclass(value, (enum.Enum, gemmalock.GemmalockError)) or value is gemmalock.TaskRegistry


def test_every_error_of_the_door_is_below_its_root() -> None:
    errors = [getattr(gemmalock, name) for name in gemmalock.__all__ if name[0].isupper()]
    kinds = [kind for kind in errors if isinstance(kind, type) and issubclass(kind, BaseException)]
    assert kinds
    assert all(issubclass(kind, gemmalock.GemmalockError) for kind in kinds)


# --- the verbs ---------------------------------------------------------------------------------------------


def test_lock_sync_verify_status_and_path_return_what_happened(project: Project, server: FileServer) -> None:
    locked = gemmalock.lock(project.folder)
    assert locked.ok
    assert locked.lock == gemmalock.LockChange("gemmalock.lock", changed=True)
    before = gemmalock.status(project.folder)
    assert [file.resume_status for file in before.files] == [
        gemmalock.ResumeStatus.FILE_NOT_FOUND, gemmalock.ResumeStatus.IN_STORE,
    ]  # fmt: skip
    done = gemmalock.sync(str(project.folder))
    assert done.exit_code is gemmalock.ExitCode.OK
    assert statuses(done) == {"model.gguf": "done", "tokenizer.json": "done"}
    assert done.seconds > 0
    assert gemmalock.verify(project.folder).summary.done == 2
    assert gemmalock.path("gemma::model.gguf", project.folder).read_bytes() == LARGE
    assert gemmalock.path("gemma", project.folder) == project.folder / "models/gemma"
    assert statuses(gemmalock.sync(project.folder)) == {"model.gguf": "skipped", "tokenizer.json": "skipped"}


def test_without_a_folder_it_is_the_current_one(
    project: Project, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.folder)
    assert gemmalock.sync().ok
    assert gemmalock.path("gemma::tokenizer.json").read_bytes() == SMALL


def test_a_file_that_fails_is_in_the_report_and_not_raised(project: Project, server: FileServer) -> None:
    gemmalock.lock(project.folder)
    del server.files["/model.gguf"]
    report = gemmalock.sync(project.folder)
    assert report.exit_code is gemmalock.ExitCode.FAILED
    assert statuses(report) == {"model.gguf": "failed", "tokenizer.json": "done"}
    errors = [file.error.code for file in report.files if file.error is not None]
    assert errors == ["not_found"]


@pytest.mark.parametrize("select", ["gemmalock.yaml::gemma::tokenizer.json", ["gemmalock.yaml::gemma::tokenizer.json"]])
def test_a_selection_is_a_selector_or_several(project: Project, server: FileServer, select: str | list[str]) -> None:
    assert statuses(gemmalock.sync(project.folder, select=select)) == {"tokenizer.json": "done"}
    assert statuses(gemmalock.status(project.folder, select=select)) == {"tokenizer.json": "skipped"}
    assert statuses(gemmalock.verify(project.folder, select=select)) == {"tokenizer.json": "done"}


def test_the_options_are_the_flags_of_the_command(project: Project, server: FileServer) -> None:
    gemmalock.lock(project.folder)
    assert gemmalock.sync(project.folder, dry_run=True).summary.planned == 2
    assert gemmalock.sync(project.folder, check=True).exit_code == 1
    assert gemmalock.sync(project.folder, offline=True).exit_code == 1
    assert gemmalock.sync(project.folder, locked=True, jobs=1, link_mode="copy", limit_rate="1G").ok
    (project.folder / "models/notes.txt").write_text("mine")
    assert gemmalock.sync(project.folder, no_prune=True).pruned == ()
    assert [gone.path for gone in gemmalock.sync(project.folder, frozen=True).pruned] == ["models/notes.txt"]
    assert gemmalock.lock(project.folder, check=True).ok
    assert gemmalock.lock(project.folder, upgrade_model="gemma").summary.skipped == 2
    assert gemmalock.lock(project.folder, upgrade_model=["gemma"], dry_run=True).summary.skipped == 2


CALLS: dict[str, Callable[..., object]] = {
    "sync": gemmalock.sync,
    "lock": gemmalock.lock,
    "status": gemmalock.status,
    "verify": gemmalock.verify,
    "path": lambda folder, **rest: gemmalock.path("gemma", folder, **rest),
    "resume_status": lambda folder, **rest: gemmalock.resume_status("gemma::model.gguf", folder, **rest),
    "resume_statuses": lambda folder, **rest: gemmalock.resume_statuses("gemma", folder, **rest),
    "TaskRegistry": lambda folder, **rest: gemmalock.TaskRegistry(folder, **rest),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_unknown_keyword_is_a_usage_error_that_says_what_was_meant(
    project: Project, server: FileServer, name: str
) -> None:
    with pytest.raises(gemmalock.UsageError, match=f"`{name}` has no option `ofline`") as caught:
        CALLS[name](project.folder, ofline=True)
    assert caught.value.hint == "did you mean `offline`?"
    assert not project.lock.exists()


@pytest.mark.parametrize("name", CALLS)
def test_a_setting_that_cannot_be_is_a_setting_error(project: Project, server: FileServer, name: str) -> None:
    with pytest.raises(gemmalock.SettingInvalid, match="`jobs` must be a whole number of at least 1, not `many`"):
        CALLS[name](project.folder, jobs="many")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(gemmalock.UsageError, match=r"`.*/nowhere` does not exist"):
        gemmalock.sync(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("call", "options"),
    [
        (gemmalock.sync, {"locked": "yes"}),
        (gemmalock.sync, {"dry_run": 1}),
        (gemmalock.sync, {"frozen": None}),
        (gemmalock.sync, {"locked": True, "frozen": True}),
        (gemmalock.lock, {"check": "no"}),
        (gemmalock.lock, {"upgrade_model": 7}),
        (gemmalock.lock, {"upgrade_model": [7]}),
        (gemmalock.lock, {"upgrade_model": "gemmma"}),
    ],
)
def test_an_option_of_a_wrong_type_or_without_sense_is_a_usage_error(
    project: Project, server: FileServer, call: Callable[..., object], options: dict[str, object]
) -> None:
    with pytest.raises(gemmalock.UsageError):
        call(project.folder, **options)
    assert not project.lock.exists()
    assert not (project.folder / "models").exists()


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"TaskRegistry"}))
def test_where_there_is_no_project_nothing_is_collected(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty/.git").mkdir(parents=True)
    with pytest.raises(gemmalock.NothingCollected):
        CALLS[name](tmp_path / "empty")


@pytest.mark.parametrize("name", ["status", "verify", "path", "resume_status", "resume_statuses"])
def test_what_needs_a_lock_says_so(project: Project, server: FileServer, name: str) -> None:
    with pytest.raises(gemmalock.LockMissing):
        CALLS[name](project.folder)


def test_a_broken_manifest_is_raised_with_all_its_problems(project: Project) -> None:
    project.write_manifest("version: 1\nmodles: {}\nroot: ../out\n")
    with pytest.raises(gemmalock.ManifestInvalid) as caught:
        gemmalock.sync(project.folder)
    assert [problem.line for problem in caught.value.problems] == [2, 3]
    assert all(isinstance(problem, gemmalock.Problem) for problem in caught.value.problems)


def test_a_stale_lock_is_raised_with_its_drifts(project: Project, server: FileServer) -> None:
    gemmalock.lock(project.folder)
    project.write_manifest(project.manifest.read_text().replace("tokenizer.json", "other.json"))
    with pytest.raises(gemmalock.LockOutdated) as caught:
        gemmalock.sync(project.folder, locked=True)
    assert caught.value.drifts
    assert all(isinstance(drift, gemmalock.Drift) for drift in caught.value.drifts)


def test_what_is_not_in_place_has_no_path(project: Project, server: FileServer) -> None:
    gemmalock.lock(project.folder)
    for name in ("gemma", "gemma::model.gguf", "gemma::nothing", "nothing"):
        with pytest.raises(gemmalock.SourceError, match=name):
            gemmalock.path(name, project.folder)


def test_a_stop_from_another_thread_ends_a_sync_that_keeps_what_came(project: Project, server: FileServer) -> None:
    server.put("/model.gguf", Content(LARGE * 10, throttle=2_000_000))
    stop = Stop()
    asked = threading.Event()
    original = server.files["/model.gguf"]

    def etag() -> str:
        asked.set()
        return '"v1"'

    def wake() -> None:
        asked.wait(30)
        stop.set()

    original.etag = etag
    gemmalock.lock(project.folder)
    asked.clear()
    waker = threading.Thread(target=wake)
    waker.start()
    report = gemmalock.sync(project.folder, stop=stop)
    waker.join(30)
    assert report.exit_code is gemmalock.ExitCode.INTERRUPTED
    assert statuses(report)["model.gguf"] == "cancelled"
    original.throttle = None
    assert gemmalock.sync(project.folder).ok


# --- the registry of tasks ---------------------------------------------------------------------------------

TASK = "5c0c7c3e-0000-5000-8000-000000000001"
OTHER = "5c0c7c3e-0000-5000-8000-000000000002"


def test_what_is_registered_is_found_by_every_process_and_goes_when_it_is_unregistered(project: Project) -> None:
    registry = gemmalock.TaskRegistry(project.folder)
    assert registry.all() == {}
    assert registry.get("gemma/model.gguf") is None
    registry.register("gemma/model.gguf", TASK)
    registry.register("other.bin", OTHER)
    again = gemmalock.TaskRegistry(project.folder)
    assert again.get("gemma/model.gguf") == TASK
    assert again.all() == {"gemma/model.gguf": TASK, "other.bin": OTHER}
    again.unregister("gemma/model.gguf")
    again.unregister("gemma/model.gguf")
    assert registry.all() == {"other.bin": OTHER}


def test_registering_again_replaces_the_task(project: Project) -> None:
    registry = gemmalock.TaskRegistry(project.folder)
    registry.register("a", TASK)
    registry.register("a", TASK)
    registry.register("a", OTHER)
    assert registry.all() == {"a": OTHER}


def test_two_files_may_be_one_task(project: Project) -> None:
    registry = gemmalock.TaskRegistry(project.folder)
    registry.register("a", TASK)
    registry.register("b", TASK)
    registry.unregister("a")
    assert registry.all() == {"b": TASK}


@pytest.mark.parametrize("task_id", ["", "x", "../../etc/passwd", "5c0c7c3e", None, 7])
def test_a_task_id_is_a_uuid(project: Project, task_id: str) -> None:
    registry = gemmalock.TaskRegistry(project.folder)
    with pytest.raises(gemmalock.UsageError, match="is not a task ID"):
        registry.register("a", task_id)
    assert registry.all() == {}


def test_a_uuid_is_registered_in_its_one_spelling(project: Project) -> None:
    registry = gemmalock.TaskRegistry(project.folder)
    registry.register("a", "{" + TASK.upper() + "}")
    assert registry.get("a") == TASK


def test_the_registry_needs_no_project(tmp_path: Path) -> None:
    (tmp_path / "empty/.git").mkdir(parents=True)
    registry = gemmalock.TaskRegistry(tmp_path / "empty")
    registry.register("a", TASK)
    assert registry.get("a") == TASK


def test_a_locked_file_is_registered_by_its_path(project: Project) -> None:
    file = gemmalock.LockedFile.pin(
        name="m.gguf", path="gemma/m.gguf", url="https://h.example/m.gguf", size=1, etag=None, sha256=None
    )
    registry = gemmalock.TaskRegistry(project.folder)
    registry.register(file, file.task_id)
    assert registry.get("gemma/m.gguf") == registry.get(file) == file.task_id
    registry.unregister(file)
    assert registry.all() == {}


def test_a_task_is_registered_while_it_is_under_way_and_gone_when_the_file_is_in_place(
    project: Project, server: FileServer
) -> None:
    gemmalock.lock(project.folder)
    seen: list[dict[str, str]] = []

    def etag() -> str:
        seen.append(dict(gemmalock.TaskRegistry(project.folder).all()))
        return '"v1"'

    server.put("/model.gguf", Content(LARGE, etag=etag))
    gemmalock.lock(project.folder, upgrade=True)
    seen.clear()
    assert gemmalock.sync(project.folder).ok
    (task,) = [file for file in gemmalock.status(project.folder).files if file.id.endswith("model.gguf")]
    assert seen == [{task.id: task.task_id}]
    assert gemmalock.TaskRegistry(project.folder).all() == {}


# --- resume status -----------------------------------------------------------------------------------------


def test_resume_statuses_are_by_the_name_in_the_model(project: Project, server: FileServer) -> None:
    gemmalock.lock(project.folder)
    assert gemmalock.resume_statuses("gemma", project.folder) == {
        "model.gguf": gemmalock.ResumeStatus.FILE_NOT_FOUND, "tokenizer.json": gemmalock.ResumeStatus.IN_STORE,
    }  # fmt: skip
    gemmalock.sync(project.folder)
    assert set(gemmalock.resume_statuses("gemma", project.folder).values()) == {gemmalock.ResumeStatus.FILE_COMPLETE}


def test_a_file_is_named_in_any_way_that_is_one(project: Project, server: FileServer) -> None:
    gemmalock.sync(project.folder)
    task_id = gemmalock.task_id(f"{server.origin}/model.gguf", len(LARGE), server.files["/model.gguf"].etag_now())
    digest = hashlib.sha256(LARGE).hexdigest()
    file = gemmalock.LockedFile(
        "model.gguf", "gemma/model.gguf", f"{server.origin}/model.gguf", len(LARGE), None, digest, task_id
    )
    for name in ("gemmalock.yaml::gemma::model.gguf", "gemma::model.gguf", "models/gemma/model.gguf",
                 "gemma/model.gguf", task_id, file):  # fmt: skip
        assert gemmalock.resume_status(name, project.folder) is gemmalock.ResumeStatus.FILE_COMPLETE


def test_of_two_files_with_one_task_the_one_that_is_meant_is_looked_at(project: Project, server: FileServer) -> None:
    url = f"{server.origin}/tokenizer.json"
    project.write_manifest(f"version: 1\nmodels:\n  a: {{files: [{{url: {url}}}]}}\n  b: {{files: [{{url: {url}}}]}}\n")
    gemmalock.sync(project.folder)
    (project.folder / "models/b/tokenizer.json").unlink()
    etag = server.files["/tokenizer.json"].etag_now()
    for model, status in (("a", gemmalock.ResumeStatus.FILE_COMPLETE), ("b", gemmalock.ResumeStatus.IN_STORE)):
        file = gemmalock.LockedFile.pin(
            name="tokenizer.json", path=f"{model}/tokenizer.json", url=url, size=len(SMALL), etag=etag, sha256=None
        )
        assert gemmalock.resume_status(file, project.folder) is status


@pytest.mark.parametrize("name", ["gemma::nothing", "nothing", "", "gemma"])
def test_a_file_that_the_lock_does_not_have_is_not_found(project: Project, server: FileServer, name: str) -> None:
    gemmalock.lock(project.folder)
    with pytest.raises(gemmalock.SourceError, match=f"the lock has no `{name}`"):
        gemmalock.resume_status(name, project.folder)


def test_a_model_that_the_lock_does_not_have_is_not_found(project: Project, server: FileServer) -> None:
    gemmalock.lock(project.folder)
    with pytest.raises(gemmalock.SourceError, match="no model `gemmma`"):
        gemmalock.resume_statuses("gemmma", project.folder)

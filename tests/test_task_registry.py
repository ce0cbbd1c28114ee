"""`gemmalock.TaskRegistry`: one project's files and their tasks, in the words that `sync` and `gemmalock tasks` use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gemmalock
from tests.running import Gemmalock, Project
from tests.servers.fileserver import Content, FileServer

TASK = "5c0c7c3e-0000-5000-8000-000000000001"
OTHER = "5c0c7c3e-0000-5000-8000-000000000002"
NODE = "gemmalock.yaml::m::f.bin"
BODY = bytes(range(256)) * 4096


@pytest.fixture
def server() -> Iterator[FileServer]:
    """Serves `f.bin`, whose connection breaks after a quarter of it."""
    with FileServer({"/f.bin": Content(BODY, cut_after=len(BODY) // 4, repr_digest=True)}) as running:
        yield running


@pytest.fixture
def make(tmp_path: Path, server: FileServer) -> Callable[[str], Path]:
    """Makes projects that all declare `f.bin` by one node ID; where they are."""

    def made(name: str) -> Path:
        (tmp_path / name).mkdir()
        Project(tmp_path / name).write_manifest(
            f"version: 1\nmodels:\n  m:\n    files:\n      - url: {server.origin}/f.bin\n"
        )
        return tmp_path / name

    return made


@pytest.fixture
def p(make: Callable[[str], Path]) -> Path:
    """A project."""
    return make("p")


@pytest.fixture
def q(make: Callable[[str], Path]) -> Path:
    """Another project."""
    return make("q")


def begun(folder: Path) -> gemmalock.LockedFile:
    """Begin the project's download, which breaks. The file as it is locked."""
    assert gemmalock.sync(folder, retries=0).exit_code == 1
    return locked(folder)


def locked(folder: Path) -> gemmalock.LockedFile:
    """The project's file, as it is locked."""
    from gemmalock.codec.lock_json import read_lock

    (node,) = read_lock((folder / "gemmalock.lock").read_bytes(), "gemmalock.lock").nodes()
    return node.file


# --- one project's, and no other's -------------------------------------------------------------------------


def test_a_name_is_each_projects_own(p: Path, q: Path) -> None:
    here, there = gemmalock.TaskRegistry(p), gemmalock.TaskRegistry(q)
    here.register(NODE, TASK)
    assert there.get(NODE) is None
    assert there.all() == {}
    there.register(NODE, OTHER)
    assert (here.all(), there.all()) == ({NODE: TASK}, {NODE: OTHER})
    there.unregister(NODE)
    assert (here.all(), there.all()) == ({NODE: TASK}, {})


@pytest.mark.parametrize("theirs", ["weights", "other"])
def test_of_one_task_each_project_has_its_own_names(p: Path, q: Path, theirs: str) -> None:
    here, there = gemmalock.TaskRegistry(p), gemmalock.TaskRegistry(q)
    here.register("weights", TASK)
    there.register(theirs, TASK)
    assert (here.all(), there.all()) == ({"weights": TASK}, {theirs: TASK})
    here.unregister("weights")
    assert (here.all(), there.all()) == ({}, {theirs: TASK})


def test_what_two_projects_began_is_forgotten_by_one_alone(p: Path, q: Path) -> None:
    task_id = begun(p).task_id
    begun(q)
    here, there = gemmalock.TaskRegistry(p), gemmalock.TaskRegistry(q)
    assert here.all() == there.all() == {NODE: task_id}
    here.unregister(NODE)
    assert (here.all(), there.all()) == ({}, {NODE: task_id})
    assert gemmalock.resume_status(NODE, q) is gemmalock.ResumeStatus.CAN_RESUME


def test_a_task_of_two_projects_is_listed_with_each_name_once(p: Path, q: Path) -> None:
    begun(p)
    begun(q)
    (task,) = Gemmalock(p)("tasks", "--json").json()["facts"]["tasks"]
    assert task["nodes"] == [NODE]


# --- one file, however it is named -------------------------------------------------------------------------


def test_an_outcome_means_the_node_of_its_id(p: Path) -> None:
    (outcome,) = gemmalock.sync(p, retries=0).files
    registry = gemmalock.TaskRegistry(p)
    assert registry.get(outcome) == outcome.task_id
    assert gemmalock.resume_status(outcome, p) is gemmalock.resume_status(NODE, p)
    registry.unregister(outcome)
    assert registry.all() == {}


@pytest.mark.parametrize("nothing", [None, 3, b"weights", Path("weights")])
def test_what_cannot_be_a_file_is_an_error_of_usage(p: Path, nothing: Any) -> None:
    gemmalock.lock(p)
    registry = gemmalock.TaskRegistry(p)
    calls: tuple[Callable[[], object], ...] = (
        lambda: registry.get(nothing),
        lambda: registry.register(nothing, TASK),
        lambda: registry.unregister(nothing),
        lambda: gemmalock.resume_status(nothing, p),
    )
    for call in calls:
        with pytest.raises(gemmalock.UsageError, match="is not a file"):
            call()


SPELLINGS: tuple[Callable[[gemmalock.LockedFile], str | gemmalock.LockedFile], ...] = (
    lambda file: file,
    lambda file: NODE,
    lambda file: "m::f.bin",
    lambda file: "models/m/f.bin",
    lambda file: "m/f.bin",
    lambda file: file.task_id,
)
WORDS = ("LockedFile", "node ID", "MODEL::FILE", "path in the project", "path in the root", "task ID")


@pytest.mark.parametrize("spelt", SPELLINGS, ids=WORDS)
def test_what_sync_registered_is_found_however_the_file_is_named(
    p: Path, spelt: Callable[[gemmalock.LockedFile], str | gemmalock.LockedFile]
) -> None:
    file = begun(p)
    registry = gemmalock.TaskRegistry(p)
    assert registry.get(spelt(file)) == file.task_id
    registry.unregister(spelt(file))
    assert registry.all() == {}


@pytest.mark.parametrize("spelt", SPELLINGS, ids=WORDS)
def test_however_a_file_is_named_it_is_registered_as_sync_does(
    p: Path, spelt: Callable[[gemmalock.LockedFile], str | gemmalock.LockedFile]
) -> None:
    gemmalock.lock(p, hash=False)
    file = locked(p)
    gemmalock.TaskRegistry(p).register(spelt(file), file.task_id)
    assert gemmalock.TaskRegistry(p).all() == {NODE: file.task_id}
    (task,) = Gemmalock(p)("tasks", "--json").json()["facts"]["tasks"]
    assert (task["task_id"], task["nodes"]) == (file.task_id, [NODE])


def test_a_file_of_an_earlier_lock_is_the_one_at_its_path_now(p: Path, server: FileServer) -> None:
    gemmalock.lock(p)
    earlier = locked(p)
    server.put("/f.bin", Content(BODY[::-1], cut_after=1000, repr_digest=True))
    gemmalock.lock(p, upgrade=True)
    task_id = begun(p).task_id
    assert gemmalock.TaskRegistry(p).get(earlier) == task_id != earlier.task_id
    with pytest.raises(gemmalock.SourceError):
        gemmalock.resume_status(earlier, p)


def test_the_surest_way_to_read_a_name_wins(tmp_path: Path, server: FileServer) -> None:
    """`models/x.bin` is the path of one file in the project, and of another in the root."""
    server.files = {"/x.bin": Content(b"first"), "/y/x.bin": Content(b"second")}
    Project(tmp_path).write_manifest(
        "version: 1\nmodels:\n"
        f"  a:\n    path: models\n    files: [{{url: {server.origin}/x.bin}}]\n"
        f"  b:\n    files: [{{url: {server.origin}/y/x.bin}}]\n"
    )
    gemmalock.lock(tmp_path)
    registry = gemmalock.TaskRegistry(tmp_path)
    registry.register("models/x.bin", TASK)
    registry.register("models/b/x.bin", OTHER)
    assert registry.all() == {"gemmalock.yaml::a::x.bin": TASK, "gemmalock.yaml::b::x.bin": OTHER}


def test_a_name_that_no_lock_knows_stays_as_it_is(p: Path) -> None:
    gemmalock.lock(p)
    registry = gemmalock.TaskRegistry(p)
    registry.register("weights", TASK)
    assert registry.all() == {"weights": TASK}


def test_what_was_registered_before_there_was_a_lock_is_still_found(p: Path) -> None:
    registry = gemmalock.TaskRegistry(p)
    registry.register("m::f.bin", TASK)
    gemmalock.lock(p)
    assert registry.get("m::f.bin") == TASK
    registry.register("m::f.bin", OTHER)
    assert registry.all() == {NODE: OTHER}
    registry.unregister("m/f.bin")
    assert registry.all() == {}


def test_a_lock_that_cannot_be_read_is_not_taken_for_none(p: Path) -> None:
    (p / "gemmalock.lock").write_text("{")
    registry = gemmalock.TaskRegistry(p)
    with pytest.raises(gemmalock.LockInvalid):
        registry.register("m::f.bin", TASK)


# --- what a registration is worth --------------------------------------------------------------------------


@pytest.mark.parametrize("then", [None, OTHER], ids=["nothing", "another task"])
def test_the_bytes_of_a_task_that_was_unregistered_count_no_more(p: Path, server: FileServer, then: str | None) -> None:
    begun(p)
    assert gemmalock.resume_status(NODE, p) is gemmalock.ResumeStatus.CAN_RESUME
    registry = gemmalock.TaskRegistry(p)
    registry.unregister(NODE)
    if then is not None:
        registry.register(NODE, then)
    assert gemmalock.resume_status(NODE, p) is gemmalock.ResumeStatus.NO_TASK
    server.files["/f.bin"].cut_after = None
    (outcome,) = gemmalock.sync(p).files
    assert (outcome.resume_status, outcome.bytes_kept) == (gemmalock.ResumeStatus.NO_TASK, 0)
    assert outcome.bytes_fetched == len(BODY)


def test_another_task_for_a_file_makes_its_old_partial_nobodys(p: Path) -> None:
    begun(p)
    gemmalock.TaskRegistry(p).register(NODE, OTHER)
    assert gemmalock.resume_status(NODE, p) is gemmalock.ResumeStatus.NO_TASK
    assert gemmalock.TaskRegistry(p).get(NODE) == OTHER


# --- how long it lasts -------------------------------------------------------------------------------------


def test_a_sync_leaves_what_a_program_registered_under_a_name_of_its_own(p: Path, server: FileServer) -> None:
    registry = gemmalock.TaskRegistry(p)
    registry.register("weights", TASK)
    file = begun(p)
    assert registry.all() == {NODE: file.task_id, "weights": TASK}
    server.files["/f.bin"].cut_after = None
    assert gemmalock.sync(p).exit_code == 0
    assert registry.all() == {"weights": TASK}


def test_of_two_tasks_of_one_file_the_later_one_is_told(p: Path, server: FileServer) -> None:
    earlier = begun(p)
    (record,) = (Path(os.environ["GEMMALOCK_STORE"]) / "tasks").glob("*/record.json")
    record.write_text(record.read_text().replace('"begun": "2', '"begun": "1'))
    server.put("/f.bin", Content(BODY[::-1], cut_after=1000, repr_digest=True))
    gemmalock.lock(p, upgrade=True)
    later = begun(p)
    assert later.task_id != earlier.task_id
    assert gemmalock.TaskRegistry(p).all() == {NODE: later.task_id}

"""One look at the disk: what stands where, and who is asked for it. It never raises, and it changes nothing."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gemmalock.app.wiring import Silence
from gemmalock.errors import Interrupted, PermissionRefused
from gemmalock.lockfile import LockedFile, LockedManifest, LockedModel, Node
from gemmalock.looking import Reading, look, read_through
from gemmalock.machine import Arrival, Claim, PlaceSight, Watch
from gemmalock.plan import Place, ResumeStatus, Sight, TaskSight, plan
from gemmalock.stopping import Stop
from tests.registry.making import put_partial
from tests.registry.twin import MemoryRegistry
from tests.roots.memory_root import MemoryRoot
from tests.store.memory_store import MemoryStore

BODY = b"weights" * 100
SHA256 = hashlib.sha256(BODY).hexdigest()


def node_of(name: str = "m.gguf", *, sha256: str | None = SHA256) -> Node:
    """A locked file with BODY in it."""
    url = f"https://h.example/{name}"
    file = LockedFile.pin(name=name, path=f"m/{name}", url=url, size=len(BODY), etag='"v1"', sha256=sha256)
    model = LockedModel("m", (file,))
    return Node(LockedManifest("gemmalock.yaml", "models", "sha256:0", (model,)), model, file)


@dataclass
class Diary(Silence):
    """A reporter that writes down what is read."""

    lines: list[tuple[str, str]] = field(default_factory=list)

    def hashing(self, node: Node) -> None:
        self.lines.append(("hashing", node.file.name))

    def progress(self, id: str, have: int, size: int) -> None:
        assert 0 <= have <= size
        self.lines.append(("progress", id.rpartition("::")[2]))


class LookedAt:
    """A machine.Machine of twins that remembers which of them were asked for."""

    def __init__(self, folder: Path) -> None:
        self.lock_path = folder / "gemmalock.lock"
        self.asked: list[str] = []
        self.the_root = MemoryRoot()
        (folder / "store").mkdir()
        self.the_store = MemoryStore(folder / "store")
        self.the_registry = MemoryRegistry(folder / "tasks")

    @property
    def store(self) -> MemoryStore:
        self.asked.append("store")
        return self.the_store

    @property
    def registry(self) -> MemoryRegistry:
        self.asked.append("registry")
        return self.the_registry

    def root(self, manifest_path: str) -> MemoryRoot:
        return self.the_root

    def adopt(self, file: LockedFile) -> str | None:
        raise AssertionError("a look takes nothing")

    def fetch(self, node: Node, claim: Claim, watch: Watch) -> Arrival:
        raise AssertionError("a look fetches nothing")


@pytest.fixture
def machine(tmp_path: Path) -> LookedAt:
    """A machine that has nothing."""
    return LookedAt(tmp_path)


def in_place(machine: LookedAt) -> None:
    """BODY stands in the root, and the ledger knows it."""
    object_path = machine.the_store.folder / "spare"
    object_path.write_bytes(BODY)
    machine.the_root.place(node_of().file, object_path, SHA256)


def in_store(machine: LookedAt) -> None:
    """The store has BODY."""
    machine.the_store.object_path(SHA256).write_bytes(BODY)


def begun(machine: LookedAt) -> None:
    """A part of BODY came, and whoever fetched it is gone."""
    claim = machine.the_registry.claim(node_of(), machine.lock_path)
    put_partial(claim.folder, BODY[:500], etag='"v1"')
    claim.release()


def held(machine: LookedAt) -> None:
    """Somebody fetches it."""
    machine.the_registry.claim(node_of(), machine.lock_path)


@pytest.mark.parametrize(
    ("arranged", "status", "asked"),
    [
        ([], ResumeStatus.FILE_NOT_FOUND, ["store", "registry"]),
        ([in_place], ResumeStatus.FILE_COMPLETE, []),
        ([in_place, in_store, begun], ResumeStatus.FILE_COMPLETE, []),
        ([in_store], ResumeStatus.IN_STORE, ["store"]),
        ([in_store, begun], ResumeStatus.IN_STORE, ["store"]),
        ([begun], ResumeStatus.CAN_RESUME, ["store", "registry"]),
        ([held], ResumeStatus.ACTIVE, ["store", "registry"]),
    ],
)
def test_store_and_tasks_are_asked_only_about_what_is_not_in_place(
    machine: LookedAt, arranged: list[Callable[[LookedAt], None]], status: ResumeStatus, asked: list[str]
) -> None:
    for arrange in arranged:
        arrange(machine)
    nodes = (node_of(),)
    planned = plan(nodes, look(nodes, machine))
    assert planned.files[0].resume_status is status
    assert machine.asked == asked


def test_a_file_whose_digest_nobody_knows_cannot_be_in_the_store(machine: LookedAt) -> None:
    in_store(machine)
    nodes = (node_of(sha256=None),)
    assert look(nodes, machine).sights == {nodes[0].id: Sight(Place.ABSENT, task=TaskSight())}


def test_a_task_that_was_fetched_for_somebody_else_is_in_the_store(machine: LookedAt) -> None:
    in_store(machine)
    nodes = (node_of(sha256=None),)
    machine.the_store.learn(nodes[0].file.task_id, SHA256)
    assert look(nodes, machine).sights == {nodes[0].id: Sight(Place.ABSENT, in_store=SHA256)}


def test_who_reads_the_bytes_sees_what_a_stat_does_not_tell(machine: LookedAt) -> None:
    in_place(machine)
    file = node_of().file
    machine.the_root.disk.files[file.path].content = BODY[:-1] + b"!"
    nodes = (node_of(),)
    assert look(nodes, machine).sights[nodes[0].id].place is Place.KNOWN
    seen = read_through(nodes, machine, Reading(Diary(), Stop()))
    assert seen.sights[nodes[0].id].place is Place.OTHER


def test_who_reads_the_bytes_of_many_files_sees_the_same_as_one_by_one(machine: LookedAt) -> None:
    in_place(machine)
    in_store(machine)
    nodes = (node_of("absent.gguf"), node_of(), node_of("other.gguf", sha256=None))
    diary = Diary()
    assert read_through(nodes, machine, Reading(diary, Stop(), at_once=3)) == look(nodes, machine)
    assert diary.lines == [], "what is read in one go is not worth a word"


def test_a_file_that_is_read_in_pieces_is_told_of(machine: LookedAt, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(file: LockedFile, *, verify: bool, on_read: Callable[[int], None]) -> PlaceSight:
        for done in (300, len(BODY), len(BODY) + 7):
            on_read(done)
        return PlaceSight(Place.KNOWN)

    monkeypatch.setattr(machine.the_root, "look", read)
    diary = Diary()
    read_through((node_of(),), machine, Reading(diary, Stop()))
    assert diary.lines == [("hashing", "m.gguf"), *[("progress", "m.gguf")] * 3]


def test_many_files_are_read_at_once(machine: LookedAt, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(3, timeout=30)

    def wait(file: LockedFile, *, verify: bool, on_read: Callable[[int], None] | None = None) -> PlaceSight:
        together.wait()
        return PlaceSight(Place.KNOWN)

    monkeypatch.setattr(machine.the_root, "look", wait)
    nodes = tuple(node_of(f"{number}.gguf") for number in range(3))
    seen = read_through(nodes, machine, Reading(Diary(), Stop(), at_once=3))
    assert {sight.place for sight in seen.sights.values()} == {Place.KNOWN}


def test_a_stop_ends_the_reading(machine: LookedAt, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, over = Stop(), threading.Event()

    def hang(file: LockedFile, *, verify: bool, on_read: Callable[[int], None] | None = None) -> PlaceSight:
        stop.set()
        over.wait()
        raise Interrupted("interrupted")

    monkeypatch.setattr(machine.the_root, "look", hang)
    try:
        with pytest.raises(Interrupted):
            read_through((node_of(),), machine, Reading(Diary(), stop))
    finally:
        over.set()


def test_a_store_that_cannot_be_read_is_a_sight(machine: LookedAt, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(sha256: str, size: int) -> bool:
        raise PermissionRefused("cannot read the store: Permission denied")

    monkeypatch.setattr(machine.the_store, "has", refuse)
    nodes = (node_of(),)
    assert look(nodes, machine).sights[nodes[0].id] == Sight(
        Place.UNREADABLE, "cannot read the store: Permission denied"
    )


def test_an_interruption_ends_the_look(machine: LookedAt, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(file: LockedFile, *, verify: bool) -> PlaceSight:
        raise Interrupted("interrupted")

    monkeypatch.setattr(machine.the_root, "look", interrupt)
    with pytest.raises(Interrupted):
        look((node_of(),), machine)


def test_a_look_changes_nothing(machine: LookedAt, tmp_path: Path) -> None:
    begun(machine)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    look((node_of(), node_of("other.gguf")), machine)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before
    assert machine.the_root.disk.files == {}

"""Carrying a plan out over twins of the ports: the real transfer, roots, store and tasks in memory, no socket."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.errors import (
    Busy,
    ConnectionFailed,
    FileError,
    Forbidden,
    NoSpace,
    PermissionRefused,
    RangeRefused,
    ReadWriteFailed,
    UpstreamChanged,
)
from gemmalock.executor import execute
from gemmalock.job import Crew
from gemmalock.journal import CHUNK
from gemmalock.lockfile import LockedFile, LockedManifest, LockedModel, Node
from gemmalock.looking import look
from gemmalock.machine import Arrival, Claim, Watch
from gemmalock.outcome import FileOutcome, Outcome, exit_code_of
from gemmalock.plan import Action, FilePlan, Plan, ResumeStatus, plan
from gemmalock.ports import Answer, Ask
from gemmalock.stopping import Stop
from gemmalock.transfer.fetch import Terms, fetch
from tests.registry.making import put_partial
from tests.registry.twin import MemoryClaim, MemoryRegistry
from tests.roots.memory_root import MemoryRoot
from tests.sources.twin import MemorySource
from tests.store.memory_store import MemoryStore

HERE = "https://models.example.org"


@dataclass
class Diary:
    """A machine.Reporter that writes down what it is told. `on_started` is called when a file begins."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    retries: list[str] = field(default_factory=list)
    on_started: Callable[[FilePlan], None] = lambda file: None

    def planned(self, plan: Plan) -> None: ...

    def hashing(self, node: Node) -> None: ...

    def started(self, file: FilePlan) -> None:
        self.lines.append(("started", file.node.file.name))
        self.on_started(file)

    def progress(self, id: str, have: int, size: int) -> None:
        assert 0 <= have <= size

    def retrying(self, id: str, reason: str, after_seconds: float) -> None:
        self.retries.append(id)

    def waiting(self, id: str, holder: str) -> None:
        self.lines.append(("waiting", id.rpartition("::")[2]))

    def finished(self, outcome: FileOutcome) -> None:
        self.lines.append(("finished", outcome.id.rpartition("::")[2]))

    def note(self, message: str) -> None: ...


class CountingSource(MemorySource):
    """A MemorySource that remembers what it was asked for, and refuses what it is told to."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(files)
        self.opened: list[str] = []
        self.refuses: dict[str, FileError] = {}
        self.before_open: Callable[[Ask], None] = lambda ask: None

    def open(self, ask: Ask, stop: Stop) -> Answer:  # type: ignore[override]
        self.opened.append(ask.url)
        self.before_open(ask)
        if ask.url in self.refuses:
            raise self.refuses[ask.url]
        return super().open(ask, stop)


class Bank:
    """A machine.Machine of twins, with a reporter and a stop."""

    def __init__(self, folder: Path) -> None:
        (folder / "store").mkdir(parents=True)
        self.lock_path = folder / "gemmalock.lock"
        self.memory = MemoryRoot()
        self.store = MemoryStore(folder / "store")
        self.registry = MemoryRegistry(folder / "tasks")
        self.source = CountingSource({})
        self.stop = Stop()
        self.diary = Diary()
        #: What another program has, by its digest.
        self.elsewhere: dict[str, Path] = {}

    def root(self, manifest_path: str) -> MemoryRoot:
        return self.memory

    def adopt(self, file: LockedFile) -> str | None:
        if file.sha256 not in self.elsewhere:
            return None
        self.store.enter(self.elsewhere[file.sha256], file.sha256, file.size)
        return "somebody has it"

    def fetch(self, node: Node, claim: Claim, watch: Watch) -> Arrival:
        terms = Terms(delay=lambda attempt, error: 0.0 if error.transient and attempt < 3 else None)
        return fetch(node.file, claim, self.source, terms, self.stop, watch)

    def publish(self, name: str, body: bytes, *, digest: bool = True, path: str | None = None) -> Node:
        """Put bytes behind a URL, and lock them."""
        self.source.files[f"{HERE}/{name}"] = body
        return locked(name, body, digest=digest, path=path)

    def crew(self, **rest: bool | int) -> Crew:
        """Who carries plans out."""
        return Crew(self, self.diary, self.stop, **rest)  # type: ignore[arg-type]

    def run(self, *nodes: Node, **rest: bool | int) -> dict[str, FileOutcome]:
        """Look, plan and execute. The outcomes by the file's path in the root."""
        planned = plan(nodes, look(nodes, self))
        outcomes = execute(planned, self.crew(**rest))
        assert [outcome.id for outcome in outcomes] == [node.id for node in nodes]
        return {node.file.path: outcome for node, outcome in zip(nodes, outcomes, strict=True)}

    def bytes_at(self, path: str) -> bytes | None:
        """What stands at a path of the root."""
        found = self.memory.disk.files.get(path)
        return found.content if found is not None else None


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    """A machine that has nothing yet."""
    return Bank(tmp_path / "machine")


def sha256(body: bytes) -> str:
    """The digest, as locks have it."""
    return hashlib.sha256(body).hexdigest()


def locked(name: str, body: bytes, *, digest: bool = True, path: str | None = None) -> Node:
    """The lock's entry; two entries of one name and body have one task ID."""
    file = LockedFile.pin(
        name=name,
        path=path or f"m/{name}",
        url=f"{HERE}/{name}",
        size=len(body),
        etag=f'"{sha256(body)}"',
        sha256=sha256(body) if digest else None,
    )
    model = LockedModel((path or "m").partition("/")[0], (file,))
    return Node(LockedManifest("gemmalock.yaml", "models", "sha256:0", (model,)), model, file)


BODY = b"weights" * 1000


def test_a_download_is_placed_checked_and_forgotten_as_a_task(bank: Bank) -> None:
    node = bank.publish("a.gguf", BODY)
    (outcome,) = bank.run(node).values()
    assert bank.bytes_at("m/a.gguf") == BODY
    assert (outcome.outcome, outcome.verb, outcome.sha256) == (Outcome.DONE, "DOWNLOADED", sha256(BODY))
    assert (outcome.bytes_kept, outcome.bytes_fetched) == (0, len(BODY))
    assert bank.registry.held == {}
    assert bank.diary.lines == [("started", "a.gguf"), ("finished", "a.gguf")]


def test_a_partial_is_continued_and_the_figures_say_so(bank: Bank) -> None:
    node = bank.publish("a.gguf", BODY)
    claim = bank.registry.claim(node, bank.lock_path)
    put_partial(claim.folder, BODY[:3000], etag=node.file.etag)
    claim.release()
    (outcome,) = bank.run(node).values()
    assert (outcome.verb, outcome.bytes_kept, outcome.bytes_fetched) == ("RESUMED", 3000, len(BODY) - 3000)
    assert bank.bytes_at("m/a.gguf") == BODY


def test_a_partial_without_a_record_is_dropped_and_said(bank: Bank) -> None:
    node = bank.publish("a.gguf", BODY)
    folder = bank.registry.folder / node.file.task_id
    folder.mkdir(parents=True)
    put_partial(folder, b"foreign" * 100)
    (outcome,) = bank.run(node).values()
    assert (outcome.action, outcome.verb, outcome.bytes_kept) == (Action.DISCARD, "RESTARTED", 0)
    assert any("started again" in note for note in outcome.notes)
    assert bank.bytes_at("m/a.gguf") == BODY


@pytest.mark.parametrize("digest", [True, False])
@pytest.mark.parametrize("jobs", [1, 4])
def test_one_task_is_fetched_once_also_without_a_digest_in_the_lock(bank: Bank, digest: bool, jobs: int) -> None:
    nodes = [bank.publish("a.gguf", BODY, digest=digest, path=f"{model}/a.gguf") for model in ("one", "two", "three")]
    outcomes = bank.run(*nodes, jobs=jobs)
    assert bank.source.opened == [f"{HERE}/a.gguf"]
    assert {bank.bytes_at(node.file.path) for node in nodes} == {BODY}
    assert sorted(outcome.verb for outcome in outcomes.values()) == ["DOWNLOADED", "LINKED", "LINKED"]
    assert {outcome.sha256 for outcome in outcomes.values()} == {sha256(BODY)}
    assert sum(outcome.bytes_fetched for outcome in outcomes.values()) == len(BODY)


def test_what_the_store_has_is_linked(bank: Bank) -> None:
    node = bank.publish("a.gguf", BODY)
    bank.store.object_path(sha256(BODY)).write_bytes(BODY)
    (outcome,) = bank.run(node).values()
    assert (outcome.verb, outcome.bytes_fetched, bank.source.opened) == ("LINKED", 0, [])
    assert bank.bytes_at("m/a.gguf") == BODY


#: Three chunks, the last of which is short.
LONG = random.Random(2).randbytes(2 * CHUNK + 1000)


def rotted(bank: Bank) -> tuple[Node, bytes]:
    """A file that was fetched, and whose object and place then got other bytes in the second chunk: (it, they)."""
    node = bank.publish("a.gguf", LONG)
    bank.run(node)
    bank.source.opened.clear()
    rotten = bytearray(LONG)
    rotten[CHUNK + 7] ^= 1
    path = bank.store.object_path(sha256(LONG))
    path.chmod(0o644)
    path.write_bytes(rotten)
    bank.memory.disk.files["m/a.gguf"].content = bytes(rotten)
    bank.memory.disk.files["m/a.gguf"].mtime_ns += 1
    return node, bytes(rotten)


def test_of_a_rotten_file_only_the_rotten_chunk_is_fetched(bank: Bank) -> None:
    node, rotten = rotted(bank)
    (outcome,) = bank.run(node).values()
    assert bank.bytes_at("m/a.gguf") == LONG
    assert bank.memory.disk.trash == [("m/a.gguf", rotten)]
    assert (outcome.outcome, outcome.verb) == (Outcome.DONE, "RESUMED")
    assert (outcome.bytes_kept, outcome.bytes_fetched) == (len(LONG) - CHUNK, CHUNK)
    assert any("rotten chunks are fetched again" in note for note in outcome.notes)
    assert bank.registry.held == {}
    salvage = bank.store.salvage(sha256(LONG))
    assert salvage is not None and salvage.path.read_bytes() == rotten, "what is in quarantine stays there"


def test_a_rotten_copy_that_cannot_be_read_costs_nothing_but_time(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    node, _ = rotted(bank)

    def refuse(*_: object) -> None:
        raise ReadWriteFailed("cannot copy it: Input/output error")

    monkeypatch.setattr(MemoryClaim, "seed", refuse)
    (outcome,) = bank.run(node).values()
    assert (outcome.outcome, outcome.verb, outcome.bytes_fetched) == (Outcome.DONE, "DOWNLOADED", len(LONG))
    assert any("Input/output error" in note for note in outcome.notes)


def test_without_room_for_a_copy_everything_is_fetched(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    node, _ = rotted(bank)
    monkeypatch.setattr(bank.store, "free_bytes", lambda: len(LONG) - 1)
    (outcome,) = bank.run(node).values()
    assert (outcome.outcome, outcome.verb, outcome.bytes_fetched) == (Outcome.DONE, "DOWNLOADED", len(LONG))


def test_a_partial_goes_before_a_rotten_copy(bank: Bank) -> None:
    node, _ = rotted(bank)
    claim = bank.registry.claim(node, bank.lock_path)
    put_partial(claim.folder, LONG[: 2 * CHUNK], etag=node.file.etag)
    claim.release()
    (outcome,) = bank.run(node).values()
    assert (outcome.verb, outcome.bytes_kept, outcome.bytes_fetched) == ("RESUMED", 2 * CHUNK, 1000)
    assert not any("rotten copy" in note for note in outcome.notes)


def test_a_seed_that_was_killed_half_way_is_made_anew(bank: Bank) -> None:
    node, rotten = rotted(bank)
    claim = bank.registry.claim(node, bank.lock_path)
    (claim.folder / "data.part").write_bytes(rotten[:CHUNK])
    claim.release()
    (outcome,) = bank.run(node).values()
    assert bank.bytes_at("m/a.gguf") == LONG
    assert (outcome.verb, outcome.bytes_fetched) == ("RESUMED", CHUNK)


def test_a_rotten_copy_with_no_right_chunk_is_a_download(bank: Bank) -> None:
    node, _ = rotted(bank)
    bank.store.object_path(sha256(LONG)).write_bytes(bytes(len(LONG)))
    (outcome,) = bank.run(node).values()
    assert bank.bytes_at("m/a.gguf") == LONG
    assert (outcome.verb, outcome.bytes_kept, outcome.bytes_fetched) == ("DOWNLOADED", 0, len(LONG))


def test_a_stop_while_the_copy_is_made_keeps_what_is_in_quarantine(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    node, rotten = rotted(bank)

    def interrupt(*_: object) -> None:
        bank.stop.set()
        bank.stop.check()

    monkeypatch.setattr(MemoryClaim, "seed", interrupt)
    (outcome,) = bank.run(node).values()
    assert outcome.outcome is Outcome.CANCELLED
    salvage = bank.store.salvage(sha256(LONG))
    assert salvage is not None and salvage.path.read_bytes() == rotten


def test_a_rotten_object_is_had_again(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    node = bank.publish("a.gguf", BODY)
    bank.store.object_path(sha256(BODY)).write_bytes(BODY[:-1] + b"!")
    seen = "the store had it when we looked"
    planned = Plan((FilePlan(node, ResumeStatus.IN_STORE, Action.LINK, seen, sha256=sha256(BODY)),))
    (outcome,) = execute(planned, bank.crew())
    assert outcome.outcome is Outcome.DONE
    assert any("rotted" in note for note in outcome.notes)
    assert bank.bytes_at("m/a.gguf") == BODY


def test_other_bytes_go_to_the_trash_first(bank: Bank) -> None:
    node = bank.publish("a.gguf", BODY)
    bank.memory.disk.write("m/a.gguf", b"my own notes")
    (outcome,) = bank.run(node).values()
    assert (outcome.action, outcome.outcome) == (Action.DISCARD, Outcome.DONE)
    assert bank.memory.disk.trash == [("m/a.gguf", b"my own notes")]
    assert bank.bytes_at("m/a.gguf") == BODY


def test_what_fits_is_adopted_without_a_byte(bank: Bank) -> None:
    node = bank.publish("a.gguf", BODY)
    bank.memory.disk.write("m/a.gguf", BODY)
    (outcome,) = bank.run(node).values()
    assert (outcome.verb, outcome.bytes_fetched, bank.source.opened) == ("ADOPTED", 0, [])
    assert bank.run(node)["m/a.gguf"].outcome is Outcome.SKIPPED


def test_of_what_another_program_has_nothing_that_came_before_is_used(bank: Bank, tmp_path: Path) -> None:
    node = bank.publish("a.gguf", BODY)
    claim = bank.registry.claim(node, bank.lock_path)
    put_partial(claim.folder, BODY[:3000], etag=node.file.etag)
    claim.release()
    (tmp_path / "theirs").write_bytes(BODY)
    bank.elsewhere[sha256(BODY)] = tmp_path / "theirs"
    (outcome,) = bank.run(node).values()
    assert (outcome.verb, outcome.bytes_kept, outcome.bytes_fetched) == ("ADOPTED", 0, 0)
    assert (outcome.notes, bank.source.opened) == (("somebody has it",), [])
    assert bank.bytes_at("m/a.gguf") == BODY


def test_what_a_failed_file_received_is_in_its_figures(bank: Bank) -> None:
    node = bank.publish("a.gguf", BODY)
    bank.source.files[f"{HERE}/a.gguf"] = BODY[::-1]
    (outcome,) = bank.run(node).values()
    assert (outcome.outcome, outcome.bytes_kept, outcome.bytes_fetched) == (Outcome.FAILED, 0, len(BODY))


def test_a_restart_that_fails_too_says_what_was_lost_and_why(bank: Bank) -> None:
    node = bank.publish("a.gguf", BODY)
    claim = bank.registry.claim(node, bank.lock_path)
    put_partial(claim.folder, BODY[:3000], etag=node.file.etag)
    claim.release()

    def refuse(ask: Ask) -> None:
        raise RangeRefused("the server answered 416") if ask.start else Forbidden("403")

    bank.source.before_open = refuse
    (outcome,) = bank.run(node).values()
    assert (outcome.outcome, outcome.bytes_kept, outcome.bytes_here) == (Outcome.FAILED, 0, 0)
    assert outcome.error is not None
    assert outcome.error.code == "forbidden"
    assert outcome.notes == ("started again from zero, 3000 bytes were lost: the server answered 416",)


def test_a_file_that_goes_on_past_its_size_says_what_was_thrown_away(bank: Bank) -> None:
    node = bank.publish("a.gguf", BODY)
    claim = bank.registry.claim(node, bank.lock_path)
    put_partial(claim.folder, BODY[:3000], etag=node.file.etag)
    claim.release()
    honest = bank.source.open

    def endless(ask: Ask, stop: Stop) -> Answer:
        answer = honest(ask, stop)
        read = answer.readinto

        def readinto(buffer: memoryview) -> int:
            return read(buffer) or len(buffer[:1])

        answer.end, answer.readinto = None, readinto  # type: ignore[method-assign]
        return answer

    bank.source.open = endless  # type: ignore[method-assign]
    (outcome,) = bank.run(node).values()
    assert outcome.error is not None
    assert outcome.error.code == "size_mismatch"
    assert outcome.bytes_here == 0
    assert "were thrown away: the file goes on past its locked size" in outcome.notes[-1]


ERRORS = [
    Forbidden("403"), ConnectionFailed("cut"), UpstreamChanged("other bytes"), NoSpace("full"),
    PermissionRefused("denied"), Busy("held"),
]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
@pytest.mark.parametrize("jobs", [1, 3])
def test_a_file_that_fails_does_not_stop_the_others(bank: Bank, error: FileError, jobs: int) -> None:
    nodes = [bank.publish(name, name.encode() * 100) for name in ("a.gguf", "b.gguf", "c.gguf")]
    bank.source.refuses[f"{HERE}/b.gguf"] = error
    outcomes = bank.run(*nodes, jobs=jobs)
    assert [outcome.outcome.value for outcome in outcomes.values()] == ["done", "failed", "done"]
    failure = outcomes["m/b.gguf"].error
    assert failure is not None
    assert failure.code == error.code
    assert exit_code_of(outcomes.values()) == 1
    assert bank.bytes_at("m/b.gguf") is None


def test_a_failed_first_of_two_does_not_place_the_second(bank: Bank) -> None:
    nodes = [bank.publish("a.gguf", BODY, digest=False, path=f"{model}/a.gguf") for model in ("one", "two")]
    bank.source.refuses[f"{HERE}/a.gguf"] = Forbidden("403")
    outcomes = bank.run(*nodes)
    assert {outcome.outcome for outcome in outcomes.values()} == {Outcome.FAILED}
    assert bank.memory.disk.files == {}


def test_wrong_bytes_are_never_placed_and_the_claim_is_given_up(bank: Bank) -> None:
    node = bank.publish("a.gguf", BODY)
    bank.source.files[f"{HERE}/a.gguf"] = BODY[::-1]
    (outcome,) = bank.run(node).values()
    assert outcome.error is not None
    assert outcome.error.code in ("digest_mismatch", "upstream_changed")
    assert bank.bytes_at("m/a.gguf") is None
    assert all(task.holder is None for task in bank.registry.held.values())


@pytest.mark.parametrize("here", [0, 1024 * 1024])
def test_what_a_cancelled_file_kept_is_what_an_earlier_run_left(bank: Bank, here: int) -> None:
    large = bytes(range(256)) * 60_000
    node = bank.publish("a.gguf", large)
    claim = bank.registry.claim(node, bank.lock_path)
    put_partial(claim.folder, large[:here], etag=node.file.etag)
    claim.release()
    honest = bank.source.open

    def stopped_half_way(ask: Ask, stop: Stop) -> Answer:
        answer = honest(ask, stop)
        read = answer.readinto

        def readinto(buffer: memoryview) -> int:
            if answer_has_sent[0] >= 4 * 1024 * 1024:
                bank.stop.set()
                stop.check()
            answer_has_sent[0] += (count := read(buffer))
            return count

        answer.readinto = readinto  # type: ignore[method-assign]
        return answer

    answer_has_sent = [0]
    bank.source.open = stopped_half_way  # type: ignore[method-assign]
    outcome = bank.run(node)["m/a.gguf"]
    assert outcome.outcome is Outcome.CANCELLED
    assert outcome.bytes_kept == here
    assert outcome.bytes_fetched >= 4 * 1024 * 1024
    assert here < outcome.bytes_here <= here + outcome.bytes_fetched


def test_a_stop_cancels_keeps_what_came_and_says_how_much(bank: Bank) -> None:
    large = bytes(range(256)) * 60_000
    nodes = [bank.publish(name, large + name.encode()) for name in ("a.gguf", "b.gguf", "c.gguf")]
    claim = bank.registry.claim(nodes[0], bank.lock_path)
    put_partial(claim.folder, (large + b"a.gguf")[: 5 * 1024 * 1024], etag=nodes[0].file.etag)
    claim.release()
    bank.diary.on_started = lambda file: bank.stop.set()
    outcomes = bank.run(*nodes, jobs=1)
    assert {outcome.outcome for outcome in outcomes.values()} == {Outcome.CANCELLED}
    assert {outcomes[path].bytes_here for path in ("m/b.gguf", "m/c.gguf")} == {0}
    begun = outcomes["m/a.gguf"]
    assert (begun.bytes_kept, begun.bytes_here) == (5 * 1024 * 1024, 5 * 1024 * 1024)
    assert exit_code_of(outcomes.values()) == 2
    assert bank.memory.disk.files == {}
    bank.stop, bank.diary = Stop(), Diary()
    again = bank.run(*nodes, jobs=1)
    assert {outcome.outcome for outcome in again.values()} == {Outcome.DONE}
    assert again["m/a.gguf"].bytes_kept == 5 * 1024 * 1024


def test_a_stop_before_the_first_byte_begins_nothing(bank: Bank) -> None:
    nodes = [bank.publish("a.gguf", BODY)]
    planned = plan(tuple(nodes), look(nodes, bank))
    bank.stop.set()
    (outcome,) = execute(planned, bank.crew())
    assert outcome.outcome is Outcome.CANCELLED
    assert bank.source.opened == []
    assert bank.registry.held == {}


def test_what_was_done_before_the_stop_stays_done(bank: Bank) -> None:
    nodes = [bank.publish("a.gguf", BODY), bank.publish("b.gguf", BODY[:-1])]
    asked: list[str] = []

    def stop_at_the_second(ask: Ask) -> None:
        asked.append(ask.url)
        if len(asked) == 2:
            bank.stop.set()

    bank.source.before_open = stop_at_the_second
    outcomes = bank.run(*nodes, jobs=1)
    assert [outcome.outcome.value for outcome in outcomes.values()] == ["done", "cancelled"]
    assert bank.bytes_at("m/a.gguf") == BODY


def test_a_bug_in_a_thread_is_raised_and_not_swallowed(bank: Bank) -> None:
    nodes = [bank.publish("a.gguf", BODY), bank.publish("b.gguf", BODY)]

    def fail(ask: Ask) -> None:
        raise ZeroDivisionError("a bug")

    bank.source.before_open = fail
    with pytest.raises(ZeroDivisionError, match="a bug"):
        bank.run(*nodes, jobs=1)
    assert bank.stop.is_set()
    assert all(task.holder is None for task in bank.registry.held.values())


def test_offline_moves_nothing_and_names_what_is_missing(bank: Bank) -> None:
    node, here = bank.publish("a.gguf", BODY), bank.publish("b.gguf", BODY * 2)
    bank.memory.disk.write("m/a.gguf", b"my own notes")
    bank.memory.disk.write("m/b.gguf", b"my own notes too")
    bank.store.object_path(sha256(BODY * 2)).write_bytes(BODY * 2)
    outcomes = bank.run(node, here, offline=True)
    error = outcomes["m/a.gguf"].error
    assert error is not None
    assert error.code == "offline"
    assert bank.bytes_at("m/a.gguf") == b"my own notes"
    assert bank.bytes_at("m/b.gguf") == BODY * 2
    assert bank.source.opened == []


def test_a_task_that_another_holds_is_waited_for_and_its_bytes_are_linked(bank: Bank) -> None:
    node = bank.publish("a.gguf", BODY)
    claim = bank.registry.claim(node, bank.lock_path)
    waited = threading.Event()

    def waiting(id: str, holder: str) -> None:
        if not waited.is_set():
            waited.set()
            bank.store.object_path(sha256(BODY)).write_bytes(BODY)
            claim.finish()

    bank.diary.waiting = waiting  # type: ignore[method-assign]
    (outcome,) = bank.run(node).values()
    assert waited.is_set()
    assert (outcome.outcome, outcome.verb, outcome.bytes_fetched) == (Outcome.DONE, "LINKED", 0)
    assert bank.source.opened == []


def test_a_task_whose_holder_dies_is_taken_over_with_its_bytes(bank: Bank) -> None:
    node = bank.publish("a.gguf", BODY)
    claim = bank.registry.claim(node, bank.lock_path)
    put_partial(claim.folder, BODY[:2000], etag=node.file.etag)
    bank.diary.waiting = lambda id, holder: claim.release()  # type: ignore[method-assign]
    (outcome,) = bank.run(node).values()
    assert (outcome.verb, outcome.bytes_kept, outcome.bytes_fetched) == ("RESUMED", 2000, len(BODY) - 2000)


def test_a_claim_that_was_taken_away_commits_nothing(bank: Bank) -> None:
    node = bank.publish("a.gguf", BODY)

    def lose(ask: Ask) -> None:
        bank.registry.held[node.file.task_id].holder = object()

    bank.source.before_open = lose
    (outcome,) = bank.run(node).values()
    assert outcome.error is not None
    assert outcome.error.code == "busy"
    assert bank.bytes_at("m/a.gguf") is None


@pytest.mark.parametrize(
    ("reason", "code"), [("cannot read it: Permission denied", "permission"), ("cannot read it: I/O error", "io_error")]
)
def test_what_the_disk_would_not_show_is_refused_and_left_alone(bank: Bank, reason: str, code: str) -> None:
    node, other = bank.publish("a.gguf", BODY), bank.publish("b.gguf", BODY)
    planned = Plan(
        (
            FilePlan(node, ResumeStatus.UNREADABLE, Action.REFUSE, reason),
            FilePlan(other, ResumeStatus.FILE_NOT_FOUND, Action.DOWNLOAD, "nothing is here yet"),
        )
    )
    refused, done = execute(planned, bank.crew())
    assert refused.error is not None
    assert (refused.outcome, refused.error.code) == (Outcome.FAILED, code)
    assert done.outcome is Outcome.DONE


def test_a_transient_failure_is_tried_again_and_told(bank: Bank) -> None:
    node = bank.publish("a.gguf", BODY)
    errors = [ConnectionFailed("cut"), ConnectionFailed("cut")]

    def fail_twice(ask: Ask) -> None:
        if errors:
            raise errors.pop()

    bank.source.before_open = fail_twice
    (outcome,) = bank.run(node).values()
    assert outcome.outcome is Outcome.DONE
    assert bank.diary.retries == [node.id, node.id]


@given(
    st.lists(
        st.tuples(st.sampled_from(["one", "two", "three"]), st.sampled_from("abc"), st.booleans()),
        unique_by=lambda drawn: drawn[:2],
        max_size=9,
    ),
    st.sets(st.sampled_from("abc")),
    st.integers(1, 5),
)
def test_every_planned_file_has_one_outcome_and_in_place_means_exact(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[tuple[str, str, bool]], broken: set[str], jobs: int
) -> None:
    bank = Bank(tmp_path_factory.mktemp("bank"))
    nodes = [
        bank.publish(f"{name}.gguf", name.encode() * 50, digest=digest, path=f"{model}/{name}.gguf")
        for model, name, digest in wanted
    ]
    bank.source.refuses.update({f"{HERE}/{name}.gguf": Forbidden("403") for name in broken})
    outcomes = bank.run(*nodes, jobs=jobs)
    for node in nodes:
        name = node.file.name[0]
        expected = Outcome.FAILED if name in broken else Outcome.DONE
        assert outcomes[node.file.path].outcome is expected
        assert bank.bytes_at(node.file.path) == (None if name in broken else name.encode() * 50)
    fetched = [url for url in bank.source.opened if url.removeprefix(f"{HERE}/")[0] not in broken]
    assert len(fetched) == len(set(fetched))
    assert all(task.holder is None for task in bank.registry.held.values())

"""What every registry does: the one on the disk, and its twin in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gemmalock.errors import Busy, DiskError, Interrupted
from gemmalock.journal import CHUNK, Chunk, Validator, read_journal
from gemmalock.machine import Registry, Salvage
from gemmalock.plan import TaskSight
from gemmalock.registry import DiskRegistry
from gemmalock.stopping import Stop
from tests.registry.making import LOCK, OTHER_LOCK, STRONG, node_of, put_partial
from tests.registry.twin import MemoryRegistry

CHUNKS = (Chunk(0, CHUNK, "1" * 64, Validator(None, "")), Chunk(1, CHUNK, "2" * 64, Validator(None, "")))


@pytest.fixture(params=["disk", "memory"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    """An empty registry."""
    return DiskRegistry(tmp_path) if request.param == "disk" else MemoryRegistry(tmp_path)


def test_what_was_never_begun_is_not_known(registry: Registry) -> None:
    assert registry.look(node_of().file) == TaskSight()


def test_a_claim_registers_the_task_before_it_returns(registry: Registry) -> None:
    node = node_of(sha256="0" * 64)
    claim = registry.claim(node, LOCK)
    record = registry.look(node.file).record
    assert record == claim.record
    assert record is not None
    assert (record.task_id, record.url, record.size, record.etag, record.sha256) == (
        node.file.task_id, node.file.url, 10, STRONG, "0" * 64,
    )  # fmt: skip
    assert (record.nodes, record.locks, record.ranges) == ((node.id,), (str(LOCK),), ())
    assert claim.folder.is_dir()


def test_one_holder_at_a_time(registry: Registry) -> None:
    node = node_of()
    claim = registry.claim(node, LOCK)
    with pytest.raises(Busy):
        registry.claim(node, LOCK)
    assert registry.look(node.file).holder
    claim.release()
    assert registry.look(node.file).holder is None
    registry.claim(node, LOCK).release()


def test_two_tasks_can_be_held_at_once(registry: Registry) -> None:
    one, other = registry.claim(node_of("one"), LOCK), registry.claim(node_of("other"), LOCK)
    assert one.still_held() and other.still_held()


def test_a_release_keeps_partial_and_record_for_the_next(registry: Registry) -> None:
    node = node_of()
    claim = registry.claim(node, LOCK)
    put_partial(claim.folder, b"0123456")
    claim.beat(((0, 7),))
    claim.release()
    sight = registry.look(node.file)
    assert (sight.has_bytes, sight.kept, sight.validator, sight.holder) == (True, 7, STRONG, None)
    assert sight.record is not None and sight.record.ranges == ((0, 7),)
    again = registry.claim(node, LOCK)
    assert (again.folder / "data.part").read_bytes() == b"0123456"
    assert again.record.ranges == ((0, 7),)


def test_a_released_claim_does_nothing_any_more(registry: Registry) -> None:
    node = node_of()
    claim = registry.claim(node, LOCK)
    claim.release()
    successor = registry.claim(node, LOCK)
    claim.finish()
    claim.release()
    assert not claim.still_held()
    assert successor.still_held()
    assert registry.look(node.file).record is not None


def test_a_finished_task_is_gone(registry: Registry) -> None:
    node = node_of()
    claim = registry.claim(node, LOCK)
    put_partial(claim.folder, b"0123456789")
    claim.finish()
    claim.release()
    assert registry.look(node.file) == TaskSight()
    assert not claim.folder.exists()
    assert not claim.still_held()


def test_a_dropped_partial_leaves_record_and_claim(registry: Registry) -> None:
    node = node_of()
    claim = registry.claim(node, LOCK)
    put_partial(claim.folder, b"0123")
    claim.beat(((0, 4),))
    claim.drop_partial()
    sight = registry.look(node.file)
    assert not sight.has_bytes and sight.kept == 0
    assert sight.record is not None and sight.record.ranges == ()
    assert claim.still_held()


def test_a_seed_is_a_partial_that_the_next_one_can_go_on_with(registry: Registry, tmp_path: Path) -> None:
    node = node_of(size=2 * CHUNK, sha256="0" * 64)
    claim = registry.claim(node, LOCK)
    put_partial(claim.folder, b"what was here before")
    rotten = tmp_path / "rotten"
    rotten.write_bytes(bytes(CHUNK + 5))
    claim.seed(Salvage(rotten, CHUNKS), Stop())
    assert rotten.read_bytes() == bytes(CHUNK + 5) == (claim.folder / "data.part").read_bytes()
    assert (claim.folder / "data.part").stat().st_ino != rotten.stat().st_ino
    assert read_journal((claim.folder / "journal").read_bytes(), 2 * CHUNK) == dict(enumerate(CHUNKS))
    claim.release()
    sight = registry.look(node.file)
    assert (sight.has_bytes, sight.kept) == (True, CHUNK), "the second chunk is longer than what is left of it"
    assert registry.claim(node, LOCK).still_held()


def test_a_seed_that_fails_leaves_no_partial(registry: Registry, tmp_path: Path) -> None:
    node = node_of(size=2 * CHUNK, sha256="0" * 64)
    claim = registry.claim(node, LOCK)
    with pytest.raises(DiskError):
        claim.seed(Salvage(tmp_path / "gone", CHUNKS), Stop())
    rotten = tmp_path / "rotten"
    rotten.write_bytes(b"tensor")
    stop = Stop()
    stop.set()
    with pytest.raises(Interrupted):
        claim.seed(Salvage(rotten, CHUNKS), stop)
    assert claim.still_held()
    assert not registry.look(node.file).has_bytes
    assert rotten.read_bytes() == b"tensor"


def test_whoever_asks_too_is_added_to_the_record(registry: Registry) -> None:
    node = node_of()
    registry.claim(node, LOCK).release()
    other = replace(node, model=replace(node.model, name="search"))
    claim = registry.claim(other, OTHER_LOCK)
    assert claim.record.nodes == ("gemmalock.yaml::chat::model.gguf", "gemmalock.yaml::search::model.gguf")
    assert claim.record.locks == (str(LOCK), str(OTHER_LOCK))


def test_a_digest_that_was_learned_since_keeps_the_partial(registry: Registry) -> None:
    node = node_of()
    claim = registry.claim(node, LOCK)
    put_partial(claim.folder, b"0123")
    claim.release()
    claim = registry.claim(node_of(sha256="1" * 64), LOCK)
    assert claim.record.sha256 == "1" * 64
    assert (claim.folder / "data.part").exists()


def test_another_digest_drops_the_partial(registry: Registry) -> None:
    claim = registry.claim(node_of(sha256="0" * 64), LOCK)
    put_partial(claim.folder, b"0123")
    claim.beat(((0, 4),))
    claim.release()
    claim = registry.claim(node_of(sha256="1" * 64), LOCK)
    assert (claim.record.sha256, claim.record.ranges) == ("1" * 64, ())
    assert not (claim.folder / "data.part").exists()


@pytest.mark.parametrize(
    ("length", "vouched", "kept"),
    [
        (CHUNK + 5, CHUNK + 5, CHUNK + 5),
        (CHUNK + 5, CHUNK, CHUNK),
        # A partial that was cut short: what the journal says beyond its end is nothing.
        (CHUNK + 1, CHUNK + 5, CHUNK),
        (0, CHUNK + 5, 0),
    ],
)
def test_only_bytes_that_are_there_and_vouched_for_are_kept(
    registry: Registry, length: int, vouched: int, kept: int
) -> None:
    node = node_of(size=2 * CHUNK)
    claim = registry.claim(node, LOCK)
    put_partial(claim.folder, bytes(vouched))
    (claim.folder / "data.part").write_bytes(bytes(length))
    assert registry.look(node.file).kept == kept


def test_bytes_of_two_validators_have_none_in_common(registry: Registry) -> None:
    node = node_of(size=2 * CHUNK)
    claim = registry.claim(node, LOCK)
    put_partial(claim.folder, bytes(CHUNK + 5))
    first, second = (claim.folder / "journal").read_bytes().splitlines(keepends=True)
    put_partial(claim.folder, bytes(CHUNK + 5), etag='"other"')
    (claim.folder / "journal").write_bytes(first + (claim.folder / "journal").read_bytes().splitlines(True)[1])
    assert second
    assert registry.look(node.file).validator is None


def test_forgetting_spares_what_is_held(registry: Registry) -> None:
    node = node_of()
    registry.forget(node.file)
    claim = registry.claim(node, LOCK)
    registry.forget(node.file)
    assert claim.still_held()
    claim.release()
    registry.forget(node.file)
    assert registry.look(node.file) == TaskSight()


def test_a_sweep_takes_only_what_this_lock_alone_asked_for(registry: Registry) -> None:
    gone, live, held, shared, foreign = (node_of(name) for name in ("gone", "live", "held", "shared", "foreign"))
    for node, lock in ((gone, LOCK), (live, LOCK), (shared, LOCK), (shared, OTHER_LOCK), (foreign, OTHER_LOCK)):
        claim = registry.claim(node, lock)
        put_partial(claim.folder, b"012")
        claim.release()
    claim = registry.claim(held, LOCK)
    assert registry.sweep(LOCK, frozenset({live.file.task_id})) == 1
    assert registry.look(gone.file) == TaskSight()
    assert claim.still_held()
    for node in (live, shared, foreign):
        assert registry.look(node.file).kept == 3, node.id
    assert registry.sweep(OTHER_LOCK, frozenset()) == 2
    assert registry.look(shared.file) == TaskSight()


def test_a_sweep_takes_a_live_task_that_has_no_bytes(registry: Registry) -> None:
    node = node_of()
    registry.claim(node, LOCK).release()
    assert registry.sweep(LOCK, frozenset({node.file.task_id})) == 1


def test_a_learned_digest_is_known_to_who_looks_and_costs_no_byte(registry: Registry) -> None:
    node = node_of()
    claim = registry.claim(node, LOCK)
    put_partial(claim.folder, b"0123456789")
    claim.learned("1" * 64)
    claim.release()
    sight = registry.look(node.file)
    assert sight.record is not None
    assert sight.record.sha256 == "1" * 64
    assert sight.has_bytes
    again = registry.claim(node, LOCK)
    assert (again.folder / "data.part").exists()

"""What the registry on the disk does beyond its port, and against a hostile disk."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from gemmalock.errors import Busy, NoSpace, PolicyRefused, TaskTooNew, UnsafePath
from gemmalock.holders import Holder
from gemmalock.journal import Chunk, Validator
from gemmalock.machine import Salvage
from gemmalock.plan import task_doubt
from gemmalock.registry import DiskRegistry
from gemmalock.registry.folders import TaskFolder
from gemmalock.stopping import Stop
from tests.registry.making import LOCK, OTHER_LOCK, node_of, put_partial

ID = "00000000-0000-5000-8000-000000000001"
OTHER_ID = "00000000-0000-5000-8000-000000000002"


@pytest.fixture
def registry(tmp_path: Path) -> DiskRegistry:
    """An empty registry."""
    return DiskRegistry(tmp_path / "store")


def leftovers(registry: DiskRegistry) -> list[str]:
    """Everything in the tasks' folder that is no task."""
    return [name for name in os.listdir(registry.folder) if name.startswith(".")]


def test_a_look_makes_nothing(registry: DiskRegistry) -> None:
    registry.look(node_of().file)
    assert registry.tasks() == ()
    assert not registry.folder.exists()


def test_record_and_folders_are_their_owners_alone(registry: DiskRegistry) -> None:
    claim = registry.claim(node_of(), LOCK)
    for path in (registry.folder.parent, registry.folder, claim.folder):
        assert path.stat().st_mode & 0o777 == 0o700, path
    for path in claim.folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_the_same_claim_seen_from_another_registry_of_this_process(registry: DiskRegistry) -> None:
    claim = registry.claim(node_of(), LOCK)
    with pytest.raises(Busy, match=f"process {os.getpid()} on this machine"):
        DiskRegistry(registry.folder.parent).claim(node_of(), LOCK)
    assert claim.still_held()


def test_a_task_of_a_newer_gemmalock_is_left_alone_until_it_is_cleared(registry: DiskRegistry) -> None:
    node = node_of()
    claim = registry.claim(node, LOCK)
    put_partial(claim.folder, b"012")
    claim.release()
    (claim.folder / "record.json").write_bytes(b'{"record_version": 99}')
    assert "a newer gemmalock" in (registry.look(node.file).error or "")
    with pytest.raises(TaskTooNew):
        registry.claim(node, LOCK)
    assert registry.sweep(LOCK, frozenset()) == 0
    assert (claim.folder / "data.part").read_bytes() == b"012"
    assert registry.clear() == (1, 0)
    assert not claim.folder.exists()


@pytest.mark.parametrize("text", [b"", b"{", b"null", b"\x00" * 100, b'{"record_version": 0}'])
def test_a_damaged_record_costs_the_partial_and_nothing_else(registry: DiskRegistry, text: bytes) -> None:
    node = node_of()
    claim = registry.claim(node, LOCK)
    put_partial(claim.folder, b"012")
    claim.release()
    (claim.folder / "record.json").write_bytes(text)
    sight = registry.look(node.file)
    assert (sight.record, sight.has_bytes, sight.error) == (None, True, None)
    claim = registry.claim(node, LOCK)
    assert not (claim.folder / "data.part").exists()
    assert registry.look(node.file).record == claim.record


def salvaged(folder: Path) -> Salvage:
    """What is left of a file of ten bytes."""
    path = folder / "rotten"
    path.write_bytes(b"0123456789")
    path.chmod(0o444)
    return Salvage(path, (Chunk(0, 10, hashlib.sha256(b"0123456789").hexdigest(), Validator(None, "")),))


def test_a_seed_is_its_owners_alone_and_can_be_written_to(registry: DiskRegistry, tmp_path: Path) -> None:
    claim = registry.claim(node_of(), LOCK)
    claim.seed(salvaged(tmp_path), Stop())
    for name in ("data.part", "journal"):
        assert (claim.folder / name).stat().st_mode & 0o777 == 0o600, name


def test_a_seed_whose_process_died_before_the_journal_is_not_believed(
    registry: DiskRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    node = node_of(sha256="0" * 64)
    claim = registry.claim(node, LOCK)
    monkeypatch.setattr(TaskFolder, "write_journal", die)
    with pytest.raises(Killed):
        claim.seed(salvaged(tmp_path), Stop())
    sight = registry.look(node.file)
    assert (sight.has_bytes, sight.kept) == (True, 0)
    assert task_doubt(node.file, sight) is not None


@pytest.mark.parametrize("failing", ["put_part", "write_journal"])
def test_a_full_disk_ends_a_seed_and_leaves_no_partial(
    registry: DiskRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    node = node_of()
    claim = registry.claim(node, LOCK)
    monkeypatch.setattr(TaskFolder, failing, full)
    with pytest.raises(NoSpace):
        claim.seed(salvaged(tmp_path), Stop())
    assert sorted(path.name for path in claim.folder.iterdir()) == ["claim.1", "record.json"]


def test_who_has_lost_the_claim_seeds_nothing(registry: DiskRegistry, tmp_path: Path) -> None:
    claim = registry.claim(node_of(), LOCK)
    claim.release()
    successor = registry.claim(node_of(), LOCK)
    put_partial(successor.folder, b"012")
    claim.seed(salvaged(tmp_path), Stop())
    assert (successor.folder / "data.part").read_bytes() == b"012"


@pytest.mark.parametrize("damage", [b"", b"{", b"\x00" * 100, b'{"process": 1}'])
def test_a_damaged_claim_is_nobodys(registry: DiskRegistry, damage: bytes) -> None:
    node = node_of()
    claim = registry.claim(node, LOCK)
    (claim.folder / "claim.1").write_bytes(damage)
    assert registry.look(node.file).holder is None
    successor = registry.claim(node, LOCK)
    assert successor.still_held() and not claim.still_held()


def test_a_record_outlives_a_power_cut_from_the_first_journaled_byte_on(
    registry: DiskRegistry, synced: list[Path]
) -> None:
    registry.claim(node_of(ID), LOCK).release()
    synced.clear()
    claim = registry.claim(node_of(OTHER_ID), LOCK)
    assert synced == [], "nothing is lost with it yet"
    claim.settle()
    assert synced == [claim.folder / "record.json", claim.folder, registry.folder]
    claim.settle()
    assert len(synced) == 3, "once is enough"


def test_who_has_lost_the_claim_settles_nothing(registry: DiskRegistry, synced: list[Path]) -> None:
    claim = registry.claim(node_of(), LOCK)
    (claim.folder / "claim.1").write_bytes(b"")
    synced.clear()
    claim.settle()
    assert synced == []


@pytest.mark.parametrize(("somebody", "held"), [(False, True), (True, False)], ids=["ours", "somebody else's"])
def test_of_a_claim_with_another_inode_the_text_is_asked(registry: DiskRegistry, somebody: bool, held: bool) -> None:
    claim = registry.claim(node_of(), LOCK)
    text = Holder.here().write() if somebody else (claim.folder / "claim.1").read_bytes()
    (claim.folder / "fresh").write_bytes(text)
    (claim.folder / "fresh").rename(claim.folder / "claim.1")
    assert claim.still_held() is held


def test_whoever_lost_a_claim_harms_nothing(registry: DiskRegistry) -> None:
    node = node_of()
    loser = registry.claim(node, LOCK)
    (loser.folder / "claim.1").write_bytes(b"")
    winner = registry.claim(node, OTHER_LOCK)
    put_partial(winner.folder, b"012")
    record = (winner.folder / "record.json").read_bytes()
    loser.beat(((0, 9),))
    loser.drop_partial()
    loser.finish()
    assert winner.still_held()
    assert (winner.folder / "record.json").read_bytes() == record
    assert (winner.folder / "data.part").read_bytes() == b"012"


def test_claims_do_not_pile_up(registry: DiskRegistry) -> None:
    for _ in range(30):
        claim = registry.claim(node_of(), LOCK)
        claim.release()
    assert len(os.listdir(claim.folder)) < 12


def test_a_link_instead_of_a_task_is_not_followed(registry: DiskRegistry, tmp_path: Path) -> None:
    node = node_of()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "data.part").write_bytes(b"precious")
    registry.claim(node_of("other"), LOCK).release()
    (registry.folder / node.file.task_id).symlink_to(elsewhere)
    assert "symbolic link" in str(registry.look(node.file).error) or registry.look(node.file).error
    for act in (lambda: registry.claim(node, LOCK), lambda: registry.forget(node.file), registry.clear):
        with pytest.raises(UnsafePath):
            act()
    assert os.listdir(elsewhere) == ["data.part"]


def test_a_link_instead_of_all_tasks_is_not_followed(registry: DiskRegistry, tmp_path: Path) -> None:
    node = node_of()
    registry.claim(node, LOCK).release()
    elsewhere = tmp_path / "elsewhere"
    registry.folder.rename(elsewhere)
    (elsewhere / f".gone-{_marks_of_the_dead()[0]}").mkdir()
    before = sorted(elsewhere.rglob("*"))
    registry.folder.symlink_to(elsewhere)
    fresh = DiskRegistry(registry.folder.parent)
    for act in (lambda: fresh.claim(node, LOCK), lambda: fresh.forget(node.file), fresh.clear, fresh.tasks):
        with pytest.raises(UnsafePath, match="is a symbolic link"):
            act()
    assert sorted(elsewhere.rglob("*")) == before


@pytest.mark.parametrize("name", ["data.part", "record.json", "journal"])
def test_a_link_inside_a_task_is_not_followed(registry: DiskRegistry, tmp_path: Path, name: str) -> None:
    node = node_of()
    claim = registry.claim(node, LOCK)
    put_partial(claim.folder, b"012")
    claim.release()
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    (claim.folder / name).unlink()
    (claim.folder / name).symlink_to(precious)
    assert registry.look(node.file).error is not None
    registry_error_or_claim(registry, node_of())
    assert precious.read_bytes() == b"precious"


def registry_error_or_claim(registry: DiskRegistry, node: object) -> None:
    """Claim and finish, if that is possible at all."""
    from gemmalock.errors import DiskError
    from gemmalock.lockfile import Node

    assert isinstance(node, Node)
    try:
        registry.claim(node, LOCK).finish()
    except DiskError:
        registry.look(node.file)


def test_a_shared_store_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    store.chmod(0o777)
    with pytest.raises(PolicyRefused, match="everybody can write"):
        DiskRegistry(store).claim(node_of(), LOCK)
    assert os.listdir(store) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_somebody_elses_store_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    os.chown(store, 12345, 12345)
    with pytest.raises(PolicyRefused, match="belongs to another user"):
        DiskRegistry(store).claim(node_of(), LOCK)


def test_tasks_lists_everything_that_is_known(registry: DiskRegistry) -> None:
    held = registry.claim(node_of("held"), LOCK)
    claim = registry.claim(node_of("kept"), LOCK)
    put_partial(claim.folder, b"0123")
    claim.release()
    views = {view.record.nodes[0]: view for view in registry.tasks() if view.record is not None}
    assert set(views) == {"gemmalock.yaml::chat::held", "gemmalock.yaml::chat::kept"}
    assert views["gemmalock.yaml::chat::held"].holder is not None
    kept = views["gemmalock.yaml::chat::kept"]
    assert (kept.kept, kept.holder, kept.error) == (4, None, None)
    assert [view.task_id for view in registry.tasks()] == sorted(view.task_id for view in registry.tasks())
    assert registry.clear() == (1, 1)
    assert held.still_held()
    held.finish()
    assert registry.clear() == (0, 0)
    assert os.listdir(registry.folder) == []


def test_a_name_is_registered_with_one_task(registry: DiskRegistry) -> None:
    registry.register_name("gemma.gguf", ID, LOCK)
    registry.register_name("gemma.gguf", ID, LOCK)
    registry.register_name("tokenizer.json", ID, LOCK)
    assert registry.names(LOCK) == {"gemma.gguf": ID, "tokenizer.json": ID}
    registry.register_name("gemma.gguf", OTHER_ID, LOCK)
    assert DiskRegistry(registry.folder.parent).names(LOCK) == {"gemma.gguf": OTHER_ID, "tokenizer.json": ID}
    registry.unregister_name("tokenizer.json", LOCK)
    registry.unregister_name("tokenizer.json", LOCK)
    assert registry.names(LOCK) == {"gemma.gguf": OTHER_ID}
    assert os.listdir(registry.folder) == [OTHER_ID]


@pytest.mark.parametrize("task_id", ["", "..", "../../etc", ID.upper() + "A", "x" * 36, ID + "\n"])
def test_a_task_id_that_is_no_uuid_is_never_a_folder(registry: DiskRegistry, task_id: str) -> None:
    with pytest.raises(ValueError, match="is not a UUID"):
        registry.register_name("gemma.gguf", task_id, LOCK)
    assert not registry.folder.exists()


def test_forgetting_a_name_leaves_a_real_task(registry: DiskRegistry) -> None:
    node = node_of()
    registry.claim(node, LOCK).release()
    registry.register_name("model.gguf", node.file.task_id, LOCK)
    registry.unregister_name("model.gguf", LOCK)
    record = registry.look(node.file).record
    assert record is not None and record.nodes == (node.id,)


def test_a_registered_name_becomes_a_real_task(registry: DiskRegistry) -> None:
    node = node_of()
    registry.register_name("model.gguf", node.file.task_id, LOCK)
    record = registry.look(node.file).record
    assert record is not None and record.url is None and record.size is None
    claim = registry.claim(node, LOCK)
    assert claim.record.url == node.file.url
    assert claim.record.nodes == (node.id, "model.gguf")


def test_what_dead_processes_left_beside_the_tasks_goes(registry: DiskRegistry) -> None:
    registry.claim(node_of(), LOCK).release()
    dead = next(name for name in _marks_of_the_dead())
    for prefix in (".new-", ".gone-"):
        folder = registry.folder / f"{prefix}{dead}"
        folder.mkdir()
        for name in ("record.json", "claim.1", "data.part", "journal", ".0123.new"):
            (folder / name).write_bytes(b"x")
    from gemmalock.holders import mark

    (registry.folder / f".new-{mark()}").mkdir()
    DiskRegistry(registry.folder.parent).claim(node_of(), LOCK).release()
    assert len(leftovers(registry)) == 1


def _marks_of_the_dead() -> list[str]:
    import subprocess
    import sys

    text = "from gemmalock.holders import mark; print(mark())"
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout.split()

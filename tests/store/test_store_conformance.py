"""What every store does: the one on the disk, and its twin in memory."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from gemmalock.errors import SizeMismatch
from gemmalock.journal import Chunk, Validator
from gemmalock.machine import Store
from gemmalock.store.disk import DiskStore
from tests.store.memory_store import MemoryStore

CONTENT = b"tensor" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SIZE = len(CONTENT)
CHUNK_OF_IT = Chunk(0, SIZE, SHA256, Validator('"v1"', "https://models.example.org"))


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store."""
    folder = tmp_path / "store"
    folder.mkdir(mode=0o700)
    return DiskStore(folder) if request.param == "disk" else MemoryStore(folder)


def part_of(tmp_path: Path, content: bytes = CONTENT) -> Path:
    """A finished download."""
    part = tmp_path / "data.part"
    part.write_bytes(content)
    return part


def rot(path: Path, content: bytes) -> None:
    """Change an object behind the store's back."""
    path.chmod(0o644)
    path.write_bytes(content)


def test_an_empty_store_has_nothing(store: Store) -> None:
    assert not store.has(SHA256, SIZE)
    assert store.checked(SHA256, SIZE) is None


def test_what_is_entered_is_there_read_only(store: Store, tmp_path: Path) -> None:
    part = part_of(tmp_path)
    path = store.enter(part, SHA256, SIZE)
    assert path == store.object_path(SHA256) == store.checked(SHA256, SIZE)
    assert store.has(SHA256, SIZE)
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o777 == 0o444
    assert not part.exists()


def test_entering_twice_keeps_the_first(store: Store, tmp_path: Path) -> None:
    inode = store.enter(part_of(tmp_path), SHA256, SIZE).stat().st_ino
    part = part_of(tmp_path)
    assert store.enter(part, SHA256, SIZE).stat().st_ino == inode
    assert not part.exists()


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], b"?" + CONTENT[1:], CONTENT + b"?"])
def test_a_rotten_object_is_never_served(store: Store, tmp_path: Path, content: bytes) -> None:
    path = store.enter(part_of(tmp_path), SHA256, SIZE)
    rot(path, content)
    assert not store.has(SHA256, SIZE)
    assert path.exists(), "a look changes nothing"
    assert store.checked(SHA256, SIZE) is None
    assert not path.exists()
    assert store.enter(part_of(tmp_path), SHA256, SIZE).read_bytes() == CONTENT


def test_entering_replaces_a_rotten_object(store: Store, tmp_path: Path) -> None:
    rot(store.enter(part_of(tmp_path), SHA256, SIZE), b"rotten")
    assert store.enter(part_of(tmp_path), SHA256, SIZE).read_bytes() == CONTENT
    assert store.has(SHA256, SIZE)


def test_the_size_has_to_be_right_too(store: Store, tmp_path: Path) -> None:
    path = store.enter(part_of(tmp_path), SHA256, SIZE)
    assert not store.has(SHA256, SIZE + 1)
    assert store.checked(SHA256, SIZE + 1) is None
    assert path.exists(), "the object is not what is wrong"


def test_a_part_of_another_size_is_refused(store: Store, tmp_path: Path) -> None:
    part = part_of(tmp_path, CONTENT[:-1])
    with pytest.raises(SizeMismatch):
        store.enter(part, SHA256, SIZE)
    assert part.exists()
    assert not store.has(SHA256, SIZE)


def test_an_empty_file_is_a_file(store: Store, tmp_path: Path) -> None:
    empty = hashlib.sha256(b"").hexdigest()
    store.enter(part_of(tmp_path, b""), empty, 0)
    assert store.has(empty, 0)


def test_what_is_left_of_a_rotten_object_can_be_had_with_its_chunks(store: Store, tmp_path: Path) -> None:
    path = store.enter(part_of(tmp_path), SHA256, SIZE, [CHUNK_OF_IT])
    assert store.salvage(SHA256) is None, "nothing has rotted"
    rotten = CONTENT[:-1] + b"?"
    rot(path, rotten)
    assert store.checked(SHA256, SIZE) is None
    salvage = store.salvage(SHA256)
    assert salvage is not None
    assert salvage == store.salvage(SHA256), "asking for it takes nothing away"
    assert salvage.path.read_bytes() == rotten
    assert [(chunk.index, chunk.length, chunk.check) for chunk in salvage.chunks] == [(0, SIZE, SHA256)]
    store.enter(part_of(tmp_path), SHA256, SIZE, [CHUNK_OF_IT])
    assert salvage.path.exists(), "entering it anew leaves what is left of the old one"


def test_an_object_without_chunks_leaves_nothing_of_use(store: Store, tmp_path: Path) -> None:
    rot(store.enter(part_of(tmp_path), SHA256, SIZE), b"rotten")
    assert store.checked(SHA256, SIZE) is None
    assert store.salvage(SHA256) is None


def test_there_is_room(store: Store) -> None:
    assert store.free_bytes() > 0

"""What the store on the disk does beyond its port."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gemmalock.store.objects
from gemmalock.durable import open_folder
from gemmalock.errors import Interrupted, PolicyRefused, RunRefused, SettingInvalid, SizeMismatch, UnsafePath
from gemmalock.journal import Chunk, Validator
from gemmalock.stopping import Stop
from gemmalock.store.disk import DiskStore
from gemmalock.store.objects import Sidecar, StoredObject, read_sidecar, sidecar_path
from gemmalock.store.place import store_folder
from gemmalock.store.pruning import Limits, choose

BIG = b"tensor" * 1000
DAY = 24 * 3600


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    """An empty store."""
    return DiskStore(tmp_path / "store")


def entered(store: DiskStore, content: bytes) -> tuple[str, Path]:
    """Put bytes into the store: (their sha256, where they are)."""
    staged = store.staging()
    staged.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    return sha256, store.enter(staged, sha256, len(content))


def rot_in_secret(path: Path) -> None:
    """Other bytes with the old stat: what a failing disk does."""
    found = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"?" * found.st_size)
    path.chmod(0o444)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def used(store: DiskStore, sha256: str, days_ago: float) -> None:
    """Let an object have been used last so long ago."""
    import time

    then = time.time() - days_ago * DAY
    os.utime(sidecar_path(store.object_path(sha256)), (then, then))


@pytest.mark.parametrize(("size", "names"), [(1000, {"shelf"}), (2_000_000, {"shelf", "sidecar"})])
def test_a_sealed_part_is_not_synced_again_nor_a_sidecar_that_is_quickly_had_anew(
    store: DiskStore, synced: list[Path], size: int, names: set[str]
) -> None:
    shelf = entered(store, BIG)[1].parent
    content = next(
        content
        for number in range(10_000)
        if hashlib.sha256(content := b"%08d" % number + bytes(size - 8)).hexdigest()[:2] == shelf.name
    )
    staged = store.staging()
    staged.write_bytes(content)
    staged.chmod(0o444)
    synced.clear()
    path = store.enter(staged, hashlib.sha256(content).hexdigest(), len(content))
    assert {"shelf" if path == shelf else "sidecar" for path in synced} == names
    sidecar = read_sidecar(path)
    assert sidecar is not None and sidecar.holds(path.stat())


@pytest.mark.parametrize("kept", [0, 20])
def test_half_a_sidecar_is_none_and_is_written_anew(store: DiskStore, kept: int) -> None:
    sha256, path = entered(store, BIG)
    whole = sidecar_path(path).read_bytes()
    sidecar_path(path).write_bytes(whole[:kept])
    assert store.has(sha256, len(BIG)) and not store.holds(sha256)
    assert store.checked(sha256, len(BIG)) == path and store.holds(sha256)


def test_nothing_is_made_by_asking(store: DiskStore) -> None:
    assert not store.has("0" * 64, 1)
    assert store.free_bytes() > 0
    assert (store.size(), list(store.objects())) == (0, [])
    assert store.verify().sound == 0
    assert store.prune() == ()
    assert not store.folder.exists()


def test_the_layout(store: DiskStore) -> None:
    sha256, path = entered(store, BIG)
    assert path.relative_to(store.folder).parts == ("objects", sha256[:2], sha256)
    assert (path.stat().st_mode & 0o777, store.folder.stat().st_mode & 0o777) == (0o444, 0o700)
    assert sidecar_path(path).stat().st_mode & 0o777 == 0o600
    assert os.listdir(store.folder / "staging") == []
    assert next(iter(store.objects())).size == store.size() == len(BIG)


@pytest.mark.parametrize("name", ["", "../../../etc/passwd", "0" * 63, "0" * 64 + "\n", "A" * 64])
def test_an_object_is_named_by_a_digest_and_nothing_else(store: DiskStore, name: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        store.object_path(name)


def test_while_the_stat_holds_nothing_is_read(store: DiskStore) -> None:
    sha256, path = entered(store, BIG)
    rot_in_secret(path)
    assert store.has(sha256, len(BIG)) and store.holds(sha256)
    assert store.checked(sha256, len(BIG)) == path
    assert store.checked(sha256, len(BIG), verify=True) is None
    assert len(os.listdir(store.folder / "quarantine")) == 2, "the object and its sidecar"


@pytest.mark.parametrize("text", [None, b"", b"{", b"[]", b"\x00" * 50, b'{"size": "x"}'])
def test_a_lost_or_damaged_sidecar_is_made_again_from_the_bytes(store: DiskStore, text: bytes | None) -> None:
    sha256, path = entered(store, BIG)
    sidecar_path(path).unlink() if text is None else sidecar_path(path).write_bytes(text)
    assert store.has(sha256, len(BIG)) and not store.holds(sha256)
    assert read_sidecar(path) is None, "a look changes nothing"
    assert store.checked(sha256, len(BIG)) == path
    assert store.holds(sha256)


def test_a_touched_object_is_hashed_again_and_keeps_its_chunks(store: DiskStore) -> None:
    staged = store.staging()
    staged.write_bytes(BIG)
    sha256 = hashlib.sha256(BIG).hexdigest()
    path = store.enter(staged, sha256, len(BIG), [Chunk(0, len(BIG), sha256, Validator(None, "o"))])
    os.utime(path, ns=(1, 1))
    assert not store.holds(sha256)
    assert store.checked(sha256, len(BIG)) == path
    sidecar = read_sidecar(path)
    assert sidecar is not None and sidecar.chunks == ((0, len(BIG), sha256),)
    assert store.holds(sha256)


@given(st.lists(st.tuples(st.integers(0), st.integers(0), st.text()), max_size=4), st.sampled_from([1, 3, 256]))
def test_a_sidecar_that_is_written_bit_by_bit_is_the_json_that_it_would_be(
    chunks: list[tuple[int, int, str]], at_once: int
) -> None:
    sidecar = Sidecar(5, 6, 7, tuple(chunks))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gemmalock.store.objects, "_AT_ONCE", at_once)
        text = sidecar.write()
    fields = {"size": 5, "mtime_ns": 6, "inode": 7, "chunks": chunks}
    assert text == json.dumps(fields, sort_keys=True).encode() + b"\n"
    assert Sidecar.read(text) == sidecar


@given(st.binary(max_size=100))
def test_reading_a_sidecar_never_fails(text: bytes) -> None:
    assert Sidecar.read(text) is None or Sidecar.read(text) is not None


def test_a_part_that_is_a_link_is_not_followed(store: DiskStore, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(BIG)
    part = tmp_path / "part"
    part.symlink_to(precious)
    with pytest.raises(UnsafePath):
        store.enter(part, hashlib.sha256(BIG).hexdigest(), len(BIG))
    assert precious.stat().st_mode & 0o200


@pytest.mark.parametrize("said", [None, "~/store", "~nobody-of-this-name/store"])
def test_a_store_in_a_home_folder_that_there_is_not_is_a_setting_to_mend(
    said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    with pytest.raises(SettingInvalid, match="home folder") as caught:
        store_folder(said, None)
    assert "`GEMMALOCK_STORE`" in str(caught.value.hint)


def test_a_link_in_the_place_of_an_object_is_none(store: DiskStore, tmp_path: Path) -> None:
    sha256, path = entered(store, BIG)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert not store.has(sha256, len(BIG))
    assert store.checked(sha256, len(BIG)) is None


@pytest.mark.parametrize("name", ["objects", "objects/{shelf}", "staging", "quarantine", "learned", "roots"])
def test_a_link_inside_the_store_is_refused_and_nothing_behind_it_changes(
    store: DiskStore, tmp_path: Path, name: str
) -> None:
    sha256, path = entered(store, BIG)
    part = tmp_path / "part"
    part.write_bytes(BIG[::-1])
    elsewhere = tmp_path / "elsewhere"
    place = store.folder / name.format(shelf=sha256[:2])
    place.rename(elsewhere) if place.exists() else elsewhere.mkdir()
    place.symlink_to(elsewhere)
    (elsewhere / "theirs").write_bytes(b"precious")
    before = sorted(elsewhere.rglob("*"))
    acts: dict[str, Callable[[], object]] = {
        "objects": lambda: store.enter(part, hashlib.sha256(BIG[::-1]).hexdigest(), len(BIG)),
        "staging": store.staging,
        "quarantine": lambda: store.checked(sha256, len(BIG), verify=True),
        "learned": lambda: store.learn("00000000-0000-5000-8000-000000000000", sha256),
        "roots": lambda: store.remember_root(tmp_path / "root"),
    }
    rot_in_secret(path)
    with pytest.raises(UnsafePath, match="is a symbolic link"):
        acts.get(name, lambda: store.checked(sha256, len(BIG)))()
    if name.startswith("objects"):
        for act in (lambda: store.has(sha256, len(BIG)), store.verify, store.prune):
            with pytest.raises(UnsafePath):
                act()
    assert sorted(elsewhere.rglob("*")) == before


@pytest.mark.parametrize("name", ["staging", "quarantine"])
def test_tidying_does_not_go_through_a_link(store: DiskStore, tmp_path: Path, name: str) -> None:
    entered(store, BIG)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / mark_of_the_dead()).write_bytes(b"precious")
    place = store.folder / name
    if place.exists():
        place.rmdir()
    place.symlink_to(elsewhere)
    store.prune()
    assert len(os.listdir(elsewhere)) == 1


def mark_of_the_dead() -> str:
    """A name that a process gave which is dead."""
    text = "from gemmalock.holders import mark; print(mark())"
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_a_part_of_another_file_system_is_copied_and_checked(store: DiskStore) -> None:
    part = Path(f"/dev/shm/gemmalock-test-{os.getpid()}")
    try:
        part.write_bytes(BIG)
        if part.stat().st_dev == store.folder.parent.stat().st_dev:
            pytest.skip("the temporary folder is on the same file system")
        sha256 = hashlib.sha256(BIG).hexdigest()
        path = store.enter(part, sha256, len(BIG))
        assert (path.read_bytes(), path.stat().st_mode & 0o777) == (BIG, 0o444)
        assert not part.exists()
        assert os.listdir(store.folder / "staging") == []
    finally:
        part.unlink(missing_ok=True)


def test_a_staged_file_is_its_owners_alone_and_swept_when_that_is_dead(store: DiskStore) -> None:
    text = "import sys; from pathlib import Path; from gemmalock.store.disk import DiskStore\n"
    text += "print(DiskStore(Path(sys.argv[1])).staging())"
    dead = subprocess.run([sys.executable, "-c", text, str(store.folder)], capture_output=True, text=True, check=True)
    assert Path(dead.stdout.strip()).exists()
    mine = store.staging()
    assert mine.stat().st_mode & 0o777 == 0o600
    assert os.listdir(mine.parent) == [mine.name]


def test_a_store_that_everybody_can_write_to_serves_nothing(store: DiskStore) -> None:
    sha256, _ = entered(store, BIG)
    store.folder.chmod(0o777)
    fresh = DiskStore(store.folder)
    for ask in (lambda: fresh.has(sha256, len(BIG)), lambda: fresh.checked(sha256, len(BIG)), fresh.staging):
        with pytest.raises(PolicyRefused, match="everybody can write"):
            ask()
    store.folder.chmod(0o1777)
    assert DiskStore(store.folder).has(sha256, len(BIG))


def test_verify_finds_what_has_rotted_in_secret(store: DiskStore) -> None:
    digests = [entered(store, b"%d" % number * 100)[0] for number in range(3)]
    rot_in_secret(store.object_path(digests[1]))
    told: list[tuple[int, int]] = []
    result = store.verify(3, on_progress=lambda done, total: told.append((done, total)))
    assert (result.sound, result.rotten) == (2, (digests[1],))
    assert told == [(100, 300), (200, 300), (300, 300)]
    assert {stored.sha256 for stored in store.objects()} == {digests[0], digests[2]}
    assert store.verify().rotten == ()


def test_the_rotten_object_that_came_last_is_the_one_to_be_had(store: DiskStore) -> None:
    for rotten in (b"first!", b"second"):
        staged = store.staging()
        staged.write_bytes(b"tensor")
        sha256 = hashlib.sha256(b"tensor").hexdigest()
        path = store.enter(staged, sha256, 6, [Chunk(0, 6, sha256, Validator(None, ""))])
        path.chmod(0o644)
        path.write_bytes(rotten)
        assert store.checked(sha256, 6) is None
    salvage = store.salvage(sha256)
    assert salvage is not None
    assert salvage.path.read_bytes() == b"second"


def test_chunks_are_found_also_where_a_crash_parted_them_from_their_object(store: DiskStore) -> None:
    """One process moved the sidecar and died; the next one found the object, and moved that."""
    staged = store.staging()
    staged.write_bytes(b"tensor")
    sha256 = hashlib.sha256(b"tensor").hexdigest()
    path = store.enter(staged, sha256, 6, [Chunk(0, 6, sha256, Validator(None, ""))])
    rot_in_secret(path)
    quarantine = store.folder / "quarantine"
    quarantine.mkdir()
    sidecar_path(path).rename(quarantine / f"{sha256}.somebody.json")
    assert store.salvage(sha256) is None
    assert not store.has(sha256, 6)
    assert store.checked(sha256, 6) is None
    salvage = store.salvage(sha256)
    assert salvage is not None
    assert [chunk.check for chunk in salvage.chunks] == [sha256]


@pytest.mark.parametrize("text", [b"", b"{", b'{"size": 6, "mtime_ns": 1, "inode": 1, "chunks": []}'])
def test_a_damaged_sidecar_in_the_quarantine_tells_nothing(store: DiskStore, text: bytes) -> None:
    sha256, path = entered(store, b"tensor")
    rot_in_secret(path)
    sidecar_path(path).write_bytes(text)
    assert store.checked(sha256, 6) is None
    assert store.salvage(sha256) is None


def test_whatever_hashes_can_be_stopped(store: DiskStore, tmp_path: Path) -> None:
    sha256, path = entered(store, BIG)
    os.utime(path, ns=(1, 1))
    stop = Stop()
    stop.set()
    stopped = DiskStore(store.folder, stop)
    part = tmp_path / "part"
    part.write_bytes(BIG)
    calls: list[Callable[[], object]] = [
        lambda: stopped.has(sha256, len(BIG)),
        lambda: stopped.checked(sha256, len(BIG)),
        lambda: stopped.enter(part, sha256, len(BIG)),
        stopped.verify,
    ]
    for call in calls:
        with pytest.raises(Interrupted):
            call()
    assert part.exists()
    assert len(list(store.objects())) == 1


def test_a_wrong_part_leaves_the_store_as_it_was(store: DiskStore, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"short")
    with pytest.raises(SizeMismatch):
        store.enter(part, "0" * 64, 6)
    assert list(store.objects()) == []


# --- pruning -----------------------------------------------------------------------------------------------


@pytest.fixture
def four(store: DiskStore) -> list[str]:
    """Four objects of 100 bytes, last used 40, 30, 20 and 10 days ago."""
    digests = [entered(store, b"%d" % number * 100)[0] for number in range(4)]
    for sha256, days in zip(digests, (40, 30, 20, 10), strict=True):
        used(store, sha256, days)
    return digests


@pytest.mark.parametrize(
    ("older_than", "max_bytes", "gone"),
    [
        (None, None, [0, 1, 2, 3]),
        (25 * DAY, None, [0, 1]),
        (90 * DAY, None, []),
        (None, 250, [0, 1]),
        (None, 400, []),
        (None, 0, [0, 1, 2, 3]),
        (35 * DAY, 250, [0, 1]),
        (15 * DAY, 350, [0, 1, 2]),
    ],
)
def test_the_least_recently_used_goes_first(
    store: DiskStore, four: list[str], older_than: float | None, max_bytes: int | None, gone: list[int]
) -> None:
    planned = store.prune(older_than, max_bytes, dry_run=True)
    assert len(list(store.objects())) == 4
    done = store.prune(older_than, max_bytes)
    assert planned == done
    assert [stored.sha256 for stored in done] == [four[number] for number in gone]
    assert store.size() == 400 - 100 * len(gone)
    for number in gone:
        assert not sidecar_path(store.object_path(four[number])).exists()


def test_using_an_object_makes_it_young(store: DiskStore, four: list[str]) -> None:
    store.checked(four[0], 100)
    store.touch("0" * 64)
    assert [stored.sha256 for stored in store.prune(older_than_seconds=5 * DAY)] == four[1:]


def test_what_a_root_links_to_stays(store: DiskStore, four: list[str], tmp_path: Path) -> None:
    root = tmp_path / "models"
    (root / "deep").mkdir(parents=True)
    (root / "hard").hardlink_to(store.object_path(four[0]))
    (root / "deep" / "soft").symlink_to(store.object_path(four[1]))
    (root / "loop").symlink_to(root)
    store.remember_root(root)
    store.remember_root(root)
    assert [stored.sha256 for stored in store.prune(live=frozenset({four[2]}))] == [four[3]]
    (root / "deep" / "soft").unlink()
    (root / "hard").unlink()
    assert len(store.prune()) == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_root_that_cannot_be_read_protects_everything(store: DiskStore, four: list[str], tmp_path: Path) -> None:
    root = tmp_path / "models"
    root.mkdir()
    store.remember_root(root)
    root.chmod(0)
    try:
        with pytest.raises(RunRefused):
            store.prune()
    finally:
        root.chmod(0o700)
    assert len(list(store.objects())) == 4


@pytest.mark.parametrize("text", [b"", b"{}", b'{"path": 1, "device": 2}', b"\xff"])
def test_a_damaged_note_of_a_root_protects_everything(
    store: DiskStore, four: list[str], tmp_path: Path, text: bytes
) -> None:
    store.remember_root(tmp_path)
    (note,) = (store.folder / "roots").iterdir()
    note.write_bytes(text)
    with pytest.raises(RunRefused, match="would not say"):
        store.prune()
    assert len(list(store.objects())) == len(four)


def test_a_root_whose_file_system_is_not_there_protects_everything(
    store: DiskStore, four: list[str], tmp_path: Path
) -> None:
    root = tmp_path / "models"
    root.mkdir()
    store.remember_root(root)
    (note,) = (store.folder / "roots").iterdir()
    note.write_bytes(note.read_bytes().replace(b'"device": ', b'"device": 9'))
    assert store.prune(dry_run=True), "the folder is there to be read"
    root.rmdir()
    with pytest.raises(RunRefused, match="would not say"):
        store.prune()
    assert len(list(store.objects())) == len(four)


def test_a_root_that_was_removed_protects_nothing(store: DiskStore, four: list[str], tmp_path: Path) -> None:
    root = tmp_path / "models"
    root.mkdir()
    store.remember_root(root)
    root.rmdir()
    assert len(store.prune()) == len(four)


STORED = st.builds(
    StoredObject, st.text("0123456789abcdef", min_size=64, max_size=64), st.integers(0, 1000), st.integers(0, 10**12)
)


@given(
    st.lists(STORED, unique_by=lambda stored: stored.sha256),
    st.none() | st.integers(0, 1000),
    st.none() | st.integers(0, 5000),
    st.data(),
)
def test_pruning_never_takes_what_is_pinned_nor_more_than_it_must(
    objects: list[StoredObject], older_than: int | None, max_bytes: int | None, drawn: st.DataObject
) -> None:
    pinned = drawn.draw(st.sets(st.sampled_from([stored.sha256 for stored in objects]))) if objects else set()
    chosen = choose(objects, frozenset(pinned), Limits(older_than, max_bytes), 10**12)
    gone = {stored.sha256 for stored in chosen}
    stays = [stored for stored in objects if stored.sha256 not in gone]
    assert not gone & pinned
    kept = sum(stored.size for stored in stays)
    free = [stored for stored in stays if stored.sha256 not in pinned]
    if max_bytes is not None and kept > max_bytes:
        assert not free
    if older_than is None and max_bytes is not None and chosen:
        last = chosen[-1]
        assert kept + last.size > max_bytes
        assert all(stored.used_ns >= last.used_ns for stored in free)


# --- where it is -------------------------------------------------------------------------------------------


def test_the_store_is_where_the_environment_says(tmp_path: Path) -> None:
    assert store_folder(str(tmp_path / "here"), tmp_path) == tmp_path / "here"
    assert store_folder("~/there", tmp_path) == Path.home() / "there"


def test_without_a_word_it_is_the_users_cache(tmp_path: Path, house: Path) -> None:
    assert store_folder(None, tmp_path / "not" / "there" / "yet") == house / ".cache" / "gemmalock"


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_on_another_file_system_than_the_cache_it_is_in_the_root(house: Path) -> None:
    root = Path("/dev/shm/gemmalock-no-such-root")
    if Path("/dev/shm").stat().st_dev == house.stat().st_dev:
        pytest.skip("the home folder is on the same file system")
    assert store_folder("", root) == root / ".gemmalock" / "store"


def test_a_store_can_be_entered_by_many_at_once(tmp_path: Path) -> None:
    text = "import sys; from pathlib import Path; from gemmalock.store.disk import DiskStore\n"
    text += "from hashlib import sha256\n"
    text += "store = DiskStore(Path(sys.argv[1]))\n"
    text += "for number in range(20):\n    content, staged = b'%d' % number * 1000, store.staging()\n"
    text += "    staged.write_bytes(content)\n    store.enter(staged, sha256(content).hexdigest(), len(content))\n"
    command = [sys.executable, "-c", text, str(tmp_path / "store")]
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    store = DiskStore(tmp_path / "store")
    assert (store.verify().sound, store.size()) == (20, sum(len(b"%d" % n * 1000) for n in range(20)))
    assert all(store.holds(stored.sha256) for stored in store.objects())
    with open_folder(tmp_path / "store" / "staging") as staging:
        assert os.listdir(staging) == []


def test_an_object_that_was_mended_while_it_was_hashed_stays(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256, path = entered(store, BIG)
    rot_in_secret(path)
    hash_object = gemmalock.store.objects.hash_object
    rounds: list[str] = []

    def slowly(path: Path, stop: Stop) -> tuple[str, os.stat_result] | None:
        hashed = hash_object(path, stop)
        rounds.append("" if hashed is None else hashed[0])
        if len(rounds) == 1:
            # Meanwhile a sync puts the rotten object away, and enters a sound one.
            other = DiskStore(store.folder)
            assert other.checked(sha256, len(BIG), verify=True) is None
            entered(other, BIG)
        return hashed

    monkeypatch.setattr("gemmalock.store.disk.hash_object", slowly)
    assert store.verify().sound == 1
    assert path.read_bytes() == BIG
    assert rounds[0] != rounds[-1] == sha256

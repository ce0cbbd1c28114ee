"""Task records and ledgers: written whole and read back, and nothing that is not whole is believed."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.codec.ledger_json import read_ledger, write_ledger
from gemmalock.codec.record_json import read_record, write_record
from gemmalock.codec.schema import flaws
from gemmalock.ledger import LedgerEntry
from gemmalock.plan import TaskRecord

RECORD_SCHEMA = "task-record.v1.schema.json"
TASK = "cd6cc49b-a92f-5e55-be4a-db1bed7583e3"
DIGEST = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
RECORD = TaskRecord(
    task_id=TASK,
    url="https://models.example.org/größe.gguf",
    size=100,
    etag='"x"',
    sha256=DIGEST,
    nodes=("gemmalock.yaml::gemma::gemma.gguf",),
    locks=("/home/a/gemmalock.lock",),
    ranges=((0, 10), (20, 100)),
    begun="2025-01-01T00:00:00Z",
)
ENTRY = LedgerEntry(3, 1_700_000_000_123_456_789, 42, DIGEST, TASK, "hardlink")
LEDGER = {"gemma/gemma.gguf": ENTRY, "größe/x": LedgerEntry(0, -1, 0, DIGEST, TASK, "copy")}

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
_SHA256 = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")
_SIZES = st.integers(0, 2**63 - 1)


@st.composite
def _records(draw: st.DrawFn) -> TaskRecord:
    bounds = sorted(draw(st.sets(_SIZES, max_size=6)))
    ranges = tuple(zip(bounds[::2], bounds[1::2], strict=False))
    return TaskRecord(
        task_id=str(draw(st.uuids())),
        url=draw(st.none() | _TEXTS),
        size=draw(st.none() | st.just(2**63 - 1)),
        etag=draw(st.none() | _TEXTS),
        sha256=draw(st.none() | _SHA256),
        nodes=draw(st.lists(_TEXTS, max_size=3).map(tuple)),
        locks=draw(st.lists(_TEXTS, max_size=3).map(tuple)),
        ranges=ranges,
        begun=draw(_TEXTS),
    )


@given(_records())
def test_a_record_is_read_as_it_was_written(record: TaskRecord) -> None:
    text = write_record(record)
    assert read_record(text) == record
    assert list(flaws(RECORD_SCHEMA, json.loads(text))) == []


def test_a_record_that_is_cut_anywhere_is_no_record() -> None:
    text = write_record(RECORD)
    assert [end for end in range(len(text) - 1) if read_record(text[:end]) is not None] == []


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_record_with_a_flipped_bit_is_never_an_error(place: int, bits: int) -> None:
    text = bytearray(write_record(RECORD))
    text[place % len(text)] ^= bits
    record = read_record(bytes(text))
    assert record is None or read_record(write_record(record)) == record


@pytest.mark.parametrize(
    "change",
    [
        {"record_version": 2},
        {"record_version": 1.0},
        {"record_version": True},
        {"record_version": None},
        {"extra": 1},
        {"task_id": "x"},
        {"task_id": TASK.upper()},
        {"task_id": f"{TASK}\n"},
        {"task_id": None},
        {"url": 1},
        {"size": -1},
        {"size": "1"},
        {"size": 1.0},
        {"size": True},
        {"size": 2**63},
        {"etag": []},
        {"etag": "\ud800"},
        {"sha256": DIGEST.upper()},
        {"nodes": "x"},
        {"nodes": [1]},
        {"locks": None},
        {"ranges": [[0]]},
        {"ranges": [[0, 1, 2]]},
        {"ranges": [[5, 5]]},
        {"ranges": [[5, 4]]},
        {"ranges": [[-1, 4]]},
        {"ranges": [[0, 1.0]]},
        {"ranges": [[0, 101]]},
        {"ranges": [[0, 10], [9, 20]]},
        {"ranges": [[20, 30], [0, 10]]},
        {"ranges": {}},
        {"begun": None},
    ],
)
def test_a_record_that_is_not_known_is_no_record(change: dict[str, object]) -> None:
    assert read_record(json.dumps(json.loads(write_record(RECORD)) | change).encode()) is None


@pytest.mark.parametrize(
    "text", [b"", b"\0" * 100, b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000, b"9" * 5000, b'{"size": NaN}']
)
def test_what_is_no_record_and_no_ledger_is_none(text: bytes) -> None:
    assert read_record(text) is None
    assert read_ledger(text) is None


@given(st.binary(max_size=100))
def test_no_bytes_raise(text: bytes) -> None:
    assert read_record(text) is None
    assert read_ledger(text) is None


# --- ledgers -----------------------------------------------------------------------------------------------

_ENTRIES = st.builds(
    LedgerEntry,
    size=_SIZES,
    mtime_ns=st.integers(-(2**63), 2**63 - 1),
    inode=st.integers(0, 2**64 - 1),
    sha256=_SHA256,
    task_id=st.uuids().map(str),
    link=st.sampled_from(["reflink", "hardlink", "symlink", "copy"]),
)


@given(st.dictionaries(st.sampled_from(["a", "b/c", "größe", "x y.gguf"]), _ENTRIES))
def test_a_ledger_is_read_as_it_was_written(entries: dict[str, LedgerEntry]) -> None:
    assert read_ledger(write_ledger(entries)) == entries


@given(st.dictionaries(st.sampled_from(["a", "b/c", "größe", "x y.gguf"]), _ENTRIES))
def test_a_ledger_is_json_sorted_and_indented_by_1(entries: dict[str, LedgerEntry]) -> None:
    value = {"ledger_version": 1, "files": {path: asdict(entry) for path, entry in entries.items()}}
    assert write_ledger(entries).decode() == json.dumps(value, indent=1, sort_keys=True) + "\n"


def test_the_same_ledger_has_the_same_bytes() -> None:
    assert write_ledger(dict(reversed(LEDGER.items()))) == write_ledger(LEDGER)


def test_a_ledger_that_is_cut_anywhere_is_none() -> None:
    text = write_ledger(LEDGER)
    assert [end for end in range(len(text) - 1) if read_ledger(text[:end]) is not None] == []


@pytest.mark.parametrize(
    "change",
    [
        {"size": -1},
        {"size": "3"},
        {"size": True},
        {"mtime_ns": 1.5},
        {"inode": None},
        {"sha256": "x"},
        {"sha256": None},
        {"task_id": "x"},
        {"task_id": 1},
        {"link": "move"},
        {"link": []},
        {"link": None},
        {"extra": 1},
    ],
)
def test_one_entry_that_cannot_be_makes_the_whole_ledger_none(change: dict[str, object]) -> None:
    value = json.loads(write_ledger(LEDGER))
    value["files"]["gemma/gemma.gguf"].update(change)
    assert read_ledger(json.dumps(value).encode()) is None


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "", "a/../b", ".git/config", "a\\b", "\ud800"])
def test_a_ledger_that_was_edited_by_hand_makes_no_path_outside_ours(path: str) -> None:
    value = json.loads(write_ledger(LEDGER))
    value["files"][path] = value["files"]["gemma/gemma.gguf"]
    assert read_ledger(json.dumps(value).encode()) is None


@pytest.mark.parametrize("version", [2, 0, 1.0, True, "1", None])
def test_a_ledger_of_another_version_is_none(version: object) -> None:
    value = json.loads(write_ledger(LEDGER)) | {"ledger_version": version}
    assert read_ledger(json.dumps(value).encode()) is None

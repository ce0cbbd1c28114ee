"""What is known of the bytes of a partial: whatever happens to it, no wrong byte gets in and none is lost in vain."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gemmalock.errors import FileError, ReadWriteFailed, ServerError
from gemmalock.journal import CHUNK, Chunk, Validator
from gemmalock.lockfile import LockedFile
from gemmalock.stopping import Stop
from gemmalock.transfer.blocks import BLOCK
from gemmalock.transfer.checks import Hasher
from gemmalock.transfer.journalfile import JournalFile
from gemmalock.transfer.part import Part
from gemmalock.transfer.ranges import AHEAD, DurableRanges
from gemmalock.transfer.stretch import Stretch
from tests.transfer.twins import Bench, Reply, ScriptedAnswer, ScriptedSource, digest, locked, patient, some_bytes

BODY = some_bytes(3 * CHUNK + 123_457)
OTHER = some_bytes(len(BODY), seed=2)
#: One chunk that comes in many small answers: the journal has a line for each.
SLOW = some_bytes(5_000)
STEPS = (700, 1400, 2100, 2800)
VALIDATOR = Validator('"v1"', "https://models.example.org")


def ranges_of(folder: Path, size: int) -> DurableRanges:
    """The ranges of a part of that size, open."""
    return DurableRanges(Part(folder, size), JournalFile(folder), lambda ranges: None)


def begun(bench: Bench, file: LockedFile) -> bytes:
    """Leave a partial whose journal has a line per step, and give the journal's text."""
    bench.terms = patient(len(STEPS) - 1)
    with pytest.raises(FileError):
        bench.fetch(
            file, ScriptedSource([Reply(SLOW, cut=STEPS[0])] * len(STEPS) + [Reply(b"", error=ServerError("x"))])
        )
    return bench.claim.journal_path.read_bytes()


# --- a damaged journal -------------------------------------------------------------------------------------


def test_a_journal_cut_at_any_byte_is_gone_on_from(bench: Bench) -> None:
    file = locked(SLOW)
    text = begun(bench, file)
    part = bench.bytes()
    for cut in range(len(text) + 1):
        bench.claim.part.write_bytes(part)
        bench.claim.journal_path.write_bytes(text[:cut])
        fetched = bench.fetch(file, ScriptedSource([Reply(SLOW)]))
        whole = max((step for step in STEPS if len(_first_lines(text, step)) - 1 <= cut), default=0)
        assert (fetched.bytes_kept, fetched.bytes_fetched) == (whole, len(SLOW) - whole), cut
        assert bench.bytes() == SLOW


def _first_lines(text: bytes, step: int) -> bytes:
    return b"".join(text.splitlines(keepends=True)[: STEPS.index(step) + 1])


def test_a_journal_with_any_bit_flipped_lets_no_wrong_byte_in(bench: Bench) -> None:
    file = locked(SLOW)
    text = begun(bench, file)
    part = bench.bytes()
    for place in range(len(text)):
        bench.claim.part.write_bytes(part)
        bench.claim.journal_path.write_bytes(text[:place] + bytes([text[place] ^ 0x10]) + text[place + 1 :])
        fetched = bench.fetch(file, ScriptedSource([Reply(SLOW)]))
        assert fetched.bytes_kept in (*STEPS, 0)
        assert (bench.bytes(), fetched.bytes_fetched) == (SLOW, len(SLOW) - fetched.bytes_kept)


@pytest.mark.parametrize("text", [b"", b"\0" * 4096, b"{}\n", b"\xff" * 100 + b"\n"])
def test_a_journal_that_says_nothing_costs_the_bytes_and_no_more(bench: Bench, text: bytes) -> None:
    bench.partial(locked(BODY), Reply(BODY), CHUNK)
    bench.claim.journal_path.write_bytes(text)
    fetched = bench.fetch(locked(BODY), ScriptedSource([Reply(BODY)]))
    assert (bench.bytes(), fetched.bytes_kept) == (BODY, 0)


def test_a_torn_line_does_not_swallow_the_next_one(bench: Bench) -> None:
    bench.partial(locked(BODY), Reply(BODY), CHUNK + 5)
    text = bench.claim.journal_path.read_bytes()
    bench.claim.journal_path.write_bytes(text[:-1])
    bench.partial(locked(BODY), Reply(BODY), CHUNK)
    assert bench.claim.journal(len(BODY)).ranges == ((0, 2 * CHUNK + 5),)


# --- damaged bytes -----------------------------------------------------------------------------------------


def zero(path: Path, start: int, end: int) -> None:
    """Overwrite bytes by zeros, as a file system that lost a page does."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(end - start))


def zero_twice(path: Path) -> None:
    """Damage two chunks that do not touch."""
    zero(path, 5, 6)
    zero(path, 2 * CHUNK, 2 * CHUNK + 9)


@pytest.mark.parametrize(
    ("damage", "gaps"),
    [
        (lambda path: zero(path, 0, 1), [(0, CHUNK)]),
        (lambda path: zero(path, CHUNK + 1000, CHUNK + 5000), [(CHUNK, 2 * CHUNK)]),
        (lambda path: zero(path, 2 * CHUNK - 1, 2 * CHUNK + 1), [(CHUNK, 3 * CHUNK)]),
        (lambda path: zero(path, 3 * CHUNK + 77, 3 * CHUNK + 78), [(3 * CHUNK, len(BODY))]),
        (zero_twice, [(0, CHUNK), (2 * CHUNK, 3 * CHUNK)]),
        (lambda path: os.truncate(path, 2 * CHUNK + 1), [(2 * CHUNK, len(BODY))]),
        (lambda path: os.truncate(path, 0), [(0, len(BODY))]),
    ],
)
@pytest.mark.parametrize("proven", [True, False])
def test_only_the_chunks_that_were_damaged_are_fetched_again(
    bench: Bench, damage: Callable[[Path], object], gaps: list[tuple[int, int]], proven: bool
) -> None:
    file = locked(BODY, proven=proven)
    bench.fetch(file, ScriptedSource([Reply(BODY)]))
    damage(bench.claim.part)
    source = ScriptedSource([Reply(BODY)])
    fetched = bench.fetch(file, source)
    assert source.ranges == gaps
    assert (bench.bytes(), fetched.sha256) == (BODY, digest(BODY))
    assert fetched.bytes_kept == len(BODY) - sum(end - start for start, end in gaps)
    assert "they are not what the journal says" in fetched.notes[0]


def test_a_hole_is_filled_without_touching_what_is_behind_it(bench: Bench) -> None:
    bench.fetch(locked(BODY), ScriptedSource([Reply(BODY)]))
    zero(bench.claim.part, 10, 20)
    source = ScriptedSource([Reply(BODY, cut=1_000_000), Reply(BODY)])
    bench.fetch(locked(BODY), source)
    assert source.ranges == [(0, CHUNK), (1_000_000, CHUNK)]


# --- what the committer promises ---------------------------------------------------------------------------


def test_a_connection_is_never_too_far_ahead_of_the_journal(bench: Bench) -> None:
    body = some_bytes(3 * AHEAD)
    ahead: list[int] = []
    answers: list[ScriptedAnswer] = []

    def look() -> None:
        ahead.append(answers[-1].sent - bench.claim.journal(len(body)).kept)

    bench.terms = patient(0)
    for cut in range(AHEAD // 2, len(body), AHEAD // 3):
        bench.claim.drop_partial()
        with pytest.raises(FileError):
            bench.fetch(locked(body), ScriptedSource([Reply(body, cut=cut, then=look)], answers=answers))
    assert len(ahead) == len(range(AHEAD // 2, len(body), AHEAD // 3))
    assert max(ahead) <= AHEAD


def test_what_came_slowly_is_journaled_before_more_comes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemmalock.transfer.ranges._COMMIT_SECONDS", 0.01)
    seen: list[int] = []

    def look() -> None:
        deadline = time.monotonic() + 30
        while bench.claim.journal(len(BODY)).kept < 1000 and time.monotonic() < deadline:
            time.sleep(0.001)
        seen.append(bench.claim.journal(len(BODY)).kept)

    bench.fetch(locked(BODY), ScriptedSource([Reply(BODY, cut=1000, then=look), Reply(BODY)]))
    assert seen == [1000]


def test_a_failed_sync_distrusts_what_came_since_the_last_good_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = some_bytes(3 * AHEAD)
    calls = []

    def datasync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("gemmalock.transfer.part.datasync", datasync)
    with pytest.raises(FileError, match="Input/output error") as caught:
        bench.fetch(locked(body), ScriptedSource([Reply(body)]))
    assert caught.value.code == "io_error"
    assert len(calls) == 2, "a sync after a failed one is not believed"
    assert 0 < bench.claim.journal(len(body)).kept <= AHEAD
    monkeypatch.undo()
    fetched = bench.fetch(locked(body), ScriptedSource([Reply(body)]))
    assert bench.bytes() == body
    assert fetched.bytes_kept <= AHEAD


def test_a_hash_that_memory_ran_out_for_never_gets_into_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has taken some of the bytes already: taking them again would give a digest of nothing that is there."""
    ranges = ranges_of(tmp_path, len(BODY))

    def half(part: Part, hasher: Hasher, bounds: tuple[int, int]) -> bool:
        hasher.update(memoryview(BODY)[bounds[0] : (bounds[0] + bounds[1]) // 2])
        raise MemoryError

    monkeypatch.setattr(Part, "hash_new", half)
    with pytest.raises(MemoryError), ranges.writing((0, CHUNK), VALIDATOR) as stretch:
        ranges.write(stretch, memoryview(BODY)[:CHUNK])
    monkeypatch.undo()
    with pytest.raises(MemoryError):
        ranges.commit()
    ranges.close()
    assert not (tmp_path / "journal").exists() or (tmp_path / "journal").read_bytes() == b""
    assert ranges.chunks == {}


def test_who_comes_later_has_of_the_lead_what_the_others_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One connection alone may be 4 MiB ahead of the journal; that is all that eight may be, too."""
    size = 24 * CHUNK
    body = memoryview(bytes(BLOCK))
    ranges = ranges_of(tmp_path, size)
    monkeypatch.setattr(ranges, "_wants_thread", False)
    seen: list[int] = []

    def write(stretch: Stretch, count: int) -> None:
        while count:
            room = ranges.room(stretch)
            count -= ranges.write(stretch, body[: min(room, count)])
            seen.append(sum(each.here - each.safe for each in stretches))

    with contextlib.ExitStack() as stack:
        stretches = [stack.enter_context(ranges.writing((0, 10 * CHUNK), VALIDATOR))]
        write(stretches[0], AHEAD)
        assert seen[-1] == AHEAD, "the first has all of it"
        for index in range(10, 17):
            stretches.append(stack.enter_context(ranges.writing((index * CHUNK, (index + 1) * CHUNK), VALIDATOR)))
            write(stretches[-1], BLOCK)
        for stretch in stretches:
            write(stretch, BLOCK)
    assert max(seen) == AHEAD
    ranges.close()


def test_nobody_waits_for_room_that_the_silent_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven have room to read into, and nothing comes; the eighth fills its stretch."""
    ranges = ranges_of(tmp_path, 24 * CHUNK)
    monkeypatch.setattr(ranges, "_wants_thread", False)
    body = memoryview(bytes(BLOCK))
    with contextlib.ExitStack() as stack:
        for index in range(7):
            silent = stack.enter_context(ranges.writing((index * CHUNK, (index + 1) * CHUNK), VALIDATOR))
            assert ranges.room(silent) > 0
        fast = stack.enter_context(ranges.writing((8 * CHUNK, 16 * CHUNK), VALIDATOR))
        while fast.here < fast.end:
            ranges.write(fast, body[: ranges.room(fast)])
    assert ranges.kept == 8 * CHUNK
    ranges.close()


def test_many_stretches_are_written_at_once(tmp_path: Path) -> None:
    """Nothing assumes that there is one connection, or that bytes come in order."""
    ranges = ranges_of(tmp_path, len(BODY))
    gaps = [(index * CHUNK, min((index + 1) * CHUNK, len(BODY))) for index in range(4)]

    def write(bounds: tuple[int, int]) -> None:
        with ranges.writing(bounds, VALIDATOR) as stretch:
            while stretch.here < stretch.end:
                count = min(ranges.room(stretch), 300_000)
                ranges.write(stretch, memoryview(BODY)[stretch.here : min(stretch.here + count, stretch.end)])

    threads = [threading.Thread(target=write, args=(bounds,)) for bounds in reversed(gaps)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ranges.missing() == ()
    assert ranges.frontier.finish(Stop()) == digest(BODY)
    assert [ranges.chunks[i].check for i in range(4)] == [digest(BODY[start:end]) for start, end in gaps]
    ranges.close()


def test_a_very_large_file_has_larger_chunks(tmp_path: Path) -> None:
    size, unit = 40 * 2**30, 4 * CHUNK
    first, second = (0, unit + 5), (5000 * unit, 5000 * unit + 300)
    ranges = ranges_of(tmp_path, size)
    for start, end in (first, second):
        with ranges.writing((start, end), VALIDATOR) as stretch:
            while stretch.here < end:
                ranges.write(stretch, memoryview(bytes(min(ranges.room(stretch), CHUNK, end - stretch.here))))
    found = {(chunk.start, chunk.end) for chunk in ranges.chunks.values()}
    assert found == {(0, unit), (unit, unit + 5), second}
    assert ranges.missing() == ((first[1], second[0]), (second[1], size))
    ranges.close()
    again = ranges_of(tmp_path, size)
    left = JournalFile(tmp_path).read(size)
    assert again.take_up(left.journal, Stop(), is_tidy=left.is_tidy) == 0
    assert again.missing() == ranges.missing()


def test_the_journal_has_the_record_settled_before_its_first_line(tmp_path: Path) -> None:
    asked: list[bool] = []
    journal = JournalFile(tmp_path, lambda: asked.append((tmp_path / "journal").exists()))
    ranges = DurableRanges(Part(tmp_path, len(BODY)), journal, lambda ranges: None)
    with ranges.writing((0, len(BODY)), VALIDATOR) as stretch:
        for _ in range(2):
            ranges.write(stretch, memoryview(BODY)[stretch.here :][:CHUNK])
            ranges.commit()
    ranges.close()
    assert asked == [False]


def test_a_long_journal_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemmalock.transfer.journalfile._LONG", 6)
    ranges = ranges_of(tmp_path, len(BODY))
    lines: list[int] = []
    with ranges.writing((0, len(BODY)), VALIDATOR) as stretch:
        while stretch.here < stretch.end:
            ranges.write(stretch, memoryview(BODY)[stretch.here : stretch.here + min(ranges.room(stretch), 100_000)])
            ranges.commit()
            lines.append((tmp_path / "journal").read_bytes().count(b"\n"))
    ranges.close()
    assert max(lines) <= 4 + 7, "a line a chunk, and what was added since"
    assert sum(1 for before, after in pairwise(lines) if after < before) > 3
    left = JournalFile(tmp_path).read(len(BODY))
    assert left.journal.kept == len(BODY)
    assert ranges_of(tmp_path, len(BODY)).take_up(left.journal, Stop(), is_tidy=left.is_tidy) == 0


def test_a_record_that_cannot_be_written_ends_the_transfer_as_a_declared_error(tmp_path: Path) -> None:
    """Also where a stretch ends inside a chunk, and another would go on there."""
    trouble: list[FileError] = []

    def beat(ranges: object) -> None:
        if trouble:
            raise trouble[0]

    ranges = DurableRanges(Part(tmp_path, len(BODY)), JournalFile(tmp_path), beat)
    with pytest.raises(ReadWriteFailed), ranges.writing((0, len(BODY)), VALIDATOR) as stretch:
        ranges.write(stretch, memoryview(BODY)[: CHUNK + 1000])
        trouble.append(ReadWriteFailed("cannot write the record"))
    with pytest.raises(ReadWriteFailed, match="record"), ranges.writing((CHUNK + 1000, len(BODY)), VALIDATOR):
        pass
    ranges.close()


def test_connections_that_wait_for_the_journal_do_not_wake_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = some_bytes(16 * CHUNK)
    ranges = ranges_of(tmp_path, len(body))
    syncing, go_on = threading.Event(), threading.Event()
    sync, wait = Part.sync_bytes, ranges._committed.wait
    waits: list[int] = []

    def slow(part: Part) -> None:
        syncing.set()
        go_on.wait(10)
        sync(part)

    def counted(timeout: float | None = None) -> bool:
        waits.append(1)
        if len(waits) == 4:
            # All four wait now. Were one of them to wake another, all would go round until the sync ends.
            threading.Timer(0.3, go_on.set).start()
        return wait(timeout)

    monkeypatch.setattr(Part, "sync_bytes", slow)
    monkeypatch.setattr(ranges._committed, "wait", counted)

    def write(index: int) -> None:
        with ranges.writing((4 * index * CHUNK, 4 * (index + 1) * CHUNK), VALIDATOR) as stretch:
            barrier.wait()
            while stretch.here < stretch.end and not (len(waits) >= 4 and go_on.is_set()):
                count = min(ranges.room(stretch), CHUNK // 2)
                ranges.write(stretch, memoryview(body)[stretch.here : stretch.here + count])

    barrier = threading.Barrier(4)
    threads = [threading.Thread(target=write, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert syncing.is_set()
    assert len(waits) < 20
    ranges.close()


def test_a_block_outside_of_the_file_is_not_written(tmp_path: Path) -> None:
    part = Part(tmp_path, 10)
    for offset in (-1, 6, 10):
        with pytest.raises(FileError, match="of 10"):
            part.write_at(memoryview(b"12345"), offset)
    part.close()
    assert part.path.stat().st_size == 0


@given(st.sets(st.integers(0, 7)), st.integers(1, CHUNK))
def test_the_gaps_are_what_the_chunks_leave(indexes: set[int], last: int) -> None:
    size = 7 * CHUNK + last
    with tempfile.TemporaryDirectory() as folder:
        ranges = ranges_of(Path(folder), size)
        for index in indexes:
            ranges.chunks[index] = Chunk(index, min(CHUNK, size - index * CHUNK), "", VALIDATOR)
        gaps = ranges.missing()
        ranges.close()
    covered = sum(end - start for start, end in gaps) + sum(chunk.length for chunk in ranges.chunks.values())
    assert covered == size
    assert all(start < end for start, end in gaps)
    assert all(gap[0] // CHUNK not in indexes for gap in gaps)


# --- any history -------------------------------------------------------------------------------------------

REPLIES = st.one_of(
    st.builds(Reply, st.just(BODY), cut=st.integers(0, len(BODY)), etag=st.sampled_from(['"v1"', 'W/"v1"', None])),
    st.builds(Reply, st.just(BODY), short=st.integers(1, len(BODY))),
    st.builds(Reply, st.just(BODY), cut=st.integers(0, len(BODY)), refuse=st.just(True)),
    st.builds(Reply, st.just(BODY), cut=st.integers(0, len(BODY)), whole=st.just(True)),
    st.builds(Reply, st.just(OTHER), cut=st.integers(1, len(BODY)), etag=st.sampled_from(['"v2"', '"v1"', None])),
    st.just(Reply(b"", error=ServerError("the server answered 503"))),
)
DAMAGES = st.one_of(
    st.none(),
    st.tuples(st.just("data.part"), st.integers(0, len(BODY) - 1)),
    st.tuples(st.just("journal"), st.integers(0, 400)),
)
RUNS = st.lists(st.tuples(st.lists(REPLIES, min_size=1, max_size=3), DAMAGES), min_size=1, max_size=4)


def _damage(folder: Path, damage: tuple[str, int] | None) -> None:
    if damage is None or not (folder / damage[0]).exists():
        return
    path, place = folder / damage[0], damage[1]
    content = bytearray(path.read_bytes())
    if place < len(content):
        content[place] ^= 0xFF
        path.write_bytes(content)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(runs=RUNS)
@example(runs=[([Reply(OTHER, cut=CHUNK + 9, etag=None)], None), ([Reply(BODY, etag=None)], ("data.part", 3))])
def test_any_history_ends_with_the_exact_bytes_or_a_declared_error(
    runs: list[tuple[list[Reply], tuple[str, int] | None]],
) -> None:
    file = locked(BODY)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder) / "task", terms=patient(1))
        for replies, damage in runs:
            try:
                bench.fetch(file, ScriptedSource(replies))
            except FileError as error:
                assert error.code != "error"
            else:
                assert bench.bytes() == BODY
            _damage(bench.folder, damage)
        fetched = bench.fetch(file, ScriptedSource([replace(Reply(BODY), etag='"v1"')]))
        assert (bench.bytes(), fetched.sha256) == (BODY, file.sha256)
        assert fetched.bytes_fetched <= 2 * len(BODY)

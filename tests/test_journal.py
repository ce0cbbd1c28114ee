"""The journal of a partial: what is written is read, and what is damaged vouches for nothing."""

from __future__ import annotations

import tracemalloc
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.journal import (
    CHUNK,
    Chunk,
    Journal,
    JournalReader,
    Validator,
    chunk_size,
    joined_ranges,
    read_journal,
    write_chunk,
)

SIZE = 5 * CHUNK + 77
VALIDATORS = st.builds(Validator, st.none() | st.text(max_size=20), st.text(max_size=20))
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)


@st.composite
def chunks_of(draw: st.DrawFn, size: int = SIZE) -> Chunk:
    """A chunk, or the beginning of one, of a file of that size."""
    index = draw(st.integers(0, (size - 1) // CHUNK))
    length = draw(st.integers(1, min(CHUNK, size - index * CHUNK)))
    return Chunk(index, length, draw(DIGESTS), draw(VALIDATORS))


CHUNKS = st.lists(chunks_of(), max_size=8)


def text_of(chunks: list[Chunk]) -> bytes:
    """Their lines."""
    return b"".join(write_chunk(chunk) for chunk in chunks)


@given(CHUNKS)
def test_what_is_written_is_read_and_the_last_line_of_a_chunk_counts(chunks: list[Chunk]) -> None:
    journal = read_journal(text_of(chunks), SIZE)
    assert journal == {chunk.index: chunk for chunk in chunks}


@given(CHUNKS, st.sets(st.integers(0, 5)))
def test_a_journal_is_a_mapping_in_the_order_of_the_file(chunks: list[Chunk], gone: set[int]) -> None:
    journal, twin = Journal(), dict[int, Chunk]()
    for chunk in chunks:
        # The checks of one journal may be of two kinds.
        chunk = Chunk(chunk.index, chunk.length, chunk.check[: chunk.length], chunk.validator)
        journal[chunk.index] = twin[chunk.index] = chunk
    for index in gone:
        assert journal.pop(index, None) == twin.pop(index, None)
    assert journal == twin
    assert list(journal) == sorted(twin)
    assert (len(journal), journal.kept) == (len(twin), sum(chunk.length for chunk in twin.values()))
    assert set(journal.validators) == {chunk.validator for chunk in twin.values()}
    assert [journal.length_of(i) for i in range(9)] == [twin[i].length if i in twin else 0 for i in range(9)]
    for index in (-1, *gone, 9):
        with pytest.raises(KeyError):
            del journal[index]
    journal.clear()
    assert journal == {}
    assert (len(journal), journal.ranges) == (0, ())


def test_a_journal_with_every_chunk_that_a_file_may_have_is_small() -> None:
    size, validator = 16 * 2**30, Validator('"v"', "https://a.example")
    lines = (write_chunk(Chunk(i, CHUNK, f"{i:064x}", validator)) for i in range(size // CHUNK))
    tracemalloc.start()
    try:
        journal = JournalReader(size).read(lines).journal
        assert (journal.kept, journal.ranges) == (size, ((0, size),))
        assert max(tracemalloc.get_traced_memory()) < 2 * 2**20
    finally:
        tracemalloc.stop()


@given(CHUNKS)
def test_a_tidy_journal_has_a_line_for_each_chunk_in_order_and_nothing_else(chunks: list[Chunk]) -> None:
    text = text_of(chunks)
    reader = JournalReader(SIZE).read(text.splitlines(keepends=True))
    assert reader.is_tidy == (text == text_of([reader.journal[index] for index in reader.journal]))
    torn = JournalReader(SIZE).read([*text.splitlines(keepends=True), b"0"])
    assert (torn.journal, torn.is_tidy) == (reader.journal, False)


@pytest.mark.parametrize("validator", [b"[1, 2]", b'[[], "o"]', b'["v", null]', b"{}", b'["v"]', b"\xff"])
def test_a_line_with_what_is_no_validator_vouches_for_nothing(validator: bytes) -> None:
    body = b"0 5 " + b"00" * 32 + b" " + validator
    assert read_journal(b"%08x %s\n" % (zlib.crc32(body), body), SIZE) == {}


@given(chunks_of())
def test_a_line_is_one_line(chunk: Chunk) -> None:
    assert write_chunk(chunk).count(b"\n") == 1
    assert write_chunk(chunk).endswith(b"\n")


@given(CHUNKS, st.data())
def test_a_journal_cut_anywhere_vouches_for_its_whole_lines(chunks: list[Chunk], data: st.DataObject) -> None:
    text = text_of(chunks)
    cut = data.draw(st.integers(0, len(text)))
    # The last newline is not needed to know that a line is whole.
    whole = [chunk for place, chunk in enumerate(chunks) if len(text_of(chunks[: place + 1])) - 1 <= cut]
    assert read_journal(text[:cut], SIZE) == {chunk.index: chunk for chunk in whole}


@given(CHUNKS.filter(bool), st.data())
def test_a_flipped_bit_costs_no_more_than_two_lines_and_invents_nothing(
    chunks: list[Chunk], data: st.DataObject
) -> None:
    text = bytearray(text_of(chunks))
    bit = data.draw(st.integers(0, len(text) * 8 - 1))
    text[bit // 8] ^= 1 << bit % 8
    journal = read_journal(bytes(text), SIZE)
    assert set(journal.values()) <= set(chunks)
    assert len({chunk.index for chunk in chunks} - journal.keys()) <= 2


@given(st.binary(max_size=300))
def test_reading_never_fails(text: bytes) -> None:
    assert read_journal(text, SIZE) == {}


@pytest.mark.parametrize(
    "chunk",
    [
        Chunk(0, 0, "00" * 32, Validator(None, "")),
        Chunk(0, CHUNK + 1, "00" * 32, Validator(None, "")),
        Chunk(-1, 5, "00" * 32, Validator(None, "")),
        Chunk(5, 78, "00" * 32, Validator(None, "")),
        Chunk(2**70, 1, "00" * 32, Validator(None, "")),
        Chunk(1, 5, "00" * 33, Validator(None, "")),
    ],
)
def test_a_chunk_that_the_file_cannot_have_vouches_for_nothing(chunk: Chunk) -> None:
    assert read_journal(write_chunk(chunk), SIZE) == {}


@pytest.mark.parametrize(
    ("size", "unit"),
    [(0, 1), (1, 1), (16 * 2**30, 1), (16 * 2**30 + 1, 2), (40 * 2**30, 4), (10**12, 64), (2**40 + 1, 128)],
)
def test_chunks_are_larger_where_a_file_would_have_too_many(size: int, unit: int) -> None:
    assert chunk_size(size) == unit * CHUNK


@given(st.integers(0, 2**50))
def test_no_file_has_more_chunks_than_memory_is_flat_for(size: int) -> None:
    assert size <= 16 * 1024 * chunk_size(size)


def test_the_chunks_of_a_very_large_file_are_read_where_they_were_written() -> None:
    size = 10**12
    unit = chunk_size(size)
    chunks = {index: Chunk(index, unit - index, "00" * 32, Validator('"v"', "o"), unit) for index in (0, 3, 14_000)}
    text = text_of(list(chunks.values()))
    journal = read_journal(text, size)
    assert journal == chunks
    assert journal[3].start == 3 * 64 * CHUNK
    assert journal[0].validator is journal[3].validator
    assert read_journal(text, SIZE) == {}


def test_a_block_of_zeros_in_the_middle_costs_the_lines_it_hit() -> None:
    chunks = [Chunk(index, CHUNK, f"{index:064x}", Validator('"v"', "https://a.example")) for index in range(5)]
    text = bytearray(text_of(chunks))
    line = len(write_chunk(chunks[0]))
    text[line + 3 : 2 * line + 3] = bytes(line)
    assert read_journal(bytes(text), SIZE).keys() == {0, 3, 4}


@given(CHUNKS)
def test_the_ranges_are_sorted_apart_and_add_up(chunks: list[Chunk]) -> None:
    journal = read_journal(text_of(chunks), SIZE)
    ranges = journal.ranges
    assert sum(end - start for start, end in ranges) == journal.kept
    assert all(one[1] < other[0] for one, other in pairwise(ranges))


def test_ranges_that_touch_are_joined() -> None:
    assert joined_ranges([(0, 4), (4, 8), (8, 8), (9, 10)]) == ((0, 8), (9, 10))

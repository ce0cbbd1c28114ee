"""The journal of a partial: what is written is read, and what is damaged vouches for nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.journal import CHUNK, Chunk, Validator, chunk_size, joined_ranges, read_journal, write_chunk

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
    assert journal.chunks == {chunk.index: chunk for chunk in chunks}


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
    assert read_journal(text[:cut], SIZE).chunks == {chunk.index: chunk for chunk in whole}


@given(CHUNKS.filter(bool), st.data())
def test_a_flipped_bit_costs_no_more_than_two_lines_and_invents_nothing(
    chunks: list[Chunk], data: st.DataObject
) -> None:
    text = bytearray(text_of(chunks))
    bit = data.draw(st.integers(0, len(text) * 8 - 1))
    text[bit // 8] ^= 1 << bit % 8
    journal = read_journal(bytes(text), SIZE)
    assert set(journal.chunks.values()) <= set(chunks)
    assert len({chunk.index for chunk in chunks} - journal.chunks.keys()) <= 2


@given(st.binary(max_size=300))
def test_reading_never_fails(text: bytes) -> None:
    assert read_journal(text, SIZE).chunks == {}


@pytest.mark.parametrize(
    "chunk",
    [
        Chunk(0, 0, "00" * 32, Validator(None, "")),
        Chunk(0, CHUNK + 1, "00" * 32, Validator(None, "")),
        Chunk(-1, 5, "00" * 32, Validator(None, "")),
        Chunk(5, 78, "00" * 32, Validator(None, "")),
        Chunk(2**70, 1, "00" * 32, Validator(None, "")),
    ],
)
def test_a_chunk_that_the_file_cannot_have_vouches_for_nothing(chunk: Chunk) -> None:
    assert read_journal(write_chunk(chunk), SIZE).chunks == {}


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
    assert journal.chunks == chunks
    assert journal.chunks[3].start == 3 * 64 * CHUNK
    assert journal.chunks[0].validator is journal.chunks[3].validator
    assert read_journal(text, SIZE).chunks == {}


def test_a_block_of_zeros_in_the_middle_costs_the_lines_it_hit() -> None:
    chunks = [Chunk(index, CHUNK, f"{index:064x}", Validator('"v"', "https://a.example")) for index in range(5)]
    text = bytearray(text_of(chunks))
    line = len(write_chunk(chunks[0]))
    text[line + 3 : 2 * line + 3] = bytes(line)
    assert read_journal(bytes(text), SIZE).chunks.keys() == {0, 3, 4}


@given(CHUNKS)
def test_the_ranges_are_sorted_apart_and_add_up(chunks: list[Chunk]) -> None:
    journal = read_journal(text_of(chunks), SIZE)
    ranges = journal.ranges
    assert sum(end - start for start, end in ranges) == journal.kept
    assert all(one[1] < other[0] for one, other in pairwise(ranges))


def test_ranges_that_touch_are_joined() -> None:
    assert joined_ranges([(0, 4), (4, 8), (8, 8), (9, 10)]) == ((0, 8), (9, 10))

"""Where bodies end."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.errors import ConnectionFailed, TimedOut
from gemmalock.sources.bodies import Body, Chunked, Counted, Gauge, UntilClose


def stream(raw: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(raw))


def drained(body: Body, size: int = 5) -> bytes:
    out, buffer = b"", memoryview(bytearray(size))
    while count := body.readinto(buffer):
        out += buffer[:count]
    return out


def chunks(pieces: list[bytes]) -> bytes:
    return b"".join(b"%x;ext=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nTrailer: x\r\n\r\n"


@given(st.lists(st.binary(min_size=1, max_size=40)), st.integers(1, 50))
def test_chunks_come_out_as_they_went_in(pieces: list[bytes], size: int) -> None:
    body = Chunked(stream(chunks(pieces) + b"next"))
    assert drained(body, size) == b"".join(pieces)
    assert body.ended
    assert body.readinto(memoryview(bytearray(9))) == 0


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1), st.data())
def test_chunks_that_are_cut_anywhere_are_never_whole(pieces: list[bytes], data: st.DataObject) -> None:
    """S19."""
    raw = chunks(pieces)
    body = Chunked(stream(raw[: data.draw(st.integers(0, len(raw) - 1))]))
    with pytest.raises(ConnectionFailed):
        drained(body)
    assert not body.ended


BROKEN = [b"", b"\r\n", b"x\r\n", b"-5\r\nabc", b"+5\r\n", b"0x5\r\n", b"1_0\r\n", b"f" * 17 + b"\r\n", b"5" * 9000,
          b"3\r\nabcd\r\n", b"0\r\n" + b"a: b\r\n" * 200]  # fmt: skip


@pytest.mark.parametrize("raw", BROKEN)
def test_a_chunk_size_is_hexadecimal_digits(raw: bytes) -> None:
    """S19."""
    with pytest.raises(ConnectionFailed):
        drained(Chunked(stream(raw)))


@given(st.binary(max_size=60), st.integers(0, 60), st.integers(1, 70))
def test_a_counted_body_is_exactly_that_long(raw: bytes, length: int, size: int) -> None:
    body = Counted(stream(raw), length)
    if length > len(raw):
        with pytest.raises(ConnectionFailed, match=f"after {len(raw)} of {length} bytes"):
            drained(body, size)
        assert not body.ended
    else:
        assert drained(body, size) == raw[:length]
        assert body.ended


def test_a_body_until_the_close_never_frees_its_connection() -> None:
    body = UntilClose(stream(b"abc"))
    assert drained(body) == b"abc"
    assert not body.ended


def test_a_trickle_is_noticed_and_a_slow_start_is_not() -> None:
    gauge = Gauge(1024, 30.0)
    gauge.note(19.0, 10)
    gauge.note(12.0, 31 * 1024)
    for _ in range(29):
        gauge.note(1.0, 1)
    with pytest.raises(TimedOut, match="only 30 bytes came in 30 s"):
        gauge.note(1.0, 1)

"""The head of an answer: what is read as one, what is refused, and that `http.client` reads the same."""

from __future__ import annotations

import http.client
import io
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.sources.head import Arrival, Head, HungUp, NotHttp, read_head


def head(text: bytes) -> Head:
    return read_head(io.BufferedReader(io.BytesIO(text)))


HEADS: tuple[tuple[bytes, Head], ...] = (
    (b"HTTP/1.1 200 OK\r\n\r\n", Head(200, (), True)),
    (b"HTTP/1.1 200\r\n\r\n", Head(200, (), True)),
    (b"HTTP/1.1  206 Partial Content\n\n", Head(206, (), True)),
    (b"HTTP/1.1 404 \xff\xfe\r\n\r\n", Head(404, (), True)),
    (b"HTTP/1.0 200 OK\r\n\r\n", Head(200, (), False)),
    (b"HTTP/1.1 200 OK\r\nETag: \"a b\"\r\n\r\n", Head(200, (("etag", '"a b"'),), True)),
    (b"HTTP/1.1 200 OK\r\nX-Empty:\r\nX-Tabs:\t 1 \t\r\n\r\n", Head(200, (("x-empty", ""), ("x-tabs", "1")), True)),
    (b"HTTP/1.1 200 OK\r\nX: 1\r\nx: 2\r\n\r\n", Head(200, (("x", "1"), ("x", "2")), True)),
    (b"HTTP/1.1 200 OK\r\nX: a\r\n  b\r\n\tc\r\n\r\n", Head(200, (("x", "a b c"),), True)),
    (b"HTTP/1.1 200 OK\r\nX: \xe4\r\n\r\n", Head(200, (("x", "\xe4"),), True)),
    (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", Head(200, (("connection", "close"),), False)),
    (b"HTTP/1.1 200 OK\r\nConnection: Upgrade, Close\r\n\r\n", Head(200, (("connection", "Upgrade, Close"),), False)),
    (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
     Head(200, (("connection", "keep-alive"), ("transfer-encoding", "chunked")), False)),
    (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", Head(200, (("connection", "Keep-Alive"),), True)),
    # Interim answers are passed over, all of them; a change of protocol is no interim one.
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Head(200, (), True)),
    (b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 102 P\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Head(200, (), True)),
    (b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n", Head(101, (("upgrade", "h2c"),), True)),
    # Lines that are no fields are told of, and say nothing.
    (b"HTTP/1.1 200 OK\r\nno field\r\nX: 1\r\n\r\n", Head(200, (("x", "1"),), False, True)),
    (b"HTTP/1.1 200 OK\r\nX : 1\r\n\r\n", Head(200, (), False, True)),
    (b"HTTP/1.1 200 OK\r\n: 1\r\n\r\n", Head(200, (), False, True)),
    (b"HTTP/1.1 200 OK\r\n folded: 1\r\n\r\n", Head(200, (), False, True)),
    (b"HTTP/1.1 200 OK\r\nX\xe4: 1\r\n\r\n", Head(200, (), False, True)),
)  # fmt: skip


@pytest.mark.parametrize(("text", "read"), HEADS, ids=[repr(text)[2:60] for text, _ in HEADS])
def test_a_head_is_read(text: bytes, read: Head) -> None:
    assert head(text) == read


def test_what_comes_behind_a_head_is_left() -> None:
    stream = io.BufferedReader(io.BytesIO(b"HTTP/1.1 200 OK\r\nX: 1\r\n\r\nbody"))
    read_head(stream)
    assert stream.read() == b"body"


STRANGE: tuple[tuple[bytes, type[Exception], str], ...] = (
    (b"", HungUp, "without an answer"),
    (b"HTTP/1.1 200 OK\r\n", HungUp, "within the head"),
    (b"HTTP/1.1 200 OK\r\nETag: \"a", HungUp, "within the head"),
    (b"HTTP/1.1 103 Early\r\n\r\n", HungUp, "without an answer"),
    (b"SSH-2.0-OpenSSH\r\n", NotHttp, "SSH-2.0-OpenSSH"),
    (b"\r\n", NotHttp, "an empty line"),
    (b"HTTP/2 200\r\n\r\n", NotHttp, "HTTP/2 200"),
    (b"HTTP/1.1 99 Low\r\n\r\n", NotHttp, "99 Low"),
    (b"HTTP/1.1 2000 High\r\n\r\n", NotHttp, "2000 High"),
    (b"HTTP/1.1 +20 Sign\r\n\r\n", NotHttp, "20 Sign"),
    (b"http/1.1 200 OK\r\n\r\n", NotHttp, "http/1.1 200 OK"),
    (b"HTTP/1.1 200 " + b"x" * 70_000 + b"\r\n\r\n", NotHttp, "HTTP/1.1 200 xxx"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", NotHttp, "more than 65536 bytes"),
    (b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 101 + b"\r\n", NotHttp, "more than 100 fields"),
)  # fmt: skip


@pytest.mark.parametrize(("text", "error", "says"), STRANGE, ids=[repr(text)[2:50] for text, *_ in STRANGE])
def test_what_is_no_head_is_refused(text: bytes, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says.replace("+", r"\+")):
        head(text)


_NAMES = st.text("ABCXYZabcxyz0189!#$%&'*+.^_`|~-", min_size=1, max_size=12)
_VALUES = st.text([chr(code) for code in range(0x20, 0x100) if code not in (0x7F, 0x85, 0xA0)], max_size=40)


@given(st.integers(200, 999), st.lists(st.tuples(_NAMES, _VALUES), max_size=8), st.sampled_from(["\r\n", "\n"]))
def test_the_standard_library_reads_the_same_fields(status: int, fields: list[tuple[str, str]], end: str) -> None:
    lines = "".join(f"{name}: {value}{end}" for name, value in fields)
    text = f"HTTP/1.1 {status} Fine{end}{lines}{end}".encode("latin-1")
    stream = io.BytesIO(text)
    stream.readline()
    theirs = [(name.lower(), value.strip(" \t")) for name, value in http.client.parse_headers(stream).items()]
    ours = head(text)
    assert (ours.status, list(ours.fields), ours.is_flawed) == (status, theirs, False)


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail_otherwise(rest: bytes) -> None:
    """Whatever is sent, it is a head, none, or the end."""
    for text in (rest, b"HTTP/1.1 200 OK\r\n" + rest):
        try:
            read = head(text)
        except (HungUp, NotHttp):
            continue
        assert all(name.isascii() and name == name.lower() and "\n" not in value for name, value in read.fields)


def outcome(call: Callable[[], tuple[Head, bytes]]) -> tuple[Head, bytes] | tuple[type[Exception], str]:
    try:
        return call()
    except (HungUp, NotHttp) as error:
        return type(error), str(error)


def whole(text: bytes) -> tuple[Head, bytes]:
    stream = io.BufferedReader(io.BytesIO(text))
    return read_head(stream), stream.read()


def in_pieces(text: bytes, cuts: list[int]) -> tuple[Head, bytes]:
    arrival = Arrival()
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    for start, end in pairwise(places):
        if end > start and (head := arrival.take(text[start:end])) is not None:
            return head, arrival.rest + text[end:]
    ended = arrival.take(b"")
    assert ended is not None
    return ended, b""


@pytest.mark.parametrize("text", [text for text, *_ in (*HEADS, *STRANGE)], ids=lambda text: repr(text)[2:50])
def test_a_head_in_pieces_is_the_head_in_one(text: bytes) -> None:
    cuts = list(range(0, len(text), max(1, len(text) // 100)))
    assert outcome(lambda: in_pieces(text, cuts)) == outcome(lambda: whole(text))
    assert outcome(lambda: in_pieces(text + b"x", [])) == outcome(lambda: whole(text + b"x"))


@given(
    st.integers(190, 999),
    st.lists(st.tuples(_NAMES | st.text(max_size=4), _VALUES | st.text("\r\t a:", max_size=6)), max_size=4),
    st.sampled_from(["\r\n", "\n", "\r\r\n", "\n ", ""]),
)
def test_a_head_that_came_whole_is_read_as_one_in_pieces(status: int, fields: list[tuple[str, str]], end: str) -> None:
    lines = "".join(f"{name}: {value}{end}" for name, value in fields)
    for text in (f"HTTP/1.1 {status} Fine\r\n{lines}\r\nrest", f"HTTP/1.1 {status}{end}{lines}{end}\r\n"):
        raw = text.encode("latin-1", "replace")
        assert outcome(lambda raw=raw: in_pieces(raw, [])) == outcome(lambda raw=raw: whole(raw))  # type: ignore[misc]


@given(st.binary(max_size=60), st.lists(st.integers(0, 200), max_size=5))
def test_no_cuts_make_another_head(rest: bytes, cuts: list[int]) -> None:
    for text in (rest, b"HTTP/1.1 200 OK\r\nX: 1\r\n" + rest, b"HTTP/1.1 200 OK\r\nX: 1\r\n\r\n" + rest):
        assert outcome(lambda text=text: in_pieces(text, cuts)) == outcome(lambda text=text: whole(text))  # type: ignore[misc]

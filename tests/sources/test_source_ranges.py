"""Judging the head of an answer: every rule of FAULTS that a head decides, and what holds for all heads."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.errors import (
    CodingRefused,
    ConnectionFailed,
    FileError,
    RangeRefused,
    ServerError,
    SizeMismatch,
    UpstreamChanged,
)
from gemmalock.ports import Ask, Restarted
from gemmalock.sources.ranges import (
    ContentRange,
    condition,
    content_length,
    etag_of,
    judge,
    parse_content_range,
    range_headers,
)

HERE = "https://cdn.example.org"
THERE = "https://hub.example.org"
URL = "https://hub.example.org/models/gemma.gguf"
REST = Ask(URL, 40, 100, 100, etag='"a"', validator='"a"', validator_origin=HERE, proven=True)
#: The same, where nothing but the ETag proves anything.
UNPROVEN = replace(REST, proven=False)
PART = {"content-range": "bytes 40-99/100", "content-length": "60", "etag": '"a"'}
WHOLE = {"content-length": "100", "etag": '"a"'}


# --- what is asked -----------------------------------------------------------------------------------------

ASKED = [
    ("the whole file, size unknown", Ask(URL), {}),
    ("the whole file", Ask(URL, 0, 100, 100), {}),
    ("an empty file (S31)", Ask(URL, 0, 0, 0, proven=True), {}),
    ("the first byte", Ask(URL, 0, 1), {"Range": "bytes=0-0"}),
    ("the rest, with a strong validator", REST, {"Range": "bytes=40-99", "If-Range": '"a"'}),
    ("the rest, to an unknown end", replace(REST, end=None), {"Range": "bytes=40-", "If-Range": '"a"'}),
    ("a weak validator is never sent (V03)", replace(REST, validator='W/"a"'), {"Range": "bytes=40-99"}),
    ("another origin's validator is never sent (V07)", replace(REST, validator_origin=THERE), {"Range": "bytes=40-99"}),
    ("no validator, but a digest", replace(REST, validator=None), {"Range": "bytes=40-99"}),
    ("no digest, a strong validator", UNPROVEN, {"Range": "bytes=40-99", "If-Range": '"a"'}),
    ("no digest, a weak validator: no range", replace(UNPROVEN, validator='W/"a"'), {}),
    ("no digest, no validator: no range", replace(UNPROVEN, validator=None), {}),
    ("no digest, another origin's validator: no range", replace(UNPROVEN, validator_origin=THERE), {}),
]


@pytest.mark.parametrize(("ask", "headers"), [row[1:] for row in ASKED], ids=[row[0] for row in ASKED])
def test_a_range_is_asked_for_only_where_it_can_be_proved(ask: Ask, headers: dict[str, str]) -> None:
    assert range_headers(ask, HERE) == headers


# --- what is accepted --------------------------------------------------------------------------------------

ACCEPTED = [
    ("the range that was asked for", REST, 206, PART, (40, 100)),
    ("a shorter range (S06)", REST, 206, PART | {"content-range": "bytes 40-59/100", "content-length": "20"}, (40, 60)),
    ("a range without a length", REST, 206, {"content-range": "bytes 40-99/100"}, (40, 100)),
    ("a unit in capitals", REST, 206, PART | {"content-range": "Bytes 40-99/100"}, (40, 100)),
    ("another ETag where the digest decides", replace(REST, validator=None), 206, PART | {"etag": '"b"'}, (40, 100)),
    ("a weak ETag beside a strong validator", REST, 206, PART | {"etag": 'W/"a"'}, (40, 100)),
    ("the whole file", Ask(URL, 0, 100, 100, etag='"a"'), 200, WHOLE, (0, 100)),
    ("the whole file, in chunks", Ask(URL, 0, 100, 100), 200, {"transfer-encoding": "chunked"}, (0, 100)),
    ("chunks beside a length: the chunks win (S25)", Ask(URL, 0, 100, 100), 200,
     {"transfer-encoding": "chunked", "content-length": "7"}, (0, 100)),
    ("a file whose size was not known", Ask(URL), 200, WHOLE, (0, 100)),
    ("a file whose size nobody tells", Ask(URL), 200, {}, (0, None)),
    ("an empty file (S31)", Ask(URL, 0, 0, 0), 200, {"content-length": "0"}, (0, 0)),
    ("an empty file as no content (S17)", Ask(URL, 0, 0, 0), 204, {}, (0, 0)),
    ("identity is no coding", Ask(URL, 0, 100, 100), 200, WHOLE | {"content-encoding": "identity"}, (0, 100)),
    ("an html file", Ask("https://a.example/card.html", 0, 100, 100), 200, WHOLE | {"content-type": "text/html"},
     (0, 100)),
    ("a file served as text/html that has the right size", Ask(URL, 0, 100, 100), 200,
     WHOLE | {"content-type": "text/html"}, (0, 100)),
    ("the same tag, now weak", Ask(URL, 0, 100, 100, etag='"a"'), 200, WHOLE | {"etag": 'W/"a"'}, (0, 100)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("ask", "status", "headers", "range"), [row[1:] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED]
)
def test_an_answer_as_asked_is_accepted(
    ask: Ask, status: int, headers: dict[str, str], range: tuple[int, int | None]
) -> None:
    accepted = judge(ask, status, headers, HERE)
    assert (accepted.start, accepted.end) == range
    assert accepted.restarted is None


BEGINNING = replace(REST, start=0, end=40)
RESTARTED = [
    ("a server that ignores ranges (S01, V04)", REST, WHOLE, Restarted.IGNORED),
    ("the same, asked for the beginning", BEGINNING, WHOLE, Restarted.IGNORED),
    ("the same, with nothing to make a condition of", replace(REST, validator=None), WHOLE, Restarted.IGNORED),
    ("the same, with another origin's ETag", replace(REST, validator_origin=THERE), WHOLE, Restarted.IGNORED),
    ("a changed strong ETag, a digest to decide (V02)", REST, WHOLE | {"etag": '"b"'}, Restarted.CHANGED),
    ("the same, asked for the beginning", BEGINNING, WHOLE | {"etag": '"b"'}, Restarted.CHANGED),
    ("a strong ETag that is gone", REST, {**WHOLE, "etag": ""}, Restarted.CHANGED),
    ("another origin, no digest", replace(UNPROVEN, validator_origin=THERE), WHOLE, Restarted.OTHER_ORIGIN),
    ("nothing to prove the rest with", replace(UNPROVEN, validator=None), WHOLE, Restarted.NO_PROOF),
]


@pytest.mark.parametrize(("ask", "headers", "why"), [row[1:] for row in RESTARTED], ids=[row[0] for row in RESTARTED])
def test_a_whole_file_in_the_place_of_a_part_says_why(ask: Ask, headers: dict[str, str], why: Restarted) -> None:
    accepted = judge(ask, 200, headers, HERE)
    assert (accepted.start, accepted.end, accepted.restarted) == (0, 100, why)


def test_every_reason_for_a_whole_file_was_seen() -> None:
    assert {row[-1] for row in RESTARTED} == set(Restarted)


REFUSED = [
    ("a wrong start (S02)", REST, 206, PART | {"content-range": "bytes 39-99/100"}, RangeRefused, "from 39 on"),
    ("no Content-Range (S03)", REST, 206, {"content-length": "60"}, RangeRefused, "without saying which"),
    ("a Content-Range that cannot be read", REST, 206, PART | {"content-range": "bytes 40-"},
     RangeRefused, "names no range"),
    ("a range that ends before it starts", REST, 206, PART | {"content-range": "bytes 40-39/100"},
     RangeRefused, "no range"),
    ("an end behind the total", REST, 206, PART | {"content-range": "bytes 40-100/100"},
     RangeRefused, "names no range"),
    ("an unsatisfied range in a 206", REST, 206, PART | {"content-range": "bytes */100"},
     RangeRefused, "names no range"),
    ("another total (S05)", REST, 206, PART | {"content-range": "bytes 40-99/101"}, SizeMismatch,
     "the source has 101 bytes, the lock says 100"),
    ("more than was asked for (S07)", replace(REST, end=50), 206, PART, RangeRefused, "up to 50 were asked for"),
    ("a body longer than its range (S07)", REST, 206, PART | {"content-length": "61"},
     RangeRefused, "announced 61 bytes"),
    ("a unit that is not bytes (S10)", REST, 206, PART | {"content-range": "lines 40-99/100"},
     RangeRefused, "count bytes"),
    ("several ranges", REST, 206, PART | {"content-type": "multipart/byteranges; boundary=x"}, RangeRefused, "several"),
    ("a part when the whole was asked for", Ask(URL, 0, 100, 100), 206, PART, RangeRefused, "the whole was asked for"),
    ("another strong ETag than the one sent (V06)", REST, 206, PART | {"etag": '"b"'}, RangeRefused, '`"b"`'),
    ("the same, without a digest", UNPROVEN, 206, PART | {"etag": '"b"'}, RangeRefused, '`"b"`'),
    ("another weak ETag than the strong one sent (V06)", UNPROVEN, 206, PART | {"etag": 'W/"b"'}, RangeRefused, '"b"'),
    ("an ETag without quotes (V10)", replace(UNPROVEN, etag=None), 206, PART | {"etag": "a"}, RangeRefused, "`a`"),
    ("no ETag, and no digest", UNPROVEN, 206, {"content-range": "bytes 40-99/100"}, RangeRefused, "without its ETag"),
    ("another file, no digest (V02)", Ask(URL, 0, 100, 100, etag='"a"'), 200, WHOLE | {"etag": '"b"'}, UpstreamChanged,
     'the source has ETag `"b"`, the lock says `"a"`'),
    ("another file in answer to If-Range, no digest", UNPROVEN, 200, WHOLE | {"etag": '"b"'}, UpstreamChanged, "ETag"),
    ("another first part, no digest", Ask(URL, 0, 50, 100, etag='"a"'), 206,
     {"content-range": "bytes 0-49/100", "etag": '"b"'}, UpstreamChanged, "ETag"),
    ("another length", Ask(URL, 0, 100, 100), 200, {"content-length": "99"},
     SizeMismatch, "has 99 bytes, the lock says 100"),
    ("an empty answer for a file", Ask(URL, 0, 100, 100), 200, {"content-length": "0"}, SizeMismatch, "has 0 bytes"),
    ("a total that is not told (S09)", REST, 206, PART | {"content-range": "bytes 40-99/*"}, RangeRefused, "no total"),
    ("a coded range (S22)", REST, 206, PART | {"content-encoding": "gzip"}, RangeRefused, "coding `gzip`"),
    ("a coded file (S22)", Ask(URL), 200, WHOLE | {"content-encoding": "br"}, CodingRefused, "coding `br`"),
    ("fifty codings (S23)", REST, 200, WHOLE | {"content-encoding": ", ".join(["gzip"] * 50)}, RangeRefused, "coding"),
    ("416 (S13, S14)", REST, 416, {"content-range": "bytes */20"}, RangeRefused, "no bytes from 40 on (`bytes */20`)"),
    ("416 without a Content-Range (S15)", REST, 416, {},
     RangeRefused, "no bytes from 40 on, the lock says there are 100"),
    ("204 (S17)", REST, 204, {}, ServerError, "204"),
    ("205 (S17)", REST, 205, {}, ServerError, "205"),
    ("203 (S17)", REST, 203, WHOLE, ServerError, "203"),
    ("103 (S17)", REST, 103, {}, ServerError, "103"),
    ("a captive portal (N08)", Ask(URL, 0, 2_600_000_000, 2_600_000_000), 200,
     {"content-type": "text/html; charset=utf-8", "content-length": "15"}, ConnectionFailed,
     "got text/html of 15 B, expected 2.6 GB"),
    ("a captive portal that tells no length (N08)", Ask(URL, 0, 100, 100), 200,
     {"content-type": "text/html", "transfer-encoding": "chunked"}, ConnectionFailed, "got text/html, expected 100 B"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("ask", "status", "headers", "kind", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_an_answer_that_is_not_as_asked_is_refused(
    ask: Ask, status: int, headers: dict[str, str], kind: type[FileError], says: str
) -> None:
    with pytest.raises(FileError) as caught:
        judge(ask, status, headers, HERE)
    assert type(caught.value) is kind
    assert says in caught.value.message


def test_a_captive_portal_comes_with_a_hint() -> None:
    with pytest.raises(ConnectionFailed) as caught:
        judge(Ask(URL, 0, 99999, 99999), 200, {"content-type": "text/html", "content-length": "15"}, HERE)
    assert "captive portal" in caught.value.hint


# --- what holds for all heads ------------------------------------------------------------------------------

_numbers = st.integers(0, 130)
_tags = st.sampled_from([None, '"a"', '"b"', 'W/"a"', "a"])
_asks = st.builds(
    lambda start, length, size, tags, origin, proven: Ask(
        URL, start, min(start + length, size), size, tags[0], tags[1], origin, proven
    ),
    st.integers(0, 99),
    st.integers(1, 100),
    st.just(100),
    st.tuples(_tags, _tags),
    st.sampled_from([None, HERE, THERE]),
    st.booleans(),
)
_heads = st.builds(
    lambda first, last, total, length, tag, extra: {
        key: value
        for key, value in {
            "content-range": f"bytes {first}-{last}/{total}",
            "content-length": length,
            "etag": tag,
            **extra,
        }.items()
        if value is not None
    },
    _numbers,
    _numbers,
    st.one_of(st.just("*"), st.just("100"), _numbers.map(str)),
    st.one_of(st.none(), st.just("100"), _numbers.map(str)),
    _tags,
    st.sampled_from([{}, {"content-encoding": "gzip"}, {"content-range": None}, {"content-type": "text/html"}]),
)


@given(_asks, st.sampled_from([200, 203, 204, 206, 416]), _heads)
def test_no_answer_is_accepted_that_starts_elsewhere_or_goes_too_far(
    ask: Ask, status: int, head: dict[str, str]
) -> None:
    try:
        accepted = judge(ask, status, head, HERE)
    except FileError:
        return
    assert accepted.start in (ask.start, 0)
    assert accepted.end is not None
    assert accepted.end <= 100
    assert ask.end is not None
    assert (accepted.restarted is not None) == (accepted.start < ask.start or accepted.end > ask.end)
    if status == 206:
        assert accepted.start == ask.start
        assert ask.end is not None
        assert ask.start < accepted.end <= ask.end
        sent = parse_content_range(head["content-range"])
        assert sent == ContentRange("bytes", accepted.start, accepted.end, sent.total if sent else None)
    assert "content-encoding" not in head


@given(_asks, _heads)
def test_without_a_digest_a_part_is_only_ever_continued_under_its_own_strong_tag(
    ask: Ask, head: dict[str, str]
) -> None:
    if ask.proven or ask.start == 0:
        return
    try:
        judge(ask, 206, head, HERE)
    except FileError:
        return
    assert condition(ask, HERE) is not None
    assert head["etag"].removeprefix("W/") == ask.validator


@given(st.text(max_size=60))
def test_any_text_is_a_content_range_or_none(text: str) -> None:
    read = parse_content_range(text)
    assert read is None or read.start is None or (read.end is not None and read.start < read.end)


@given(st.integers(0, 2**62), st.integers(1, 2**40))
def test_a_content_range_reads_back(start: int, length: int) -> None:
    text = f"bytes {start}-{start + length - 1}/{start + length}"
    assert parse_content_range(text) == ContentRange("bytes", start, start + length, start + length)


# --- single fields -----------------------------------------------------------------------------------------

LENGTHS = [
    ("5", 5),
    ("5, 5", 5),
    ("5, 6", None),
    ("-5", None),
    ("+5", None),
    ("5_0", None),
    ("", None),
    ("9" * 30, None),
]


@pytest.mark.parametrize(("text", "length"), LENGTHS)
def test_a_content_length_is_digits_or_nothing(text: str, length: int | None) -> None:
    assert content_length({"content-length": text}) == length


def test_a_length_beside_a_transfer_coding_does_not_count() -> None:
    assert content_length({"content-length": "5", "transfer-encoding": "chunked"}) is None


TAGS = [
    ('"x"', '"x"'),
    ('W/"x"', 'W/"x"'),
    ("unquoted", "unquoted"),
    ('"a, b"', '"a, b"'),
    ('"../../x"', '"../../x"'),
    ('"x\x1b[31m"', None),
    ('"x\r\nSet: y"', None),
    ("", None),
    ('"' + "x" * 9000 + '"', None),
]


@pytest.mark.parametrize(("sent", "kept"), TAGS)
def test_an_etag_is_kept_as_sent_unless_it_could_do_harm(sent: str, kept: str | None) -> None:
    """V10, R22."""
    assert etag_of({"etag": sent}) == kept

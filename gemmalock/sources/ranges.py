"""Reading an answer to a request for bytes, by RFC 9110 (8.8, 13.1.5, 14 and 15). Pure: heads in, decisions out.

Nothing here opens a connection or sees a body. What a *body* may still get wrong (cut short, going on too long) is
`bodies`' to notice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from gemmalock.errors import CodingRefused, ConnectionFailed, RangeRefused, ServerError, SizeMismatch, UpstreamChanged
from gemmalock.lockfile import is_strong
from gemmalock.ports import Ask, Restarted
from gemmalock.sources.fields import amount, quoted

#: RFC 9110, 14.4: `bytes 0-499/1234`, `bytes 0-499/*`, and for a 416 `bytes */1234`. Optional white space is not part
#: of it, but some servers write it.
_CONTENT_RANGE = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s+(?:(\d{1,19})-(\d{1,19})|\*)\s*/\s*(\d{1,19}|\*)\s*")
_DIGITS = re.compile(r"\d{1,19}")
#: A page that stands in for a file is smaller than the file by far more than this.
_FAR_SMALLER = 10
_PORTAL_HINT = (
    "a captive portal or a proxy seems to answer in the server's place; log in to the network, or check the URL"
)
_UPGRADE_SAYS = "the source has {} bytes, the lock says {}"


class ContentRange(NamedTuple):
    """A Content-Range: the bytes [start, end) of `total`. `start` and `end` are None for `*`, `total` likewise."""

    unit: str
    start: int | None
    end: int | None
    total: int | None


class Accepted(NamedTuple):
    """An answer that can be used: the body has the bytes [start, end); `end` is None where nobody told.

    `restarted`: why it is the whole although a part was wanted, or None.
    """

    start: int
    end: int | None
    etag: str | None
    restarted: Restarted | None = None


# --- asking ------------------------------------------------------------------------------------------------


def wants_range(ask: Ask, origin: str) -> bool:
    """Whether a request to `origin` carries a Range.

    Not for a whole file, not for an empty one (RFC 9110, 14.2), and not for the rest of one when nothing would prove
    that the rest belongs to the beginning: neither a digest nor a strong validator of this origin.
    """
    if ask.size == 0 or (ask.start == 0 and (ask.end is None or ask.end == ask.size)):
        return False
    return ask.start == 0 or ask.proven or condition(ask, origin) is not None


def condition(ask: Ask, origin: str) -> str | None:
    """The If-Range of a request to `origin`: a strong validator that this very origin gave, else None.

    A weak one must not be sent (RFC 9110, 13.1.5), and the tags of two servers have nothing to do with each other.
    """
    return ask.validator if is_strong(ask.validator) and ask.validator_origin == origin else None


def range_headers(ask: Ask, origin: str) -> dict[str, str]:
    """The Range and If-Range of a request to `origin`; made anew for each hop."""
    if not wants_range(ask, origin):
        return {}
    last = "" if ask.end is None else str(ask.end - 1)
    headers = {"Range": f"bytes={ask.start}-{last}"}
    tag = condition(ask, origin)
    return headers if tag is None else headers | {"If-Range": tag}


# --- judging -----------------------------------------------------------------------------------------------


def judge(ask: Ask, status: int, headers: Mapping[str, str], origin: str) -> Accepted:
    """What the head of an answer promises, if it is what was asked for.

    `headers` have lower-case names; `status` is a 2xx or 416. Raises RangeRefused when the range was not answered
    as asked, SizeMismatch or UpstreamChanged when the source has another file now, ServerError when there is no body
    to be had, CodingRefused when it is coded, ConnectionFailed when somebody else seems to have answered.
    """
    ranged = wants_range(ask, origin)
    if status == 416:
        said = f" (`{quoted(headers['content-range'])}`)" if "content-range" in headers else ""
        raise RangeRefused(f"the server has no bytes from {ask.start} on{said}, the lock says there are {ask.size}")
    _refuse_coding(headers, ranged=ranged)
    if status == 206 and ranged:
        return _judge_part(ask, headers, origin)
    if status == 200:
        return _judge_whole(ask, headers, origin)
    if status == 204 and ask.size == 0:
        return Accepted(0, 0, etag_of(headers))
    if status == 206:
        raise RangeRefused("the server sent a part of the file, and the whole was asked for")
    raise ServerError(f"the server answered {status}, which has no file in it")


def parse_content_range(text: str) -> ContentRange | None:
    """A Content-Range (RFC 9110, 14.4), or None where it cannot be read or is invalid."""
    match = _CONTENT_RANGE.fullmatch(text)
    if match is None:
        return None
    unit, first, last, whole = match.groups()
    total = None if whole == "*" else int(whole)
    if first is None:
        return None if total is None else ContentRange(unit.lower(), None, None, total)
    start, end = int(first), int(last) + 1
    if start >= end or (total is not None and end > total):
        return None
    return ContentRange(unit.lower(), start, end, total)


def content_length(headers: Mapping[str, str]) -> int | None:
    """The Content-Length, or None where there is none that counts: an absent one, an unreadable one, or one beside a
    Transfer-Encoding (RFC 9112, 6.3). The same number repeated is that number."""
    if "transfer-encoding" in headers:
        return None
    value = headers.get("content-length", "").strip()
    if "," in value:
        values = {each.strip() for each in value.split(",")}
        value = values.pop() if len(values) == 1 else ""
    return int(value) if _DIGITS.fullmatch(value) else None


def etag_of(headers: Mapping[str, str]) -> str | None:
    """The entity tag as it was sent, or None where there is none, or none that a file of ours could hold."""
    tag = headers.get("etag", "").strip()
    return tag if tag and len(tag) <= 8192 and tag.isprintable() else None


def same_tag(one: str, other: str) -> bool:
    """The weak comparison of RFC 9110, 8.8.3.2: whether two tags may name the same content."""
    return one.removeprefix("W/") == other.removeprefix("W/")


def _refuse_coding(headers: Mapping[str, str], *, ranged: bool) -> None:
    """A coded body is another representation with other offsets (RFC 9110, 8.8.3.3 and 14.1.2): none of it is used."""
    codings = {coding.strip().lower() for coding in headers.get("content-encoding", "").split(",")} - {"", "identity"}
    if not codings:
        return
    message = f"the server sent the coding `{quoted(headers['content-encoding'])}`, the plain bytes were asked for"
    raise RangeRefused(message) if ranged else CodingRefused(message)


def _judge_part(ask: Ask, headers: Mapping[str, str], origin: str) -> Accepted:
    sent = _part_range(headers)
    if ask.size is not None and sent.total not in (None, ask.size):
        raise SizeMismatch(_UPGRADE_SAYS.format(sent.total, ask.size))
    if ask.size is not None and sent.total is None:
        raise RangeRefused(f"the server's `Content-Range` tells no total, the lock says there are {ask.size} bytes")
    assert sent.start is not None
    assert sent.end is not None
    if sent.start != ask.start:
        raise RangeRefused(f"the server sent the bytes from {sent.start} on, those from {ask.start} on were asked for")
    limit = ask.size if ask.end is None else ask.end
    if limit is not None and sent.end > limit:
        raise RangeRefused(f"the server sent bytes up to {sent.end}, those up to {limit} were asked for")
    length = content_length(headers)
    if length is not None and length > sent.end - sent.start:
        raise RangeRefused(f"the server announced {length} bytes for a range of {sent.end - sent.start}")
    etag = etag_of(headers)
    _check_part_tag(ask, etag, origin)
    return Accepted(sent.start, sent.end, etag)


def _part_range(headers: Mapping[str, str]) -> ContentRange:
    """The one range of a 206; without one, it must not be combined with anything (RFC 9110, 15.3.7.1)."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/byteranges":
        raise RangeRefused("the server sent several ranges, one was asked for")
    text = headers.get("content-range")
    if text is None:
        raise RangeRefused("the server sent a part of the file without saying which (no `Content-Range`)")
    sent = parse_content_range(text)
    if sent is None or sent.start is None:
        raise RangeRefused(f"the server's `Content-Range: {quoted(text)}` names no range")
    if sent.unit != "bytes":
        raise RangeRefused(f"the server's `Content-Range: {quoted(text)}` does not count bytes")
    return sent


def _check_part_tag(ask: Ask, etag: str | None, origin: str) -> None:
    validator = condition(ask, origin)
    if validator is not None and etag is not None and not same_tag(etag, validator):
        raise RangeRefused(f"the bytes here came with ETag `{validator}`, the server's now have `{etag}`")
    if ask.proven:
        return
    if validator is not None and etag is None and ask.start > 0:
        raise RangeRefused("the server sent a part of the file without its ETag, and the lock has no digest")
    _check_locked_tag(ask, etag)


def _judge_whole(ask: Ask, headers: Mapping[str, str], origin: str) -> Accepted:
    length = content_length(headers)
    _refuse_page(ask, headers, length)
    if ask.size is not None and length is not None and length != ask.size:
        raise SizeMismatch(_UPGRADE_SAYS.format(length, ask.size))
    etag = etag_of(headers)
    if not ask.proven:
        _check_locked_tag(ask, etag)
    wants_part = ask.start > 0 or ask.end not in (None, ask.size)
    restarted = _why_whole(ask, etag, origin) if wants_part else None
    return Accepted(0, length if ask.size is None else ask.size, etag, restarted)


def _check_locked_tag(ask: Ask, etag: str | None) -> None:
    """Without a digest, another tag is all there is to tell that the file is another one."""
    if ask.etag is not None and etag is not None and not same_tag(ask.etag, etag):
        raise UpstreamChanged(f"the source has ETag `{etag}`, the lock says `{ask.etag}`")


def _why_whole(ask: Ask, etag: str | None, origin: str) -> Restarted:
    if not wants_range(ask, origin):
        return Restarted.OTHER_ORIGIN if is_strong(ask.validator) else Restarted.NO_PROOF
    tag = condition(ask, origin)
    return Restarted.IGNORED if tag is None or tag == etag else Restarted.CHANGED


def _refuse_page(ask: Ask, headers: Mapping[str, str], length: int | None) -> None:
    """A web page in the place of a file is somebody else's answer: a captive portal's, a proxy's, a login's."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    wanted = urlsplit(ask.url).path.lower()
    if kind != "text/html" or wanted.endswith((".html", ".htm", ".xhtml", "/")) or ask.size is None:
        return
    etag = etag_of(headers)
    if etag is not None and etag == ask.etag:
        return
    if length is None or length * _FAR_SMALLER < ask.size:
        size = "" if length is None else f" of {amount(length)}"
        raise ConnectionFailed(f"got text/html{size}, expected {amount(ask.size)}", hint=_PORTAL_HINT)

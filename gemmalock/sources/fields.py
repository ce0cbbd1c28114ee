"""Single header fields and statuses of HTTP: text in, values out. Pure: no clock, no connection."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import urlsplit, urlunsplit

from gemmalock.errors import Forbidden, NotFound, RateLimited, ServerError, SourceError, Unauthorized
from gemmalock.secret import redacted_secrets
from gemmalock.spec import base_of

_SECONDS = re.compile(r"[+-]?\d{1,18}")
#: Seconds since 1970, in this century.
_MOMENT = re.compile(r"[1-9]\d{9}")
#: A member of a structured field dictionary that is a byte sequence (RFC 8941, 3.2 and 3.3.5).
_DIGEST_MEMBER = re.compile(r"\s*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):\s*(?:;[^,]*)?")
#: An item of a RateLimit field: the name of a quota, and its parameters (draft-ietf-httpapi-ratelimit-headers-10, 4).
_QUOTA = re.compile(
    r"""\s*(?:"[^"\\]*"|[A-Za-z*][\w.:/*-]*)((?:;\s*[a-z*][a-z0-9_.*-]*(?:=(?:"[^"\\]*"|[^;,\s"]*))?)*)\s*"""
)
_PARAMETER = re.compile(r";\s*([a-z*][a-z0-9_.*-]*)=(\d{1,15})(?=$|[;\s])")
_SHOWN = 200

#: What an answer that has no file in it means. Every other status is `SourceError`, which is not tried again.
STATUS_ERRORS: Mapping[int, type[SourceError]] = MappingProxyType(
    {
        401: Unauthorized,
        403: Forbidden,
        404: NotFound,
        407: Unauthorized,
        408: ServerError,
        410: NotFound,
        425: ServerError,
        429: RateLimited,
    }
)
_STATUS_HINTS: Mapping[int, str] = MappingProxyType(
    {
        401: "the server wants a credential",
        403: "the server does not let you have it: a credential is missing, is not enough, or the link has expired",
        407: "the proxy wants a credential",
        451: "the server says that the law forbids it",
    }
)


def status_error(status: int, url: str, headers: Mapping[str, str], now: datetime) -> SourceError:
    """The error of an answer that is neither a success nor a redirect, with what it says of itself; `now` is for a
    Retry-After that is a date."""
    kind = STATUS_ERRORS.get(status, ServerError if status >= 500 or status < 200 else SourceError)
    hint = _STATUS_HINTS.get(status)
    after = parse_retry_after(headers["retry-after"], now) if "retry-after" in headers else None
    if after is None and status == 429:
        after = parse_rate_limit(headers.get("ratelimit", ""))
    if after is None and kind in (Forbidden, RateLimited):
        after = seconds_to_reset(headers, now)
    if kind is Forbidden and after is not None:
        # So say some services that they were asked too often.
        kind, hint = RateLimited, None
    asked = "" if after is None else f", and asks to be left alone for {after:.0f} s"
    error = kind(f"`{shown_url(url)}` answered {status}{asked}", hint=hint, after_seconds=after)
    error.status = status
    # The hub has words of its own for what is wrong.
    error.told = quoted(headers["x-error-code"]) if "x-error-code" in headers else None
    error.said = quoted(headers["x-error-message"]) if "x-error-message" in headers else None
    return error


@contextlib.contextmanager
def explained(refusal: Callable[[SourceError], SourceError | None]) -> Iterator[None]:
    """What is raised inside says what its service means by it, where `refusal` knows."""
    try:
        yield
    except SourceError as error:
        if (meant := refusal(error)) is None:
            raise
        raise meant from error


def parse_retry_after(text: str, now: datetime) -> float | None:
    """Seconds to wait by a Retry-After (RFC 9110, 10.2.3): a number, or a date; never negative, None for garbage."""
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return float(max(0, int(text)))
    # It brings the parser of e-mails with it.
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def parse_rate_limit(text: str) -> float | None:
    """Seconds until every quota of a RateLimit field that is used up (`r=0`) is renewed (`t`), or None where none is,
    or the field cannot be read (draft-ietf-httpapi-ratelimit-headers-10, 4)."""
    waits: list[float] = []
    place = 0
    while place < len(text):
        item = _QUOTA.match(text, place)
        if item is None:
            return None
        parameters = dict(_PARAMETER.findall(item[1]))
        if parameters.get("r", "").strip("0") == "" and "r" in parameters and "t" in parameters:
            waits.append(float(parameters["t"]))
        place = item.end()
        if place < len(text):
            if text[place] != "," or place + 1 == len(text):
                return None
            place += 1
    return max(waits, default=None)


def seconds_to_reset(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds until a limit that is used up (`X-RateLimit-Remaining: 0`) is set back (`X-RateLimit-Reset`, in seconds
    since 1970), as in GitHub's REST API, "Rate limits"; None for others, who mean other things by these fields."""
    reset = headers.get("x-ratelimit-reset", "").strip()
    if headers.get("x-ratelimit-remaining", "").strip() != "0" or not _MOMENT.fullmatch(reset):
        return None
    return max(0.0, int(reset) - now.timestamp())


def parse_repr_digest(text: str) -> str | None:
    """The sha-256 of a Repr-Digest (RFC 9530, 3) as 64 hexadecimal digits, or None where there is none that is whole.

    A dictionary's later member of a name replaces an earlier one (RFC 8941, 4.2.2); what cannot be read makes all of
    it void.
    """
    digest: str | None = None
    place = 0
    while place < len(text):
        member = _DIGEST_MEMBER.match(text, place)
        if member is None:
            return None
        if member[1] == "sha-256":
            digest = _hexadecimal(member[2])
        place = member.end()
        if place < len(text):
            if text[place] != "," or place + 1 == len(text):
                return None
            place += 1
    return digest


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL (RFC 6454, 4), the default port left out; in lower case. Raises ValueError for
    what is no URL."""
    return _origin_of(base_of(url))


@lru_cache(1024)
def _origin_of(base: str) -> str:
    parts = urlsplit(base)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port not in (None, default) else "")


def shown_url(url: str) -> str:
    """A URL for people to read: without credentials and without its query, which may hold a signature."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return quoted(url.partition("?")[0].rpartition("@")[2])
    host = parts.netloc.rpartition("@")[2]
    return quoted(urlunsplit((parts.scheme, host, parts.path, "", "")) + ("?…" if parts.query else ""))


def quoted(text: str) -> str:
    """Text from elsewhere, fit to be shown: without known secrets, controls escaped, cut when long."""
    text = redacted_secrets(text)
    clean = "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text[: _SHOWN + 1]
    )
    return clean if len(clean) <= _SHOWN else clean[:_SHOWN] + "…"


def amount(size: int) -> str:
    """A number of bytes for people, in powers of 1000."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _hexadecimal(text: str) -> str | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw.hex() if len(raw) == 32 else None

"""Statuses and single fields."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.errors import Forbidden, NotFound, RateLimited, ServerError, SourceError, Unauthorized
from gemmalock.sources.fields import (
    amount,
    origin_of,
    parse_rate_limit,
    parse_repr_digest,
    parse_retry_after,
    quoted,
    shown_url,
    status_error,
)

NOW = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)

STATUSES: list[tuple[int, type[SourceError], bool]] = [
    (400, SourceError, False),
    (401, Unauthorized, False),
    (403, Forbidden, False),
    (404, NotFound, False),
    (407, Unauthorized, False),
    (408, ServerError, True),
    (410, NotFound, False),
    (418, SourceError, False),
    (425, ServerError, True),
    (429, RateLimited, True),
    (451, SourceError, False),
    (500, ServerError, True),
    (502, ServerError, True),
    (503, ServerError, True),
    (504, ServerError, True),
    (304, SourceError, False),
]


@pytest.mark.parametrize(("status", "kind", "transient"), STATUSES)
def test_each_status_has_its_error(status: int, kind: type[SourceError], transient: bool) -> None:
    """S30."""
    error = status_error(status, "https://a.example/x?X-Amz-Signature=secret", {}, NOW)
    assert type(error) is kind
    assert error.transient is transient
    assert error.message == f"`https://a.example/x?…` answered {status}"


RETRY_AFTER = [
    ("7", 7.0),
    (" 7 ", 7.0),
    ("0", 0.0),
    ("-1", 0.0),
    ("1000000000", 1e9),
    ("Wed, 04 Mar 2026 12:00:30 GMT", 30.0),
    ("Wed, 04 Mar 2026 11:00:00 GMT", 0.0),
    ("Wednesday, 04-Mar-26 12:00:30 GMT", 30.0),
    ("Wed Mar  4 12:00:30 2026", 30.0),
    ("soon", None),
    ("", None),
    ("7.5", None),
    ("Wed, 99 Foo 2026 12:00:30 GMT", None),
]


@pytest.mark.parametrize(("text", "seconds"), RETRY_AFTER)
def test_a_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    """S29."""
    assert parse_retry_after(text, NOW) == seconds


RATE_LIMITS = [
    ('"api";r=0;t=55', 55.0),
    ('"api"; r=0; t=55', 55.0),
    ('"api";t=55;r=0', 55.0),
    ('"api";r=0;t=55;pk=:dXNlcg==:', 55.0),
    ('"api";r=0;t=0', 0.0),
    ('"burst";r=0;t=5, "daily";r=0;t=600', 600.0),
    ('"burst";r=0;t=5,"daily";r=17;t=600', 5.0),
    ("api;r=0;t=55", 55.0),
    ('"a,b;c";r=0;t=3', 3.0),
    ('"api";r=3;t=55', None),
    ('"api";r=0', None),
    ('"api";t=55', None),
    ('"api";r=0;t=soon', None),
    ('"api";r=0;t=-5', None),
    ('"api";r=0;t=5,', None),
    ("limit=100, remaining=0, reset=50", None),
    ('"api', None),
    ("", None),
]


@pytest.mark.parametrize(("text", "seconds"), RATE_LIMITS)
def test_a_quota_that_is_used_up_says_when_it_is_renewed(text: str, seconds: float | None) -> None:
    """draft-ietf-httpapi-ratelimit-headers-10, 4."""
    assert parse_rate_limit(text) == seconds
    assert status_error(429, "https://a.example/x", {"ratelimit": text}, NOW).after_seconds == seconds
    assert status_error(404, "https://a.example/x", {"ratelimit": text}, NOW).after_seconds is None


def test_a_retry_after_outweighs_a_rate_limit() -> None:
    headers = {"ratelimit": '"api";r=0;t=55', "retry-after": "7"}
    assert status_error(429, "https://a.example/x", headers, NOW).after_seconds == 7.0


EPOCH = int(NOW.timestamp())


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize(
    ("remaining", "reset", "seconds"),
    [
        ("0", str(EPOCH + 90), 90.0),
        (" 0 ", f" {EPOCH + 90} ", 90.0),
        ("0", str(EPOCH - 5), 0.0),
        ("1", str(EPOCH + 90), None),
        ("", str(EPOCH + 90), None),
        ("0", "", None),
        # Seconds from now, as others have it; it need not be meant.
        ("0", "90", None),
        ("0", f"-{EPOCH}", None),
        ("0", f"{EPOCH}.5", None),
        ("0", "9" * 400, None),
    ],
)
def test_a_limit_that_is_used_up_is_waited_for(status: int, remaining: str, reset: str, seconds: float | None) -> None:
    headers = {"x-ratelimit-remaining": remaining, "x-ratelimit-reset": reset}
    error = status_error(status, "https://a.example/x", headers, NOW)
    assert error.after_seconds == seconds
    assert isinstance(error, RateLimited) == (status == 429 or seconds is not None)


def test_a_refusal_that_will_be_over_is_a_limit() -> None:
    error = status_error(403, "https://a.example/x", {"retry-after": "60"}, NOW)
    assert (type(error), error.after_seconds) == (RateLimited, 60.0)


def test_what_is_not_there_is_no_limit() -> None:
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(EPOCH + 90)}
    assert status_error(404, "https://a.example/x", headers, NOW).after_seconds is None


@given(st.text(max_size=80))
def test_no_rate_limit_is_an_exception(text: str) -> None:
    seconds = parse_rate_limit(text)
    assert seconds is None or seconds >= 0


def test_an_error_says_what_the_answer_says_of_itself() -> None:
    headers = {"x-error-code": "GatedRepo", "x-error-message": "ask \x1b[31mnicely" + "." * 300}
    error = status_error(403, "https://a.example/x", headers, NOW)
    assert (error.status, error.told, error.credential) == (403, "GatedRepo", None)
    assert error.said is not None
    assert error.said.startswith("ask \\x1b[31mnicely")
    assert len(error.said) < 210
    bare = status_error(404, "https://a.example/x", {}, NOW)
    assert (bare.status, bare.told, bare.said) == (404, None, None)


@given(st.text(max_size=80))
def test_no_retry_after_is_an_exception(text: str) -> None:
    seconds = parse_retry_after(text, NOW)
    assert seconds is None or seconds >= 0


DIGEST = hashlib.sha256(b"gemma")
ENCODED = base64.b64encode(DIGEST.digest()).decode()
OTHER = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
REPR_DIGESTS = [
    (f"sha-256=:{ENCODED}:", True),
    (f"  sha-256=:{ENCODED}:  ", True),
    (f"sha-512=:AAAA:, sha-256=:{ENCODED}:", True),
    (f"sha-256=:{ENCODED}:;q=1, md5=:AAAA:", True),
    (f"sha-256=:{OTHER}:, sha-256=:{ENCODED}:", True),
    (f"sha-256=:{ENCODED}:,", False),
    (f"sha-256={ENCODED}", False),
    (f"SHA-256=:{ENCODED}:", False),
    ("sha-256=:AAAA:", False),
    ("sha-256=:not base64:", False),
    (f"sha-256=:{ENCODED}: nonsense", False),
    ("", False),
]


@pytest.mark.parametrize(("text", "is_read"), REPR_DIGESTS)
def test_a_repr_digest_is_a_dictionary_of_byte_sequences(text: str, is_read: bool) -> None:
    assert parse_repr_digest(text) == (DIGEST.hexdigest() if is_read else None)


ORIGINS = [
    ("https://A.Example/x", "https://a.example"),
    ("https://a.example:443/x", "https://a.example"),
    ("http://a.example:80/", "http://a.example"),
    ("https://a.example:8443/x", "https://a.example:8443"),
    ("http://[::1]:8080/x", "http://[::1]:8080"),
    ("https://u:p@a.example/x", "https://a.example"),
]


@pytest.mark.parametrize(("url", "origin"), ORIGINS)
def test_an_origin_is_scheme_host_and_port(url: str, origin: str) -> None:
    assert origin_of(url) == origin


def test_a_shown_url_has_neither_credentials_nor_a_signature() -> None:
    assert shown_url("https://user:secret@a.example/x?sig=secret#f") == "https://a.example/x?…"


def test_quoted_text_has_no_controls_and_an_end() -> None:
    """X13."""
    assert quoted("a\x1b]8;;b\r\n") == "a\\x1b]8;;b\\r\\n"
    assert quoted("x\u202ey") == "x\\u202ey"
    assert len(quoted("x" * 10_000)) == 201


@pytest.mark.parametrize(
    ("size", "text"), [(15, "15 B"), (1500, "1.5 kB"), (2_600_000_000, "2.6 GB"), (10**13, "10.0 TB")]
)
def test_amounts_are_for_people(size: int, text: str) -> None:
    assert amount(size) == text

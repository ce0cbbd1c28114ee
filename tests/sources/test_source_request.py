"""What a URL asks whom, as bytes: urllib3 reads the same in it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from gemmalock.sources.request import NoUrl, Place, Request, place_of, request_bytes, target_of

PLACES: tuple[tuple[str, str, str, int, str], ...] = (
    # URL, scheme, host, port, what the Host field says
    ("http://models.example/a", "http", "models.example", 80, "models.example"),
    ("https://models.example/a", "https", "models.example", 443, "models.example"),
    ("https://models.example:443/a", "https", "models.example", 443, "models.example"),
    ("https://models.example:/a", "https", "models.example", 443, "models.example"),
    ("http://models.example:443/a", "http", "models.example", 443, "models.example:443"),
    ("HTTP://MODELS.Example:8080", "http", "models.example", 8080, "models.example:8080"),
    ("https://models.example./a", "https", "models.example", 443, "models.example"),
    ("http://127.0.0.1:0/a", "http", "127.0.0.1", 0, "127.0.0.1:0"),
    ("http://[::1]:8080/a", "http", "::1", 8080, "[::1]:8080"),
    ("http://[fe80::1%25eth0]/a", "http", "fe80::1%eth0", 80, "[fe80::1]"),
    ("http://me:pw@models.example/a", "http", "models.example", 80, "models.example"),
    ("http://under_score.example/a", "http", "under_score.example", 80, "under_score.example"),
)


@pytest.mark.parametrize(("url", "scheme", "host", "port", "authority"), PLACES, ids=[each[0] for each in PLACES])
def test_a_place_is_read_from_a_url(url: str, scheme: str, host: str, port: int, authority: str) -> None:
    place = place_of(url, public_only=False)
    assert place == Place(scheme, host, port, False)
    assert place.authority == authority
    theirs = parse_url(url)
    assert (theirs.host or "").strip("[]").rstrip(".") == host


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://models.example./a", "models.example"),
        ("https://127.0.0.1/a", "127.0.0.1"),
        ("https://[::1]/a", "::1"),
        ("https://[fe80::1%25eth0]/a", "fe80::1"),
        ("https://a%20b/a", "a%20b"),
    ],
)
def test_a_certificate_is_for_the_host_as_others_know_it(url: str, name: str) -> None:
    assert place_of(url, public_only=False).name == name


@pytest.mark.parametrize(
    "url",
    [
        "http:///a",
        "http://:80/a",
        "http://a b/c",
        "http://mod<els/a",
        "http://models.example:x/a",
        "http://models.example:70000/a",
        "http://[::1/a",
        "http://m\xf6dels.example/a",
    ],
)
def test_a_url_without_a_host_to_ask_is_refused(url: str) -> None:
    with pytest.raises(NoUrl):
        place_of(url, public_only=False)


TARGETS: tuple[tuple[str, str], ...] = (
    ("http://h", "/"),
    ("http://h?q=1", "/?q=1"),
    ("http://h/a/b.gguf", "/a/b.gguf"),
    ("http://h/a?", "/a?"),
    ("http://h/a?#b", "/a?"),
    ("http://h/a?b?c=/d", "/a?b?c=/d"),
    ("http://h/a b", "/a%20b"),
    ("http://h/a%20b%2Fc", "/a%20b%2Fc"),
    ("http://h/100%", "/100%25"),
    ("http://h/100%/%41?%41", "/100%25/%2541?%41"),
    ("http://h/gr\xf6\xdfe", "/gr%C3%B6%C3%9Fe"),
    ('http://h/"<>`{}|^', "/%22%3C%3E%60%7B%7D%7C%5E"),
    ("http://h/a;b=c,d@e:f!$&'()*+", "/a;b=c,d@e:f!$&'()*+"),
    ("http://h/a/./b/../c", "/a/c"),
    ("http://h/../../a", "/a"),
    ("http://h/a/..", "/"),
    ("http://h/.hidden/..name/a...b", "/.hidden/..name/a...b"),
    ("http://h//a//b", "//a//b"),
    ("http://h//../a//./b", "/a//b"),
)


@pytest.mark.parametrize(("url", "target"), TARGETS, ids=[each[0] for each in TARGETS])
def test_a_target_is_what_of_a_url_travels(url: str, target: str) -> None:
    assert target_of(url) == target


_PATHS = st.text([chr(code) for code in range(0x21, 0x7F) if chr(code) not in "\\#?"] + ["ä", "字"], max_size=20)


@given(_PATHS, _PATHS)
def test_urllib3_asks_for_the_same(path: str, query: str) -> None:
    """But for the case of the digits in a `%2f`, which it changes: a signature may be over them as they are."""
    url = f"http://models.example/{path}?{query}"
    try:
        theirs = parse_url(url).request_uri
    except LocationParseError:
        return
    assert _upper(target_of(url)) == _upper(theirs)


def test_a_request_has_its_fields_in_their_order() -> None:
    sent = request_bytes(Request("GET", "http://models.example/a?b", {"Range": "bytes=0-"}), "models.example")
    assert sent == b"GET /a?b HTTP/1.1\r\nHost: models.example\r\nRange: bytes=0-\r\n\r\n"


@pytest.mark.parametrize("value", ["a\r\nX: 1", "a\n", "a\rb", "a\0b", "\u20ac"])
def test_a_field_that_would_be_two_is_not_sent_and_not_shown(value: str) -> None:
    with pytest.raises(ValueError, match="`Authorization` cannot be sent") as caught:
        request_bytes(Request("GET", "http://models.example/", {"Authorization": value}), "models.example")
    assert value not in str(caught.value)


def _upper(target: str) -> str:
    return re.sub("%[0-9A-Fa-f]{2}", lambda found: found[0].upper(), target)

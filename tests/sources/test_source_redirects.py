"""Where redirects may lead."""

from __future__ import annotations

import pytest

from gemmalock.errors import RedirectRefused
from gemmalock.sources.redirects import is_inner_address, next_hop

HUB = "https://hub.example.org/a/model.gguf?download=1"
LOCAL = "http://127.0.0.1:8080/a"

FOLLOWED = [
    ("another host", HUB, "https://cdn.example.net/x?sig=1", "https://cdn.example.net/x?sig=1"),
    ("a path", HUB, "/b/model.gguf", "https://hub.example.org/b/model.gguf"),
    ("a relative path", HUB, "other.gguf", "https://hub.example.org/a/other.gguf"),
    ("another host, same scheme", HUB, "//cdn.example.net/x", "https://cdn.example.net/x"),
    ("a fragment is not sent", HUB, "/b#c", "https://hub.example.org/b"),
    ("loopback to loopback", LOCAL, "http://localhost:9090/b", "http://localhost:9090/b"),
    ("loopback to https", LOCAL, "https://hub.example.org/b", "https://hub.example.org/b"),
    ("plain http that goes on", "http://a.example/x", "http://b.example/x", "http://b.example/x"),
    ("into https", "http://a.example/x", "https://b.example/x", "https://b.example/x"),
    ("a private address to another", "https://10.0.0.1/x", "https://10.0.0.2/y", "https://10.0.0.2/y"),
]


@pytest.mark.parametrize(("start", "location", "url"), [row[1:] for row in FOLLOWED], ids=[row[0] for row in FOLLOWED])
def test_a_redirect_is_followed(start: str, location: str, url: str) -> None:
    assert next_hop(start, 302, location) == url


REFUSED = [
    ("out of https (R03)", HUB, "http://hub.example.org/b", "out of https into plain http"),
    ("out of https to loopback", "https://127.0.0.1/a", "http://127.0.0.1/a", "out of https"),
    ("from loopback to plain http elsewhere", LOCAL, "http://a.example/b", "which is plain http"),
    ("a file (R10)", HUB, "file:///etc/passwd", "http and https only"),
    ("ftp (R10)", HUB, "ftp://a.example/x", "http and https only"),
    ("data (R10)", HUB, "data:text/plain,x", "http and https only"),
    ("a Unix socket (R10)", HUB, "unix:/run/x.sock", "http and https only"),
    ("an empty Location (R11)", HUB, "", "without a `Location`"),
    ("blanks (R11)", HUB, " \t", "without a `Location`"),
    ("a port that is none", HUB, "https://a.example:99999/x", "is no URL"),
    ("the metadata service (R12)", HUB, "https://169.254.169.254/latest", "of this machine or network"),
    ("this machine (R12)", HUB, "https://localhost/x", "of this machine or network"),
    ("below localhost (R12)", HUB, "https://a.localhost./x", "of this machine or network"),
    ("loopback (R12)", HUB, "https://127.0.0.1/x", "of this machine or network"),
    ("loopback in few numbers (R12)", HUB, "https://127.1/x", "of this machine or network"),
    ("loopback in hexadecimal (R12)", HUB, "https://0x7f000001/x", "of this machine or network"),
    ("loopback as one number (R12)", HUB, "https://2130706433/x", "of this machine or network"),
    ("loopback of IPv6 (R12)", HUB, "https://[::1]/x", "of this machine or network"),
    ("loopback wrapped in IPv6 (R12)", HUB, "https://[::ffff:127.0.0.1]/x", "of this machine or network"),
    ("a private network (R12)", HUB, "https://10.1.2.3/x", "of this machine or network"),
    ("a unique local address (R12)", HUB, "https://[fd00::1]/x", "of this machine or network"),
    ("the wildcard (R12)", HUB, "https://0.0.0.0/x", "of this machine or network"),
    ("CR LF (R22)", HUB, "/x\r\nSet-Cookie: a", "control characters"),
    ("a tab inside (R22)", HUB, "/x\ty", "control characters"),
    ("a space in the host", HUB, "https://a .example/x", "is no URL"),
    ("a backslash", HUB, "https://a.example\\@b.example/", "control characters"),
    ("credentials", HUB, "https://user:secret@a.example/x", "user name"),
]


@pytest.mark.parametrize(("start", "location", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_redirect_is_refused(start: str, location: str, says: str) -> None:
    with pytest.raises(RedirectRefused) as caught:
        next_hop(start, 302, location)
    assert says in caught.value.message
    assert "secret" not in caught.value.message
    assert not caught.value.transient


def test_a_space_is_percent_encoded() -> None:
    assert next_hop(HUB, 302, "/a b?c d") == "https://hub.example.org/a%20b?c%20d"
    assert next_hop(HUB, 302, " /a ") == "https://hub.example.org/a"


def test_two_locations_are_refused_unless_they_agree() -> None:
    """R11."""
    with pytest.raises(RedirectRefused, match="several"):
        next_hop(HUB, 302, ["/a", "/b"])
    assert next_hop(HUB, 302, ["/a", "/a"]) == "https://hub.example.org/a"
    with pytest.raises(RedirectRefused, match="without"):
        next_hop(HUB, 302, [])


def test_the_eleventh_hop_is_refused() -> None:
    assert next_hop(HUB, 302, "/b", hops=9)
    with pytest.raises(RedirectRefused, match="more than 10"):
        next_hop(HUB, 302, "/b", hops=10)


def test_the_setting_allows_plain_http_but_never_out_of_https() -> None:
    assert next_hop(LOCAL, 302, "http://a.example/b", allow_http=True) == "http://a.example/b"
    with pytest.raises(RedirectRefused):
        next_hop(HUB, 302, "http://a.example/b", allow_http=True)


def test_a_server_of_a_private_network_may_point_into_it() -> None:
    assert (
        next_hop("https://models.corp.example/x", 302, "https://10.0.0.2/y", from_private=True) == "https://10.0.0.2/y"
    )


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_not_inner(address: str) -> None:
    assert not is_inner_address(address)

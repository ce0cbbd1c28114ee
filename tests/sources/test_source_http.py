"""HttpSource against servers that misbehave, one request each; the rows of FAULTS are named."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from urllib3.connection import HTTPConnection

from gemmalock.errors import (
    ConnectionFailed,
    FileError,
    Forbidden,
    GemmalockError,
    Interrupted,
    NotFound,
    Offline,
    PolicyRefused,
    RateLimited,
    RedirectRefused,
    ServerError,
    SizeMismatch,
    SourceError,
    TimedOut,
)
from gemmalock.ports import Ask, Probe, Restarted
from gemmalock.secret import Secret
from gemmalock.sources.channel import Routes
from gemmalock.sources.connecting import Target, connect
from gemmalock.sources.http import HttpLimits, HttpSource, Policy
from gemmalock.sources.proxied import LiveFirst
from gemmalock.sources.proxies import Proxy
from gemmalock.sources.wire import Call
from gemmalock.stopping import Stop
from tests.servers.fileserver import WEAK, Content, FileServer
from tests.servers.scripted import Exchange, Script, ScriptedServer
from tests.sources.conftest import drained

BODY = bytes(range(256)) * 40
SIZE = len(BODY)


def whole(url: str, **rest: object) -> Ask:
    return Ask(url + "/gemma.gguf", 0, SIZE, SIZE, proven=True, **rest)  # type: ignore[arg-type]


# --- bodies ------------------------------------------------------------------------------------------------


def _cut(exchange: Exchange) -> None:
    exchange.head(200, {"Content-Length": str(SIZE)})
    exchange.send(BODY[:100])
    exchange.close()


def _reset(exchange: Exchange) -> None:
    exchange.head(200, {"Content-Length": str(SIZE)})
    exchange.send(BODY[:100])
    exchange.reset()


def _cut_in_chunks(exchange: Exchange) -> None:
    exchange.head(200, {"Transfer-Encoding": "chunked"})
    exchange.chunk(BODY[:100])
    exchange.close()


def _bad_chunk(exchange: Exchange) -> None:
    exchange.head(200, {"Transfer-Encoding": "chunked"})
    exchange.send(b"-5\r\nhello\r\n")


def _closed_early(exchange: Exchange) -> None:
    exchange.head(200, {"Connection": "close"})
    exchange.send(BODY[:100])
    exchange.close()


def _silent(exchange: Exchange) -> None:
    exchange.head(200, {"Content-Length": str(SIZE)})
    exchange.send(BODY[:100])
    exchange.hang()


def _trickle(exchange: Exchange) -> None:
    exchange.head(200, {"Content-Length": str(SIZE)})
    for byte in BODY:
        exchange.send(bytes([byte]))
        exchange.pause(0.05)


def _longer_in_chunks(exchange: Exchange) -> None:
    exchange.head(200, {"Transfer-Encoding": "chunked"})
    exchange.chunk(BODY + b"!")
    exchange.chunk(b"")


def _endless(exchange: Exchange) -> None:
    exchange.head(200, {"Connection": "close"})
    while True:
        exchange.send(BODY)


BODIES: list[tuple[str, Script, type[GemmalockError], str]] = [
    ("cut (S18)", _cut, ConnectionFailed, f"after 100 of {SIZE} bytes"),
    ("reset (N01)", _reset, ConnectionFailed, "Connection reset|ended after"),
    ("cut between chunks (S19)", _cut_in_chunks, ConnectionFailed, "ended before the body"),
    ("a bad chunk size (S19)", _bad_chunk, ConnectionFailed, "no chunk size"),
    ("closed early, no length", _closed_early, ConnectionFailed, f"{SIZE - 100} bytes too early"),
    ("silence (N02)", _silent, TimedOut, "said nothing for too long"),
    ("a trickle", _trickle, TimedOut, r"only \d+ bytes came"),
    ("longer than locked, in chunks (S21)", _longer_in_chunks, SizeMismatch, f"more than the {SIZE} bytes"),
    ("endless (S21)", _endless, SizeMismatch, f"more than the {SIZE} bytes"),
]


@pytest.mark.parametrize(("script", "kind", "says"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
def test_a_body_that_is_not_whole_is_an_error(
    brisk: HttpSource, script: Script, kind: type[GemmalockError], says: str
) -> None:
    with ScriptedServer(script) as server, pytest.raises(kind, match=says):
        drained(brisk.open(whole(server.url), Stop()))


def test_what_came_before_the_cut_is_handed_over(brisk: HttpSource) -> None:
    came = bytearray()
    buffer = memoryview(bytearray(7))
    with ScriptedServer(_cut) as server:
        answer = brisk.open(whole(server.url), Stop())
        with pytest.raises(ConnectionFailed):
            while True:
                came += buffer[: answer.readinto(buffer)]
        answer.close()
    assert came == BODY[:100]


GOOD: list[tuple[str, Script]] = [
    ("with a length", lambda e: e.answer(200, {}, BODY)),
    ("until the close", lambda e: e.head(200, {"Connection": "close"}).send(BODY).close()),
    ("HTTP/1.0", lambda e: e.send(b"HTTP/1.0 200 OK\r\n\r\n" + BODY).close()),
    ("in chunks", lambda e: e.head(200, {"Transfer-Encoding": "chunked"}).chunk(BODY).chunk(b"")),
    ("chunks beside a length (S25)",
     lambda e: e.head(200, {"Transfer-Encoding": "chunked", "Content-Length": "3"}).chunk(BODY).chunk(b"")),
    ("after 100 Continue", lambda e: e.send(b"HTTP/1.1 100 Continue\r\n\r\n").answer(200, {}, BODY)),
    ("after 103 Early Hints (S17)",
     lambda e: e.head(103, {"Link": "</x>; rel=preload"}).head(103).answer(200, {}, BODY)),
]  # fmt: skip


@pytest.mark.parametrize("script", [row[1] for row in GOOD], ids=[row[0] for row in GOOD])
def test_every_framing_is_read(brisk: HttpSource, script: Script) -> None:
    with ScriptedServer(script) as server:
        for _ in range(2):
            assert drained(brisk.open(whole(server.url), Stop()), 1000) == BODY


def test_a_connection_of_an_ambiguous_answer_is_not_used_again(brisk: HttpSource) -> None:
    """S25."""
    with ScriptedServer(GOOD[4][1]) as server:
        for _ in range(2):
            drained(brisk.open(whole(server.url), Stop()))
        assert server.connections == 2


def test_a_chunked_part_never_delivers_more_than_its_range(brisk: HttpSource) -> None:
    """S07."""

    def longer(exchange: Exchange) -> None:
        exchange.head(206, {"Transfer-Encoding": "chunked", "Content-Range": f"bytes 10-19/{SIZE}"})
        exchange.chunk(BODY[10:99])
        exchange.chunk(b"")

    with ScriptedServer(longer) as server:
        answer = brisk.open(Ask(server.url + "/x", 10, 20, SIZE, proven=True), Stop())
        assert (answer.start, answer.end) == (10, 20)
        assert drained(answer) == BODY[10:20]


# --- heads -------------------------------------------------------------------------------------------------

HEADS: list[tuple[str, Script, type[GemmalockError]]] = [
    ("no answer (N01)", lambda e: e.close(), ConnectionFailed),
    ("a reset (N01)", lambda e: e.reset(), ConnectionFailed),
    ("silence (N02)", lambda e: e.hang(), TimedOut),
    ("no HTTP", lambda e: e.send(b"SSH-2.0-OpenSSH_9.2\r\n").close(), ConnectionFailed),
    ("another protocol version (S26)", lambda e: e.send(b"ICY 200 OK\r\n\r\n").close(), ConnectionFailed),
    ("a header without a colon (S26)",
     lambda e: e.send(b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 3\r\n\r\nabc"), ConnectionFailed),
    ("10,000 headers (S26)", lambda e: e.answer(200, {f"X-{n}": "y" for n in range(10_000)}), ConnectionFailed),
    ("a header of 100 KB (S26)", lambda e: e.answer(200, {"X": "y" * 100_000}), ConnectionFailed),
    ("a head of 90 headers of 60 KB (S26)", lambda e: e.answer(200, {f"X-{n}": "y" * 60_000 for n in range(90)}),
     ConnectionFailed),
    ("two lengths", lambda e: e.head(200, [("Content-Length", "3"), ("Content-Length", "4")]), ConnectionFailed),
    ("a length that is none", lambda e: e.head(200, {"Content-Length": "-1"}), ConnectionFailed),
    ("an unknown transfer coding", lambda e: e.head(200, {"Transfer-Encoding": "gzip, chunked"}), ConnectionFailed),
    ("a captive portal (N08)", lambda e: e.answer(200, {"Content-Type": "text/html"}, b"<html>log in!  "),
     ConnectionFailed),
    ("403 (S30)", lambda e: e.answer(403), Forbidden),
    ("404 (S30)", lambda e: e.answer(404), NotFound),
    ("410 (S30)", lambda e: e.answer(410), NotFound),
    ("429", lambda e: e.answer(429, {"Retry-After": "3"}), RateLimited),
    ("451 (S30)", lambda e: e.answer(451), SourceError),
    ("500 (S30)", lambda e: e.answer(500, {}, b"oops" * 100_000), ServerError),
    ("103 and nothing more (S17)", lambda e: e.head(103), TimedOut),
    ("204 (S17)", lambda e: e.head(204), ServerError),
    ("304 unasked", lambda e: e.head(304), SourceError),
]  # fmt: skip


@pytest.mark.parametrize(("script", "kind"), [row[1:] for row in HEADS], ids=[row[0] for row in HEADS])
def test_a_head_that_is_no_answer_is_an_error(brisk: HttpSource, script: Script, kind: type[GemmalockError]) -> None:
    with ScriptedServer(script) as server, pytest.raises(kind) as caught:
        brisk.open(whole(server.url), Stop()).close()
    assert type(caught.value) is kind


FLAWS: list[tuple[str, Script, str]] = [
    ("a length that is none", lambda e: e.head(200, {"Content-Length": "-5"}), "an unreadable `Content-Length: -5`"),
    ("an unknown coding", lambda e: e.head(200, {"Transfer-Encoding": "x"}), "an unknown `Transfer-Encoding: x`"),
    ("a coded body", lambda e: e.answer(200, {"Content-Encoding": "gzip"}, BODY), "the server sent the coding `gzip`"),
    ("a long wait", lambda e: e.answer(503, {"Retry-After": "99999"}), "asks to be left alone for 99999 s"),
]


@pytest.mark.parametrize(("script", "says"), [row[1:] for row in FLAWS], ids=[row[0] for row in FLAWS])
def test_an_answer_that_cannot_be_used_is_told_as_it_is(brisk: HttpSource, script: Script, says: str) -> None:
    with ScriptedServer(script) as server, pytest.raises(SourceError) as caught:
        brisk.open(whole(server.url), Stop()).close()
    assert says in caught.value.message
    assert "chunked" not in caught.value.message
    assert caught.value.transient == ("coding `gzip`" not in says)


def test_a_storm_of_interim_answers_ends(brisk: HttpSource) -> None:
    """S17."""

    def storm(exchange: Exchange) -> None:
        while True:
            exchange.send(b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" * 100)

    with ScriptedServer(storm) as server, pytest.raises(ConnectionFailed, match="head of the answer"):
        brisk.open(whole(server.url), Stop())


def test_a_head_that_trickles_in_ends(brisk: HttpSource) -> None:
    def trickle(exchange: Exchange) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 5000:
            exchange.send(bytes([byte]))
            exchange.pause(0.05)

    with ScriptedServer(trickle) as server, pytest.raises(TimedOut):
        brisk.open(whole(server.url), Stop())


def test_retry_after_travels_with_the_error(brisk: HttpSource) -> None:
    """S29."""
    with ScriptedServer(lambda e: e.answer(503, {"Retry-After": "17"})) as server, pytest.raises(ServerError) as caught:
        brisk.open(whole(server.url), Stop())
    assert caught.value.after_seconds == 17


def test_nothing_but_identity_is_asked_for_and_no_credential_is_sent(brisk: HttpSource) -> None:
    """S22, R20."""
    with FileServer({"/gemma.gguf": BODY}) as server:
        drained(brisk.open(whole(server.url), Stop()))
        sent = server.requests[0].headers
    assert sent["accept-encoding"] == "identity"
    assert sent["user-agent"].startswith("gemmalock")
    assert set(sent) == {"host", "accept", "accept-encoding", "user-agent"}


# --- ranges ------------------------------------------------------------------------------------------------


def test_a_range_is_continued_under_its_validator(http: HttpSource) -> None:
    with FileServer({"/gemma.gguf": BODY}) as server:
        tag = server.files["/gemma.gguf"].etag_now()
        ask = Ask(server.url + "/gemma.gguf", 100, SIZE, SIZE, tag, tag, server.origin)
        answer = http.open(ask, Stop())
        assert (answer.start, answer.end, answer.etag, answer.origin) == (100, SIZE, tag, server.origin)
        assert answer.restarted is None
        assert drained(answer) == BODY[100:]
        assert server.requests[0].headers["if-range"] == tag


def test_a_server_without_ranges_restarts_and_says_so(http: HttpSource) -> None:
    """S01, S35."""
    with FileServer({"/gemma.gguf": Content(BODY, ranges=False, headers={"Accept-Ranges": "bytes"})}) as server:
        ask = Ask(server.url + "/gemma.gguf", 100, 200, SIZE, proven=True)
        answer = http.open(ask, Stop())
        assert (answer.start, answer.end, answer.restarted) == (0, SIZE, Restarted.IGNORED)
        assert "from 100 on with the whole file" in Restarted.IGNORED.told(ask, answer)
        assert drained(answer) == BODY


def test_a_server_that_denies_ranges_but_has_them_is_believed_by_its_answer(http: HttpSource) -> None:
    """S35."""
    with FileServer({"/gemma.gguf": Content(BODY, headers={"Accept-Ranges": "none"})}) as server:
        answer = http.open(Ask(server.url + "/gemma.gguf", 100, 200, SIZE, proven=True), Stop())
        assert drained(answer) == BODY[100:200]


def test_an_empty_file_is_asked_for_without_a_range(http: HttpSource) -> None:
    """S31."""
    with FileServer({"/empty": b""}) as server:
        answer = http.open(Ask(server.url + "/empty", 0, 0, 0, proven=True), Stop())
        assert drained(answer) == b""
        assert "range" not in server.requests[0].headers
        seen = http.probe(server.url + "/empty", Stop())
        assert (seen.size, seen.etag) == (0, server.files["/empty"].etag_now())


# --- probing -----------------------------------------------------------------------------------------------

PROBED = [
    ("a good server", Content(BODY), ["HEAD"]),
    ("no HEAD: 405 (S27)", Content(BODY, head=False), ["HEAD", "GET"]),
    ("no HEAD: 403 (S27)", Content(BODY, head=403), ["HEAD", "GET"]),
    ("no HEAD: 404", Content(BODY, head=404), ["HEAD", "GET"]),
    ("no HEAD: 501", Content(BODY, head=501), ["HEAD", "GET"]),
    ("no length at all to HEAD", Content(BODY, content_length=False), ["HEAD", "GET"]),
    ("a HEAD that says 0, and no ranges", Content(BODY, head=200, ranges=False), ["HEAD", "GET"]),
    ("a weak ETag", Content(BODY, etag=WEAK), ["HEAD", "GET"]),
    ("no ETag", Content(BODY, etag=None), ["HEAD"]),
    ("a coded HEAD", Content(BODY, headers={"Content-Encoding": "gzip"}), ["HEAD", "GET"]),
]


@pytest.mark.parametrize(("content", "methods"), [row[1:] for row in PROBED], ids=[row[0] for row in PROBED])
def test_a_probe_finds_size_and_etag(http: HttpSource, content: Content, methods: list[str]) -> None:
    with FileServer({"/gemma.gguf": content}) as server:
        seen = http.probe(server.url + "/gemma.gguf", Stop())
        coded = "Content-Encoding" in content.headers
        assert seen == Probe(None if coded else SIZE, None if coded else content.etag_now(), None)
        assert [request.method for request in server.requests] == methods


def test_a_probe_reads_a_published_digest(http: HttpSource) -> None:
    import hashlib

    for head in (True, False):
        with FileServer({"/gemma.gguf": Content(BODY, repr_digest=True, head=head)}) as server:
            assert http.probe(server.url + "/gemma.gguf", Stop()).sha256 == hashlib.sha256(BODY).hexdigest()


def test_a_probe_of_a_large_file_without_ranges_does_not_read_it(http: HttpSource) -> None:
    big = bytes(64 * 1024 * 1024)
    with FileServer({"/big": Content(big, head=False, ranges=False)}) as server:
        assert http.probe(server.url + "/big", Stop()).size == len(big)
    assert server.bytes_served("/big") < len(big)


def test_a_file_that_is_not_there_is_not_found(http: HttpSource) -> None:
    with FileServer({}) as server, pytest.raises(NotFound, match="answered 404"):
        http.probe(server.url + "/gemma.gguf", Stop())


def test_a_server_that_tells_no_size_to_anybody_leaves_it_open(http: HttpSource) -> None:
    with FileServer({"/x": Content(BODY, content_length=False, ranges=False)}) as server:
        assert http.probe(server.url + "/x", Stop()).size is None


def test_a_rate_limit_ends_a_probe_at_once(http: HttpSource) -> None:
    with ScriptedServer(lambda e: e.answer(429)) as server:
        with pytest.raises(RateLimited):
            http.probe(server.url + "/x", Stop())
        assert len(server.requests) == 1


def test_a_head_that_hangs_is_asked_again_as_a_get(brisk: HttpSource) -> None:
    """S27: some servers know no HEAD, and say so by saying nothing."""

    def script(exchange: Exchange) -> None:
        if exchange.request.method == "HEAD":
            exchange.hang()
        exchange.answer(206, {"Content-Range": f"bytes 0-0/{SIZE}", "ETag": '"v1"'}, BODY[:1])

    with ScriptedServer(script) as server:
        assert brisk.probe(server.url + "/x", Stop()) == Probe(SIZE, '"v1"', None)
        assert [request.method for request in server.requests] == ["HEAD", "GET"]


DELIMITED: list[tuple[str, Script, bool]] = [
    ("with a length", lambda e: e.answer(200, {}, BODY), True),
    ("in chunks", lambda e: e.head(200, {"Transfer-Encoding": "chunked"}).chunk(BODY).chunk(b""), True),
    ("until the close", lambda e: e.head(200).send(BODY).close(), False),
]


@pytest.mark.parametrize(("script", "delimited"), [row[1:] for row in DELIMITED], ids=[row[0] for row in DELIMITED])
def test_an_answer_says_whether_a_cut_would_show(brisk: HttpSource, script: Script, delimited: bool) -> None:
    with ScriptedServer(script) as server:
        unknown, known = brisk.open(Ask(server.url + "/x"), Stop()), brisk.open(whole(server.url), Stop())
        assert (unknown.delimited, known.delimited) == (delimited, True)
        assert drained(unknown) == drained(known) == BODY


def test_a_body_of_unknown_size_that_ends_with_a_reset_is_cut(brisk: HttpSource) -> None:
    with ScriptedServer(lambda e: e.head(200).send(BODY).reset()) as server:
        answer = brisk.open(Ask(server.url + "/x"), Stop())
        with pytest.raises(ConnectionFailed):
            drained(answer)


def test_an_https_source_cannot_be_listed(http: HttpSource) -> None:
    with pytest.raises(PolicyRefused, match="cannot be listed") as caught:
        http.list("https://models.example.org/", Stop())
    assert "name the files" in caught.value.hint


# --- redirects ---------------------------------------------------------------------------------------------


def test_a_redirect_is_followed_and_validators_stay_with_their_origin(http: HttpSource) -> None:
    """R02, R14, V07."""
    with FileServer({"/x": BODY}) as cdn, FileServer({}, redirects={"/gemma.gguf": cdn.url + "/x"}) as hub:
        tag = cdn.files["/x"].etag_now()
        ask = Ask(hub.url + "/gemma.gguf", 100, SIZE, SIZE, None, tag, cdn.origin, proven=True)
        answer = http.open(ask, Stop())
        assert answer.origin == cdn.origin
        assert drained(answer) == BODY[100:]
        assert "if-range" not in hub.requests[0].headers
        assert cdn.requests[0].headers["if-range"] == tag
        assert cdn.requests[0].headers["range"] == f"bytes=100-{SIZE - 1}"


def test_redirects_keep_their_connections(http: HttpSource) -> None:
    hop = {"Location": "/next"}
    script = [
        lambda e: e.answer(302, hop, b"moved" * 100),
        lambda e: e.answer(302, hop),
        lambda e: e.answer(200, {}, BODY),
    ]
    with ScriptedServer(script) as server:
        drained(http.open(whole(server.url), Stop()))
        assert server.connections == 1


def test_the_body_of_a_redirect_is_not_read(http: HttpSource) -> None:
    """S23."""

    def bomb(exchange: Exchange) -> None:
        exchange.head(302, {"Location": "/next", "Content-Length": str(1 << 40)})
        while True:
            exchange.send(BODY)

    with ScriptedServer([bomb, lambda e: e.answer(200, {}, BODY)]) as server:
        assert drained(http.open(whole(server.url), Stop())) == BODY


def test_a_loop_of_redirects_ends(http: HttpSource) -> None:
    """R11."""
    with FileServer({}, redirects={"/a": "/b", "/b": "/a"}) as server:
        with pytest.raises(RedirectRefused, match="more than 10"):
            http.open(Ask(server.url + "/a"), Stop())
        assert len(server.requests) == 11


LOCATIONS = ["file:///etc/passwd", "http://hub.example.org/x", "ftp://127.0.0.1/x", "", "http://user:secret@127.0.0.1/"]


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_redirect_elsewhere_is_refused_before_anything_is_asked(http: HttpSource, location: str) -> None:
    """R10, R12."""
    with ScriptedServer(lambda e: e.answer(302, {"Location": location})) as server:
        with pytest.raises(RedirectRefused):
            http.open(whole(server.url), Stop())
        assert len(server.requests) == 1


def only(*hosts: str) -> HttpSource:
    """A source that may ask these hosts and no others."""
    return HttpSource(policy=Policy(allowed_hosts=frozenset(hosts)))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_a_host_that_is_not_allowed_is_refused_before_it_is_asked(status: int) -> None:
    with FileServer({"/x": BODY}) as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost") + "/x"
        with ScriptedServer(lambda e: e.answer(status, {"Location": elsewhere})) as server:
            source = only("127.0.0.1")
            for call in (lambda: source.open(whole(server.url), Stop()), lambda: source.probe(server.url, Stop())):
                with pytest.raises(PolicyRefused, match="host `localhost` is not among `allowed-hosts`"):
                    call()
            assert len(server.requests) == 2
        assert other.requests == ()
        source.close()


def test_redirects_between_allowed_hosts_are_followed() -> None:
    with FileServer({"/x": BODY}) as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost") + "/x"
        with FileServer({}, redirects={"/gemma.gguf": elsewhere}) as server:
            source = only("127.0.0.1", "localhost")
            assert drained(source.open(whole(server.url), Stop())) == BODY
            source.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "https://127.0.0.1.example.org/x", "https:///x"])
def test_the_first_host_has_to_be_allowed_too(url: str) -> None:
    with pytest.raises(PolicyRefused, match="allowed-hosts"):
        only("models.example.org").open(Ask(url), Stop())


def test_two_locations_are_refused(http: HttpSource) -> None:
    """R11."""
    script: Script = lambda e: e.head(302, [("Location", "/a"), ("Location", "/b"), ("Content-Length", "0")])  # noqa: E731
    with ScriptedServer(script) as server, pytest.raises(RedirectRefused, match="several"):
        http.open(whole(server.url), Stop())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_name_that_resolves_to_an_inner_address_is_not_connected_to(host: str) -> None:
    """R12: what a redirect of a public server leads to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with pytest.raises(RedirectRefused, match="of this machine or network"):
            connect(Target(host, listener.getsockname()[1], public_only=True), 5, Stop())
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


# --- connections -------------------------------------------------------------------------------------------


def test_many_requests_of_many_threads_share_connections(http: HttpSource) -> None:
    with FileServer({"/gemma.gguf": BODY}) as server:
        asks = [Ask(server.url + "/gemma.gguf", start, start + 10, SIZE, proven=True) for start in range(200)]
        with ThreadPoolExecutor(8) as pool:
            came = list(pool.map(lambda ask: drained(http.open(ask, Stop())), asks))
        assert came == [BODY[start : start + 10] for start in range(200)]
        assert not server.failures
    with ScriptedServer(lambda e: e.answer(200, {}, BODY)) as counted:
        for _ in range(20):
            drained(http.open(whole(counted.url), Stop()))
        assert counted.connections == 1


def test_a_kept_connection_that_the_server_closed_is_replaced_without_a_word(http: HttpSource) -> None:
    """N13: it is closed as the second request arrives, so that nothing can be seen of it before."""

    def once(exchange: Exchange) -> None:
        if exchange.turn:
            exchange.reset()
        exchange.answer(200, {}, BODY)

    with ScriptedServer(once) as server:
        for _ in range(3):
            assert drained(http.open(whole(server.url), Stop())) == BODY
        assert server.connections == 3


def test_a_connection_on_which_something_came_unasked_is_not_used_again(http: HttpSource) -> None:
    """A second answer to one question would be taken for the answer to the next one."""

    def twice(exchange: Exchange) -> None:
        exchange.answer(200, {"ETag": f'"{exchange.turn}"'}, b"right")
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")

    with ScriptedServer(twice) as server:
        assert drained(http.open(Ask(server.url + "/a"), Stop())) == b"right"
        deadline = time.monotonic() + 10
        while server.requests[0].sent < 100 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert drained(http.open(Ask(server.url + "/b"), Stop())) == b"right"
        assert server.connections == 2


def test_what_behind_an_answer_came_with_it_is_no_part_of_the_next(http: HttpSource) -> None:
    """Some servers send a body in answer to HEAD."""

    def chatty(exchange: Exchange) -> None:
        exchange.send(b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nETag: "a"\r\n\r\nbody')

    with ScriptedServer(chatty) as server:
        for _ in range(5):
            assert http.probe(server.url + "/a", Stop()) == Probe(4, '"a"', None)
        assert server.connections == 5


TOKEN = "hf_" + "Z9x8y7w6v5" * 4
BESIDES: dict[str, Callable[[str], bytes]] = {
    "instead of a head": lambda said: f"{said}\r\n\r\n".encode(),
    "instead of a chunk": lambda said: f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{said}\r\n".encode(),
}


@pytest.mark.parametrize("said", BESIDES)
@pytest.mark.parametrize("before", [0, 20, 30, 39, 60, 80, 99, 150, 180, 199, 250])
def test_no_part_of_a_secret_that_a_server_repeats_is_shown(http: HttpSource, said: str, before: int) -> None:
    """Wherever what it says is cut to be shown."""
    Secret(TOKEN)

    def repeats(exchange: Exchange) -> None:
        exchange.send(BESIDES[said]("." * before + TOKEN)).close()

    with ScriptedServer(repeats) as server, pytest.raises(ConnectionFailed) as caught:
        drained(http.open(Ask(server.url + "/a"), Stop()))
    assert TOKEN[:6] not in str(caught.value)


def test_a_connection_whose_head_has_flaws_is_not_used_again(http: HttpSource) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\nContent-Length: 0\r\n\r\n"
    with ScriptedServer(lambda e: e.send(head)) as server:
        for _ in range(3):
            with pytest.raises(ConnectionFailed, match="lines that are no header fields"):
                http.open(Ask(server.url + "/a"), Stop())
        assert server.connections == 3


def test_plain_http_needs_no_library() -> None:
    """They would take longer to be imported than a question takes."""
    with FileServer({"/gemma.gguf": BODY}) as server:
        code = (
            "import sys\n"
            "from gemmalock.ports import Ask\n"
            "from gemmalock.sources.http import HttpSource\n"
            "from gemmalock.stopping import Stop\n"
            f"source, url = HttpSource(), '{server.url}/gemma.gguf'\n"
            f"assert source.probe(url, Stop()).size == {SIZE}\n"
            f"assert source.open(Ask(url, 0, 9), Stop()).readinto(memoryview(bytearray(99))) == 9\n"
            "heavy = {'urllib3', 'ssl', 'http.client', 'urllib.request', 'email'} & set(sys.modules)\n"
            "sys.exit(f'{heavy} were imported' if heavy else 0)\n"
        )
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_an_open_connection_is_given_out_before_a_place_where_none_is() -> None:
    """What a failed connection leaves in the pool would else lie on top of one that is open."""
    pool = LiveFirst(4)
    closed, open_one = HTTPConnection("127.0.0.1"), HTTPConnection("127.0.0.1")
    left, right = socket.socketpair()
    open_one.sock = left
    for item in (None, open_one, closed, None):
        pool.put(item)
    assert pool.get() is open_one
    assert [pool.get() for _ in range(3)].count(None) == 2
    left.close()
    right.close()


def test_a_fresh_connection_that_fails_is_not_tried_again(http: HttpSource) -> None:
    with ScriptedServer(lambda e: e.reset()) as server:
        with pytest.raises(ConnectionFailed):
            http.open(whole(server.url), Stop())
        assert server.connections == 1


def test_a_refused_connection_names_host_and_port(http: HttpSource) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionFailed, match=rf"cannot connect to `127\.0\.0\.1:{port}`: Connection refused"):
        http.open(whole(f"http://127.0.0.1:{port}"), Stop())


def test_a_name_that_does_not_resolve_is_named(http: HttpSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """N04. The guard lets no test ask a real resolver: its answer is given here."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ConnectionFailed, match=r"cannot find the host `models\.invalid`: Name or service not known"):
        http.open(whole("https://models.invalid"), Stop())


@pytest.mark.parametrize("name", ["models..invalid", ".models.invalid", f"{'m' * 64}.invalid", "m" * 64])
def test_a_name_that_cannot_be_one_is_not_asked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("it was asked for"))
    with pytest.raises(ConnectionFailed, match=r"cannot find the host `.*`: a label of it is empty, or longer than 63"):
        connect(Target(name, 443), 5, Stop())


@pytest.mark.parametrize("name", ["models.invalid", "models.invalid.", f"{'m' * 63}.invalid", "mödels.invalid"])
def test_every_other_name_is_asked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def unknown(host: object, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ConnectionFailed, match="Name or service not known"):
        connect(Target(name, 443), 5, Stop())
    # As bytes, wherever that is one thing with the text.
    assert asked == [name.encode() if name.isascii() else name]


def test_the_second_address_is_used_when_the_first_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """N05."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.2", 0)) as closed:
        port, refused = listener.getsockname()[1], closed.getsockname()[1]
        closed.close()
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", refused)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with connect(Target("localhost", port), 5, Stop()) as connected:
            assert connected.getpeername() == ("127.0.0.1", port)


# --- large reads -------------------------------------------------------------------------------------------

LARGE = bytes(range(256)) * 4096


def _in_pieces(exchange: Exchange) -> None:
    exchange.head(200, {"Content-Length": str(len(LARGE))})
    for start in range(0, len(LARGE), 10_000):
        exchange.send(LARGE[start : start + 10_000])


def test_a_large_read_of_a_fast_connection_fills_its_buffer(http: HttpSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemmalock.sources.wire._MOMENT", struct.pack("ll", 30, 0))
    with ScriptedServer(_in_pieces) as server:
        buffer = memoryview(bytearray(len(LARGE) // 2))
        for _ in range(2):  # the second time over the kept connection, whose head has to be read as before
            answer = http.open(Ask(server.url + "/x", 0, len(LARGE), len(LARGE), proven=True), Stop())
            # What came with the head is given at once, and the rest in reads that wait for all of it.
            came = answer.readinto(buffer)
            body = bytes(buffer[:came])
            while len(body) < len(LARGE):
                wanted = min(len(buffer), len(LARGE) - len(body))
                count = answer.readinto(buffer[:wanted])
                assert count == wanted or wanted <= 64 * 1024
                body += buffer[:count]
            assert body == LARGE
        assert server.connections == 1


def test_a_large_read_gives_what_a_slow_connection_has_sent(brisk: HttpSource) -> None:
    def slow(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": str(len(LARGE))})
        exchange.send(LARGE[:100_000])
        exchange.hang()

    with ScriptedServer(slow) as server:
        answer = brisk.open(Ask(server.url + "/x", 0, len(LARGE), len(LARGE), proven=True), Stop())
        buffer, body = memoryview(bytearray(512 * 1024)), b""
        while len(body) < 100_000:
            body += buffer[: answer.readinto(buffer)]
        assert body == LARGE[:100_000]
        with pytest.raises(TimedOut, match="said nothing for too long"):
            answer.readinto(buffer)


def test_a_wish_to_stop_is_heard_between_a_connection_and_its_waker(monkeypatch: pytest.MonkeyPatch) -> None:
    """It came while there was nothing to close yet: nobody waits for the server then, and nothing is left open."""
    here, there = socket.socketpair()
    stop = Stop()

    def opened(*_: object) -> socket.socket:
        stop.set()
        return here

    monkeypatch.setattr("gemmalock.sources.wire.connect", opened)
    call = Call(HttpLimits(), stop, public_only=False)
    with pytest.raises(Interrupted):
        call.connect("127.0.0.1", 9)
    call.over()
    assert here.fileno() == -1
    assert there.recv(1) == b""
    with pytest.raises(Interrupted):
        call.reads(there)
    there.close()


def test_a_large_read_hears_a_wish_to_stop(http: HttpSource) -> None:
    stop = Stop()

    def silent(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": str(len(LARGE))})
        exchange.send(LARGE[:200_000])
        stop.set()
        exchange.hang()

    with ScriptedServer(silent) as server, pytest.raises(Interrupted):
        answer = http.open(Ask(server.url + "/x", 0, len(LARGE), len(LARGE), proven=True), stop)
        buffer = memoryview(bytearray(512 * 1024))
        with contextlib.closing(answer):
            while True:
                answer.readinto(buffer)


OFFLINE: list[Callable[[HttpSource], object]] = [
    lambda source: source.probe("https://hub.example.org/x", Stop()),
    lambda source: source.open(Ask("http://127.0.0.1:9/x"), Stop()),
]


@pytest.mark.parametrize("call", OFFLINE)
def test_offline_nothing_is_connected_to(call: Callable[[HttpSource], object]) -> None:
    """N10."""
    with pytest.raises(Offline) as caught:
        call(HttpSource(policy=Policy(offline=True)))
    # Who says so may be a variable, or a file: nobody is sent to take away a flag that was not given.
    assert "--offline" not in caught.value.hint
    assert "`gemmalock doctor` shows by which" in caught.value.hint


BAD_URLS = ["http://127.0.0.1:99999/x", "http://[::1/x", "http:///x", "gopher://127.0.0.1/x", "http://a..b\udcff/x"]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_that_is_none_is_an_error_of_ours(http: HttpSource, url: str) -> None:
    with pytest.raises(FileError):
        http.open(Ask(url), Stop())


def test_a_lock_without_a_digest_is_not_fetched_over_plain_http(http: HttpSource) -> None:
    """X08."""
    with pytest.raises(PolicyRefused, match="plain http"):
        http.open(Ask("http://models.example.org/x", 0, 9, 9), Stop())


def test_a_proxy_gets_the_whole_url_and_its_own_credentials() -> None:
    """N09."""
    with ScriptedServer(lambda e: e.answer(200, {}, BODY)) as proxy:
        source = HttpSource(
            routes=Routes(proxies={"http": Proxy(proxy.url.replace("://", "://me:secret@"), "HTTP_PROXY")})
        )
        assert drained(source.open(whole("http://models.example.org"), Stop())) == BODY
        source.close()
    assert proxy.requests[0].path == "http://models.example.org/gemma.gguf"
    assert proxy.requests[0].headers["proxy-authorization"].startswith("Basic ")
    assert "authorization" not in proxy.requests[0].headers


def test_a_host_that_bypasses_the_proxy_is_asked_directly() -> None:
    """N09."""
    with FileServer({"/gemma.gguf": BODY}) as server:
        proxies = {"http": Proxy("http://127.0.0.1:9", "HTTP_PROXY")}
        source = HttpSource(routes=Routes(proxies=proxies, bypassed=lambda place: place in server.url))
        assert drained(source.open(whole(server.url), Stop())) == BODY
        source.close()


# --- stopping ----------------------------------------------------------------------------------------------


def test_a_stop_ends_a_blocked_read(http: HttpSource) -> None:
    """P04."""
    stop = Stop()
    with ScriptedServer(_silent) as server:
        answer = http.open(whole(server.url), stop)
        buffer = memoryview(bytearray(SIZE))
        assert answer.readinto(buffer) == 100
        threading.Timer(0.05, stop.set).start()
        with pytest.raises(Interrupted):
            answer.readinto(buffer)
        answer.close()


def test_a_stop_ends_waiting_for_a_head(http: HttpSource) -> None:
    stop = Stop()
    arrived = threading.Event()

    def hang(exchange: Exchange) -> None:
        arrived.set()
        exchange.hang()

    def press() -> None:
        arrived.wait()
        stop.set()

    with ScriptedServer(hang) as server:
        threading.Thread(target=press).start()
        with pytest.raises(Interrupted):
            http.open(whole(server.url), stop)


def test_a_stop_ends_connecting() -> None:
    """A listener whose backlog is full answers no further connection."""
    stop = Stop()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        threading.Timer(0.2, stop.set).start()
        begun = time.monotonic()
        with pytest.raises(Interrupted):
            HttpSource(HttpLimits(connect_seconds=60)).open(
                whole(f"http://127.0.0.1:{listener.getsockname()[1]}"), stop
            )
        assert time.monotonic() - begun < 30
        for filler in fillers:
            filler.close()


def test_nothing_is_asked_once_it_is_time_to_stop(http: HttpSource) -> None:
    stop = Stop()
    stop.set()
    with FileServer({"/gemma.gguf": BODY}) as server:
        with pytest.raises(Interrupted):
            http.open(whole(server.url), stop)
        assert not server.requests

"""Many URLs asked by one thread: each outcome is the one that asking it alone has, over few connections."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemmalock.errors import (
    ConnectionFailed,
    FileError,
    Interrupted,
    NotFound,
    Offline,
    RedirectRefused,
    SettingInvalid,
    SourceError,
    TimedOut,
)
from gemmalock.ports import Probe
from gemmalock.sources.channel import Reply, Routes
from gemmalock.sources.connecting import Target, connect
from gemmalock.sources.direct import Kept
from gemmalock.sources.heads import Heads, Question
from gemmalock.sources.http import HttpLimits, HttpSource, Policy
from gemmalock.sources.multiplexed import Multiplexed
from gemmalock.sources.proxies import Proxy
from gemmalock.sources.request import Request, place_of, request_bytes
from gemmalock.stopping import Stop
from tests.servers.scripted import Exchange, Script, ScriptedServer
from tests.sources.conftest import BRISK

TAG = {"ETag": '"v1"'}
BODY = b"0123456789"


def plain(exchange: Exchange) -> None:
    exchange.answer(200, TAG, BODY)


def by_get(headers: dict[str, str], status: int = 200) -> Script:
    """An answer to HEAD that does not say enough."""

    def script(exchange: Exchange) -> None:
        if exchange.request.method == "HEAD":
            exchange.head(status, headers)
        else:
            exchange.answer(206, TAG | {"Content-Range": f"bytes 0-0/{len(BODY)}"}, BODY[:1])

    return script


def raw(*pieces: bytes, pause: float = 0.0) -> Script:
    def script(exchange: Exchange) -> None:
        for piece in pieces:
            exchange.send(piece)
            exchange.pause(pause)
        exchange.close()

    return script


def led(location: str, then: Script = plain) -> Script:
    def script(exchange: Exchange) -> None:
        if exchange.request.path == "/x":
            exchange.answer(302, {"Location": location}, b"elsewhere")
        else:
            then(exchange)

    return script


def hung_up_on_head(exchange: Exchange) -> None:
    if exchange.request.method == "HEAD":
        exchange.close()
    plain(exchange)


def silent(exchange: Exchange) -> None:
    exchange.hang()


def trickled(exchange: Exchange) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100:
        exchange.send(bytes([byte]))
        exchange.pause(0.05)


HEAD = b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: "v1"\r\n\r\n'
SCRIPTS: dict[str, Script] = {
    "a plain answer": plain,
    "one that ends the connection": lambda e: e.answer(200, TAG | {"Connection": "close"}, BODY),
    "a digest": lambda e: e.answer(200, TAG | {"Repr-Digest": f"sha-256=:{'A' * 43}=:"}, BODY),
    "no ETag": lambda e: e.answer(200, {}, BODY),
    "an empty file": lambda e: e.answer(200, TAG, b""),
    "a weak ETag": by_get({"Content-Length": "10", "ETag": 'W/"v1"'}),
    "no length": by_get(TAG),
    "no HEAD, by status": by_get({"Content-Length": "0"}, 405),
    "no HEAD, by hanging up": hung_up_on_head,
    "a coded body": by_get({"Content-Length": "7", "Content-Encoding": "gzip"}),
    "an interim answer": raw(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + HEAD),
    "a head in pieces": raw(*(HEAD[at : at + 7] for at in range(0, len(HEAD), 7)), pause=0.005),
    "bare line feeds": raw(HEAD.replace(b"\r\n", b"\n")),
    "a body behind HEAD": lambda e: e.send(HEAD + BODY),
    "not found": lambda e: e.answer(404, {}, b"no"),
    "unauthorized": lambda e: e.answer(401, {}, b"no"),
    "forbidden": lambda e: e.answer(403, {}, b"no"),
    "gone": lambda e: e.answer(410, {}, b""),
    "too many requests": lambda e: e.answer(429, {"Retry-After": "7"}, b""),
    "unavailable": lambda e: e.answer(503, {"Retry-After": "3"}, b"later"),
    "a redirect": led("/y"),
    "two redirects": led("/y", led("/z")),
    "a redirect to nothing": led("/y", lambda e: e.answer(404, {}, b"no")),
    "a redirect to itself": led("/x"),
    "a redirect to another scheme": led("ftp://models.example.org/x"),
    "a redirect to plain http elsewhere": led("http://models.example.org/x"),
    "a redirect without a place": lambda e: e.answer(302, {}, b""),
    "a redirect of HEAD only": by_get({"Location": "/y"}, 302),
    "no status": raw(b"SSH-2.0-OpenSSH_9\r\n"),
    "an empty answer": raw(),
    "a head that is cut off": raw(HEAD[:-2]),
    "a line that is no field": raw(b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 10\r\n\r\n"),
    "an unreadable length": raw(b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n"),
    "an unknown coding": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: smoke\r\n\r\n"),
    "a head that is too long": raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n\r\nHTTP/1.1 100 C\r\n" * 40_000),
    "too long a line": raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000),
    "too many fields": raw(b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200),
    "a reset": lambda e: e.reset(),
    "silence": silent,
    "a trickle": trickled,
}


def alone(source: HttpSource, url: str) -> Probe | tuple[type[FileError], str, str, str | None]:
    try:
        return source.probe(url, Stop())
    except FileError as error:
        return told(error)


def together(source: HttpSource, *urls: str) -> list[Probe | tuple[type[FileError], str, str, str | None]]:
    outcomes = source.probe_all(urls, 8, Stop())
    return [told(each.told) if isinstance(each.told, FileError) else each.told for each in outcomes.values()]


def told(error: FileError) -> tuple[type[FileError], str, str, str | None]:
    """What is told of an error, but for how much came of a trickle."""
    message = re.sub(r"only \d+ bytes", "only some bytes", error.message)
    return type(error), message, error.hint, getattr(error, "credential", None)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_each_outcome_is_that_of_asking_alone(script: Script) -> None:
    with ScriptedServer(script) as server, ScriptedServer(plain) as other:
        url = server.url + "/x"
        with contextlib.closing(HttpSource(BRISK)) as source:
            expected = alone(source, url)
        with contextlib.closing(HttpSource(BRISK)) as source:
            outcomes = source.probe_all([url, *(f"{other.url}/{n}" for n in range(20))], 8, Stop())
        found = outcomes.pop(url)
        assert expected == (told(found.told) if isinstance(found.told, FileError) else found.told)
        assert [each.told for each in outcomes.values()] == [Probe(len(BODY), '"v1"', None)] * 20
        assert not server.failures


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_a_head_of_many_ends_as_a_head_alone(script: Script) -> None:
    """Where no GET hides what became of it; after the same requests."""

    def read(status: int, fields: Mapping[str, str]) -> str:
        return f"{status} {fields}"

    def ended(source: HttpSource, url: str, *, together: bool) -> object:
        exchange = source._heading(url, read)
        try:
            if not together:
                return source._alone(exchange, Stop())
            ((_, outcome),) = Multiplexed[str | None](source._channel, 4, Stop()).run([(url, exchange)])
            return outcome.result()
        except FileError as error:
            return told(error)

    with ScriptedServer(script) as server:
        ends = []
        for together in (False, True):
            before = len(server.requests)
            with contextlib.closing(HttpSource(BRISK)) as source:
                end = ended(source, server.url + "/x", together=together)
            ends.append((end, [(each.method, each.path) for each in server.requests[before:]]))
        assert ends[0] == ends[1]


UNASKABLE = ("http://127.0.0.1:99999/x", "http://[::1/x", "http:///x", "http://a..b\udcff/x", "http://127.0.0.1:9/x")


@pytest.mark.parametrize("url", UNASKABLE)
def test_what_cannot_be_asked_is_the_same_error(url: str) -> None:
    with contextlib.closing(HttpSource(BRISK)) as source:
        expected = alone(source, url)
        assert isinstance(expected, tuple)
        assert together(source, url) == [expected]


def test_offline_nobody_is_asked() -> None:
    source = HttpSource(policy=Policy(offline=True))
    with ScriptedServer(plain) as server:
        outcome = source.probe_all([server.url + "/x"], 8, Stop())[server.url + "/x"]
        assert not server.connections
    with pytest.raises(Offline):
        outcome.result()


def test_a_file_is_one_request_and_few_connections_are_enough(http: HttpSource) -> None:
    with ScriptedServer(plain) as server:
        urls = [f"{server.url}/{n}" for n in range(300)]
        assert [each.result().size for each in http.probe_all(urls, 8, Stop()).values()] == [len(BODY)] * 300
        assert sorted(each.path for each in server.requests) == sorted(f"/{n}" for n in range(300))
        assert server.connections <= 8
        # They are kept for what is asked after that.
        before = server.connections
        assert http.probe(server.url + "/x", Stop()).size == len(BODY)
        assert http.probe_all(urls[:20], 8, Stop()).keys() == set(urls[:20])
        assert server.connections <= max(before, 8)


def test_a_url_is_asked_once_however_often_it_is_named(http: HttpSource) -> None:
    with ScriptedServer(plain) as server:
        assert len(http.probe_all([server.url + "/x"] * 50, 8, Stop())) == 1
        assert len(server.requests) == 1


def test_more_are_asked_at_once_only_where_one_waits_for_answers() -> None:
    """With sixteen connections at least, for none of them is answered until so many have asked."""
    gate = threading.Barrier(16)

    def slow(exchange: Exchange) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            gate.wait(20)
        plain(exchange)

    with ScriptedServer(slow) as server, contextlib.closing(HttpSource()) as source:
        assert len(source.probe_all([f"{server.url}/{n}" for n in range(16)], 16, Stop())) == 16
        assert not gate.broken


def test_no_more_are_asked_at_once_than_may_be() -> None:
    at_once: set[int] = set()
    most, lock = 0, threading.Lock()

    def counted(exchange: Exchange) -> None:
        nonlocal most
        with lock:
            at_once.add(exchange.connection)
            most = max(most, len(at_once))
        exchange.pause(0.01)
        with lock:
            at_once.discard(exchange.connection)
        plain(exchange)

    with ScriptedServer(counted) as server, contextlib.closing(HttpSource()) as source:
        assert len(source.probe_all([f"{server.url}/{n}" for n in range(100)], 5, Stop())) == 100
        assert most <= 5
        assert server.connections <= 5


def test_a_connection_that_its_server_ended_is_replaced(http: HttpSource) -> None:
    """RFC 9112, 9.3.1: it said nothing of it, and has not read what was asked."""

    def three_each(exchange: Exchange) -> None:
        if exchange.turn == 3:
            exchange.close()
        plain(exchange)

    with ScriptedServer(three_each) as server:
        urls = [f"{server.url}/{n}" for n in range(60)]
        assert [each.result().size for each in http.probe_all(urls, 3, Stop()).values()] == [len(BODY)] * 60


def test_an_answer_that_came_unasked_is_not_taken_for_the_next(http: HttpSource) -> None:
    """What came before the next question is seen; what comes after it, nobody can tell."""
    has_said_more = threading.Event()

    def twice(exchange: Exchange) -> None:
        exchange.answer(200, TAG, BODY)
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n")
        has_said_more.set()

    def after_that(exchange: Exchange) -> None:
        assert has_said_more.wait(20)
        plain(exchange)

    with ScriptedServer(twice) as server, ScriptedServer(after_that) as other:
        outcomes = http.probe_all([server.url + "/1", other.url + "/", server.url + "/2"], 1, Stop())
        assert [each.result().size for each in outcomes.values()] == [len(BODY)] * 3
        assert server.connections == 2


def test_a_server_that_fails_is_asked_no_more_and_others_are(http: HttpSource) -> None:
    with ScriptedServer(lambda e: e.answer(429, {}, b"")) as busy, ScriptedServer(plain) as other:
        urls = [f"{server.url}/{n}" for n in range(100) for server in (busy, other)]
        outcomes = http.probe_all(urls, 4, Stop())
        # Those that were under way, and no more.
        assert len(busy.requests) <= 4
        assert sum(url.startswith(busy.url) for url in outcomes) == len(busy.requests)
        assert sum(url.startswith(other.url) for url in outcomes) == 100


def test_a_missing_file_says_nothing_of_the_others(http: HttpSource) -> None:
    def some(exchange: Exchange) -> None:
        if exchange.request.path == "/3":
            exchange.answer(404, {}, b"")
        plain(exchange)

    with ScriptedServer(some) as server:
        outcomes = http.probe_all([f"{server.url}/{n}" for n in range(30)], 4, Stop())
        assert len(outcomes) == 30
        assert [url for url, each in outcomes.items() if isinstance(each.told, NotFound)] == [server.url + "/3"]


@pytest.mark.parametrize("script", [silent, by_get({"Content-Length": "10", "ETag": 'W/"v1"'}), led("/y", silent)])
def test_a_wish_to_stop_ends_it(script: Script) -> None:
    stop = Stop()

    def then_stop(exchange: Exchange) -> None:
        if len(server.requests) == 4:
            stop.set()
        script(exchange)

    with ScriptedServer(then_stop) as server, contextlib.closing(HttpSource()) as source:
        begun = time.monotonic()
        with pytest.raises(Interrupted):
            source.probe_all([f"{server.url}/x" + "?" * (n > 0) + str(n) * (n > 0) for n in range(500)], 4, stop)
        # The limits of the source are twenty seconds.
        assert time.monotonic() - begun < 10
        assert len(server.requests) < 500


def test_nobody_is_asked_once_there_is_the_wish_to_stop(http: HttpSource) -> None:
    stop = Stop()
    stop.set()
    with ScriptedServer(plain) as server:
        with pytest.raises(Interrupted):
            http.probe_all([server.url + "/x"], 4, stop)
        assert not server.requests


def test_a_proxy_that_cannot_be_ends_it() -> None:
    routes = Routes({"http": Proxy("socks5://127.0.0.1:9", "ALL_PROXY")})
    with contextlib.closing(HttpSource(routes=routes)) as source, pytest.raises(SettingInvalid):
        source.probe_all(["http://127.0.0.1:9/a", "http://127.0.0.1:9/b"], 4, Stop())


def test_a_proxy_is_asked() -> None:
    with ScriptedServer(plain) as proxy:
        routes = Routes({"http": Proxy(proxy.url, "HTTP_PROXY")})
        with contextlib.closing(HttpSource(routes=routes)) as source:
            outcomes = source.probe_all([f"http://models.example.org/{n}" for n in range(30)], 4, Stop())
        assert [each.result() for each in outcomes.values()] == [Probe(len(BODY), '"v1"', None)] * 30
        assert {each.path for each in proxy.requests} == set(outcomes)


Certificate = Callable[[str], tuple[ssl.SSLContext, Path]]


def test_it_goes_over_tls(certificate: Certificate) -> None:
    context, public = certificate("IP:127.0.0.1")

    def in_pieces(exchange: Exchange) -> None:
        for at in range(0, len(HEAD), 9):
            exchange.send(HEAD[at : at + 9])

    with ScriptedServer([plain, in_pieces, plain], tls=context) as server:
        urls = [f"{server.url}/{n}" for n in range(60)]
        with contextlib.closing(HttpSource(routes=Routes(ca_file=str(public)))) as source:
            assert [each.result().size for each in source.probe_all(urls, 4, Stop()).values()] == [len(BODY)] * 60
            assert len(server.requests) == 60
            assert server.connections <= 4
        with contextlib.closing(HttpSource()) as source:
            expected = alone(source, urls[0])
            assert isinstance(expected, tuple)
            assert together(source, urls[0]) == [expected]


def test_without_threads_it_takes_longer_and_works(http: HttpSource, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(by_get(TAG)) as server, ScriptedServer(plain) as other:
        start = threading.Thread.start

        def started(thread: threading.Thread) -> None:
            if thread.name == "gemmalock-asker":
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", started)
        outcomes = http.probe_all([f"{each.url}/{n}" for n in range(10) for each in (server, other)], 4, Stop())
        assert [each.result().size for each in outcomes.values()] == [len(BODY)] * 20


def test_where_no_more_can_be_open_each_is_asked_by_itself(http: HttpSource, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> tuple[int, int]:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(os, "pipe", none_left)
    assert http.probe_all(["http://127.0.0.1:9/a", "http://127.0.0.1:9/b"], 4, Stop()) == {}


@pytest.fixture
def descriptors() -> Iterator[Callable[[], int]]:
    def count() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    yield count


def test_nothing_stays_open(descriptors: Callable[[], int]) -> None:
    """Neither what was waited for when it ended, nor what was free, nor what came too late."""
    stop = Stop()

    def then_stop(exchange: Exchange) -> None:
        if len(server.requests) == 30:
            stop.set()
            exchange.hang()
        plain(exchange)

    with ScriptedServer(then_stop) as server:
        before = descriptors()
        source = HttpSource()
        with pytest.raises(Interrupted):
            source.probe_all([f"{server.url}/{n}" for n in range(100)], 8, stop)
        source.close()
        for _ in range(100):
            if descriptors() <= before:
                break
            time.sleep(0.05)
        # The server's own ends are in this process too.
        assert descriptors() - before <= len(server._wires)


def test_many_servers_take_no_more_connections_than_may_be_free(descriptors: Callable[[], int]) -> None:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(ScriptedServer(plain)) for _ in range(30)]
        most = 0
        counted = servers[-1]

        def count(exchange: Exchange) -> None:
            nonlocal most
            most = max(most, descriptors())
            plain(exchange)

        counted._scripts = [count]
        before = descriptors()
        source = stack.enter_context(contextlib.closing(HttpSource(HttpLimits())))
        outcomes = source.probe_all([f"{server.url}/{n}" for n in range(2) for server in servers], 2, Stop())
        assert [each.result().size for each in outcomes.values()] == [len(BODY)] * 60
        # Two that are free, two in use, their handles, a bell; and the servers' ends.
        assert most - before <= 2 * (2 + 2) + 4 + 2


NAMES = sorted(name for name in SCRIPTS if name not in ("silence", "a trickle", "a head that is too long"))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=12), st.integers(1, 6))
def test_no_company_changes_an_outcome(names: list[str], most: int) -> None:
    """All of them at one server, whose connections one has after the other; those that were left out are none."""

    def placed(exchange: Exchange) -> None:
        number, _, rest = exchange.request.path[1:].partition("/")
        exchange.request.path = f"/{rest}"
        SCRIPTS[names[int(number)]](exchange)

    with ScriptedServer(placed) as server:
        urls = [f"{server.url}/{n}/x" for n in range(len(names))]
        with contextlib.closing(HttpSource(BRISK)) as source:
            expected = {url: alone(source, url) for url in urls}
        with contextlib.closing(HttpSource(BRISK)) as source:
            outcomes = source.probe_all(urls, most, Stop())
        for url, each in outcomes.items():
            assert expected[url] == (told(each.told) if isinstance(each.told, FileError) else each.told)
        if set(outcomes) != set(urls):
            assert any(isinstance(each.told, FileError) and each.told.transient for each in outcomes.values())


def test_a_request_that_does_not_go_out_at_once_goes_on() -> None:
    """The other end reads when it likes."""
    here, there = socket.socketpair()
    with here, there:
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        kept = Kept()
        heads = Heads(HttpLimits(), kept, 4)
        request = Request("HEAD", "http://models.example.org/" + "x" * 1_000_000, {})
        place = place_of(request.url, public_only=False)
        heads.send(Question(7, request, place), here, is_kept=False)
        received, answer = b"", None
        while answer is None:
            for descriptor in heads.wait(0.01):
                answer = heads.read(descriptor)
            if not received.endswith(b"\r\n\r\n"):
                received += there.recv(65536)
                if received.endswith(b"\r\n\r\n"):
                    there.sendall(HEAD)
        pending, reply = answer
        assert received == request_bytes(request, "models.example.org")
        assert isinstance(reply, Reply)
        assert (pending.question.number, reply.status) == (7, 200)
        reply.release()
        assert heads.connection(place) is here
        heads.close()
        kept.close()


def test_an_error_that_is_no_files_ends_it() -> None:
    """A bug is told, and is no failure of one file."""

    with ScriptedServer(plain) as server, contextlib.closing(HttpSource()) as source:
        source._seen = lambda *_: 1 / 0  # type: ignore[method-assign,assignment]
        with pytest.raises(ZeroDivisionError):
            source.probe_all([server.url + "/x", server.url + "/y"], 4, Stop())


def test_the_types_of_errors_are_those_of_the_table(brisk: HttpSource) -> None:
    """So that a table of equals cannot be one of nothing."""
    for name, kind in (("silence", TimedOut), ("a head that is cut off", ConnectionFailed), ("gone", NotFound)):
        with ScriptedServer(SCRIPTS[name]) as server:
            outcome = brisk.probe_all([server.url + "/x"], 4, Stop())[server.url + "/x"]
            with pytest.raises(kind):
                outcome.result()
            assert isinstance(outcome.told, SourceError)
            assert outcome.seconds > 0


def test_who_waits_for_one_is_not_woken_by_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by connections that their servers ended, nor by the bell."""
    count, wait = 0, Heads.wait

    def counted(heads: Heads, seconds: float) -> list[int]:
        nonlocal count
        count += 1
        return wait(heads, seconds)

    def ended(exchange: Exchange) -> None:
        plain(exchange)
        exchange.close()

    def slow(exchange: Exchange) -> None:
        exchange.pause(1.5)
        plain(exchange)

    monkeypatch.setattr(Heads, "wait", counted)
    with ScriptedServer(ended) as server, ScriptedServer(slow) as other, contextlib.closing(HttpSource()) as source:
        urls = [f"{server.url}/{n}" for n in range(10)]
        assert len(source.probe_all([*urls, f"{other.url}/x"], 8, Stop())) == 11
    # Ten slices, ten answers, eleven connections, and some looks at first.
    assert count < 100


def test_a_redirect_of_a_public_server_takes_no_connection_into_a_private_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that is free, for somebody asked for that server by name."""
    resolve = socket.getaddrinfo

    def resolved(host: bytes, *rest: int, **named: int) -> object:
        return resolve("127.0.0.1" if host == b"inner.example" else host, *rest, **named)

    def script(exchange: Exchange) -> None:
        if exchange.request.path.startswith("/r"):
            exchange.answer(302, {"Location": f"http://inner.example:{server.port}/y"})
        else:
            plain(exchange)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    monkeypatch.setattr("gemmalock.sources.http.is_inner_address", lambda address: False)
    with ScriptedServer(script) as server:
        urls = [f"http://inner.example:{server.port}/{n}" for n in range(8)] + [f"{server.url}/r{n}" for n in range(8)]
        with contextlib.closing(HttpSource(policy=Policy(allow_http=True))) as source:
            outcomes = source.probe_all(urls, 2, Stop())
        assert [isinstance(outcomes[url].told, RedirectRefused) for url in urls] == [False] * 8 + [True] * 8
        assert not any(each.path == "/y" for each in server.requests)


CLOSING: dict[str, Script] = {
    "it says so": lambda e: e.answer(200, TAG | {"Connection": "close"}, BODY),
    "HTTP/1.0": lambda e: e.send(HEAD.replace(b"HTTP/1.1", b"HTTP/1.0")),
    "a length and a coding": lambda e: e.head(200, TAG | {"Content-Length": "10", "Transfer-Encoding": "chunked"}),
}


@pytest.mark.parametrize("script", CLOSING.values(), ids=CLOSING.keys())
def test_a_connection_that_is_not_to_be_trusted_again_is_not_used_again(http: HttpSource, script: Script) -> None:
    """Also where its server leaves it open."""
    with ScriptedServer(script) as server:
        outcomes = http.probe_all([f"{server.url}/{n}" for n in range(10)], 2, Stop())
        assert len(outcomes) == 10
        assert server.connections == len(server.requests) >= 10


def test_a_connection_that_was_answered_early_is_not_used_again() -> None:
    """The next request would be taken for the rest of the one before."""
    here, there = socket.socketpair()
    with here, there:
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        heads = Heads(HttpLimits(), Kept(), 4)
        request = Request("HEAD", "http://models.example.org/" + "x" * 1_000_000, {})
        place = place_of(request.url, public_only=False)
        heads.send(Question(1, request, place), here, is_kept=False)
        there.sendall(b"HTTP/1.1 414 URI Too Long\r\nContent-Length: 0\r\n\r\n")
        answer = None
        while answer is None:
            for descriptor in heads.wait(1):
                answer = heads.read(descriptor)
        _, reply = answer
        assert isinstance(reply, Reply)
        reply.release()
        assert heads.connection(place) is None
        assert here.fileno() == -1
        heads.close()


def test_time_in_which_nobody_looked_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a trickle. Where no thread is to be had, one server's connecting keeps all others waiting."""
    start = threading.Thread.start

    def started(thread: threading.Thread) -> None:
        if thread.name == "gemmalock-asker":
            raise RuntimeError("can't start new thread")
        start(thread)

    def slowly(target: Target, seconds: float, stop: Stop) -> socket.socket:
        if target.port == slow.port:
            time.sleep(2 * BRISK.read_seconds)
        return connect(target, seconds, stop)

    monkeypatch.setattr(threading.Thread, "start", started)
    monkeypatch.setattr("gemmalock.sources.wire.connect", slowly)
    with (
        ScriptedServer(plain) as server,
        ScriptedServer(plain) as slow,
        contextlib.closing(HttpSource(BRISK)) as source,
    ):
        outcomes = source.probe_all([server.url + "/a", slow.url + "/b", server.url + "/c"], 4, Stop())
        assert [each.result().size for each in outcomes.values()] == [len(BODY)] * 3
        assert {each.method for each in server.requests} == {"HEAD"}


def test_a_silent_server_is_waited_for_as_long_as_alone(brisk: HttpSource) -> None:
    with ScriptedServer(silent) as server:
        begun = time.monotonic()
        outcome = brisk.probe_all([server.url + "/x"], 4, Stop())[server.url + "/x"]
        with pytest.raises(TimedOut):
            outcome.result()
        # By HEAD, and then by GET.
        assert time.monotonic() - begun >= 2 * BRISK.read_seconds
        assert [each.method for each in server.requests] == ["HEAD", "GET"]


def test_a_kept_connection_that_says_nothing_is_no_ended_one() -> None:
    """It is not asked a second time over another."""

    def first_only(exchange: Exchange) -> None:
        if exchange.turn:
            exchange.hang()
        plain(exchange)

    with ScriptedServer(first_only) as server, contextlib.closing(HttpSource(BRISK)) as source:
        source.probe_all([server.url + "/a", server.url + "/b"], 1, Stop())
        assert [(each.method, each.path) for each in server.requests] == [("HEAD", "/a"), ("HEAD", "/b"), ("GET", "/b")]

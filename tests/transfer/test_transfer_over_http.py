"""A transfer over real sockets: the real source, and a server with knobs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gemmalock.errors import FileError, NotFound, SizeMismatch, SourceError
from gemmalock.journal import CHUNK
from gemmalock.sources.http import HttpSource
from gemmalock.transfer.attempts import FRESH_REDIRECTS
from tests.servers.fileserver import WEAK, Content, FileServer
from tests.servers.scripted import Exchange, ScriptedServer
from tests.transfer.twins import Bench, digest, locked, some_bytes

BODY = some_bytes(2 * CHUNK + 123_457)
CUT = CHUNK + 500_001


@pytest.fixture
def server() -> Iterator[FileServer]:
    """A server with one file."""
    with FileServer({"/gemma.gguf": Content(BODY)}) as running:
        yield running


@pytest.fixture
def source() -> Iterator[HttpSource]:
    """The real thing."""
    opened = HttpSource()
    yield opened
    opened.close()


def test_cuts_cost_no_byte_twice(bench: Bench, server: FileServer, source: HttpSource) -> None:
    server.files["/gemma.gguf"] = Content(BODY, cut_after=600_000, cut_times=3)
    fetched = bench.fetch(locked(BODY, url=f"{server.origin}/gemma.gguf", etag=None), source)
    assert (bench.bytes(), fetched.bytes_fetched, fetched.notes) == (BODY, len(BODY), ())
    assert len(bench.watch.retries) == 3


@pytest.mark.parametrize("etag", [WEAK, None, "strong"])
def test_any_etag_is_continued_where_the_lock_has_a_digest(
    bench: Bench, server: FileServer, source: HttpSource, etag: str | None
) -> None:
    server.files["/gemma.gguf"] = Content(BODY, etag=etag, cut_after=CUT, cut_times=1)
    fetched = bench.fetch(locked(BODY, url=f"{server.origin}/gemma.gguf", etag=None), source)
    assert (bench.bytes(), fetched.bytes_fetched, fetched.notes) == (BODY, len(BODY), ())
    assert [request.status for request in server.requests] == [200, 206]


def test_a_server_without_ranges_sends_it_again(bench: Bench, server: FileServer, source: HttpSource) -> None:
    server.files["/gemma.gguf"] = Content(BODY, ranges=False, cut_after=CUT, cut_times=1)
    fetched = bench.fetch(locked(BODY, url=f"{server.origin}/gemma.gguf", etag=None), source)
    assert bench.bytes() == BODY
    assert fetched.notes[0].startswith("started again from zero")


def test_a_file_that_changed_half_way_is_never_a_mixture(bench: Bench, server: FileServer, source: HttpSource) -> None:
    file = locked(BODY, url=f"{server.origin}/gemma.gguf", etag=None)
    server.files["/gemma.gguf"] = Content(BODY, cut_after=CUT, cut_times=2)
    bench.terms = type(bench.terms)(delay=lambda attempt, error: None)
    with pytest.raises(FileError):
        bench.fetch(file, source)
    server.files["/gemma.gguf"] = Content(some_bytes(len(BODY), seed=3))
    with pytest.raises(FileError) as caught:
        bench.fetch(file, source)
    assert caught.value.code in ("digest_mismatch", "upstream_changed")
    server.files["/gemma.gguf"] = Content(BODY)
    assert bench.fetch(file, source).sha256 == digest(BODY)


def test_a_longer_file_is_not_the_locked_one(bench: Bench, server: FileServer, source: HttpSource) -> None:
    server.files["/gemma.gguf"] = Content(BODY + b"more", content_length=False)
    with pytest.raises(SizeMismatch):
        bench.fetch(locked(BODY, url=f"{server.origin}/gemma.gguf", etag=None), source)
    assert list(bench.folder.iterdir()) == []


def test_one_request_is_enough_for_a_good_server(bench: Bench, server: FileServer, source: HttpSource) -> None:
    bench.fetch(locked(BODY, url=f"{server.origin}/gemma.gguf", etag=None), source)
    (request,) = server.requests
    assert (request.method, request.status, "range" in request.headers) == ("GET", 200, False)


# --- signed links ------------------------------------------------------------------------------------------


class Hub:
    """A server that redirects to a link of its own with a signature. What each answers to a GET, in turn: a status, or
    how many bytes of the body come before the connection breaks (None: all); the last one again and again."""

    def __init__(self, *links: int | None) -> None:
        self._links = list(links)
        self.asked: list[str] = []

    def __call__(self, exchange: Exchange) -> None:
        """As ScriptedServer has it."""
        self.asked.append(f"{exchange.request.path} {exchange.request.headers.get('range', 'whole')}")
        if exchange.request.path == "/gemma.gguf":
            exchange.answer(302, {"Location": f"/signed?until={len(self.asked)}"})
            return
        link = self._links.pop(0) if len(self._links) > 1 else self._links[0]
        if link is not None and link < 1000:
            exchange.answer(link, {}, b"Request has expired")
            return
        start, _ = exchange.range or (0, None)
        fields = {"Content-Length": str(len(BODY) - start), "ETag": '"v1"'}
        if start:
            fields["Content-Range"] = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
        exchange.head(206 if start else 200, fields).send(BODY[start : link and start + link])
        if link is not None:
            exchange.close()

    @property
    def parts(self) -> list[str]:
        """The ranges that the links were asked for."""
        return [asked.partition(" ")[2] for asked in self.asked if asked.startswith("/signed")]


REST = f"bytes={CUT}-{len(BODY) - 1}"


@pytest.mark.parametrize("status", [400, 401, 403, 410])
def test_a_signed_link_that_expires_is_had_anew_from_where_it_was(
    bench: Bench, source: HttpSource, status: int
) -> None:
    hub = Hub(CUT, status, status, None)
    with ScriptedServer(hub) as server:
        fetched = bench.fetch(locked(BODY, url=f"{server.url}/gemma.gguf", etag=None), source)
    assert (bench.bytes(), fetched.bytes_fetched, fetched.notes) == (BODY, len(BODY), ())
    assert hub.parts == ["whole", REST, REST, REST]
    assert len({asked for asked in hub.asked if asked.startswith("/signed")}) == 4, "each link is a fresh one"


def test_a_signed_link_that_never_works_again_is_given_up_and_what_came_is_kept(
    bench: Bench, source: HttpSource
) -> None:
    hub = Hub(CUT, 403)
    with ScriptedServer(hub) as server, pytest.raises(SourceError) as caught:
        bench.fetch(locked(BODY, url=f"{server.url}/gemma.gguf", etag=None), source)
    assert caught.value.code == "forbidden"
    assert hub.parts == ["whole", *[REST] * (1 + FRESH_REDIRECTS)]
    assert bench.claim.journal(len(BODY)).kept == CUT


@pytest.mark.parametrize("status", [400, 401, 403, 410])
def test_a_link_that_refuses_at_first_is_not_asked_again(bench: Bench, source: HttpSource, status: int) -> None:
    hub = Hub(status)
    with ScriptedServer(hub) as server, pytest.raises(SourceError):
        bench.fetch(locked(BODY, url=f"{server.url}/gemma.gguf", etag=None), source)
    assert hub.parts == ["whole"]


def test_a_link_to_what_is_not_there_any_more_has_not_expired(bench: Bench, source: HttpSource) -> None:
    hub = Hub(CUT, 404)
    with ScriptedServer(hub) as server, pytest.raises(NotFound):
        bench.fetch(locked(BODY, url=f"{server.url}/gemma.gguf", etag=None), source)
    assert hub.parts == ["whole", REST]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_without_a_redirect_has_not_expired(bench: Bench, source: HttpSource, status: int) -> None:
    turns: list[int] = []

    def script(exchange: Exchange) -> None:
        turns.append(exchange.number)
        if exchange.number:
            exchange.answer(status)
            return
        exchange.head(200, {"Content-Length": str(len(BODY))}).send(BODY[:CUT]).close()

    with ScriptedServer(script) as server, pytest.raises(SourceError):
        bench.fetch(locked(BODY, url=f"{server.url}/gemma.gguf", etag=None), source)
    assert len(turns) == 2

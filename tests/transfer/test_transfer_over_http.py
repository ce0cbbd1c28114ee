"""A transfer over real sockets: the real source, and a server with knobs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gemmalock.errors import FileError, SizeMismatch
from gemmalock.journal import CHUNK
from gemmalock.sources.http import HttpSource
from tests.servers.fileserver import WEAK, Content, FileServer
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

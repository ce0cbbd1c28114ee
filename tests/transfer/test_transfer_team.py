"""One file over several connections: whatever the server does to them, the bytes are exact and few come twice."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gemmalock.errors import FileError, Interrupted, RateLimited, ServerError, SourceError, TimedOut
from gemmalock.journal import CHUNK
from gemmalock.ports import Ask
from gemmalock.sources.http import HttpAnswer, HttpSource
from gemmalock.stopping import Stop
from gemmalock.transfer.blocks import BLOCK
from gemmalock.transfer.combine import origin_of
from gemmalock.transfer.lanes import Lanes
from gemmalock.transfer.pieces import LARGE
from gemmalock.transfer.ranges import AHEAD
from tests.servers.fileserver import WEAK, Content, FileServer
from tests.transfer.twins import Bench, Reply, Watched, digest, locked, patient, some_bytes

BODY = some_bytes(16 * CHUNK + 123_457)
SLOW = 4 * CHUNK
URL = "/gemma.gguf"


@pytest.fixture
def server() -> Iterator[FileServer]:
    """A server with one file, every connection of which is slow."""
    with FileServer({URL: Content(BODY, throttle=SLOW)}) as running:
        yield running
        assert running.failures == []


@pytest.fixture
def source() -> Iterator[HttpSource]:
    """The real thing."""
    opened = HttpSource()
    yield opened
    opened.close()


def over(bench: Bench, connections: int | None) -> Bench:
    """The bench, with so many connections a file."""
    bench.terms = replace(patient(), connections=connections, lanes=Lanes())
    return bench


def ranges_asked(server: FileServer) -> list[str]:
    """The ranges of all requests, sorted."""
    return sorted(request.headers.get("range", "whole") for request in server.requests)


@pytest.mark.parametrize("connections", [1, 2, 3, 8, 40])
@pytest.mark.parametrize("etag", ["strong", WEAK])
def test_any_number_of_connections_brings_the_exact_bytes(
    bench: Bench, server: FileServer, source: HttpSource, connections: int, etag: str | None
) -> None:
    server.files[URL] = Content(BODY, etag=etag, throttle=32 * CHUNK)
    fetched = over(bench, connections).fetch(locked(BODY, url=server.origin + URL, etag=None), source)
    assert (bench.bytes(), fetched.sha256, fetched.notes) == (BODY, digest(BODY), ())
    assert fetched.bytes_fetched <= len(BODY) + connections * CHUNK


def test_each_of_many_connections_asks_for_a_piece_of_its_own(
    bench: Bench, server: FileServer, source: HttpSource
) -> None:
    over(bench, 4).fetch(locked(BODY, url=server.origin + URL, etag=None), source)
    asked = ranges_asked(server)
    assert len(asked) == len(set(asked)) >= 4
    assert "whole" not in asked


def test_a_slow_connection_is_joined_by_others(bench: Bench, server: FileServer, source: HttpSource) -> None:
    body = some_bytes(LARGE)
    server.files[URL] = Content(body, throttle=8 * CHUNK)
    fetched = over(bench, None).fetch(locked(body, url=server.origin + URL, etag=None), source)
    assert bench.bytes() == body
    assert fetched.bytes_fetched <= len(body) + 8 * CHUNK
    assert server.most_at_once > 1


def test_who_finds_the_lanes_taken_looks_again(bench: Bench, server: FileServer, source: HttpSource) -> None:
    body = some_bytes(LARGE)
    server.files[URL] = Content(body, throttle=16 * CHUNK)
    lanes = Lanes(2)
    bench.terms = replace(patient(), connections=None, lanes=lanes)
    origin = origin_of(server.origin)
    assert lanes.further(origin)

    class Leaving(Watched):
        left = False

        def progress(self, have: int) -> None:
            super().progress(have)
            if have > len(body) // 3 and not self.left:
                self.left = True
                assert server.most_at_once == 1
                lanes.leave(origin)

    bench.watch = Leaving()
    bench.fetch(locked(body, url=server.origin + URL, etag=None), source)
    assert bench.bytes() == body
    assert server.most_at_once == 2


def test_a_smaller_file_that_crawls_is_shared_out(bench: Bench, server: FileServer, source: HttpSource) -> None:
    server.files[URL].throttle = 2 * CHUNK
    fetched = over(bench, None).fetch(locked(BODY, url=server.origin + URL, etag=None), source)
    assert (bench.bytes() == BODY, fetched.notes) == (True, ())
    assert ranges_asked(server)[-1] == "whole"
    assert server.most_at_once > 2
    assert fetched.bytes_fetched <= len(BODY) + 8 * BLOCK


def test_a_smaller_file_is_asked_for_at_once(
    bench: Bench, server: FileServer, source: HttpSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemmalock.transfer.team.FAST", 1)
    server.files[URL].throttle = 16 * CHUNK
    over(bench, None).fetch(locked(BODY, url=server.origin + URL, etag=None), source)
    assert ranges_asked(server) == ["whole"]


def test_a_mirror_is_asked_beside_a_slow_server(bench: Bench, server: FileServer, source: HttpSource) -> None:
    body = some_bytes(LARGE)
    server.files[URL] = Content(body, throttle=8 * CHUNK)
    with FileServer({URL: Content(body, etag='"of the mirror"')}) as mirror:
        file = locked(body, url=server.origin + URL, etag=None, mirrors=(mirror.origin + URL,))
        fetched = over(bench, 3).fetch(file, source)
        assert mirror.bytes_served(URL) > 0
        tags = {request.headers["if-range"] for request in mirror.requests if "if-range" in request.headers}
        assert tags <= {'"of the mirror"'}
    assert server.bytes_served(URL) > 0
    assert (bench.bytes() == body, fetched.notes) == (True, ())
    assert {chunk.validator.origin for chunk in fetched.chunks} == {server.origin, mirror.origin}


def test_a_fast_connection_is_left_alone(
    bench: Bench, server: FileServer, source: HttpSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemmalock.transfer.team.FAST", 1)
    body = some_bytes(LARGE)
    server.files[URL] = Content(body, throttle=64 * CHUNK)
    over(bench, None).fetch(locked(body, url=server.origin + URL, etag=None), source)
    assert bench.bytes() == body
    assert server.most_at_once == 1


def test_a_file_that_nothing_could_prove_comes_over_one_connection(
    bench: Bench, server: FileServer, source: HttpSource
) -> None:
    server.files[URL].etag = None
    server.files[URL].throttle = 16 * CHUNK
    file = locked(BODY, url=server.origin + URL, etag=None, proven=False)
    assert over(bench, 8).fetch(file, source).sha256 == digest(BODY)
    assert ranges_asked(server) == ["whole"]


def test_a_strong_etag_is_proof_enough_for_many(bench: Bench, server: FileServer, source: HttpSource) -> None:
    etag = server.files[URL].etag_now()
    file = locked(BODY, url=server.origin + URL, etag=etag, proven=False)
    assert over(bench, 4).fetch(file, source).sha256 == digest(BODY)
    assert len(server.requests) >= 4
    assert {request.headers.get("if-range", etag) for request in server.requests} == {etag}


def test_a_server_without_ranges_sends_the_whole_once(bench: Bench, server: FileServer, source: HttpSource) -> None:
    server.files[URL].ranges = False
    server.files[URL].throttle = 32 * CHUNK
    fetched = over(bench, 8).fetch(locked(BODY, url=server.origin + URL, etag=None), source)
    assert (bench.bytes(), fetched.bytes_fetched, fetched.notes) == (BODY, len(BODY), ())
    assert len(server.requests) == 1


@pytest.mark.parametrize("connections", [1, 4, 8])
def test_a_whole_file_in_the_place_of_a_part_is_never_written_at_an_offset(
    bench: Bench, server: FileServer, connections: int
) -> None:
    class ThenWhole(HttpSource):
        """What an edge does whose cache has just let go of the file."""

        def open(self, ask: Ask, stop: Stop) -> HttpAnswer:
            answer = super().open(ask, stop)
            server.files[URL].ranges = False
            return answer

    server.files[URL].throttle = 16 * CHUNK
    file = locked(BODY, url=server.origin + URL, etag=None)
    bench.partial(file, Reply(BODY), 2 * CHUNK)
    fetched = over(bench, connections).fetch(file, ThenWhole())
    assert (bench.bytes(), fetched.sha256) == (BODY, digest(BODY))


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_refuses_a_second_connection_is_not_asked_again(
    bench: Bench, server: FileServer, source: HttpSource, status: int
) -> None:
    open_now = threading.Semaphore(1)
    refusals: list[threading.Thread] = []

    class OneAtATime(HttpSource):
        """What nginx's `limit_conn 1` does."""

        def open(self, ask: Ask, stop: Stop) -> HttpAnswer:
            if not open_now.acquire(blocking=False):
                refusals.append(threading.current_thread())
                raise (RateLimited if status == 429 else ServerError)(f"the server answered {status}")
            answer = super().open(ask, stop)
            close = answer.close

            def closing() -> None:
                if answer.close is not close:
                    answer.close = close  # type: ignore[method-assign]
                    open_now.release()
                close()

            answer.close = closing  # type: ignore[method-assign]
            return answer

    server.files[URL].throttle = 16 * CHUNK
    over(bench, 8)
    fetched = bench.fetch(locked(BODY, url=server.origin + URL, etag=None), OneAtATime())
    assert (bench.bytes(), fetched.bytes_fetched) == (BODY, len(BODY))
    # The first connection is to get through, and is patient; of the seven that would join, each is told once.
    joined = [thread for thread in refusals if thread is not threading.main_thread()]
    assert refusals
    assert len(joined) == len(set(joined)) <= 7
    before = len(refusals)
    bench.claim.drop_partial()
    bench.fetch(locked(BODY, url=server.origin + URL, etag=None), OneAtATime())
    assert len(refusals) == before, "what a server refused once, it is not asked for again"


def test_edges_whose_etags_differ_never_get_into_one_file(bench: Bench, server: FileServer, source: HttpSource) -> None:
    tags = iter(range(10_000))
    server.files[URL].etag = lambda: f'"edge-{next(tags) % 2}"'
    server.files[URL].throttle = 16 * CHUNK
    over(bench, 4).fetch(locked(BODY, url=server.origin + URL, etag=None), source)
    assert bench.bytes() == BODY
    assert len({chunk.validator for chunk in bench.claim.journal(len(BODY)).values()}) == 1


@pytest.mark.parametrize("connections", [2, 8])
def test_cuts_of_many_connections_cost_no_byte_twice(
    bench: Bench, server: FileServer, source: HttpSource, connections: int
) -> None:
    server.files[URL] = Content(BODY, cut_after=700_000, cut_times=9, throttle=16 * CHUNK)
    over(bench, connections).terms = replace(patient(50), connections=connections)
    fetched = bench.fetch(locked(BODY, url=server.origin + URL, etag=None), source)
    assert (bench.bytes(), fetched.notes) == (BODY, ())
    assert fetched.bytes_fetched < len(BODY) + connections * CHUNK


@pytest.mark.parametrize("connections", [2, 8])
def test_an_interruption_keeps_what_all_connections_brought(
    bench: Bench, server: FileServer, source: HttpSource, connections: int
) -> None:
    over(bench, connections)
    told = bench.watch.progress

    def stop_when_all_work(have: int) -> None:
        told(have)
        if have and len(server.requests) >= connections:
            bench.stop.set()

    bench.watch.progress = stop_when_all_work  # type: ignore[method-assign]
    file = locked(BODY, url=server.origin + URL, etag=None)
    with pytest.raises(Interrupted):
        bench.fetch(file, source)
    kept = bench.claim.journal(len(BODY)).kept
    assert kept > 0
    assert not [thread for thread in threading.enumerate() if thread.name == "gemmalock-connection"]
    bench.stop, bench.watch = Stop(), Watched()
    server.files[URL].throttle = None
    fetched = bench.fetch(file, source)
    assert (bench.bytes(), fetched.bytes_kept) == (BODY, kept)


class Gated(HttpSource):
    """The first `count` answers give one read; the next waits for `gate`, and is `then` what comes."""

    def __init__(self, count: int, then: SourceError | None = None) -> None:
        super().__init__()
        self.asks: list[Ask] = []
        self.gate = threading.Event()
        self._asking = threading.Lock()
        self._count = count
        self._then = then

    def open(self, ask: Ask, stop: Stop) -> HttpAnswer:
        with self._asking:
            self.asks.append(ask)
            number = len(self.asks)
        answer = super().open(ask, stop)
        if number <= self._count:
            self._hold(answer)
        return answer

    def _hold(self, answer: HttpAnswer) -> None:
        read = answer.readinto
        reads = iter([read])

        def gated(buffer: memoryview) -> int:
            if next(reads, None) is None:
                assert self.gate.wait(30)
                if self._then is not None:
                    raise self._then
            return read(buffer)

        answer.readinto = gated  # type: ignore[method-assign]


def test_a_rest_that_is_stolen_is_counted_once(bench: Bench, server: FileServer) -> None:
    """What the victim reads beyond its new end is received, and no part of what is here."""

    class UntilStolen(Gated):
        def open(self, ask: Ask, stop: Stop) -> HttpAnswer:
            answer = super().open(ask, stop)
            # Five pieces of 4 MiB, and then somebody takes half of the first.
            if len(self.asks) > 5:
                self.gate.set()
            return answer

    server.files[URL].throttle = None
    source = UntilStolen(1)
    fetched = over(bench, 2).fetch(locked(BODY, url=server.origin + URL, etag=None), source)
    source.close()
    assert bench.bytes() == BODY
    assert source.asks[5].start < source.asks[0].end  # type: ignore[operator]
    assert bench.watch.have == sorted(bench.watch.have)
    assert bench.watch.have[-1] == len(BODY)
    assert len(BODY) <= fetched.bytes_fetched <= len(BODY) + BLOCK


def test_fast_connections_beside_silent_ones_end_the_file(bench: Bench, server: FileServer) -> None:
    """Three fall silent in the middle of a body, and time out when the others have nothing left to begin."""

    class UntilAllElseIsHere(Gated):
        def open(self, ask: Ask, stop: Stop) -> HttpAnswer:
            answer = super().open(ask, stop)
            # As many pieces of 1 MiB as there are.
            if len(self.asks) >= 17:
                self.gate.set()
            return answer

    server.files[URL].throttle = None
    source = UntilAllElseIsHere(3, TimedOut("the server said nothing"))
    fetched = over(bench, 8).fetch(locked(BODY, url=server.origin + URL, etag=None), source)
    source.close()
    assert (bench.bytes(), fetched.bytes_fetched, fetched.notes) == (BODY, len(BODY), ())
    assert len(bench.watch.retries) == 3


def test_wrong_bytes_over_many_connections_fail_and_leave_nothing(
    bench: Bench, server: FileServer, source: HttpSource
) -> None:
    wrong = replace(locked(BODY, url=server.origin + URL, etag=None), sha256="ab" * 32)
    server.files[URL].throttle = None
    with pytest.raises(FileError) as caught:
        over(bench, 4).fetch(wrong, source)
    assert caught.value.code == "digest_mismatch"
    assert not bench.claim.part.exists() or bench.claim.part.stat().st_size == 0


@pytest.mark.parametrize("round", range(3))
def test_damage_anywhere_is_found_and_mended(
    bench: Bench, server: FileServer, source: HttpSource, dice: random.Random, round: int
) -> None:
    server.files[URL].throttle = None
    file = locked(BODY, url=server.origin + URL, etag=None)
    over(bench, 4).fetch(file, source)
    places = {dice.randrange(len(BODY)) for _ in range(3)}
    with bench.claim.part.open("r+b") as part:
        for place in places:
            part.seek(place)
            part.write(bytes([BODY[place] ^ 1]))
    fetched = bench.fetch(file, source)
    assert bench.bytes() == BODY
    assert fetched.bytes_fetched <= 3 * CHUNK


def test_all_connections_together_are_never_far_ahead_of_the_journal(
    bench: Bench, server: FileServer, source: HttpSource
) -> None:
    server.files[URL].throttle = None
    seen: list[int] = []
    taken = bench.watch.progress

    def look(have: int) -> None:
        seen.append(have - bench.claim.journal(len(BODY)).kept)
        taken(have)

    bench.watch.progress = look  # type: ignore[method-assign]
    over(bench, 8).fetch(locked(BODY, url=server.origin + URL, etag=None), source)
    assert max(seen[:-1], default=0) <= 2 * AHEAD


def test_a_small_partial_whose_bytes_rotted_is_not_believed(
    bench: Bench, server: FileServer, source: HttpSource
) -> None:
    """The journal has the right digest of the only chunk: what counts is what is in the file."""
    body = BODY[: CHUNK // 3]
    server.files[URL] = Content(body)
    file = locked(body, url=server.origin + URL, etag=None)
    bench.partial(file, Reply(body), CHUNK // 4)
    bench.fetch(file, source)
    rotten = bytearray(body)
    rotten[77] ^= 1
    bench.claim.part.write_bytes(rotten)
    fetched = bench.fetch(file, source)
    assert (bench.bytes(), fetched.sha256) == (body, digest(body))


@pytest.mark.parametrize("proven", [True, False])
def test_who_is_answered_first_has_the_piece(bench: Bench, server: FileServer, proven: bool) -> None:
    """A server that takes two seconds for every answer: nobody throws a good one away for one that is to come."""

    class Late(HttpSource):
        def open(self, ask: Ask, stop: Stop) -> HttpAnswer:
            stop.wait(1.6)
            return super().open(ask, stop)

    body = BODY[: 2 * CHUNK]
    server.files[URL] = Content(body)
    etag = server.files[URL].etag_now()
    file = locked(body, url=server.origin + URL, etag=etag, proven=proven)
    source = Late()
    fetched = over(bench, 2).fetch(file, source)
    source.close()
    assert (bench.bytes(), fetched.sha256) == (body, digest(body))
    assert len(server.requests) <= 4


def test_a_request_that_nobody_needs_any_more_is_not_waited_for(bench: Bench, server: FileServer) -> None:
    asked: list[Ask] = []

    class Hanging(HttpSource):
        """The second request is never answered."""

        def open(self, ask: Ask, stop: Stop) -> HttpAnswer:
            asked.append(ask)
            if len(asked) == 2:
                stop.wait(3600)
            return super().open(ask, stop)

    body = BODY[: 4 * CHUNK]
    server.files[URL] = Content(body)
    source = Hanging()
    fetched = over(bench, 2).fetch(locked(body, url=server.origin + URL, etag=None), source)
    source.close()
    assert (bench.bytes(), fetched.bytes_fetched) == (body, len(body))

"""The catalogue's groups S and V, and what of N and R one origin can do: each row through the real `gemmalock sync`.

A row begins with a lock, and with a partial of `kept` bytes where it has any. Then the origin does `fault`. `code` and
`error` are what sync says, `budget` how many bytes may be served in all until one sync has mended it.
"""

from __future__ import annotations

import gzip
import itertools
import random
import re
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from tests.faults.conftest import BODY, OVER_MANY
from tests.faults.origin import CHUNK, MIB, serve, strong
from tests.faults.stage import DEADLINE_SECONDS, KEPT, SIZE, Stage, survives
from tests.servers.scripted import Exchange, Script

TAG = strong(BODY)
REST = SIZE - KEPT
#: The most GETs for the rest, and for the whole, a chunk each: for want of an answer each is asked for once more.
REST_IN_PIECES = 2 * 7
IN_PIECES = 2 * 13
OTHER = random.Random(21).randbytes(SIZE)
PORTAL = b"<html>log in!  "
#: A coding bomb: 10 KB that become 10 MiB.
BOMB = gzip.compress(bytes(10 * MIB))


@dataclass(frozen=True, slots=True)
class Case:
    """See the module. `says` is looked for in stderr, `gets` is the most GETs under the fault, `digest`: whether the
    lock has one; `etag`: the origin's, all the time; `retries` and `timeout` as the settings.

    Over many connections no more bytes may come. `gets_of_many`: the most GETs then, where a piece is asked for at a
    time; `gets_each`: those of every further connection, where each of them tries. Where neither is said, the first
    answer decides, and no further connection is opened."""

    id: str
    fault: Callable[[], Script]
    code: int = 0
    error: str | None = None
    budget: int = SIZE
    kept: int = KEPT
    says: str = ""
    gets: int | None = None
    digest: bool = True
    etag: str | None = "strong"
    retries: int = 1
    timeout: int = 10
    gets_of_many: int | None = None
    gets_each: int = 0

    def __post_init__(self) -> None:
        assert (self.code == 0) == (self.error is None)


def good(exchange: Exchange) -> None:
    serve(exchange, BODY, TAG)


def always(script: Script) -> Callable[[], Script]:
    return lambda: script


def first(*scripts: Script) -> Callable[[], Script]:
    """The first GETs get these, the others are answered well."""

    def make() -> Script:
        left: Iterator[Script] = iter(scripts)
        return lambda exchange: next(left, good)(exchange)

    return make


def ranged(script: Script) -> Callable[[], Script]:
    """Only a request for a range gets this, the others are answered well."""
    return lambda: lambda exchange: (script if exchange.range else good)(exchange)


def part(exchange: Exchange, start: int, end: int, said: str | None = None, **headers: str) -> None:
    """A 206 with these bytes; `said` is its Content-Range, where that is not the truth; "" for none."""
    text = f"bytes {start}-{end - 1}/{SIZE}" if said is None else said
    fields = {"ETag": TAG, **({"Content-Range": text} if text else {}), **headers}
    exchange.answer(206, fields, BODY[start:end])


def asked(exchange: Exchange) -> int:
    """Where the range that was asked for begins."""
    return exchange.range[0] if exchange.range else 0


def until(exchange: Exchange) -> int:
    """Where it ends."""
    return (exchange.range[1] if exchange.range else None) or SIZE


def ranged_head(exchange: Exchange, fields: Mapping[str, str]) -> tuple[int, int]:
    """The head of a good answer, with these fields that are no length; where its body begins and ends."""
    start, end = asked(exchange), until(exchange)
    if exchange.range:
        exchange.head(206, {"Content-Range": f"bytes {start}-{end - 1}/{SIZE}", "ETag": TAG, **fields})
    else:
        exchange.head(200, {"ETag": TAG, **fields})
    return start, end


def cut(exchange: Exchange, count: int, *, reset: bool = False) -> None:
    """Announce everything that was asked for, and send the first `count` bytes of it."""
    start, end = ranged_head(exchange, {"Content-Length": str(until(exchange) - asked(exchange))})
    exchange.send(BODY[start : min(end, start + count)])
    if reset:
        exchange.reset()
    exchange.close()


def cut_early(exchange: Exchange) -> None:
    """Three fifths of what was asked for come, but of a short rest everything."""
    cut(exchange, early(exchange))


def early(exchange: Exchange) -> int:
    return max(300_000, (until(exchange) - asked(exchange)) * 3 // 5)


def silent(exchange: Exchange) -> None:
    start, _ = ranged_head(exchange, {"Content-Length": str(until(exchange) - asked(exchange))})
    exchange.send(BODY[start : start + 1000]).hang()


def wrong_bytes(exchange: Exchange) -> None:
    start = asked(exchange)
    body = BODY[:start] + bytes(SIZE - start)
    serve(exchange, body, TAG)


def changed(exchange: Exchange) -> None:
    serve(exchange, OTHER, strong(OTHER))


def changed_and_deaf_to_if_range(exchange: Exchange) -> None:
    start, end = asked(exchange), until(exchange)
    if start:
        fields = {"Content-Range": f"bytes {start}-{end - 1}/{SIZE}", "ETag": strong(OTHER)}
        exchange.answer(206, fields, OTHER[start:end])
    else:
        changed(exchange)


def other_edge() -> Script:
    """Two edges with the same bytes, each with its own tag."""
    tags = itertools.cycle(('"edge-b"', '"edge-a"'))
    return lambda exchange: serve(exchange, BODY, next(tags))


def longer(exchange: Exchange) -> None:
    exchange.head(200, {"Transfer-Encoding": "chunked", "ETag": TAG})
    exchange.chunk(BODY + b"!")
    exchange.chunk(b"")


def endless(exchange: Exchange) -> None:
    exchange.head(200, {"Connection": "close", "ETag": TAG}).send(BODY)
    while True:
        exchange.send(bytes(MIB))


def longer_than_its_range(exchange: Exchange) -> None:
    start, end = ranged_head(exchange, {"Transfer-Encoding": "chunked"})
    exchange.chunk(BODY[start:end] + b"surplus").chunk(b"")


def both_framings(exchange: Exchange) -> None:
    start, end = ranged_head(exchange, {"Transfer-Encoding": "chunked", "Content-Length": "3"})
    exchange.chunk(BODY[start:end]).chunk(b"")


def chunked_cut(exchange: Exchange) -> None:
    """As `cut_early`, and the last chunk never comes."""
    start, end = ranged_head(exchange, {"Transfer-Encoding": "chunked"})
    exchange.chunk(BODY[start : min(end, start + early(exchange))]).close()


def bad_chunk(exchange: Exchange) -> None:
    exchange.head(200, {"Transfer-Encoding": "chunked"}).send(b"-5\r\nhello\r\n").close()


def chunk_overflow(exchange: Exchange) -> None:
    exchange.head(200, {"Transfer-Encoding": "chunked"}).send(b"F" * 40 + b"\r\nhello\r\n").close()


def coded(exchange: Exchange) -> None:
    body = gzip.compress(BODY[asked(exchange) : until(exchange)], 1)
    ranged_head(exchange, {"Content-Encoding": "gzip", "Content-Length": str(len(body))})
    exchange.send(body)


def bomb(coding: str, body: bytes) -> Script:
    return lambda exchange: exchange.answer(200, {"Content-Encoding": coding, "ETag": TAG}, body)


def bomb_in_a_redirect(exchange: Exchange) -> None:
    if exchange.request.path.endswith("?again"):
        good(exchange)
    else:
        exchange.answer(302, {"Location": "/model.gguf?again", "Content-Encoding": "gzip"}, BOMB)


def storm(exchange: Exchange) -> None:
    while True:
        exchange.send(b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" * 100)


def later(value: str) -> Callable[[], Script]:
    return first(lambda exchange: exchange.answer(503, {"Retry-After": value}))


def status(number: int) -> Script:
    return lambda exchange: exchange.answer(number, {}, b"" if number in (204, 205) else b"no")


def leads_to(location: str) -> Callable[[], Script]:
    return always(lambda exchange: exchange.answer(302, {"Location": location}))


def two_locations(exchange: Exchange) -> None:
    exchange.head(302, [("Location", "/a"), ("Location", "/b"), ("Content-Length", "0")])


def hundred_hops() -> Script:
    hops = itertools.count()
    return lambda exchange: exchange.answer(302, {"Location": f"/hop/{next(hops)}"})


def expiring(fresh: int) -> Callable[[], Script]:
    """A redirect to a signed URL that is good for one request, and breaks it off; from the `fresh`-th on for all."""

    def make() -> Script:
        signatures = itertools.count()
        used: set[str] = set()

        def script(exchange: Exchange) -> None:
            path, _, signature = exchange.request.path.partition("?sig=")
            if not signature:
                exchange.answer(302, {"Location": f"/signed{path}?sig={next(signatures)}"})
            elif signature in used:
                exchange.answer(403, {}, b"<Error><Code>AccessDenied</Code></Error>")
            else:
                used.add(signature)
                if int(signature) >= fresh:
                    serve(exchange, BODY, TAG)
                else:
                    cut(exchange, REST * 6 // 10, reset=False)

        return script

    return make


def never_good(exchange: Exchange) -> None:
    if "sig=" in exchange.request.path:
        exchange.answer(403, {}, b"Request has expired")
    else:
        exchange.answer(302, {"Location": "/signed?sig=1"})


def half_then_whole() -> Script:
    """S34: the first range is answered, the second with the whole file."""
    turns = iter((lambda e: part(e, KEPT, KEPT + 100_000), lambda e: e.answer(200, {"ETag": TAG}, BODY)))
    return lambda exchange: next(turns, good)(exchange)


def shifted(exchange: Exchange) -> None:
    """S02: what is behind the first seven bytes that were asked for."""
    part(exchange, asked(exchange) + 7, until(exchange))


def small_parts(most: int) -> Script:
    def script(exchange: Exchange) -> None:
        start = asked(exchange)
        part(exchange, start, min(until(exchange), start + most))

    return script


def weird(name: str, tag: str) -> Case:
    """V10: a tag of this kind, all the time."""
    return Case(f"V10 {name}", lambda: lambda e: serve(e, BODY, tag), etag=tag, budget=SIZE)


CASES: tuple[Case, ...] = (
    # --- the network -------------------------------------------------------------------------------------
    Case("N02 bytes, then silence", always(silent), 1, "timeout", REST + 40_000, says="said nothing", gets=2,
         gets_of_many=5, gets_each=2, timeout=1),
    Case("N02 nothing but silence", always(lambda e: e.hang()), 1, "timeout", REST, gets=2, timeout=1),
    Case("N08 a captive portal", always(lambda e: e.answer(200, {"Content-Type": "text/html"}, PORTAL)),
         1, "connection", REST, says="got text/html of 15 B, expected 12.6 MB"),
    Case("N13 keep-alive closed before the request", first(lambda e: e.close()), budget=REST),
    # --- what a server answers to a range ----------------------------------------------------------------
    Case("S01 the range is ignored", always(lambda e: e.answer(200, {"ETag": TAG}, BODY)), gets=1),
    Case("S02 another start", ranged(shifted), budget=SIZE + REST),
    Case("S02 another start, always", always(shifted),
         1, "server_error", 5 * SIZE, gets=4),
    Case("S03 no Content-Range", ranged(lambda e: part(e, asked(e), until(e), "")), budget=SIZE + REST),
    Case("S05 another total",
         ranged(lambda e: part(e, asked(e), until(e), f"bytes {asked(e)}-{until(e) - 1}/{SIZE + 1}")),
         1, "size_mismatch", 2 * REST, says=f"has {SIZE + 1} bytes, the lock says {SIZE}", gets=1),
    Case("S06 shorter parts", always(small_parts(400_000)), budget=REST, gets=18, gets_of_many=3 * REST_IN_PIECES),
    Case("S06 much shorter parts", always(small_parts(70_000)), budget=REST),
    Case("S07 more than its range", ranged(longer_than_its_range), budget=REST + 100),
    Case("S09 no total", ranged(lambda e: part(e, asked(e), until(e), f"bytes {asked(e)}-{until(e) - 1}/*")),
         budget=SIZE + REST),
    Case("S10 another unit", ranged(lambda e: part(e, asked(e), until(e), "chapters 5-9/10")), budget=SIZE + REST),
    Case("S11 right heads, wrong bytes", ranged(wrong_bytes), budget=SIZE + REST, says=""),
    Case("S14 416 to a good range", ranged(lambda e: e.answer(416, {"Content-Range": f"bytes */{SIZE}"}))),
    Case("S14 416 to everything", always(lambda e: e.answer(416, {"Content-Range": f"bytes */{SIZE}"})),
         1, "server_error", gets=4),
    Case("S15 416 that tells nothing", ranged(lambda e: e.answer(416))),
    Case("S17 203", always(status(203)), 1, "server_error", REST, gets=2),
    Case("S17 204", always(status(204)), 1, "server_error", REST, gets=2),
    Case("S17 205", always(status(205)), 1, "server_error", REST, gets=2),
    Case("S17 103, then the answer", always(lambda e: good(e.head(103, {"Link": "</x>"}))), budget=REST),
    Case("S17 a storm of 103", always(storm), 1, "connection", REST + 20 * MIB, gets=2),
    # --- bodies ------------------------------------------------------------------------------------------
    Case("S18 cut, once", first(lambda e: cut(e, 1000)), budget=REST),
    Case("S18 cut, again and again, and each time some came", always(cut_early), budget=REST, gets=5,
         gets_of_many=3 * REST_IN_PIECES, retries=6),
    Case("S18 cut after the head, always", always(lambda e: cut(e, 0)), 1, "connection", REST, gets=2,
         gets_of_many=5, gets_each=2),
    Case("S18 the same, and nothing was here", always(lambda e: cut(e, 0)), 1, "connection", SIZE, kept=0, gets=2,
         gets_of_many=5, gets_each=2),
    Case("S19 cut between chunks", always(chunked_cut), budget=SIZE, gets=6, kept=0, retries=6,
         gets_of_many=3 * IN_PIECES),
    Case("S19 a bad chunk size", always(bad_chunk), 1, "connection", SIZE + 1000, gets=2, kept=0),
    Case("S19 a chunk size that overflows", always(chunk_overflow), 1, "connection", SIZE + 1000, gets=2, kept=0),
    Case("S21 longer than locked", always(longer), 1, "size_mismatch", 2 * SIZE + 100, kept=0, gets=1),
    Case("S21 endless", always(endless), 1, "size_mismatch", 2 * SIZE + 20 * MIB, kept=0, gets=1),
    Case("S21 longer, by its length", always(lambda e: e.answer(200, {"ETag": TAG}, BODY + b"!")),
         1, "size_mismatch", 2 * SIZE + 100, kept=0, gets=1),
    Case("S22 gzip, only on parts", ranged(coded), budget=SIZE + REST + MIB),
    Case("S22 gzip, always", always(coded), 1, "server_error", 2 * SIZE, gets=2),
    Case("S23 a gzip bomb", always(bomb("gzip", BOMB)), 1, "server_error", SIZE + MIB, kept=0),
    Case("S23 a brotli bomb", always(bomb("br", BOMB)), 1, "server_error", SIZE + MIB, kept=0),
    Case("S23 50 chained codings", always(bomb(", ".join(["gzip"] * 50), zlib.compress(BOMB))),
         1, "server_error", SIZE + MIB, kept=0),
    Case("S23 a bomb in a redirect", always(bomb_in_a_redirect), budget=REST + MIB),
    Case("S25 both framings", ranged(both_framings), budget=REST + 100),
    # --- heads -------------------------------------------------------------------------------------------
    Case("S26 10,000 headers", always(lambda e: e.answer(200, {f"X-{n}": "y" for n in range(10_000)})),
         1, "connection", REST + MIB),
    Case("S26 a header of 100 KB", always(lambda e: e.answer(200, {"X": "y" * 100_000})),
         1, "connection", REST + MIB),
    Case("S26 a header without a colon", always(lambda e: e.send(b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\nabc").close()),
         1, "connection", REST),
    Case("S26 no HTTP at all", always(lambda e: e.send(b"SSH-2.0-OpenSSH_9.2\r\n").close()), 1, "connection", REST),
    # --- statuses ----------------------------------------------------------------------------------------
    Case("S29 Retry-After a date that is past",
         later(format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)), budget=REST, gets=2,
         gets_of_many=1 + REST_IN_PIECES),
    Case("S29 Retry-After garbage", later("soon, I hope"), budget=REST, gets=2, gets_of_many=1 + REST_IN_PIECES),
    Case("S29 Retry-After -1", later("-1"), budget=REST, gets=2, gets_of_many=1 + REST_IN_PIECES),
    Case("S29 Retry-After 1", later("1"), budget=REST, gets=2, gets_of_many=1 + REST_IN_PIECES),
    Case("S29 Retry-After in 30 years", later("1000000000"), 1, "server_error", REST, gets=1),
    *(Case(f"S30 {number}, once", first(status(number)), budget=REST, gets=2, gets_of_many=1 + REST_IN_PIECES)
      for number in (408, 425, 429, 500, 502, 503, 504)),
    Case("S30 503, always", always(status(503)), 1, "server_error", REST, gets=3, retries=2),
    Case("S30 404", always(status(404)), 1, "not_found", REST, gets=1),
    Case("S30 410", always(status(410)), 1, "not_found", REST, gets=1),
    Case("S30 451", always(status(451)), 1, "connection", REST, gets=1),
    Case("R16 401", always(status(401)), 1, "unauthorized", REST, gets=1),
    Case("R16 403", always(status(403)), 1, "forbidden", REST, gets=1),
    # --- validators --------------------------------------------------------------------------------------
    Case("S33 two edges", other_edge),
    Case("S33 two edges, no digest", other_edge, 1, "upstream_changed", SIZE, digest=False),
    Case("S34 a part, then the whole", half_then_whole, budget=SIZE + 100_000),
    Case("S35 ranges denied, and given", always(lambda e: serve(e, BODY, TAG, {"Accept-Ranges": "none"})),
         budget=REST),
    Case("S35 ranges announced, and not given",
         always(lambda e: e.answer(200, {"ETag": TAG, "Accept-Ranges": "bytes"}, BODY))),
    Case("V02 another file of the same size", always(changed), 1, "upstream_changed", 2 * SIZE),
    Case("V02 the same, no digest", always(changed), 1, "upstream_changed", 2 * SIZE, digest=False),
    Case("V03 a weak tag and a digest", always(lambda e: serve(e, BODY, f"W/{TAG}")), etag="weak", budget=REST),
    Case("V03 a weak tag and no digest", always(lambda e: serve(e, BODY, f"W/{TAG}")), etag="weak", digest=False),
    Case("V04 only Last-Modified, no digest",
         always(lambda e: serve(e, BODY, None, {"Last-Modified": "Wed, 01 Jan 2020 00:00:00 GMT"})),
         etag=None, digest=False),
    Case("V04 only Last-Modified, and a digest",
         always(lambda e: serve(e, BODY, None, {"Last-Modified": "Wed, 01 Jan 2020 00:00:00 GMT"})),
         etag=None, budget=REST),
    Case("V06 deaf to If-Range", always(changed_and_deaf_to_if_range), 1, "upstream_changed", 3 * SIZE),
    Case("V06 the same, no digest", always(changed_and_deaf_to_if_range), 1, "upstream_changed", 3 * SIZE,
         digest=False),
    Case("V12 wrong bytes, always", always(lambda e: serve(e, OTHER, TAG)), 1, "digest_mismatch", 3 * SIZE, gets=2,
         gets_of_many=1 + REST_IN_PIECES, says="the lock has"),
    weird("unquoted", "gemma-3-270m"),
    weird("of 8 KB", '"' + "x" * 8000 + '"'),
    weird("with commas", '"a,b", "c"'),
    weird("like a path", '"../../../outside/precious.bin"'),
    weird("with an escape", '"\x1b]8;;https://evil.example\x07"'),
    # --- redirects ---------------------------------------------------------------------------------------
    *(Case(f"R10 to {where.partition(':')[0]}:", leads_to(where), 1, "redirect_refused", REST, gets=1)
      for where in ("file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "unix:/run/x.sock", "javascript:alert(1)")),
    Case("R11 a loop", leads_to("/model.gguf"), 1, "redirect_refused", REST + MIB, gets=11),
    Case("R11 a hundred hops", hundred_hops, 1, "redirect_refused", REST + MIB, gets=11),
    Case("R11 no Location", always(lambda e: e.answer(302)), 1, "redirect_refused", REST, gets=1),
    Case("R11 an empty Location", leads_to(""), 1, "redirect_refused", REST, gets=1),
    Case("R11 two Locations", always(two_locations), 1, "redirect_refused", REST, gets=1),
    Case("R15 a signed URL that expires", expiring(1), budget=REST),
    Case("R15 one that is never good", always(never_good), 1, "forbidden", REST, gets=4),
    Case("R22 a Location with controls", leads_to("/x\x01\x1b[2J"), 1, "redirect_refused", REST, gets=1),
    Case("R23 Content-Disposition",
         always(lambda e: serve(e, BODY, TAG, {"Content-Disposition": 'attachment; filename="../../outside/x"'})),
         budget=REST),
)  # fmt: skip


def rows() -> Iterator[tuple[Case, int | None]]:
    """Every case over one connection and over eight; over four, and over as many as the pace decides, only where more
    than one comes to be."""
    for case in CASES:
        yield from ((case, connections) for connections in (1, 8))
        if case.gets_of_many:
            yield from ((case, connections) for connections in (4, None))


ROWS = tuple(rows())


@pytest.mark.parametrize(
    ("case", "connections"),
    ROWS,
    ids=[re.sub(r"[^\w]+", "-", case.id) + f"-{connections or 'auto'}" for case, connections in ROWS],
    indirect=["connections"],
)
def test_a_misbehaving_server_is_survived(stage: Stage, case: Case) -> None:
    stage.origin.etag = case.etag
    stage.declare(digest=case.digest)
    stage.lock()
    if case.kept:
        stage.begin(case.kept)
    lock = stage.project.lock.read_bytes()
    stage.fault(case.fault())
    ran = stage.sync(env={"GEMMALOCK_RETRIES": str(case.retries), "GEMMALOCK_TIMEOUT": str(case.timeout)})
    assert ran.code == case.code, (ran.out, ran.err)
    assert ran.errors == ({case.error} if case.error else set())
    assert re.search(case.says, ran.err), ran.err
    if case.code:
        assert stage.project.lock.read_bytes() == lock, "a mismatch never locks anew"
        assert not (stage.root / "m" / "model.gguf").exists()
    most = case.gets if stage.most_connections == 1 or case.gets_of_many is None else case.gets_of_many
    if most is not None:
        assert len(stage.origin.gets) <= most + (stage.most_connections - 1) * case.gets_each
    survives(stage, ran, budget=case.budget)


@OVER_MANY
def test_so_many_connections_as_were_asked_for_are_open_at_once(stage: Stage) -> None:
    """The stage itself: none of the first is answered in full before all of them are there."""
    stage.declare()
    stage.lock()
    all_there = threading.Barrier(stage.most_connections)
    first_ones = itertools.islice(itertools.count(), stage.most_connections)

    def meet(exchange: Exchange) -> None:
        start, end = ranged_head(exchange, {"Content-Length": str(until(exchange) - asked(exchange))})
        exchange.send(BODY[start : start + 1000])
        if next(first_ones, None) is not None:
            all_there.wait(DEADLINE_SECONDS)
        exchange.send(BODY[start + 1000 : end])

    stage.fault(meet)
    ran = stage.sync()
    assert ran.code == 0, ran.err
    survives(stage, ran, budget=SIZE)


@OVER_MANY
def test_n01_five_resets_at_random_places_cost_at_most_a_chunk_each(stage: Stage, dice: random.Random) -> None:
    stage.declare()
    stage.lock()
    resets = [dice.randrange(SIZE // 4) for _ in range(5)]
    stage.fault(first(*(lambda e, k=count: cut(e, k, reset=True) for count in resets))())
    ran = stage.sync(env={"GEMMALOCK_RETRIES": "8"})
    assert ran.code == 0, (resets, ran.err)
    survives(stage, ran, budget=SIZE + 5 * CHUNK)


@OVER_MANY
@pytest.mark.parametrize("kept", [0, KEPT])
def test_s34_after_one_part_nothing_but_the_whole_is_had(stage: Stage, kept: int) -> None:
    """An edge that has just let go of the file: of all the wholes that are sent one is taken, from its beginning."""
    stage.declare()
    stage.lock()
    if kept:
        stage.begin(kept)
    turns = iter([lambda e: part(e, asked(e), asked(e) + 700_000)])
    stage.fault(lambda e: next(turns, lambda e: e.answer(200, {"ETag": TAG}, BODY))(e))
    ran = stage.sync()
    assert ran.code == 0, ran.err
    assert ran.fetched <= 700_000 + SIZE
    assert len(stage.origin.gets) <= 1 + 2 * stage.most_connections
    survives(stage, ran)


@OVER_MANY
def test_s13_a_partial_that_grew_beyond_its_file_is_cut_and_continued(stage: Stage) -> None:
    stage.declare()
    stage.lock()
    stage.begin()
    (partial,) = (stage.store / "tasks").glob("*/data.part")
    with partial.open("ab") as file:
        file.write(bytes(2 * MIB))
    stage.origin.forget()
    ran = stage.sync()
    assert ran.code == 0, ran.err
    survives(stage, ran, budget=REST)


def test_s31_an_empty_file_is_had_without_a_range(stage: Stage) -> None:
    stage.origin.files["/empty.txt"] = b""
    stage.declare(digest=False)
    stage.lock()
    stage.origin.forget()
    ran = stage.sync()
    assert ran.code == 0, ran.err
    assert all("range" not in request.headers for request in stage.origin.gets if request.path == "/empty.txt")
    survives(stage, ran, budget=SIZE)


HEADS: tuple[tuple[str, Script], ...] = (
    ("405", lambda e: e.answer(405)),
    ("403", lambda e: e.answer(403)),
    ("no size", lambda e: e.head(200, {"Connection": "close"})),
    ("size 0", lambda e: e.head(200, {"Content-Length": "0"})),
    ("hangs up", lambda e: e.close()),
)


@pytest.mark.parametrize("answer", [row[1] for row in HEADS], ids=[row[0] for row in HEADS])
def test_s27_a_head_that_is_refused_or_lies_is_made_good_by_a_get(stage: Stage, answer: Script) -> None:
    stage.declare(digest=False)
    stage.fault(lambda e: answer(e) if e.request.method == "HEAD" else good(e))
    ran = stage.run("lock", "--json")
    assert ran.code == 0, ran.err
    assert f'"size": {SIZE}' in stage.project.lock.read_text()
    stage.origin.forget()
    survives(stage, stage.sync(), budget=SIZE)

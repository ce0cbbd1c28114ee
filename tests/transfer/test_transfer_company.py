"""What one connection of a file does must not be paid for by the others."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from gemmalock.errors import ConnectionFailed, FileError, NotFound, ServerError, SizeMismatch
from gemmalock.journal import CHUNK
from gemmalock.ports import Ask, Restarted
from gemmalock.stopping import Stop
from gemmalock.transfer.fetch import Terms
from gemmalock.transfer.lanes import Lanes
from tests.transfer.twins import (
    MIRROR,
    MIRROR_ORIGIN,
    ORIGIN,
    Bench,
    Reply,
    ScriptedAnswer,
    ScriptedSource,
    Watched,
    locked,
    some_bytes,
)

BODY = some_bytes(40 * CHUNK)
PATIENCE = 20.0
Open = Callable[[Ask], ScriptedAnswer]


class Silence(Exception):
    """A server says nothing."""


class Servers(ScriptedSource):
    """The file's own server and a mirror, each a function; a request of either may wait for the other, or for ever."""

    def __init__(self, own: Open, mirror: Open | None = None) -> None:
        super().__init__([])
        self._own = own
        self._mirror = mirror or own

    def open(self, ask: Ask, stop: Stop) -> ScriptedAnswer:
        """The answer of whoever is asked."""
        self.asks.append(ask)
        try:
            return (self._mirror if ask.url == MIRROR else self._own)(ask)
        except Silence:
            stop.wait(PATIENCE)
            raise ConnectionFailed("no answer") from None


def part_of(ask: Ask, body: bytes = BODY, cut: int | None = None) -> ScriptedAnswer:
    """The range that was asked for."""
    origin = MIRROR_ORIGIN if ask.url == MIRROR else ORIGIN
    return ScriptedAnswer(Reply(body, origin=origin, cut=cut), ask.start, ask.end, None)


def test_a_mirror_that_sends_the_whole_costs_nobody_what_is_here(bench: Bench) -> None:
    """The own server fails for a moment, so that nobody else has a request open when the mirror answers."""
    file = locked(BODY, mirrors=(MIRROR,))
    bench.partial(file, Reply(BODY), 24 * CHUNK)
    pausing, answered = threading.Event(), threading.Event()

    class Pausing(Watched):
        def retrying(self, reason: str, after_seconds: float) -> None:
            pausing.set()
            answered.wait(PATIENCE)

    def own(ask: Ask) -> ScriptedAnswer:
        return part_of(ask, cut=None if pausing.is_set() else 2 * CHUNK)

    def mirror(ask: Ask) -> ScriptedAnswer:
        pausing.wait(PATIENCE)
        answered.set()
        return ScriptedAnswer(Reply(BODY, origin=MIRROR_ORIGIN, etag=None), 0, len(BODY), Restarted.IGNORED)

    bench.watch = Pausing()
    bench.terms = Terms(delay=lambda attempt, error: 0.05, connections=2)
    fetched = bench.fetch(file, Servers(own, mirror))
    assert bench.bytes() == BODY
    assert (fetched.bytes_kept, fetched.notes) == (24 * CHUNK, ())


def test_a_mirror_that_sends_too_much_does_not_condemn_the_own_bytes(bench: Bench) -> None:
    done = threading.Event()
    asked: list[Ask] = []

    def own(ask: Ask) -> ScriptedAnswer:
        asked.append(ask)
        if len(asked) < 4:
            return part_of(ask)
        done.wait(PATIENCE)
        raise ConnectionFailed("the own server is gone")

    class TooMuch(ScriptedAnswer):
        def readinto(self, buffer: memoryview) -> int:
            done.set()
            raise SizeMismatch("the source has more")

    def mirror(ask: Ask) -> ScriptedAnswer:
        return TooMuch(Reply(BODY, origin=MIRROR_ORIGIN, etag=None), ask.start, None, None)

    bench.terms = Terms(delay=lambda attempt, error: None, connections=2)
    with pytest.raises(FileError) as caught:
        bench.fetch(locked(BODY, mirrors=(MIRROR,)), Servers(own, mirror))
    assert not any("thrown away" in note for note in caught.value.notes)
    assert bench.claim.journal(len(BODY)).kept >= 3 * CHUNK


def test_a_mirror_that_another_file_convicted_is_asked_no_more(bench: Bench) -> None:
    source = Servers(part_of, lambda ask: convicted(ask))

    def convicted(ask: Ask) -> ScriptedAnswer:
        bench.terms.mistrusted.drop("https://mirror.example.net/other")
        return part_of(ask)

    bench.terms = Terms(delay=lambda attempt, error: None, connections=2)
    bench.fetch(locked(BODY, mirrors=(MIRROR,)), source)
    assert bench.bytes() == BODY
    assert sum(ask.url == MIRROR for ask in source.asks) <= 1


def test_a_mirror_that_is_gone_for_one_is_asked_by_none(bench: Bench) -> None:
    gone = threading.Event()
    late: list[Ask] = []

    def mirror(ask: Ask) -> ScriptedAnswer:
        if gone.is_set():
            late.append(ask)
        gone.set()
        raise NotFound("gone")

    bench.terms = Terms(delay=lambda attempt, error: None, connections=4)
    bench.fetch(locked(BODY, mirrors=(MIRROR,)), Servers(part_of, mirror))
    assert bench.bytes() == BODY
    # Whoever was on his way when the first one heard of it.
    assert len(late) <= 2


def test_what_was_refused_once_joins_again_when_there_is_room(bench: Bench) -> None:
    now, refused, back = [0.0], threading.Event(), threading.Event()

    class Crawling(ScriptedAnswer):
        def readinto(self, buffer: memoryview) -> int:
            if refused.is_set() and not back.is_set():
                now[0] += 60  # a quiet minute for each later read
                back.wait(0.3)
            return super().readinto(buffer)

    def own(ask: Ask) -> ScriptedAnswer:
        if threading.current_thread().name == "gemmalock-connection":
            if not refused.is_set():
                refused.set()
                raise ServerError("503")
            back.set()
        return Crawling(Reply(BODY), ask.start, ask.end, None)

    bench.terms = Terms(delay=lambda attempt, error: 0.0, connections=2, lanes=Lanes(clock=lambda: now[0]))
    bench.fetch(locked(BODY), Servers(own))
    assert bench.bytes() == BODY
    assert refused.is_set()
    assert back.is_set()


def test_a_server_that_refuses_others_is_asked_for_one_stream(bench: Bench) -> None:
    refused = threading.Event()

    class Waiting(ScriptedAnswer):
        def readinto(self, buffer: memoryview) -> int:
            refused.wait(PATIENCE)
            return super().readinto(buffer)

    def own(ask: Ask) -> ScriptedAnswer:
        if threading.current_thread().name == "gemmalock-connection":
            refused.set()
            raise ServerError("503")
        return Waiting(Reply(BODY), ask.start, ask.end, None)

    source = Servers(own)
    bench.terms = Terms(delay=lambda attempt, error: 0.0, connections=2)
    bench.fetch(locked(BODY), source)
    assert bench.bytes() == BODY
    assert len(source.asks) <= 4, source.asks


def test_a_server_that_talks_to_one_at_a_time_is_not_waited_for(bench: Bench) -> None:
    """The others get no answer, and what they asked for is asked for by the one that does."""

    def own(ask: Ask) -> ScriptedAnswer:
        if threading.current_thread().name == "gemmalock-connection":
            raise Silence
        return part_of(ask)

    bench.terms = Terms(delay=lambda attempt, error: None, connections=4)
    source = Servers(own)
    fetched = bench.fetch(locked(BODY), source)
    assert (bench.bytes() == BODY, fetched.notes) == (True, ())
    assert len(source.asks) > len({ask.start for ask in source.asks})


def test_a_silent_server_does_not_keep_a_mirror_from_being_asked(bench: Bench) -> None:
    def own(ask: Ask) -> ScriptedAnswer:
        raise Silence

    bench.terms = Terms(delay=lambda attempt, error: None)
    source = Servers(own, part_of)
    bench.fetch(locked(BODY, mirrors=(MIRROR,)), source)
    assert bench.bytes() == BODY
    assert source.asks[-1].url == MIRROR


def test_what_an_earlier_run_left_and_was_wrong_is_told_as_lost(bench: Bench) -> None:
    file = locked(BODY, mirrors=(MIRROR,))
    bench.partial(file, Reply(some_bytes(len(BODY), seed=2), origin="https://old.example", etag=None), 12 * CHUNK)
    asked: list[Ask] = []

    def own(ask: Ask) -> ScriptedAnswer:
        asked.append(ask)
        if len(asked) > 1:
            raise ConnectionFailed("gone")
        return part_of(ask)

    bench.terms = Terms(delay=lambda attempt, error: None, connections=1)
    with pytest.raises(FileError):
        bench.fetch(file, Servers(own))
    assert bench.claim.journal(len(BODY)).kept == len(BODY) - 12 * CHUNK
    assert min(bench.watch.have) == 0

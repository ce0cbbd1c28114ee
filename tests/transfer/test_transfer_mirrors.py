"""Mirrors: asked when the file's own URL fails, beside it for large files, and found out when they send wrong bytes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.errors import DigestMismatch, FileError, NotFound, ServerError
from gemmalock.journal import CHUNK, Chunk, Validator
from gemmalock.ports import Ask
from gemmalock.stopping import Stop
from gemmalock.transfer.fetch import Terms
from gemmalock.transfer.givers import Givers, mixed, suspect
from gemmalock.transfer.lanes import Lanes
from gemmalock.transfer.pieces import LARGE
from gemmalock.transfer.urls import Mistrusted, Urls
from tests.transfer.twins import (
    MIRROR,
    MIRROR_ORIGIN,
    ORIGIN,
    URL,
    Bench,
    Reply,
    ScriptedAnswer,
    ScriptedSource,
    digest,
    locked,
    patient,
    some_bytes,
)

SECOND = "https://second.example.org/gemma.gguf"
SECOND_ORIGIN = "https://second.example.org"
ORIGINS = {URL: ORIGIN, MIRROR: MIRROR_ORIGIN, SECOND: SECOND_ORIGIN}
BODY = some_bytes(4 * CHUNK + 123_457)
OTHER = some_bytes(len(BODY), seed=2)
THIRD = CHUNK + 500_001
GONE = NotFound("it is gone")


# --- who gave which bytes ----------------------------------------------------------------------------------


def chunk(index: int, origin: str = ORIGIN) -> Chunk:
    """A whole chunk."""
    return Chunk(index, CHUNK, "crc32:0", Validator(None, origin))


def test_each_chunk_is_of_those_who_gave_bytes_of_it() -> None:
    givers = Givers()
    givers.brought(URL, (0, THIRD))
    givers.brought(MIRROR, (THIRD, 3 * CHUNK))
    assert givers.shares() == {URL: {0, 1}, MIRROR: {1, 2}}
    assert mixed(givers.shares()) == {1}
    givers.forget({1, 2})
    assert givers.shares() == {URL: {0}}


def test_a_very_large_file_has_larger_chunks() -> None:
    givers = Givers(4 * CHUNK)
    givers.brought(URL, (0, 9 * CHUNK))
    assert givers.shares() == {URL: {0, 1, 2}}
    givers.forget({1})
    assert givers.shares() == {URL: {0, 2}}


def test_an_earlier_runs_bytes_are_of_their_origin_until_a_url_answers_from_it() -> None:
    givers = Givers()
    givers.left([chunk(0, MIRROR_ORIGIN), chunk(1, ORIGIN)])
    assert givers.kept == 2 * CHUNK
    assert givers.shares() == {MIRROR_ORIGIN: {0}, ORIGIN: {1}}
    givers.answers(URL, ORIGIN)
    assert givers.shares() == {MIRROR_ORIGIN: {0}, URL: {1}}
    both = givers.old
    assert both == {0, 1}
    givers.forget({0})
    assert givers.kept == CHUNK
    assert givers.old == {1}


@given(
    st.lists(st.tuples(st.sampled_from([URL, MIRROR]), st.integers(0, 40), st.integers(1, 9)), max_size=12),
    st.sets(st.integers(0, 12)),
)
def test_what_is_forgotten_is_nobodys_and_the_rest_stays(gave: list[tuple[str, int, int]], lost: set[int]) -> None:
    unit = CHUNK // 4
    givers = Givers()
    for url, start, length in gave:
        givers.brought(url, (start * unit, (start + length) * unit))
    before = givers.shares()
    givers.forget(lost)
    assert givers.shares() == {url: share - lost for url, share in before.items() if share - lost}


@pytest.mark.parametrize(
    ("givers", "live", "suspected"),
    [
        ({URL}, [URL], None),
        ({URL}, [URL, MIRROR], None),
        ({URL, MIRROR}, [URL, MIRROR], MIRROR),
        ({URL, MIRROR, SECOND}, [URL, MIRROR, SECOND], SECOND),
        ({MIRROR}, [URL, MIRROR], MIRROR),
        ({MIRROR}, [MIRROR], None),
        ({URL, MIRROR}, [MIRROR], URL),
        ({URL, MIRROR}, [], None),
        ({URL, "https://cdn.example"}, [URL], "https://cdn.example"),
        ({MIRROR, "https://cdn.example"}, [MIRROR], "https://cdn.example"),
        ({"https://cdn.example"}, [URL], None),
        ({URL, MIRROR, ORIGIN}, [URL, MIRROR], MIRROR),
    ],
)
def test_whose_bytes_are_had_again(givers: set[str], live: Sequence[str], suspected: str | None) -> None:
    assert suspect(givers, [URL, MIRROR, SECOND], live) == suspected


@given(st.sets(st.sampled_from([URL, MIRROR, SECOND, "https://cdn.example"])), st.sets(st.sampled_from([*ORIGINS])))
def test_who_is_suspected_can_be_stood_in_for(givers: set[str], live: set[str]) -> None:
    suspected = suspect(givers, [*ORIGINS], sorted(live))
    assert suspected is None or (suspected in givers and live - {suspected})


# --- which URL is next -------------------------------------------------------------------------------------


def urls(mistrusted: Mistrusted | None = None, *, together: bool = False) -> Urls:
    """The URLs of a file with two mirrors."""
    return Urls(locked(BODY, mirrors=(MIRROR, SECOND)), mistrusted or Mistrusted(), together=together)


def test_the_files_own_url_is_first_and_mirrors_are_as_locked() -> None:
    found = urls()
    before = found.live
    found.fail(URL, GONE)
    assert [before, found.live] == [(URL, MIRROR, SECOND), (MIRROR, SECOND)]
    assert Urls(locked(BODY, proven=False, mirrors=(MIRROR,)), Mistrusted()).live == (URL,)


def test_further_connections_ask_each_in_turn() -> None:
    assert urls().in_turn(URL) == (URL,)
    found = urls(together=True)
    assert [found.in_turn(URL)[0] for _ in range(6)] == [MIRROR, SECOND, URL, MIRROR, SECOND, URL]
    found.fail(MIRROR, GONE)
    assert {found.in_turn(URL)[0] for _ in range(4)} == {URL, SECOND}


def test_who_is_set_aside_comes_back_when_it_was_another() -> None:
    found = urls(together=True)
    found.set_aside(SECOND)
    assert found.live == found.others == (URL, MIRROR)
    found.convict(URL, DigestMismatch("wrong"))
    found.recall()
    assert [found.live, found.others, found.in_turn(MIRROR)] == [(MIRROR, SECOND), (), (MIRROR,)]


def test_a_convicted_mirrors_server_is_nobodys_mirror_any_more() -> None:
    mistrusted = Mistrusted()
    urls(mistrusted).convict(MIRROR, DigestMismatch("wrong"))
    urls(mistrusted).convict(MIRROR + "?again", DigestMismatch("wrong"))
    assert urls(mistrusted).live == (URL, SECOND)
    assert [MIRROR in warning for warning in mistrusted.warnings] == [True]


def test_the_files_own_url_is_asked_although_its_server_was_a_bad_mirror() -> None:
    mistrusted = Mistrusted()
    mistrusted.drop(URL)
    assert urls(mistrusted).live == (URL, MIRROR, SECOND)


def test_a_files_own_url_with_wrong_bytes_says_nothing_of_its_server() -> None:
    mistrusted = Mistrusted()
    urls(mistrusted).convict(URL, DigestMismatch("wrong"))
    assert (urls(mistrusted).live, mistrusted.warnings) == ((URL, MIRROR, SECOND), ())


# --- wrong bytes -------------------------------------------------------------------------------------------


def world(**replies: Sequence[Reply]) -> ScriptedSource:
    """A source whose URL, and its mirrors `mirror` and `second`, answer so."""
    answer = {"own": [Reply(BODY)], "mirror": [Reply(BODY)], "second": [Reply(BODY)]} | replies
    own, mirror, second = (
        ScriptedSource([replace(reply, origin=origin, etag=f'"{origin}"') for reply in answer[name]])
        for name, origin in (("own", ORIGIN), ("mirror", MIRROR_ORIGIN), ("second", SECOND_ORIGIN))
    )
    own.at = {MIRROR: mirror, SECOND: second}
    return own


FILE = locked(BODY, etag=None, mirrors=(MIRROR, SECOND))


def test_only_a_wrong_mirrors_bytes_are_fetched_again(bench: Bench) -> None:
    source = world(own=[Reply(BODY, cut=THIRD), Reply(b"", error=GONE)], mirror=[Reply(OTHER)])
    fetched = bench.fetch(FILE, source)
    assert bench.bytes() == BODY
    assert source.at[MIRROR].ranges == [(THIRD, len(BODY))]
    assert source.at[SECOND].ranges == [(CHUNK, len(BODY))]
    assert fetched.bytes_fetched == THIRD + (len(BODY) - THIRD) + (len(BODY) - CHUNK)
    assert any(f"`{MIRROR}` failed: it sent wrong bytes" in note for note in fetched.notes)
    assert not any(f"`{SECOND}`" in note for note in fetched.notes)
    assert any(MIRROR in warning for warning in bench.terms.mistrusted.warnings)


def test_a_dropped_mirror_is_not_asked_for_the_runs_other_files(bench: Bench) -> None:
    bench.fetch(FILE, world(own=[Reply(BODY, cut=THIRD), Reply(b"", error=GONE)], mirror=[Reply(OTHER)]))
    bench.claim.drop_partial()
    source = world(own=[Reply(b"", error=GONE)])
    fetched = bench.fetch(FILE, source)
    assert source.at[MIRROR].asks == []
    assert fetched.sha256 == digest(BODY)


def test_when_all_fail_it_is_told_who_was_not_asked(bench: Bench) -> None:
    bench.terms.mistrusted.drop(MIRROR)
    gone = [Reply(b"", error=GONE)]
    with pytest.raises(NotFound, match=f"mirror `{MIRROR}` was not asked"):
        bench.fetch(FILE, world(own=gone, second=gone))


def test_a_good_mirror_beside_a_wrong_source_is_not_blamed(bench: Bench) -> None:
    source = world(own=[Reply(OTHER, cut=THIRD), Reply(b"", error=ServerError("503"))])
    bench.terms = patient(0)
    fetched = bench.fetch(FILE, source)
    assert bench.bytes() == BODY
    assert bench.terms.mistrusted.warnings == ()
    assert source.at[MIRROR].asks[0].start == THIRD
    assert not any(f"`{MIRROR}` failed" in note for note in fetched.notes)


def test_what_an_earlier_run_had_of_a_wrong_mirror_is_fetched_again(bench: Bench) -> None:
    bench.partial(FILE, Reply(OTHER, origin="https://cdn.example", etag=None), THIRD)
    source = world()
    fetched = bench.fetch(FILE, source)
    assert bench.bytes() == BODY
    assert source.ranges == [(THIRD, len(BODY)), (0, 2 * CHUNK)]
    assert fetched.bytes_kept == 0
    assert any("wrong bytes from `https://cdn.example`" in note for note in fetched.notes)


def test_what_an_earlier_run_had_of_a_mirror_is_no_word_on_it_today(bench: Bench) -> None:
    bench.partial(FILE, Reply(OTHER, origin=MIRROR_ORIGIN, etag=None), THIRD)
    source = world(own=[Reply(BODY, cut=CHUNK), Reply(b"", error=GONE)], second=[Reply(b"", error=GONE)])
    fetched = bench.fetch(FILE, source)
    assert bench.bytes() == BODY
    assert source.at[MIRROR].asks
    assert bench.terms.mistrusted.warnings == ()
    assert not any(f"`{MIRROR}` failed" in note for note in fetched.notes)


def test_a_right_part_of_an_earlier_run_is_no_ones_fault(bench: Bench) -> None:
    """The source gave the wrong rest: what the CDN gave before is thrown away, and found right."""
    bench.partial(FILE, Reply(BODY, origin="https://cdn.example", etag=None), 2 * CHUNK)
    source = world(own=[Reply(OTHER)])
    fetched = bench.fetch(FILE, source)
    assert bench.bytes() == BODY
    assert not any("earlier run had wrong bytes" in note for note in fetched.notes)
    assert source.at[MIRROR].asks


def test_two_that_agree_on_other_bytes_are_not_mistrusted_with_other_files(bench: Bench) -> None:
    wrong = [Reply(OTHER)]
    with pytest.raises(DigestMismatch):
        bench.fetch(FILE, world(own=wrong, mirror=wrong, second=wrong))
    assert bench.terms.mistrusted.warnings == ()


def test_a_mirror_with_another_size_is_passed_over(bench: Bench) -> None:
    fetched = bench.fetch(FILE, world(own=[Reply(b"", error=GONE)], mirror=[Reply(BODY, endless=True)]))
    assert any(MIRROR in note and "sends more than" in note for note in fetched.notes)
    assert bench.bytes() == BODY


def test_an_empty_file_with_another_digest_drops_no_mirror(bench: Bench) -> None:
    with pytest.raises(DigestMismatch):
        bench.fetch(replace(locked(b"", mirrors=(MIRROR,)), sha256=digest(b"x")), world())
    assert bench.terms.mistrusted.warnings == ()


@dataclass(frozen=True, slots=True)
class Manner:
    """How a URL answers: with the right bytes or others, cut so often at such places, and in the end whole or gone."""

    right: bool
    cuts: tuple[int, ...]
    gone: bool

    @property
    def replies(self) -> list[Reply]:
        """As a source has them."""
        body = BODY if self.right else OTHER
        return [*(Reply(body, cut=cut) for cut in self.cuts), Reply(b"", error=GONE) if self.gone else Reply(body)]

    @property
    def is_good(self) -> bool:
        """Whether the file can be had from it."""
        return self.right and not self.gone


def test_who_was_suspected_is_asked_again_when_the_others_have_not_got_it(bench: Bench) -> None:
    gone = Reply(b"", error=GONE)
    source = world(own=[Reply(OTHER, cut=1), gone], second=[gone])
    assert bench.fetch(FILE, source).sha256 == digest(BODY)
    assert source.at[MIRROR].ranges == [(1, len(BODY)), (0, len(BODY))]
    assert bench.terms.mistrusted.warnings == ()


CUTS = st.integers(1, len(BODY) - 1)
MANNERS = st.builds(Manner, st.booleans(), st.lists(CUTS, max_size=2).map(tuple), st.sampled_from([False, False, True]))


@given(st.tuples(MANNERS, MANNERS, MANNERS), st.one_of(st.none(), st.tuples(st.booleans(), CUTS)))
def test_whoever_sends_wrong_bytes_one_good_url_is_enough(
    tmp_path_factory: pytest.TempPathFactory,
    manners: tuple[Manner, Manner, Manner],
    earlier: tuple[bool, int] | None,
) -> None:
    bench = Bench(tmp_path_factory.mktemp("task"))
    if earlier is not None:
        bench.partial(FILE, Reply(BODY if earlier[0] else OTHER, origin="https://cdn.example"), earlier[1])
    own, mirror, second = (manner.replies for manner in manners)
    source = world(own=own, mirror=mirror, second=second)
    try:
        fetched = bench.fetch(FILE, source)
    except FileError:
        assert not any(manner.is_good for manner in manners)
    else:
        assert (fetched.sha256, bench.bytes() == BODY) == (digest(BODY), True)
        right = {url for url, manner in zip(ORIGINS, manners, strict=True) if manner.right}
        assert not [warning for warning in bench.terms.mistrusted.warnings if warning.split("`")[1] in right]
    assert sum(len(one.asks) for one in (source, source.at[MIRROR], source.at[SECOND])) <= 24


# --- side by side ------------------------------------------------------------------------------------------

LARGE_BODY = some_bytes(LARGE + 123_457)
LARGE_FILE = locked(LARGE_BODY, etag=None, mirrors=(MIRROR, SECOND))


class Meeting(ScriptedSource):
    """The first URL sends nothing before each of `expected` was asked."""

    expected: frozenset[str] = frozenset()

    def open(self, ask: Ask, stop: Stop) -> ScriptedAnswer:
        """As it is scripted, once all are there."""
        answer = super().open(ask, stop)
        seen.add(ask.url)
        if self.expected <= seen:
            together.set()
        if ask.url == URL:
            send = answer.readinto

            def readinto(buffer: memoryview) -> int:
                assert together.wait(30), f"only {seen} were asked"
                return send(buffer)

            answer.readinto = readinto  # type: ignore[method-assign]
        return answer


seen: set[str] = set()
together = threading.Event()


def meeting(*expected: str, **replies: Sequence[Reply]) -> Meeting:
    """A world where these have to be asked at the same time as the file's own URL."""
    seen.clear()
    together.clear()
    filled = {"own": [Reply(LARGE_BODY)], "mirror": [Reply(LARGE_BODY)], "second": [Reply(LARGE_BODY)]} | replies
    plain = world(**filled)
    made = Meeting(plain.replies, plain.at)
    made.expected = frozenset(expected)
    return made


def over(bench: Bench, connections: int) -> Bench:
    """The bench, with so many connections a file."""
    bench.terms = replace(patient(), connections=connections, lanes=Lanes())
    return bench


def test_mirrors_are_asked_beside_the_files_own_url(bench: Bench) -> None:
    source = meeting(MIRROR, SECOND)
    fetched = over(bench, 3).fetch(LARGE_FILE, source)
    assert (bench.bytes() == LARGE_BODY, fetched.notes) == (True, ())
    assert {chunk.validator.origin for chunk in fetched.chunks} <= set(ORIGINS.values())
    assert all(ask.etag is None for url in (MIRROR, SECOND) for ask in source.at[url].asks)
    assert fetched.bytes_fetched == len(LARGE_BODY)


def test_a_file_that_is_not_large_comes_from_its_own_url_alone(bench: Bench) -> None:
    source = world()
    over(bench, 3).fetch(FILE, source)
    assert source.at[MIRROR].asks == source.at[SECOND].asks == []


def test_without_a_digest_no_mirror_is_asked_beside(bench: Bench) -> None:
    source = meeting()
    file = replace(locked(LARGE_BODY, etag=f'"{ORIGIN}"', proven=False, mirrors=(MIRROR,)))
    over(bench, 3).fetch(file, source)
    assert source.at[MIRROR].asks == []


@pytest.mark.parametrize(
    "mirror",
    [
        Reply(b"", error=GONE),
        Reply(b"", error=ServerError("503")),
        Reply(LARGE_BODY, cut=CHUNK),
        Reply(b"", refuse=True),
    ],
    ids=["gone", "broken", "cut", "no ranges"],
)
def test_a_failing_mirror_loses_its_pieces_to_the_others(bench: Bench, mirror: Reply) -> None:
    source = meeting(mirror=[mirror])
    fetched = over(bench, 3).fetch(LARGE_FILE, source)
    assert bench.bytes() == LARGE_BODY
    assert fetched.bytes_fetched == len(LARGE_BODY)


def test_a_mirror_that_never_answers_holds_nobody_up(bench: Bench) -> None:
    class Silent(Meeting):
        def open(self, ask: Ask, stop: Stop) -> ScriptedAnswer:
            if ask.url == MIRROR:
                seen.add(ask.url)
                together.set()
                stop.wait(3600)
            return super().open(ask, stop)

    plain = meeting()
    source = Silent(plain.replies, plain.at)
    source.expected = frozenset({MIRROR})
    fetched = over(bench, 2).fetch(LARGE_FILE, source)
    assert (bench.bytes() == LARGE_BODY, fetched.bytes_fetched) == (True, len(LARGE_BODY))


def test_the_mirrors_go_on_when_the_files_own_url_is_gone(bench: Bench) -> None:
    source = meeting(MIRROR, own=[Reply(LARGE_BODY, cut=CHUNK // 2), Reply(b"", error=GONE)])
    fetched = over(bench, 2).fetch(LARGE_FILE, source)
    assert bench.bytes() == LARGE_BODY
    assert fetched.notes == (f"`{URL}` failed: it is gone",)
    assert fetched.bytes_fetched == len(LARGE_BODY)


def test_wrong_bytes_of_one_of_many_cost_only_those(bench: Bench) -> None:
    wrong = some_bytes(len(LARGE_BODY), seed=9)
    source = meeting(MIRROR, SECOND, mirror=[Reply(wrong)])
    fetched = over(bench, 3).fetch(LARGE_FILE, source)
    assert bench.bytes() == LARGE_BODY
    given = sum(answer.sent for answer in source.at[MIRROR].answers)
    again = sum(answer.sent for answer in source.at[SECOND].answers)
    assert given > 0
    assert fetched.bytes_fetched <= len(LARGE_BODY) + given + again
    assert [MIRROR in warning for warning in bench.terms.mistrusted.warnings] == [True]
    assert any(f"`{MIRROR}` failed: it sent wrong bytes" in note for note in fetched.notes)


def test_a_condition_is_of_the_origin_that_is_asked(bench: Bench) -> None:
    source = meeting(MIRROR, own=[Reply(LARGE_BODY, cut=3 * CHUNK), Reply(LARGE_BODY)])
    over(bench, 2).fetch(LARGE_FILE, source)
    later = source.asks[1:] + source.at[MIRROR].asks[1:]
    assert later
    for ask in later:
        assert ask.validator_origin == ORIGINS[ask.url]
        assert ask.validator == f'"{ORIGINS[ask.url]}"'


def test_terms_of_two_runs_share_nothing() -> None:
    one, other = Terms(delay=patient().delay), Terms(delay=patient().delay)
    one.mistrusted.drop(MIRROR)
    assert not other.mistrusted.has(MIRROR)

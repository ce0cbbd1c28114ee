"""One task from its first byte to its last: what is asked for, kept, dropped, noted and raised."""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from gemmalock.errors import (
    ConnectionFailed,
    DigestMismatch,
    Forbidden,
    Interrupted,
    NotFound,
    Offline,
    RangeRefused,
    ServerError,
    SizeMismatch,
    SourceError,
    UnsafePath,
    UpstreamChanged,
)
from gemmalock.journal import CHUNK
from gemmalock.transfer.checks import new_check
from gemmalock.transfer.fetch import Terms
from gemmalock.transfer.pace import RateLimit
from tests.transfer.twins import (
    ETAG,
    MIRROR,
    MIRROR_ORIGIN,
    URL,
    Bench,
    Reply,
    ScriptedSource,
    chunk_count,
    digest,
    locked,
    patient,
    some_bytes,
)

SMALL = some_bytes(40_000)
BIG = some_bytes(2 * CHUNK + 123_457)
OTHER = some_bytes(len(BIG), seed=2)
THIRD = CHUNK + 500_001


# --- a clean transfer --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 65_536, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 5])
@pytest.mark.parametrize("proven", [True, False])
def test_a_file_of_any_size_comes_whole(bench: Bench, size: int, proven: bool) -> None:
    body = some_bytes(size)
    source = ScriptedSource([Reply(body)])
    fetched = bench.fetch(locked(body, proven=proven), source)
    assert bench.bytes() == body
    assert fetched.sha256 == digest(body)
    assert (fetched.bytes_kept, fetched.bytes_fetched) == (0, size)
    assert fetched.part == bench.claim.part
    assert fetched.notes == ()
    assert [chunk.index for chunk in fetched.chunks] == list(range(chunk_count(size)))
    for chunk in fetched.chunks:
        check = new_check(proven=proven)
        check.update(memoryview(body)[chunk.start : chunk.end])
        assert chunk.check == check.hexdigest()
    assert source.ranges == [(0, size)]
    assert all(answer.closed for answer in source.answers)


def test_an_empty_file_needs_no_request(bench: Bench) -> None:
    source = ScriptedSource([Reply(b"", error=ServerError("nobody is to be asked"))])
    fetched = bench.fetch(locked(b""), source)
    assert (fetched.sha256, fetched.bytes_fetched, bench.bytes()) == (digest(b""), 0, b"")
    assert source.asks == []


def test_an_empty_file_with_the_digest_of_another_fails(bench: Bench) -> None:
    with pytest.raises(DigestMismatch):
        bench.fetch(replace(locked(b""), sha256=digest(b"x")), ScriptedSource([Reply(b"")]))


def test_the_part_and_the_journal_are_for_the_owner_alone(bench: Bench) -> None:
    bench.partial(locked(BIG), Reply(BIG), THIRD)
    for path in (bench.claim.part, bench.claim.journal_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_journal_vouches_for_every_chunk_of_a_finished_file(bench: Bench) -> None:
    fetched = bench.fetch(locked(BIG), ScriptedSource([Reply(BIG)]))
    assert tuple(bench.claim.journal(len(BIG))[c.index] for c in fetched.chunks) == tuple(fetched.chunks)
    assert bench.claim.beats[-1] == ((0, len(BIG)),)


def test_a_small_file_that_comes_at_one_go_has_no_journal(bench: Bench) -> None:
    bench.fetch(locked(SMALL), ScriptedSource([Reply(SMALL)]))
    assert not bench.claim.journal_path.exists()


def test_what_stands_behind_the_end_is_cut_off(bench: Bench) -> None:
    bench.claim.part.write_bytes(os.urandom(len(SMALL) * 2))
    bench.fetch(locked(SMALL), ScriptedSource([Reply(SMALL)]))
    assert bench.bytes() == SMALL


def test_progress_only_grows_and_ends_at_the_size(bench: Bench) -> None:
    bench.fetch(locked(BIG), ScriptedSource([Reply(BIG, piece=1000)]))
    assert bench.watch.have == sorted(bench.watch.have)
    assert bench.watch.have[-1] == len(BIG)


def test_a_limit_is_asked_for_every_byte(bench: Bench) -> None:
    class Counting(RateLimit):
        taken = 0

        def take(self, count: int, stop: object) -> None:
            self.taken += count

    limit = Counting(10_000_000)
    bench.terms = Terms(delay=patient().delay, limit=limit)
    bench.fetch(locked(BIG), ScriptedSource([Reply(BIG)]))
    assert limit.taken == len(BIG)


def test_no_thread_outlives_a_transfer(bench: Bench) -> None:
    before = threading.active_count()
    bench.fetch(locked(BIG), ScriptedSource([Reply(BIG, piece=100_000)]))
    bench.claim.drop_partial()
    bench.partial(locked(BIG), Reply(BIG), THIRD)
    assert threading.active_count() == before


def test_a_transfer_goes_on_without_threads_where_there_are_none(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert bench.fetch(locked(BIG), ScriptedSource([Reply(BIG)])).sha256 == digest(BIG)


# --- going on ----------------------------------------------------------------------------------------------


def test_a_cut_is_continued_at_the_first_missing_byte(bench: Bench) -> None:
    source = ScriptedSource([Reply(BIG, cut=THIRD), Reply(BIG)])
    fetched = bench.fetch(locked(BIG), source)
    assert source.ranges == [(0, len(BIG)), (THIRD, len(BIG))]
    assert (fetched.bytes_kept, fetched.bytes_fetched, bench.bytes()) == (0, len(BIG), BIG)
    assert bench.watch.retries == [("the connection was reset", 0.0)]
    ask = source.asks[1]
    assert (ask.validator, ask.validator_origin, ask.proven, ask.etag) == (
        ETAG,
        "https://models.example.org",
        True,
        ETAG,
    )


@pytest.mark.parametrize("count", [1, CHUNK - 1, CHUNK, CHUNK + 1, THIRD, len(BIG) - 1])
@pytest.mark.parametrize("proven", [True, False])
def test_a_later_run_fetches_only_what_is_missing(bench: Bench, count: int, proven: bool) -> None:
    file = locked(BIG, proven=proven)
    bench.partial(file, Reply(BIG), count)
    source = ScriptedSource([Reply(BIG)])
    fetched = bench.fetch(file, source)
    assert source.ranges == [(count, len(BIG))]
    assert (fetched.bytes_kept, fetched.bytes_fetched) == (count, len(BIG) - count)
    assert (bench.bytes(), fetched.sha256, fetched.notes) == (BIG, digest(BIG), ())


def test_a_complete_partial_needs_no_request(bench: Bench) -> None:
    bench.fetch(locked(BIG), ScriptedSource([Reply(BIG)]))
    source = ScriptedSource([Reply(b"", error=ServerError("nobody is to be asked"))])
    fetched = bench.fetch(locked(BIG), source)
    assert (fetched.bytes_kept, fetched.bytes_fetched, source.asks) == (len(BIG), 0, [])


def test_a_short_answer_is_kept_and_the_rest_asked_for(bench: Bench) -> None:
    source = ScriptedSource([Reply(BIG, short=THIRD), Reply(BIG)])
    assert bench.fetch(locked(BIG), source).bytes_fetched == len(BIG)
    assert source.ranges == [(0, len(BIG)), (THIRD, len(BIG))]


def test_answers_without_a_byte_are_failures(bench: Bench) -> None:
    source = ScriptedSource([Reply(BIG, short=0)])
    with pytest.raises(ConnectionFailed, match="ended after 0 of"):
        bench.fetch(locked(BIG), source)
    assert len(source.asks) == 6


def test_failures_in_a_row_are_counted_from_one_and_anew_after_progress(bench: Bench) -> None:
    attempts: list[int] = []

    def delay(attempt: int, error: SourceError) -> float:
        attempts.append(attempt)
        return 0.0

    bench.terms = Terms(delay=delay)
    broken = Reply(b"", error=ServerError("the server answered 503"))
    bench.fetch(locked(BIG), ScriptedSource([broken, broken, Reply(BIG, cut=2 << 20), broken, Reply(BIG)]))
    assert attempts == [1, 2, 1, 2]


def test_the_failures_of_a_file_have_an_end(bench: Bench) -> None:
    bench.terms = Terms(delay=lambda attempt, error: 0.0, max_attempts_total=7)
    source = ScriptedSource([Reply(BIG, cut=1)])
    with pytest.raises(ConnectionFailed):
        bench.fetch(locked(BIG), source)
    assert len(source.asks) == 8
    assert bench.claim.journal(len(BIG)).kept == 8


def test_an_error_that_trying_again_cannot_help_is_raised_at_once(bench: Bench) -> None:
    source = ScriptedSource([Reply(BIG, cut=THIRD), Reply(b"", error=Forbidden("403"))])
    with pytest.raises(Forbidden):
        bench.fetch(locked(BIG), source)
    assert len(source.asks) == 2
    assert bench.claim.journal(len(BIG)).kept == THIRD


def test_a_partial_without_a_byte_is_not_left_behind(bench: Bench) -> None:
    with pytest.raises(NotFound):
        bench.fetch(locked(BIG), ScriptedSource([Reply(b"", error=NotFound("404"))]))
    assert list(bench.folder.iterdir()) == []


def test_an_interruption_keeps_what_came(bench: Bench) -> None:
    source = ScriptedSource([Reply(BIG, cut=THIRD, then=bench.stop.set)])
    with pytest.raises(Interrupted):
        bench.fetch(locked(BIG), source)
    assert bench.claim.journal(len(BIG)).ranges == ((0, THIRD),)
    bench.stop = type(bench.stop)()
    assert bench.fetch(locked(BIG), ScriptedSource([Reply(BIG)])).bytes_kept == THIRD


def test_an_interruption_while_looking_drops_nothing(bench: Bench) -> None:
    bench.partial(locked(BIG), Reply(BIG), THIRD)
    bench.stop.set()
    with pytest.raises(Interrupted):
        bench.fetch(locked(BIG), ScriptedSource([Reply(BIG)]))
    assert bench.claim.journal(len(BIG)).kept == THIRD
    assert bench.bytes()[:THIRD] == BIG[:THIRD]


# --- starting again ----------------------------------------------------------------------------------------


def test_an_ignored_range_starts_again_and_says_what_was_lost(bench: Bench) -> None:
    bench.partial(locked(BIG), Reply(BIG), THIRD)
    source = ScriptedSource([Reply(BIG, whole=True)])
    fetched = bench.fetch(locked(BIG), source)
    assert (bench.bytes(), fetched.bytes_kept, fetched.bytes_fetched) == (BIG, 0, len(BIG))
    why = f"the server answered a request for the bytes from {THIRD} on with the whole file"
    assert fetched.notes == (f"started again from zero, {THIRD} bytes were lost: {why}",)
    assert 0 in bench.watch.have


def test_a_refused_range_is_asked_again_without_one(bench: Bench) -> None:
    bench.partial(locked(BIG), Reply(BIG), THIRD)
    source = ScriptedSource([Reply(BIG, refuse=True)])
    fetched = bench.fetch(locked(BIG), source)
    assert source.ranges == [(THIRD, len(BIG)), (0, len(BIG))]
    assert source.asks[1].validator is None
    assert (bench.bytes(), fetched.bytes_kept, fetched.bytes_fetched) == (BIG, 0, len(BIG))
    assert "the server answered 416" in fetched.notes[0]


def test_starting_again_has_an_end(bench: Bench) -> None:
    source = ScriptedSource([Reply(BIG, cut=THIRD, whole=True)])
    with pytest.raises(RangeRefused):
        bench.fetch(locked(BIG), source)
    assert len(source.asks) == 4


def test_an_answer_that_starts_elsewhere_is_not_written(bench: Bench) -> None:
    source = ScriptedSource([Reply(BIG, cut=THIRD), Reply(BIG, shift=-1), Reply(BIG)])
    assert bench.fetch(locked(BIG), source).notes[0].startswith(f"started again from zero, {THIRD} bytes")
    assert bench.bytes() == BIG


def test_two_validators_of_one_origin_are_never_combined(bench: Bench) -> None:
    replies = [Reply(OTHER, etag='"a"', cut=THIRD), Reply(BIG, etag='"b"'), Reply(BIG, etag='"b"')]
    source = ScriptedSource(replies)
    fetched = bench.fetch(locked(BIG), source)
    assert (bench.bytes(), fetched.bytes_kept) == (BIG, 0)
    assert source.ranges == [(0, len(BIG)), (THIRD, len(BIG)), (0, len(BIG))]
    assert '`"b"`' in fetched.notes[0] and '`"a"`' in fetched.notes[0]


@pytest.mark.parametrize(
    ("first", "second"), [('W/"a"', 'W/"a"'), ('W/"a"', 'W/"b"'), (None, None), (None, '"b"'), ('"a"', 'W/"a"')]
)
def test_a_digest_lets_bytes_without_a_strong_validator_be_continued(
    bench: Bench, first: str | None, second: str | None
) -> None:
    bench.partial(locked(BIG), Reply(BIG, etag=first), THIRD)
    assert bench.fetch(locked(BIG), ScriptedSource([Reply(BIG, etag=second)])).bytes_kept == THIRD


@pytest.mark.parametrize("etag", ['W/"v1"', None])
def test_without_a_digest_a_weak_etag_never_resumes(bench: Bench, etag: str | None) -> None:
    file = locked(BIG, etag=etag, proven=False)
    bench.partial(file, Reply(BIG, etag=etag), THIRD)
    source = ScriptedSource([Reply(BIG, etag=etag)])
    fetched = bench.fetch(file, source)
    assert source.ranges == [(0, len(BIG))]
    assert (fetched.bytes_kept, bench.bytes()) == (0, BIG)
    assert "nothing could prove them" in fetched.notes[0]


def test_without_a_digest_another_etag_is_another_file(bench: Bench) -> None:
    file = locked(BIG, proven=False)
    bench.partial(file, Reply(BIG), THIRD)
    with pytest.raises(UpstreamChanged, match='"v2"'):
        bench.fetch(file, ScriptedSource([Reply(OTHER, etag='"v2"')]))
    assert bench.claim.journal(len(BIG)).kept == THIRD


def test_without_a_digest_the_same_etag_of_another_origin_proves_nothing(bench: Bench) -> None:
    file = locked(BIG, proven=False)
    bench.partial(file, Reply(BIG), THIRD)
    fetched = bench.fetch(file, ScriptedSource([Reply(BIG, origin="https://cdn.example.net")]))
    assert (fetched.bytes_kept, fetched.bytes_fetched) == (0, len(BIG))


# --- wrong bytes -------------------------------------------------------------------------------------------


def test_wrong_bytes_at_one_go_fail_and_are_dropped(bench: Bench) -> None:
    source = ScriptedSource([Reply(OTHER)])
    with pytest.raises(DigestMismatch) as caught:
        bench.fetch(locked(BIG), source)
    assert digest(OTHER) in str(caught.value) and digest(BIG) in str(caught.value)
    assert len(source.asks) == 1
    assert list(bench.folder.iterdir()) == []


def test_a_combination_that_is_wrong_costs_one_clean_request(bench: Bench) -> None:
    bench.partial(locked(BIG), Reply(OTHER, etag=None), THIRD)
    source = ScriptedSource([Reply(BIG, etag=None)])
    fetched = bench.fetch(locked(BIG), source)
    assert source.ranges == [(THIRD, len(BIG)), (0, len(BIG))]
    assert (bench.bytes(), fetched.bytes_kept, fetched.bytes_fetched) == (BIG, 0, 2 * len(BIG) - THIRD)
    assert "did not come at one go" in fetched.notes[0]


def test_a_combination_that_is_wrong_twice_fails(bench: Bench) -> None:
    source = ScriptedSource([Reply(OTHER, cut=THIRD), Reply(OTHER)])
    with pytest.raises(DigestMismatch):
        bench.fetch(locked(BIG), source)
    assert source.ranges == [(0, len(BIG)), (THIRD, len(BIG)), (0, len(BIG))]


def test_wrong_bytes_under_another_etag_say_that_upstream_changed(bench: Bench) -> None:
    with pytest.raises(UpstreamChanged, match='its ETag is `"v2"`, the lock has `"v1"`'):
        bench.fetch(locked(BIG), ScriptedSource([Reply(OTHER, etag='"v2"')]))


def test_the_etag_of_a_redirects_end_says_nothing_of_upstream(bench: Bench) -> None:
    with pytest.raises(DigestMismatch):
        bench.fetch(locked(BIG), ScriptedSource([Reply(OTHER, etag='"v2"', origin="https://cdn.example.net")]))


@pytest.mark.parametrize("proven", [True, False])
def test_an_endless_body_is_left_at_one_byte_too_many(bench: Bench, proven: bool) -> None:
    with pytest.raises(SizeMismatch):
        bench.fetch(locked(BIG, proven=proven), ScriptedSource([Reply(BIG, endless=True)]))
    assert list(bench.folder.iterdir()) == []


def test_a_digest_is_learned_where_the_lock_has_none(bench: Bench) -> None:
    assert bench.fetch(locked(BIG, etag=None, proven=False), ScriptedSource([Reply(BIG, etag=None)])).sha256 == digest(
        BIG
    )


# --- mirrors -----------------------------------------------------------------------------------------------


def mirrored(main: Reply, mirror: Reply) -> ScriptedSource:
    """A source whose mirror answers in its own way."""
    return ScriptedSource([main], at={MIRROR: ScriptedSource([mirror])})


@pytest.mark.parametrize(
    "main",
    [
        Reply(b"", error=NotFound("404")),
        Reply(b"", error=ServerError("503")),
        Reply(b"", error=ConnectionFailed("refused")),
        Reply(OTHER, etag='"v2"'),
        Reply(OTHER),
    ],
)
def test_a_mirror_has_what_the_main_source_has_not(bench: Bench, main: Reply) -> None:
    source = mirrored(main, Reply(BIG, origin=MIRROR_ORIGIN, etag='"m"'))
    fetched = bench.fetch(locked(BIG, mirrors=(MIRROR,)), source)
    assert bench.bytes() == BIG
    assert URL in fetched.notes[-1]
    assert source.at[MIRROR].asks[0].etag is None


def test_a_mirror_goes_on_with_the_main_sources_bytes(bench: Bench) -> None:
    source = mirrored(Reply(BIG, cut=THIRD), Reply(BIG, origin=MIRROR_ORIGIN, etag='"m"'))
    source.replies = [Reply(BIG, cut=THIRD), Reply(b"", error=NotFound("404"))]
    assert bench.fetch(locked(BIG, mirrors=(MIRROR,)), source).bytes_fetched == len(BIG)
    assert source.at[MIRROR].ranges == [(THIRD, len(BIG))]


def test_a_mirror_with_wrong_bytes_is_named(bench: Bench) -> None:
    second = "https://second.example.net/gemma.gguf"
    source = mirrored(Reply(b"", error=NotFound("404")), Reply(OTHER, origin=MIRROR_ORIGIN))
    source.at[second] = ScriptedSource([Reply(BIG, origin="https://second.example.net")])
    fetched = bench.fetch(locked(BIG, mirrors=(MIRROR, second)), source)
    assert bench.bytes() == BIG
    assert any(MIRROR in note and digest(OTHER) in note for note in fetched.notes)


def test_when_all_fail_the_main_sources_error_names_the_others(bench: Bench) -> None:
    source = mirrored(Reply(b"", error=NotFound("it is gone")), Reply(b"", error=Forbidden("not for you")))
    with pytest.raises(NotFound, match=r"it is gone; mirror `https://mirror.*not for you"):
        bench.fetch(locked(BIG, mirrors=(MIRROR,)), source)


def test_without_a_digest_no_mirror_is_asked(bench: Bench) -> None:
    source = mirrored(Reply(b"", error=NotFound("404")), Reply(BIG))
    with pytest.raises(NotFound):
        bench.fetch(locked(BIG, proven=False, mirrors=(MIRROR,)), source)
    assert source.at[MIRROR].asks == []


def test_offline_no_mirror_is_asked(bench: Bench) -> None:
    source = mirrored(Reply(b"", error=Offline("no network")), Reply(BIG))
    with pytest.raises(Offline):
        bench.fetch(locked(BIG, mirrors=(MIRROR,)), source)
    assert source.at[MIRROR].asks == []


# --- what is told ------------------------------------------------------------------------------------------


def test_whoever_watches_learns_at_the_end_how_much_was_received(bench: Bench) -> None:
    bench.fetch(locked(BIG), ScriptedSource([Reply(BIG)]))
    assert bench.watch.received == sorted(bench.watch.received)
    assert bench.watch.received[-1] == len(BIG)


def test_a_failed_transfer_tells_how_much_it_received(bench: Bench) -> None:
    gone = Reply(b"", error=NotFound("gone"))
    with pytest.raises(NotFound):
        bench.fetch(locked(BIG), ScriptedSource([Reply(BIG, cut=THIRD), gone]))
    assert bench.watch.received[-1] == THIRD


def test_what_was_received_for_nothing_counts(bench: Bench) -> None:
    with pytest.raises(DigestMismatch):
        bench.fetch(locked(BIG), ScriptedSource([Reply(OTHER, etag=None)]))
    assert bench.watch.received[-1] == len(BIG)


def test_an_interrupted_transfer_tells_how_much_it_received(bench: Bench) -> None:
    with pytest.raises(Interrupted):
        bench.fetch(locked(BIG), ScriptedSource([Reply(BIG, cut=THIRD, then=bench.stop.set)]))
    assert bench.watch.received[-1] == THIRD


def own_threads() -> dict[str, bool]:
    """The threads of transfers that run: name → whether the process may end without them."""
    ours = ("gemmalock-digest", "gemmalock-journal")
    return {thread.name: thread.daemon for thread in threading.enumerate() if thread.name in ours}


def test_a_disk_that_hangs_keeps_no_process_from_ending_and_no_thread_outlives_its_transfer(bench: Bench) -> None:
    seen: list[dict[str, bool]] = []
    reply = Reply(BIG, then=lambda: seen.append(own_threads()), cut=len(BIG) - 1)
    bench.fetch(locked(BIG), ScriptedSource([reply, Reply(BIG)]))
    assert seen == [{"gemmalock-digest": True, "gemmalock-journal": True}]
    assert own_threads() == {}


# --- a hostile disk ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["data.part", "journal"])
def test_a_planted_link_is_not_followed(bench: Bench, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (bench.folder / name).symlink_to(victim)
    with pytest.raises(UnsafePath):
        bench.fetch(locked(BIG), ScriptedSource([Reply(BIG)]))
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["data.part", "journal"])
def test_a_planted_pipe_is_refused(bench: Bench, name: str) -> None:
    os.mkfifo(bench.folder / name)
    with pytest.raises(UnsafePath, match="not a plain file"):
        bench.fetch(locked(BIG), ScriptedSource([Reply(BIG)]))


def test_a_second_name_of_the_part_keeps_its_bytes(bench: Bench, tmp_path: Path) -> None:
    bench.claim.part.write_bytes(b"precious")
    (tmp_path / "object").hardlink_to(bench.claim.part)
    bench.fetch(locked(BIG), ScriptedSource([Reply(BIG)]))
    assert (tmp_path / "object").read_bytes() == b"precious"
    assert bench.bytes() == BIG

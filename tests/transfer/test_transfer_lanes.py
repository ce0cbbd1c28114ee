"""How many connections a server gets, and who may take a part of another's rest: rules on numbers."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.errors import Interrupted
from gemmalock.journal import CHUNK, Validator
from gemmalock.stopping import Stop
from gemmalock.transfer.lanes import QUIET_SECONDS, Lanes
from gemmalock.transfer.pieces import LARGE, piece_size
from gemmalock.transfer.stretch import Stretch, split, steal

HERE = ("https", "models.example.org", 443)
THERE = ("https", "mirror.example.net", 443)


def stretch(start: int, end: int, here: int, since: float = 0.0) -> Stretch:
    """A stretch that came so far since then."""
    made = Stretch((start, end), Validator(None, "https://models.example.org"), hashlib.sha256(), since)
    made.here = made.ahead = here
    return made


def is_full(lanes: Lanes) -> bool:
    """Whether a file's first connection would have to wait."""
    if lanes.further(HERE):
        lanes.leave(HERE)
        return False
    return True


def test_a_host_gets_so_many_connections_and_no_more() -> None:
    lanes = Lanes(2)
    with lanes.first(HERE, Stop()):
        assert [lanes.further(HERE), lanes.further(HERE), lanes.further(THERE)] == [True, False, True]
        lanes.leave(HERE)
        assert lanes.further(HERE)


def test_what_a_host_refused_is_remembered_for_it_alone() -> None:
    lanes = Lanes(8)
    with lanes.first(HERE, Stop()):
        assert lanes.further(HERE)
        assert lanes.further(HERE)
        lanes.leave(HERE, refused=True)
        assert not lanes.further(HERE)
        lanes.leave(HERE)
        assert [lanes.further(HERE), lanes.further(HERE), lanes.further(THERE)] == [True, False, True]


def test_of_many_that_are_refused_at_once_each_counts() -> None:
    lanes = Lanes(8)
    with lanes.first(HERE, Stop()):
        assert all(lanes.further(HERE) for _ in range(7))
        for _ in range(5):
            lanes.leave(HERE, refused=True)
        assert not lanes.further(HERE)
        for _ in range(2):
            lanes.leave(HERE)
        assert [lanes.further(HERE) for _ in range(3)] == [True, True, False]


def test_a_host_that_refuses_its_only_connection_keeps_it() -> None:
    lanes = Lanes(8)
    with lanes.first(HERE, Stop()):
        lanes.refused(HERE)
        lanes.refused(HERE)
    with lanes.first(HERE, Stop()):
        assert not lanes.further(HERE)


def test_a_refusal_takes_no_file_its_only_connection() -> None:
    lanes = Lanes(8)
    with lanes.first(HERE, Stop()), lanes.first(HERE, Stop()), lanes.first(HERE, Stop()):
        for _ in range(5):
            assert lanes.further(HERE)
            lanes.refused(HERE)
            lanes.leave(HERE, refused=True)
            if not lanes.further(HERE):
                break
            lanes.leave(HERE)
        assert not lanes.further(HERE), "three files have three"
    with lanes.first(HERE, Stop()):
        assert [lanes.further(HERE) for _ in range(3)] == [True, True, False]


def test_a_host_is_asked_for_one_more_after_a_quiet_while_that_doubles() -> None:
    now = [1000.0]
    lanes = Lanes(4, clock=lambda: now[0])

    def room() -> int:
        """How many connections a file may have."""
        with lanes.first(HERE, Stop()):
            further = 0
            while lanes.further(HERE):
                further += 1
            for _ in range(further):
                lanes.leave(HERE)
        return 1 + further

    def refuse_the_second() -> None:
        with lanes.first(HERE, Stop()):
            assert lanes.further(HERE)
            lanes.leave(HERE, refused=True)

    found = []
    refuse_the_second()
    for seconds in (0.0, QUIET_SECONDS - 1, 1.0):
        now[0] += seconds
        found.append(room())
    assert found == [1, 1, 2]
    refuse_the_second()
    found = []
    for seconds in (0.0, 2 * QUIET_SECONDS - 1, 1.0, 2 * QUIET_SECONDS, 2 * QUIET_SECONDS, 2 * QUIET_SECONDS):
        now[0] += seconds
        found.append(room())
    assert found == [1, 1, 2, 3, 4, 4]
    assert lanes.further(THERE)


@given(st.lists(st.sampled_from(["first", "last", "further", "leave", "too many", "refused", "quiet"]), max_size=60))
def test_whatever_happens_a_file_gets_a_lane_when_the_others_have_ended(steps: list[str]) -> None:
    now = [0.0]
    lanes = Lanes(3, clock=lambda: now[0])
    files: list[contextlib.ExitStack] = []
    further = 0
    for step in steps:
        match step:
            case "first" if not is_full(lanes):
                files.append(contextlib.ExitStack())
                files[-1].enter_context(lanes.first(HERE, Stop()))
            case "last" if files:
                files.pop().close()
            case "further" if files and lanes.further(HERE):
                further += 1
            case "leave" | "too many" if further:
                lanes.leave(HERE, refused=step == "too many")
                further -= 1
            case "refused" if files or further:
                lanes.refused(HERE)
            case "quiet":
                now[0] += QUIET_SECONDS
        assert len(files) + further <= 3
    for file in files:
        file.close()
    for _ in range(further):
        lanes.leave(HERE)
    assert not is_full(lanes)


def test_a_host_that_sends_the_whole_gets_one_connection_a_file() -> None:
    lanes = Lanes(8)
    lanes.whole_only(HERE)
    assert [lanes.splits(HERE), lanes.splits(THERE)] == [False, True]
    with lanes.first(HERE, Stop()), lanes.first(HERE, Stop()):
        assert not lanes.further(HERE)


def test_waiting_for_a_lane_ends_with_the_wish_to_stop() -> None:
    lanes, stop = Lanes(1), Stop()
    with lanes.first(HERE, Stop()):
        threading.Timer(0.05, stop.set).start()
        with pytest.raises(Interrupted), lanes.first(HERE, stop):
            raise AssertionError("there is no lane")


@given(st.integers(0, 50 * CHUNK), st.integers(1, 50 * CHUNK), st.integers(1, 40))
def test_pieces_cover_a_gap_and_end_at_the_ends_of_chunks(start: int, length: int, count: int) -> None:
    gap = start, start + length
    pieces = split(gap, count)
    assert 1 <= len(pieces) <= count
    assert (pieces[0][0], pieces[-1][1]) == gap
    assert all(one[1] == other[0] and one[1] % CHUNK == 0 for one, other in itertools.pairwise(pieces))


@given(st.integers(0, 20 * CHUNK), st.integers(1, 20 * CHUNK), st.data())
def test_what_is_stolen_is_the_end_of_a_rest(start: int, length: int, data: st.DataObject) -> None:
    end = start + length
    here = data.draw(st.integers(start, end))
    victim = stretch(start, end, here)
    stolen = steal([victim], now=1e9)
    if stolen is None:
        assert victim.end == end
        assert end - here < 3 * CHUNK
        return
    assert (victim.end, end) == stolen
    assert victim.end % CHUNK == 0
    assert here < victim.end < end


def test_a_rest_that_comes_soon_is_left_where_it_is() -> None:
    quick, slow = stretch(0, 40 * CHUNK, 20 * CHUNK), stretch(40 * CHUNK, 80 * CHUNK, 41 * CHUNK)
    assert steal([quick], now=0.5) is None
    assert steal([quick, slow], now=0.5) == (61 * CHUNK, 80 * CHUNK)


@pytest.mark.parametrize(
    ("size", "connections", "piece"),
    [
        (LARGE - 1, None, LARGE - 1),
        (LARGE, None, 8 * CHUNK),
        (1024 * CHUNK, None, 16 * CHUNK),
        (8 * CHUNK, 8, CHUNK),
        (256 * CHUNK, 8, 8 * CHUNK),
        (1024 * CHUNK, 16, 16 * CHUNK),
    ],
)
def test_how_much_is_asked_for_at_once(size: int, connections: int | None, piece: int) -> None:
    assert piece_size(size, connections) == piece


def test_all_servers_together_get_so_many_and_each_file_its_first() -> None:
    lanes, stop = Lanes(8, in_all=3), Stop()
    with lanes.first(HERE, stop), lanes.first(THERE, stop):
        assert lanes.further(HERE)
        assert not lanes.further(THERE)
        with lanes.first(THERE, stop):  # never waits for the sum: it brings a file by itself
            lanes.leave(HERE)
            assert not lanes.further(HERE)
        assert lanes.further(THERE)

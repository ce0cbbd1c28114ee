"""How many connections a server gets, and who may take a part of another's rest: rules on numbers."""

from __future__ import annotations

import hashlib
import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.errors import Interrupted
from gemmalock.journal import CHUNK, Validator
from gemmalock.stopping import Stop
from gemmalock.transfer.lanes import Lanes
from gemmalock.transfer.pieces import LARGE, piece_size
from gemmalock.transfer.stretch import Stretch, split, steal

HERE = ("https", "models.example.org", 443)
THERE = ("https", "mirror.example.net", 443)


def stretch(start: int, end: int, here: int, since: float = 0.0) -> Stretch:
    """A stretch that came so far since then."""
    made = Stretch((start, end), Validator(None, "https://models.example.org"), hashlib.sha256(), since)
    made.here = made.ahead = here
    return made


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
        lanes.refused(HERE)
        lanes.leave(HERE)
        assert not lanes.further(HERE)
        lanes.leave(HERE)
        assert [lanes.further(HERE), lanes.further(HERE), lanes.further(THERE)] == [True, False, True]


def test_a_host_that_refuses_its_only_connection_keeps_it() -> None:
    lanes = Lanes(8)
    with lanes.first(HERE, Stop()):
        lanes.refused(HERE)
        lanes.refused(HERE)
    with lanes.first(HERE, Stop()):
        assert not lanes.further(HERE)


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

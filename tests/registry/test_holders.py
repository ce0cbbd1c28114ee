"""Whether another process lives, as far as it can be told from here."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.durable import open_folder
from gemmalock.holders import Holder, Life, is_dead_mark, mark
from gemmalock.registry import DiskRegistry, claims
from tests.registry.making import LOCK, node_of, put_partial

HERE = Holder.here()


def dead_process() -> int:
    """The number of a process that has just ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("holder", "life"),
    [
        (HERE, Life.ALIVE),
        (replace(HERE, started="1"), Life.DEAD),
        (replace(HERE, process=dead_process()), Life.DEAD),
        (replace(HERE, process=2**40), Life.DEAD),
        (replace(HERE, started=""), Life.ALIVE),
        (replace(HERE, boot="another"), Life.DEAD),
        (replace(HERE, namespace="another"), Life.UNKNOWN),
        (replace(HERE, host="another"), Life.UNKNOWN),
        (replace(HERE, host="another", boot="another"), Life.UNKNOWN),
    ],
)
def test_life(holder: Holder, life: Life) -> None:
    assert holder.life() is life


def test_a_forked_child_is_another_process() -> None:
    text = (
        "import os; from gemmalock.holders import Holder; mine = Holder.here(); child = os.fork()\n"
        "if child == 0: os._exit(0 if Holder.here().process == os.getpid() != mine.process else 1)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    assert subprocess.run([sys.executable, "-c", text], check=False).returncode == 0


@given(st.binary(max_size=200))
def test_reading_a_holder_never_fails(text: bytes) -> None:
    assert Holder.read(text) is None or Holder.read(text) is not None


@given(st.builds(Holder, *[st.text()] * 3, st.integers(1, 2**62), st.text(), st.text()))
def test_a_holder_is_read_as_it_was_written(holder: Holder) -> None:
    assert Holder.read(holder.write()) == holder


def test_the_words_of_a_holder_say_where_it_is() -> None:
    assert HERE.words == f"process {os.getpid()} on this machine"
    assert replace(HERE, namespace="x").words.endswith("in another container of this machine")
    assert replace(HERE, host="builder 0123").words.endswith("on `builder`")


def test_a_mark_tells_its_makers_death() -> None:
    host, boot, namespace, process, started, token = mark().split(".")
    assert not is_dead_mark(mark())
    for changed, dead in (
        ((host, boot, namespace, str(dead_process()), started, token), True),
        ((host, boot, namespace, process, "1", token), True),
        ((host, "0" * 8, namespace, process, started, token), True),
        ((host, boot, "0" * 8, "999999", started, token), False),
        (("0" * 8, boot, namespace, process, started, token), False),
        (("precious",), False),
    ):
        assert is_dead_mark(".".join(changed)) is dead, changed


class Clock:
    """A clock that a test winds on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_distant_holder_is_dead_when_its_heart_stood_still_while_we_watched(tmp_path: Path) -> None:
    clock, distant = Clock(), replace(HERE, host="another")
    watching = claims.Watching(clock)
    (tmp_path / "claim.7").write_bytes(distant.write())
    with open_folder(tmp_path) as folder:
        assert claims.take(folder, watching) == distant
        clock.now += claims.PATIENCE_SECONDS - 1
        assert claims.take(folder, watching) == distant
        os.utime(tmp_path / "claim.7", ns=(1, 1))
        clock.now += 1
        assert claims.take(folder, watching) == distant
        clock.now += claims.PATIENCE_SECONDS
        taken = claims.take(folder, watching)
        assert isinstance(taken, claims.Taken)
        assert (taken.number, taken.in_doubt) == (8, True)
        assert claims.still_held(folder, taken)


def test_who_was_only_silent_cannot_write_to_the_partial_any_more(tmp_path: Path) -> None:
    clock = Clock()
    registry = DiskRegistry(tmp_path, watching=claims.Watching(clock))
    silent = registry.claim(node_of(), LOCK)
    put_partial(silent.folder, b"0123456789")
    (silent.folder / "claim.1").write_bytes(replace(HERE, host="another").write())
    assert registry.look(node_of().file).holder == f"process {HERE.process} on `another`"
    with (silent.folder / "data.part").open("r+b") as still_open:
        clock.now += claims.PATIENCE_SECONDS
        claim = registry.claim(node_of(), LOCK)
        still_open.write(b"garbage")
    assert (claim.folder / "data.part").read_bytes() == b"0123456789"
    assert not silent.still_held()


def test_a_slow_taker_of_a_number_that_was_used_before_has_nothing(tmp_path: Path) -> None:
    with open_folder(tmp_path) as folder:
        (tmp_path / "claim.20").write_bytes(HERE.write())
        stale = claims.Standing(3, None)
        watching = claims.Watching()
        original = claims.standing
        looks = iter([stale])

        def slept(of: int, with_watching: claims.Watching) -> claims.Standing:
            return next(looks, None) or original(of, with_watching)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(claims, "standing", slept)
            assert claims.take(folder, watching) == HERE
        assert os.listdir(tmp_path) == ["claim.20"]

"""P02 and P05 by the system call: killed, or interrupted three times, at the n-th rename, link, unlink, open, sync or
write of a whole sync that fetches, places and prunes. strace(1) counts and shoots."""

from __future__ import annotations

import random
import re
import shutil
from pathlib import Path

import pytest

from tests.faults.conftest import BODY
from tests.faults.stage import SIZE, Ran, Stage, canaries, survives

#: Every spelling of a call, on whatever machine; those that it does not have are passed over.
CALLS = {
    "rename": "/^rename(at2?)?$",
    "link": "/^(sym)?link(at)?$",
    "unlink": "/^(unlink(at)?|rmdir)$",
    "open": "openat",
    "sync": "/^fd?(data)?sync$",
    "write": "/^(p?write(v|64)?|ftruncate(64)?)$",
    "mkdir": "/^mkdir(at)?$",
}
STRAY = b"what somebody put there"

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="no strace")


@pytest.fixture
def stray(stage: Stage) -> Stage:
    """A stage with a stray and a ledger in its root; everything else is still to be fetched."""
    stage.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    stage.declare()
    stage.lock()
    assert stage.sync().code == 0
    shutil.copy(stage.root / ".gemmalock" / "ledger.json", stage.folder / "ledger.json")
    stage.before["m/old.gguf"] = STRAY
    return stage


def begin_again(stage: Stage) -> None:
    """As the fixture leaves it."""
    shutil.rmtree(stage.root)
    shutil.rmtree(stage.store)
    (stage.root / "m").mkdir(parents=True)
    (stage.root / ".gemmalock").mkdir()
    shutil.copy(stage.folder / "ledger.json", stage.root / ".gemmalock" / "ledger.json")
    (stage.root / "m" / "old.gguf").write_bytes(STRAY)
    stage.origin.forget()
    stage.planted = canaries(stage)


def count(stage: Stage, calls: str) -> int:
    """How often a whole sync makes these calls."""
    begin_again(stage)
    trace = stage.folder / "trace.txt"
    stage.program = ["strace", "-f", "-o", str(trace), "-e", f"trace={calls}"]
    assert stage.sync().code == 0
    stage.program = []
    made = [line for line in trace.read_text().splitlines() if re.match(r"\d+ +\w+\(", line)]
    trace.unlink()
    return len(made)


def shot(stage: Stage, calls: str, signal: str, when: str) -> Ran:
    """A sync that gets this signal at those of these calls."""
    begin_again(stage)
    stage.program = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={calls}"]
    stage.program += ["-e", f"inject={calls}:signal={signal}:when={when}"]
    try:
        return stage.sync()
    finally:
        stage.program = []


def trash(root: Path) -> list[bytes]:
    """The content of everything in the trash."""
    return [path.read_bytes() for path in (root / ".gemmalock" / "trash").rglob("*") if path.is_file()]


#: What the interpreter says when it is hit while it is still loading its own modules.
NOT_YET_OURS = ("Could not import runpy", "Failed to import the site module")


def try_all(stage: Stage, what: str, tries: int, dice: random.Random, signal: str) -> None:
    """Shoot at `tries` of the calls, and check every oracle after each."""
    made = count(stage, CALLS[what])
    for number in sorted(dice.sample(range(1, made + 1), min(tries, made))):
        ran = shot(stage, CALLS[what], signal, str(number) if signal == "SIGKILL" else f"{number}..{number + 2}")
        if signal == "SIGKILL":
            assert ran.code in (-9, 137, 0), (what, number, ran)
        else:
            # Before its own handler stands, the interpreter ends by the signal itself, or for want of a module.
            assert ran.code in (0, 2, -2, 130) or any(words in ran.err for words in NOT_YET_OURS), (what, number, ran)
        if "KeyboardInterrupt" in ran.err:
            ran = Ran(2, "", "")
        survives(stage, Ran(-9, "", "") if ran.code in (-2, 130) else ran, budget=2 * SIZE)
        assert not (stage.root / "m" / "old.gguf").exists(), (what, number)
        assert trash(stage.root) == [STRAY], (what, number)
        assert (stage.root / "m" / "model.gguf").read_bytes() == BODY


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGINT"])
def test_p02_p05_a_shot_at_a_rename_is_survived(stray: Stage, dice: random.Random, signal: str) -> None:
    try_all(stray, "rename", 3, dice, signal)


@pytest.mark.long
@pytest.mark.parametrize("signal", ["SIGKILL", "SIGINT"])
@pytest.mark.parametrize("what", CALLS)
def test_p02_p05_a_shot_at_any_call_is_survived(stray: Stage, dice: random.Random, what: str, signal: str) -> None:
    try_all(stray, what, 25, dice, signal)

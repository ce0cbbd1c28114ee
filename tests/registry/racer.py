"""A process that takes and gives up claims; run by the tests as `python -m tests.registry.racer ROLE STORE …`.

`race STORE TRACE ROUNDS` appends a line to TRACE when it holds the claim and before it gives it up. `hold STORE` takes
the claim, says so, and stays. `churn STORE` claims, writes, releases and finishes until it is killed. `once STORE`
goes once through a whole task.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

from gemmalock.errors import Busy
from gemmalock.registry import DiskClaim, DiskRegistry
from tests.registry.making import LOCK, node_of, put_partial


def race(store: Path, trace: Path, rounds: int) -> None:
    """Hold the claim so often, and say when."""
    registry, dice = DiskRegistry(store), random.Random(os.getpid())
    line = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for _ in range(rounds):
        claim = _patiently(registry)
        os.write(line, f"enter {os.getpid()}\n".encode())
        if dice.random() < 0.3:
            claim.beat(((0, dice.randrange(1, 10)),))
        assert claim.still_held()
        os.write(line, f"leave {os.getpid()}\n".encode())
        # A finished task's folder goes, and the next one makes a new one at the same path.
        claim.finish() if dice.random() < 0.3 else claim.release()


def hold(store: Path) -> None:
    """Take the claim and keep it."""
    claim = DiskRegistry(store).claim(node_of(), LOCK)
    put_partial(claim.folder, b"0123")
    claim.beat(((0, 4),))
    _say("held")
    sys.stdin.read()


def churn(store: Path) -> None:
    """Work on the task, again and again, until somebody ends it."""
    registry = DiskRegistry(store)
    _say("ready")
    while True:
        _whole_task(registry)


def once(store: Path) -> None:
    """One whole task."""
    _whole_task(DiskRegistry(store))


def _whole_task(registry: DiskRegistry) -> None:
    claim = _patiently(registry)
    put_partial(claim.folder, b"0123")
    claim.beat(((0, 4),))
    claim.release()
    claim = _patiently(registry)
    claim.drop_partial()
    claim.finish()


def _patiently(registry: DiskRegistry) -> DiskClaim:
    while True:
        try:
            return registry.claim(node_of(), LOCK)
        except Busy:
            time.sleep(0.0005)


def _say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    role, folder, *rest = sys.argv[1:]
    if role == "race":
        race(Path(folder), Path(rest[0]), int(rest[1]))
    else:
        {"hold": hold, "churn": churn, "once": once}[role](Path(folder))

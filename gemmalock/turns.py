"""Taking turns: of many threads that do a little work between long waits, one works at a time.

Python runs one thread at a time anyway, but hands its lock on at every system call: threads that each make a hundred
short calls a file spend most of their time waking each other. Who works in turns (`taking`) keeps the turn over such
calls, and gives it up where it may wait for long (`aside`): for the network, for a sync of the disk, for somebody else.

A courtesy and no lock: nothing relies on it, and who has waited for a turn for a moment works without. Standard library
only; what the work is is nobody's business here.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

#: How long a turn is waited for at most, in seconds.
PATIENCE_SECONDS = 0.02


class Turns:
    """The turns of those who work together. Safe to use from many threads."""

    def __init__(self, patience: float = PATIENCE_SECONDS) -> None:
        """`patience`: how long a turn is waited for at most, in seconds."""
        self._patience = patience
        self._turn = threading.Lock()

    @contextlib.contextmanager
    def taking(self) -> Iterator[None]:
        """Work in turns with all others who do."""
        before = _MINE.turns, _MINE.has_it
        _MINE.turns = self
        self._take()
        try:
            yield
        finally:
            self._give()
            _MINE.turns, _MINE.has_it = before

    @contextlib.contextmanager
    def given(self) -> Iterator[None]:
        """Let somebody else have this thread's turn for a while."""
        self._give()
        try:
            yield
        finally:
            self._take()

    def _take(self) -> None:
        _MINE.has_it = self._turn.acquire(timeout=self._patience)

    def _give(self) -> None:
        if _MINE.has_it:
            _MINE.has_it = False
            self._turn.release()


class _Mine(threading.local):
    """In which turns this thread works, and whether it has one now."""

    turns: Turns | None = None
    has_it = False


_MINE = _Mine()


def aside() -> contextlib.AbstractContextManager[None]:
    """While inside, others may have this thread's turn, if it works in turns."""
    turns = _MINE.turns
    return contextlib.nullcontext() if turns is None else turns.given()

"""Whether a failure is tried again, and when: a budget for each file, one for the run, and links that expire. Counts
only; how patient to be is the policy's (`Terms.delay`), who waits is `team`."""

from __future__ import annotations

import threading
from collections.abc import Callable

from gemmalock.errors import ConnectionFailed, FileError, SourceError

#: How often, until a piece comes, a URL that worked is asked for a fresh redirect, where the one that it gave leads
#: nowhere.
FRESH_REDIRECTS = 3
_HINT = "what came is kept: run it again when the network, or the server, is well"


class RunBudget:
    """How many failures a whole run tries again: at most `most` more than pieces came whole in between. A server that
    is down then costs each of many files no patience of its own. Safe to use from many threads."""

    def __init__(self, most: int = 200) -> None:
        self._given = self._left = most
        self._lock = threading.Lock()

    def spend(self, error: FileError) -> None:
        """Count a failure that is to be tried again. Raises an error like it, that says why, when that is no more."""
        with self._lock:
            self._left = max(-1, self._left - 1)
            is_spent = self._left < 0
        if is_spent:
            raise _given_up(error, f"{self._given} failures of this run were tried again, which is all that it gets")

    def earn(self) -> None:
        """Count a piece that came."""
        with self._lock:
            self._left = min(self._given, max(0, self._left) + 1)

    def earn_beforehand(self, count: int) -> None:
        """Count pieces that came before the failures that they would have come between."""
        with self._lock:
            self._given += count
            self._left += count


class Attempts:
    """The failures of one file, over all of its connections and URLs. Safe to use from many threads."""

    def __init__(self, delay: Callable[[int, SourceError], float | None], most: int, run: RunBudget) -> None:
        """`delay`: as Terms has it. `most`: how many failures of the file are tried again."""
        self._delay = delay
        self._most = most
        self._run = run
        self._failures = self._fresh = 0
        self._lock = threading.Lock()

    def succeeded(self) -> None:
        """A piece came."""
        with self._lock:
            self._fresh = 0
        self._run.earn()

    def seconds(self, attempt: int, error: SourceError, *, has_answered: bool) -> float | None:
        """How long to wait before trying again after the n-th failure in a row (from 1), or None: not again.

        `has_answered`: the URL has sent bytes before, so that a redirect of it that leads nowhere may have expired.
        Raises an error like this one, that says so, when a budget is spent.
        """
        if not error.transient:
            if not (error.may_have_expired and has_answered) or not self._may_ask_afresh():
                return None
            seconds = self._delay(1, ConnectionFailed(error.message, after_seconds=error.after_seconds))
        else:
            self._fresh = 0 if attempt == 1 else self._fresh
            seconds = self._delay(attempt, error)
        if seconds is None:
            return None
        with self._lock:
            self._failures += 1
            spent = self._failures > self._most
        if spent:
            raise _given_up(error, f"{self._most} failures of this file were tried again, which is all that it gets")
        self._run.spend(error)
        return seconds

    def _may_ask_afresh(self) -> bool:
        with self._lock:
            self._fresh += 1
            return self._fresh <= FRESH_REDIRECTS


def _given_up(error: FileError, why: str) -> FileError:
    return error.reworded(f"{error.message}; {why}", error.hint or _HINT)

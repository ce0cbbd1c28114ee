"""Runs programs in turn and takes their time and memory. It knows nothing of what they do."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

#: ru_maxrss is in KiB on Linux, in bytes on macOS.
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Skipped(Exception):
    """This case cannot be measured here; the message says why."""


class Failed(Exception):
    """A program did not do what was to be measured; the message has the end of what it said."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its arguments, the folder that it runs in, and the whole of its environment."""

    arguments: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reading:
    """One run: wall seconds, and the largest resident set that any process of its tree had."""

    seconds: float
    peak_bytes: int


def _nothing() -> None: ...


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that does the job of a case.

    `fresh` makes its folder as it has to be before a run, `check` raises Failed when the job is not done, `clean` gives
    the space back; none of them is in its time.
    """

    name: str
    command: Command
    fresh: Callable[[], None] = _nothing
    check: Callable[[], None] = _nothing
    clean: Callable[[], None] = _nothing


Readings = Mapping[str, tuple[Reading, ...]]


def in_turn(
    contenders: Sequence[Contender], runs: int, tell: Callable[[str], None]
) -> tuple[Readings, tuple[str, ...]]:
    """Run all of them, A B C A B C …, so that whatever else the machine does meets each alike.

    Their readings by name, and why some have none: one that fails is out of the race. Raises Failed when the first
    one does, which is gemmalock.
    """
    taken: dict[str, list[Reading]] = {contender.name: [] for contender in contenders}
    failures: list[str] = []
    for number in range(1, runs + 1):
        for contender in (one for one in contenders if one.name in taken):
            tell(f"run {number} of {runs}: {contender.name}")
            try:
                taken[contender.name].append(_one_run(contender))
            except Failed as error:
                if contender is contenders[0]:
                    raise
                del taken[contender.name]
                failures.append(f"{contender.name} failed: {error}.")
    return {name: tuple(readings) for name, readings in taken.items()}, tuple(failures)


def _one_run(contender: Contender) -> Reading:
    try:
        contender.fresh()
        reading = run(contender.command)
        contender.check()
    finally:
        contender.clean()
    return reading


def run(command: Command) -> Reading:
    """Run it to its end. Raises Failed when it ends with another code than 0."""
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        with started(command, output) as process:
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - began
            # Popen is told what wait4 took from it.
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise Failed(f"`{Path(command.arguments[0]).name}` ended with {process.returncode}: {_end_of(output)}")
    return Reading(seconds, usage.ru_maxrss * RSS_UNIT)


@contextlib.contextmanager
def started(
    command: Command, output: IO[bytes] | int = subprocess.DEVNULL, errors: int = subprocess.STDOUT
) -> Iterator[subprocess.Popen[bytes]]:
    """Start it in a session of its own. What of it still runs at the end is killed, children too."""
    process = subprocess.Popen(
        command.arguments,
        cwd=command.folder,
        env=dict(command.environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End it and its children by SIGKILL, and wait for it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def least_visible_peak() -> int:
    """Below this no peak can be told: a child begins as a copy of this process, and Linux counts that too."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours to theirs: the ratio of the medians, and the least and the most that a single round gave."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
        """Of the values of the same rounds, in order. Raises ValueError when there are none, or not as many."""
        if not ours or len(ours) != len(theirs):
            raise ValueError("a ratio needs the same rounds of both")
        pairs = [one / other for one, other in zip(ours, theirs, strict=True)]
        return cls(statistics.median(ours) / statistics.median(theirs), min(pairs), max(pairs))

    @classmethod
    def plain(cls, values: Sequence[float]) -> Ratio:
        """The values themselves, where nothing stands beside them."""
        return cls(statistics.median(values), min(values), max(values))


def _end_of(output: IO[bytes]) -> str:
    output.seek(0)
    lines = output.read().decode("utf-8", "replace").strip().splitlines()
    return " | ".join(lines[-5:]) or "it said nothing"

"""`python -m benchmarks [CASE…] [--runs N] [--quick] [--folder DIR] [--write FILE]`: measures, and prints Markdown."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from benchmarks import table
from benchmarks.bench import Bench
from benchmarks.cases import CASES
from benchmarks.measure import Failed, Skipped, least_visible_peak
from benchmarks.programs import VERSION_FLAGS, version
from benchmarks.table import Result
from gemmalock.version import VERSION

GIB = 2**30
#: What the largest case has at once, its own copy and two of others; and the case that is too large for tmpfs.
NEEDED, NEEDED_QUICK = 4 * GIB, GIB // 4
INTERRUPTED = 2
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the chosen cases. The exit code: 0, 1 when a case failed, 2 when it was interrupted."""
    asked = _asked(arguments)
    load = os.getloadavg()[0]
    for number in _INTERRUPTS:
        signal.signal(number, _interrupt)
    try:
        with _folders(asked) as (work, spacious):
            bench = Bench(work, spacious, asked.runs or (1 if asked.quick else 3), asked.quick, _tell)
            results, failed = _measured(bench, asked.cases or list(CASES))
    except KeyboardInterrupt:
        print("interrupted; everything is cleaned up", file=sys.stderr)
        return INTERRUPTED
    text = table.page(results, circumstances(bench, load), least_visible_peak())
    print(text)
    if asked.write:
        table.write(asked.write, text)
    return 1 if failed else 0


def circumstances(bench: Bench, load: float) -> str:
    """What the figures were taken with, and how busy the machine was before."""
    versions = [f"{name} {number}" for name in VERSION_FLAGS if (number := version(name))]
    system = f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}"
    rounds = "1 round" if bench.runs == 1 else f"{bench.runs} rounds, in turn"
    with_these = f"gemmalock {VERSION}, Python {platform.python_version()}, {', '.join(versions)}"
    line = f"{with_these}; {system}, {os.cpu_count()} cores, load {load:.1f} before; {rounds}."
    return f"{line} **`--quick`: sizes are a fraction, and no figure means anything.**" if bench.quick else line


def _measured(bench: Bench, names: Sequence[str]) -> tuple[list[Result], bool]:
    results: list[Result] = []
    failed = False
    for name in names:
        try:
            results += CASES[name](bench)
        except Skipped as reason:
            results.append(Result(name, notes=(f"skipped: {reason}.",)))
        except Failed as error:
            failed = True
            results.append(Result(name, notes=(f"**failed**: {error}",)))
    return results, failed


@contextlib.contextmanager
def _folders(asked: argparse.Namespace) -> Iterator[tuple[Path, Path]]:
    """A folder on tmpfs, where there is one with room, and one on the disk, or both where it was asked for; both are
    removed."""
    place = asked.folder or _tmpfs(NEEDED_QUICK if asked.quick else NEEDED)
    prefix = "gemmalock-benchmarks-"
    with (
        tempfile.TemporaryDirectory(prefix=prefix, dir=place) as work,
        tempfile.TemporaryDirectory(prefix=prefix, dir=asked.folder) as spacious,
    ):
        yield Path(work).resolve(), Path(spacious).resolve()


def _tmpfs(needed: int) -> Path | None:
    """A tmpfs with that many bytes of room, if there is one."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= needed:
        return memory
    _tell("no tmpfs with room enough: the disk takes part in every figure")
    return None


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says; whatever cannot be is told before anything is measured."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.cases if name not in CASES]:
        parser.error(f"there is no case `{unknown[0]}`; there are {', '.join(CASES)}")
    if asked.runs is not None and asked.runs < 1:
        parser.error("--runs must be at least 1")
    if asked.write:
        try:
            table.around(asked.write)
        except (OSError, ValueError) as error:
            parser.error(str(error))
    return asked


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure gemmalock beside other programs."
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; none: all of them")
    parser.add_argument("--runs", type=int, metavar="N", help="rounds of each case (3; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="small sizes: only whether everything works")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="work there, instead of on tmpfs")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also put the tables between the marks of a file")
    return parser


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Once is enough: what is being cleaned up is not to be left half-way.
    for again in _INTERRUPTS:
        signal.signal(again, signal.SIG_IGN)
    raise KeyboardInterrupt


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

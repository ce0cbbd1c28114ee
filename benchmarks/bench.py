"""The workbench of a run: where it works, how often and how large, and what stands side by side."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.content import Served
from benchmarks.measure import Contender, Ratio, Readings, in_turn
from benchmarks.programs import missing
from benchmarks.servers import Server
from benchmarks.table import Result, Row

CHECKOUT = Path(__file__).resolve().parents[1]
#: `--quick` divides sizes and counts by these: it shows that everything works, and no figure of it means anything.
QUICK_SIZE, QUICK_COUNT = 64, 50
_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "bytes"))


@dataclass(frozen=True, slots=True)
class Bench:
    """`work` is an empty folder on tmpfs, `spacious` one for what is too large for it; both go when all is done."""

    work: Path
    spacious: Path
    runs: int
    quick: bool
    tell: Callable[[str], None]

    def size(self, full: int) -> int:
        """A size of a case, in bytes."""
        return full // QUICK_SIZE if self.quick else full

    def count(self, full: int) -> int:
        """A number of files."""
        return full // QUICK_COUNT if self.quick else full

    def shown(self, full: int) -> str:
        """That size in words, as `1 GiB`."""
        size = self.size(full)
        unit, name = next((unit, name) for unit, name in _UNITS if size >= unit)
        return f"{size // unit} {name}"

    def environment(self, added: Mapping[str, str] | None = None) -> dict[str, str]:
        """What every program finds: an empty home, no proxies, no settings of a person."""
        home = self.work / "home"
        home.mkdir(exist_ok=True)
        return {
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "PATH": os.environ.get("PATH", os.defpath),
            "TMPDIR": str(self.work),
            **(added or {}),
        }


@dataclass(frozen=True, slots=True)
class Job:
    """The files that each contender of a case has to get, all from one server. `folder` is the case's own; commands
    begin with `prefix`."""

    bench: Bench
    folder: Path
    server: Server
    files: tuple[Served, ...]
    prefix: tuple[str, ...] = ()

    @property
    def file(self) -> Served:
        """The only file, where there is one."""
        (file,) = self.files
        return file

    def url(self, file: Served) -> str:
        """Where a file is had."""
        return f"{self.server.url}/{file.name}"


@dataclass(frozen=True, slots=True)
class Rival:
    """Who stands beside gemmalock, the target against it (None: shown without one), and the programs that it needs."""

    contender: Contender
    at_most: float | None
    needs: tuple[str, ...]


def compare(bench: Bench, title: str, ours: Contender, rivals: Sequence[Rival]) -> Result:
    """Run gemmalock and those rivals that are installed in turn; a row a rival."""
    present = [rival.contender for rival in rivals if not missing(rival.needs)]
    readings, failures = in_turn([ours, *present], bench.runs, lambda text: bench.tell(f"{title}: {text}"))
    rows = tuple(_row(title, ours, rival, readings) for rival in rivals)
    absent = sorted({name for rival in rivals for name in missing(rival.needs)})
    return Result(title, rows, readings, (*(f"`{name}` is not installed." for name in absent), *failures))


def seconds(readings: Readings, name: str) -> list[float]:
    """The wall seconds of a contender, round by round."""
    return [reading.seconds for reading in readings[name]]


def empty(folder: Path) -> None:
    """Make it an empty folder, whatever is there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _row(title: str, ours: Contender, rival: Rival, readings: Readings) -> Row:
    name = rival.contender.name
    came = Ratio.of(seconds(readings, ours.name), seconds(readings, name)) if name in readings else None
    return Row(title, name, came, rival.at_most)

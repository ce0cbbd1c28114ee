"""The case of a model on a hub: killed at half, by which time the link that it came by has expired."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import contenders
from benchmarks.bench import Bench, Job, Rival, compare, empty
from benchmarks.content import random_file
from benchmarks.fetching import MIB
from benchmarks.keeping import ATTEMPTS
from benchmarks.measure import Command, Contender, Failed, Ratio, kill, run, started
from benchmarks.signing import REPOSITORY, SigningHub, signing_hub
from benchmarks.table import Result, Row

#: Until the kill a connection gets this part of the file a second: at full speed all would be here before it.
PART_A_SECOND = 8


@dataclass(slots=True)
class KilledAtHalf:
    """A program that is killed at half before each round; what the hub sent twice."""

    hub: SigningHub
    size: int
    contender: Contender
    #: As it is before the program runs for the first time.
    anew: Callable[[], None]
    begun: int = 0
    twice: list[float] = field(default_factory=list)

    def contend(self) -> Contender:
        """The run after the kill, which is the one that is measured."""
        return replace(self.contender, fresh=self.fresh, check=self.check)

    def fresh(self) -> None:
        """Begin anew, kill it at half, children too, and let its link expire."""
        self.hub.slow_down(self.size // PART_A_SECOND)
        for _ in range(ATTEMPTS):
            self.anew()
            self.begun = self.hub.mark()
            if self._killed_at_half():
                break
        else:
            raise Failed(f"every run of {self.contender.name} was over before it could be killed at half")
        self.hub.mark()
        self.hub.slow_down(0)
        self.hub.expire_links()

    def check(self) -> None:
        """Whether all is here, and how many bytes were sent that had been sent before."""
        self.contender.check()
        self.twice.append((sum(self.hub.since(self.begun)) - self.size) / MIB)

    def _killed_at_half(self) -> bool:
        with started(self.contender.command) as process:
            while process.poll() is None:
                if (self.hub.sent() - self.begun) * 2 >= self.size:
                    kill(process)
                    return True
                time.sleep(0.005)
        return False


def expiring(bench: Bench) -> list[Result]:
    """256 MiB from a hub, killed at half, then to the end by a new link."""
    size = bench.size(256 * MIB)
    with _hub(bench, size) as (job, hub):
        ours, theirs = _gemmalock(job), contenders.hf(job, REPOSITORY)
        cases = [KilledAtHalf(hub, size, contender, contender.fresh) for contender in (ours, theirs)]
        title = f"{bench.shown(256 * MIB)} from a hub, killed at half, its link expired, then to the end"
        result = compare(bench, title, cases[0].contend(), [Rival(cases[1].contend(), 1.0, ("hf",))])
        rows = [
            Row(title, f"{case.contender.name}, by itself: fetched twice", Ratio.plain(case.twice), at_most, "MiB")
            for case, at_most in zip(cases, (4.0, None), strict=True)
            if case.twice
        ]
        return [replace(result, rows=(*result.rows, *rows))]


@contextlib.contextmanager
def _hub(bench: Bench, size: int) -> Iterator[tuple[Job, SigningHub]]:
    folder = bench.work / "case"
    empty(folder)
    served = folder / "served"
    served.mkdir()
    file = random_file(served, "model.gguf", size)
    try:
        with signing_hub(served, folder / "hub.log") as hub:
            yield Job(bench, folder, hub, (file,)), hub
    finally:
        empty(folder)


def _gemmalock(job: Job) -> Contender:
    """A `sync` of a project whose manifest names the repository."""
    source, folder = job.folder / "template", job.folder / "gemmalock"
    empty(source)
    manifest = f"version: 1\nmodels:\n  model:\n    source: hf://{REPOSITORY}\n    files: ['*.gguf']\n"
    (source / "gemmalock.yaml").write_text(manifest, "utf-8")
    run(_at_the_hub(job, source, "lock"))

    def fresh() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)

    return Contender(
        "`gemmalock sync`",
        _at_the_hub(job, folder, "sync", "--locked"),
        fresh,
        lambda: contenders.look(folder / "models" / "model", job.files),
        lambda: shutil.rmtree(folder, ignore_errors=True),
    )


def _at_the_hub(job: Job, folder: Path, *arguments: str) -> Command:
    command = contenders.gemmalock_command(job, folder, *arguments)
    return replace(command, environment={**command.environment, "HF_ENDPOINT": job.server.url})

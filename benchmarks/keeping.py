"""The cases of what is already here: after a kill, in memory, in place, in the store."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import contenders
from benchmarks.bench import Bench, Job, Rival, compare, seconds
from benchmarks.content import Served, random_files, sparse_file
from benchmarks.fetching import GIB, MIB, one_file, serving
from benchmarks.measure import Contender, Failed, Ratio, Skipped, in_turn, kill, run, started
from benchmarks.servers import Hosting
from benchmarks.table import Result, Row

#: The copy of the largest file, and room to breathe.
SPACIOUS = 12 * GIB
#: How often a sync may be over before it was killed at half.
ATTEMPTS = 5
#: What a connection gets, in bytes a second, until the kill: at full speed all would be here before anybody looked.
RATE_UNTIL_KILLED = 50_000_000


@dataclass(slots=True)
class Killed:
    """A sync that is killed at half before each round; what the server sent in all, and how it was divided."""

    job: Job
    contender: Contender
    #: While this file is there, the server is slow.
    slow: Path
    mark: int = 0
    at_kill: int = 0
    twice: list[float] = field(default_factory=list)
    rest: list[float] = field(default_factory=list)

    def fresh(self) -> None:
        """Begin anew, and kill it at half, children too."""
        for _ in range(ATTEMPTS):
            self.contender.fresh()
            self.mark = self.job.server.mark()
            self.slow.touch()
            was_killed = self._killed_at_half()
            self.slow.unlink()
            if was_killed:
                self.at_kill = self.job.server.mark()
                return
        raise Failed("every sync was over before it could be killed at half")

    def check(self) -> None:
        """Whether all is here, and how many bytes were sent that had been sent before."""
        self.contender.check()
        server, size = self.job.server, self.job.file.size
        before = server.since(self.mark)
        second = server.since(self.at_kill)
        connections = max(1, len(before) - len(second))
        self.twice.append((sum(before) - size) / connections / MIB)
        self.rest.append(sum(second) / size)

    def _killed_at_half(self) -> bool:
        command = self.contender.command
        watched = replace(command, arguments=(*command.arguments, "--progress", "json"))
        with started(watched, subprocess.DEVNULL, subprocess.PIPE) as process:
            assert process.stderr is not None
            with process.stderr as events:
                for line in events:
                    if line.startswith(b"{") and _have(line) * 2 >= self.job.file.size:
                        kill(process)
                        break
            return process.wait() < 0


def killed(bench: Bench) -> list[Result]:
    """1 GiB whose sync is killed at half, then to the end; beside the cold run."""
    slow = bench.work / "slow"
    slower = f"location / {{ if (-f {slow}) {{ set $limit_rate {RATE_UNTIL_KILLED}; }} }}"
    with serving(bench, one_file(bench, GIB), Hosting(locations=slower)) as job:
        cold = contenders.gemmalock(job, name="the cold run")
        case = Killed(job, cold, slow)
        resumed = replace(cold, name="the run after the kill", fresh=case.fresh, check=case.check)
        title = f"{bench.shown(GIB)}, killed at half, then to the end"
        result = compare(bench, title, resumed, [Rival(cold, 0.6, ())])
        twice = Row(title, "by itself: served twice, a connection", Ratio.plain(case.twice), 4.0, "MiB")
        share = Ratio.plain([100 * rest for rest in case.rest])
        note = (
            f"until the kill the server gave each connection {RATE_UNTIL_KILLED // 10**6} MB/s; "
            f"the run after it was sent {share.least:.0f} – {share.most:.0f} % of the file."
        )
        return [replace(result, rows=(*result.rows, twice), notes=(*result.notes, note))]


def memory(bench: Bench) -> list[Result]:
    """The peak memory of a small file beside that of a huge one, which is too large for tmpfs."""
    if shutil.disk_usage(bench.spacious).free < bench.size(SPACIOUS):
        raise Skipped(f"it needs {bench.shown(SPACIOUS)} of free disk for temporary files")
    sizes = {"small": 10 * MIB, "huge": 10 * GIB}
    title = f"peak memory, {bench.shown(sizes['small'])} against {bench.shown(sizes['huge'])}"
    peaks: dict[str, list[float]] = {}
    result = Result(title)
    # One server after the other: each has its own project.
    for name, full in sizes.items():
        shown = bench.shown(full)
        roomy = replace(bench, work=bench.spacious) if name == "huge" else bench
        with serving(roomy, _sparse(bench.size(full))) as job:
            # A peak hardly differs from run to run, and the huge file takes long.
            ours = contenders.gemmalock(job, name=f"gemmalock sync, {shown}")
            readings, _ = in_turn([ours], 1, lambda text: bench.tell(f"{title}: {text}"))
        peaks[name] = [reading.peak_bytes / MIB for reading in readings[ours.name]]
        result = replace(result, readings={**result.readings, **readings})
    rows = (
        Row(title, "the small one", Ratio.of(peaks["huge"], peaks["small"]), 1.1),
        Row(title, "by itself: the huge one's peak", Ratio.plain(peaks["huge"]), 96.0, "MiB"),
    )
    return [replace(result, rows=rows, notes=("one round each; the huge file is written to the disk.",))]


def verify(bench: Bench) -> list[Result]:
    """Four files in place, hashed."""
    with serving(bench, lambda folder: tuple(random_files(folder, "model", 4, bench.size(256 * MIB)))) as job:
        synced = _synced(job)
        ours = Contender("gemmalock verify", contenders.gemmalock_command(job, synced, "verify"))
        names = [f"model/{file.name}" for file in job.files]
        openssl = contenders.command_of(bench, synced / "models", "openssl", "dgst", "-sha256", *names)
        rival = Rival(Contender("`openssl dgst -sha256` of the four", openssl), 0.60, ("openssl",))
        return [compare(bench, f"`verify` of 4 × {bench.shown(256 * MIB)}", ours, [rival])]


def second(bench: Bench) -> list[Result]:
    """Another project that locks what the store has already."""
    with serving(bench, one_file(bench, GIB)) as job:
        store = _synced(job) / "store"
        first = contenders.gemmalock(job, name="sync of a second project")
        command = contenders.gemmalock_command(job, first.command.folder, "sync", "--locked", store=store)
        title = f"second project, the same {bench.shown(GIB)} in the store"
        fetched: list[float] = []
        disk: list[float] = []
        before = {"mark": 0, "disk": 0}

        def fresh() -> None:
            first.fresh()
            before.update(mark=job.server.mark(), disk=disk_use(job.folder))

        def check() -> None:
            first.check()
            disk.append((disk_use(job.folder) - before["disk"]) / MIB)
            fetched.append(sum(job.server.since(before["mark"])) / MIB)

        ours = replace(first, command=command, fresh=fresh, check=check)
        readings, _ = in_turn([ours], bench.runs, lambda text: bench.tell(f"{title}: {text}"))
        rows = (
            Row(title, "by itself: wall time", Ratio.plain(seconds(readings, ours.name)), 0.2, "s"),
            Row(title, "by itself: bytes fetched", Ratio.plain(fetched), 0.0, "MiB"),
            Row(title, "by itself: more disk, its ledger aside", Ratio.plain(disk), 0.1, "MiB"),
        )
        return [Result(title, rows, readings)]


def disk_use(folder: Path) -> int:
    """The bytes that a folder takes on disk, a file with several names once."""
    seen = {(status.st_dev, status.st_ino): status.st_blocks * 512 for status in map(Path.lstat, folder.rglob("*"))}
    return sum(seen.values())


def _sparse(size: int) -> Callable[[Path], tuple[Served, ...]]:
    return lambda folder: (sparse_file(folder, "model.gguf", size),)


def _synced(job: Job) -> Path:
    """A project of the job that has all it locks in place. Its folder."""
    folder = job.folder / "synced"
    shutil.copytree(contenders.template(job), folder)
    run(contenders.gemmalock_command(job, folder, "sync", "--locked"))
    return folder


def _have(line: bytes) -> int:
    """How far a transfer has come, by an event of `--progress json`."""
    event = json.loads(line)
    return int(event.get("have", 0)) if event.get("event") == "progress" else 0

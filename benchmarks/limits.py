"""What the machine itself allows: nobody can be faster than these."""

from __future__ import annotations

import statistics

from benchmarks import contenders
from benchmarks.bench import Bench, Job, seconds
from benchmarks.fetching import GIB, one_file, serving
from benchmarks.measure import Contender, in_turn
from benchmarks.programs import found, missing
from benchmarks.table import Result


def limits(bench: Bench) -> list[Result]:
    """The network to nowhere, the digest by one core, and a write to tmpfs, each of 1 GiB."""
    with serving(bench, one_file(bench, GIB)) as job:
        present = [one for one in _limits(job) if found(one.command.arguments[0])]
        absent = missing([one.command.arguments[0] for one in _limits(job)])
        title = f"physical limits, {bench.shown(GIB)}"
        readings, failures = in_turn(present, bench.runs, lambda text: bench.tell(f"{title}: {text}"))
        rates = (
            f"{name}, {bench.size(GIB) / statistics.median(seconds(readings, name)) / 1e9:.2f} GB/s."
            for name in readings
        )
        return [Result(title, (), readings, (*rates, *(f"`{name}` is not installed." for name in absent), *failures))]


def _limits(job: Job) -> list[Contender]:
    served = job.folder / "served" / job.file.name
    written = job.folder / "written"
    lines = {
        "loopback to nowhere: `curl -o /dev/null`": ("curl", "-fsS", "-o", "/dev/null", job.url(job.file)),
        "one core's sha256: `openssl dgst -sha256`": ("openssl", "dgst", "-sha256", str(served)),
        "write: `dd bs=1M`, of what is in memory": ("dd", f"if={served}", f"of={written}", "bs=1M"),
    }
    return [
        Contender(
            name,
            contenders.command_of(job.bench, job.folder, *arguments),
            clean=lambda: written.unlink(missing_ok=True),
        )
        for name, arguments in lines.items()
    ]

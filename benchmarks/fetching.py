"""The cases where bytes come over a network."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import contenders, hub, network
from benchmarks.bench import Bench, Job, Rival, compare, empty
from benchmarks.content import Served, random_file, random_files
from benchmarks.measure import Contender
from benchmarks.servers import PLAIN, Hosting, nginx
from benchmarks.table import Result

KIB, MIB, GIB = 2**10, 2**20, 2**30
#: What a slow host gives each connection, in bytes a second.
RATE = 20_000_000
#: aria2c at its best: it splits small rests too, and does not write zeros first.
AT_ITS_BEST = ("-k1M", "--file-allocation=none")


def large(bench: Bench) -> list[Result]:
    """1 GiB, checked, as fast as the loopback goes."""
    with serving(bench, one_file(bench, GIB), as_hub=True) as job:
        rivals = [
            Rival(contenders.verified(job, "curl"), 0.75, ("curl", "openssl")),
            Rival(contenders.aria2c(job, "-x8", checked=True), 0.60, ("aria2c",)),
            Rival(contenders.hf(job, hub.REPOSITORY), 0.60, ("hf",)),
            Rival(contenders.verified(job, "wget"), None, ("wget", "openssl")),
            Rival(contenders.aria2c(job, "-x8", "-s8", *AT_ITS_BEST, checked=True), None, ("aria2c",)),
        ]
        return [compare(bench, f"{bench.shown(GIB)}, digest known", contenders.gemmalock(job), rivals)]


def throttled(bench: Bench) -> list[Result]:
    """256 MiB from a host that limits each connection."""
    with serving(bench, one_file(bench, 256 * MIB), Hosting(rate=RATE)) as job:
        return [_throttled(job, connections) for connections in (8, 16)]


def many(bench: Bench) -> list[Result]:
    """Many files: small ones, where what counts is round trips and work a file, and larger ones."""
    return [_many(bench, 1000, 16 * KIB, (1.3, 0.1)), _many(bench, 200, MIB, (0.8, 0.3))]


def lossy(bench: Bench) -> list[Result]:
    """8 MiB over a long and lossy way."""
    with network.lossy_link() as link:
        hosting = Hosting(host=link.address, prefix=link.server_prefix)
        with serving(bench, one_file(bench, 8 * MIB), hosting, link.client_prefix) as job:
            rivals = [
                Rival(contenders.aria2c(job, "-x8"), 1.0, ("aria2c",)),
                Rival(contenders.curl(job), 0.2, ("curl",)),
                # Left to itself aria2c splits nothing below 20 MiB: this is the one that opens eight connections.
                Rival(contenders.aria2c(job, "-x8", "-s8", *AT_ITS_BEST), 1.0, ("aria2c",)),
            ]
            ours = contenders.gemmalock(job, "--connections", "8")
            return [compare(bench, f"{bench.shown(8 * MIB)}, 40 ms, 1 % loss", ours, rivals)]


def one_file(bench: Bench, full_size: int) -> Callable[[Path], tuple[Served, ...]]:
    """What makes the file of a case that has only one."""
    return lambda folder: (random_file(folder, "model.gguf", bench.size(full_size)),)


@contextlib.contextmanager
def serving(
    bench: Bench,
    make: Callable[[Path], tuple[Served, ...]],
    hosting: Hosting = PLAIN,
    prefix: tuple[str, ...] = (),
    *,
    as_hub: bool = False,
) -> Iterator[Job]:
    """The files that `make` makes, behind an nginx; `as_hub` also behind a stand-in hub."""
    folder = bench.work / "case"
    empty(folder)
    served = folder / "served"
    served.mkdir()
    files = make(served)
    if as_hub:
        hosting = hub.hosting(served, files, folder / "answers")
    try:
        with nginx(served, folder / "nginx", hosting) as server:
            yield Job(bench, folder, server, files, prefix)
    finally:
        empty(folder)


def _throttled(job: Job, connections: int) -> Result:
    flags = (f"-x{connections}", f"-s{connections}", *AT_ITS_BEST)
    rivals = [Rival(contenders.aria2c(job, *flags), 1.05, ("aria2c",))]
    ours = contenders.gemmalock(job, "--connections", str(connections))
    return compare(job.bench, f"{job.bench.shown(256 * MIB)}, 20 MB/s each of {connections} connections", ours, rivals)


def _many(bench: Bench, full_count: int, full_size: int, targets: tuple[float, float]) -> Result:
    count, size = bench.count(full_count), bench.size(full_size)
    with serving(bench, lambda folder: tuple(random_files(folder, "part", count, size)), as_hub=True) as job:
        ours: Contender = contenders.gemmalock(job)
        rivals = [
            Rival(contenders.aria2c_list(job, "-j16"), targets[0], ("aria2c",)),
            Rival(contenders.hf(job, hub.REPOSITORY), targets[1], ("hf",)),
            Rival(contenders.curl_parallel(job), None, ("curl",)),
        ]
        return compare(bench, f"{count:,} × {bench.shown(full_size)}", ours, rivals)

"""The cases with next to nothing to do: what counts is the start of the program, a stat a file, a round trip a file."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import contenders, network
from benchmarks.bench import CHECKOUT, Bench, Job, empty, seconds
from benchmarks.content import random_files
from benchmarks.fetching import serving
from benchmarks.measure import Command, Contender, Failed, Ratio, in_turn, run
from benchmarks.programs import found, needed
from benchmarks.servers import PLAIN, Hosting
from benchmarks.table import Result, Row

#: Runs of some hundredths of a second need more rounds than those of seconds.
ROUNDS = 7
BARE = "`python -c pass`"
#: A command of one file with nothing to do → what it may take at most of a bare Python.
COMMANDS = {
    ("sync",): 3.5,
    ("status",): 3.5,
    ("sync", "--check"): 3.5,
    ("lock", "--check"): 3.5,
    ("path", "m"): 3.2,
    ("--help",): 3.2,
}
MEMBERS, FILES_EACH = 100, 100
OF_MANY = 7.0
URLS = 1000
#: How many connections curl has at once where it is not told.
CURL_AT_ONCE = 50


def nothing(bench: Bench) -> list[Result]:
    """A project of one file in which there is nothing to do."""
    folder = bench.work / "case"
    _project(folder, 1)
    run(_command(bench, folder, "sync"))
    title = "nothing to do, 1 file"
    result = _beside_a_bare_python(bench, folder, title, COMMANDS)
    empty(folder)
    return [result]


def monorepo(bench: Bench) -> list[Result]:
    """A workspace of many members and files in which there is nothing to do."""
    folder = bench.work / "case"
    empty(folder)
    members, each = max(2, bench.count(MEMBERS)), max(2, bench.count(FILES_EACH))
    (folder / "gemmalock.yaml").write_text('version: 1\nworkspace:\n  members: ["apps/*"]\n', "utf-8")
    for number in range(members):
        _project(folder / "apps" / f"app{number:03}", each)
    run(_command(bench, folder, "sync"))
    title = f"nothing to do, {members * each:,} files in {members} members"
    many = {("sync",): OF_MANY, ("status",): OF_MANY, ("sync", "--check"): OF_MANY, ("lock", "--check"): OF_MANY}
    result = _beside_a_bare_python(bench, folder, title, many)
    empty(folder)
    return [result]


def locking(bench: Bench) -> list[Result]:
    """`lock` of many files by URL, beside curl that asks for the same heads."""
    needed("curl")
    results = [_locking(bench, PLAIN, (), "loopback", 6.0)]
    with network.lossy_link(loss=0.0) as link:
        hosting = Hosting(host=link.address, prefix=link.server_prefix)
        results.append(_locking(bench, hosting, link.client_prefix, "40 ms round trips", 1.5))
    return results


def _locking(bench: Bench, hosting: Hosting, prefix: tuple[str, ...], where: str, at_most: float) -> Result:
    count = bench.count(URLS)
    with serving(bench, lambda folder: tuple(random_files(folder, "part", count, 64)), hosting, prefix) as job:
        ours, curl = _locker(job), _heads(job)
        title = f"`lock` of {count:,} URLs, {where}"
        readings, failures = in_turn([ours, curl], bench.runs, lambda text: bench.tell(f"{title}: {text}"))
        came = Ratio.of(seconds(readings, ours.name), seconds(readings, curl.name)) if curl.name in readings else None
        mark = job.server.mark()
        ours.fresh()
        run(ours.command)
        asked = Row(title, "by itself: requests a file", Ratio.plain([job.server.asked(mark) / count]), 1.0, "")
        return Result(title, (Row(title, curl.name, came, at_most), asked), readings, failures)


def _locker(job: Job) -> Contender:
    """A first `lock` of files whose digests are declared."""
    folder = job.folder / "locked"

    def fresh() -> None:
        empty(folder)
        entries = "".join(f"      - url: {job.url(file)}\n        sha256: {file.sha256}\n" for file in job.files)
        (folder / "gemmalock.yaml").write_text(f"version: 1\nmodels:\n  m:\n    files:\n{entries}", "utf-8")

    def check() -> None:
        if (folder / "gemmalock.lock").read_text("utf-8").count('"task_id"') != len(job.files):
            raise Failed("the lock has not every file")

    command = contenders.gemmalock_command(job, folder, "lock", "-q")
    return Contender("gemmalock lock", command, fresh, check)


def _heads(job: Job) -> Contender:
    listed = job.folder / "heads.list"
    listed.write_text("".join(f'url = "{job.url(file)}"\noutput = "/dev/null"\n' for file in job.files), "utf-8")
    arguments = ("-fsSI", "--parallel", "--parallel-max", str(CURL_AT_ONCE), "-K", str(listed))
    command = Command((*job.prefix, found("curl") or "curl", *arguments), job.folder, job.bench.environment())
    return Contender("`curl -I --parallel`", command)


def _beside_a_bare_python(bench: Bench, folder: Path, title: str, commands: dict[tuple[str, ...], float]) -> Result:
    ours = {name: Contender(f"gemmalock {' '.join(name)}", _command(bench, folder, *name)) for name in commands}
    environment = _command(bench, folder).environment
    bare = Contender(BARE, Command((sys.executable, "-c", "pass"), folder, environment))
    rounds = bench.runs * ROUNDS if not bench.quick else 1
    readings, failures = in_turn(
        [*ours.values(), bare], rounds, lambda text: bench.tell(f"{title}: {text}") if "run 1 " in text else None
    )
    ratios = {name: Ratio.of(seconds(readings, one.name), seconds(readings, BARE)) for name, one in ours.items()}
    rows = tuple(Row(title, f"{BARE}, by `{' '.join(name)}`", ratios[name], commands[name]) for name in commands)
    return Result(title, rows, readings, failures)


def _command(bench: Bench, folder: Path, *arguments: str) -> Command:
    environment = bench.environment({"GEMMALOCK_STORE": str(bench.work / "store"), "PYTHONPATH": str(CHECKOUT)})
    return Command((*contenders.GEMMALOCK, *arguments), folder, environment)


def _project(folder: Path, count: int) -> None:
    """A manifest with so many small files of a folder beside it."""
    weights = folder / "weights"
    empty(weights)
    for number in range(count):
        (weights / f"part{number:03}.bin").write_text(f"{folder.name} {number}", "utf-8")
    text = "version: 1\nmodels:\n  m:\n    source: file://weights\n    files: ['*']\n"
    (folder / "gemmalock.yaml").write_text(text, "utf-8")

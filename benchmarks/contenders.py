"""How each program is told to do the job of a case. Every one begins in a new folder, and its files are looked at."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.bench import CHECKOUT, Bench, Job, empty
from benchmarks.content import Served
from benchmarks.measure import Command, Contender, Failed, run
from benchmarks.programs import found

GEMMALOCK = (sys.executable, "-m", "gemmalock")


def template(job: Job) -> Path:
    """A project that declares the job's files with their digests, locked and not yet synced. Its folder."""
    folder = job.folder / "template"
    empty(folder)
    entries = "".join(
        f"      - url: {job.url(file)}\n        sha256: {file.sha256}\n        size: {file.size}\n"
        for file in job.files
    )
    manifest = f"version: 1\nmodels:\n  model:\n    files:\n{entries}"
    (folder / "gemmalock.yaml").write_text(manifest, "utf-8")
    run(gemmalock_command(job, folder, "lock"))
    return folder


def gemmalock_command(job: Job, folder: Path, *arguments: str, store: Path | None = None) -> Command:
    """A gemmalock command in a folder, with a store of its own there or the one that is named."""
    environment = job.bench.environment(
        {"GEMMALOCK_STORE": str(store or folder / "store"), "PYTHONPATH": str(CHECKOUT)}
    )
    return Command((*job.prefix, *GEMMALOCK, *arguments), folder, environment)


def gemmalock(job: Job, *flags: str, name: str = "gemmalock sync") -> Contender:
    """A first `sync` of a locked project, store and all empty."""
    source, folder = template(job), job.folder / "gemmalock"

    def fresh() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)

    def check() -> None:
        look(folder / "models" / "model", job.files)

    command = gemmalock_command(job, folder, "sync", "--locked", *flags)
    return Contender(" ".join((name, *flags)), command, fresh, check, _removing(folder))


def curl(job: Job) -> Contender:
    """curl, which checks nothing."""
    file = job.file
    return _other(job, "curl -o F", ("curl", "-fsS", "-o", file.name, job.url(file)))


def verified(job: Job, fetcher: str) -> Contender:
    """curl or wget, and then openssl over what came."""
    file = job.file
    fetch = {"curl": f"curl -fsS -o {file.name}", "wget": f"wget -q -O {file.name}"}[fetcher]
    script = f"{fetch} {shlex.quote(job.url(file))} && openssl dgst -sha256 {file.name} | grep -q {file.sha256}"
    flag = {"curl": "-o", "wget": "-O"}[fetcher]
    return _other(job, f"{fetcher} {flag} F && openssl dgst -sha256 F", ("sh", "-c", script))


def aria2c(job: Job, *flags: str, checked: bool = False) -> Contender:
    """aria2c for one file, `checked` by the digest that it is given."""
    checksum = (f"--checksum=sha-256={job.file.sha256}",) if checked else ()
    name = " ".join(("aria2c", *flags, *(["--checksum=sha-256=…"] if checked else [])))
    return _other(job, name, ("aria2c", "--no-conf=true", "-q", *flags, *checksum, job.url(job.file)))


def aria2c_list(job: Job, *flags: str) -> Contender:
    """aria2c for a list of files."""
    listed = job.folder / "aria2c.list"
    listed.write_text("".join(f"{job.url(file)}\n" for file in job.files), "utf-8")
    return _other(
        job, " ".join(("aria2c", *flags, "-i")), ("aria2c", "--no-conf=true", "-q", *flags, "-i", str(listed))
    )


def curl_parallel(job: Job) -> Contender:
    """curl for a list of files, sixteen at once."""
    listed = job.folder / "curl.list"
    listed.write_text("".join(f'url = "{job.url(file)}"\noutput = "{file.name}"\n' for file in job.files), "utf-8")
    arguments = ("curl", "-fsS", "--parallel", "--parallel-max", "16", "-K", str(listed))
    return _other(job, "curl --parallel --parallel-max 16", arguments)


def hf(job: Job, repository: str) -> Contender:
    """The hub's own client, from a stand-in hub on the same server; it is told to ask nobody else."""
    only_here = {
        "HF_ENDPOINT": job.server.url,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(job.folder / "hf" / "home"),
    }
    arguments = ("hf", "download", repository, "--local-dir", str(job.folder / "hf"))
    return _other(job, "hf download", arguments, only_here)


def look(folder: Path, files: tuple[Served, ...]) -> None:
    """Raises Failed where a file is missing or has another size."""
    for file in files:
        try:
            size = (folder / file.name).stat().st_size
        except FileNotFoundError:
            size = -1
        if size != file.size:
            raise Failed(f"`{file.name}` did not come whole: {size} of {file.size} bytes")


def command_of(bench: Bench, folder: Path, *arguments: str) -> Command:
    """A command in the environment of the bench, the program by where it is."""
    return Command((found(arguments[0]) or arguments[0], *arguments[1:]), folder, bench.environment())


def _other(job: Job, name: str, arguments: tuple[str, ...], added: Mapping[str, str] | None = None) -> Contender:
    folder = job.folder / arguments[0]
    located = (*job.prefix, found(arguments[0]) or arguments[0], *arguments[1:])
    command = Command(located, folder, job.bench.environment(added))
    return Contender(f"`{name}`", command, lambda: empty(folder), lambda: look(folder, job.files), _removing(folder))


def _removing(folder: Path) -> Callable[[], None]:
    return lambda: shutil.rmtree(folder, ignore_errors=True)

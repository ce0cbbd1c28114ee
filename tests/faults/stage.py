"""One project, one origin that can fail, the real command line, and the oracles that hold after every fault.

    stage.fault(script)                 # what goes wrong
    ran = stage.sync()                  # the real `gemmalock sync --json`, watched for time and memory
    survives(stage, ran, budget=SIZE)   # every oracle; then the fault ends, and ONE sync mends it all

The oracles are those of the catalogue: O1 a name in the root shows the locked bytes, the previous ones or nothing; O2
exit 0 means that every file is there; O3 nothing outside of the managed folders changed; O4 and O5 a secret of the
environment reaches nobody; O6 one sync mends it, and nothing is left over; O7 no more bytes were served than the
budget; O8 time and memory; O9 nothing that a terminal obeys is printed; O10 a dry run changes no byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import gemmalock
from gemmalock.codec.report_json import report_problems
from gemmalock.errors import GemmalockError
from gemmalock.transfer.team import CONNECTIONS
from tests.faults.origin import CHUNK, MIB, Origin
from tests.guard import CHECKOUT
from tests.running import Project, environment
from tests.servers.scripted import Exchange, Script

#: Thirteen chunks, the last not whole: many connections take a chunk at a time.
SIZE = 12 * MIB + 17
#: How many bytes an earlier run brought, where a case begins with a partial: they end inside the sixth chunk.
KEPT = 5 * MIB + 300_000
#: What heads and the answers to HEAD may weigh.
HEADS = 64 * 1024
DEADLINE_SECONDS = 60.0
MOST_MEMORY = 200 * MIB
#: Exit codes of a process that was killed, also through `strace` and a shell, and of one whose reader went away.
KILLED = (-9, 137, 141)
SECRET = "hf_canary0canary0canary0canary0canary0"
#: C0 without tab and newline, DEL, C1, and the bidirectional controls.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
#: Soon failing, and yet patient with a busy machine: one retry.
BRISK = {"GEMMALOCK_TIMEOUT": "10", "GEMMALOCK_RETRIES": "1"}


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ended: exit code, stdout, stderr, and the most memory that it took, in bytes."""

    code: int
    out: str
    err: str
    memory: int = 0

    @property
    def report(self) -> Any:
        """Its JSON report."""
        return json.loads(self.out)

    @property
    def fetched(self) -> int:
        """How many bytes it received, what was thrown away included; 0 where it has no report."""
        return int(self.report["summary"]["bytes_fetched"]) if self.out.startswith("{") else 0

    @property
    def errors(self) -> set[str]:
        """The codes of every error in its report."""
        files = [file["error"]["code"] for file in self.report["files"] if file["error"]]
        return {*files, *(error["code"] for error in self.report["errors"])}


@dataclass
class Stage:
    """See the module. `locked` is what the root is to show (path → bytes), `before` what else it may show until then.

    `connections`: how many the commands use for a file, None where nobody says. `calm` ends the fault; `fault` is
    undone by it in any case.
    """

    folder: Path
    home: Path
    origin: Origin
    project: Project
    connections: int | None = None
    locked: dict[str, bytes] = field(default_factory=dict)
    before: dict[str, bytes] = field(default_factory=dict)
    calm: list[Callable[[], object]] = field(default_factory=list)
    program: Sequence[str] = ()
    environ: dict[str, str] = field(default_factory=dict)
    planted: Mapping[str, object] = field(default_factory=dict)

    @property
    def most_connections(self) -> int:
        """How many come to be at most: where nobody says, the pace decides, and a busy machine has a say in that."""
        return CONNECTIONS if self.connections is None else self.connections

    @property
    def root(self) -> Path:
        """The managed folder."""
        return self.project.folder / "models"

    @property
    def store(self) -> Path:
        """The store."""
        return self.home / "store"

    # --- setting up: by the library, because it is not what is tested ---

    def declare(self, *, digest: bool = True, urls: Mapping[str, str] | None = None, extra: str = "") -> None:
        """Write a manifest of every file of the origin, and plant the canaries around it."""
        lines = []
        for path, body in sorted(self.origin.files.items()):
            lines.append(f"      - url: {(urls or {}).get(path, self.origin.url + path)}\n")
            if digest:
                lines.append(f"        sha256: {hashlib.sha256(body).hexdigest()}\n        size: {len(body)}\n")
            self.locked[f"m{path}"] = body
        text = f"version: 1\nmodels:\n  m:\n    license: gemma\n    files:\n{''.join(lines)}{extra}"
        self.project.write_manifest(text)
        plant_canaries(self)

    def lock(self) -> None:
        """Lock, with a good server."""
        report = gemmalock.lock(self.project.folder)
        assert report.exit_code == 0, report

    def begin(self, kept: int = KEPT) -> None:
        """Leave a partial of `kept` bytes of the first file, as a run whose connection broke does."""

        def cut(exchange: Exchange) -> None:
            body = next(iter(self.origin.files.values()))
            tag = self.origin.tag(exchange.request.path)
            exchange.head(200, {"Content-Length": str(len(body)), **({"ETag": tag} if tag else {})})
            exchange.send(body[:kept]).close()

        self.origin.fault = cut
        report = gemmalock.sync(self.project.folder, retries=0)
        assert report.exit_code == 1, report
        self.origin.fault = None

    def fault(self, script: Script) -> None:
        """From now on the origin does this; the log is empty."""
        self.origin.forget()
        self.origin.fault = script

    def world(self, text: str) -> None:
        """Every command begins with this Python: what is broken is the machine, not the product."""
        place = self.home / "world"
        place.mkdir(exist_ok=True)
        (place / "sitecustomize.py").write_text(text, encoding="utf-8")
        self.environ["PYTHONPATH"] = os.pathsep.join((str(place), str(CHECKOUT)))
        self.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        self.planted = canaries(self)

    def heal(self) -> None:
        """The fault is over."""
        self.origin.fault = None
        for end in reversed(self.calm):
            end()
        self.calm.clear()

    # --- running the real thing ---

    def command(self, *arguments: str) -> list[str]:
        """A command line of gemmalock."""
        return [*self.program, sys.executable, "-m", "gemmalock", *arguments]

    def environment(self, added: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment that it runs in: with a secret that nobody may see."""
        return environment({**BRISK, "HF_TOKEN": SECRET, **self.environ, **(added or {})})

    def sync(self, *arguments: str, env: Mapping[str, str] | None = None) -> Ran:
        """`gemmalock sync --json`."""
        return self.run("sync", "--json", *arguments, env=env)

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> Ran:
        """Run one command to its end."""
        with self.started(*arguments, env=env) as running:
            return running.ended()

    @contextlib.contextmanager
    def started(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
        streams: Mapping[str, Any] | None = None,
        command: Sequence[str] = (),
    ) -> Iterator[Running]:
        """Start one command; what still runs at the end is killed. `streams` are further arguments of Popen."""
        out, err = self.folder / "out.txt", self.folder / "err.txt"
        with out.open("w+b") as to_out, err.open("w+b") as to_err:
            given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": to_out, "stderr": to_err}
            process = subprocess.Popen(
                list(command) or self.command(*arguments),
                cwd=folder or self.project.folder,
                env=self.environment(env),
                **{**given, **(streams or {})},
            )
            out.unlink()
            err.unlink()
            try:
                yield Running(process, to_out, to_err)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()


@dataclass
class Running:
    """A command that was started, its outputs in files so that nobody has to read along."""

    process: subprocess.Popen[bytes]
    out: Any
    err: Any
    memory: int = 0

    def ended(self, seconds: float = DEADLINE_SECONDS) -> Ran:
        """Wait for its end, and watch its memory. Fails when it hangs."""
        deadline = time.monotonic() + seconds
        while True:
            self.memory = max(self.memory, memory_of(self.process.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self.process.wait(0.02)
                return Ran(code, self._text(self.out), self._text(self.err), self.memory)
            assert time.monotonic() < deadline, "it hangs (O8)"

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Wait until something is so while it runs."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not happened():
            assert self.process.poll() is None, (self._text(self.out), self._text(self.err))
            assert time.monotonic() < deadline
            time.sleep(0.002)

    @staticmethod
    def _text(file: Any) -> str:
        file.seek(0)
        return str(file.read().decode("utf-8"))


def memory_of(process: int) -> int:
    """The most memory that a process and its children ever had in use, in bytes; 0 where nothing tells."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
        own = int(status.partition("VmHWM:")[2].split()[0]) * 1024
        children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8").split()
        return max([own, *(memory_of(int(child)) for child in children)])
    return 0


# --- the oracles -------------------------------------------------------------------------------------------


def survives(stage: Stage, ran: Ran, *, budget: int | None = None) -> Ran:
    """Check every oracle after a fault, end the fault, and check that one sync mends everything. That sync.

    `budget`: how many bytes may have come since the origin's log was emptied, the mending included; heads are free.
    Over one connection the origin has sent no more than that either. Of many, one that waits too long for an answer is
    joined by another that asks the same, and what is sent to the slower one is not taken: at most everything twice.
    """
    check_run(stage, ran)
    stage.heal()
    unchanged_by_a_dry_run(stage)
    mended = stage.sync(env={"GEMMALOCK_RETRIES": "4", "GEMMALOCK_TIMEOUT": "20"})
    assert mended.code == 0, f"O6: one sync has to mend it: {mended.out}{mended.err}"
    check_run(stage, mended)
    if budget is not None:
        came = sum(each.fetched for each in (ran, mended))
        assert came <= budget, f"O7: {came} bytes came, {budget} are the budget"
        sent, most = stage.origin.sent, budget * min(2, stage.most_connections) + HEADS
        assert sent <= most, f"O7: {sent} bytes were served, {budget} are the budget"
    nothing_left_over(stage)
    return mended


def check_run(stage: Stage, ran: Ran) -> None:
    """What has to hold after every run, whatever became of it."""
    assert ran.code in (0, 1, 2, 4, 5, *KILLED), f"{ran.code}: {ran.out}{ran.err}"
    assert "Traceback" not in ran.out + ran.err
    if ran.out.startswith("{"):
        assert report_problems(ran.out) == []
        assert ran.report["exit_code"] == ran.code
    only_exact_bytes(stage)
    if ran.code == 0:
        everything_is_there(stage)
    assert canaries(stage) == stage.planted, "O3: something outside of the managed folders changed"
    nobody_has_the_secret(stage, ran)
    assert ran.memory <= MOST_MEMORY, f"O8: {ran.memory // MIB} MiB"
    shown = (ran.out + ran.err).replace("\r", "") if ran.out.startswith("{") else ran.out + ran.err
    assert not _OBEYED.search(shown), f"O9: {shown!r}"
    for request in stage.origin.requests:
        assert not request.headers.get("if-range", "").startswith("W/"), "RFC 9110, 13.1.5"


def only_exact_bytes(stage: Stage) -> None:
    """O1, and that no partial outgrows its file."""
    for path in files_of(stage.root):
        name = path.relative_to(stage.root).as_posix()
        if name.startswith(".gemmalock/"):
            continue
        allowed = [each[name] for each in (stage.locked, stage.before) if name in each]
        assert path.read_bytes() in allowed, f"O1: `{name}` shows bytes that nobody locked"
    longest = max((len(body) for body in stage.locked.values()), default=0)
    for part in (stage.store / "tasks").glob("*/data.part"):
        with contextlib.suppress(FileNotFoundError):
            assert part.stat().st_blocks * 512 <= longest + CHUNK, "S21: more than the file was kept"


def everything_is_there(stage: Stage) -> None:
    """O2."""
    for name, body in stage.locked.items():
        assert (stage.root / name).read_bytes() == body, f"O2: exit 0 without `{name}`"


def nobody_has_the_secret(stage: Stage, ran: Ran) -> None:
    """O4 and O5, for a secret that is for nobody here."""
    assert SECRET not in ran.out + ran.err
    for request in stage.origin.requests:
        assert SECRET not in request.path + "".join(request.headers.values())
    for path in (stage.project.lock, *files_of(stage.store / "tasks"), *files_of(stage.root / ".gemmalock")):
        if path.is_file() and path.stat().st_size < MIB:
            assert SECRET.encode() not in path.read_bytes(), path


def nothing_left_over(stage: Stage) -> None:
    """O6: no task, no claim, no staged file, a registry and a ledger that agree with the disk, and no socket."""
    for folder in (stage.store / "tasks", stage.store / "staging", stage.root / ".gemmalock" / "staging"):
        assert not folder.is_dir() or os.listdir(folder) == [], f"O6: left over in {folder}: {os.listdir(folder)}"
    stage.origin.forget()
    with environ_of(stage):
        report = gemmalock.sync(stage.project.folder, check=True)
        assert report.exit_code == 0, report
        assert gemmalock.verify(stage.project.folder).exit_code == 0
    assert stage.origin.requests == []


def unchanged_by_a_dry_run(stage: Stage) -> None:
    """O10."""
    before = picture(stage.folder), picture(stage.home)
    with contextlib.suppress(GemmalockError), environ_of(stage):
        gemmalock.sync(stage.project.folder, dry_run=True)
    assert (picture(stage.folder), picture(stage.home)) == before, "O10: a dry run changed something"


@contextlib.contextmanager
def environ_of(stage: Stage) -> Iterator[None]:
    """Inside, this process has the settings of the stage's runs."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stage.environ.items():
            if name.startswith("GEMMALOCK_"):
                patch.setenv(name, value)
        yield


def some_is_kept(stage: Stage) -> bool:
    """Whether a chunk of an unfinished file is journaled."""
    return any(path.stat().st_size > 100 for path in (stage.store / "tasks").glob("*/journal"))


# --- the canaries ------------------------------------------------------------------------------------------


def plant_canaries(stage: Stage) -> None:
    """Files and links all around what gemmalock manages."""
    for name in ("notes.txt", "models-old/keep.gguf", "src/app.py", ".git-like/config"):
        path = stage.project.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"canary {name}", encoding="utf-8")
    outside = stage.folder / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "precious.bin").write_bytes(b"canary" * 1000)
    (outside / "precious.bin").chmod(0o600)
    link = stage.project.folder / "models-old" / "link"
    if not link.is_symlink():
        link.symlink_to(outside)
    (stage.home / ".config").mkdir(exist_ok=True)
    (stage.home / ".config" / "precious.toml").write_text("canary = true\n", encoding="utf-8")
    (stage.folder / "tmp").mkdir(exist_ok=True)
    stage.environ["TMPDIR"] = str(stage.folder / "tmp")
    stage.planted = canaries(stage)


def canaries(stage: Stage) -> Mapping[str, object]:
    """Everything that gemmalock has no business with: path → inode, mtime_ns, mode, content."""
    managed = (stage.root, stage.store, stage.project.lock)
    return {**picture(stage.folder, managed), **picture(stage.home, managed)}


def picture(folder: Path, without: Sequence[Path] = ()) -> dict[str, object]:
    """A folder's whole tree: for each path its inode, mtime_ns, mode, and content or target. Folders by name alone."""
    found: dict[str, object] = {}
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = [name for name in folders if here / name not in without]
        for name in (*names, *folders):
            path = here / name
            if path in without:
                continue
            with contextlib.suppress(FileNotFoundError):
                seen = path.lstat()
                if stat.S_ISREG(seen.st_mode):
                    found[str(path)] = (seen.st_ino, seen.st_mtime_ns, seen.st_mode, path.read_bytes())
                elif stat.S_ISLNK(seen.st_mode):
                    found[str(path)] = (seen.st_ino, seen.st_mode, str(path.readlink()))
                else:
                    found[str(path)] = (seen.st_ino, seen.st_mode)
    return found


def files_of(folder: Path) -> list[Path]:
    """Every file below a folder."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for place, _, names in os.walk(folder):
            found += [Path(place) / name for name in names]
    return sorted(found)

"""Real processes that are killed, and real system calls that fail: the next run goes on, and no byte is wrong."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gemmalock.sources.http import HttpSource
from gemmalock.transfer.ranges import AHEAD
from tests.guard import CHECKOUT
from tests.servers.fileserver import Content, FileServer
from tests.transfer.twins import Bench, FolderClaim, Reply, ScriptedSource, digest, locked, some_bytes

SIZE = 3 * AHEAD + 123_457
BODY = some_bytes(SIZE)
WORKER = str(CHECKOUT / "tests" / "transfer" / "worker.py")
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def run(
    folder: Path,
    *,
    cut: int = 0,
    kill: bool = False,
    under: Sequence[str] = (),
    limit: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """A worker, at its end."""
    command = [*under, sys.executable, "-B", WORKER, str(folder), str(SIZE), str(cut), *(["kill"] if kill else [])]
    return subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        preexec_fn=limit,
        check=False,
    )


def gone_on(folder: Path) -> int:
    """Go on with a partial, in this process, and check every byte. How many were kept."""
    bench = Bench(folder)
    fetched = bench.fetch(locked(BODY), ScriptedSource([Reply(BODY)]))
    assert bench.bytes() == BODY
    assert fetched.bytes_kept + fetched.bytes_fetched == SIZE
    return fetched.bytes_kept


@pytest.mark.parametrize("round", range(4))
def test_a_process_that_dies_costs_at_most_so_much(tmp_path: Path, dice: random.Random, round: int) -> None:
    cut = dice.randrange(1, SIZE)
    assert run(tmp_path / "task", cut=cut, kill=True).returncode == -signal.SIGKILL
    kept = FolderClaim(tmp_path / "task").journal(SIZE).kept
    assert cut - AHEAD <= kept <= cut
    assert gone_on(tmp_path / "task") == kept


def test_a_process_that_is_killed_beside_a_real_server_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "task"
    folder.mkdir()
    with FileServer({"/gemma.gguf": Content(BODY, throttle=4 * AHEAD)}) as server:
        code = (
            "import sys; from pathlib import Path; from gemmalock.sources.http import HttpSource;"
            "from tests.transfer.twins import *; body = some_bytes(int(sys.argv[3]));"
            "Bench(Path(sys.argv[1])).fetch(locked(body, url=sys.argv[2], etag=None), HttpSource())"
        )
        url = f"{server.origin}/gemma.gguf"
        process = subprocess.Popen(
            [sys.executable, "-B", "-c", code, str(folder), url, str(SIZE)],
            env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        )
        part = folder / "data.part"
        deadline = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size > AHEAD + 1000):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
        process.kill()
        process.wait()
        written, kept = part.stat().st_size, FolderClaim(folder).journal(SIZE).kept
        assert 0 < kept < SIZE
        assert written - kept <= AHEAD
        server.files["/gemma.gguf"] = Content(BODY)
        source = HttpSource()
        fetched = Bench(folder).fetch(locked(BODY, url=url, etag=None), source)
        source.close()
        assert (fetched.bytes_kept, fetched.bytes_fetched, fetched.notes) == (kept, SIZE - kept, ())
        assert fetched.sha256 == digest(BODY)
        assert server.requests[-1].headers["range"] == f"bytes={kept}-{SIZE - 1}"


def test_a_limit_on_the_size_of_files_is_a_full_disk(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (AHEAD + 1000, AHEAD + 1000))

    assert json.loads(run(tmp_path / "task", limit=limit).stdout)["code"] == "no_space"
    # The write that hit the limit was a short one first; what came before it is kept.
    assert AHEAD + 1000 - 300_000 <= gone_on(tmp_path / "task") <= AHEAD + 1000


#: What is injected, the code that comes of it, and the least and the most that may be kept.
FAULTS = [
    ("pwrite64:error=ENOSPC:when=20", "no_space", 1, SIZE),
    ("pwrite64:error=EDQUOT:when=2+", "no_space", 1, AHEAD),
    ("pwrite64:error=EIO:when=1", "io_error", 0, 0),
    ("pwrite64:error=EACCES:when=15", "permission", 1, SIZE),
    ("pwrite64:error=EINTR:when=3+7", "ok", SIZE, SIZE),
    ("fdatasync:error=EIO:when=1", "io_error", 0, 0),
    ("fdatasync:error=EIO:when=3", "io_error", 1, AHEAD),
    ("fdatasync:error=ENOSPC:when=2", "no_space", 0, AHEAD),
    ("fdatasync:error=EINTR:when=1", "ok", SIZE, SIZE),
    ("preadv,preadv2:error=EIO:when=5+", "io_error", 0, SIZE),
    ("fsync:error=EIO:when=1+", "io_error", 0, SIZE),
    # A write that says that it wrote what it did not: the bytes are read back before they are believed.
    ("pwrite64:retval=262144:when=4", "ok", SIZE, SIZE),
]


@needs_strace
@pytest.mark.parametrize(("fault", "code", "least", "most"), FAULTS)
def test_a_system_call_that_fails_is_declared_and_gone_on_from(
    tmp_path: Path, fault: str, code: str, least: int, most: int
) -> None:
    calls = fault.partition(":")[0]
    under = ("strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={calls}", "-e", f"inject={fault}")
    outcome = json.loads(run(tmp_path / "task", under=under).stdout)
    assert outcome["code"] == code
    assert least <= gone_on(tmp_path / "task") <= most


@needs_strace
@pytest.mark.long
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "write", "fsync", "ftruncate", "openat", "unlink"])
@pytest.mark.parametrize("when", [1, 2, 3, 5, 8])
def test_a_process_that_dies_in_any_system_call_goes_on(tmp_path: Path, call: str, when: int) -> None:
    watched = [option for name in ("journal", "data.part") for option in ("-P", str(tmp_path / "task" / name))]
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={when}"]
    under = ["strace", "-f", "-qq", "-o", os.devnull, *watched, *inject]
    run(tmp_path / "task", cut=2 * AHEAD, under=under)
    kept = gone_on(tmp_path / "task")
    assert 0 <= kept <= SIZE

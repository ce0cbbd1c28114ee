"""The catalogue's group P for one process: signals, streams that are not there, and limits of the system."""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import BODY, OVER_MANY
from tests.faults.origin import MIB, serve, strong
from tests.faults.stage import SIZE, Running, Stage, check_run, some_is_kept, survives
from tests.servers.scripted import Exchange

TAG = strong(BODY)


def slow(exchange: Exchange) -> None:
    """Everything but the last bytes, and those only at the end of the test."""
    start, end = exchange.range or (0, None)
    end = end or SIZE
    fields = {"Content-Length": str(end - start), "ETag": TAG}
    if exchange.range:
        exchange.head(206, {"Content-Range": f"bytes {start}-{end - 1}/{SIZE}", **fields})
    else:
        exchange.head(200, fields)
    exchange.send(BODY[start : min(end, SIZE - 17)])
    if end == SIZE:
        exchange.hang()


@OVER_MANY
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_p04_p05_signals_keep_what_came_and_say_how_to_go_on(stage: Stage, number: signal.Signals, times: int) -> None:
    stage.declare()
    stage.lock()
    stage.fault(slow)
    with stage.started("sync", "--json", env={"GEMMALOCK_TIMEOUT": "30"}) as running:
        running.wait_until(lambda: some_is_kept(stage))
        for _ in range(times):
            told(running, number)
        ran = running.ended()
    assert ran.code == 2, (ran.out, ran.err)
    assert "Traceback" not in ran.err
    assert "run `gemmalock sync` again to go on" in ran.err
    (file,) = ran.report["files"]
    assert file["outcome"] == "cancelled"
    assert (file["bytes_kept"], file["bytes_fetched"] >= MIB) == (0, True)
    assert [error["code"] for error in ran.report["errors"]] == ["interrupted"]
    mended = survives(stage, ran, budget=2 * SIZE - MIB)
    assert ran.fetched + mended.fetched == SIZE, "no byte that came is fetched again"


#: What can be seen from outside of how far a sync is, from its first line on.
MOMENTS: Mapping[str, Callable[[Stage, Running], bool]] = {
    "it has begun to load": lambda stage, running: handles(running, signal.SIGTERM),
    "it asks": lambda stage, running: bool(stage.origin.gets),
    "bytes come": lambda stage, running: stage.origin.sent > MIB,
    "a chunk is safe": lambda stage, running: some_is_kept(stage),
    "all was sent": lambda stage, running: stage.origin.sent > SIZE,
    "the store has it": lambda stage, running: any((stage.store / "objects").rglob("*")),
    "it is in place": lambda stage, running: any((stage.root / "m").glob("*")),
    "the ledger has it": lambda stage, running: (stage.root / ".gemmalock/ledger.json").exists(),
    "it prunes": lambda stage, running: not stray(stage).exists(),
    "it has told": lambda stage, running: running.out.tell() > 0,
}


@pytest.mark.parametrize(
    ("moment", "number"), [*((moment, signal.SIGINT) for moment in MOMENTS), (next(iter(MOMENTS)), signal.SIGTERM)]
)
def test_p05_three_signals_at_any_moment_leave_no_half_state(stage: Stage, moment: str, number: signal.Signals) -> None:
    """Also while it starts, commits, links and prunes: what it was doing is whole or undone."""
    stage.declare()
    stage.lock()
    stage.origin.forget()
    stray(stage).parent.mkdir(parents=True)
    stray(stage).write_bytes(b"a stray")
    stage.before["old/stray.bin"] = b"a stray"
    with stage.started("sync", "--adopt") as running:
        while running.process.poll() is None and not MOMENTS[moment](stage, running):
            time.sleep(0.0005)
        for _ in range(3):
            told(running, number)
        ran = running.ended()
    # Its handler is the first thing that stands, and the last that goes.
    assert ran.code in (0, 2), (ran.code, ran.out, ran.err)
    assert "Exception ignored" not in ran.err
    if ran.code == 2:
        assert "error: interrupted" in ran.err
    check_run(stage, ran)
    survives(stage, stage.sync("--adopt"), budget=2 * SIZE)


def stray(stage: Stage) -> Path:
    """Something in the root that the lock does not list."""
    return stage.root / "old/stray.bin"


def told(running: Running, number: signal.Signals) -> None:
    """Send a signal, and wait until it has come, or the process is gone."""
    running.process.send_signal(number)
    while running.process.poll() is None and _signals(running, "ShdPnd") >> (number - 1) & 1:
        time.sleep(0.0005)


def handles(running: Running, number: signal.Signals) -> bool:
    """Whether the process has a handler for a signal."""
    return bool(_signals(running, "SigCgt") >> (number - 1) & 1)


def _signals(running: Running, which: str) -> int:
    """A set of signals of a process: proc_pid_status(5). None where it is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        status = Path(f"/proc/{running.process.pid}/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition(f"{which}:")[2].split()[0], 16) if which in status else 0
    return 0


# --- streams -----------------------------------------------------------------------------------------------


def gone() -> int:
    """The writing end of a pipe that nobody reads."""
    reads, writes = os.pipe()
    os.close(reads)
    return writes


def closing(*streams: int) -> Callable[[], None]:
    def close() -> None:
        for number in streams:
            os.close(number)

    return close


@dataclass(frozen=True, slots=True)
class Streams:
    """How the standard streams are, and the environment; `code` comes of it."""

    id: str
    given: Callable[[], Mapping[str, Any]] = dict
    environ: Mapping[str, str] = field(default_factory=dict)
    code: int = 0


STREAMS = (
    Streams("stdout has no reader", lambda: {"stdout": gone()}),
    Streams("stderr has no reader", lambda: {"stderr": gone()}),
    Streams("neither has", lambda: {"stdout": gone(), "stderr": gone()}),
    Streams("stdin closed", lambda: {"preexec_fn": closing(0)}),
    Streams("stdout closed", lambda: {"preexec_fn": closing(1)}),
    Streams("stderr closed", lambda: {"preexec_fn": closing(2)}),
    Streams("all closed", lambda: {"preexec_fn": closing(0, 1, 2)}),
    Streams("stdout full", lambda: {"stdout": os.open("/dev/full", os.O_WRONLY)}, code=1),
    Streams("LANG=C", environ={"LANG": "C", "LC_ALL": "C"}),
    Streams("ASCII", environ={"PYTHONIOENCODING": "ascii"}),
    Streams("TERM=dumb", environ={"TERM": "dumb", "COLUMNS": "1"}),
)
#: What each is tried with: a line a file, the report, events, bars.
SPEAKING = (("sync", "-v"), ("sync", "--json"), ("sync", "--progress", "json"), ("sync", "--progress", "bar"))


@pytest.mark.parametrize("arguments", SPEAKING, ids=[" ".join(row) for row in SPEAKING])
@pytest.mark.parametrize("streams", STREAMS, ids=[row.id for row in STREAMS])
def test_p07_whatever_the_streams_are_the_work_is_done_or_ends_in_order(
    stage: Stage, streams: Streams, arguments: tuple[str, ...]
) -> None:
    stage.origin.files["/gemma-größe-模型.gguf"] = b"unicode"
    stage.declare(urls={"/gemma-größe-模型.gguf": stage.origin.url + "/gemma-gr%C3%B6%C3%9Fe-%E6%A8%A1%E5%9E%8B.gguf"})
    stage.origin.files["/gemma-gr%C3%B6%C3%9Fe-%E6%A8%A1%E5%9E%8B.gguf"] = b"unicode"
    stage.lock()
    given = streams.given()
    with stage.started(*arguments, env=streams.environ, streams=given) as running:
        ran = running.ended()
    for stream in given.values():
        if isinstance(stream, int):
            os.close(stream)
    assert ran.code == streams.code, (ran.out, ran.err)
    assert "Traceback" not in ran.out + ran.err
    assert "Exception ignored" not in ran.err
    if ran.code == 0 and "--progress" not in arguments:
        check_run(stage, ran)
    survives(stage, stage.sync())


# --- limits ------------------------------------------------------------------------------------------------


def limited(what: int, most: int) -> dict[str, Any]:
    """Popen's argument for a process that may have so much of something."""
    return {"preexec_fn": lambda: resource.setrlimit(what, (most, most))}


@pytest.mark.long
def test_p08_a_large_file_fits_into_little_memory(stage: Stage) -> None:
    size = 768 * MIB + 5
    body = bytes(size)
    stage.origin.files = {"/model.gguf": body}
    stage.declare()
    stage.lock()
    given = limited(resource.RLIMIT_AS, 400 * MIB)
    with stage.started("sync", "--json", env={"GEMMALOCK_LINK_MODE": "copy"}, streams=given) as running:
        ran = running.ended()
    assert ran.code == 0, (ran.out, ran.err)
    assert ran.report["files"][0]["sha256"] == hashlib.sha256(body).hexdigest()
    assert ran.memory < 120 * MIB
    survives(stage, ran, budget=size)


@pytest.mark.parametrize("connections", [8], indirect=True)
def test_p08_eight_connections_fit_into_a_small_address_space(stage: Stage) -> None:
    """ulimit -v: the interpreter has 30 MiB of addresses, its libraries 30, and a thread 8 for its stack. Those are
    eight connections, the file's own, the journal's, the digest's, and the one that hears signals."""
    size = 256 * MIB + 5
    body = bytes(size)
    stage.origin.files = {"/model.gguf": body}
    stage.declare()
    stage.lock()
    given = limited(resource.RLIMIT_AS, 192 * MIB)
    with stage.started("sync", "--json", env={"GEMMALOCK_LINK_MODE": "copy"}, streams=given) as running:
        ran = running.ended()
    assert ran.code == 0, (ran.out, ran.err)
    assert len(stage.origin.gets) >= 8
    survives(stage, ran, budget=size)


def many(stage: Stage, count: int) -> None:
    """Declare so many small files, and lock them."""
    del stage.origin.files["/model.gguf"]
    stage.origin.files |= {f"/{number:03}.bin": BODY[number : number + 5000] for number in range(count)}
    stage.declare()
    stage.lock()


@pytest.mark.parametrize("most", [24, 64])
def test_p09_few_file_descriptors_are_enough(stage: Stage, most: int) -> None:
    many(stage, 60)
    with stage.started("sync", "--json", "-j", "40", streams=limited(resource.RLIMIT_NOFILE, most)) as running:
        ran = running.ended()
    assert ran.code == 0, (ran.out[-3000:], ran.err[-3000:])
    survives(stage, ran, budget=60 * 5000 * 2)


#: A Python that cannot start more than so many threads.
THREADLESS = """
import threading
left = [{most}]
start = threading.Thread.start
def limited(self):
    if left[0] <= 0:
        raise RuntimeError("can't start new thread")
    left[0] -= 1
    start(self)
threading.Thread.start = limited
"""


@pytest.mark.parametrize("most", [0, 1, 2, 3, 5])
def test_p09_few_threads_are_enough(stage: Stage, most: int) -> None:
    stage.world(THREADLESS.format(most=most))
    stage.calm.append(lambda: stage.environ.pop("PYTHONPATH"))
    stage.origin.files |= {f"/{number}.bin": BODY[number : number + 5000] for number in range(5)}
    stage.declare()
    stage.lock()
    stage.origin.forget()
    ran = stage.sync()
    assert ran.code == 0, (ran.out, ran.err)
    survives(stage, ran, budget=SIZE + 25_000)


@OVER_MANY
def test_p21_nothing_is_written_after_the_end(stage: Stage) -> None:
    """A server that hangs, a signal, and the process is gone: what is on disk then stays as it is."""
    stage.declare()
    stage.lock()
    stage.fault(slow)
    with stage.started("sync", "--json", env={"GEMMALOCK_TIMEOUT": "30"}) as running:
        running.wait_until(lambda: some_is_kept(stage))
        running.process.send_signal(signal.SIGINT)
        ran = running.ended()
    assert ran.code == 2
    (journal,) = (stage.store / "tasks").glob("*/journal")
    assert journal.read_bytes().endswith(b"\n")
    survives(stage, ran)


def test_a_server_that_serves_well_is_served_well(stage: Stage) -> None:
    """The stage itself: without a fault the oracles hold, and no byte more than the file is served."""
    stage.declare()
    stage.lock()
    stage.fault(lambda e: serve(e, BODY, TAG))
    ran = stage.sync()
    assert ran.code == 0
    survives(stage, ran, budget=SIZE)

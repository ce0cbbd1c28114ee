"""Claims under real processes: races, kill -9, and every system call that can be the last."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from gemmalock.errors import Busy
from gemmalock.registry import DiskClaim, DiskRegistry
from tests.guard import CHECKOUT
from tests.registry.making import LOCK, node_of

ROUNDS = 50
PROCESSES = 8


def racer(*arguments: str, under: Sequence[str] = ()) -> list[str]:
    """The command line of a racing process."""
    return [*under, sys.executable, "-B", "-m", "tests.registry.racer", *arguments]


@contextmanager
def running(*arguments: str, word: str) -> Iterator[subprocess.Popen[str]]:
    """A racing process that has said `word`; killed at the end, if it still runs."""
    process = subprocess.Popen(
        racer(*arguments), cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == word + "\n"
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def assert_clean(store: Path) -> None:
    """One more claim works at once, and leaves nothing behind."""
    claim = DiskRegistry(store).claim(node_of(), LOCK)
    assert claim.still_held()
    claim.finish()
    assert os.listdir(store / "tasks") == []


def assert_never_two(trace: list[str]) -> None:
    """Who enters leaves before anybody else enters."""
    for entered, left in zip(trace[::2], trace[1::2], strict=True):
        assert (entered.split()[0], left.split()[0]) == ("enter", "leave")
        assert entered.split()[1] == left.split()[1]


def test_never_two_holders_at_once(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = racer("race", str(tmp_path / "store"), str(trace), str(ROUNDS))
    processes = [subprocess.Popen(command, cwd=CHECKOUT) for _ in range(PROCESSES)]
    assert [process.wait() for process in processes] == [0] * PROCESSES
    lines = trace.read_text().splitlines()
    assert len(lines) == 2 * ROUNDS * PROCESSES
    assert_never_two(lines)
    assert_clean(tmp_path / "store")


def test_never_two_threads_at_once(tmp_path: Path) -> None:
    registry, inside, most, lock = DiskRegistry(tmp_path), [0], [0], threading.Lock()

    def work() -> None:
        for _ in range(20):
            claim = _patiently(registry)
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            with lock:
                inside[0] -= 1
            claim.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_a_killed_holder_makes_room_at_once(tmp_path: Path) -> None:
    registry = DiskRegistry(tmp_path)
    with running("hold", str(tmp_path), word="held") as process:
        with pytest.raises(Busy, match=f"process {process.pid} on this machine"):
            registry.claim(node_of(), LOCK)
        assert registry.look(node_of().file).holder == f"process {process.pid} on this machine"
        process.kill()
        # Not waited for: a zombie works on nothing either. It only has to be dead.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        claim = registry.claim(node_of(), LOCK)
    assert claim.still_held()
    assert registry.look(node_of().file).kept == 4
    claim.finish()
    assert os.listdir(tmp_path / "tasks") == []


def kill_somewhere(store: Path, dice: random.Random) -> None:
    """Let a process churn for a random while and kill it."""
    with running("churn", str(store), word="ready") as process:
        threading.Event().wait(dice.random() * 0.05)
        process.kill()
        process.wait()


def test_killed_anywhere_the_next_one_works(tmp_path: Path, dice: random.Random) -> None:
    for _ in range(5):
        kill_somewhere(tmp_path, dice)
        assert_clean(tmp_path)


@pytest.mark.long
def test_killed_anywhere_a_hundred_times(tmp_path: Path, dice: random.Random) -> None:
    for _ in range(100):
        kill_somewhere(tmp_path, dice)
        assert_clean(tmp_path)


def traced(store: Path, fault: str) -> int:
    """Run one whole task with a fault injected by strace(1); its exit code."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    calls = fault.partition(":")[0]
    under = (strace, "-f", "-qq", "-o", os.devnull, "-e", f"trace={calls}", "-e", f"inject={fault}")
    finished = subprocess.run(
        racer("once", str(store), under=under), cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    return finished.returncode


@pytest.mark.long
@pytest.mark.parametrize("calls", ["link,linkat", "rename,renameat,renameat2", "unlink,unlinkat,rmdir", "fsync"])
def test_killed_at_each_call_the_next_one_works(tmp_path: Path, calls: str) -> None:
    killed = 0
    for number in range(1, 60):
        if traced(tmp_path, f"{calls}:signal=SIGKILL:when={number}") == 0:
            break
        killed += 1
        assert_clean(tmp_path)
    assert 0 < killed < 59
    assert_clean(tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EDQUOT"])
@pytest.mark.parametrize("calls", ["fsync", "link,linkat", "mkdir,mkdirat", "write"])
def test_a_full_or_broken_disk_leaves_nothing_half_made(tmp_path: Path, calls: str, error: str) -> None:
    # With the tasks' folder there, each call that is left matters.
    assert_clean(tmp_path)
    failed = 0
    for number in range(1, 60):
        if traced(tmp_path, f"{calls}:error={error}:when={number}") == 0:
            break
        failed += 1
        assert_clean(tmp_path)
    assert 0 < failed < 59


def _patiently(registry: DiskRegistry) -> DiskClaim:
    while True:
        try:
            return registry.claim(node_of(), LOCK)
        except Busy:
            threading.Event().wait(0.0005)

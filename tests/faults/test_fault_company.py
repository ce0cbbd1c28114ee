"""The catalogue's group P for many: processes and threads on one root and one store, and what one does to another."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import gemmalock
from tests.faults.conftest import BODY, OVER_MANY
from tests.faults.origin import CHUNK, MIB, serve, strong
from tests.faults.stage import HEADS, KEPT, SIZE, Ran, Running, Stage, check_run, some_is_kept, survives
from tests.running import Project
from tests.servers.scripted import Exchange, Script

TAG = strong(BODY)
MANY = 8
#: More patience than BRISK: eight processes share two cores.
PATIENT = {"GEMMALOCK_TIMEOUT": "20", "GEMMALOCK_RETRIES": "4"}
#: What flock(2) is on some network file systems: not there, or there and excluding nobody.
FLOCKS = {
    "fails": "errno = ENOLCK; return -1;",
    "is not implemented": "errno = ENOSYS; return -1;",
    "excludes nobody": "return 0;",
}


def other(stage: Stage, name: str) -> Stage:
    """Another project with the same papers, beside the stage's, on the same store."""
    folder = stage.folder / name
    folder.mkdir()
    for paper in (stage.project.manifest, stage.project.lock):
        shutil.copy(paper, folder)
    return replace(stage, project=Project(folder))


@contextlib.contextmanager
def together(stages: list[Stage], *arguments: str) -> Iterator[list[Running]]:
    """`gemmalock sync --json` in each, all at once."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(each.started("sync", "--json", *arguments, env=PATIENT)) for each in stages]


def all_end_well(stages: list[Stage]) -> list[Ran]:
    """Run a sync in each at once; every one ends with 0."""
    with together(stages) as running:
        ran = [each.ended() for each in running]
    for one in ran:
        assert one.code == 0, one.err
    return ran


@pytest.fixture
def three(stage: Stage) -> Stage:
    """A stage with three files, locked."""
    stage.origin.files |= {"/a.gguf": BODY[: 2 * MIB], "/b.txt": b"small"}
    stage.declare()
    stage.lock()
    stage.origin.forget()
    return stage


TOTAL = SIZE + 2 * MIB + 5


@pytest.mark.parametrize("mode", ["auto", "copy", "symlink"])
def test_p10_eight_syncs_of_one_root_fetch_each_file_once(three: Stage, mode: str) -> None:
    three.environ["GEMMALOCK_LINK_MODE"] = mode
    for ran in all_end_well([three] * MANY):
        check_run(three, ran)
    assert three.origin.sent <= TOTAL + HEADS
    moved = [path for path in (three.root / ".gemmalock" / "trash").rglob("*") if not path.is_dir()]
    assert moved == [], "they put each other's files into the trash"
    survives(three, three.sync(), budget=TOTAL)


def test_p23_eight_projects_on_one_store_fetch_each_file_once(three: Stage) -> None:
    stages = [three, *(other(three, f"project-{number}") for number in range(1, MANY))]
    three.planted = {}
    for each, ran in zip(stages, all_end_well(stages), strict=True):
        assert ran.report["summary"]["failed"] == 0
        for name, body in three.locked.items():
            assert (each.root / name).read_bytes() == body
    assert three.origin.sent <= TOTAL + HEADS


@pytest.mark.parametrize("flock", FLOCKS)
def test_p11_a_flock_that_is_none_damages_nothing(
    three: Stage, tmp_path_factory: pytest.TempPathFactory, flock: str
) -> None:
    three.environ["LD_PRELOAD"] = str(preloaded(tmp_path_factory.mktemp("flock"), FLOCKS[flock]))
    three.calm.append(lambda: three.environ.pop("LD_PRELOAD"))
    for ran in all_end_well([three] * 4):
        check_run(three, ran)
    survives(three, three.sync(), budget=TOTAL)


def preloaded(folder: Path, body: str) -> Path:
    """A library whose flock(2) does this; skips where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source, library = folder / "flock.c", folder / "flock.so"
    source.write_text(f"#include <errno.h>\nint flock(int file, int how) {{ (void)file; (void)how; {body} }}\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True, capture_output=True)
    return library


def stalls(after: int) -> tuple[threading.Event, Script]:
    """A script that serves well, but who asks first for the byte at `after` gets what is before it, and then nothing
    until the event."""
    goes_on = threading.Event()
    turn = iter(["the first"])

    def script(exchange: Exchange) -> None:
        start, end = exchange.range or (0, None)
        end = end or SIZE
        if not start <= after < end or next(turn, None) is None:
            serve(exchange, BODY, TAG)
            return
        fields = {"Content-Length": str(end - start), "ETag": TAG}
        if exchange.range:
            exchange.head(206, {"Content-Range": f"bytes {start}-{end - 1}/{SIZE}", **fields})
        else:
            exchange.head(200, fields)
        exchange.send(BODY[start:after])
        goes_on.wait(30)
        exchange.send(BODY[after:end])

    return goes_on, script


@OVER_MANY
def test_p12_who_waited_for_a_process_that_is_killed_goes_on_with_its_partial(stage: Stage) -> None:
    stage.declare()
    stage.lock()
    goes_on, script = stalls(KEPT)
    stage.fault(script)
    with contextlib.ExitStack() as stack:
        stack.callback(goes_on.set)
        holder = stack.enter_context(stage.started("sync", env=PATIENT))
        holder.wait_until(lambda: some_is_kept(stage))
        waiter = stack.enter_context(stage.started("sync", "--json", "--progress", "json", env=PATIENT))
        waiter.wait_until(lambda: b'"waiting"' in os.pread(waiter.err.fileno(), 10_000, 0))
        holder.process.send_signal(signal.SIGKILL)
        holder.process.wait()
        ran = waiter.ended()
    assert ran.code == 0, ran.err
    assert f"process {holder.process.pid} on this machine" in ran.err
    assert ran.report["files"][0]["bytes_kept"] >= MIB
    survives(stage, ran, budget=SIZE + CHUNK)


def test_p13_two_that_want_the_same_files_in_opposite_order_both_end(stage: Stage) -> None:
    half = BODY[: 3 * MIB], BODY[3 * MIB : 6 * MIB]
    stage.origin.files = {"/a.gguf": half[0], "/b.gguf": half[1]}
    stage.declare()
    crossed = replace(stage, project=Project(stage.folder / "crossed"), locked={})
    crossed.project.folder.mkdir()
    text = stage.project.manifest.read_text()
    # The same URLs and digests, but under each other's names: the order of a lock is that of its paths.
    lines = []
    for line in text.splitlines():
        lines.append(line)
        if line.strip().startswith("- url:"):
            lines.append("        path: " + ("z-a.gguf" if line.endswith("a.gguf") else "b-b.gguf"))
    crossed.project.write_manifest("\n".join(lines) + "\n")
    stage.lock()
    crossed.lock()
    stage.planted = {}

    def unhurried(exchange: Exchange) -> None:
        exchange.pause(0.2)
        stage.origin.serve(exchange)

    stage.fault(unhurried)
    with together([stage, crossed] * 2, "-j", "1") as running:
        ran = [each.ended() for each in running]
    assert [each.code for each in ran] == [0] * 4, [each.err for each in ran]
    assert (crossed.root / "m" / "z-a.gguf").read_bytes() == half[0]
    assert (crossed.root / "m" / "b-b.gguf").read_bytes() == half[1]
    assert stage.origin.sent <= 6 * MIB + HEADS


@pytest.mark.parametrize("digest", [True, False])
def test_p15_a_lock_that_is_rewritten_meanwhile_stays_and_nothing_is_pruned(stage: Stage, digest: bool) -> None:
    """As by a `git checkout` in another window; without a digest in the lock, sync would have something to write."""
    stage.declare(digest=digest)
    stage.lock()
    stage.begin()
    assert stage.run("sync").code == 0
    stray = stage.root / "m" / "old.gguf"
    stray.write_bytes(b"stray")
    stage.before["m/old.gguf"] = b"stray"
    (stage.root / "m" / "model.gguf").unlink()
    shutil.rmtree(stage.store)
    stage.declare(digest=digest, extra="  # meanwhile\n")
    stage.project.lock.unlink()
    stage.lock()
    checked_out = stage.project.lock.read_bytes().replace(b'"license": "gemma"', b'"license": "other"')
    assert b"other" in checked_out

    def check_out(exchange: Exchange) -> None:
        stage.project.lock.write_bytes(checked_out)
        stage.origin.serve(exchange)

    stage.fault(check_out)
    ran = stage.sync()
    assert ran.code == 0, ran.err
    if digest:
        assert stage.project.lock.read_bytes() == checked_out
    else:
        # What was learned may be entered into that one, but it is not replaced.
        assert '"license": "other"' in stage.project.lock.read_text()
    assert ran.report["pruned"] == []
    assert stray.exists()
    assert "lock changed" in ran.out
    mended = survives(stage, ran)
    assert [gone["path"] for gone in mended.report["pruned"]] == ["models/m/old.gguf"]


def test_p16_one_project_does_not_sweep_or_prune_what_another_began_or_has(stage: Stage) -> None:
    stage.declare()
    stage.lock()
    neighbour = other(stage, "neighbour")
    stage.planted = {}
    (neighbour.project.folder / "gemmalock.lock").unlink()
    neighbour.project.write_manifest(
        f"version: 1\nmodels:\n  other:\n    files:\n      - url: {stage.origin.url}/other.bin\n"
    )
    stage.origin.files["/other.bin"] = b"other"
    stage.begin()
    assert neighbour.sync().code == 0
    (neighbour.root / "stray.bin").write_bytes(b"stray")
    ran = neighbour.sync()
    assert [gone["path"] for gone in ran.report["pruned"]] == ["models/stray.bin"]
    stage.origin.forget()
    resumed = stage.sync()
    assert resumed.report["files"][0]["bytes_kept"] == KEPT
    assert stage.origin.sent <= SIZE - KEPT + HEADS
    assert neighbour.run("cache", "prune").code == 0
    (stage.root / "m" / "model.gguf").unlink()
    assert neighbour.sync().code == 0
    assert stage.run("sync").code == 0
    assert (neighbour.root / "other" / "other.bin").read_bytes() == b"other"


def test_p17_two_threads_of_one_process_fetch_each_file_once(three: Stage) -> None:
    reports: list[gemmalock.Report] = []
    neighbour = other(three, "neighbour")
    three.planted = {}

    def work(folder: Path) -> None:
        reports.append(gemmalock.sync(folder))

    folders = [three.project.folder, three.project.folder, neighbour.project.folder, neighbour.project.folder]
    threads = [threading.Thread(target=work, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [report.exit_code for report in reports] == [0] * 4
    assert three.origin.sent <= TOTAL + HEADS
    for name, body in three.locked.items():
        assert (three.root / name).read_bytes() == body
        assert (neighbour.root / name).read_bytes() == body

"""A monorepo of 100 members and 10,000 files, from the first lock to the member that leaves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.running import Gemmalock, Project, environment
from tests.servers import real

pytestmark = pytest.mark.long

MEMBERS, FILES_EACH = 100, 100
#: Calls of the stat family that a file may cost where there is nothing to do.
STATS_A_FILE = 1.2


def member(number: int) -> str:
    """The folder of a member."""
    return f"apps/app{number:03}"


def write_member(project: Project, number: int, tag: str) -> None:
    """A member with files of its own, and one that has its bytes in common with all others."""
    weights = project.folder / member(number) / "weights"
    weights.mkdir(parents=True)
    for file in range(FILES_EACH - 1):
        (weights / f"part{file:03}.bin").write_text(f"{number} {file}")
    (weights / "shared.bin").write_text("shared")
    project.write_manifest(
        f"version: 1\nmodels:\n  m{number:03}:\n    source: file://weights\n    files: ['*']\n    tags: [{tag}]\n",
        member(number),
    )


@pytest.fixture(scope="module")
def monorepo(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The workspace as somebody wrote it. Every test here leaves it in sync, and each goes on from the one before."""
    project = Project(tmp_path_factory.mktemp("monorepo"))
    project.write_manifest('version: 1\nworkspace:\n  members: ["apps/*"]\n')
    for number in range(MEMBERS):
        write_member(project, number, "even" if number % 2 == 0 else "odd")
    return project


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One store for all of it."""
    return {"GEMMALOCK_STORE": str(tmp_path_factory.mktemp("store"))}


@pytest.fixture
def run(monorepo: Project, store: dict[str, str], gemmalock: Gemmalock) -> Any:
    """A command at the top, as JSON."""

    def run(*arguments: str, code: int = 0, folder: Path | None = None) -> Any:
        done = gemmalock(*arguments, "--json", folder=folder or monorepo.folder, env=store, timeout=300)
        assert done.code == code, done.err
        return done.json()

    return run


def test_all_of_it_is_locked_in_one_lock_and_synced(monorepo: Project, run: Any) -> None:
    locked = run("lock")
    assert locked["summary"]["done"] == MEMBERS * FILES_EACH
    assert list(monorepo.folder.rglob("gemmalock.lock")) == [monorepo.lock]
    assert run("sync")["summary"]["done"] == MEMBERS * FILES_EACH
    placed = list(monorepo.folder.glob("apps/*/models/m*/*"))
    assert len(placed) == MEMBERS * FILES_EACH
    # The same bytes everywhere are one object of the store, and one inode.
    assert len({path.stat().st_ino for path in placed if path.name == "shared.bin"}) == 1


def test_nothing_to_do_costs_a_stat_a_file_and_no_socket(
    monorepo: Project, store: dict[str, str], gemmalock: Gemmalock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real.program("strace")
    for name in [name for name in os.environ if name.startswith("GEMMALOCK_TESTS_")]:
        # What only these tests set would be a setting.
        monkeypatch.delenv(name)
    assert gemmalock("sync", folder=monorepo.folder, env=store).out.startswith("== 10000 up to date in ")
    for command in (["sync"], ["status"], ["sync", "--check"], ["lock", "--check"]):
        trace = tmp_path / "trace"
        subprocess.run(
            [
                "strace",
                "-f",
                "-qq",
                "-o",
                str(trace),
                "-e",
                "trace=%%stat,socket,connect",
                *gemmalock.command(*command),
            ],
            cwd=monorepo.folder,
            env=environment(store),
            stdout=subprocess.DEVNULL,
            check=True,
        )
        calls = trace.read_text("utf-8", "replace").splitlines()
        assert not [call for call in calls if "socket(" in call or "connect(" in call]
        assert len(calls) <= STATS_A_FILE * MEMBERS * FILES_EACH, command


def test_it_is_collected_and_selected_as_in_pytest(monorepo: Project, run: Any) -> None:
    assert len(run("list", "--co")["facts"]["collected"]) == MEMBERS * FILES_EACH
    assert len(run("list", "--co", "apps/app007")["facts"]["collected"]) == FILES_EACH
    assert len(run("list", "--co", "-k", "app007 and not shared")["facts"]["collected"]) == FILES_EACH - 1
    assert len(run("list", "--co", "-m", "odd and not even")["facts"]["collected"]) == MEMBERS // 2 * FILES_EACH
    assert len(run("list", "--co", "-k", "shared", "--deselect", "apps/app000")["facts"]["collected"]) == MEMBERS - 1
    assert len(run("status", folder=monorepo.folder / member(3))["files"]) == FILES_EACH


def test_one_changed_member_is_all_that_is_locked_and_fetched(monorepo: Project, run: Any) -> None:
    (monorepo.folder / member(5) / "weights/part000.bin").write_text("another")
    changed = run("lock", "--upgrade", member(5))
    assert [file["id"] for file in changed["files"] if file["outcome"] == "done"] == [
        f"{member(5)}/gemmalock.yaml::m005::part000.bin"
    ]
    synced = run("sync")
    assert synced["summary"]["done"] == 1
    assert synced["summary"]["skipped"] == MEMBERS * FILES_EACH - 1


def test_two_processes_at_once_put_each_file_in_place_once(monorepo: Project, run: Any) -> None:
    for number in range(10, 20):
        shutil.rmtree(monorepo.folder / member(number) / "models")
    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(lambda _: run("sync"), range(2)))
    for number in range(10, 20):
        placed = monorepo.folder / member(number) / f"models/m{number:03}"
        assert sorted(path.name for path in placed.iterdir())[-1] == "shared.bin"
        assert len(list(placed.iterdir())) == FILES_EACH
    assert all(report["exit_code"] == 0 for report in both)
    assert run("status")["summary"]["skipped"] == MEMBERS * FILES_EACH


def test_a_member_that_leaves_is_pruned_and_nobody_else(monorepo: Project, run: Any) -> None:
    (monorepo.folder / member(42) / "gemmalock.yaml").unlink()
    pruned = run("sync")["pruned"]
    assert len(pruned) == FILES_EACH
    assert all(gone["path"].startswith(f"{member(42)}/models/") for gone in pruned)
    assert all(re.fullmatch("store", gone["to"]) for gone in pruned)
    assert len(list(monorepo.folder.glob("apps/*/models/m*/*"))) == (MEMBERS - 1) * FILES_EACH

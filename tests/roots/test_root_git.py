"""What git tracks stays, whatever the environment says; when git cannot say, everything stays."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.roots.world import World, nothing_in_store

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
BYTES = b"some bytes"


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=A. Person", "-c", "user.email=person@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(world: World) -> World:
    """A repository that tracks two files of the root; two more are not tracked."""
    for path in ("tracked.txt", "deep/é tracked.txt", "x.bin", "deep/y.bin"):
        world.write(path, BYTES)
    git(world.base, "init", "-q")
    git(world.base, "add", "models/tracked.txt", "models/deep/é tracked.txt")
    return world


def kept(world: World) -> dict[str, str]:
    root = world.open()
    result = root.prune(root.strays(frozenset()), nothing_in_store)
    return {stray.path: stray.reason for stray in result.kept}


def test_what_git_tracks_stays(repository: World) -> None:
    assert kept(repository) == {"tracked.txt": "git tracks it", "deep/é tracked.txt": "git tracks it"}
    assert repository.tree() == {"tracked.txt": BYTES, "deep/é tracked.txt": BYTES}


def test_what_git_tracks_stays_in_a_repository_far_above(repository: World) -> None:
    inner = World(repository.base / "apps/chat")
    inner.write("tracked.txt", BYTES)
    inner.write("x.bin", BYTES)
    git(repository.base, "add", "apps/chat/models/tracked.txt")
    assert kept(inner) == {"tracked.txt": "git tracks it"}


def test_the_variables_of_a_hook_lead_nowhere_else(
    repository: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    git(tmp_path, "init", "-q", str(other))
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/half-an-index"))
    assert kept(repository) == {"tracked.txt": "git tracks it", "deep/é tracked.txt": "git tracks it"}


def test_a_relative_git_dir_of_a_hook_changes_nothing(repository: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository.base)
    monkeypatch.setenv("GIT_DIR", ".git")
    monkeypatch.setenv("GIT_INDEX_FILE", ".git/index")
    assert set(kept(repository)) == {"tracked.txt", "deep/é tracked.txt"}


def test_inside_a_real_hook_what_git_tracks_stays(repository: World) -> None:
    import sys

    from tests.guard import CHECKOUT

    hook = repository.base / ".git/hooks/pre-commit"
    script = (
        "import sys; sys.path[:0] = %r\n"
        "from pathlib import Path\nfrom gemmalock.roots import RootFolder\n"
        "root = RootFolder(Path('.'), 'models')\n"
        "root.prune(root.strays(frozenset()), lambda sha256: False)\n"
    ) % [str(CHECKOUT), *sys.path]
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nenv | grep '^GIT_' > seen\nexec '{sys.executable}' - <<'END'\n{script}\nEND\n")
    hook.chmod(0o755)
    git(repository.base, "commit", "-q", "-m", "with a hook")
    assert "GIT_INDEX_FILE" in (repository.base / "seen").read_text()
    assert repository.tree() == {"tracked.txt": BYTES, "deep/é tracked.txt": BYTES}


def test_a_broken_repository_keeps_everything(repository: World) -> None:
    (repository.base / ".git/HEAD").write_text("nonsense")
    before = repository.tree()
    reasons = kept(repository)
    assert set(reasons) == set(before)
    assert all(reason.startswith("git could not say") for reason in reasons.values())
    assert repository.tree() == before


def test_a_broken_index_keeps_everything(repository: World) -> None:
    (repository.base / ".git/index").write_bytes(b"DIRC nonsense")
    before = repository.tree()
    assert set(kept(repository)) == set(before)
    assert repository.tree() == before


def test_a_link_to_a_repository_that_is_gone_keeps_everything(world: World) -> None:
    world.write("x.bin", BYTES)
    (world.base / ".git").write_text("gitdir: /nowhere/at/all\n")
    assert set(kept(world)) == {"x.bin"}


def test_without_the_git_program_everything_stays(repository: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = repository.tree()
    monkeypatch.setenv("PATH", str(repository.objects))
    reasons = kept(repository)
    assert set(reasons) == set(before)
    assert all("no `git` program" in reason for reason in reasons.values())


def test_without_a_repository_git_is_not_needed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write("x.bin", BYTES)
    monkeypatch.setenv("PATH", str(world.objects))
    assert kept(world) == {}
    assert world.tree() == {}


def test_a_root_in_sync_asks_git_nothing(repository: World, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = repository.base / "git-was-run"
    fake = repository.objects / "git"
    fake.write_text(f"#!/bin/sh\ntouch '{marker}'\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{repository.objects}{os.pathsep}{os.environ['PATH']}")
    assert repository.open().strays(frozenset(repository.tree())) == ()
    assert not marker.exists()
    assert len(repository.open().strays(frozenset())) == 4
    assert marker.exists()


def test_a_submodule_belongs_to_git(repository: World) -> None:
    sub = repository.base / "models/sub"
    git(repository.base, "init", "-q", str(sub))
    (sub / "z.bin").write_bytes(BYTES)
    git(sub, "add", "z.bin")
    git(sub, "commit", "-q", "-m", "inner")
    git(repository.base, "add", "models/sub")
    assert "sub" in kept(repository)
    shutil.rmtree(sub / ".git")
    assert kept(repository)["sub/z.bin"] == "git tracks it"


def test_a_root_that_is_a_repository_keeps_what_it_tracks_and_its_git_folder(world: World) -> None:
    world.write("tracked.txt", BYTES)
    world.write("x.bin", BYTES)
    git(world.models, "init", "-q")
    git(world.models, "add", "tracked.txt")
    assert kept(world) == {"tracked.txt": "git tracks it"}
    git(world.models, "status")
    assert (world.models / "tracked.txt").exists()
    assert not (world.models / "x.bin").exists()

"""`each`: which projects of a repository a command runs in, and what the whole ends with."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemmalock.codec.report_json import report_problems
from tests.hooks.conftest import Repo
from tests.running import Finished


def visited(done: Finished) -> list[str]:
    """The folders that a command ran in, when there is more than one."""
    return [line.removeprefix("# ") for line in done.out.splitlines() if line.startswith("# ")]


def test_a_command_runs_in_every_project(monorepo: Repo) -> None:
    for command in (["lock", "--check"], ["sync", "--locked"], ["verify"], ["status"]):
        done = monorepo.gemmalock("each", *command)
        assert (done.code, done.err) == (0, "")
        assert visited(done) == ["apps/a", "apps/b"]


def test_from_a_folder_only_the_projects_below_it_are_meant(monorepo: Repo) -> None:
    done = monorepo.gemmalock("-C", "apps/a", "each", "verify", "--json")
    assert [project["folder"] for project in done.json()["facts"]["projects"]] == ["apps/a"]


def test_manifests_and_locks_that_are_named_choose_the_projects(monorepo: Repo) -> None:
    monorepo.declare("apps/b", model="another")
    assert monorepo.gemmalock("each", "lock", "--check").code == 1
    done = monorepo.gemmalock("each", "lock", "--check", "--", "apps/a/gemmalock.yaml", "apps/a/gemmalock.lock")
    assert (done.code, visited(done)) == (0, [])
    assert monorepo.gemmalock("each", "lock", "--check", "apps/b/gemmalock.yaml").code == 1
    assert monorepo.gemmalock("-C", "apps/a", "each", "lock", "--check", "gemmalock.yaml").code == 0


def test_one_failing_project_fails_the_whole_and_the_others_still_run(monorepo: Repo) -> None:
    (monorepo.folder / "apps/a/models/gemma/model.gguf").unlink()
    done = monorepo.gemmalock("each", "verify")
    assert done.code == 1
    assert visited(done) == ["apps/a", "apps/b"]
    assert done.err.splitlines()[-1] == "error: apps/a: `gemmalock verify` ended with exit code 1"


def test_the_report_has_those_of_the_projects(monorepo: Repo) -> None:
    (monorepo.folder / "apps/a/models/gemma/model.gguf").unlink()
    monorepo.write("apps/b/gemmalock.lock", "{}")
    done = monorepo.gemmalock("each", "verify", "--json")
    assert done.code == 4
    assert report_problems(done.out) == []
    report = done.json()
    assert (report["command"], report["exit_code"]) == ("each", 4)
    assert [error["place"] for error in report["errors"]] == ["apps/a", "apps/b"]
    projects = report["facts"]["projects"]
    assert [(project["folder"], project["exit_code"]) for project in projects] == [("apps/a", 1), ("apps/b", 4)]
    assert [project["report"]["command"] for project in projects] == ["verify", "verify"]
    assert projects[0]["report"]["files"][1]["error"]["code"] == "not_found"


def test_what_is_said_is_said_to_the_command(monorepo: Repo) -> None:
    done = monorepo.gemmalock("each", "sync", "--locked", "-j", "4", "--no-prune", "-v")
    assert done.code == 0, done.err
    assert done.out.count("UP TO DATE") == 4
    assert monorepo.gemmalock("each", "sync", "--nonsense").code == 4
    assert monorepo.gemmalock("each", "cache").code == 4


def test_a_repository_without_a_project_has_nothing_to_do(empty: Repo) -> None:
    for command in (["lock", "--check"], ["sync", "--locked"], ["verify"]):
        done = empty.gemmalock("each", *command)
        assert (done.code, done.err) == (0, "")
        assert "nothing to do" in done.out


def test_a_project_that_git_does_not_track_is_passed_over_and_told(monorepo: Repo) -> None:
    for name in ("apps/c", "apps/d"):
        monorepo.declare(name)
    monorepo.lock("apps/d")
    monorepo.declare("node_modules/x")
    monorepo.declare("apps/ignored")
    monorepo.write(".git/info/exclude", "/apps/ignored/\n")
    told = "note: passed over {} that git does not track: {}; `git add` a manifest and its lock to have it\n"
    done = monorepo.gemmalock("each", "verify")
    assert (done.code, visited(done)) == (0, ["apps/a", "apps/b"])
    assert done.err == told.format("1 project", "`apps/d`")
    # For `lock`, a manifest without a lock is a project too.
    assert monorepo.gemmalock("each", "lock", "--check").err == told.format("2 projects", "`apps/c`, `apps/d`")
    for quiet in (
        ["-q", "each", "verify"],
        ["each", "verify", "apps/a/gemmalock.lock"],
        ["-C", "apps/a", "each", "verify"],
    ):
        assert monorepo.gemmalock(*quiet).err == ""
    monorepo.done("add", "apps/d")
    assert visited(monorepo.gemmalock("each", "verify")) == ["apps/a", "apps/b", "apps/d"]


def test_a_manifest_without_a_lock_is_a_project_for_lock_alone(empty: Repo) -> None:
    empty.declare("apps/a")
    empty.done("add", ".")
    assert empty.gemmalock("each", "sync", "--locked").code == 0
    done = empty.gemmalock("each", "lock", "--check")
    assert done.code == 1
    assert "there is no `gemmalock.lock`" in done.err


def test_a_manifest_that_a_lock_above_lists_belongs_to_that(repo: Repo) -> None:
    import json

    lock = json.loads((repo.folder / "gemmalock.lock").read_text())
    lock["manifests"].append(lock["manifests"][0] | {"path": "apps/c/gemmalock.yaml", "models": []})
    repo.write("gemmalock.lock", json.dumps(lock))
    repo.declare("apps/c")
    repo.declare("apps/d")
    done = repo.gemmalock("each", "status", "--json", "apps/c/gemmalock.yaml", "apps/d/gemmalock.yaml")
    assert [project["folder"] for project in done.json()["facts"]["projects"]] == ["."]


def test_outside_of_git_the_folders_are_walked(monorepo: Repo) -> None:
    (monorepo.folder / ".git").rename(monorepo.folder / "no-git")
    monorepo.write("node_modules/x/gemmalock.lock", "nonsense")
    done = monorepo.gemmalock("each", "verify")
    assert (done.code, visited(done)) == (0, ["apps/a", "apps/b"])


def test_a_folder_of_the_environment_is_where_the_projects_are_looked_for(monorepo: Repo, tmp_path: Path) -> None:
    done = monorepo.gemmalock("each", "verify", folder=tmp_path, env={"GEMMALOCK_DIRECTORY": str(monorepo.folder)})
    assert (done.code, visited(done)) == (0, ["apps/a", "apps/b"])


# --- the commit in progress ---------------------------------------------------------------------------------


def hooked(repo: Repo, command: str) -> None:
    """Call a command from a plain git hook."""
    import sys

    hook = repo.write(".git/hooks/pre-commit", f"#!/bin/sh\n'{sys.executable}' -m gemmalock {command}\n")
    hook.chmod(0o755)


def test_staged_judges_the_commit_and_not_the_disk(repo: Repo) -> None:
    hooked(repo, "each --staged lock --check")
    repo.declare(model="another")
    repo.done("add", "gemmalock.yaml")
    # In date on the disk, and stale in the commit.
    repo.lock()
    assert repo.gemmalock("lock", "--check").code == 0
    done = repo.git("commit", "-m", "half")
    assert done.code == 1
    assert "gemmalock.yaml::another: is not in the lock" in done.err
    assert repo.git("commit", "-m", "half", "--", "gemmalock.yaml").code == 1
    assert repo.git("commit", "-a", "-m", "whole").code == 0
    # And the other way round: what is on the disk alone keeps nobody from committing.
    repo.declare(model="a third")
    repo.write("other.txt", "x")
    repo.done("add", "other.txt")
    assert repo.git("commit", "-m", "another matter").code == 0


def test_staged_sees_that_the_lock_is_not_in_the_commit(empty: Repo) -> None:
    hooked(empty, "each --staged lock --check")
    empty.declare("apps/a")
    empty.lock("apps/a")
    empty.done("add", "apps/a/gemmalock.yaml")
    done = empty.git("commit", "-m", "without the lock")
    assert done.code == 1
    assert "commit `gemmalock.lock`" in done.err
    assert empty.commit().code == 0
    empty.done("rm", "-q", "--cached", "apps/a/gemmalock.lock")
    assert empty.git("commit", "-m", "the lock goes").code == 1


def test_staged_goes_by_the_settings_of_the_commit(empty: Repo) -> None:
    hooked(empty, "each --staged lock --check")
    empty.declare()
    empty.lock()
    empty.write("gemmalock.toml", "jobs = nonsense\n")
    assert empty.commit().code == 1
    empty.write("gemmalock.toml", "jobs = 2\n")
    assert empty.commit().code == 0


def test_staged_follows_a_link_within_the_commit(empty: Repo) -> None:
    hooked(empty, "each --staged lock --check")
    empty.declare("apps/a")
    (empty.folder / "apps/a/gemmalock.yaml").rename(empty.folder / "apps/shared.yaml")
    (empty.folder / "apps/a/gemmalock.yaml").symlink_to("../shared.yaml")
    empty.lock("apps/a")
    done = empty.commit()
    assert done.code == 0, done.err


def test_without_a_commit_in_progress_staged_judges_the_disk(repo: Repo) -> None:
    repo.declare(model="another")
    assert repo.gemmalock("each", "--staged", "lock", "--check").code == 1


@pytest.mark.parametrize("command", [["sync"], ["lock"], ["verify"]])
def test_staged_is_for_checking_locks_alone(repo: Repo, command: list[str]) -> None:
    assert repo.gemmalock("each", "--staged", *command).code == 4
    # In the environment it is for those commands that know it.
    assert repo.gemmalock("each", *command, env={"GEMMALOCK_STAGED": "1"}).code == 0


def test_what_git_tracks_in_a_root_stays_when_a_hook_syncs(repo: Repo, tmp_path: Path) -> None:
    """In a hook of a second working tree, git's variables name another index than that of the project."""
    repo.write("models/kept.txt", "mine")
    repo.done("add", "--force", "models/kept.txt")
    repo.done("commit", "-q", "-m", "tracked in a root")
    hooked(repo, "each sync --locked && env | grep '^GIT_' > \"$SEEN\"")
    other = tmp_path / "other"
    repo.done("worktree", "add", "-q", "-b", "other", str(other))
    (other / "models/stray.txt").write_text("x")
    (other / "more.txt").write_text("x")
    repo.git("add", "more.txt", folder=other)
    env = {"SEEN": str(tmp_path / "seen"), "GEMMALOCK_ADOPT": "1"}
    for arguments in (["-m", "one"], ["-a", "--allow-empty", "-m", "two"], ["-m", "three", "--", "models/kept.txt"]):
        if arguments[-1] == "models/kept.txt":
            (other / "models/kept.txt").write_text("changed")
        done = repo.git("commit", *arguments, folder=other, env=env)
        assert done.code == 0, (done.out, done.err)
        assert (other / "models/kept.txt").exists()
        assert (other / "models/gemma/model.gguf").exists()
        assert not (other / "models/stray.txt").exists()
    assert "GIT_INDEX_FILE=" in (tmp_path / "seen").read_text()

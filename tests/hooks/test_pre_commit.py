"""The hooks under the real `pre-commit`, called by real git commands: each failing and passing, and with no network.

Here they run as `language: system`, with what `.pre-commit-hooks.yaml` says of them word for word, and a `gemmalock`
on the PATH that counts its calls. The long test lets pre-commit install gemmalock from a repository, as people do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.guard import CHECKOUT
from tests.hooks.conftest import NO_NETWORK, WEIGHTS, Repo
from tests.running import PERSONS_ENVIRONMENT, Finished, environment

HOOKS: list[dict[str, Any]] = yaml.safe_load((CHECKOUT / ".pre-commit-hooks.yaml").read_text("utf-8"))
STAGES = ("pre-commit", "pre-merge-commit", "pre-push", "post-checkout", "post-merge", "post-rewrite")
PRE_COMMIT = (sys.executable, "-m", "pre_commit")


@dataclass(frozen=True, slots=True)
class Hooked:
    """A repository with the hooks installed, and what they are called with."""

    repo: Repo
    env: dict[str, str]
    calls: Path

    def git(self, *arguments: str, folder: Path | None = None) -> Finished:
        """Run git with its hooks; how it ended, with all that it said in `out`."""
        done = self.repo.git(*arguments, env=self.env, folder=folder)
        return replace(done, out=done.out + done.err)

    def commit(self, *arguments: str) -> Finished:
        """Stage everything that is not ignored, and commit with the hooks."""
        self.repo.done("add", "--all")
        return self.git("commit", "-m", "a change", *arguments)

    def pre_commit(self, *arguments: str, through: tuple[str, ...] = ()) -> Finished:
        """Run pre-commit itself."""
        done = subprocess.run(
            [*through, *PRE_COMMIT, *arguments],
            cwd=self.repo.folder,
            env=environment(self.env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        return Finished(done.returncode, done.stdout + done.stderr, "")

    def called(self) -> list[str]:
        """What `gemmalock` was called with since the last time: the command line, a line a call."""
        lines = self.calls.read_text("utf-8").splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return lines


def config_of(*hooks: dict[str, Any]) -> str:
    """A configuration of local hooks."""
    return yaml.safe_dump({"repos": [{"repo": "local", "hooks": list(hooks)}]})


def as_system(hook: dict[str, Any], **rest: Any) -> dict[str, Any]:
    """A hook that takes the `gemmalock` on the PATH."""
    return hook | {"language": "system"} | rest


def hook_in(repo: Repo, tmp_path: Path, config: str) -> Hooked:
    """Install the hooks of a configuration in a repository, and commit the configuration."""
    programs = tmp_path / "programs"
    programs.mkdir()
    calls = tmp_path / "calls"
    (programs / "gemmalock").write_text(
        f"#!/bin/sh\necho \"$# $*\" | cut -c -200 >> '{calls}'\nexec '{sys.executable}' -m gemmalock \"$@\"\n"
    )
    (programs / "gemmalock").chmod(0o755)
    env = {
        **NO_NETWORK,
        "no_proxy": "127.0.0.1",
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PRE_COMMIT_HOME": str(tmp_path / "pre-commit"),
    }
    hooked = Hooked(repo, env, calls)
    repo.write(".pre-commit-config.yaml", config)
    repo.done("add", "--all")
    repo.done("commit", "-q", "-m", "with hooks")
    done = hooked.pre_commit("install", *(f"--hook-type={stage}" for stage in STAGES))
    assert done.code == 0, done.out
    return hooked


@pytest.fixture
def hooked(repo: Repo, tmp_path: Path) -> Hooked:
    """A repository with one project and all hooks."""
    return hook_in(repo, tmp_path, config_of(*(as_system(hook) for hook in HOOKS)))


@pytest.fixture
def hooked_monorepo(monorepo: Repo, tmp_path: Path) -> Hooked:
    """The same with two projects."""
    return hook_in(monorepo, tmp_path, config_of(*(as_system(hook) for hook in HOOKS)))


def test_the_manifest_of_the_hooks_is_valid_and_has_the_four(tmp_path: Path) -> None:
    done = subprocess.run(
        [*PRE_COMMIT, "validate-manifest", CHECKOUT / ".pre-commit-hooks.yaml"],
        cwd=tmp_path, env=environment(), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert [hook["id"] for hook in HOOKS] == [
        "gemmalock-lock", "gemmalock-sync", "gemmalock-verify", "gemmalock-no-weights",
    ]  # fmt: skip
    assert {hook["language"] for hook in HOOKS} == {"python"}


# --- gemmalock-lock -----------------------------------------------------------------------------------------


def test_a_commit_with_a_stale_lock_is_refused_and_one_with_its_lock_is_not(hooked: Hooked) -> None:
    hooked.repo.declare(model="another")
    done = hooked.commit()
    assert done.code == 1
    assert "gemmalock.yaml::another: is not in the lock" in done.out
    hooked.repo.lock()
    # The lock is in date on the disk, and not in the commit: pre-commit and `--staged` look at the commit.
    assert hooked.git("commit", "-m", "half").code == 1
    done = hooked.commit()
    assert done.code == 0, done.out


def test_a_lock_that_was_never_added_is_missing_in_the_commit(hooked_monorepo: Hooked) -> None:
    repo = hooked_monorepo.repo
    repo.declare("apps/c")
    repo.lock("apps/c")
    repo.done("add", "apps/c/gemmalock.yaml")
    done = hooked_monorepo.git("commit", "-m", "without its lock")
    assert done.code == 1
    assert "there is no `gemmalock.lock`" in done.out
    assert hooked_monorepo.commit().code == 0


def test_a_merge_that_leaves_a_stale_lock_is_refused(hooked: Hooked) -> None:
    assert hooked.git("checkout", "-q", "-b", "stale").code == 0
    hooked.repo.declare(model="another")
    assert hooked.commit("--no-verify").code == 0
    assert hooked.git("checkout", "-q", "main").code == 0
    hooked.repo.write("more.txt", "x")
    assert hooked.commit().code == 0
    done = hooked.git("merge", "-q", "stale")
    assert done.code == 1
    assert "gemmalock.yaml::another: is not in the lock" in done.out


def test_what_has_nothing_to_do_with_locks_does_not_wait_for_them(hooked: Hooked) -> None:
    hooked.repo.write("src/main.py", "print()\n")
    hooked.called()
    assert hooked.commit().code == 0
    assert [call.split()[1] for call in hooked.called()] == ["no-weights"]


def test_in_a_monorepo_the_projects_of_the_commit_are_judged_in_one_call(hooked_monorepo: Hooked) -> None:
    repo = hooked_monorepo.repo
    repo.declare("apps/a", model="another")
    assert hooked_monorepo.commit("--no-verify").code == 0
    repo.declare("apps/b", model="another")
    repo.lock("apps/b")
    # `apps/a` is stale, and not touched by this commit.
    done = hooked_monorepo.commit()
    assert done.code == 0, done.out
    hooked_monorepo.called()
    done = hooked_monorepo.pre_commit("run", "gemmalock-lock", "--all-files")
    assert done.code == 1
    assert "error: apps/a: `gemmalock lock --check` ended with exit code 1" in done.out
    assert len(hooked_monorepo.called()) == 1


def test_a_project_can_be_excluded(monorepo: Repo, tmp_path: Path) -> None:
    (lock, *_) = HOOKS
    hooked = hook_in(monorepo, tmp_path, config_of(as_system(lock, exclude="^apps/a/")))
    monorepo.declare("apps/a", model="another")
    assert hooked.commit().code == 0
    assert hooked.pre_commit("run", "--all-files").code == 0
    monorepo.declare("apps/b", model="another")
    assert hooked.commit().code == 1


def through_nothing() -> list[Any]:
    """Ways to run without a network: with proxies that refuse, and in a network namespace that has no device."""
    unshared = shutil.which("unshare") is not None and (
        subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode == 0
    )
    skip = pytest.mark.skipif(not unshared, reason="`unshare -rn` does not work here")
    return [pytest.param((), id="proxies"), pytest.param(("unshare", "-rn"), id="namespace", marks=skip)]


@pytest.mark.parametrize("through", through_nothing())
def test_with_the_network_gone_the_verdicts_are_the_same(hooked: Hooked, through: tuple[str, ...]) -> None:
    hooked.repo.server.files.clear()
    run = ("run", "--all-files")
    done = hooked.pre_commit(*run, through=through)
    assert done.code == 0, done.out
    assert done.out.count("Passed") == 2
    assert hooked.pre_commit(*run, "--hook-stage", "pre-push", through=through).code == 0
    checkout = ("run", "--hook-stage", "post-checkout", "--from-ref", "HEAD", "--to-ref", "HEAD")
    assert hooked.pre_commit(*checkout, through=through).code == 0
    hooked.repo.declare(model="another")
    hooked.repo.write("copy", WEIGHTS)
    hooked.repo.done("add", "copy", "gemmalock.yaml")
    done = hooked.pre_commit(*run, through=through)
    assert done.code == 1
    assert "gemmalock.yaml::another: is not in the lock" in done.out
    assert "copy: it has the bytes of" in done.out
    done = hooked.pre_commit(*checkout, through=through)
    assert done.code == 1
    assert "does not follow from" in done.out


# --- gemmalock-no-weights -----------------------------------------------------------------------------------


def test_a_commit_of_a_model_is_refused_until_its_cure(hooked: Hooked) -> None:
    hooked.repo.write("data/copy.bin", WEIGHTS)
    hooked.repo.done("add", "--force", "data/copy.bin", "models/gemma/config.json")
    done = hooked.git("commit", "-m", "weights")
    assert done.code == 1
    assert "error: data/copy.bin: it has the bytes of `gemmalock.yaml::gemma::model.gguf`" in done.out
    assert "error: models/gemma/config.json: it is in the root `models` of `gemmalock.lock`" in done.out
    cures = [line for line in done.out.splitlines() if line.startswith("hint: run `")]
    assert len(cures) == 2
    for cure in cures:
        hooked.repo.done(*cure.split("`")[1].split()[1:])
    hooked.repo.write("data/text", "text")
    hooked.repo.done("add", "data/text")
    assert hooked.git("commit", "-m", "no weights").code == 0


def test_many_files_are_judged_by_several_processes_at_once_and_each_names_its_own(hooked: Hooked) -> None:
    names = [f"data/{number:04}.txt" for number in range(1200)]
    for name in names:
        hooked.repo.write(name, name)
    bad = names[::100]
    for name in bad:
        hooked.repo.write(name, WEIGHTS)
    hooked.called()
    done = hooked.commit()
    assert done.code == 1
    assert [name for name in names if f"error: {name}: " in done.out] == bad
    calls = hooked.called()
    assert len(calls) > 1 or os.cpu_count() == 1
    # Each call has its slice of the names, after `no-weights --`.
    assert sum(int(call.split()[0]) - 2 for call in calls) == len(names)
    for name in bad:
        hooked.repo.write(name, name)
    assert hooked.commit().code == 0


def test_a_link_into_the_store_is_refused_in_a_root(hooked: Hooked) -> None:
    (hooked.repo.folder / "models/link.gguf").symlink_to("/somewhere/store/object")
    hooked.repo.done("add", "--force", "models/link.gguf")
    done = hooked.git("commit", "-m", "a link")
    assert done.code == 1
    assert "error: models/link.gguf" in done.out


# --- gemmalock-sync -----------------------------------------------------------------------------------------


def placed(hooked: Hooked) -> set[str]:
    """The models in place."""
    folder = hooked.repo.folder / "models"
    return {path.name for path in folder.iterdir() if path.name != ".gemmalock"}


def on_a_branch(hooked: Hooked, name: str, model: str) -> None:
    """Make a branch that has a model of another name, and come back."""
    assert hooked.git("checkout", "-q", "-b", name).code == 0
    hooked.repo.declare(model=model)
    hooked.repo.lock()
    assert hooked.commit().code == 0
    assert hooked.git("checkout", "-q", "main").code == 0


def test_a_checkout_and_a_merge_bring_the_models_of_their_lock(hooked: Hooked) -> None:
    on_a_branch(hooked, "other", "another")
    assert placed(hooked) == {"gemma"}
    assert hooked.git("checkout", "-q", "other").code == 0
    assert placed(hooked) == {"another"}
    assert hooked.git("checkout", "-q", "main").code == 0
    assert placed(hooked) == {"gemma"}
    done = hooked.git("merge", "-q", "other")
    assert done.code == 0, done.out
    assert placed(hooked) == {"another"}


def test_a_rebase_brings_the_models_of_its_lock(hooked: Hooked) -> None:
    on_a_branch(hooked, "other", "another")
    hooked.repo.write("more.txt", "x")
    assert hooked.commit().code == 0
    done = hooked.git("rebase", "other")
    assert done.code == 0, done.out
    assert placed(hooked) == {"another"}


def test_an_amended_commit_brings_the_models_of_its_lock(hooked: Hooked) -> None:
    hooked.repo.declare(model="another")
    hooked.repo.lock()
    hooked.repo.done("add", "--all")
    hooked.called()
    done = hooked.git("commit", "--amend", "-m", "amended")
    assert done.code == 0, done.out
    assert hooked.called()[-1] == "3 each sync --locked"
    assert placed(hooked) == {"another"}


def test_a_branch_without_a_lock_is_checked_out_as_ever(hooked: Hooked) -> None:
    hooked.repo.done("checkout", "-q", "--orphan", "bare")
    hooked.repo.done("rm", "-q", "--cached", "gemmalock.yaml", "gemmalock.lock")
    hooked.repo.done("commit", "-q", "--no-verify", "-m", "before gemmalock")
    (hooked.repo.folder / "gemmalock.yaml").unlink()
    (hooked.repo.folder / "gemmalock.lock").unlink()
    assert hooked.git("checkout", "-q", "main").code == 0
    done = hooked.git("checkout", "-q", "bare")
    assert done.code == 0, done.out


def test_a_checkout_of_a_stale_lock_says_so_and_writes_none(hooked: Hooked) -> None:
    assert hooked.git("checkout", "-q", "-b", "stale").code == 0
    hooked.repo.declare(model="another")
    assert hooked.commit("--no-verify").code == 0
    assert hooked.git("checkout", "-q", "main").code == 0
    done = hooked.git("checkout", "-q", "stale")
    assert done.code == 1
    assert "`gemmalock.lock` does not follow from `gemmalock.yaml`" in done.out
    assert placed(hooked) == {"gemma"}
    assert hooked.repo.done("status", "--porcelain") == ""


def test_hooks_of_many_at_once_do_each_other_no_harm(hooked_monorepo: Hooked) -> None:
    repo = hooked_monorepo.repo
    # With `--all-files` pre-commit sets nothing aside: two of it would meet at the lock of git's index.
    checkout = ("run", "--hook-stage", "post-checkout", "--all-files", "--from-ref", "HEAD", "--to-ref", "HEAD")
    push = ("run", "--hook-stage", "pre-push", "--all-files")
    for name in ("apps/a", "apps/b"):
        shutil.rmtree(repo.folder / name / "models")
    with ThreadPoolExecutor(4) as threads:
        assert {done.code for done in threads.map(lambda _: hooked_monorepo.pre_commit(*checkout), range(4))} == {0}
        found = list(threads.map(lambda _: hooked_monorepo.pre_commit(*push), range(4)))
    assert [done.code for done in found] == [0] * 4, found
    for name in ("apps/a", "apps/b"):
        assert (repo.folder / name / "models/gemma/model.gguf").read_bytes() == WEIGHTS
    (repo.folder / "apps/b/models/gemma/model.gguf").unlink()
    with ThreadPoolExecutor(4) as threads:
        assert {done.code for done in threads.map(lambda _: hooked_monorepo.pre_commit(*push), range(4))} == {1}


# --- gemmalock-verify ---------------------------------------------------------------------------------------


def test_a_push_with_a_rotten_model_is_refused(hooked: Hooked, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    hooked.repo.done("init", "-q", "--bare", str(remote))
    hooked.repo.done("remote", "add", "origin", str(remote))
    done = hooked.git("push", "-q", "origin", "main")
    assert done.code == 0, done.out
    hooked.repo.write("more.txt", "x")
    assert hooked.commit().code == 0
    model = hooked.repo.folder / "models/gemma/model.gguf"
    model.unlink()
    model.write_bytes(bytes(len(WEIGHTS)))
    done = hooked.git("push", "-q", "origin", "main")
    assert done.code == 1
    assert "`models/gemma/model.gguf`" in done.out
    hooked.repo.sync()
    assert hooked.git("push", "-q", "origin", "main").code == 0


# --- as people have it --------------------------------------------------------------------------------------


def source_repository(repo: Repo, tmp_path: Path) -> tuple[Path, str]:
    """A repository with what this checkout has, which need not be one, and its commit."""
    source = tmp_path / "gemmalock"
    left_out = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", "models", "*.egg-info")
    shutil.copytree(CHECKOUT, source, ignore=left_out)
    repo.done("init", "-q", str(source))
    repo.git("add", "--all", folder=source)
    assert repo.git("commit", "-q", "-m", "gemmalock", folder=source).code == 0
    return source, repo.git("rev-parse", "HEAD", folder=source).out.strip()


@pytest.mark.long
def test_pre_commit_installs_gemmalock_from_its_repository(repo: Repo, tmp_path: Path) -> None:
    source, revision = source_repository(repo, tmp_path)
    hooks = [{"id": hook["id"]} for hook in HOOKS]
    config = yaml.safe_dump({"repos": [{"repo": str(source), "rev": revision, "hooks": hooks}]})
    hooked = hook_in(repo, tmp_path, config)
    # What installs is the person's pip, with its settings; nothing of this environment stands in for it.
    home = {name: os.environ[name] for name in ("GEMMALOCK_STORE", "GIT_CONFIG_NOSYSTEM")}
    person = PERSONS_ENVIRONMENT | home | {"PRE_COMMIT_HOME": hooked.env["PRE_COMMIT_HOME"]}
    installed = subprocess.run(
        [*PRE_COMMIT, "install-hooks"], cwd=repo.folder, env=person, capture_output=True, text=True, check=False
    )
    assert installed.returncode == 0, installed.stdout + installed.stderr

    offline = replace(hooked, env=hooked.env | {"PYTHONPATH": ""})
    repo.server.files.clear()
    for way in through_nothing():
        if not any(mark.args[0] for mark in way.marks):
            assert offline.pre_commit("run", "--all-files", through=way.values[0]).out.count("Passed") == 2
    repo.write("more.txt", "x")
    assert offline.commit().code == 0
    repo.write("copy", WEIGHTS)
    assert "error: copy: it has the bytes of" in offline.commit().out
    repo.done("rm", "-q", "--cached", "copy")
    (repo.folder / "copy").unlink()
    repo.declare(model="another")
    assert "gemmalock.yaml::another: is not in the lock" in offline.commit().out
    repo.done("reset", "-q", "--hard")
    assert offline.git("checkout", "-q", "-b", "another").code == 0
    (repo.folder / "models/gemma/model.gguf").unlink()
    assert offline.pre_commit("run", "--hook-stage", "pre-push", "--all-files").code == 1
    assert offline.git("checkout", "-q", "main").code == 0
    assert (repo.folder / "models/gemma/model.gguf").read_bytes() == WEIGHTS
    assert offline.pre_commit("run", "--hook-stage", "pre-push", "--all-files").code == 0
    # The counting `gemmalock` of this module was on the PATH, and the installed one was called.
    assert hooked.called() == []

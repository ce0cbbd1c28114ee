"""docs/updating.md: its sessions and its workflow run as they stand; its Renovate managers find what they should."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from gemmalock.codec.lock_json import read_lock, write_lock
from gemmalock.codec.manifest import read_manifest
from gemmalock.drift import DriftKind, drift
from gemmalock.lockfile import Lock, LockedFile, LockedManifest, LockedModel
from gemmalock.spec import SCHEMES
from tests.cli.conftest import SMALL, Shop
from tests.guard import CHECKOUT
from tests.running import Project, environment

GUIDE = (CHECKOUT / "docs/updating.md").read_text("utf-8")
NEW = "77aa0c1d2e3f77aa0c1d2e3f77aa0c1d2e3f77aa"


def block(name: str) -> str:
    """The code between two marks."""
    found = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)\n?```\n<!-- /{name} -->", GUIDE, re.DOTALL)
    assert found is not None
    return found[1]


def shell(script: str, folder: Path, programs: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a script with the `gemmalock` of these tests, and a git that knows who commits."""
    programs.mkdir(exist_ok=True)
    program(programs / "gemmalock", f'exec "{sys.executable}" -m gemmalock "$@"')
    who = {f"GIT_{role}_{what}": "n@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        env=environment(who | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"} | env),
    )  # fmt: skip


def program(place: Path, script: str) -> None:
    """Write a program of a few lines."""
    place.write_text(f"#!/bin/sh\n{script}\n")
    place.chmod(place.stat().st_mode | stat.S_IXUSR)


def in_git(folder: Path, programs: Path) -> None:
    """Commit everything in a folder as its first commit."""
    done = shell("git init -qb main && git add --all && git commit -qm one", folder, programs)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of programs; without git there is nothing to be done."""
    for name in ("git", "bash"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")
    return tmp_path / "programs"


@pytest.fixture
def followed(project: Project, programs: Path) -> Project:
    """A project that follows a folder of three files, and another of one; locked and committed."""
    for place, text in {
        "weights/model.gguf": "weights", "weights/old.bin": "old", "weights/README.md": "read me",
        "words/tokenizer.json": "{}",
    }.items():  # fmt: skip
        (project.folder / place).parent.mkdir(exist_ok=True)
        (project.folder / place).write_text(f"{text}\n")
    project.write_manifest(
        "version: 1\nmodels:\n  gemma: {source: 'file://weights', files: ['*']}\n"
        "  tokenizer: {source: 'file://words', files: ['*']}\n"
    )
    assert shell("gemmalock lock", project.folder, programs).returncode == 0
    (project.folder / ".gitignore").write_text("models/\n*.txt\n")
    in_git(project.folder, programs)
    return project


def test_the_session_of_the_guide_is_what_happens(followed: Project, programs: Path) -> None:
    session = "".join(re.findall(r"```console\n(.*?)```", GUIDE, re.DOTALL))
    commands = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", session, re.MULTILINE)
    assert len(commands) > 9
    for command, expected in commands:
        done = shell(command, followed.folder, programs)
        said, wanted = (re.sub(r"in \d+\.\d\ds ==", "in 0.00s ==", text) for text in (done.stdout, expected))
        assert (done.returncode, said, done.stderr) == (0, wanted, ""), command


def test_the_json_of_the_guide_is_what_is_said(followed: Project, programs: Path) -> None:
    (followed.folder / "words/tokenizer.json").write_text('{"a": 0}\n')
    command = "gemmalock outdated --json gemmalock.yaml::tokenizer"
    assert f"`{command}`" in GUIDE
    done = shell(command, followed.folder, programs)
    assert json.loads(block("difference")) == json.loads(done.stdout)["facts"]["difference"]


# --- the workflow ------------------------------------------------------------------------------------------

#: A `gh` that notes how it was called; there is a pull request from the first `pr create` on.
GH = """
echo "$@" >> "$GH_LOG"
case "$2" in
  list) if grep -q "pr create" "$GH_LOG"; then echo 1; else echo 0; fi ;;
  *) while [ $# -gt 0 ]; do if [ "$1" = --body-file ]; then cat "$2" >> "$GH_LOG"; fi; shift; done ;;
esac
"""


def workflow() -> Any:
    """The workflow, as YAML has it."""
    return yaml.safe_load(block("workflow"))


def test_the_workflow_is_whole() -> None:
    # YAML 1.1 takes `on` for true.
    found = workflow()
    (job,) = found["jobs"].values()
    assert found[True]["schedule"][0]["cron"].count(" ") == 4
    assert found["permissions"] == {"contents": "write", "pull-requests": "write"}
    cache = next(step["with"] for step in job["steps"] if step.get("uses", "").startswith("actions/cache@"))
    assert cache["path"] == job["env"]["GEMMALOCK_STORE"]


def test_the_workflow_opens_a_pull_request_brings_it_up_to_date_and_rests(
    shop: Shop, programs: Path, tmp_path: Path
) -> None:
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    assert shop.here("lock").code == 0
    folder, log = shop.project.folder, tmp_path / "gh.log"
    (folder / ".gitignore").write_text("models/\n")
    in_git(folder, programs)
    origin = tmp_path / "origin.git"
    assert shell(f"git init -q --bare {origin} && git remote add origin {origin}", folder, programs).returncode == 0
    program(programs / "gh", GH)
    (job,) = workflow()["jobs"].values()
    script = next(step["run"] for step in job["steps"] if step.get("name") == "Follow what is upstream")

    def run_once() -> list[str]:
        log.write_text("")
        return again()

    def again() -> list[str]:
        before = len(log.read_text().splitlines())
        # Each run begins with a checkout of `main`.
        assert shell("git switch -q main", folder, programs).returncode == 0
        done = shell(script, folder, programs, RUNNER_TEMP=str(tmp_path), BRANCH=job["env"]["BRANCH"], GH_LOG=str(log))
        assert done.returncode == 0, done.stderr
        return log.read_text().splitlines()[before:]

    assert run_once() == []
    for size, verb in ((19, "create"), (20, "edit")):
        shop.server.put("/tokenizer.json", SMALL.ljust(size))
        calls = again()
        assert calls[1].startswith(f"pr {verb} ")
        assert "--title Upgrade gemma" in calls[1]
        assert calls[2:4] == ["```", "gemmalock.yaml::gemma"]
        assert f"CHANGED  tokenizer.json  18 B → {size} B" in calls[4]
        pushed = shell(f"git -C {origin} show gemmalock/upgrade:gemmalock.lock", folder, programs).stdout
        assert f'"size": {size},' in pushed
        assert (folder / "models/gemma/tokenizer.json").stat().st_size == size
    # What was upgraded and merged is at rest.
    assert shell("git switch -q main && git merge -q gemmalock/upgrade", folder, programs).returncode == 0
    assert again() == []


def test_where_upstream_cannot_be_asked_the_workflow_fails_and_opens_nothing(
    shop: Shop, programs: Path, tmp_path: Path
) -> None:
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    assert shop.here("lock").code == 0
    in_git(shop.project.folder, programs)
    program(programs / "gh", GH)
    shop.server.put("/tokenizer.json", b"other")
    del shop.server.files["/model.gguf"]
    (job,) = workflow()["jobs"].values()
    log = tmp_path / "gh.log"
    done = shell(job["steps"][-1]["run"], shop.project.folder, programs, RUNNER_TEMP=str(tmp_path), GH_LOG=str(log))
    assert done.returncode == 1
    assert not log.exists()


# --- Renovate ----------------------------------------------------------------------------------------------

RENOVATE = json.loads(block("renovate"))
MANAGERS = dict(zip(("manifest", "lock"), RENOVATE["customManagers"], strict=True))
COMMIT = "4f1c2a9b3d0e4f1c2a9b3d0e4f1c2a9b3d0e4f1c"


def found_by(manager: str, text: str) -> list[dict[str, str | None]]:
    """What a manager finds in a text: its groups, a match each."""
    (pattern,) = MANAGERS[manager]["matchStrings"]
    return [match.groupdict() for match in re.finditer(pattern.replace("(?<", "(?P<"), text)]


def test_the_managers_say_all_that_renovate_needs() -> None:
    for name, file in (("manifest", "gemmalock.yaml"), ("lock", "gemmalock.lock")):
        manager = MANAGERS[name]
        (place,) = manager["managerFilePatterns"]
        for path in (file, f"apps/chat/{file}"):
            assert re.search(place.strip("/"), path)
        assert not re.search(place.strip("/"), f"my{file}")
        assert (manager["customType"], manager["datasourceTemplate"]) == ("regex", "git-refs")
        # RE2, which Renovate has, looks neither ahead nor behind, and remembers nothing.
        assert not re.search(r"\(\?[=!]|\(\?<[=!]|\\[1-9]", manager["matchStrings"][0])


@pytest.mark.parametrize(
    ("source", "name", "branch"),
    [
        (f"hf://o/r@{COMMIT}  # main", "o/r", "main"),
        (f"hf://o/r-1.2_x@{COMMIT} # refs/pr/1", "o/r-1.2_x", "refs/pr/1"),
        (f'"hf://o/r@{COMMIT}" # v1.0', "o/r", "v1.0"),
        (f"hf://o/r@{COMMIT}", "o/r", None),
        (f"hf://datasets/o/r@{COMMIT}", "datasets/o/r", None),
        (f"hf://gpt2@{COMMIT}", "gpt2", None),
    ],
)
def test_a_manager_finds_the_commits_of_a_manifest(source: str, name: str, branch: str | None) -> None:
    text = f"version: 1\nmodels:\n  m:\n    source: {source}\n    files: [a.gguf]\n"
    assert read_manifest(text.encode(), "gemmalock.yaml", schemes=SCHEMES).models[0].source is not None
    assert found_by("manifest", text) == [{"depName": name, "currentDigest": COMMIT, "currentValue": branch}]


def test_a_manager_leaves_branches_in_a_manifest_alone() -> None:
    for source in ("hf://o/r@main", "hf://o/r", f"https://example.org/o/r@{COMMIT}", f"github://o/r@{COMMIT}"):
        assert found_by("manifest", f"    source: {source}\n") == []


def test_the_manifest_of_the_guide_is_valid_and_moves_to_another_commit() -> None:
    text = block("manifest") + "\n"
    (found,) = found_by("manifest", text)
    moved = text.replace(str(found["currentDigest"]), NEW)
    before, after = (read_manifest(each.encode(), "gemmalock.yaml", schemes=SCHEMES) for each in (text, moved))
    assert before.models[0].source == f"hf://{found['depName']}@{found['currentDigest']}"
    assert after.models[0].source == f"hf://{found['depName']}@{NEW}"


def locked(source: str) -> Lock:
    """A lock of one model of the hub."""
    url = f"https://huggingface.co/o/r/resolve/{COMMIT}/a.gguf"
    file = LockedFile.pin(name="a.gguf", path="m/a.gguf", url=url, size=7, etag=None, sha256=None)
    model = LockedModel("m", (file,), source, COMMIT, license="mit", tags=("llm",))
    text = f"version: 1\nmodels:\n  m: {{source: '{source}', files: [a.gguf], license: mit, tags: [llm]}}\n"
    declared = read_manifest(text.encode(), "gemmalock.yaml", schemes=SCHEMES).declared
    return Lock((LockedManifest("gemmalock.yaml", "models", declared, (model,)),))


@pytest.mark.parametrize(
    ("source", "branch"), [("hf://o/r@main", "main"), ("hf://o/r@v1.0", "v1.0"), ("hf://o/r", None)]
)
def test_a_manager_finds_the_commits_of_a_lock(source: str, branch: str | None) -> None:
    text = write_lock(locked(source)).decode()
    assert found_by("lock", text) == [{"depName": "o/r", "currentDigest": COMMIT, "currentValue": branch}]


def test_a_manager_leaves_what_is_no_branch_in_a_lock_alone() -> None:
    assert found_by("lock", write_lock(locked(f"hf://o/r@{COMMIT}")).decode()) == []
    plain = locked("hf://o/r@main").manifests[0]
    without = replace(plain, models=(replace(plain.models[0], source="https://example.org/o", revision=None),))
    assert found_by("lock", write_lock(Lock((without,))).decode()) == []


def test_a_lock_in_which_only_the_commit_was_changed_is_refused_by_check() -> None:
    source = "hf://o/r@main"
    text = f"version: 1\nmodels:\n  m: {{source: '{source}', files: [a.gguf], license: mit, tags: [llm]}}\n"
    manifest = read_manifest(text.encode(), "gemmalock.yaml", schemes=SCHEMES)
    written = write_lock(locked(source)).decode()
    assert drift("gemmalock.yaml", manifest, read_lock(written.encode(), "gemmalock.lock").manifests[0]) == ()
    renovated = written.replace(f'"revision": "{COMMIT}"', f'"revision": "{NEW}"')
    drifts = drift("gemmalock.yaml", manifest, read_lock(renovated.encode(), "gemmalock.lock").manifests[0])
    assert [each.kind for each in drifts] == [DriftKind.URL]


def test_what_runs_after_an_upgrade_is_what_the_guide_allows() -> None:
    (rule,) = RENOVATE["packageRules"]
    (command,) = rule["postUpgradeTasks"]["commands"]
    allowed = re.search(r'"allowedCommands": \["(.*?)"\]', GUIDE)
    assert allowed is not None
    assert re.fullmatch(allowed[1], command)

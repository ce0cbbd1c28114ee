"""What moved on the hub: `outdated` and its table with revisions, and how new what is followed may be."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from gemmalock.codec.report_json import report_problems
from tests.running import Gemmalock, Project
from tests.servers.hub import Hub, Lfs

OLD, NEW = b"old weights" * 1000, b"new weights" * 2000


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with two repositories, of one commit each."""
    with Hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        running.repo("org/gemma").commit({"a.gguf": Lfs(OLD), "b.json": b"{}"}, date="2020-01-01T00:00:00.000Z")
        running.repo("org/other").commit({"c.bin": Lfs(OLD)}, date="2020-01-01T00:00:00.000Z")
        yield running
        assert not running.failures


@pytest.fixture
def commits(hub: Hub, project: Project, gemmalock: Gemmalock) -> tuple[str, str]:
    """The commits that `org/gemma` was locked at, and that it moved to since."""
    declare(project, "main")
    done = gemmalock("lock")
    assert done.code == 0, done.err
    return revision_of(project), hub.repo("org/gemma").commit(
        {"a.gguf": Lfs(NEW), "d.txt": b"new"}, date="2020-02-01T12:00:00.000Z"
    )


def declare(project: Project, ref: str) -> None:
    """A manifest that follows `org/gemma` at a ref, and `org/other`."""
    project.write_manifest(
        f"version: 1\nmodels:\n  gemma: {{source: 'hf://org/gemma@{ref}', files: ['*']}}\n"
        "  other: {source: 'hf://org/other@main', files: ['*']}\n"
    )


def revision_of(project: Project) -> str:
    """The commit that the lock has of `org/gemma`."""
    revision = json.loads(project.lock.read_text())["manifests"][0]["models"][0]["revision"]
    assert isinstance(revision, str)
    return revision


def difference(gemmalock: Gemmalock, *arguments: str, code: int = 0) -> Any:
    """The difference in the report of a command."""
    done = gemmalock(*arguments, "--json")
    assert (done.code, report_problems(done.out)) == (code, []), done.err
    return done.json()["facts"]["difference"]


def test_a_heading_has_the_revisions_and_files_say_whether_their_bytes_moved(
    hub: Hub, commits: tuple[str, str], project: Project, gemmalock: Gemmalock
) -> None:
    before, after = commits
    done = gemmalock("outdated", "--check")
    assert (done.code, done.err) == (1, "")
    lines = [re.sub(r"sha256 [0-9a-f]{12}( → [0-9a-f]{12})?", "sha256", line) for line in done.out.splitlines()]
    assert lines[:4] == [
        f"gemmalock.yaml::gemma  revision {before[:7]} → {after[:7]}",
        "  CHANGED  a.gguf  10.7 KiB → 21.5 KiB  sha256",
        "  MOVED    b.json  2 B",
        "  ADDED    d.txt   3 B                  sha256",
    ]
    assert lines[4].startswith("== 1 changed, 1 moved, 1 added, 1 up to date in ")
    (model,) = difference(gemmalock, "outdated")["models"]
    assert (model["before"]["revision"], model["after"]["revision"]) == commits
    assert [file["same_bytes"] for file in model["files"]] == [False, True, None]
    assert revision_of(project) == before
    assert hub.cdn_bytes() == 0


def test_a_repository_that_is_gone_hides_nothing_of_another_that_moved(
    hub: Hub, commits: tuple[str, str], gemmalock: Gemmalock
) -> None:
    hub.repos.pop(("models", "org/other"))
    hub.forget()
    (model,) = difference(gemmalock, "outdated", code=1)["models"]
    assert (model["before"]["revision"], model["after"]["revision"]) == commits
    # What was asked once is not asked again for the sake of the others.
    asked = [request.path for request in hub.api_requests if "org/gemma" in request.path]
    assert len(asked) == len(set(asked))


def test_a_selection_leaves_other_repositories_alone(hub: Hub, commits: tuple[str, str], gemmalock: Gemmalock) -> None:
    hub.forget()
    assert difference(gemmalock, "outdated", "gemmalock.yaml::other") == {"manifests": [], "models": []}
    assert not [request for request in hub.requests if "org/gemma" in request.path]


# --- how new it may be -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "moves"),
    [
        (["--exclude-newer", "2020-01-31"], False),
        (["--exclude-newer", "2020-02-01"], True),
        (["--exclude-newer", "2020-02-01T11:59:59Z"], False),
        (["--exclude-newer", "2020-02-01T13:00:00+01:00"], True),
        (["--minimum-age", "7d"], True),
        (["--exclude-newer", "2020-01-31", "--minimum-age", "7d"], False),
    ],
)
def test_a_branch_is_followed_to_what_is_old_enough(
    commits: tuple[str, str], project: Project, gemmalock: Gemmalock, age: list[str], moves: bool
) -> None:
    for command in (["outdated"], ["lock", "--upgrade"]):
        done = gemmalock(*command, *age)
        assert done.code == 0, done.err
        assert ("revision" in done.out) == moves
    assert revision_of(project) == commits[1 if moves else 0]


@pytest.mark.parametrize("place", ["environment", "file"])
def test_the_settings_have_their_other_homes(
    commits: tuple[str, str], project: Project, gemmalock: Gemmalock, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    if place == "environment":
        monkeypatch.setenv("GEMMALOCK_EXCLUDE_NEWER", "2020-01-31")
    else:
        (project.folder / "gemmalock.toml").write_text("exclude-newer = 2020-01-31\n")
    assert gemmalock("outdated", "--check").code == 0
    assert gemmalock("outdated", "--check", "--exclude-newer", "2020-02-01").code == 1


def test_what_is_locked_stays_however_new_it_is(
    commits: tuple[str, str], project: Project, gemmalock: Gemmalock
) -> None:
    assert gemmalock("lock", "--upgrade").code == 0
    assert revision_of(project) == commits[1]
    for command in ("lock", "sync"):
        assert gemmalock(command, "--exclude-newer", "2020-01-31").code == 0
        assert revision_of(project) == commits[1]
    # An upgrade goes by it, also back.
    assert gemmalock("lock", "--upgrade", "--exclude-newer", "2020-01-31").code == 0
    assert revision_of(project) == commits[0]


def test_a_commit_is_the_users_own_word(commits: tuple[str, str], project: Project, gemmalock: Gemmalock) -> None:
    declare(project, commits[1])
    done = gemmalock("lock", "--exclude-newer", "2020-01-31")
    assert done.code == 0, done.err
    assert revision_of(project) == commits[1]


def test_where_everything_is_too_new_nothing_is_locked_and_the_settings_are_named(
    hub: Hub, project: Project, gemmalock: Gemmalock
) -> None:
    declare(project, "main")
    for command in (["lock"], ["sync"]):
        done = gemmalock(*command, "--exclude-newer", "2019-12-31")
        assert done.code == 1
        assert "`exclude-newer` and `minimum-age`" in done.err
    assert not project.lock.exists()


def test_add_takes_what_is_old_enough(
    hub: Hub, commits: tuple[str, str], project: Project, gemmalock: Gemmalock
) -> None:
    hub.repo("org/other").commit({"c.bin": Lfs(NEW)}, branch="next", date="2020-03-01T00:00:00.000Z")
    hub.repo("org/other").commit({"c.bin": Lfs(OLD + NEW)}, branch="next", date="2020-03-03T00:00:00.000Z")
    done = gemmalock("add", "more", "hf://org/other@next", "c.bin", "--exclude-newer", "2020-03-02")
    assert done.code == 0, done.err
    sizes = {
        model["name"]: model["files"][0]["size"]
        for model in json.loads(project.lock.read_text())["manifests"][0]["models"]
    }
    assert sizes["more"] == len(NEW)

"""The hub end to end: lock, sync, kill, resume, move on, with the command line and a stand-in hub."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.running import Finished, Gemmalock, Project
from tests.servers.hub import ANOTHER, MULTIPART, Hub, Lfs, Repo

MEBIBYTE = 1024 * 1024
CHUNK = 4 * MEBIBYTE
WEIGHTS = random.Random(5).randbytes(3 * MEBIBYTE)
CARD = b"---\nlicense: gemma\n---\n# A model\n"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, where `HF_ENDPOINT` says that it is."""
    with Hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running
        assert not running.leaks
        assert not running.failures


@pytest.fixture
def repo(hub: Hub) -> Repo:
    """A repository with weights, a card and a configuration."""
    made = hub.repo("org/gemma")
    made.commit({"a-Q4_K_M.gguf": Lfs(WEIGHTS), "README.md": CARD, "deep/config.json": b"{}", "x.imatrix": b"!"})
    return made


def declare(project: Project, *files: str, source: str = "hf://org/gemma@main") -> None:
    """Write a manifest with one model."""
    project.write_manifest(
        f"version: 1\nmodels:\n  gemma:\n    source: {source}\n    files: {json.dumps(files)}\n"
        '    exclude: ["*.imatrix"]\n'
    )


def model_of(project: Project) -> Any:
    """The one model of the lock."""
    return json.loads(project.lock.read_text())["manifests"][0]["models"][0]


def test_a_repository_is_locked_and_synced_and_then_needs_no_network(
    hub: Hub, repo: Repo, project: Project, gemmalock: Gemmalock
) -> None:
    declare(project, "**")
    done = gemmalock("sync")
    assert done.code == 0, done.err
    model = model_of(project)
    commit = model["revision"]
    assert model["license"] == "gemma"
    assert [file["name"] for file in model["files"]] == ["README.md", "a-Q4_K_M.gguf", "deep/config.json"]
    assert all(file["sha256"] for file in model["files"])
    assert {file["url"].rpartition(commit)[0] for file in model["files"]} == {
        "https://huggingface.co/org/gemma/resolve/"
    }
    # What `lock` fetched to hash it is not fetched again.
    assert len(hub.resolves("README.md")) == 1
    assert (project.folder / "models/gemma/deep/config.json").read_bytes() == b"{}"
    assert (project.folder / "models/gemma/a-Q4_K_M.gguf").read_bytes() == WEIGHTS
    hub.forget()
    for command in (["sync"], ["status"], ["lock"], ["lock", "--check"], ["sync", "--locked"], ["verify"]):
        assert gemmalock(*command).code == 0
    assert hub.requests == ()


def test_a_lock_says_the_same_wherever_the_hub_is(hub: Hub, repo: Repo, project: Project, gemmalock: Gemmalock) -> None:
    declare(project, "**")
    assert gemmalock("lock").code == 0
    first = project.lock.read_bytes()
    project.lock.unlink()
    with Hub() as other:
        other.repo("org/gemma").commit(
            {"a-Q4_K_M.gguf": Lfs(WEIGHTS), "README.md": CARD, "deep/config.json": b"{}", "x.imatrix": b"!"}
        )
        assert gemmalock("lock", env={"HF_ENDPOINT": other.url}).code == 0
    assert project.lock.read_bytes() == first
    assert hub.url.encode() not in first


def test_a_branch_that_moved_is_followed_only_when_asked(
    hub: Hub, repo: Repo, project: Project, gemmalock: Gemmalock
) -> None:
    declare(project, "**")
    assert gemmalock("sync").code == 0
    before = model_of(project)["revision"]
    commit = repo.commit({"a-Q4_K_M.gguf": Lfs(WEIGHTS[::-1])})
    hub.forget()
    assert gemmalock("lock").code == 0
    declare(project, "**", "README.md")
    assert gemmalock("sync").code == 0
    assert model_of(project)["revision"] == before
    assert gemmalock("lock", "--check").code == 0
    assert gemmalock("lock", "--check", "--upgrade").code == 1
    assert gemmalock("lock", "--upgrade").code == 0
    assert model_of(project)["revision"] == commit
    # A blob that stayed the same is known already.
    assert hub.resolves("README.md") == hub.resolves("deep/config.json") == ()
    assert gemmalock("sync").code == 0
    assert (project.folder / "models/gemma/a-Q4_K_M.gguf").read_bytes() == WEIGHTS[::-1]


def test_another_model_is_added_without_asking_for_those_that_are_pinned(
    hub: Hub, repo: Repo, project: Project, gemmalock: Gemmalock
) -> None:
    declare(project, "**")
    assert gemmalock("sync").code == 0
    before = model_of(project)
    hub.repo("org/other").commit({"b.gguf": Lfs(b"other")})
    repo.private = True
    done = gemmalock("add", "other", "hf://org/other", "b.gguf")
    assert done.code == 0, done.err
    assert model_of(project) == before


def test_a_repository_of_a_thousand_files_is_locked_with_few_questions(
    hub: Hub, project: Project, gemmalock: Gemmalock
) -> None:
    files: dict[str, Any] = {f"shards/{number:04}.bin": Lfs(b"%d" % number) for number in range(990)}
    hub.repo("org/gemma").commit(files | {f"{number}.json": b"{}%d" % number for number in range(10)})
    declare(project, "**")
    assert gemmalock("lock").code == 0
    assert len(model_of(project)["files"]) == 1000
    assert len(hub.api_requests) <= 12
    assert len(hub.requests) == len(hub.api_requests) + 10
    assert hub.cdn_bytes() == 0


@pytest.mark.parametrize("etag", [MULTIPART, ANOTHER, None])
def test_a_partial_survives_links_that_expire_and_tags_that_differ(
    hub: Hub, project: Project, gemmalock: Gemmalock, etag: Any
) -> None:
    body = random.Random(7).randbytes(24 * MEBIBYTE)
    hub.repo("org/gemma").commit({"a.gguf": Lfs(body)})
    hub.cdn.etag = etag
    declare(project, "a.gguf")
    assert gemmalock("lock").code == 0
    with gemmalock.started("sync", "--connections", "1", "--limit-rate", "5M") as process:
        kept = wait_until_kept(gemmalock, CHUNK)
        process.kill()
        process.wait()
    hub.expire_links()
    hub.forget()
    done = gemmalock("sync", "--json")
    assert done.code == 0, done.err
    (file,) = done.json()["files"]
    assert (file["resume_status"], file["action"], file["outcome"]) == ("can_resume", "resume", "done")
    assert file["bytes_kept"] >= kept
    assert hub.cdn_bytes() <= len(body) - kept
    assert (project.folder / "models/gemma/a.gguf").read_bytes() == body


def wait_until_kept(gemmalock: Gemmalock, least: int) -> int:
    """Until the journal vouches for so many bytes: for how many."""
    deadline = time.monotonic() + 60
    while True:
        tasks = gemmalock("tasks", "--json").json()["facts"]["tasks"]
        if tasks and tasks[0]["bytes_kept"] >= least:
            return int(tasks[0]["bytes_kept"])
        assert time.monotonic() < deadline


@pytest.mark.parametrize("token", ["", "hf_of_a_friend"])
def test_a_link_that_dies_in_mid_body_is_asked_for_anew(
    hub: Hub, project: Project, gemmalock: Gemmalock, token: str
) -> None:
    body = random.Random(7).randbytes(24 * MEBIBYTE)
    hub.repo("org/gemma").commit({"a.gguf": Lfs(body)})
    hub.cdn.expire_after_bytes = 10 * MEBIBYTE
    declare(project, "a.gguf")
    hub.tokens = {token: {"org/gemma"}} if token else {}
    done = gemmalock("sync", "--json", env={"HF_TOKEN": token})
    assert done.code == 0, done.err
    assert (project.folder / "models/gemma/a.gguf").read_bytes() == body
    # What came before the link died is not received again.
    assert done.json()["files"][0]["bytes_fetched"] <= len(body) + CHUNK


# --- refusals ----------------------------------------------------------------------------------------------


def told(done: Finished) -> dict[str, Any]:
    """The one error of a run's files."""
    (file,) = done.json()["files"]
    error: dict[str, Any] = file["error"]
    return error


def test_a_gate_stops_a_lock_before_anything_is_locked(
    hub: Hub, repo: Repo, project: Project, gemmalock: Gemmalock
) -> None:
    repo.gated = "auto"
    declare(project, "*.gguf")
    done = gemmalock("lock", "--json")
    assert done.code == 1
    error = told(done)
    assert error["code"] == "gated"
    assert "no token was sent" in error["message"]
    assert "https://huggingface.co/org/gemma" in error["hint"]
    assert not project.lock.exists()


def test_a_gate_that_closed_is_told_at_sync_without_a_byte(
    hub: Hub, repo: Repo, project: Project, gemmalock: Gemmalock
) -> None:
    declare(project, "*.gguf")
    assert gemmalock("lock").code == 0
    repo.gated = "manual"
    hub.tokens = {"hf_of_a_stranger": set()}
    done = gemmalock("sync", "--json", env={"HF_TOKEN": "hf_of_a_stranger"})
    assert done.code == 1
    assert told(done)["code"] == "gated"
    assert "`HF_TOKEN` was sent" in told(done)["message"]
    assert "hf_of_a_stranger" not in done.out + done.err
    assert hub.cdn_bytes() == 0


def test_a_limit_is_waited_out_and_said(hub: Hub, repo: Repo, project: Project, gemmalock: Gemmalock) -> None:
    hub.api.limit, hub.api.limit_times, hub.api.reset_seconds = 0, 1, 1
    declare(project, "*.gguf")
    done = gemmalock("lock", "--progress", "json")
    assert done.code == 0, done.err
    events = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    (retrying,) = [event for event in events if event["event"] == "retrying"]
    assert retrying["after_seconds"] >= 1
    assert "429" in retrying["reason"]


def test_a_limit_that_lasts_too_long_ends_the_run_with_when_it_ends(
    hub: Hub, repo: Repo, project: Project, gemmalock: Gemmalock
) -> None:
    hub.api.limit, hub.api.reset_seconds = 0, 290
    declare(project, "*.gguf")
    done = gemmalock("lock", "--json")
    assert done.code == 1
    assert told(done)["code"] == "rate_limited"
    assert "290 s" in told(done)["message"]


@pytest.mark.parametrize(
    ("source", "files", "words"),
    [
        ("hf://org/gema", ["*.gguf"], "there is no `hf://org/gema` on the hub"),
        ("hf://org/gemma@mian", ["*.gguf"], "has no branch, tag or commit `mian`"),
        ("hf://org/gemma", ["a-Q4_K_M.guf"], "`a-Q4_K_M.guf` is not in `hf://org/gemma`"),
        ("hf://org/gemma", ["*.safetensors"], "`*.safetensors` matches nothing"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(
    hub: Hub, repo: Repo, project: Project, gemmalock: Gemmalock, source: str, files: list[str], words: str
) -> None:
    declare(project, *files, source=source)
    done = gemmalock("lock", "--json")
    assert done.code == 1
    error = told(done)
    assert error["code"] == "not_found"
    assert words in error["message"]
    assert error["hint"]


def test_a_small_file_that_is_not_its_blob_is_not_locked(
    hub: Hub, repo: Repo, project: Project, gemmalock: Gemmalock
) -> None:
    commit = repo.commits[repo.refs["refs/heads/main"]]
    wrong = replace(commit.files["README.md"], oid="b" * 40)
    repo.commits[commit.id] = replace(commit, files={**commit.files, "README.md": wrong})
    declare(project, "README.md")
    done = gemmalock("lock", "--json")
    assert done.code == 1
    assert told(done)["code"] == "digest_mismatch"
    assert not project.lock.exists()

"""`github://` from a manifest to a root: locked with the digests that GitHub has, fetched without its API."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.running import Finished, Gemmalock, Project
from tests.servers.github import Asset, GitHub, Release, Repository

SIZE = 6 * 1024 * 1024 + 17
BODY = random.Random(11).randbytes(SIZE)
DIGEST = hashlib.sha256(BODY).hexdigest()
CARD = b"# a model card"
TOKEN = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Forge:
    """The stand-in, a project that follows it, and the command line led to it."""

    github: GitHub
    project: Project
    run: Gemmalock

    def __call__(self, *arguments: str, env: dict[str, str] | None = None) -> Finished:
        return self.run(*arguments, env=self.github.environ | (env or {}))

    def declare(self, source: str = "github://o/r@rel/v1", files: str = '["*.gguf", README.md]') -> None:
        self.project.write_manifest(f'version: 1\nmodels:\n  gemma:\n    source: "{source}"\n    files: {files}\n', ".")

    @property
    def release(self) -> Release:
        """The newest release."""
        return self.github.repositories["o/r"].releases[0]

    def asset(self, name: str = "gemma.gguf") -> Asset:
        return next(asset for asset in self.release.assets if asset.name == name)

    def locked(self) -> dict[str, Any]:
        """The one model of the lock."""
        (manifest,) = json.loads(self.project.lock.read_text())["manifests"]
        (model,) = manifest["models"]
        assert isinstance(model, dict)
        return model

    def placed(self, name: str) -> bytes:
        return (self.project.folder / "models" / "gemma" / name).read_bytes()


@pytest.fixture
def forge(project: Project, gemmalock: Gemmalock) -> Iterator[Forge]:
    assets = [Asset("gemma.gguf", BODY), Asset("README.md", CARD, digest=False), Asset("other.bin", b"other")]
    with GitHub({"o/r": Repository([Release("rel/v1", assets)])}) as github:
        forge = Forge(github, project, gemmalock)
        forge.declare()
        yield forge
        assert not github.failures
        assert not github.leaks


def test_a_lock_has_the_digests_of_github_and_its_own_urls(forge: Forge) -> None:
    done = forge("lock")
    assert done.code == 0, done.err
    model = forge.locked()
    assert (model["source"], model["revision"], model["license"]) == ("github://o/r@rel/v1", "rel/v1", "MIT")
    files = {file["name"]: file for file in model["files"]}
    base = "https://github.com/o/r/releases/download/rel%2Fv1"
    assert {name: file["url"] for name, file in files.items()} == {
        "README.md": f"{base}/README.md",
        "gemma.gguf": f"{base}/gemma.gguf",
    }
    gemma, card = files["gemma.gguf"], files["README.md"]
    assert (gemma["size"], gemma["sha256"], gemma["etag"]) == (SIZE, DIGEST, None)
    # No one published this one: it is small, and was fetched and hashed.
    assert card["sha256"] == hashlib.sha256(CARD).hexdigest()
    assert card["etag"] == forge.asset("README.md").content.etag_now()
    assert forge.github.asked("api") == ["/repos/o/r/releases/tags/rel%2Fv1", "/repos/o/r"]
    assert {path.rpartition("/")[2] for path in forge.github.asked("web")} == {"README.md"}


def test_the_same_upstream_gives_the_same_lock_and_check_proves_it_offline(forge: Forge) -> None:
    assert forge("lock").code == 0
    text = forge.project.lock.read_bytes()
    forge.github.forget()
    assert forge("lock", "--check").code == 0
    assert forge("lock").code == 0
    assert forge.github.requests == ()
    assert forge("lock", "--upgrade").code == 0
    assert forge.project.lock.read_bytes() == text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"revision": "rel/v1"', '"revision": "rel/v2"'),
        ("download/rel%2Fv1/gemma.gguf", "download/rel%2Fv1/other.gguf"),
        ("https://github.com/o/r/", "https://github.com/o/evil/"),
        ("https://github.com/o/r/", "https://github.example/o/r/"),
    ],
)
def test_a_lock_that_does_not_follow_from_its_source_is_stale(forge: Forge, before: str, after: str) -> None:
    assert forge("lock").code == 0
    text = forge.project.lock.read_text()
    assert before in text
    forge.project.lock.write_text(text.replace(before, after))
    done = forge("lock", "--check", "--offline")
    assert done.code == 1, done.err


def test_a_sync_asks_no_api_and_the_next_nothing_at_all(forge: Forge) -> None:
    assert forge("lock").code == 0
    forge.github.forget()
    done = forge("sync", "--locked")
    assert done.code == 0, done.err
    assert (forge.placed("gemma.gguf"), forge.placed("README.md")) == (BODY, CARD)
    assert forge.github.asked("api") == []
    forge.github.forget()
    assert forge("sync", "--locked").code == 0
    assert forge.github.requests == ()


def kill_half_way(forge: Forge, env: dict[str, str] | None = None) -> None:
    """Kill a sync of the one large file; by its end nobody lets those URLs pass that it was given."""
    content = forge.asset().content
    content.throttle = 2 * 1024 * 1024
    deadline = time.monotonic() + 30
    with forge.run.started("sync", env=forge.github.environ | (env or {})) as process:
        while forge.github.files.bytes_served() < SIZE * 2 // 3:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        process.kill()
        process.wait()
    content.throttle = None
    forge.github.expire()


def test_killed_half_way_the_next_sync_goes_on(forge: Forge) -> None:
    forge.declare(files="[gemma.gguf]")
    assert forge("lock").code == 0
    kill_half_way(forge)
    done = forge("sync", "--json")
    assert done.code == 0, done.err
    (file,) = done.json()["files"]
    assert (file["action"], file["outcome"]) == ("resume", "done")
    assert file["bytes_kept"] > 0
    assert forge.placed("gemma.gguf") == BODY


@pytest.mark.parametrize("other", [BODY[:-1] + bytes([BODY[-1] ^ 1]), BODY + b"more"], ids=["same size", "larger"])
def test_an_asset_that_was_replaced_is_never_put_in_place(forge: Forge, other: bytes) -> None:
    assert forge("lock").code == 0
    forge.asset().replace(other)
    done = forge("sync", "--locked", "--json")
    assert done.code == 1
    codes = {file["id"].rpartition("::")[2]: file["error"] and file["error"]["code"] for file in done.json()["files"]}
    assert codes["README.md"] is None
    assert codes["gemma.gguf"] in ("digest_mismatch", "size_mismatch")
    assert not (forge.project.folder / "models" / "gemma" / "gemma.gguf").exists()


def test_the_latest_release_is_followed_by_an_upgrade_only(forge: Forge) -> None:
    forge.declare("github://o/r", files="[gemma.gguf]")
    assert forge("lock").code == 0
    assert forge.locked()["revision"] == "rel/v1"
    newer = Release("v2", [Asset("gemma.gguf", b"newer"), Asset("extra.gguf", b"extra")], "2025-09-01T00:00:00Z")
    forge.github.repositories["o/r"].releases.insert(0, newer)
    assert forge("lock", "--check").code == 0
    # What is added is looked for in the release that is pinned.
    forge.declare("github://o/r", files="[gemma.gguf, other.bin]")
    assert forge("lock").code == 0
    assert forge.locked()["revision"] == "rel/v1"
    assert {file["name"] for file in forge.locked()["files"]} == {"gemma.gguf", "other.bin"}
    forge.declare("github://o/r", files='["*.gguf"]')
    old = {"GEMMALOCK_EXCLUDE_NEWER": "2025-08-01"}
    assert forge("lock", "--upgrade", env=old).code == 0
    assert forge.locked()["revision"] == "rel/v1"
    assert forge("lock", "--upgrade").code == 0
    assert forge.locked()["revision"] == "v2"
    assert {file["name"] for file in forge.locked()["files"]} == {"gemma.gguf", "extra.gguf"}


def test_a_name_that_is_not_there_is_told_with_what_is(forge: Forge) -> None:
    forge.declare(files="[gemma.ggu]")
    done = forge("lock")
    assert done.code == 1
    assert "`gemma.ggu` is not in `github://o/r@rel/v1`" in done.err
    assert "did you mean `gemma.gguf`?" in done.err
    assert not forge.project.lock.exists()


def test_a_limit_that_is_soon_over_is_waited_for(forge: Forge) -> None:
    reset = str(int(time.time()) + 1)
    forge.github.refusals.append((403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}))
    done = forge("lock", "--progress", "json")
    assert done.code == 0, done.err
    events = [json.loads(line) for line in done.err.splitlines()]
    assert any(event["event"] == "retrying" and "answered 403" in event["reason"] for event in events)


def test_a_limit_that_is_not_over_soon_is_told(forge: Forge) -> None:
    reset = str(int(time.time()) + 3000)
    forge.github.refusals += [(403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset})] * 2
    done = forge("lock", "--json")
    assert done.code == 1
    errors = [file["error"] for file in done.json()["files"] if file["error"]]
    assert {error["code"] for error in errors} == {"rate_limited"}
    assert all("asks to be left alone for" in error["message"] and "GITHUB_TOKEN" in error["hint"] for error in errors)


def test_settings_weigh_more_than_where_a_workflow_runs(forge: Forge) -> None:
    """On an own server a workflow has both variables; who means GitHub says so."""
    away = {"GITHUB_SERVER_URL": "http://127.0.0.1:9", "GITHUB_API_URL": "http://127.0.0.1:9"}
    rules = f"https://github.com={forge.github.web_url} https://api.github.com={forge.github.api_url}"
    done = forge("lock", env=away | {"GEMMALOCK_REWRITE": rules})
    assert done.code == 0, done.err


def test_a_variable_that_is_no_place_is_an_error_of_the_settings(forge: Forge) -> None:
    done = forge("lock", env={"GITHUB_API_URL": "ftp://name:secret@forge.example"})
    assert done.code == 4
    assert "`GITHUB_API_URL`" in done.err
    assert "secret" not in done.err


@pytest.fixture
def private(forge: Forge) -> Forge:
    forge.github.repositories["o/r"].private = True
    forge.github.tokens.add(TOKEN)
    return forge


def test_a_private_release_is_locked_and_synced_with_a_token(private: Forge) -> None:
    with_token = {"GITHUB_TOKEN": TOKEN}
    done = private("lock", env=with_token)
    assert done.code == 0, done.err
    files = {file["name"]: file for file in private.locked()["files"]}
    # The lock is that of a public repository: where its bytes are had is not its business.
    assert files["gemma.gguf"]["url"] == "https://github.com/o/r/releases/download/rel%2Fv1/gemma.gguf"
    assert files["gemma.gguf"]["sha256"] == DIGEST
    private.github.forget()
    done = private("sync", "--locked", env=with_token)
    assert done.code == 0, done.err
    assert (private.placed("gemma.gguf"), private.placed("README.md")) == (BODY, CARD)
    asked = private.github.asked("api")
    assert asked.count("/repos/o/r/releases/tags/rel%2Fv1") == 1
    carried = [each for each in private.github.requests if TOKEN in str(each.headers)]
    assert {each.port for each in carried} == {"api", "web"}
    texts = [private.project.lock.read_text(), done.out, done.err, private("sync", "--json", env=with_token).out]
    assert not any(TOKEN in text or "s3cr3t" in text for text in texts)


def test_a_private_file_killed_half_way_goes_on(private: Forge) -> None:
    with_token = {"GITHUB_TOKEN": TOKEN}
    private.declare(files="[gemma.gguf]")
    assert private("lock", env=with_token).code == 0
    kill_half_way(private, with_token)
    done = private("sync", "--json", env=with_token)
    assert done.code == 0, done.err
    (file,) = done.json()["files"]
    assert (file["action"], file["outcome"]) == ("resume", "done")
    assert private.placed("gemma.gguf") == BODY


def test_without_a_token_a_private_release_says_what_is_missing(private: Forge) -> None:
    assert private("lock", env={"GITHUB_TOKEN": TOKEN}).code == 0
    done = private("sync", "--locked")
    assert done.code == 1
    assert "if that is private, set `GITHUB_TOKEN`" in done.err
    private.project.lock.unlink()
    done = private("lock")
    assert done.code == 1
    assert "there is no `github://o/r` on GitHub, or it is private, and no token was sent" in done.err


def test_a_token_that_is_not_accepted_is_named(private: Forge) -> None:
    done = private("lock", env={"GH_TOKEN": "ghp_expired0123456789"})
    assert done.code == 1
    assert "GitHub does not accept the token of `GH_TOKEN`" in done.err
    assert "ghp_expired" not in done.err


def test_what_is_locked_is_as_new_as_it_is(forge: Forge) -> None:
    forge.declare("github://o/r", '["gemma.gguf"]')
    assert forge("lock").code == 0
    forge.declare("github://o/r", '["gemma.gguf", "other.bin"]')
    done = forge("lock", "--exclude-newer", "2001-01-01")
    assert done.code == 0, done.err
    assert [file["name"] for file in forge.locked()["files"]] == ["gemma.gguf", "other.bin"]
    # What is asked for anew is held against it.
    done = forge("lock", "--upgrade", "--exclude-newer", "2001-01-01", "--json")
    assert done.code == 1
    assert done.json()["files"][0]["error"]["code"] == "policy"

"""The stand-in hub is one that the real `huggingface_hub` client downloads from, unchanged and none the wiser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.servers.hub import Hub, Lfs

WEIGHTS = bytes(range(256)) * 1200
CARD = b"---\nlicense: gemma\ntags: [mobile]\n---\nA card.\n"
ODD = "sub/d\u00e9j\u00e0 vu #1 100%.txt"
FILES: Mapping[str, bytes | Lfs] = {
    "README.md": CARD,
    "config.json": b"{}",
    "weights.gguf": Lfs(WEIGHTS),
    "sub/other.gguf": Lfs(b"other", xet_hash="c0ffee"),
    ODD: b"odd",
}

#: What every script begins with; the last line that it prints is what it tells.
PRELUDE = """\
import json, os, pathlib, sys
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub import errors
def tree(folder):
    root = pathlib.Path(folder)
    found = (path for path in root.rglob("*") if path.is_file() and ".cache" not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_bytes().hex() for path in sorted(found)}
def raised(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return [kind.__name__ for kind in type(error).__mro__], str(error)
    return [], ""
told = {}
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub
        assert hub.failures == []


class Client:
    """The real client in a process of its own, whose only hub is ours."""

    def __init__(self, hub: Hub, folder: Path) -> None:
        self.environment = {
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(folder / "hf"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_XET": "1",
        }
        self.folder = folder

    def run(self, script: str) -> dict[str, Any]:
        """What a script told."""
        text = PRELUDE + script + "\nprint(json.dumps(told))\n"
        return json.loads(self._run(sys.executable, "-c", text).splitlines()[-1])  # type: ignore[no-any-return]

    def command(self, *arguments: str) -> str:
        """What `hf` printed."""
        return self._run(str(Path(sys.executable).with_name("hf")), *arguments)

    def _run(self, *command: str) -> str:
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def client(hub: Hub, tmp_path: Path) -> Client:
    return Client(hub, tmp_path)


def _bytes(files: Mapping[str, bytes | Lfs]) -> dict[str, str]:
    return {path: (content.body if isinstance(content, Lfs) else content).hex() for path, content in files.items()}


def test_a_snapshot_of_a_branch_a_tag_a_commit_and_a_pull_request_has_the_right_bytes(hub: Hub, client: Client) -> None:
    repo = hub.repo("org/name")
    first = repo.commit(FILES)
    repo.tag("v1")
    second = repo.commit({"config.json": b'{"new": 1}', ODD: None})
    pull_request = repo.pull_request({"config.json": b'{"proposed": 1}'})
    hub.dataset("org/rows").commit({"data/rows.csv": Lfs(b"a,b\n")})
    hub.repo("gpt2").commit({"config.json": b"gpt2"})
    told = client.run(
        f"""
for revision in (None, "v1", {first!r}, {pull_request!r}):
    told[str(revision)] = tree(snapshot_download("org/name", revision=revision, local_dir=f"of {{revision}}"))
told["some"] = tree(snapshot_download("org/name", allow_patterns=["*.gguf"]))
told["rows"] = tree(snapshot_download("org/rows", repo_type="dataset"))
told["gpt2"] = tree(snapshot_download("gpt2"))
"""
    )
    now = {path: content for path, content in FILES.items() if path != ODD} | {"config.json": b'{"new": 1}'}
    assert told["None"] == _bytes(now)
    assert told["v1"] == told[first] == _bytes(FILES)
    assert told[pull_request] == _bytes(now | {"config.json": b'{"proposed": 1}'})
    assert told["some"] == _bytes({name: FILES[name] for name in ("weights.gguf", "sub/other.gguf")})
    assert told["rows"] == _bytes({"data/rows.csv": b"a,b\n"})
    assert told["gpt2"] == _bytes({"config.json": b"gpt2"})
    assert repo.refs["refs/heads/main"] == second


def test_what_the_api_says_is_what_the_client_understands(hub: Hub, client: Client) -> None:
    repo = hub.repo("org/name")
    first = repo.commit(FILES, title="first")
    second = repo.commit({"weights.gguf": Lfs(b"new")}, date="2026-02-03T04:05:06.007Z", title="second")
    repo.tag("v1", first)
    repo.pull_request({"config.json": b"proposed"})
    hub.tree_page, hub.commits_page = 2, 1
    told = client.run(
        """
api = HfApi()
info = api.model_info("org/name", files_metadata=True)
told["info"] = [info.sha, info.gated, info.private, info.card_data["license"], info.tags, str(info.last_modified)]
told["siblings"] = [[s.rfilename, s.size, s.blob_id, s.lfs and s.lfs.sha256] for s in info.siblings]
told["at v1"] = api.model_info("org/name", revision="v1").sha
told["only"] = api.model_info("org/name", expand=["sha"]).siblings
entries = list(api.list_repo_tree("org/name", recursive=True, expand=True))
told["tree"] = [[e.path, getattr(e, "size", None), e.last_commit.title] for e in entries]
told["sub"] = [e.path for e in api.list_repo_tree("org/name", "sub", revision="v1")]
told["top"] = [e.path for e in api.list_repo_tree("org/name")]
told["xet"] = [e.xet_hash for e in entries if e.path == "sub/other.gguf"]
told["commits"] = [[c.commit_id, c.title, str(c.created_at)] for c in api.list_repo_commits("org/name")]
refs = api.list_repo_refs("org/name", include_pull_requests=True)
told["refs"] = [[r.ref, r.target_commit] for r in refs.branches + refs.tags + refs.pull_requests]
"""
    )
    when = "2026-02-03 04:05:06.007000+00:00"
    assert told["info"] == [second, False, False, "gemma", ["mobile", "license:gemma"], when]
    files = {**repo.commits[second].files}
    assert told["siblings"] == [
        [path, len(blob.body), blob.oid, blob.sha256 if blob.pointer else None] for path, blob in sorted(files.items())
    ]
    assert told["at v1"] == first
    assert told["only"] is None
    names = ["README.md", "config.json", "sub", ODD, "sub/other.gguf", "weights.gguf"]
    sizes = {path: len(blob.body) for path, blob in files.items()}
    titles = {"weights.gguf": "second"}
    assert told["tree"] == [[name, sizes.get(name), titles.get(name, "first")] for name in names]
    assert told["sub"] == [ODD, "sub/other.gguf"]
    assert told["top"] == ["README.md", "config.json", "sub", "weights.gguf"]
    assert told["xet"] == ["c0ffee"]
    assert told["commits"] == [[second, "second", when], [first, "first", "2026-01-01 00:00:00+00:00"]]
    proposed = repo.refs["refs/pr/1"]
    assert told["refs"] == [["refs/heads/main", second], ["refs/tags/v1", first], ["refs/pr/1", proposed]]


def test_the_client_has_its_own_error_for_each_refusal(hub: Hub, client: Client) -> None:
    hub.repo("org/open").commit({"a.gguf": Lfs(b"a"), "b.txt": b"b"})
    gated, private = hub.repo("org/gated"), hub.repo("org/private")
    gated.gated, private.private = "manual", True
    gated.commit({"a.gguf": Lfs(b"a")})
    private.commit({"a.gguf": Lfs(b"a")})
    hub.tokens = {"hf_member": {"org/gated", "org/private"}, "hf_stranger": set()}
    told = client.run(
        """
told["file"] = raised(hf_hub_download, "org/open", "c.txt")
told["revision"] = raised(hf_hub_download, "org/open", "b.txt", revision="nowhere")
told["short"] = raised(HfApi().model_info, "org/open", revision=HfApi().model_info("org/open").sha[:8])
told["nobody"] = raised(HfApi().model_info, "org/nothing")
told["hidden"] = raised(snapshot_download, "org/private")
told["gated"] = raised(snapshot_download, "org/gated")
told["stranger"] = raised(snapshot_download, "org/gated", token="hf_stranger")
told["typo"] = raised(HfApi().model_info, "org/open", token="hf_typo")
told["listed"] = [s.rfilename for s in HfApi().model_info("org/gated").siblings]
for name in ("gated", "private"):
    told[f"in {name}"] = tree(snapshot_download(f"org/{name}", token="hf_member"))
told["who"] = HfApi().whoami(token="hf_member")["name"]
"""
    )
    assert "RemoteEntryNotFoundError" in told["file"][0]
    assert "RevisionNotFoundError" in told["revision"][0]
    assert "RevisionNotFoundError" in told["short"][0]
    assert "RepositoryNotFoundError" in told["nobody"][0]
    assert "GatedRepoError" not in told["hidden"][0]
    assert "RepositoryNotFoundError" in told["hidden"][0]
    assert "GatedRepoError" in told["gated"][0]
    assert "You must have access to it and be authenticated" in told["gated"][1]
    assert "GatedRepoError" in told["stranger"][0]
    assert "you are not in the authorized list" in told["stranger"][1]
    assert "Invalid credentials in Authorization header" in told["typo"][1]
    assert told["listed"] == ["a.gguf"]
    assert told["in gated"] == told["in private"] == {"a.gguf": b"a".hex()}
    assert told["who"] == "tester"
    assert hub.leaks == ()


def test_the_command_line_downloads_a_file_too(hub: Hub, client: Client) -> None:
    hub.repo("org/name").commit(FILES)
    client.command("download", "org/name", "weights.gguf", "--local-dir", "here")
    assert (client.folder / "here/weights.gguf").read_bytes() == WEIGHTS
    assert hub.cdn_bytes() == len(WEIGHTS)


def test_renamed_cached_limited_and_cut_the_client_gets_there(hub: Hub, client: Client) -> None:
    hub.repo("org/old").commit(FILES)
    hub.rename("org/old", "org/new")
    hub.resolve_cache = hub.zips = True
    # The old name and the new one are two requests: the listing is the one that has to wait.
    hub.api.limit, hub.api.limit_times, hub.api.reset_seconds = 2, 1, 0
    # At a reset it gives up; what ends early it asks for again.
    hub.cdn.cut_after, hub.cdn.cut_times, hub.cdn.resets = 100_000, 1, False
    told = client.run('told["all"] = tree(snapshot_download("org/old", max_workers=1))')
    assert told["all"] == _bytes(FILES)
    assert [request.status for request in hub.api_requests if request.status == 429] == [429]
    assert [request.served for request in hub.cdn_requests] == [len(b"other"), 100_000, len(WEIGHTS)]
    assert {request.status for request in hub.resolves("config.json")} == {307}

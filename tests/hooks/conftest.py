"""A real repository with a locked model, for what git calls and for what judges a commit."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import gemmalock
from gemmalock.cli.boundary import run
from tests.running import Finished, environment
from tests.servers.fileserver import FileServer

WEIGHTS = random.Random(5).randbytes(300_000)
CONFIG = b'{"model_type": "gemma"}\n'
#: Whoever connects is refused: whatever a hook would ask of the network fails.
NO_NETWORK = dict.fromkeys(
    ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"
)
_IDENTITY = ("-c", "user.name=A. Person", "-c", "user.email=person@example.org", "-c", "commit.gpgsign=false")


@dataclass(frozen=True, slots=True)
class Here:
    """The command line in this process, called as `tests.running.Gemmalock` is: it takes a tenth of the time."""

    folder: Path
    captured: pytest.CaptureFixture[str]

    def __call__(
        self, *arguments: str | Path, folder: Path | None = None, env: Mapping[str, str] | None = None
    ) -> Finished:
        """Run it to its end. `env` is added to the environment of the test."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder or self.folder)
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            self.captured.readouterr()
            code = run([str(argument) for argument in arguments])
            return Finished(code, *self.captured.readouterr())


@dataclass(frozen=True, slots=True)
class Repo:
    """A repository, the server its models come from, and the command line in it."""

    folder: Path
    server: FileServer
    gemmalock: Here

    def git(self, *arguments: str, env: Mapping[str, str] | None = None, folder: Path | None = None) -> Finished:
        """Run git, hooks and all, which find the `gemmalock` of these tests; however it ends."""
        here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["git", *_IDENTITY, *arguments],
            cwd=folder or self.folder,
            env=environment({"PATH": here, **(env or {})}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def done(self, *arguments: str) -> str:
        """The same for what has to end well. Its stdout."""
        finished = self.git(*arguments)
        assert finished.code == 0, (arguments, finished.out, finished.err)
        return finished.out

    def write(self, path: str, content: bytes | str) -> Path:
        """Write a file."""
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
        return place

    def declare(self, folder: str = ".", *, model: str = "gemma", extra: str = "") -> None:
        """Write a manifest of a model with `/model.gguf` and `/config.json`."""
        urls = "".join(f"      - url: {self.server.origin}/{name}\n" for name in ("model.gguf", "config.json"))
        self.write(f"{folder}/gemmalock.yaml", f"version: 1\n{extra}models:\n  {model}:\n    files:\n{urls}")

    def lock(self, folder: str = ".") -> None:
        """Lock the project of a folder, and ignore its root."""
        assert gemmalock.lock(self.folder / folder, hash=True).ok
        self.write(f"{folder}/.gitignore", "/models/\n")

    def sync(self, folder: str = ".") -> None:
        """Have its models in place."""
        assert gemmalock.sync(self.folder / folder).ok

    def commit(self, message: str = "a change") -> Finished:
        """Stage everything that is not ignored, and commit."""
        self.done("add", "--all")
        return self.git("commit", "-m", message)


@pytest.fixture
def empty(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Repo]:
    """A repository without a commit, and nothing in it."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path / "repo"
    folder.mkdir()
    with FileServer({"/model.gguf": WEIGHTS, "/config.json": CONFIG}) as server:
        repo = Repo(folder, server, Here(folder, capfd))
        repo.done("init", "-q", "-b", "main")
        yield repo


@pytest.fixture
def repo(empty: Repo) -> Repo:
    """A repository with one project, locked and in place; all is committed."""
    empty.declare()
    empty.lock()
    empty.sync()
    assert empty.commit("the first").code == 0
    return empty


@pytest.fixture
def monorepo(empty: Repo) -> Repo:
    """A repository in which `apps/a` and `apps/b` have a lock of their own."""
    for name in ("apps/a", "apps/b"):
        empty.declare(name)
        empty.lock(name)
        empty.sync(name)
    assert empty.commit("the first").code == 0
    return empty

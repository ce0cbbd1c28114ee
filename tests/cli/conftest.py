"""A small project behind a loopback server, and the command line in this process or as a child."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from gemmalock.cli.boundary import run
from gemmalock.codec.report_json import report_problems
from tests.running import Finished, Gemmalock, Project
from tests.servers.fileserver import FileServer

LARGE = random.Random(11).randbytes(1_500_000)
SMALL = b'{"version": "1.0"}'
Here = Callable[..., Finished]


@dataclass(frozen=True, slots=True)
class Shop:
    """A server with `/model.gguf` and `/tokenizer.json`; a project that declares both as `gemma`."""

    project: Project
    server: FileServer
    run: Gemmalock
    here: Here

    def declare(self, *names: str) -> None:
        """Write the manifest anew."""
        lines = "".join(f"      - url: {self.server.origin}/{name}\n" for name in names)
        self.project.write_manifest(f"version: 1\nmodels:\n  gemma:\n    tags: [llm]\n    files:\n{lines}")

    def report(self, *arguments: str, code: int = 0) -> Any:
        """The report of a command, which fits its schema and has the exit code of the process."""
        done = self.here(*arguments, "--json")
        assert done.code == code, (done.out, done.err)
        assert report_problems(done.out) == []
        assert done.json()["exit_code"] == code
        return done.json()


@pytest.fixture
def here(project: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    """The command line in this process, in the project's folder: the error boundary and all below it."""
    monkeypatch.chdir(project.folder)

    def call(*arguments: str) -> Finished:
        capfd.readouterr()
        code = run(arguments)
        return Finished(code, *capfd.readouterr())

    return call


@pytest.fixture
def shop(project: Project, gemmalock: Gemmalock, here: Here) -> Iterator[Shop]:
    """The project, declared and not yet locked."""
    with FileServer({"/model.gguf": LARGE, "/tokenizer.json": SMALL}) as server:
        made = Shop(project, server, gemmalock, here)
        made.declare("model.gguf", "tokenizer.json")
        yield made

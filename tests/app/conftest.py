"""A project behind a loopback server, driven through the library's front door."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

import gemmalock
from tests.running import Project
from tests.servers.fileserver import Content, FileServer

#: One byte more than what `lock` fetches by itself.
LARGE = random.Random(3).randbytes(1024 * 1024)
SMALL = b'{"version": "1.0"}'


@dataclass(frozen=True, slots=True)
class Desk:
    """A server, and a project that may declare what is on it."""

    project: Project
    server: FileServer

    def declare(self, *names: str, **extra: str) -> None:
        """Write a manifest with the files as model `m`; `extra` lines go under each."""
        more = "".join(f"        {name}: {value}\n" for name, value in extra.items())
        lines = "".join(f"      - url: {self.server.origin}/{name}\n{more}" for name in names)
        self.project.write_manifest(f"version: 1\nmodels:\n  m:\n    files:\n{lines}")

    def lock(self, **options: Any) -> gemmalock.Report:
        """`gemmalock lock`."""
        return gemmalock.lock(self.project.folder, **options)

    def sync(self, **options: Any) -> gemmalock.Report:
        """`gemmalock sync`."""
        return gemmalock.sync(self.project.folder, **options)

    def locked_meanwhile(self, theirs: bytes) -> None:
        """Let somebody else write these bytes as the lock, while this run asks for `small.json`."""
        tag = self.server.files["/small.json"].etag_now()

        def meanwhile() -> str | None:
            self.project.lock.write_bytes(theirs)
            return tag

        self.server.put("/small.json", Content(SMALL, etag=meanwhile))

    @property
    def files(self) -> Mapping[str, Any]:
        """The files of the lock by their names."""
        models = json.loads(self.project.lock.read_text())["manifests"][0]["models"]
        return {file["name"]: file for model in models for file in model["files"]}


@pytest.fixture
def desk(project: Project) -> Iterator[Desk]:
    """Both, with nothing declared yet."""
    with FileServer({"/large.gguf": LARGE, "/small.json": SMALL}) as server:
        yield Desk(project, server)


def errors_of(report: gemmalock.Report) -> list[tuple[str, str]]:
    """The files that failed, by the last part of their node ID, with the code."""
    return [(file.id.rpartition("::")[2], file.error.code) for file in report.files if file.error is not None]

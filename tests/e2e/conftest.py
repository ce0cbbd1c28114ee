"""A project with one model behind a loopback server, as most end-to-end tests want it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.running import Gemmalock, Project
from tests.servers.fileserver import Content, FileServer

SIZE = 10 * 1024 * 1024 + 17


@dataclass(frozen=True, slots=True)
class Scene:
    """A server with `/model.gguf` and `/tokenizer.json`, a project that declares both, and the command line."""

    project: Project
    run: Gemmalock
    server: FileServer
    store: Path

    @property
    def model(self) -> Path:
        """Where the large file goes."""
        return self.project.folder / "models" / "gemma" / "model.gguf"

    @property
    def trash(self) -> list[Path]:
        """Every file in the trash."""
        folder = self.project.folder / "models" / ".gemmalock" / "trash"
        return sorted(path for path in folder.rglob("*") if path.is_file())

    def content(self, path: str = "/model.gguf") -> Content:
        """What the server has there."""
        return self.server.files[path]

    def declare(self, **extra: str) -> None:
        """Write the manifest; `extra` lines go under the large file."""
        more = "".join(f"        {name}: {value}\n" for name, value in extra.items())
        self.project.write_manifest(
            "version: 1\nmodels:\n  gemma:\n    license: gemma\n    tags: [llm]\n    files:\n"
            f"      - url: {self.server.origin}/model.gguf\n{more}"
            f"      - url: {self.server.origin}/tokenizer.json\n"
        )


@pytest.fixture
def scene(project: Project, gemmalock: Gemmalock, tmp_path: Path) -> Iterator[Scene]:
    """The scene, declared and not yet locked."""
    body = random.Random(7).randbytes(SIZE)
    with FileServer({"/model.gguf": body, "/tokenizer.json": b'{"version": "1.0"}'}) as server:
        import os

        scene = Scene(project, gemmalock, server, Path(os.environ["GEMMALOCK_STORE"]))
        scene.declare()
        yield scene

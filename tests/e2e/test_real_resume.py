"""nginx, lighttpd, Caddy and http.server each serve a resume; the last by a restart that says why."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.running import Gemmalock, Project
from tests.servers.real import RealServer, caddy, http_server, lighttpd, nginx

SIZE = 96 * 1024 * 1024
CHUNK = 4 * 1024 * 1024
SERVERS: dict[str, Callable[[Path], AbstractContextManager[RealServer]]] = {
    "nginx": nginx,
    "lighttpd": lighttpd,
    "caddy": caddy,
    "http.server": http_server,
}


@pytest.mark.long
@pytest.mark.parametrize("name", SERVERS)
def test_a_real_server_serves_a_resume(project: Project, gemmalock: Gemmalock, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    body = random.Random(name).randbytes(SIZE)
    (folder / "model.gguf").write_bytes(body)
    digest = hashlib.sha256(body).hexdigest()
    with SERVERS[name](folder) as server:
        url = server.url.rstrip("/")
        project.write_manifest(
            f"version: 1\nmodels:\n  m:\n    files:\n      - url: {url}/model.gguf\n        sha256: {digest}\n"
        )
        assert gemmalock("lock").code == 0
        with gemmalock.started("sync", "--limit-rate", "40M") as process:
            wait_for_half(gemmalock)
            process.kill()
            process.wait()
        done = gemmalock("sync", "--json")
    assert done.code == 0, done.err
    file = done.json()["files"][0]
    assert (project.folder / "models/m/model.gguf").read_bytes() == body
    assert file["resume_status"] == "can_resume"
    if name == "http.server":
        # It knows no ranges: everything has to come again, and the report says so.
        assert file["bytes_kept"] == 0
        assert "RESTARTED" in done.err
    else:
        assert file["bytes_kept"] >= SIZE // 4
        assert file["bytes_fetched"] <= SIZE - file["bytes_kept"]


def wait_for_half(gemmalock: Gemmalock) -> None:
    """Until the journal vouches for about half of the file."""
    deadline = time.monotonic() + 60
    while True:
        tasks: list[Any] = gemmalock("tasks", "--json").json()["facts"]["tasks"]
        if tasks and tasks[0]["bytes_kept"] >= SIZE // 2:
            return
        assert time.monotonic() < deadline

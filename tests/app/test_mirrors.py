"""A run over files with mirrors: who sends wrong bytes is found out, named, and left alone from then on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from tests.app.conftest import LARGE, Desk
from tests.servers.fileserver import Content, FileServer

NAMES = ("one.gguf", "two.gguf")
WRONG = bytes(len(LARGE))


@pytest.fixture
def bad() -> Iterator[FileServer]:
    """A mirror with other bytes of the same size."""
    with FileServer({f"/{name}": WRONG for name in NAMES}) as server:
        yield server


@pytest.fixture
def good() -> Iterator[FileServer]:
    """A mirror."""
    with FileServer({f"/{name}": LARGE for name in NAMES}) as server:
        yield server


def test_a_mirror_with_wrong_bytes_is_named_and_asked_once_in_a_run(
    desk: Desk, bad: FileServer, good: FileServer
) -> None:
    for name in NAMES:
        desk.server.files[f"/{name}"] = Content(LARGE)
    sha256 = hashlib.sha256(LARGE).hexdigest()
    files = "".join(
        f"      - {{url: {desk.server.origin}/{name}, sha256: {sha256}, size: {len(LARGE)}, "
        f"mirrors: [{bad.origin}/{name}, {good.origin}/{name}]}}\n"
        for name in NAMES
    )
    desk.project.write_manifest(f"version: 1\nmodels:\n  m:\n    files:\n{files}")
    desk.lock()
    for name in NAMES:
        del desk.server.files[f"/{name}"]
    bad.forget()
    report = desk.sync(jobs=1)
    assert report.ok, [file.error for file in report.files]
    for name in NAMES:
        assert (desk.project.folder / "models/m" / name).read_bytes() == LARGE
    assert sum(request.method == "GET" for request in bad.requests) == 1
    named = [warning for warning in report.warnings if bad.origin in warning]
    assert len(named) == 1
    assert "sent wrong bytes" in named[0]
    first, second = ([note for note in file.notes if f"`{bad.origin}" in note] for file in report.files)
    assert any("failed: it sent wrong bytes" in note for note in first)
    assert second == []

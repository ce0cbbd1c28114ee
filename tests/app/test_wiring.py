"""Putting the adapters together: each is made once, and each URL comes to its own."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gemmalock.app.wiring import Workshop
from gemmalock.at_once import at_once
from gemmalock.collect import Project
from gemmalock.errors import PolicyRefused
from gemmalock.ports import Ask
from gemmalock.settings import Settings, load_settings
from gemmalock.sources.retry import Backoff
from gemmalock.stopping import Stop
from gemmalock.transfer.attempts import RunBudget
from tests.app.conftest import LARGE, Desk
from tests.servers.fileserver import Content

THREADS = 8
PARTS: list[Callable[[Workshop], object]] = [
    lambda workshop: workshop.store_folder,
    lambda workshop: workshop.store,
    lambda workshop: workshop.registry,
    lambda workshop: workshop._terms,
    lambda workshop: workshop.sources.adapter("https", Path()),
]


@pytest.fixture
def often() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("part", PARTS, ids=["store_folder", "store", "registry", "terms", "source"])
def test_what_many_ask_for_at_once_is_made_once(tmp_path: Path, part: Callable[[Workshop], object]) -> None:
    for _ in range(50):
        workshop = Workshop(Project(tmp_path), Settings(limit_rate=1000))
        together = threading.Barrier(THREADS, timeout=30)

        def touch(_: int, workshop: Workshop = workshop, together: threading.Barrier = together) -> object:
            together.wait()
            return part(workshop)

        assert len({id(made) for made in at_once(touch, range(THREADS), THREADS, Stop())}) == 1


@pytest.mark.parametrize("url", ["oci://org/repo", "s3://bucket/x", "gopher://example.org/x"])
def test_a_scheme_without_a_source_is_refused_for_that_file(tmp_path: Path, url: str) -> None:
    source = Workshop(Project(tmp_path), Settings()).source("gemmalock.yaml")
    for call in (
        lambda: source.probe(url, Stop()),
        lambda: source.list(url, Stop()),
        lambda: source.open(Ask(url), Stop()),
    ):
        with pytest.raises(PolicyRefused, match="no source for"):
            call()


def test_allowed_hosts_say_nothing_of_files(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"weights")
    workshop = Workshop(Project(tmp_path), Settings(allowed_hosts=("models.example.org",)))
    assert workshop.source("gemmalock.yaml").probe("file://a.gguf", Stop()).size == 7
    with pytest.raises(PolicyRefused, match="allowed-hosts"):
        workshop.source("gemmalock.yaml").probe("http://127.0.0.1:9/a.gguf", Stop())
    workshop.close()


def test_the_twins_of_the_flags_reach_every_transfer_of_a_run(tmp_path: Path) -> None:
    environ = {"GEMMALOCK_LIMIT_RATE": "20M", "GEMMALOCK_CONNECTIONS": "3", "GEMMALOCK_JOBS": "2"}
    settings = load_settings(tmp_path, environ, {})
    workshop = Workshop(Project(tmp_path), settings, environ)
    terms = workshop._terms
    assert terms.limit is not None
    assert (terms.limit.bytes_per_second, terms.connections, settings.jobs) == (20_000_000, 3, 2)
    assert workshop._terms is terms
    assert Workshop(Project(tmp_path), Settings())._terms.limit is None


def test_a_workshop_that_transferred_nothing_warns_of_nothing(tmp_path: Path) -> None:
    workshop = Workshop(Project(tmp_path), Settings())
    assert workshop.warnings == ()
    workshop._terms.mistrusted.drop("https://mirror.example.net/x")
    assert len(workshop.warnings) == 1


@pytest.mark.parametrize("command", ["lock", "sync"])
def test_locking_and_fetching_spend_the_runs_budget(desk: Desk, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    desk.declare("large.gguf")
    if command == "sync":
        desk.lock()
    monkeypatch.setattr(Workshop, "budget", RunBudget(2))
    monkeypatch.setattr(Workshop, "backoff", Backoff(base_seconds=0))
    desk.server.put("/large.gguf", Content(LARGE, head=False, fail_first=[503] * 9))
    (file,) = (desk.lock() if command == "lock" else desk.sync(frozen=True)).files
    assert file.error is not None
    assert "2 failures of this run were tried again" in file.error.message

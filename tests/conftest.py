"""The house rules of every test: a home, a store and settings of its own, no secrets, no network but loopback.

`HOME`, the XDG folders, `HF_HOME` and `GEMMALOCK_STORE` are new and empty for each test; whatever the person's
environment says of proxies, tokens, certificates, git, CI or colour is gone; and while a test runs, `tests/guard.py`
raises when anything in the process opens a file of the real home folder, or looks up or connects to another host.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.guard import watching
from tests.running import Gemmalock, Project

#: For the tests of the pytest plugin: a suite of its own, and pytest run over it.
pytest_plugins = ["pytester"]

#: Variables that a person may have, and that would change what a test sees: by name, then by prefix.
CLEARED = frozenset(
    {
        "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY",
        "CI", "GITHUB_ACTIONS", "GITHUB_API_URL", "GITHUB_SERVER_URL", "GITHUB_WORKSPACE",
        "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES",
        "CURL_CA_BUNDLE", "NETRC", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE", "SSLKEYLOGFILE",
        "GH_TOKEN", "GITHUB_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_CACHE",
    }
)  # fmt: skip
CLEARED_PREFIXES = ("AWS_", "AZURE_", "GEMMALOCK_", "GIT_", "GOOGLE_", "HF_", "XDG_")
#: Settings of the tests themselves begin with this, and stay.
KEPT_PREFIX = "GEMMALOCK_TESTS_"
SEED = "GEMMALOCK_TESTS_SEED"
#: Folders whose tests are all marked `long`.
LONG_FOLDERS = frozenset({"faults", "hostile"})

# A slow machine is no bug, and a failing example must be had again from the log alone.
settings.register_profile("house", deadline=None, print_blob=True)
settings.load_profile("house")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed once; the workers of xdist inherit it."""
    os.environ.setdefault(SEED, str(random.SystemRandom().randrange(2**32)))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The catalogues of faults run whole processes by the hundred: they are long as a whole."""
    for item in items:
        if item.path.parent.name in LONG_FOLDERS:
            item.add_marker(pytest.mark.long)


def pytest_report_header(config: pytest.Config) -> str:
    """Print the seed, so that a failure of chance can be replayed."""
    return f"random tests: {SEED}={os.environ[SEED]}"


@pytest.fixture(autouse=True)
def house(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of its own for every test, and the guard. The new home folder."""
    for name in list(os.environ):
        plain = name.upper()
        if plain in CLEARED or (plain.startswith(CLEARED_PREFIXES) and not plain.startswith(KEPT_PREFIX)):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    for variable, place in {
        "HOME": "",
        "XDG_CACHE_HOME": ".cache",
        "XDG_CONFIG_HOME": ".config",
        "XDG_DATA_HOME": ".local/share",
        "XDG_STATE_HOME": ".local/state",
        "XDG_RUNTIME_DIR": "run",
        "GEMMALOCK_STORE": "store",
        "HF_HOME": "hf",
    }.items():
        monkeypatch.setenv(variable, str(home / place))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    # What one test makes known as a secret is starred out of no other's.
    monkeypatch.setattr("gemmalock.secret._values", frozenset())
    with watching():
        yield home


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty folder to write a manifest into."""
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder)


@pytest.fixture
def gemmalock(project: Project) -> Gemmalock:
    """The real command line, run in the project's folder."""
    return Gemmalock(project.folder)


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers that follow from the seed in the header and from the test's name."""
    return random.Random(f"{os.environ[SEED]} {request.node.nodeid}")


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What was synced to disk since the list was cleared last, as it was called then."""
    paths: list[Path] = []

    def watched(number: int) -> None:
        paths.append(Path(f"/proc/self/fd/{number}").readlink())
        fsync(number)

    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", watched)
    return paths

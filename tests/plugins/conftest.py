"""Plugins as they are installed: a module, and beside it the metadata that names it, on the path of Python."""

from __future__ import annotations

import itertools
import os
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from gemmalock.cli.boundary import run
from tests.guard import CHECKOUT
from tests.running import Finished, Project

#: What every plugin of the tests begins with.
PRELUDE = """\
from dataclasses import replace
from pathlib import Path
from gemmalock.errors import *
from gemmalock.plugins.specs import Scheme, hookimpl
from gemmalock.ports import Ask, Listing, Probe
from gemmalock.sources.file import FileSource
"""
#: A source of `shelf+file://`: what `file://` has, under another name.
SHELF = """
def plain(url):
    return "file" + url[url.index("://"):]

class Shelf:
    def __init__(self, context):
        self.files = FileSource(context.folder)

    def probe(self, url, stop):
        return self.files.probe(plain(url), stop)

    def list(self, source, stop):
        return self.files.list(plain(source), stop)

    def open(self, ask, stop):
        return self.files.open(replace(ask, url=plain(ask.url)), stop)

    def close(self):
        self.files.close()

@hookimpl
def gemmalock_sources():
    return {"shelf+file": Scheme(Shelf)}
"""
_NUMBERS = itertools.count()


@dataclass(frozen=True, slots=True)
class Site:
    """A folder of installed packages."""

    folder: Path

    def install(self, plugin: str, code: str, package: str | None = None) -> None:
        """Install a package with one plugin. Its module has a name of its own, as nothing forgets an import."""
        module = f"plugin_of_a_test_{next(_NUMBERS)}"
        (self.folder / f"{module}.py").write_text(PRELUDE + textwrap.dedent(code), "utf-8")
        metadata = self.folder / f"{package or module}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package or module}\nVersion: 1.0\n", "utf-8")
        (metadata / "entry_points.txt").write_text(f"[gemmalock]\n{plugin} = {module}\n", "utf-8")

    @property
    def environment(self) -> Mapping[str, str]:
        """What a child process needs to see it."""
        return {"PYTHONPATH": os.pathsep.join((str(CHECKOUT), str(self.folder)))}


@dataclass(frozen=True, slots=True)
class Bench:
    """A project, an environment with plugins, and the command line in this process."""

    project: Project
    site: Site
    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> Finished:
        self.capture.readouterr()
        code = run(arguments)
        return Finished(code, *self.capture.readouterr())

    def declare(self, *names: str, scheme: str = "shelf+file") -> None:
        """Files of a model `m`, each with its name as its content, in the folder `shelf`."""
        for name in names:
            self.write(name, name.encode())
        listed = ", ".join(f'"{name}"' for name in names) or '"*"'
        self.project.write_manifest(f"version: 1\nmodels:\n  m:\n    source: {scheme}://shelf\n    files: [{listed}]\n")

    def write(self, name: str, body: bytes) -> None:
        """A file on the shelf."""
        path = self.project.folder / "shelf" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(body)

    def placed(self, name: str) -> Path:
        """Where it goes."""
        return self.project.folder / "models" / "m" / name

    @property
    def log(self) -> list[str]:
        """The lines that plugins wrote into `log`, in the project's folder."""
        place = self.project.folder / "log"
        return place.read_text("utf-8").splitlines() if place.exists() else []


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return Site(folder)


@pytest.fixture
def bench(project: Project, site: Site, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Bench:
    monkeypatch.chdir(project.folder)
    return Bench(project, site, capfd)

"""The floors of the house, enforced: imports only point down, and every dependency has its one home.

Every import statement counts: at the top, inside a function, under TYPE_CHECKING. A new module has to be placed in
FLOORS; a new dependency has to be given a home in HOMES.
"""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from gemmalock.version import VERSION
from tests.guard import CHECKOUT
from tests.running import Gemmalock, Project
from tests.servers.fileserver import FileServer

PACKAGE = CHECKOUT / "gemmalock"

#: The floors from the roof down, each with its rooms. A room is a module or a package directly in `gemmalock`
#: (`__init__` is the library's front door). It may import rooms of lower floors only, and within itself.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli", "pytest_plugin"),
    ("demo",),
    ("__init__",),
    ("app",),
    ("collect",),
    ("workspace",),
    ("settings",),
    ("resolver", "executor"),
    ("wanted",),
    ("pinning", "job"),
    ("looking",),
    ("plugins",),
    ("sources", "transfer"),
    ("roots", "store", "registry"),
    ("links", "memo", "meanings", "failures"),
    ("seal",),
    ("codec", "durable", "holders"),
    ("ports", "machine", "at_once", "outbox"),
    ("stopping",),
    ("turns",),
    ("outcome", "exporters", "before", "selection"),
    ("plan", "drift", "differing", "journal", "ledger", "narrowing"),
    ("lockfile", "expressions", "missing"),
    ("spec",),
    ("quantisations",),
    ("sets",),
    ("paths", "sizes"),
    ("errors",),
    ("escaping",),
    ("secret", "resources", "version"),
)
#: The rules live here: no file is opened, no clock is read, nothing of the environment is known.
PURE = frozenset(
    {
        "outcome",
        "exporters",
        "plan",
        "journal",
        "ledger",
        "drift",
        "differing",
        "lockfile",
        "before",
        "missing",
        "selection",
        "narrowing",
        "expressions",
        "spec",
        "quantisations",
        "sets",
        "paths",
        "sizes",
        "errors",
        "escaping",
        "secret",
    }
)
#: They see the world through `ports` and `machine` alone; which adapter is behind a port is picked by `app`.
SEES_PORTS_ONLY = frozenset({"resolver", "wanted", "pinning", "executor", "job", "looking"})
ADAPTERS = frozenset({"sources", "transfer", "roots", "store", "registry", "links", "codec"})
#: What a pure room may import of the standard library, and nothing else; `_thread` for its locks.
PURE_LIBRARY = frozenset(
    {
        "__future__", "_thread", "base64", "binascii", "bisect", "collections", "collections.abc", "contextlib",
        "dataclasses", "difflib", "enum", "errno", "fnmatch", "functools", "hashlib", "heapq", "hmac", "itertools",
        "json", "math", "operator", "re", "string", "struct", "textwrap", "types", "typing", "unicodedata",
        "urllib.parse", "uuid", "zlib",
    }
)  # fmt: skip
#: Built-in functions that reach the world.
REACHING = frozenset({"open", "print", "input", "exec", "eval", "__import__", "breakpoint"})
#: The one home of each third-party package.
HOMES: Mapping[str, frozenset[str]] = {
    "click": frozenset({"cli"}),
    "rich": frozenset({"cli"}),
    "urllib3": frozenset({"sources"}),
    "keyring": frozenset({"sources"}),
    "truststore": frozenset({"sources"}),
    "yaml": frozenset({"codec"}),
    "jsonschema": frozenset({"codec"}),
    "referencing": frozenset({"codec"}),
    "ruamel": frozenset({"codec"}),
    "platformdirs": frozenset({"store"}),
    "pytest": frozenset({"pytest_plugin"}),
    "pluggy": frozenset({"plugins"}),
}
#: Whoever loads the home of such a package has brought it: it is at home there, and no dependency.
GUESTS = frozenset({"pytest"})
#: What only some people need has an extra of its name, and is no dependency.
EXTRAS = frozenset({"keyring"})
#: What the distribution is called that brings a package, where it is called otherwise.
DISTRIBUTIONS: Mapping[str, str] = {"yaml": "pyyaml", "ruamel": "ruamel.yaml"}
#: What nobody imports while it only decides that there is nothing to do.
HEAVY = ("urllib3", "jsonschema", "referencing", "yaml", "ruamel", "rich", "pluggy", "keyring", "truststore")
STANDARD_LIBRARY = frozenset(sys.stdlib_module_names)


@dataclass(frozen=True, slots=True)
class Import:
    """One module that a module names: dotted, absolute."""

    module: str
    line: int


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a module; `name` is dotted, as `gemmalock.codec.lock_json`, and a package's ends in `.__init__`."""

    name: str
    text: str

    @property
    def room(self) -> str:
        """The room it is in: the first name below `gemmalock`."""
        return self.name.split(".")[1]


def room_of(module: str) -> str | None:
    """The room of a dotted module, `__init__` for the package itself, or None when it is not ours."""
    names = module.split(".")
    if names[0] != "gemmalock":
        return None
    return names[1] if len(names) > 1 else "__init__"


def floor_of(room: str) -> int | None:
    """The number of a room's floor, 0 at the roof, or None when it was never placed."""
    return next((number for number, rooms in enumerate(FLOORS) if room in rooms), None)


def imports_of(source: Source) -> Iterator[Import]:
    """Every import of a module, wherever it stands in it."""
    for node in ast.walk(ast.parse(source.text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            yield from _imported_from(source, node)


def _imported_from(source: Source, node: ast.ImportFrom) -> Iterator[Import]:
    base = node.module or ""
    if node.level:
        package = source.name.split(".")[: -node.level]
        base = ".".join(filter(None, (*package, base)))
    for alias in node.names:
        # `from gemmalock import plan` names the room `plan`, unless the package itself defines that name.
        room = base == "gemmalock" and floor_of(alias.name) is not None
        yield Import(f"{base}.{alias.name}" if room else base, node.lineno)


def problems_of(source: Source) -> list[str]:
    """Everything in a module that breaks a rule of the house, a sentence each."""
    floor = floor_of(source.room)
    if floor is None:
        return [f"{source.name}: `{source.room}` is on no floor; place it in FLOORS"]
    found = [
        f"{source.name}:{named.line}: {problem}" for named in imports_of(source) if (problem := _wrong(source, named))
    ]
    return found + [f"{source.name}:{line}: a pure room calls `{name}`" for line, name in _reaches(source)]


def _wrong(source: Source, named: Import) -> str | None:
    room = room_of(named.module)
    if room is not None:
        return _wrong_room(source.room, room)
    package = named.module.split(".")[0]
    if package in STANDARD_LIBRARY:
        if source.room in PURE and named.module not in PURE_LIBRARY:
            return f"a pure room imports `{named.module}`"
        return None
    if package not in HOMES:
        return f"`{package}` has no home; give it one in HOMES, and in pyproject.toml"
    if source.room not in HOMES[package]:
        return f"`{package}` is at home in {', '.join(sorted(HOMES[package]))}"
    return None


def _wrong_room(room: str, other: str) -> str | None:
    if room == other:
        return None
    floor, below = floor_of(room), floor_of(other)
    if below is None:
        return f"imports `{other}`, which is on no floor"
    assert floor is not None
    if room in SEES_PORTS_ONLY and other in ADAPTERS:
        return f"`{room}` sees ports, never the adapter `{other}`"
    if floor == below:
        return f"`{room}` and `{other}` are on one floor and do not know each other"
    return f"imports `{other}`, which is above it" if below < floor else None


def _reaches(source: Source) -> Iterator[tuple[int, str]]:
    if source.room not in PURE:
        return
    for node in ast.walk(ast.parse(source.text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in REACHING:
            yield node.lineno, node.func.id


def _sources() -> list[Source]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE)
        if place.parts[0] != "data":
            found.append(Source(".".join(("gemmalock", *place.with_suffix("").parts)), path.read_text("utf-8")))
    return found


SOURCES = _sources()


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_imports_point_down_and_dependencies_stay_at_home(source: Source) -> None:
    assert problems_of(source) == []


def test_no_room_is_on_two_floors() -> None:
    rooms = [room for floor in FLOORS for room in floor]
    assert sorted(set(rooms)) == sorted(rooms)


def test_every_pure_room_is_on_a_floor() -> None:
    assert {room for room in PURE if floor_of(room) is None} == set()


def test_no_package_shadows_a_module() -> None:
    rooms = [path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    assert sorted(set(rooms)) == sorted(rooms)


def test_every_room_on_a_floor_is_there() -> None:
    rooms = {room for floor in FLOORS for room in floor}
    assert rooms - {source.room for source in SOURCES} == set()
    assert (PURE | SEES_PORTS_ONLY | ADAPTERS) - rooms == set()


def test_every_home_has_its_dependency_and_every_dependency_is_declared() -> None:
    """What is at home somewhere is imported there; what is imported, pyproject.toml names, and nothing else."""
    found = {(named.module.split(".")[0], source.room) for source in SOURCES for named in imports_of(source)}
    assert {(package, room) for package, rooms in HOMES.items() for room in rooms} - found == set()
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in project["dependencies"]}
    assert {DISTRIBUTIONS.get(package, package) for package in HOMES.keys() - GUESTS - EXTRAS} == declared
    for package in EXTRAS:
        assert any(line.startswith(package) for line in project["optional-dependencies"][package])


def test_the_guide_and_the_project_say_what_is_so() -> None:
    guide = (CHECKOUT / "docs/architecture.md").read_text("utf-8")
    rows = [line.split("|")[1] for line in guide.splitlines() if line.startswith("| `")]
    named = {room for row in rows for room in re.findall(r"`(\w+)`", row)}
    assert named == {room for floor in FLOORS for room in floor if not room.startswith("__")}
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == VERSION


#: The test of the test: a module, its text, and a word of the complaint; an empty word means that all is well.
TRIALS: tuple[tuple[str, str, str], ...] = (
    ("gemmalock.plan", "from gemmalock.lockfile import Lock", ""),
    ("gemmalock.plan", "from gemmalock import lockfile", ""),
    ("gemmalock.plan", "from .lockfile import Lock", ""),
    ("gemmalock.plan", "import gemmalock.app", "above"),
    ("gemmalock.plan", "from gemmalock import app", "above"),
    ("gemmalock.plan", "from . import app", "above"),
    ("gemmalock.plan", "from .app import sync", "above"),
    ("gemmalock.plan", "import gemmalock", "above"),
    ("gemmalock.plan", "def f():\n    from gemmalock.executor import run", "above"),
    ("gemmalock.plan", "if TYPE_CHECKING:\n    from gemmalock.outcome import Report", "above"),
    ("gemmalock.plan", "from gemmalock.journal import Chunk", "one floor"),
    ("gemmalock.plan", "from gemmalock.attic import Box", "on no floor"),
    ("gemmalock.resolver", "from gemmalock.executor import run", "one floor"),
    ("gemmalock.resolver", "from gemmalock.sources.http import HttpSource", "never the adapter"),
    ("gemmalock.executor", "from gemmalock.machine import Machine", ""),
    ("gemmalock.app", "from gemmalock.sources.http import HttpSource", ""),
    ("gemmalock.sources.http", "from gemmalock.sources.ranges import read", ""),
    ("gemmalock.sources.http", "from .ranges import read", ""),
    ("gemmalock.sources.http", "from ..transfer import fetch", "one floor"),
    ("gemmalock.sources.__init__", "from .http import HttpSource", ""),
    ("gemmalock.sources.__init__", "from ..cli import main", "above"),
    ("gemmalock.sources.http", "import urllib3.exceptions", ""),
    ("gemmalock.transfer.segments", "import urllib3", "at home in sources"),
    ("gemmalock.codec.reader", "from ruamel.yaml import YAML", ""),
    ("gemmalock.app", "import yaml", "at home in codec"),
    ("gemmalock.cli.sync", "import click", ""),
    ("gemmalock.app", "import click", "at home in cli"),
    ("gemmalock.pytest_plugin", "import pytest", ""),
    ("gemmalock.pytest_plugin", "from gemmalock.cli import main", "one floor"),
    ("gemmalock.app", "import pytest", "at home in pytest_plugin"),
    ("gemmalock.app", "import gemmalock.pytest_plugin", "above"),
    ("gemmalock.app", "import pydantic", "no home"),
    ("gemmalock.attic", "", "place it in FLOORS"),
    ("gemmalock.spec", "import os", "pure room imports"),
    ("gemmalock.spec", "import os.path", "pure room imports"),
    ("gemmalock.spec", "from pathlib import Path", "pure room imports"),
    ("gemmalock.spec", "from time import monotonic", "pure room imports"),
    ("gemmalock.spec", "import urllib.request", "pure room imports"),
    ("gemmalock.spec", "from urllib.parse import quote", ""),
    ("gemmalock.spec", "def f(x):\n    return open(x)", "calls `open`"),
    ("gemmalock.store", "def f(x):\n    return open(x)", ""),
)


@pytest.mark.parametrize(("name", "text", "complaint"), TRIALS)
def test_a_bad_import_is_caught_and_a_good_one_is_not(name: str, text: str, complaint: str) -> None:
    problems = problems_of(Source(name, text))
    if complaint:
        assert len(problems) == 1
        assert complaint in problems[0]
    else:
        assert problems == []


def _loaded_by(module: str) -> set[str]:
    """The top-level packages that importing a module loads, in a fresh interpreter."""
    script = f"import sys; import {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("room", ["__init__", "app", "executor", "looking", "plan", "cli", "pytest_plugin"])
def test_coming_in_by_this_door_loads_nothing_heavy(room: str) -> None:
    if not any(source.room == room for source in SOURCES):
        pytest.skip(f"there is no `{room}`")
    loaded = _loaded_by("gemmalock" if room == "__init__" else f"gemmalock.{room}")
    assert "gemmalock" in loaded
    # pytest, which is there whenever its plugin is, has brought pluggy.
    brought = {"pluggy"} if room == "pytest_plugin" else set()
    assert loaded.intersection(HEAVY) - brought == set()


#: Runs a command line, and tells the modules that it loaded.
TELLING = """
import sys
from gemmalock.cli import main
try:
    main({arguments!r})
except SystemExit as end:
    print(end.code)
print(*sorted(sys.modules))
"""


def _loaded_for(project: Project, *arguments: str) -> set[str]:
    """The modules that a command loads, which has to end well."""
    done = Gemmalock(project.folder, (sys.executable, "-c"))(TELLING.format(arguments=list(arguments)))
    assert done.code == 0, done.err
    *_, code, loaded = done.out.splitlines()
    assert code == "0", done.err
    return set(loaded.split())


def _packages(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def test_a_sync_with_nothing_to_do_loads_nothing_heavy(gemmalock: Gemmalock, project: Project) -> None:
    (project.folder / "upstream.bin").write_bytes(b"weights")
    project.write_manifest("version: 1\nmodels:\n  tiny:\n    files:\n      - url: file://upstream.bin\n")
    first = gemmalock("sync")
    assert first.code == 0, first.err
    # `concurrent` is what others wait with.
    assert _packages(_loaded_for(project, "sync")) & {*HEAVY, "concurrent"} == set()


#: What a first lock of plain URLs has no need of: other kinds of source, and what speaks of them; what narrows a run;
#: what is on the disk, and what follows from that; several projects; what only an error needs.
SPARED = (
    "gemmalock.sources.hub", "gemmalock.sources.hub_papers", "gemmalock.sources.github",
    "gemmalock.sources.github_papers", "gemmalock.sources.api_json", "gemmalock.sources.file",
    "gemmalock.quantisations", "gemmalock.narrowing", "gemmalock.expressions", "gemmalock.failures", "gemmalock.plan",
    "gemmalock.looking", "gemmalock.journal", "gemmalock.holders", "gemmalock.store.disk", "gemmalock.store.pruning",
    "gemmalock.roots", "gemmalock.registry", "gemmalock.executor", "gemmalock.app.syncing", "gemmalock.app.together",
    "gemmalock.cli.several", "gemmalock.cli.differences", "difflib", "concurrent", "gemmalock.machine", "logging",
    "encodings.idna", "stringprep", "email", "http.client", "ssl", "urllib3", "jsonschema", "referencing",
)  # fmt: skip


def test_a_first_lock_of_plain_urls_loads_what_it_needs_and_no_more(project: Project) -> None:
    with FileServer({"/weights.bin": b"weights"}) as server:
        sha256 = hashlib.sha256(b"weights").hexdigest()
        project.write_manifest(
            "version: 1\nmodels:\n  tiny:\n    files:\n"
            f"      - url: {server.origin}/weights.bin\n        sha256: {sha256}\n"
        )
        loaded = _loaded_for(project, "lock")
    assert "gemmalock.sources.http" in loaded
    assert loaded.intersection(SPARED) == set()


@pytest.mark.parametrize("command", ["list", "tree"])
def test_what_shows_the_lock_loads_neither_rules_of_the_disk_nor_sources(
    gemmalock: Gemmalock, project: Project, command: str
) -> None:
    (project.folder / "upstream.bin").write_bytes(b"weights")
    project.write_manifest("version: 1\nmodels:\n  tiny:\n    files:\n      - url: file://upstream.bin\n")
    assert gemmalock("lock").code == 0
    loaded = _loaded_for(project, command)
    assert _packages(loaded) & set(HEAVY) == set()
    others = {"plan", "ports", "looking", "journal", "store.disk", "pinning", "resolver", "differing", "sources.http"}
    assert loaded & {f"gemmalock.{name}" for name in others} == set()

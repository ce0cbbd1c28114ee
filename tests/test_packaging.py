"""What people install is whole: the wheel and the sdist are built, installed in fresh environments and used there."""

from __future__ import annotations

import shutil
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guard import CHECKOUT
from tests.running import Gemmalock, Project, run_tool
from tests.servers import real

pytestmark = pytest.mark.long

BODY = b"GGUF" + bytes(range(256)) * 4096


def build(kind: str, source: Path, target: Path) -> Path:
    """Build a wheel or an sdist of `source` with the backend of this environment. The file."""
    run_tool([sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", target, source], target)
    (built,) = target.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


def fresh_environment(folder: Path, *what: str | Path) -> Path:
    """A new virtual environment with `what` installed. Its folder of programs."""
    run_tool([sys.executable, "-m", "venv", folder], folder.parent)
    run_tool([folder / "bin" / "python", "-m", "pip", "install", "-q", *what], folder.parent)
    return folder / "bin"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packaging")


@pytest.fixture(scope="module")
def wheel(workshop: Path) -> Path:
    (workshop / "wheel").mkdir()
    return build("wheel", CHECKOUT, workshop / "wheel")


@pytest.fixture(scope="module")
def sdist(workshop: Path) -> Path:
    (workshop / "sdist").mkdir()
    return build("sdist", CHECKOUT, workshop / "sdist")


@pytest.fixture(scope="module")
def installed(workshop: Path, wheel: Path) -> Path:
    """The programs of an environment that has nothing but the wheel and what it depends on."""
    return fresh_environment(workshop / "installed", wheel)


@pytest.fixture(scope="module")
def editable(workshop: Path) -> Path:
    """The programs of an environment with an editable install of this checkout."""
    return fresh_environment(workshop / "editable", "-e", CHECKOUT)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[real.RealServer]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "tiny.gguf").write_bytes(BODY)
    with real.http_server(folder) as server:
        yield server


def installed_gemmalock(programs: Path, project: Project) -> Gemmalock:
    """The program of an environment; nothing of the checkout stands in for what is installed there."""
    return Gemmalock(project.folder, (str(programs / "gemmalock"),), from_checkout=False)


def names_in(archive: Path) -> list[str]:
    """The names in a wheel, or in an sdist without its first folder."""
    if archive.suffix == ".whl":
        return zipfile.ZipFile(archive).namelist()
    with tarfile.open(archive) as packed:
        return [name.partition("/")[2] for name in packed.getnames()]


def data_files() -> set[str]:
    """Every data file of the checkout that has to be in the wheel."""
    return {
        path.relative_to(CHECKOUT).as_posix()
        for top in ("manifest", "schemas")
        for path in (CHECKOUT / top).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def test_the_wheel_has_every_module_and_every_data_file(wheel: Path) -> None:
    modules = {
        path.relative_to(CHECKOUT).as_posix()
        for path in (CHECKOUT / "gemmalock").rglob("*.py")
        if "data" not in path.relative_to(CHECKOUT).parts
    }
    data = {f"gemmalock/data/{name}" for name in data_files()}
    assert (modules | data) - set(names_in(wheel)) == set()


def test_the_wheel_has_its_licence_and_says_that_it_is_typed(wheel: Path) -> None:
    names = names_in(wheel)
    assert "gemmalock/py.typed" in names
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")] != []


def test_the_wheel_has_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0].partition("-")[0] for name in names_in(wheel)}
    assert tops == {"gemmalock"}
    assert [
        name
        for name in names_in(wheel)
        if Path(name).name.lower().startswith(("test", "conftest")) or name.endswith(".pyc")
    ] == []


def test_the_sdist_has_what_it_takes_to_build_and_to_test(sdist: Path) -> None:
    names = set(names_in(sdist))
    needed = {"pyproject.toml", "LICENSE", "README.md", "gemmalock/py.typed", "tests/conftest.py"}
    assert (needed | {"benchmarks/__main__.py", ".pre-commit-hooks.yaml", "docs/pre-commit.md"}) - names == set()
    assert data_files() - names == set()


def test_a_wheel_of_the_sdist_is_the_wheel_of_the_checkout(workshop: Path, sdist: Path, wheel: Path) -> None:
    (workshop / "unpacked").mkdir()
    run_tool(["tar", "-xzf", sdist], workshop / "unpacked")
    (source,) = (workshop / "unpacked").iterdir()
    (workshop / "again").mkdir()
    again = build("wheel", source, workshop / "again")
    assert sorted(names_in(again)) == sorted(names_in(wheel))


def test_the_installed_program_tells_its_version(installed: Path, project: Project) -> None:
    done = installed_gemmalock(installed, project)("--version")
    assert done.code == 0, done.err
    assert done.out.split()[-1] == version_in(installed)


def test_the_pytest_plugin_is_offered_and_pytest_is_not_needed(installed: Path, tmp_path: Path) -> None:
    script = (
        "import importlib.metadata as metadata, importlib.util as util;"
        "print(*(point.value for point in metadata.entry_points(group='pytest11', name='gemmalock')), "
        "util.find_spec('gemmalock.pytest_plugin') is not None, util.find_spec('pytest') is not None)"
    )
    told = run_tool([installed / "python", "-c", script], tmp_path).split()
    assert told == ["gemmalock.pytest_plugin", "True", "False"]


def version_in(programs: Path) -> str:
    """The version that the environment's metadata has."""
    script = "import importlib.metadata; print(importlib.metadata.version('gemmalock'))"
    return run_tool([programs / "python", "-c", script], programs).strip()


@pytest.mark.parametrize("how", ["installed", "editable"])
def test_the_schemas_and_the_manifest_format_are_found(
    how: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    programs: Path = request.getfixturevalue(how)
    script = (
        "import json, sys, gemmalock.resources as resources;"
        "print(json.loads(resources.schema_text('lock.v1.schema.json'))['$schema']);"
        "print(*[name for name in sys.argv[1:] if not (resources.data_folder() / name).is_file()])"
    )
    schema, missing = run_tool([programs / "python", "-c", script, *sorted(data_files())], tmp_path).splitlines()
    assert schema == "https://json-schema.org/draft/2020-12/schema"
    assert missing == ""


@pytest.mark.parametrize("how", ["installed", "editable"])
def test_the_main_job_is_done_by_what_is_installed(
    how: str, request: pytest.FixtureRequest, project: Project, served: real.RealServer
) -> None:
    programs: Path = request.getfixturevalue(how)
    gemmalock = installed_gemmalock(programs, project)
    project.write_manifest(f"version: 1\nmodels:\n  tiny:\n    files:\n      - url: {served.url}/tiny.gguf\n")
    for command in ("lock", "sync", "verify"):
        done = gemmalock(command)
        assert done.code == 0, f"{command}: {done.err}"
    assert (project.folder / "models" / "tiny" / "tiny.gguf").read_bytes() == BODY


def test_the_catalogue_is_installed_and_begins_a_project(installed: Path, project: Project) -> None:
    gemmalock = installed_gemmalock(installed, project)
    listed = gemmalock("list", "--catalogue", "--json")
    assert listed.code == 0, listed.err
    shipped = {path.stem for path in (CHECKOUT / "manifest/catalogue").glob("*.yaml")}
    assert {row["name"] for row in listed.json()["facts"]["catalogue"]} == shipped
    begun = gemmalock("init", "--from", "gemma-3-270m-it")
    assert begun.code == 0, begun.err
    ready = CHECKOUT / "manifest/catalogue/gemma-3-270m-it.yaml"
    assert project.manifest.read_bytes() == ready.read_bytes()


def test_the_demo_runs_from_the_wheel(installed: Path, project: Project) -> None:
    done = installed_gemmalock(installed, project)("demo")
    assert done.code == 0, done.err


# --- a plugin beside it ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_plugin(workshop: Path, wheel: Path) -> Path:
    """The programs of an environment that has the wheel, and that of the plugin in `examples/plugin-source`."""
    source = workshop / "plugin-source"
    ignored = shutil.ignore_patterns("models", "__pycache__", "release.zip")
    shutil.copytree(CHECKOUT / "examples" / "plugin-source", source, ignore=ignored)
    (workshop / "plugin").mkdir()
    return fresh_environment(workshop / "with-plugin", wheel, build("wheel", source, workshop / "plugin"))


def test_what_the_plugins_page_says_works_where_it_is_installed(
    with_plugin: Path, installed: Path, project: Project
) -> None:
    example = CHECKOUT / "examples" / "plugin-source"
    for name in ("gemmalock.yaml", "gemmalock.lock", "pack.py"):
        shutil.copy(example / name, project.folder)
    run_tool([with_plugin / "python", "pack.py"], project.folder)
    gemmalock = installed_gemmalock(with_plugin, project)
    for line in (["lock", "--check"], ["-p", "zips", "sync", "--locked"], ["verify"], ["lock", "--upgrade"]):
        done = gemmalock(*line)
        assert done.code == 0, f"{line}: {done.err}"
    assert project.lock.read_bytes() == (example / "gemmalock.lock").read_bytes()
    assert (project.folder / "models/tiny/weights.bin").stat().st_size == 3_000_000
    for without in (gemmalock("-p", "no:zips", "lock"), installed_gemmalock(installed, project)("lock")):
        assert without.code == 4
        assert "`zip+file://` is not a scheme that is known" in without.err
        assert "plugins bring others" in without.err

"""The pytest plugin, in suites of its own: each is written to a folder, and a pytest of its own runs over it there."""

from __future__ import annotations

import importlib.metadata
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.guard import CHECKOUT
from tests.running import Gemmalock, environment
from tests.servers.fileserver import Content, FileServer

WEIGHTS = random.Random(3).randbytes(150_000)
CONFIG = b'{"model_type": "gemma"}'
OTHER = b"minilm"
#: Longer than any run takes on a slow machine.
TIMEOUT_SECONDS = 120
#: One test by the marker and one by the fixture; both need a model.
TWO_TESTS = """
import pytest
from pathlib import Path

@pytest.mark.gemmalock("gemma")
def test_by_marker():
    assert Path("models/gemma/model.gguf").stat().st_size == 150_000

def test_by_fixture(gemmalock_model):
    assert gemmalock_model("gemma") == Path.cwd() / "models/gemma"
    assert gemmalock_model("gemma::model.gguf") == Path.cwd() / "models/gemma/model.gguf"
"""


@dataclass(frozen=True, slots=True)
class Suite:
    """A folder with a manifest of `gemma` and `minilm`, its lock and tests; and the server that has the files."""

    pytester: pytest.Pytester
    server: FileServer
    lock: bytes

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self.pytester.path

    def declare(self, folder: Path) -> None:
        """Write the manifest and its lock into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "gemmalock.yaml").write_text(manifest(self.server))
        (folder / "gemmalock.lock").write_bytes(self.lock)

    def sync(self, *selectors: str) -> None:
        """Put the models in place, or some of them."""
        command(self.folder, "sync", *selectors)
        self.server.forget()

    def write(self, text: str, name: str = "test_it.py") -> None:
        """Write tests."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def run(self, *options: str) -> pytest.RunResult:
        """Run its tests in a process of their own, with every warning an error."""
        strict = ("-W", "error", "--strict-markers", "--strict-config", "-p", "no:cacheprovider")
        # hypothesis takes longer to load than all the rest takes to run.
        everything = ("-rA", *strict, "-p", "no:hypothesispytest", *options)
        return self.pytester.runpytest_subprocess(*everything, timeout=TIMEOUT_SECONDS)


def manifest(server: FileServer) -> str:
    """What every suite declares."""
    return (
        "version: 1\nmodels:\n  gemma:\n    files:\n"
        f"      - url: {server.origin}/model.gguf\n"
        f"      - url: {server.origin}/config.json\n"
        f"  minilm:\n    files:\n      - url: {server.origin}/minilm.bin\n"
    )


def command(folder: Path, *arguments: str) -> None:
    """Run gemmalock beside this process: what a test with a `pytester` imports is forgotten when it ends."""
    done = Gemmalock(folder)(*arguments)
    assert done.code == 0, done.err


@pytest.fixture(autouse=True, scope="module")
def installed() -> None:
    """An installation from before there was the plugin does not know it."""
    found = importlib.metadata.entry_points(group="pytest11", name="gemmalock")
    assert [point.value for point in found] == ["gemmalock.pytest_plugin"], "run `pip install -e '.[dev]'` again"


@pytest.fixture(scope="module")
def one_server() -> Iterator[FileServer]:
    with FileServer({}) as server:
        yield server


@pytest.fixture
def server(one_server: FileServer) -> FileServer:
    """The server as if it were new."""
    for name, body in (("model.gguf", WEIGHTS), ("config.json", CONFIG), ("minilm.bin", OTHER)):
        one_server.put(f"/{name}", Content(body, repr_digest=True))
    return one_server


@pytest.fixture(scope="module")
def locks() -> dict[str, bytes]:
    """The lock of each manifest that was locked already."""
    return {}


@pytest.fixture
def suite(
    pytester: pytest.Pytester, server: FileServer, locks: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> Suite:
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    pytester.makeini("[pytest]\n")
    written = manifest(server)
    if written not in locks:
        (pytester.path / "gemmalock.yaml").write_text(written)
        command(pytester.path, "lock")
        locks[written] = (pytester.path / "gemmalock.lock").read_bytes()
    suite = Suite(pytester, server, locks[written])
    suite.declare(suite.folder)
    server.forget()
    return suite


def shown(result: pytest.RunResult) -> str:
    """What a run printed. Nothing of our inside may be in it."""
    text = result.stdout.str() + result.stderr.str()
    assert "Traceback (most recent call last)" not in text
    assert re.search(r"gemmalock/(app|collect|errors)\b.*\.py", text) is None
    return text


# --- the three modes ---------------------------------------------------------------------------------------


def test_what_is_in_place_is_what_a_test_gets(suite: Suite) -> None:
    suite.sync()
    suite.write(TWO_TESTS)
    for options in ((), ("--gemmalock=require",), ("--gemmalock=sync",), ("--gemmalock=skip",)):
        suite.server.forget()
        suite.run(*options).assert_outcomes(passed=2)
        assert suite.server.requests == ()


@pytest.mark.parametrize("options", [(), ("--gemmalock=require",)], ids=["default", "require"])
def test_what_is_not_in_place_is_required(suite: Suite, options: tuple[str, ...]) -> None:
    suite.write(TWO_TESTS)
    result = suite.run(*options)
    result.assert_outcomes(failed=1, errors=1)
    text = shown(result)
    assert text.count("gemmalock: `gemma` is not in place (not_found)\n") == 2
    assert "hint: run `gemmalock sync`, or pytest with `--gemmalock=sync`\n" in text
    assert f"project: {suite.folder}\n" in text
    assert suite.server.requests == ()


def test_sync_fetches_what_is_named_and_nothing_else(suite: Suite) -> None:
    suite.write(TWO_TESTS)
    suite.run("--gemmalock=sync").assert_outcomes(passed=2)
    assert [len(suite.server.gets(path)) for path in ("/model.gguf", "/config.json", "/minilm.bin")] == [1, 1, 0]


def test_sync_of_one_file_leaves_the_others_of_its_model(suite: Suite) -> None:
    suite.write("def test_it(gemmalock_model):\n    assert gemmalock_model('gemma::config.json').read_bytes()\n")
    suite.run("--gemmalock=sync").assert_outcomes(passed=1)
    assert {request.path for request in suite.server.requests} == {"/config.json"}


def test_sync_locks_first_where_there_is_no_lock(suite: Suite) -> None:
    (suite.folder / "gemmalock.lock").unlink()
    suite.write(TWO_TESTS)
    suite.run("--gemmalock=sync").assert_outcomes(passed=2)
    assert (suite.folder / "gemmalock.lock").is_file()


def test_a_file_that_cannot_be_fetched_fails_its_tests_alone_and_is_tried_once(suite: Suite) -> None:
    del suite.server.files["/model.gguf"]
    suite.write(
        "import pytest\n"
        "@pytest.mark.gemmalock('gemma')\ndef test_one(): pass\n"
        "@pytest.mark.gemmalock('gemma')\ndef test_two(): pass\n"
        "@pytest.mark.gemmalock('minilm')\ndef test_three(): pass\n"
        "def test_four(gemmalock_model): gemmalock_model('gemma::config.json')\n"
    )
    result = suite.run("--gemmalock=sync")
    result.assert_outcomes(passed=2, errors=2)
    text = shown(result)
    assert re.search(r"gemmalock: gemmalock\.yaml::gemma::model\.gguf: .*404.* \(not_found\)\nhint: \S", text)
    assert "config.json:" not in text
    assert len(suite.server.gets("/model.gguf")) <= 1


def test_an_upstream_that_changed_is_not_taken(suite: Suite) -> None:
    suite.server.put("/minilm.bin", b"others")
    suite.write("def test_it(gemmalock_model): gemmalock_model('minilm')\n")
    result = suite.run("--gemmalock=sync")
    result.assert_outcomes(failed=1)
    assert "(upstream_changed)\nhint: if the publisher replaced the file" in shown(result)


def test_sync_keeps_to_the_settings(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMMALOCK_OFFLINE", "1")
    suite.write(TWO_TESTS)
    result = suite.run("--gemmalock=sync")
    result.assert_outcomes(failed=1, errors=1)
    assert "(offline)\nhint: " in shown(result)
    assert suite.server.requests == ()


def test_skip_skips_what_is_not_in_place(suite: Suite) -> None:
    suite.sync("::minilm")
    suite.write(TWO_TESTS + "\n@pytest.mark.gemmalock('minilm')\ndef test_here(): pass\n")
    result = suite.run("--gemmalock=skip")
    result.assert_outcomes(passed=1, skipped=2)
    text = shown(result)
    assert text.count(": gemmalock: `gemma` is not in place; run `gemmalock sync`, or pytest with") == 2
    assert suite.server.requests == ()


@pytest.mark.parametrize("lost", ["gemmalock.lock", "gemmalock.yaml"])
def test_skip_skips_where_there_is_no_lock_or_no_project(suite: Suite, lost: str) -> None:
    (suite.folder / "gemmalock.lock").unlink()
    (suite.folder / lost).unlink(missing_ok=True)
    (suite.folder / ".git").mkdir()
    suite.write(TWO_TESTS)
    result = suite.run("--gemmalock=skip")
    result.assert_outcomes(skipped=2)
    assert f"gemmalock: there is no `{lost}`" in shown(result)


def test_the_mode_of_the_ini_file_counts_until_an_option_says_another(suite: Suite) -> None:
    suite.pytester.makeini("[pytest]\ngemmalock_mode = skip\n")
    suite.write(TWO_TESTS)
    suite.run().assert_outcomes(skipped=2)
    suite.run("--gemmalock=require").assert_outcomes(failed=1, errors=1)


def test_a_mode_that_there_is_not_is_a_usage_error(suite: Suite) -> None:
    suite.write(TWO_TESTS)
    assert "invalid choice: 'fetch'" in shown(wrong := suite.run("--gemmalock=fetch"))
    assert wrong.ret == pytest.ExitCode.USAGE_ERROR
    suite.pytester.makeini("[pytest]\ngemmalock_mode = fetch\n")
    assert "ERROR: `gemmalock_mode` must be one of require, sync, skip, not `fetch`" in shown(wrong := suite.run())
    assert wrong.ret == pytest.ExitCode.USAGE_ERROR


# --- what is wrong is wrong in every mode ------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["require", "sync", "skip"])
def test_a_wrong_name_fails_and_the_near_one_is_told(suite: Suite, mode: str) -> None:
    suite.sync()
    suite.write(
        "import pytest\n"
        "@pytest.mark.gemmalock('gema', 'minilm')\ndef test_one(): pass\n"
        "def test_two(gemmalock_model): gemmalock_model('gemma::weights.gguf')\n"
        "@pytest.mark.gemmalock('minilm')\ndef test_three(): pass\n"
    )
    result = suite.run(f"--gemmalock={mode}")
    result.assert_outcomes(passed=1, failed=1, errors=1)
    text = shown(result)
    assert "gemmalock: the lock has no `gema` (not_found)\nhint: did you mean `gemma`?\n" in text
    assert "gemmalock: the lock has no `gemma::weights.gguf` (not_found)\nhint: there is `" in text
    assert "--gemmalock=sync" not in text


@pytest.mark.parametrize("mode", ["require", "sync", "skip"])
def test_a_lock_that_cannot_be_read_fails(suite: Suite, mode: str) -> None:
    (suite.folder / "gemmalock.lock").write_text("{")
    suite.write(TWO_TESTS)
    result = suite.run(f"--gemmalock={mode}")
    result.assert_outcomes(failed=1, errors=1)
    assert "gemmalock: gemmalock.lock:1:" in shown(result)


def test_every_problem_of_a_manifest_is_told(suite: Suite) -> None:
    (suite.folder / "gemmalock.yaml").write_text("version: 1\nmodel: {}\nroot: ..\n")
    suite.write("def test_it(gemmalock_model): gemmalock_model('gemma')\n")
    result = suite.run("--gemmalock=sync")
    result.assert_outcomes(failed=1)
    assert {"2", "3"} <= set(re.findall(r"gemmalock: gemmalock\.yaml:(\d+):\d+: .* \(manifest\)", shown(result)))


@pytest.mark.parametrize("mark", ["", "()", "(3)", "('')", "('gemma', mode='sync')"])
def test_a_mark_that_names_nothing_fails(suite: Suite, mark: str) -> None:
    suite.sync()
    suite.write(f"import pytest\n@pytest.mark.gemmalock{mark}\ndef test_it(): pass\n")
    result = suite.run()
    result.assert_outcomes(errors=1)
    assert "gemmalock: the mark has to name models or files (usage)\nhint: write " in shown(result)


# --- the marker and the fixture ----------------------------------------------------------------------------


def test_marks_of_module_class_and_test_add_up(suite: Suite) -> None:
    suite.write(
        "import pytest, unittest\n"
        "pytestmark = pytest.mark.gemmalock('gemma::config.json')\n"
        "@pytest.mark.gemmalock('minilm')\n"
        "class TestIt(unittest.TestCase):\n"
        "    @pytest.mark.gemmalock('gemma')\n"
        "    def test_it(self): pass\n"
    )
    suite.run("--gemmalock=sync").assert_outcomes(passed=1)
    for path in ("/model.gguf", "/config.json", "/minilm.bin"):
        assert len(suite.server.gets(path)) == 1


def test_nothing_is_fetched_for_a_test_that_is_skipped_anyway(suite: Suite) -> None:
    suite.write("import pytest\n@pytest.mark.skip\n@pytest.mark.gemmalock('gemma')\ndef test_it(): pass\n")
    suite.run("--gemmalock=sync").assert_outcomes(skipped=1)
    assert suite.server.requests == ()


def test_marked_models_are_there_before_the_fixtures_of_the_test(suite: Suite) -> None:
    suite.write(
        "import pytest\nfrom pathlib import Path\n"
        "@pytest.fixture(scope='session', autouse=True)\n"
        "def weights(): return Path('models/minilm/minilm.bin').read_bytes()\n"
        "@pytest.mark.gemmalock('minilm')\n"
        "def test_it(weights): assert weights == b'minilm'\n"
    )
    suite.run("--gemmalock=sync").assert_outcomes(passed=1)


def test_a_session_fixture_can_be_made_of_a_model_and_each_is_looked_at_once(suite: Suite) -> None:
    suite.sync()
    suite.write(
        "import gemmalock, pytest\n"
        "looked = []\n"
        "@pytest.fixture(scope='session', autouse=True)\n"
        "def counting():\n"
        "    path = gemmalock.path\n"
        "    gemmalock.path = lambda *given: looked.append(given[0]) or path(*given)\n"
        "    yield\n"
        "    gemmalock.path = path\n"
        "@pytest.fixture(scope='session')\n"
        "def weights(gemmalock_model): return gemmalock_model('gemma::model.gguf').read_bytes()\n"
        "@pytest.mark.parametrize('number', range(5))\n"
        "def test_it(number, weights, gemmalock_model):\n"
        "    assert len(weights) == 150_000 and gemmalock_model('minilm').is_dir()\n"
        "    assert looked == ['gemma::model.gguf', 'minilm']\n"
    )
    suite.run().assert_outcomes(passed=5)


# --- which project -----------------------------------------------------------------------------------------


def test_the_nearest_manifest_above_the_tests_file_counts(suite: Suite) -> None:
    for name in ("apps/chat", "apps/search"):
        suite.declare(suite.folder / name)
        suite.write(
            "from pathlib import Path\n"
            "def test_it(gemmalock_model):\n"
            "    assert gemmalock_model('minilm') == Path(__file__).parents[1] / 'models/minilm'\n",
            f"{name}/tests/test_{name[-4:]}.py",
        )
    suite.write("def test_it(gemmalock_model): assert 'apps' not in str(gemmalock_model('minilm'))\n")
    suite.run("--gemmalock=sync").assert_outcomes(passed=3)


def test_a_test_from_elsewhere_uses_the_project_of_rootdir(
    suite: Suite, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "test_far.py").write_text("def test_it(gemmalock_model): assert gemmalock_model('minilm')\n")
    suite.run("--gemmalock=sync", f"--rootdir={suite.folder}", str(elsewhere)).assert_outcomes(passed=1)
    assert (suite.folder / "models/minilm/minilm.bin").read_bytes() == OTHER


@pytest.mark.parametrize("how", ["option", "ini"])
def test_the_folder_can_be_named(suite: Suite, how: str) -> None:
    suite.declare(suite.folder / "ml")
    suite.write("def test_it(gemmalock_model): assert gemmalock_model('minilm').parts[-3:-1] == ('ml', 'models')\n")
    if how == "ini":
        suite.pytester.makeini("[pytest]\ngemmalock_folder = ml\n")
    suite.run("--gemmalock=sync", *(["--gemmalock-folder=ml"] if how == "option" else [])).assert_outcomes(passed=1)


def test_a_folder_that_is_not_there_is_told(suite: Suite) -> None:
    suite.write("def test_it(gemmalock_model): gemmalock_model('minilm')\n")
    result = suite.run("--gemmalock-folder=mll", "--gemmalock=skip")
    result.assert_outcomes(failed=1)
    assert f"gemmalock: `{suite.folder}/mll` does not exist (usage)\nhint: " in shown(result)


@pytest.mark.parametrize("mode", ["require", "sync"])
def test_outside_of_any_project_a_test_fails_and_is_told_what_to_do(suite: Suite, mode: str) -> None:
    for path in ("gemmalock.yaml", "gemmalock.lock"):
        (suite.folder / path).unlink()
    (suite.folder / ".git").mkdir()
    suite.write(TWO_TESTS)
    result = suite.run(f"--gemmalock={mode}")
    result.assert_outcomes(failed=1, errors=1)
    text = shown(result)
    assert text.count("gemmalock: there is no `gemmalock.yaml` here, below, or above") == 2
    assert "hint: run `gemmalock init` to write a manifest" in text
    assert f"project: {suite.folder}\n" in text


# --- with xdist, and without -------------------------------------------------------------------------------


@pytest.mark.parametrize("locked", [True, False], ids=["locked", "not locked"])
def test_many_workers_fetch_each_file_once(suite: Suite, locked: bool) -> None:
    pytest.importorskip("xdist")
    if not locked:
        (suite.folder / "gemmalock.lock").unlink()
    # So slow that every worker asks while the first one fetches.
    suite.server.files["/model.gguf"].throttle = 150_000
    suite.write(
        "import pytest\n"
        "@pytest.mark.parametrize('number', range(8))\n"
        "@pytest.mark.gemmalock('gemma', 'minilm')\n"
        "def test_it(number, gemmalock_model):\n"
        "    assert len((gemmalock_model('gemma') / 'model.gguf').read_bytes()) == 150_000\n"
    )
    result = suite.run("-n", "4", "-v", "--gemmalock=sync")
    result.assert_outcomes(passed=8)
    assert set(re.findall(r"\[(gw\d)\].* PASSED ", shown(result))) == {"gw0", "gw1", "gw2", "gw3"}
    for path, body in (("/model.gguf", WEIGHTS), ("/config.json", CONFIG), ("/minilm.bin", OTHER)):
        assert [request.served for request in suite.server.gets(path)] == [len(body)]
    assert suite.server.failures == []


@pytest.mark.parametrize("mode", ["require", "skip"])
def test_workers_know_the_mode_and_the_folder(suite: Suite, mode: str) -> None:
    pytest.importorskip("xdist")
    suite.declare(suite.folder / "ml")
    suite.write("def test_it(gemmalock_model): gemmalock_model('gemma')\n")
    result = suite.run("-n", "1", f"--gemmalock={mode}", "--gemmalock-folder=ml")
    result.assert_outcomes(**{"failed" if mode == "require" else "skipped": 1})
    assert "gemmalock: `gemma` is not in place" in shown(result)


def test_nothing_of_xdist_is_needed(suite: Suite) -> None:
    suite.write(TWO_TESTS)
    suite.run("-p", "no:xdist", "--gemmalock=sync").assert_outcomes(passed=2)


# --- suites that do not use it -----------------------------------------------------------------------------


def test_a_suite_that_asks_for_no_model_loads_nothing(suite: Suite) -> None:
    suite.write(
        "import sys\n"
        "def test_it():\n"
        "    ours = sorted(name for name in sys.modules if name.partition('.')[0] == 'gemmalock')\n"
        "    assert ours == ['gemmalock', 'gemmalock.pytest_plugin', 'gemmalock.version']\n"
        "    assert 'urllib3' not in sys.modules\n"
    )
    suite.run().assert_outcomes(passed=1)


def test_the_plugin_can_be_turned_off(suite: Suite) -> None:
    suite.write("import sys\ndef test_it(): assert 'gemmalock' not in sys.modules\n")
    suite.run("-p", "no:gemmalock").assert_outcomes(passed=1)
    suite.write("def test_it(gemmalock_model): pass\n")
    result = suite.run("-p", "no:gemmalock")
    result.assert_outcomes(errors=1)
    assert "fixture 'gemmalock_model' not found" in shown(result)


def test_pytest_explains_the_options_the_marker_and_the_fixture(suite: Suite) -> None:
    assert "--gemmalock={require,sync,skip}" in shown(suite.run("--help"))
    assert "@pytest.mark.gemmalock(name, ...): the models or files" in shown(suite.run("--markers"))
    assert "gemmalock_model [session scope]" in shown(suite.run("--fixtures"))


def test_the_session_of_the_guide_runs_as_it_is_pasted(tmp_path: Path) -> None:
    guide = (CHECKOUT / "docs/pytest.md").read_text("utf-8")
    session = re.search(r"<!-- session -->\n```sh\n(.*?)```\n<!-- /session -->", guide, re.DOTALL)
    promised = re.search(r"<!-- shown -->\n```\n(.*?)```\n<!-- /shown -->", guide, re.DOTALL)
    assert session is not None
    assert promised is not None
    programs, empty = tmp_path / "bin", tmp_path / "empty"
    for folder in (programs, empty):
        folder.mkdir()
    for name in ("gemmalock", "pytest"):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {name} "$@"\n')
        (programs / name).chmod(0o755)
    env = environment({"PATH": f"{programs}:{os.environ['PATH']}", "PYTEST_ADDOPTS": "-p no:hypothesispytest"})
    env = {name: value for name, value in env.items() if not name.startswith("PYTEST_XDIST")}
    done = subprocess.run(
        ["sh", "-e"],
        cwd=empty,
        env=env,
        input=session[1],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stdout.count(promised[1]) == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "the model is not here" in done.stdout.splitlines()
    ends = re.findall(r"^={5,} (.*) in [\d.]+s ={5,}$", done.stdout, re.MULTILINE)
    assert ends == ["2 errors", "2 skipped", "2 passed", "2 passed"]


def test_the_library_does_without_pytest() -> None:
    script = "import sys; sys.modules['pytest'] = None; import gemmalock.cli, gemmalock; gemmalock.sync; print('fine')"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr

"""Plugins come from the environment, are loaded only when needed, and one that cannot be is named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.plugins.conftest import SHELF, Bench, Site
from tests.running import Gemmalock

NOTHING = "\n"
#: What cannot be loaded, and what is said of it.
UNUSABLE = {
    "raises": ("raise RuntimeError('not today')", "cannot be loaded: RuntimeError: not today"),
    "exits": ("raise SystemExit(7)", "cannot be loaded: SystemExit: 7"),
    "imports what is not there": ("import nowhere_to_be_found", "ModuleNotFoundError"),
    "does not parse": ("def (", "SyntaxError"),
    "has an unknown hook": ("@hookimpl\ndef gemmalock_fetchd(node): ...", "there is no hook `gemmalock_fetchd`"),
    "wants an unknown argument": ("@hookimpl\ndef gemmalock_finished(reports): ...", "reports"),
    "brings no mapping": ("@hookimpl\ndef gemmalock_sources(): return ['x']", "and not a mapping"),
    "fails to say what it brings": ("@hookimpl\ndef gemmalock_exporters(): return 1 / 0", "ZeroDivisionError"),
    "brings no scheme": ("@hookimpl\ndef gemmalock_sources(): return {'x': object}", "brings no scheme"),
    "brings a name that is none": (
        "@hookimpl\ndef gemmalock_sources(): return {'X://': Scheme(1)}",
        "brings no scheme",
    ),
    "brings no format": ("@hookimpl\ndef gemmalock_exporters(): return {'x': 'y'}", "brings no format"),
    "takes a built-in scheme": ("@hookimpl\ndef gemmalock_sources(): return {'https': Scheme(1)}", "which is built in"),
    "takes a built-in format": ("@hookimpl\ndef gemmalock_exporters(): return {'json': str}", "which is built in"),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_a_plugin_that_cannot_be_used_is_wrong_usage_and_is_named(bench: Bench, what: str) -> None:
    code, says = UNUSABLE[what]
    bench.site.install("crooked", code)
    bench.write("a.gguf", b"a")
    bench.declare("a.gguf", scheme="file")
    done = bench("sync")
    assert done.code == 4
    assert "plugin `crooked`" in done.err and says in done.err
    assert "hint: `-p no:crooked` goes on without this plugin" in done.err
    assert "Traceback" not in done.err
    assert not bench.project.lock.exists()
    assert bench("-p", "no:crooked", "sync").code == 0


@pytest.mark.parametrize("hook", ["sources", "exporters"])
def test_two_plugins_that_bring_the_same_are_both_named(bench: Bench, hook: str) -> None:
    value = {"sources": "{'x': Scheme(1)}", "exporters": "{'x': str}"}[hook]
    for plugin in ("one", "two"):
        bench.site.install(plugin, f"@hookimpl\ndef gemmalock_{hook}():\n    return {value}\n")
    bench.declare("a.gguf", scheme="file")
    done = bench("lock")
    assert done.code == 4
    assert "plugins `one` and `two` both bring" in done.err
    assert "`-p no:one` or `-p no:two`" in done.err
    assert bench("lock", "-p", "no:two").code == 0


def test_two_packages_with_a_plugin_of_one_name_are_both_named(bench: Bench) -> None:
    bench.site.install("same", NOTHING, "first")
    bench.site.install("same", NOTHING, "second")
    bench.declare("a.gguf", scheme="file")
    done = bench("lock")
    assert done.code == 4
    assert "`first 1.0` and `second 1.0`" in done.err


def test_a_folder_that_a_run_is_in_brings_no_plugin(bench: Bench) -> None:
    """`python -m` puts the current folder on the path, and a project that was cloned may have anything in it."""
    Site(bench.project.folder).install("crooked", "raise RuntimeError")
    bench.declare("a.gguf", scheme="file")
    done = Gemmalock(bench.project.folder)("sync")
    assert done.code == 0, done.err
    assert "there is none" in Gemmalock(bench.project.folder)("-p", "crooked", "sync").err


def test_a_package_that_is_there_twice_brings_its_plugin_once(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.site.install("shelf", SHELF, "shelves")
    second = tmp_path / "second"
    second.mkdir()
    monkeypatch.syspath_prepend(second)
    Site(second).install("shelf", SHELF, "shelves")
    bench.declare("a.gguf")
    assert bench("sync").code == 0


def test_a_plugin_that_is_asked_for_has_to_be_there(bench: Bench) -> None:
    bench.site.install("shelf", SHELF)
    bench.declare("a.gguf", scheme="file")
    done = bench("-p", "shelve", "sync")
    assert done.code == 4
    assert "there is no plugin `shelve`" in done.err and "there is `shelf`" in done.err
    assert bench("-p", "shelf", "sync").code == 0
    assert bench("sync", "-p", "no:elsewhere").code == 0


def test_the_last_word_on_a_plugin_counts(bench: Bench) -> None:
    bench.site.install("shelf", SHELF)
    bench.declare("a.gguf")
    assert bench("-p", "no:shelf", "lock", "-p", "shelf").code == 0
    assert bench("-p", "shelf", "lock", "--upgrade", "-p", "no:shelf").code == 4


def test_the_environment_and_a_settings_file_turn_plugins_off_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.site.install("shelf", SHELF)
    bench.declare("a.gguf")
    (bench.project.folder / "gemmalock.toml").write_text('plugin = ["no:shelf"]\n')
    assert bench("lock").code == 4
    monkeypatch.setenv("GEMMALOCK_PLUGIN", "no:other no:another")
    assert bench("lock").code == 0
    assert bench("lock", "--upgrade", "-p", "no:shelf").code == 4


def test_a_sync_with_nothing_to_do_does_not_look_for_plugins(bench: Bench) -> None:
    bench.site.install("shelf", SHELF)
    bench.declare("a.gguf")
    assert bench("sync").code == 0
    bench.site.install("crooked", "raise RuntimeError")
    assert "gemmalock.plugins" not in modules_after(bench, "sync")
    assert "importlib.metadata" not in modules_after(bench, "sync")
    assert Gemmalock(bench.project.folder)("verify", env=bench.site.environment).code == 4


def test_where_no_plugin_is_installed_pluggy_is_not_loaded_even_to_fetch(bench: Bench) -> None:
    bench.declare("a.gguf", scheme="file")
    loaded = modules_after(bench, "sync")
    assert bench.placed("a.gguf").exists()
    assert "gemmalock.plugins.glimpse" in loaded
    assert {"pluggy", "importlib.metadata"} & loaded == set()


def modules_after(bench: Bench, *arguments: str) -> set[str]:
    """What a run that ends well has loaded, in a process of its own."""
    script = (
        "import sys\n"
        "from gemmalock.cli import main\n"
        f"try:\n    main({list(arguments)!r})\n"
        "except SystemExit as end:\n    assert end.code == 0, end.code\n"
        "print(*sys.modules)\n"
    )
    done = Gemmalock(bench.project.folder, (sys.executable, "-c"))(script, env=bench.site.environment)
    assert done.code == 0, done.err
    return set(done.out.splitlines()[-1].split())


def test_the_doctor_names_those_that_are_on(bench: Bench) -> None:
    bench.site.install("shelves", SHELF)
    assert "shelves" in bench("doctor").out.partition("\nplugins\n")[2]
    assert "there are none" in bench("doctor", "-p", "no:shelves").out.partition("\nplugins\n")[2]


def test_the_doctor_finds_one_that_is_crooked(bench: Bench) -> None:
    bench.site.install("crooked", "raise RuntimeError('not today')")
    broken = bench("doctor")
    assert (broken.code, "crooked" in broken.err) == (1, True)
    assert "Traceback" not in broken.err

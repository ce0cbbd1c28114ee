"""`export`, read by the programs that it is for; a plugin's format is the equal of a built-in one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import LARGE, SMALL, Here, Shop
from tests.plugins.conftest import Bench, bench, site
from tests.running import run_tool
from tests.servers import real

__all__ = ["bench", "site"]

BUILT_IN = ("sha256sums", "aria2", "metalink", "cyclonedx", "json")


@pytest.fixture
def locked(shop: Shop) -> Shop:
    assert shop.here("lock", "--hash").code == 0
    return shop


def test_sha256sum_checks_what_sync_put_in_place(locked: Shop) -> None:
    assert locked.here("sync").code == 0
    assert locked.here("export", "sha256sums", "-o", "SHA256SUMS").code == 0
    folder = locked.project.folder
    assert run_tool(["sha256sum", "--strict", "-c", "SHA256SUMS"], folder).splitlines() == [
        "models/gemma/model.gguf: OK",
        "models/gemma/tokenizer.json: OK",
    ]
    place = folder / "models/gemma/model.gguf"
    place.unlink()
    place.write_bytes(SMALL)
    assert subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True).returncode == 1


@pytest.mark.parametrize(("format", "flag"), [("aria2", "-i"), ("metalink", "-M")])
def test_aria2c_fetches_and_checks_what_is_exported(locked: Shop, format: str, flag: str, tmp_path: Path) -> None:
    aria2c = real.program("aria2c")
    assert locked.here("export", format, "-o", "list").code == 0
    options = ["--no-conf", "--allow-overwrite=true", "--check-certificate=false", "-q"]
    run_tool([aria2c, *options, "-d", tmp_path / "there", flag, locked.project.folder / "list"], tmp_path)
    assert (tmp_path / "there/models/gemma/model.gguf").read_bytes() == LARGE
    assert (tmp_path / "there/models/gemma/tokenizer.json").read_bytes() == SMALL
    # Another body of the same length upstream: the checksum tells.
    locked.server.put("/model.gguf", bytes(len(LARGE)))
    command = [aria2c, *options[:-1], "-d", "again", flag, str(locked.project.folder / "list")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 32, done.stdout


@pytest.mark.parametrize("format", BUILT_IN)
def test_every_format_goes_to_standard_output_and_to_a_file_alike(locked: Shop, format: str) -> None:
    printed = locked.here("export", format)
    assert (printed.code, printed.err) == (0, "")
    done = locked.here("export", format, "--output", "out")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert (locked.project.folder / "out").read_text("utf-8") == printed.out


def test_a_selection_is_what_is_exported(locked: Shop) -> None:
    done = locked.here("export", "sha256sums", "gemmalock.yaml::gemma::tokenizer.json")
    assert [line.split("  ")[1] for line in done.out.splitlines()] == ["models/gemma/tokenizer.json"]
    assert locked.here("export", "json", "gemmalock.yaml::nothing").code == 5


def test_the_file_begins_where_the_run_does(locked: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locked.here("-C", str(locked.project.folder), "export", "json", "-o", "out").code == 0
    assert (locked.project.folder / "out").exists()


def test_a_file_without_a_digest_is_an_error_of_sums_and_a_warning_of_the_others(shop: Shop) -> None:
    assert shop.here("lock").code == 0
    done = shop.here("export", "sha256sums")
    assert (done.code, done.out) == (1, "")
    assert "`gemmalock.yaml::gemma::model.gguf` has no digest in the lock" in done.err
    assert "`gemmalock lock --hash` finds it" in done.err
    done = shop.here("export", "json")
    assert done.code == 0
    assert "warning: gemmalock.yaml::gemma::model.gguf has no digest" in done.err


def test_a_report_needs_standard_output_for_itself(locked: Shop) -> None:
    done = locked.here("--json", "export", "json")
    assert done.code == 4
    assert "--output FILE" in done.err
    found = locked.report("export", "cyclonedx", "-o", "bom.json")
    assert found["facts"] == {"format": "cyclonedx", "files": 2}
    assert json.loads((locked.project.folder / "bom.json").read_text())["bomFormat"] == "CycloneDX"


def test_a_file_that_cannot_be_written_is_told_and_there_is_nothing_of_it(locked: Shop) -> None:
    done = locked.here("export", "json", "-o", "no/such/folder")
    assert done.code == 1
    assert "cannot write" in done.err


def test_a_format_that_is_not_there_is_wrong_usage(locked: Shop) -> None:
    done = locked.here("export", "sha256sum")
    assert done.code == 4
    assert "did you mean `sha256sums`?" in done.err
    done = locked.here("export", "spreadsheet")
    assert done.code == 4
    assert all(f"`{name}`" in done.err for name in BUILT_IN)


def test_help_lists_the_formats_that_there_are(here: Here) -> None:
    done = here("export", "--help")
    assert done.code == 0
    for name in BUILT_IN:
        assert any(line.strip().startswith(f"{name} ") for line in done.out.splitlines()), name


# --- formats of plugins ------------------------------------------------------------------------------------

NAMES = '''
def names(lock):
    """The names of all files.

    And nothing else.
    """
    return RETURNED

@hookimpl
def gemmalock_exporters():
    return {"names": names}
'''


@pytest.mark.parametrize("returned", ["'\\n'.join(n.file.name for n in lock.nodes())", "b'a.gguf\\nb.gguf'"])
def test_a_plugins_format_is_the_equal_of_a_built_in_one(bench: Bench, returned: str) -> None:
    bench.site.install("names", NAMES.replace("RETURNED", returned))
    bench.declare("a.gguf", "b.gguf", scheme="file")
    assert bench("lock").code == 0
    assert bench("export", "names").out == "a.gguf\nb.gguf"
    help = bench("export", "--help").out
    assert any(" ".join(line.split()) == "names The names of all files." for line in help.splitlines())
    assert "there is no format `names`" in bench("-p", "no:names", "export", "names").err


@pytest.mark.parametrize(
    ("returned", "says"),
    [("1 / 0", "failed in its format `names`: ZeroDivisionError"), ("7", "a `int`, and not text or bytes")],
)
def test_a_format_that_fails_writes_nothing(bench: Bench, returned: str, says: str) -> None:
    bench.site.install("names", NAMES.replace("RETURNED", returned))
    bench.declare("a.gguf", scheme="file")
    assert bench("lock").code == 0
    done = bench("export", "names", "-o", "out")
    assert done.code == 1
    assert "plugin `names`" in done.err and says in done.err
    assert not (bench.project.folder / "out").exists()


def test_help_comes_also_where_a_plugin_cannot_be_loaded(bench: Bench) -> None:
    bench.site.install("crooked", "raise RuntimeError('oops')")
    done = bench("export", "--help")
    assert done.code == 0
    assert "plugin `crooked` cannot be loaded" in " ".join(done.out.split())

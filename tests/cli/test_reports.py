"""`--json` of every command, in success and in every kind of error, fits the schema; exit codes are pytest's."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gemmalock import app as front_door
from gemmalock.cli.program import COMMANDS
from gemmalock.codec.report_json import report_problems
from gemmalock.errors import PermissionRefused
from gemmalock.roots.looker import Looker
from tests.cli.conftest import LARGE, SMALL, Here, Shop
from tests.running import TIMEOUT_SECONDS, Finished, Gemmalock, Project, environment

Arrange = Callable[[Shop], object]


def locked(shop: Shop) -> None:
    """There is a lock."""
    assert shop.here("lock").code == 0


def synced(shop: Shop) -> None:
    """Everything is in place."""
    assert shop.here("sync").code == 0


def stray(shop: Shop) -> None:
    """In place, and something that the lock does not list."""
    synced(shop)
    (shop.project.folder / "models/notes.txt").write_text("mine")


def modified(shop: Shop) -> None:
    """In place, and a file with other bytes."""
    synced(shop)
    path = shop.project.folder / "models/gemma/tokenizer.json"
    path.unlink()
    path.write_text("{}")


def stale(shop: Shop) -> None:
    """In place, and a manifest that says something else."""
    synced(shop)
    shop.declare("model.gguf")


def gone_upstream(shop: Shop) -> None:
    """Locked, and a file that the server has lost since."""
    locked(shop)
    del shop.server.files["/model.gguf"]


def no_manifest(shop: Shop) -> None:
    """An empty folder of a repository."""
    shop.project.manifest.unlink()
    (shop.project.folder / ".git").mkdir()


def broken_manifest(shop: Shop) -> None:
    """Two problems."""
    shop.project.write_manifest("version: 1\nmodles: {}\nroot: ../out\n")


def broken_lock(shop: Shop) -> None:
    """Half a lock."""
    locked(shop)
    shop.project.lock.write_bytes(shop.project.lock.read_bytes()[:200])


def future_lock(shop: Shop) -> None:
    """A lock of a version to come."""
    shop.project.lock.write_text('{"lock_version": 99}\n')


def broken_settings(shop: Shop) -> None:
    """Two settings that cannot be."""
    locked(shop)
    (shop.project.folder / "gemmalock.toml").write_text("jobs = 0\nofline = true\n")


def nothing(shop: Shop) -> None:
    """Declared, and not locked."""


def repository(shop: Shop) -> None:
    """Locked, and staged in a repository."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    locked(shop)
    for arguments in (["init", "-q"], ["add", "--all"]):
        subprocess.run(["git", *arguments], cwd=shop.project.folder, check=True)


def committed(shop: Shop) -> None:
    """Locked, and committed."""
    repository(shop)
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run(["git", *who, "commit", "-qm", "one"], cwd=shop.project.folder, check=True)


def foreign_root(shop: Shop) -> None:
    """Locked, and a root with files and no ledger."""
    locked(shop)
    (shop.project.folder / "models").mkdir()
    (shop.project.folder / "models/mine.bin").write_text("mine")


def empty_lock(shop: Shop) -> None:
    """In place, and a manifest and a lock of nothing."""
    synced(shop)
    shop.project.write_manifest("version: 1\nmodels: {}\n")
    locked(shop)


def rotten_store(shop: Shop) -> None:
    """The store has an object whose bytes changed behind its stat."""
    assert shop.here("sync", "--link-mode", "copy").code == 0
    (victim, *_) = sorted(
        (path for path in Path(os.environ["GEMMALOCK_STORE"]).rglob("*") if path.is_file()),
        key=lambda path: -path.stat().st_size,
    )
    victim.chmod(0o644)
    victim.write_bytes(bytes(len(LARGE)))


SUCCESSES: list[tuple[str, Arrange]] = [
    ("init", no_manifest),
    ("init --from gemma-3-270m-it", no_manifest),
    ("add second {origin}/tokenizer.json", locked),
    ("remove gemma", locked),
    ("lock", nothing),
    ("lock", locked),
    ("lock --dry-run", nothing),
    ("lock --hash", nothing),
    ("lock --upgrade", locked),
    ("lock --upgrade-model gemma", locked),
    ("lock --check", locked),
    ("outdated", locked),
    ("outdated --check gemmalock.yaml::gemma", locked),
    ("diff --check gemmalock.lock gemmalock.lock", locked),
    ("diff", committed),
    ("sync", nothing),
    ("sync", locked),
    ("sync", synced),
    ("sync", stray),
    ("sync", modified),
    ("sync --dry-run", stray),
    ("sync --check", synced),
    ("sync --frozen", locked),
    ("sync --locked", locked),
    ("sync --offline", synced),
    ("sync --verify", synced),
    ("sync --no-prune", stray),
    ("sync --adopt", foreign_root),
    ("sync --allow-empty", empty_lock),
    ("sync gemmalock.yaml::gemma", locked),
    ("status", locked),
    ("status", stray),
    ("status", stale),
    ("status gemmalock.yaml::gemma::model.gguf", modified),
    ("verify", synced),
    ("doctor", no_manifest),
    ("doctor", synced),
    ("list", locked),
    ("list --catalogue", no_manifest),
    ("list --catalogue -k gemma -m mobile", locked),
    ("tree", locked),
    ("path gemma", synced),
    ("path gemma::model.gguf", synced),
    ("export json -o out.json", locked),
    ("export sha256sums gemmalock.yaml::gemma --output sums", synced),
    ("prune", stray),
    ("prune --dry-run", stray),
    ("each lock --check", repository),
    ("each verify", synced),
    ("each sync --locked", nothing),
    ("no-weights", repository),
    ("tasks", nothing),
    ("tasks clear", nothing),
    ("cache dir", nothing),
    ("cache size", synced),
    ("cache verify", synced),
    ("cache prune", synced),
    ("cache prune --dry-run --older-than 1d --max-size 1G", synced),
]


def words(shop: Shop, line: str) -> list[str]:
    """A command line as words."""
    return line.format(origin=shop.server.origin).split()


@pytest.mark.parametrize(("line", "arrange"), SUCCESSES, ids=lambda part: getattr(part, "__name__", part))
def test_a_success_is_a_report_of_its_command_and_nothing_else_on_stdout(
    shop: Shop, line: str, arrange: Arrange
) -> None:
    arrange(shop)
    found = shop.report(*words(shop, line))
    group = line.startswith("cache")
    assert found["command"] == " ".join(line.split()[: 2 if group else 1])
    assert found["errors"] == []
    assert found["summary"]["failed"] == 0


def test_the_table_of_successes_has_every_command_but_the_demo() -> None:
    assert {line.split()[0] for line, _ in SUCCESSES} | {"demo"} == set(COMMANDS)


#: line, world, exit code, codes of the run's errors (or of its files')
FAILURES: list[tuple[str, Arrange, int, set[str]]] = [
    ("snyc", nothing, 4, {"usage"}),
    ("", nothing, 4, {"usage"}),
    ("sync --nope", nothing, 4, {"usage"}),
    ("--nope sync", nothing, 4, {"usage"}),
    ("sync --link-mode glue", nothing, 4, {"usage"}),
    ("sync --jobs many", locked, 4, {"setting"}),
    ("sync --limit-rate 0", locked, 4, {"setting"}),
    ("sync --locked --frozen", locked, 4, {"usage"}),
    ("sync nowhere", locked, 4, {"usage"}),
    ("-C nowhere sync", nothing, 4, {"usage"}),
    ("--color mauve sync", nothing, 4, {"usage"}),
    ("cache", nothing, 4, {"usage"}),
    ("cache vreify", nothing, 4, {"usage"}),
    ("cache prune --max-size big", nothing, 4, {"usage"}),
    ("cache prune --older-than soon", nothing, 4, {"usage"}),
    ("tasks claer", nothing, 4, {"usage"}),
    ("path", nothing, 4, {"usage"}),
    ("init", nothing, 4, {"usage"}),
    ("init --from whisper-tiny", nothing, 4, {"usage"}),
    ("init --from nothing", no_manifest, 4, {"usage"}),
    ("list --catalogue gemma", no_manifest, 4, {"usage"}),
    ("list --catalogue -k nothing", no_manifest, 5, {"nothing_collected"}),
    ("add gemma {origin}/tokenizer.json", locked, 4, {"usage"}),
    ("add ../x {origin}/tokenizer.json", locked, 4, {"usage"}),
    ("remove nothing", locked, 4, {"usage"}),
    ("lock --upgrade-model nothing", locked, 4, {"usage"}),
    ("outdated", nothing, 1, {"lock_missing"}),
    ("outdated --exclude-newer soon", locked, 4, {"setting"}),
    ("lock --exclude-newer soon", locked, 4, {"setting"}),
    ("sync --minimum-age soon", locked, 4, {"setting"}),
    ("add second {origin}/tokenizer.json --minimum-age soon", locked, 4, {"setting"}),
    ("outdated --minimum-age 7", locked, 4, {"setting"}),
    ("outdated gemmalock.yaml::nothing", locked, 5, {"nothing_collected"}),
    ("outdated", gone_upstream, 1, {"not_found"}),
    ("outdated", broken_lock, 4, {"lock"}),
    ("diff", locked, 4, {"usage"}),
    ("diff nowhere", repository, 4, {"usage"}),
    ("diff gemmalock.lock gemmalock.lock", broken_lock, 4, {"lock"}),
    ("lock gemmalock.yaml::gemma", locked, 4, {"usage"}),
    ("sync", broken_manifest, 4, {"manifest"}),
    ("lock", broken_manifest, 4, {"manifest"}),
    ("status", broken_manifest, 4, {"manifest"}),
    ("sync", broken_lock, 4, {"lock"}),
    ("sync --frozen", broken_lock, 4, {"lock"}),
    ("list", broken_lock, 4, {"lock"}),
    ("status", future_lock, 4, {"lock"}),
    ("lock", future_lock, 4, {"lock"}),
    ("sync", broken_settings, 4, {"setting"}),
    ("list", broken_settings, 4, {"setting"}),
    ("sync", no_manifest, 5, {"nothing_collected"}),
    ("lock", no_manifest, 5, {"nothing_collected"}),
    ("status", no_manifest, 5, {"nothing_collected"}),
    ("verify", no_manifest, 5, {"nothing_collected"}),
    ("list", no_manifest, 5, {"nothing_collected"}),
    ("path gemma", no_manifest, 5, {"nothing_collected"}),
    ("prune", no_manifest, 5, {"nothing_collected"}),
    ("sync gemmalock.yaml::nothing", locked, 5, {"nothing_collected"}),
    ("status gemmalock.yaml::gemma::nothing", locked, 5, {"nothing_collected"}),
    ("list nowhere/gemmalock.yaml", locked, 5, {"nothing_collected"}),
    ("status", nothing, 1, {"lock_missing"}),
    ("verify", nothing, 1, {"lock_missing"}),
    ("list", nothing, 1, {"lock_missing"}),
    ("tree", nothing, 1, {"lock_missing"}),
    ("prune", nothing, 1, {"lock_missing"}),
    ("path gemma", nothing, 1, {"lock_missing"}),
    ("lock --check", nothing, 1, {"lock_missing"}),
    ("each lock --check", nothing, 1, {"project_failed"}),
    ("each cache", nothing, 4, {"usage"}),
    ("each --staged verify", nothing, 4, {"usage"}),
    ("no-weights", nothing, 4, {"usage"}),
    ("sync --locked", nothing, 1, {"lock_missing"}),
    ("sync --frozen", nothing, 1, {"lock_missing"}),
    ("sync --locked", stale, 1, {"lock_outdated"}),
    ("sync --check", stale, 1, {"lock_outdated"}),
    ("lock --check", stale, 1, {"lock_outdated"}),
    ("sync", foreign_root, 1, {"policy"}),
    ("prune", foreign_root, 1, {"policy"}),
    ("prune", empty_lock, 1, {"policy"}),
    ("path gemma", locked, 1, {"not_found"}),
    ("path nothing", locked, 1, {"not_found"}),
    ("sync", gone_upstream, 1, {"not_found"}),
    ("lock --upgrade", gone_upstream, 1, {"not_found"}),
    ("sync --offline", locked, 1, {"offline"}),
    ("sync --check", locked, 1, set()),
    ("verify", modified, 1, {"size_mismatch"}),
    ("verify", locked, 1, {"not_found"}),
]


@pytest.mark.parametrize(
    ("line", "arrange", "code", "codes"), FAILURES, ids=lambda part: getattr(part, "__name__", str(part))
)
def test_a_failure_is_a_report_with_codes_and_a_message_for_people(
    shop: Shop, line: str, arrange: Arrange, code: int, codes: set[str]
) -> None:
    arrange(shop)
    found = shop.report(*words(shop, line), code=code)
    told = {error["code"] for error in found["errors"]}
    told |= {file["error"]["code"] for file in found["files"] if file["error"] is not None}
    assert told <= codes
    assert bool(told) == bool(codes)
    plain = shop.here(*words(shop, line))
    assert plain.code == code
    assert "Traceback" not in plain.out + plain.err
    assert not codes or "error: " in plain.err


def test_the_reason_of_a_replaced_file_says_each_thing_once(shop: Shop) -> None:
    synced(shop)
    (shop.project.folder / "models/gemma/tokenizer.json").unlink()
    (shop.project.folder / "models/gemma/tokenizer.json").write_bytes(b"short")
    reasons = [file["reason"] for file in shop.report("sync")["files"] if file["path"].endswith(".json")]
    assert reasons == [f"moved to the trash: 5 bytes are in place, the lock says {len(SMALL)}"]


@pytest.mark.parametrize("name", ["gemma", "gemma::model.gguf"])
def test_path_tells_a_failed_look_from_an_absence(shop: Shop, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    synced(shop)

    def denied(self: Looker, path: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(Looker, "_lstat", denied)
    (error,) = shop.report("path", name, code=1)["errors"]
    assert error["code"] == "permission"
    assert error["message"] in {file["reason"] for file in shop.report("status")["files"]}
    with pytest.raises(PermissionRefused):
        front_door.path(name, shop.project.folder)


def test_rot_in_the_store_is_found_once_and_put_aside(shop: Shop) -> None:
    rotten_store(shop)
    found = shop.report("cache", "verify", code=1)
    assert [error["code"] for error in found["errors"]] == ["digest_mismatch"]
    assert len(found["facts"]["rotten"]) == 1
    assert shop.report("cache", "verify")["facts"]["rotten"] == []


def test_the_store_says_how_many_objects_it_has_verified_and_how_long_that_took(shop: Shop) -> None:
    synced(shop)
    assert re.fullmatch(r"== 2 sound, 0 rotten in \d+\.\d\ds ==\n", shop.here("cache", "verify").out)
    assert shop.report("cache", "verify")["summary"]["seconds"] > 0
    objects = Path(os.environ["GEMMALOCK_STORE"]) / "objects"
    victim = next(path for path in objects.rglob("*") if path.is_file() and path.suffix == "")
    victim.chmod(0o644)
    victim.write_bytes(victim.read_bytes()[::-1])
    assert "== 1 sound, 1 rotten in " in shop.here("cache", "verify").out


def test_every_problem_of_an_input_is_an_error_with_its_place(shop: Shop) -> None:
    broken_manifest(shop)
    assert {error["place"] for error in shop.report("sync", code=4)["errors"]} == {
        "gemmalock.yaml:2:1", "gemmalock.yaml:3:7",
    }  # fmt: skip
    shop.declare("model.gguf")
    broken_settings(shop)
    assert [error["place"] for error in shop.report("sync", code=4)["errors"]] == [
        "gemmalock.toml:1:1",
        "gemmalock.toml:2:1",
    ]


def test_usage_errors_name_the_command_that_was_meant(shop: Shop) -> None:
    for line, command in (("sync --nope", "sync"), ("-C . lock --nope", "lock"), ("cache prune --nope", "cache prune"),
                          ("--color never tasks claer", "tasks"), ("--nope", "gemmalock")):  # fmt: skip
        found = shop.report(*line.split(), code=4)
        assert found["command"] == command
        assert "--help" in found["errors"][0]["hint"]


def test_messages_are_lower_case_and_without_a_full_stop(shop: Shop) -> None:
    for line, arrange, code, _ in FAILURES:
        if arrange is nothing and code == 4:
            (error,) = shop.report(*words(shop, line), code=code)["errors"]
            assert error["message"][0] == error["message"][0].lower()
            assert not error["message"].endswith(".")


def test_a_report_of_json_leaves_all_else_to_stderr(shop: Shop) -> None:
    done = shop.here("sync", "--json", "-v")
    assert report_problems(done.out) == []
    assert "DOWNLOADED  gemmalock.yaml::gemma::model.gguf" in done.err
    assert done.err.splitlines()[-1].startswith("== ")


@pytest.mark.parametrize("line", ["--help", "list", "list --json", "--version"])
def test_standard_output_that_is_full_is_not_the_store_that_is_full(shop: Shop, line: str) -> None:
    locked(shop)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            shop.run.command(*line.split()),
            cwd=shop.project.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    assert done.returncode == 1
    assert "error: cannot write to standard output: No space left on device" in done.stderr
    assert "send standard output to where there is room" in done.stderr
    assert "cache prune" not in done.stderr


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (["ftp://x/y.gguf"], "`ftp://` is not a scheme that is known"),
        (["ftp://x", "y.gguf"], "`ftp://` is not a scheme that is known"),
        (["y.gguf"], "`y.gguf` has no scheme"),
        (["https://user:password@models.example.org/y.gguf"], "has credentials in it"),
        (["hf://owner/name"], "which files of `hf://owner/name`"),
    ],
)
def test_what_cannot_be_a_source_is_told_as_such(shop: Shop, source: list[str], says: str) -> None:
    before = shop.project.manifest.read_bytes()
    done = shop.here("add", "q", *source)
    assert done.code == 4
    assert says in done.err
    assert "password" not in done.err
    assert shop.project.manifest.read_bytes() == before


# --- 2 and 3 -----------------------------------------------------------------------------------------------


def with_a_bug(shop: Shop, *arguments: str, env: dict[str, str] | None = None) -> Finished:
    """The command line as a child in which reading a lock fails as only a bug can."""
    code = (
        "import sys, gemmalock.codec.lock_json as lock_json\n"
        "def broken(*rest, **more):\n    raise ZeroDivisionError('the moon\\x1b[31m is full')\n"
        "lock_json.read_lock = broken\n"
        "from gemmalock.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    child = Gemmalock(shop.project.folder, (sys.executable, "-c", code))
    return child(*arguments, env=env)


@pytest.mark.parametrize("command", ["sync", "status", "list", "verify", "path gemma", "prune", "lock"])
def test_a_bug_of_ours_is_exit_code_3_with_a_file_to_report_and_no_traceback(
    shop: Shop, command: str, tmp_path: Path
) -> None:
    locked(shop)
    (tmp_path / "tmp").mkdir()
    done = with_a_bug(shop, *command.split(), "--json", env={"TMPDIR": str(tmp_path / "tmp")})
    assert done.code == 3
    assert report_problems(done.out) == []
    assert done.json()["exit_code"] == 3
    assert "Traceback" not in done.err
    assert "a bug in gemmalock: ZeroDivisionError" in done.err
    assert "\x1b" not in done.err
    (log,) = (tmp_path / "tmp").glob("gemmalock-*.log")
    assert str(log) in done.err
    assert "Traceback" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


def test_a_bug_where_nothing_can_be_written_is_still_told(shop: Shop) -> None:
    locked(shop)
    child = (
        "import sys, gemmalock.codec.lock_json as lock_json\n"
        "def broken(*rest, **more):\n    raise ZeroDivisionError('the moon')\n"
        "lock_json.read_lock = broken\nimport tempfile\ntempfile.tempdir = '/nonexistent'\n"
        "from gemmalock.cli import main\nmain(sys.argv[1:])\n"
    )
    done = Gemmalock(shop.project.folder, (sys.executable, "-c", child))("list")
    assert done.code == 3
    assert "a bug in gemmalock: ZeroDivisionError: the moon" in done.err
    assert "Traceback" not in done.err


def test_a_broken_installation_is_a_bug_and_no_traceback(shop: Shop, tmp_path: Path) -> None:
    """The schemas of the package cannot be read: what a half-copied installation looks like."""
    code = (
        "import sys, gemmalock.resources as resources\n"
        "from pathlib import Path\n"
        "for name in [name for name in vars(resources) if isinstance(getattr(resources, name), Path)]:\n"
        "    setattr(resources, name, Path('/nonexistent'))\n"
        "from gemmalock.cli import main\nmain(sys.argv[1:])\n"
    )
    done = Gemmalock(shop.project.folder, (sys.executable, "-c", code))("lock", "--json")
    assert done.code == 3, done.err
    assert report_problems(done.out) == []
    assert "Traceback" not in done.err


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interruption_outside_of_a_run_is_exit_code_2_and_no_traceback(shop: Shop, name: str) -> None:
    locked(shop)
    code = (
        "import os, signal, sys, gemmalock.codec.lock_json as lock_json\n"
        f"def interrupted(*rest, **more):\n    os.kill(os.getpid(), signal.{name})\n    signal.pause()\n"
        "lock_json.read_lock = interrupted\n"
        "from gemmalock.cli import main\nmain(sys.argv[1:])\n"
    )
    done = Gemmalock(shop.project.folder, (sys.executable, "-c", code))("list", "--json")
    assert done.code == 2, done.err
    assert report_problems(done.out) == []
    assert [error["code"] for error in done.json()["errors"]] == ["interrupted"]
    assert "Traceback" not in done.err


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    "moments",
    [
        ("gemmalock.cli.boundary",),
        ("gemmalock.cli.boundary", "gemmalock.cli.state"),
        ("gemmalock.cli.commands.sync_command",),
        ("gemmalock.app.syncing",),
        ("gemmalock.cli.commands.sync_command", "gemmalock.cli.page", "gemmalock.codec.report_json"),
    ],
)
def test_a_run_that_is_interrupted_while_it_loads_has_its_report(
    shop: Shop, name: str, moments: tuple[str, ...]
) -> None:
    code = (
        "import os, signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name in {moments!r}:\n            os.kill(os.getpid(), signal.{name})\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from gemmalock.cli import main\nmain(sys.argv[1:])\n"
    )
    done = Gemmalock(shop.project.folder, (sys.executable, "-c", code))("sync", "--json")
    assert done.code == 2, done.err
    assert report_problems(done.out) == []
    assert done.json()["exit_code"] == 2
    assert [error["code"] for error in done.json()["errors"]] == ["interrupted"]
    assert "Traceback" not in done.err
    assert not shop.project.lock.exists()


def test_an_interrupted_verify_is_exit_code_2(shop: Shop) -> None:
    synced(shop)
    code = (
        "import os, signal, sys, time, gemmalock.app.inspecting as inspecting\n"
        "def interrupted(node, sight):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(60)\n"
        "inspecting._verified = interrupted\n"
        "from gemmalock.cli import main\nmain(sys.argv[1:])\n"
    )
    done = Gemmalock(shop.project.folder, (sys.executable, "-c", code))("verify", "--json")
    assert done.code == 2, done.err
    assert done.json()["exit_code"] == 2


# --- what people see ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "lines"),
    [
        ([], ["DOWNLOADED  gemmalock.yaml::gemma::model.gguf", "LINKED  gemmalock.yaml::gemma::tokenizer.json", "== "]),
        (["-q"], ["..", "== "]),
        (["-qq"], []),
    ],
)
def test_quiet_takes_lines_away(shop: Shop, flags: list[str], lines: list[str]) -> None:
    locked(shop)
    done = shop.here("sync", *flags)
    assert done.code == 0
    found = done.out.splitlines()
    assert len(found) == len(lines)
    assert all(one.startswith(other) for one, other in zip(sorted(found), sorted(lines), strict=True))


@pytest.mark.parametrize("flags", [["-q"], ["-qq"], ["-qqq"]])
def test_errors_are_told_however_quiet_it_is(shop: Shop, flags: list[str]) -> None:
    gone_upstream(shop)
    done = shop.here("sync", *flags)
    assert done.code == 1
    assert "error: gemmalock.yaml::gemma::model.gguf: " in done.err
    assert "hint: " in done.err


def test_verbose_shows_what_is_up_to_date_and_digests(shop: Shop) -> None:
    synced(shop)
    done = shop.here("sync", "-v")
    assert [line.split("  ")[0] for line in done.out.splitlines()[4:-1]] == ["UP TO DATE", "UP TO DATE"]
    assert "sha256 " in done.out


def test_path_prints_bytes_that_are_no_utf_8_as_they_are(tmp_path: Path, gemmalock: Gemmalock) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    (folder / "served").mkdir()
    (folder / "served/m.bin").write_bytes(b"x")
    (folder / "gemmalock.yaml").write_text("version: 1\nmodels: {m: {source: 'file://served', files: [m.bin]}}\n")
    import subprocess

    for arguments in (["sync"], ["path", "m::m.bin"]):
        done = subprocess.run(
            gemmalock.command(*arguments), cwd=folder, env=environment({"LC_ALL": "C.UTF-8"}), capture_output=True
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout == os.fsencode(folder / "models/m/m.bin") + b"\n"
    assert Path(os.fsdecode(done.stdout.rstrip(b"\n"))).read_bytes() == b"x"


def test_names_with_controls_in_them_drive_no_terminal(shop: Shop) -> None:
    locked(shop)
    lock = json.loads(shop.project.lock.read_text())
    lock["manifests"][0]["models"][0]["license"] = "mit\u202egnol\u200b"
    shop.project.lock.write_text(json.dumps(lock))
    for flags in (["--color", "never"], ["--color", "always"]):
        done = shop.here("list", *flags)
        assert "\u202e" not in done.out + done.err
        assert "\u200b" not in done.out + done.err


def test_init_writes_once_and_keeps_the_root_out_of_git(here: Here, project: Project) -> None:
    (project.folder / ".gitignore").write_text("*.pyc")
    assert here("init").code == 0
    assert (project.folder / ".gitignore").read_text() == "*.pyc\n/models/\n"
    assert here("lock").code == 0
    before = project.manifest.read_bytes()
    done = here("init")
    assert done.code == 4
    assert "there is a `gemmalock.yaml` already" in done.err
    assert project.manifest.read_bytes() == before


@pytest.mark.parametrize("flags", [["--dry-run"], ["--check"]])
def test_what_would_be_done_is_a_line_a_file(shop: Shop, flags: list[str]) -> None:
    locked(shop)
    lines = shop.here("sync", *flags).out.splitlines()
    assert [line.split("  ")[:2] for line in lines[:-1]] == [
        ["WOULD DOWNLOAD", "gemmalock.yaml::gemma::model.gguf"],
        ["WOULD LINK", "gemmalock.yaml::gemma::tokenizer.json"],
    ]


def test_list_and_tree_show_licences_tags_and_sizes(shop: Shop) -> None:
    locked(shop)
    listed: Any = shop.report("list")
    assert listed["facts"]["models"][0] | {"name": "gemma", "tags": ["llm"], "files": 2} == listed["facts"]["models"][0]
    assert "1.4 MiB" in shop.here("list").out
    assert "#llm" in shop.here("list").out
    assert "model.gguf" in shop.here("tree").out

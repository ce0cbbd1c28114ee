"""What is answered without a look: letter by letter what the program says, and never where it would say otherwise."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from gemmalock import seal
from gemmalock.cli import quick
from tests.guard import CHECKOUT
from tests.running import Finished, Gemmalock, Project

#: A setting that says what is so anyway, and that only the program reads.
ASK_THE_PROGRAM = {"GEMMALOCK_TIMEOUT": "15"}
MEMBER = "version: 1\nmodels:\n  m:\n    source: file://weights\n    files: ['**']\n"
#: What nothing of may be loaded where there is nothing to do.
HEAVY = {"urllib3", "yaml", "jsonschema", "rich", "filelock", "click", "ruamel", "dataclasses", "pathlib", "socket"}


@pytest.fixture(autouse=True)
def _nobody_else_has_a_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("GEMMALOCK_TESTS_"):
            monkeypatch.delenv(name)


@pytest.fixture
def monorepo(project: Project, gemmalock: Gemmalock) -> Path:
    """A workspace that was synced: its root and two members, each with files of its own."""
    project.write_manifest('version: 1\nworkspace: {members: ["apps/*"]}\n')
    for member in ("apps/a", "apps/b"):
        weights = project.write_manifest(MEMBER, member).parent / "weights"
        (weights / "deep").mkdir(parents=True)
        (weights / "one.bin").write_text(f"{member} one")
        (weights / "deep/ü.bin").write_text(f"{member} two")
    (project.folder / "apps/none").mkdir()
    assert gemmalock("sync").code == 0
    return project.folder


def untimed(text: str) -> str:
    """What was said, but how long it took."""
    return re.sub(r"in \d+\.\d\ds ==", "in … ==", text)


COMMANDS = [
    ("sync",), ("sync", "--check"), ("sync", "--locked"), ("sync", "--locked", "--check"), ("sync", "--offline"),
    ("status",), ("lock", "--check"), ("path", "m::one.bin"), ("path", "m"), ("path", "absent"), ("--help",), ("-h",),
    ("sync", "--frozen"), ("sync", "."), ("path",), ("lock",), ("status", "--json"),
]  # fmt: skip


#: Those of them that need no program. Two members have a model `m`, so that its path is the program's to refuse.
QUICK = {
    ("sync",), ("sync", "--check"), ("sync", "--locked"), ("sync", "--locked", "--check"), ("sync", "--offline"),
    ("status",), ("lock", "--check"), ("--help",), ("-h",),
}  # fmt: skip


def answers_without_a_look(
    gemmalock: Gemmalock, folder: Path, command: tuple[str, ...], env: Mapping[str, str]
) -> bool:
    """Whether the program is not asked."""
    code = f"import os, sys\nfrom gemmalock.cli.quick import answer\nos._exit(answer({list(command)!r}) is None)"
    return replace(gemmalock, program=(sys.executable, "-c", code))(folder=folder, env=env).code == 0


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("colour", ["", "1"])
def test_the_quick_answer_is_that_of_the_program(
    monorepo: Path, gemmalock: Gemmalock, command: tuple[str, ...], colour: str
) -> None:
    env = {"FORCE_COLOR": colour} if colour else {}
    asked: Finished = gemmalock(*command, folder=monorepo, env={**ASK_THE_PROGRAM, **env})
    answered = gemmalock(*command, folder=monorepo, env=env)
    assert answers_without_a_look(gemmalock, monorepo, command, env) == (command in QUICK)
    assert answered.code == asked.code
    assert untimed(answered.err) == untimed(asked.err)
    if "--json" not in command:
        assert untimed(answered.out) == untimed(asked.out)


def test_the_help_that_is_written_out_is_the_help_of_the_program(gemmalock: Gemmalock) -> None:
    """Mend it by `GEMMALOCK_TIMEOUT=15 python -m gemmalock --help > gemmalock/cli/help.txt`."""
    asked = gemmalock("--help", env={**ASK_THE_PROGRAM, "COLUMNS": "200"})
    assert (CHECKOUT / "gemmalock/cli/help.txt").read_text("utf-8") == asked.out
    narrow = gemmalock("--help", env={"COLUMNS": "60"})
    assert (narrow.code, narrow.out == asked.out) == (0, False)


@pytest.mark.parametrize("command", [("sync",), ("status",), ("sync", "--check"), ("lock", "--check"), ("--help",),
                                     ("path", "m::one.bin")], ids=" ".join)  # fmt: skip
def test_nothing_heavy_is_loaded_where_there_is_nothing_to_do(
    project: Project, gemmalock: Gemmalock, command: tuple[str, ...]
) -> None:
    project.write_manifest(MEMBER)
    (project.folder / "weights").mkdir()
    (project.folder / "weights/one.bin").write_text("one")
    assert gemmalock("sync").code == 0
    code = (
        "import sys\nfrom gemmalock.cli import main\n"
        "try:\n    main()\nfinally:\n"
        f"    loaded = {{name.split('.')[0] for name in sys.modules}} & {HEAVY!r}\n"
        "    print(sorted(loaded), file=sys.stderr)\n"
    )
    watched = replace(gemmalock, program=(sys.executable, "-c", code))
    done = watched(*command)
    assert (done.code, done.err) == (0, "[]\n")


# --- a seal that does not hold -----------------------------------------------------------------------------


def _edit(name: str) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.write(b"\n")

    return edit


def _replaced_with_the_same_bytes(folder: Path) -> None:
    place = folder / "apps/a/models/m/one.bin"
    text = place.read_bytes()
    place.unlink()
    place.write_bytes(text)


def _swapped(folder: Path) -> None:
    a, b = folder / "apps/a/models/m/one.bin", folder / "apps/b/models/m/one.bin"
    a.rename(folder / "aside")
    b.rename(a)
    (folder / "aside").rename(b)


def _moved(folder: Path) -> None:
    (folder / "apps/a").rename(folder / "apps/c")


def _behind_a_link(folder: Path, name: str) -> None:
    (folder / name).rename(folder / "elsewhere")
    (folder / name).symlink_to(folder / "elsewhere")


def _linked(folder: Path) -> None:
    root = folder / "apps/a/models"
    root.rename(folder / "elsewhere")
    root.symlink_to(folder / "elsewhere")


MUTATIONS: dict[str, Callable[[Path], object]] = {
    "root manifest": _edit("gemmalock.yaml"),
    "member": _edit("apps/a/gemmalock.yaml"),
    "lock": _edit("gemmalock.lock"),
    "file replaced": lambda folder: _new(folder, "apps/a/models/m/one.bin"),
    "file gone": lambda folder: (folder / "apps/b/models/m/deep/ü.bin").unlink(),
    "file touched": lambda folder: os.utime(folder / "apps/a/models/m/one.bin", ns=(1, 1)),
    "same bytes, another file": _replaced_with_the_same_bytes,
    "two files swapped": _swapped,
    "stray": lambda folder: _new(folder, "apps/a/models/stray"),
    "stray below": lambda folder: _new(folder, "apps/b/models/m/deep/stray"),
    "empty folder": lambda folder: (folder / "apps/a/models/empty").mkdir(),
    "link as a stray": lambda folder: (folder / "apps/a/models/link").symlink_to("m/one.bin"),
    "a root that is a link": _linked,
    "a folder above a root that is a link": lambda folder: _behind_a_link(folder, "apps/a"),
    "a folder above members that is a link": lambda folder: _behind_a_link(folder, "apps"),
    "a member that is a virtual environment by now": lambda folder: _new(folder, "apps/a/pyvenv.cfg"),
    "a folder beside members that is a virtual environment": lambda folder: _new(folder, "apps/none/pyvenv.cfg"),
    "a root that is gone": lambda folder: shutil.rmtree(folder / "apps/b/models"),
    "ledger gone": lambda folder: (folder / "apps/b/models/.gemmalock/ledger.json").unlink(),
    "ledger written": lambda folder: os.utime(folder / "apps/b/models/.gemmalock/ledger.json", ns=(1, 1)),
    "settings": lambda folder: (folder / "gemmalock.toml").write_text("jobs = 3\n"),
    "other settings": lambda folder: (folder / "pyproject.toml").write_text("[tool.gemmalock]\nkeep = ['*']\n"),
    "new member": lambda folder: shutil.copytree(folder / "apps/a", folder / "apps/c"),
    "manifest in a folder that had none": lambda folder: _new(folder, "apps/none/gemmalock.yaml"),
    "member gone": lambda folder: shutil.rmtree(folder / "apps/a"),
    "member without manifest": lambda folder: (folder / "apps/a/gemmalock.yaml").unlink(),
    "member moved": _moved,
    "manifest above": lambda folder: _new(folder.parent, "gemmalock.yaml"),
    "seal cut": lambda folder: os.truncate(folder / "apps/a/models/.gemmalock/seal", 200),
    "seal gone": lambda folder: (folder / "apps/a/models/.gemmalock/seal").unlink(),
}


def _new(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_text("new")


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_seal_does_not_hold_once_anything_is_otherwise(monorepo: Path, name: str) -> None:
    assert seal.check(str(monorepo), os.environ) is not None
    MUTATIONS[name](monorepo)
    assert seal.check(str(monorepo), os.environ) is None


def test_every_byte_of_a_seal_counts(monorepo: Path) -> None:
    place = monorepo / "apps/a/models/.gemmalock/seal"
    text = place.read_bytes()
    for offset in range(0, len(text), 7):
        spoiled = bytearray(text)
        spoiled[offset] ^= 1
        place.write_bytes(spoiled)
        assert seal.check(str(monorepo), os.environ) is None, offset
    place.write_bytes(text)
    assert seal.check(str(monorepo), os.environ) is not None


def test_a_setting_of_the_environment_counts(monorepo: Path) -> None:
    assert seal.check(str(monorepo), os.environ) is not None
    assert seal.check(str(monorepo), {**os.environ, "GEMMALOCK_STORE": "elsewhere"}) is None


@pytest.mark.parametrize(
    ("flags", "sealed"),
    [
        ((), True),
        (("--locked",), True),
        (("--frozen",), False),
        (("--verify",), False),
        (("--no-prune",), False),
        (("--check",), False),
        (("--dry-run",), False),
        (("apps/a",), False),
        (("--link-mode", "symlink"), False),
    ],
)
def test_only_a_whole_plain_run_is_sealed(
    monorepo: Path, gemmalock: Gemmalock, flags: tuple[str, ...], sealed: bool
) -> None:
    (monorepo / "apps/a/models/.gemmalock/seal").unlink()
    if "symlink" in flags:
        shutil.rmtree(monorepo / "apps/b/models")
    assert gemmalock("sync", *flags, folder=monorepo).code == 0
    assert (monorepo / "apps/a/models/.gemmalock/seal").exists() == sealed


@pytest.mark.parametrize("settings", ["json = true\n", "verbose = 1\n", "check = true\n", "addopts = '-v'\n"])
def test_a_flag_in_the_settings_file_keeps_a_run_from_being_sealed(
    monorepo: Path, gemmalock: Gemmalock, settings: str
) -> None:
    (monorepo / "gemmalock.toml").write_text(settings)
    gemmalock("sync", folder=monorepo)
    assert seal.check(str(monorepo), os.environ) is None


def test_strays_that_stay_keep_a_run_from_being_sealed(monorepo: Path, gemmalock: Gemmalock) -> None:
    (monorepo / "gemmalock.toml").write_text("keep = ['stray']\n")
    (monorepo / "apps/a/models/stray").write_text("mine")
    assert gemmalock("sync", folder=monorepo).code == 0
    assert seal.check(str(monorepo), os.environ) is None


def test_a_terminal_that_cannot_take_the_letters_is_the_programs(monorepo: Path, gemmalock: Gemmalock) -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    told = gemmalock("status", folder=monorepo, env=ascii_only)
    assert (told.code, r"\xfc.bin" in told.out) == (0, True)


def test_an_answer_is_none_for_what_it_does_not_know() -> None:
    assert quick.answer([]) is None
    assert quick.answer(["sync", "--dry-run"]) is None
    assert quick.answer(["path", "a", "b"]) is None

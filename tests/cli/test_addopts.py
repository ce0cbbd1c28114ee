"""`addopts`: as if it were typed before the rest, for the commands that have the flag, never above what is typed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
import pytest

from gemmalock.cli.program import program
from gemmalock.cli.state import State
from tests.cli.conftest import Here, Shop
from tests.cli.test_flags import EVERY
from tests.running import Project


@pytest.fixture(autouse=True)
def _in_the_project(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write_manifest("version: 1\nmodels: {}\n")
    monkeypatch.chdir(project.folder)


def add(project: Project, value: str, folder: str = ".") -> None:
    """Write a settings file that says `addopts`."""
    place = project.folder / folder
    place.mkdir(exist_ok=True)
    (place / "gemmalock.toml").write_text(f"addopts = {value}\n")


def behind(*arguments: str) -> tuple[State, list[str]]:
    """The state, and the words that the last command of a line is given."""
    state = State()
    context, words = click.Context(program, obj=state), list(arguments)
    group: click.Command = program
    while isinstance(group, click.Group):
        context = group.make_context("gemmalock", words, parent=context)
        _, command, words = group.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        group = command
    return state, words


@pytest.mark.parametrize(
    ("addopts", "environment", "typed", "words"),
    [
        ("''", None, ["sync"], []),
        ("'--jobs 3'", None, ["sync"], ["--jobs", "3"]),
        ("'--jobs=3 -j4'", None, ["sync", "-j", "5"], ["--jobs", "3", "-j", "4", "-j", "5"]),
        ("'--jobs 3'", "--jobs 4", ["sync", "x"], ["--jobs", "3", "--jobs", "4", "x"]),
        ("'--jobs 3 --upgrade --color never'", None, ["lock"], ["--upgrade", "--color", "never"]),
        ("'--jobs 3'", None, ["status"], []),
        ("'-vqj4 --older-than 30d'", None, ["sync"], ["-v", "-q", "-j", "4"]),
        ("'-j4 --older-than 30d'", None, ["cache", "prune"], ["--older-than", "30d"]),
        ("['--upgrade-model', 'a b']", None, ["lock", "--upgrade-model", "c"],
         ["--upgrade-model", "a b", "--upgrade-model", "c"]),
    ],
)  # fmt: skip
def test_a_command_takes_its_flags_before_those_that_are_typed(
    addopts: str, environment: str | None, typed: list[str], words: list[str],
    project: Project, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    add(project, addopts)
    if environment is not None:
        monkeypatch.setenv("GEMMALOCK_ADDOPTS", environment)
    state, given = behind(*typed)
    assert given == words
    assert state.problems == ()


@pytest.mark.parametrize(
    ("arguments", "folder"), [(["-C", "sub", "list"], "sub"), (["list", "-C", "sub"], "sub"), (["list"], ".")]
)
def test_it_is_that_of_the_place_where_the_run_happens(arguments: list[str], folder: str, project: Project) -> None:
    add(project, "'--color never'")
    add(project, "'--color always'", "sub")
    project.write_manifest("version: 1\nmodels: {}\n", "sub")
    _, words = behind(*arguments)
    assert words[:2] == ["--color", {"sub": "always", ".": "never"}[folder]]


@pytest.mark.parametrize(
    ("environment", "before", "after", "color"),
    [
        (None, [], [], "never"),
        ("always", [], [], "never"),
        (None, ["--color", "always"], [], "always"),
        (None, [], ["--color", "always"], "always"),
    ],
)
def test_it_outweighs_twins_and_nothing_that_is_typed(
    environment: str | None, before: list[str], after: list[str], color: str,
    project: Project, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    add(project, "'--color never'")
    if environment is not None:
        monkeypatch.setenv("GEMMALOCK_COLOR", environment)
    state, words = behind(*before, "list", *after)
    dict(EVERY)[("list",)].make_context("list", words, parent=click.Context(program, obj=state))
    assert state.color == color


def test_flags_that_count_add_up(project: Project) -> None:
    add(project, "'-v'")
    state, words = behind("-v", "list", "-v")
    dict(EVERY)[("list",)].make_context("list", words, parent=click.Context(program, obj=state))
    assert state.verbosity == 3


def test_what_was_added_is_known_with_its_origin(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    add(project, "'--jobs 3 --offline'")
    monkeypatch.setenv("GEMMALOCK_ADDOPTS", "--limit-rate 20M")
    state, _ = behind("sync", "--jobs", "4")
    assert state.added == {
        "offline": "addopts in gemmalock.toml:1",
        "limit_rate": "addopts in environment GEMMALOCK_ADDOPTS",
    }


WRONG: Mapping[str, tuple[str, str]] = {
    "--jbos 3": ("no command has the flag `--jbos`", "did you mean `--jobs`?"),
    "-Z": ("no command has the flag `-Z`", "`gemmalock COMMAND --help` lists the flags of a command"),
    "-vZ": ("no command has the flag `-Z`", "`gemmalock COMMAND --help` lists the flags of a command"),
    "apps/chat": ("`apps/chat` is no flag", "`addopts` has flags only, and no selectors or names"),
    "--": ("`--` is no flag", "`addopts` has flags only, and no selectors or names"),
    "-C sub": ("`-C` has no place here", "give it on the command line"),
    "--help": ("`--help` has no place here", "give it on the command line"),
    "--jobs": ("`--jobs` needs a value", ""),
    "--check=yes": ("`--check` takes no value", ""),
    "--jobs many": ("`--jobs` must be a whole number of at least 1, not `many`", ""),
    "--color mauve": ("`--color`: 'mauve' is not one of 'auto', 'always', 'never'", ""),
}


@pytest.mark.parametrize("addopts", WRONG)
def test_what_is_wrong_with_it_is_told_with_its_place(here: Here, project: Project, addopts: str) -> None:
    add(project, f"'{addopts}'")
    message, hint = WRONG[addopts]
    done = here("status")
    assert done.code == 4
    assert done.err.splitlines()[0] == f"error: gemmalock.toml:1:1: `addopts`: {message}"
    assert (f"hint: {hint}" in done.err) or not hint


def test_all_that_is_wrong_is_told_with_the_settings_at_once(here: Here, project: Project) -> None:
    (project.folder / "gemmalock.toml").write_text("addopts = '--jbos 3 --jobs 0'\ntimeout = 0\n")
    done = here("sync", "--json")
    places = [error["place"] for error in done.json()["errors"]]
    assert places == ["gemmalock.toml:2:1", "gemmalock.toml:1:1", "gemmalock.toml:1:1"]


@pytest.mark.parametrize("command", [["sync", "--help"], ["--version"], ["init", "-C", "new"]])
def test_what_is_wrong_keeps_nobody_from_help_or_from_what_needs_no_setting(
    here: Here, project: Project, command: list[str]
) -> None:
    (project.folder / "new").mkdir()
    add(project, "'--jbos 3'")
    assert here(*command).code == 0


def test_it_acts_as_if_it_were_typed(shop: Shop) -> None:
    shop.here("lock")
    add(shop.project, "'--dry-run --json'")
    done = shop.here("sync")
    assert {file["outcome"] for file in done.json()["files"]} == {"planned"}


def test_a_flag_means_the_same_to_every_command() -> None:
    """Whether it takes a value: else the words of `addopts` could not be told apart for commands that lack a flag."""
    takes: dict[str, bool] = {}
    for names, command in EVERY:
        for option in command.params:
            if isinstance(option, click.Option) and option.name != "help":
                for spelling in (*option.opts, *option.secondary_opts):
                    assert takes.setdefault(spelling, option.is_flag or option.count) == (
                        option.is_flag or option.count
                    ), (names, spelling)


def test_without_it_no_other_command_is_loaded(here: Here, project: Project, tmp_path: Path) -> None:
    import subprocess
    import sys

    from tests.running import environment

    script = (
        "import sys\nfrom gemmalock.cli.boundary import run\nrun(sys.argv[1:])\n"
        "print(*sorted(name for name in sys.modules if name.startswith('gemmalock.cli')))"
    )
    for addopts, loads in (("", False), ("--jobs 3", True), ("--color never", False)):
        done = subprocess.run(
            [sys.executable, "-c", script, "tasks"], cwd=project.folder, capture_output=True, text=True,
            env=environment({"GEMMALOCK_ADDOPTS": addopts}), check=True,
        )  # fmt: skip
        assert ("gemmalock.cli.commands.sync_command" in done.stdout) is loads
        assert ("gemmalock.cli.addopts" in done.stdout) is bool(addopts)

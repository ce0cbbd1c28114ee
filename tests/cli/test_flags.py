"""Flags: their environment twins, their homes in a file, their weight, and the places where they may stand."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from gemmalock.cli.program import COMMANDS, program
from gemmalock.cli.state import State
from gemmalock.settings import Settings, load, load_settings
from gemmalock.settings.values import FLAGS
from tests.cli.conftest import Here, Shop
from tests.guard import CHECKOUT
from tests.running import Project

#: The flags that have no twin and no home in a file, and why.
BARE = {"help": "it ends the program", "version": "it ends the program"}
#: Those that have a twin and no home, and why.
HOMELESS = {"folder": "the file is looked for there"}
#: Required words, so that a command can be parsed.
WORDS = {"add": ["name", "source"], "each": ["lock"], "remove": ["name"], "path": ["name"], "export": ["json"]}
GLOBAL = {"folder", "quiet", "verbose", "color", "progress", "json", "plugin"}
SETTINGS = {field.name for field in dataclasses.fields(Settings)}


def every_command() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands, with their names from the top."""
    context = click.Context(program)
    yield (), program
    for name in COMMANDS:
        command = program.get_command(context, name)
        assert command is not None
        yield (name,), command
        if isinstance(command, click.Group):
            for below, child in command.commands.items():
                yield (name, below), child


EVERY = list(every_command())
OPTIONS = [
    pytest.param(names, option, id=" ".join([*names, max(option.opts, key=len)]))
    for names, command in EVERY
    for option in command.params
    if isinstance(option, click.Option) and option.name not in BARE
]


def twin_of(option: click.Option) -> str:
    """The environment twin of a flag: that of its longest spelling."""
    return "GEMMALOCK_" + max(option.opts, key=len).lstrip("-").replace("-", "_").upper()


def parsed(names: tuple[str, ...], *arguments: str, state: State | None = None) -> dict[str, Any]:
    """What a command line comes to: the flags of the command, and those of the state."""
    command = dict(EVERY)[names]
    state = State() if state is None else state
    with click.Context(program, obj=state) as parent:
        words = WORDS.get(names[0], []) if names else ["list"]
        context = command.make_context(names[-1] if names else "gemmalock", [*arguments, *words], parent=parent)
    names_told = ("folder", "verbosity", "color", "progress", "json", "plugin", "wishes")
    told = {name: getattr(state, name) for name in names_told}
    return context.params | told


@pytest.fixture(autouse=True)
def _in_the_project(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.folder / "sub").mkdir()
    project.write_manifest("version: 1\nmodels: {}\n")
    monkeypatch.chdir(project.folder)


def run_settings(flags: dict[str, Any]) -> Settings:
    """The settings that flags come to, without a file and an environment."""
    return load_settings(Path("/nonexistent"), {}, {name: value for name, value in flags.items() if name in SETTINGS})


def value_of(option: click.Option) -> str:
    """A value that a flag may have, and that is not its default."""
    if option.name == "folder":
        return "sub"
    if isinstance(option.type, click.Choice):
        return str(option.type.choices[-1])
    values = {"limit_rate": "20M", "older_than": "30d", "max_size": "5G", "upgrade_model": "gemma", "summary": "fE"}
    values |= {"exclude_newer": "2026-11-01", "minimum_age": "7d"}
    return values.get(option.name or "", "7")


@pytest.mark.parametrize(("names", "option"), OPTIONS)
def test_every_flag_has_an_environment_twin_that_says_the_same(
    names: tuple[str, ...], option: click.Option, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = [max(option.opts, key=len)] if option.is_flag or option.count else [option.opts[0], value_of(option)]
    by_flag = parsed(names, *typed)
    assert by_flag != parsed(names)
    value = "1" if option.is_flag or option.count else value_of(option)
    if option.name in SETTINGS:
        # It is read with all settings, and not by click.
        assert run_settings(by_flag) == load_settings(Path(), {twin_of(option): value}, {}) != Settings()
        return
    monkeypatch.setenv(twin_of(option), value)
    assert parsed(names) == by_flag


@pytest.mark.parametrize(("names", "option"), OPTIONS)
def test_every_flag_has_a_home_in_a_settings_file(
    names: tuple[str, ...], option: click.Option, project: Project
) -> None:
    if option.name in HOMELESS:
        return
    typed = [max(option.opts, key=len)] if option.is_flag or option.count else [option.opts[0], value_of(option)]
    by_flag = parsed(names, *typed)
    value = "1" if option.count else "true" if option.is_flag else f'"{value_of(option)}"'
    (project.folder / "gemmalock.toml").write_text(f"{(option.name or '').replace('_', '-')} = {value}\n")
    if option.name in SETTINGS:
        assert run_settings(by_flag) == load_settings(project.folder, {}, {}) != Settings()
        return
    assert option.name in FLAGS
    assert parsed(names) == by_flag


#: What a flag cannot be, where that is not `x`.
IMPOSSIBLE = {"keyword": "a and (", "tags": "a b", "summary": "fZ"}
#: Flags that may have any text.
ANY = {"deselect", "from", "junitxml", "output", "quant", "upgrade_model"}


@pytest.mark.parametrize(("names", "option"), OPTIONS)
def test_what_a_twin_cannot_be_is_told_as_what_a_file_cannot_say_with_its_place(
    names: tuple[str, ...], option: click.Option, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    if option.name not in FLAGS or option.name in ANY:
        return
    value, told = IMPOSSIBLE.get(option.name, "x"), option.name.replace("_", "-")
    (project.folder / "gemmalock.toml").write_text(f'{told} = "{value}"\n')
    (in_file,) = load(project.folder, {}, {}).problems
    (project.folder / "gemmalock.toml").unlink()
    unsaid = parsed(names)
    monkeypatch.setenv(twin_of(option), value)
    state = State()
    assert parsed(names, state=state) == unsaid
    assert (in_file.path, in_file.line, in_file.column) == ("gemmalock.toml", 1, 1)
    assert state.problems == (dataclasses.replace(in_file, path=twin_of(option), line=0, column=0),)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("keyword", "a and (", "`keyword` is no expression: expected a word, `not` or `(` at character 8"),
        ("tags", "a b", "`tags` is no expression: expected `and`, `or` or the end at character 3"),
        ("maxfail", "many", "`maxfail` must be a whole number of at least 0, not `many`"),
        ("junitxml", "sub", "`--junitxml` must be a file, and `{folder}/sub` is a folder"),
    ],
)
def test_a_run_says_which_place_says_what_cannot_be(
    here: Here, project: Project, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    message = message.format(folder=project.folder)
    (project.folder / "gemmalock.toml").write_text(f"jobs = 3\n{name} = {value!r}\n")
    done = here("sync")
    assert (done.code, done.err.splitlines()[0]) == (4, f"error: gemmalock.toml:2:1: {message}")
    (project.folder / "gemmalock.toml").unlink()
    twin = f"GEMMALOCK_{name.upper()}"
    monkeypatch.setenv(twin, value)
    done = here("sync")
    assert (done.code, done.err.splitlines()[0]) == (4, f"error: {twin}: {message}")
    if name in IMPOSSIBLE:
        assert done.err.splitlines()[1:3] == [f"  | {value}", f"  | {' ' * (int(message.split()[-1]) - 1)}^"]


def test_all_that_twins_cannot_be_is_told_at_once(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMMALOCK_COLOR", "GEMMALOCK_CHECK", "GEMMALOCK_JOBS"):
        monkeypatch.setenv(name, "mauve")
    errors = here("sync", "--json").json()["errors"]
    assert [error["place"] for error in errors] == ["GEMMALOCK_JOBS", "GEMMALOCK_COLOR", "GEMMALOCK_CHECK"]


def test_a_twin_that_cannot_be_keeps_no_command_from_its_work_that_does_not_go_by_it(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMMALOCK_COLOR", "mauve")
    monkeypatch.setenv("GEMMALOCK_KEYWORD", "a and (")
    assert here("init", "-C", "sub").code == 0
    assert "error: 2 settings cannot be" in here("list", "--catalogue").err


def test_a_list_in_a_twin_has_commas_or_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("a,b", "a b", "a, b"):
        monkeypatch.setenv("GEMMALOCK_DESELECT", value)
        assert parsed(("sync",))["deselect"] == ("a", "b")


def test_a_file_knows_no_flag_that_the_command_line_does_not() -> None:
    known = {option.name for _, command in EVERY for option in command.params}
    assert set(FLAGS) <= known


GUIDE = (CHECKOUT / "docs/settings.md").read_text("utf-8")


def table_of(heading: str) -> list[list[str]]:
    """The rows of the guide's table below a heading, as cells."""
    part = GUIDE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_guide_has_every_setting_with_its_flag() -> None:
    flags = {option.name: option.opts for _, command in EVERY for option in command.params}
    wanted = [
        [f"`{field.name.replace('_', '-')}`", ", ".join(f"`{name}`" for name in flags.get(field.name, []))]
        for field in dataclasses.fields(Settings)
    ]
    assert [row[:2] for row in table_of("The settings")] == wanted


def test_the_guide_has_every_flag_with_its_commands_its_home_and_its_twin() -> None:
    leaves = [(" ".join(names), command) for names, command in EVERY if not isinstance(command, click.Group)]
    wanted: dict[str, list[str]] = {}
    for option in (param.values[1] for param in OPTIONS):
        assert isinstance(option, click.Option)
        if option.name in SETTINGS or option.name is None or option.name in wanted:
            continue
        of = [name for name, command in leaves if any(each.name == option.name for each in command.params)]
        wanted[option.name] = [
            ", ".join(f"`{name}`" for name in option.opts),
            "every command" if len(of) == len(leaves) else ", ".join(f"`{name}`" for name in of),
            option.name.replace("_", "-"),
            f"`{twin_of(option)}`",
        ]
    found = table_of("The flags that are no settings")
    for row in found:
        row[2] = "folder" if row[2].startswith("no place") else row[2].strip("`").partition(" = ")[0]
    assert sorted(row[:4] for row in found) == sorted(wanted.values())
    for name in BARE:
        assert f"`--{name}`" in GUIDE


def test_what_the_guide_writes_into_a_file_can_be_read(project: Project) -> None:
    lines = [row[2].strip("`") for row in table_of("The flags that are no settings") if "=" in row[2]]
    (project.folder / "gemmalock.toml").write_text("\n".join(lines))
    assert load_settings(project.folder, {}, {}) == Settings()
    for number, block in enumerate(GUIDE.split("```toml\n")[1:]):
        text = block.partition("```")[0]
        name = "pyproject.toml" if "\n[tool." in f"\n{text}" else "gemmalock.toml"
        folder = project.folder / str(number)
        folder.mkdir()
        (folder / name).write_text(text)
        assert load_settings(folder, {}, {}) != Settings()


def test_every_command_has_help_and_says_in_a_line_what_it_does() -> None:
    for names, command in EVERY:
        assert command.help, names
        for option in command.params:
            assert not isinstance(option, click.Option) or option.help, (names, option.name)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_ends_well_and_touches_nothing(here: Here, name: str, project: Project) -> None:
    before = sorted(project.folder.rglob("*"))
    done = here(name, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: gemmalock {name}")
    assert sorted(project.folder.rglob("*")) == before


def test_help_of_the_program_lists_every_command(here: Here) -> None:
    done = here("--help")
    assert done.code == 0
    for name, says in COMMANDS.items():
        assert any(line.split() == [name, *says.split()] for line in done.out.splitlines())


def test_the_version_is_printed(here: Here) -> None:
    import gemmalock

    assert here("--version").out == f"gemmalock {gemmalock.__version__}\n"


# --- weight and place --------------------------------------------------------------------------------------


def state_of(*arguments: str) -> State:
    """What the whole command line says globally: parsed as the program parses it, and `list` not run."""
    state = State()
    with click.Context(program, obj=state):
        top = program.make_context("gemmalock", list(arguments), obj=state)
        with top:
            name, command, rest = program.resolve_command(top, [*top._protected_args, *top.args])
            assert command is not None
            command.make_context(name, rest, parent=top)
    return state


@pytest.mark.parametrize(
    ("file", "environment", "before", "after", "color"),
    [
        (None, None, None, None, "auto"),
        ("never", None, None, None, "never"),
        ("never", "always", None, None, "always"),
        ("never", "always", "never", None, "never"),
        ("never", "always", None, "never", "never"),
        (None, "always", "never", None, "never"),
        (None, None, "always", "never", "never"),
        ("always", None, "never", None, "never"),
        ("always", None, None, "never", "never"),
    ],
)
def test_what_is_typed_last_outweighs_what_is_typed_first_and_that_the_environment_and_that_a_file(
    file: str | None, environment: str | None, before: str | None, after: str | None, color: str,
    project: Project, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if file is not None:
        (project.folder / "pyproject.toml").write_text(f'[tool.gemmalock]\ncolor = "{file}"\n')
    if environment is not None:
        monkeypatch.setenv("GEMMALOCK_COLOR", environment)
    typed = [*(["--color", before] if before else []), "list", *(["--color", after] if after else [])]
    assert state_of(*typed).color == color


@pytest.mark.parametrize(
    ("arguments", "environment", "verbosity"),
    [
        (["list"], {}, 0),
        (["-v", "list"], {}, 1),
        (["list", "-vv"], {}, 2),
        (["-v", "list", "-v"], {}, 2),
        (["-q", "list", "-v"], {}, 0),
        (["-qq", "list"], {}, -2),
        (["list"], {"GEMMALOCK_VERBOSE": "2"}, 2),
        (["list"], {"GEMMALOCK_QUIET": "1"}, -1),
        (["-v", "list"], {"GEMMALOCK_VERBOSE": "2"}, 1),
        (["list", "-v"], {"GEMMALOCK_VERBOSE": "2"}, 1),
    ],
)
def test_q_and_v_add_up_and_outweigh_their_twins(
    arguments: list[str], environment: dict[str, str], verbosity: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert state_of(*arguments).verbosity == verbosity


@pytest.mark.parametrize(
    ("arguments", "environment", "folder"),
    [
        (["-C", "a", "list"], None, "a"),
        (["list", "-C", "a"], None, "a"),
        (["-C", "a", "list", "-C", "b"], None, "a/b"),
        (["list"], "a", "a"),
        (["-C", "other", "list"], "a", "other"),
        (["list", "-C", "other"], "a", "other"),
        (["list", "--directory", "a/b"], None, "a/b"),
    ],
)
def test_c_may_stand_before_and_after_the_command_and_adds_up_as_in_git(
    arguments: list[str], environment: str | None, folder: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.folder / "a/b").mkdir(parents=True)
    (project.folder / "other").mkdir()
    if environment is not None:
        monkeypatch.setenv("GEMMALOCK_DIRECTORY", environment)
    assert state_of(*arguments).folder == Path(folder)


@pytest.mark.parametrize(
    "arguments", [["-C", "nowhere", "list"], ["list", "-C", "nowhere"], ["-C", "sub", "list", "-C", "x"]]
)
def test_c_of_no_folder_is_a_usage_error(here: Here, arguments: list[str]) -> None:
    done = here(*arguments)
    assert done.code == 4
    assert "is not a folder" in done.err


@pytest.mark.parametrize("place", ["before", "after", "environment", "file"])
def test_json_is_had_from_anywhere(shop: Shop, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.here("lock")
    if place == "environment":
        monkeypatch.setenv("GEMMALOCK_JSON", "1")
    if place == "file":
        (shop.project.folder / "gemmalock.toml").write_text("json = true\n")
    done = shop.here(
        *(["--json", "list"] if place == "before" else ["list", "--json"] if place == "after" else ["list"])
    )
    assert done.json()["command"] == "list"


def test_a_flag_of_a_settings_file_acts_as_if_it_were_typed(shop: Shop) -> None:
    shop.here("lock")
    (shop.project.folder / "gemmalock.toml").write_text("dry-run = true\n")
    assert {file["outcome"] for file in shop.report("sync")["files"]} == {"planned"}


def test_a_flag_of_the_environment_acts_as_if_it_were_typed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.here("lock")
    monkeypatch.setenv("GEMMALOCK_CHECK", "yes")
    assert {file["outcome"] for file in shop.report("sync", code=1)["files"]} == {"planned"}
    monkeypatch.setenv("GEMMALOCK_CHECK", "perhaps")
    assert shop.here("sync").code == 4


def test_a_broken_settings_file_keeps_nobody_from_help_and_stops_a_run(shop: Shop) -> None:
    (shop.project.folder / "gemmalock.toml").write_text("jobs = \n")
    assert shop.here("sync", "--help").code == 0
    done = shop.here("sync")
    assert done.code == 4
    assert "gemmalock.toml:1:8: is not TOML" in done.err


def test_an_error_comes_before_its_hint(shop: Shop) -> None:
    (shop.project.folder / "gemmalock.toml").write_text("jbos = 3\n")
    done = shop.here("sync")
    assert done.err.splitlines() == [
        "error: gemmalock.toml:1:1: unknown setting `jbos`",
        "hint: did you mean `jobs`?",
    ]


def test_settings_are_read_where_the_project_is(shop: Shop, tmp_path: Path) -> None:
    shop.here("lock")
    (shop.project.folder / "gemmalock.toml").write_text("dry-run = true\noffline = true\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.chdir(elsewhere)
    found = shop.report("-C", str(shop.project.folder), "sync", code=1)
    assert {file["outcome"] for file in found["files"]} <= {"planned", "failed"}


def test_commands_about_the_store_do_not_walk_what_is_below(here: Here, project: Project) -> None:
    project.manifest.unlink()
    for name in ("a", "b"):
        project.write_manifest("version: 1\nmodels: {}\n", name)
    for command in (["tasks"], ["cache", "dir"], ["cache", "size"]):
        assert here(*command).code == 0

"""On GitHub: errors and warnings as annotations, where they belong, and nothing else that a runner would obey."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.cli.annotations import Annotations, Place, workflow_command
from gemmalock.escaping import escaped
from gemmalock.outcome import ErrorNote, ExitCode, Report
from tests.cli.conftest import Shop
from tests.cli.test_closing import REPORT
from tests.cli.test_loudness import MODEL, failed
from tests.running import Gemmalock

#: As the runner reads a command: its name, its properties, its message.
COMMAND = re.compile(r"::(?P<name>[a-z]+) (?P<properties>[^\n]*?)::(?P<message>[^\n]*)")


def unescaped(text: str, *, in_property: bool = False) -> str:
    """What the runner makes of an escaped text."""
    pairs = [("%0D", "\r"), ("%0A", "\n"), *([("%3A", ":"), ("%2C", ",")] if in_property else []), ("%25", "%")]
    for escape, meant in pairs:
        text = text.replace(escape, meant)
    return text


def obeyed(text: str) -> list[tuple[str, dict[str, str], str]]:
    """The commands in what was printed: name, properties, message."""
    found = []
    for line in text.splitlines():
        if not line.startswith("::"):
            assert "##[" not in line
            continue
        match = COMMAND.fullmatch(line)
        assert match is not None, line
        pairs = (pair.partition("=") for pair in match["properties"].split(","))
        properties = {name: unescaped(value, in_property=True) for name, _, value in pairs}
        found.append((match["name"], properties, unescaped(match["message"])))
    return found


@pytest.fixture
def on_github(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The shop in a checkout of a repository, on a runner."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(shop.project.folder.parent))
    return shop


# --- a command ---------------------------------------------------------------------------------------------


@given(st.text(), st.text(), st.text(min_size=1))
def test_a_command_is_one_line_that_says_what_was_meant(message: str, title: str, file: str) -> None:
    (command,) = obeyed(workflow_command("error", f"t{title}", message, Place(f"f{file}", 3, 5)))
    shown = {"file": escaped(f"f{file}".replace("\n", "␤")), "title": escaped(f"t{title}".replace("\n", "␤"))}
    told = {name: value.replace("\n", "␤") for name, value in command[1].items()}
    assert told == shown | {"line": "3", "col": "5"}
    assert command[2] == "\n".join(escaped(line) for line in message.split("\n"))


def test_the_escapes_are_those_of_the_runner() -> None:
    line = workflow_command("error", "a,b:c%", "100%\r\n::add-mask::x\n##[set-env]", Place("x,y.yaml", 1))
    assert line == (
        "::error file=x%2Cy.yaml,line=1,title=a%2Cb%3Ac%25::100%25\\u000d%0A::add-mask::x%0A##\\u005bset-env]"
    )


# --- where things are --------------------------------------------------------------------------------------


def test_a_failed_file_is_told_at_its_model(tmp_path: Path) -> None:
    (tmp_path / "apps").mkdir()
    (tmp_path / "apps/gemmalock.yaml").write_text("version: 1\nmodels:\n  first:\n    files: []\n  gemma: {}\n")
    (line,) = Annotations(tmp_path / "apps", tmp_path).of(Report("sync", ExitCode.FAILED, (failed("a", "m", "h"),)))
    assert obeyed(line) == [
        (
            "error",
            {"file": "apps/gemmalock.yaml", "line": "5", "col": "3", "title": "gemma::a"},
            "m\nhint: h",
        )
    ]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("version: 1\nmodels: {}\n", {"file": "gemmalock.yaml"}),
        ("{[", {"file": "gemmalock.yaml"}),
        ("[1]", {"file": "gemmalock.yaml"}),
        ("models: 3", {"file": "gemmalock.yaml"}),
        (None, {}),
    ],
)
def test_where_the_model_is_not_to_be_found_the_manifest_has_to_do(
    tmp_path: Path, text: str | None, place: dict[str, str]
) -> None:
    if text is not None:
        (tmp_path / "gemmalock.yaml").write_text(text)
    (line,) = Annotations(tmp_path, tmp_path).of(Report("sync", ExitCode.FAILED, (failed("a", "m"),)))
    assert obeyed(line)[0][1] == place | {"title": "gemma::a"}


def test_without_a_manifest_the_lock_has_to_do(tmp_path: Path) -> None:
    (tmp_path / "gemmalock.lock").write_text("{}")
    (line,) = Annotations(tmp_path, tmp_path).of(Report("sync", ExitCode.FAILED, (failed("a", "m"),)))
    assert obeyed(line)[0][1]["file"] == "gemmalock.lock"


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("gemmalock.yaml:12:5", {"file": "gemmalock.yaml", "line": "12", "col": "5"}),
        ("gemmalock.yaml", {"file": "gemmalock.yaml"}),
        ("GEMMALOCK_JOBS", {}),
        ("--jobs", {}),
        ("", {}),
    ],
)
def test_an_error_is_told_at_its_place_if_that_is_in_a_file(tmp_path: Path, place: str, told: dict[str, str]) -> None:
    (tmp_path / "gemmalock.yaml").write_text("")
    report = Report("lock", ExitCode.USAGE, errors=(ErrorNote("manifest", "wrong", place=place),))
    (line,) = Annotations(tmp_path, tmp_path).of(report)
    assert obeyed(line) == [("error", told | {"title": "gemmalock lock"}, "wrong")]


def test_warnings_are_told_and_an_interruption_is_not(tmp_path: Path) -> None:
    errors = (ErrorNote("interrupted", "interrupted"),)
    report = Report("sync", ExitCode.INTERRUPTED, errors=errors, warnings=("it rains",))
    annotations = Annotations(tmp_path, tmp_path)
    assert obeyed("\n".join(annotations.of(report))) == [("warning", {"title": "gemmalock sync"}, "it rains")]
    assert list(annotations.of(report, warnings=False)) == []


def test_a_project_outside_of_the_checkout_is_named_in_full(tmp_path: Path) -> None:
    (tmp_path / "gemmalock.yaml").write_text("")
    (line,) = Annotations(tmp_path, tmp_path / "elsewhere").of(Report("sync", ExitCode.FAILED, (REPORT.files[3],)))
    assert obeyed(line)[0][1]["file"] == str(tmp_path.resolve() / "gemmalock.yaml")


# --- runs --------------------------------------------------------------------------------------------------


def test_a_failed_file_annotates_the_run(on_github: Shop) -> None:
    on_github.here("lock")
    del on_github.server.files["/model.gguf"]
    done = on_github.here("sync")
    assert obeyed(done.out) == []
    ((name, properties, message),) = obeyed(done.err)
    assert name == "error"
    assert properties == {"file": "project/gemmalock.yaml", "line": "3", "col": "3", "title": "gemma::model.gguf"}
    assert f"error: {MODEL}: {message.splitlines()[0]}" in done.err


def test_every_problem_of_a_manifest_is_told_where_it_is(on_github: Shop) -> None:
    on_github.project.write_manifest("version: 1\nmodles: {}\nroot: ../out\n")
    places = [(each["file"], each["line"], each["col"]) for _, each, _ in obeyed(on_github.here("sync").err)]
    assert places == [("project/gemmalock.yaml", "2", "1"), ("project/gemmalock.yaml", "3", "7")]


def test_with_json_nothing_but_the_report_is_on_standard_output(on_github: Shop) -> None:
    on_github.project.write_manifest("version: 1\nmodles: {}\n")
    done = on_github.here("lock", "--json")
    assert done.json()["exit_code"] == 4
    assert len(obeyed(done.err)) == 1


@pytest.mark.parametrize(("flags", "count"), [([], 1), (["-q"], 1), (["-qq"], 0)])
def test_warnings_are_annotations_unless_nobody_wants_to_hear_them(
    on_github: Shop, flags: list[str], count: int
) -> None:
    on_github.here("sync")
    on_github.declare("model.gguf")
    told = obeyed(on_github.here("status", *flags).err)
    assert len([each for each in told if each[0] == "warning"]) == (len(told) if count else 0)
    assert bool(told) == bool(count)


@pytest.mark.parametrize("value", ["", "false"])
def test_elsewhere_there_are_none(on_github: Shop, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", value)
    on_github.project.write_manifest("version: 1\nmodles: {}\n")
    assert obeyed(on_github.here("lock").err) == []


def test_a_run_in_which_nothing_is_wrong_says_what_it_says_elsewhere(on_github: Shop, gemmalock: Gemmalock) -> None:
    """Also where it is answered before anything is loaded."""
    assert on_github.here("sync").err == ""
    done = gemmalock("sync")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"== 2 up to date in \d+\.\d\ds ==\n", done.out)


def test_each_project_is_annotated_by_its_own_errors_and_no_more(on_github: Shop) -> None:
    subprocess.run(["git", "init", "-q"], cwd=on_github.project.folder, check=True)
    for folder in ("a", "b"):
        on_github.project.write_manifest("version: 1\nmodles: {}\n", folder)
    on_github.project.manifest.unlink()
    subprocess.run(["git", "add", "."], cwd=on_github.project.folder, check=True)
    done = on_github.here("each", "lock")
    assert done.code == 4
    files = [properties["file"] for _, properties, _ in obeyed(done.err)]
    assert files == ["project/a/gemmalock.yaml", "project/b/gemmalock.yaml"]


def test_what_the_demo_lets_fail_annotates_no_run(gemmalock: Gemmalock) -> None:
    done = gemmalock("demo", env={"GITHUB_ACTIONS": "true"})
    assert done.code == 0
    assert obeyed(done.out + done.err) == []

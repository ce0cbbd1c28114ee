"""A run about several projects: one command line in each, one end of all."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import gemmalock
from gemmalock.codec.report_json import report_problems
from gemmalock.collect import SeveralProjects
from tests.cli.conftest import Here
from tests.running import Gemmalock, Project
from tests.servers.fileserver import Content, FileServer

FILES = {"/a.gguf": b"a" * 10, "/b.gguf": b"b" * 20, "/c.gguf": b"c" * 30}


@dataclass(frozen=True, slots=True)
class Yard:
    """A folder without a manifest, and below it `apps/a`, `apps/b` and `apps/c`, each a project with a file."""

    folder: Path
    server: FileServer
    here: Here

    def declare(self, name: str, model: str = "", more: str = "") -> None:
        """Write the manifest of `apps/<name>`."""
        text = (
            f"version: 1\nmodels:\n  {model or name}:\n    files: [{{url: {self.server.origin}/{name}.gguf}}]\n{more}"
        )
        place = self.folder / "apps" / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "gemmalock.yaml").write_text(text)

    def declare_two(self, name: str) -> None:
        """The same with a second file, `two.gguf`."""
        self.server.put("/two.gguf", Content(b"2", repr_digest=True))
        urls = (f"{self.server.origin}/{file}.gguf" for file in (name, "two"))
        files = ", ".join(f"{{url: {url}}}" for url in urls)
        self.write(f"apps/{name}/gemmalock.yaml", f"version: 1\nmodels:\n  {name}:\n    files: [{files}]\n")

    def write(self, name: str, text: str = "") -> Path:
        """Write a file, and make its folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def report(self, *arguments: str, code: int = 0) -> Any:
        """The report of a command, which fits its schema and has the exit code of the process."""
        done = self.here(*arguments, "--json")
        assert done.code == code, (done.out, done.err)
        assert report_problems(done.out) == []
        assert done.json()["exit_code"] == code
        return done.json()


@pytest.fixture
def yard(project: Project, here: Here) -> Iterator[Yard]:
    """Three projects that are declared, and not yet locked."""
    # Their digests are published: `lock` fetches nothing.
    with FileServer({name: Content(body, repr_digest=True) for name, body in FILES.items()}) as server:
        made = Yard(project.folder, server, here)
        for name in "abc":
            made.declare(name)
        yield made


@pytest.fixture
def synced(yard: Yard) -> Yard:
    """The same, in sync."""
    assert yard.here("sync").code == 0
    return yard


def ids(report: Any) -> list[str]:
    return [file["id"] for file in report["files"]]


def ends(report: Any) -> list[tuple[str, int]]:
    return [(end["folder"], end["exit_code"]) for end in report["facts"]["projects"]]


def id_of(name: str) -> str:
    return f"apps/{name}/gemmalock.yaml::{name}::{name}.gguf"


# --- what is said ------------------------------------------------------------------------------------------


def test_every_project_is_synced_and_one_line_adds_them_up(yard: Yard) -> None:
    done = yard.here("sync")
    assert (done.code, done.err) == (0, "")
    *lines, summary = done.out.splitlines()
    assert lines == [f"DOWNLOADED  {id_of(name)}  {size} B fetched" for name, size in (("a", 10), ("b", 20), ("c", 30))]
    assert summary.startswith("== 3 downloaded, 3 locks written in ")
    for name in "abc":
        assert (yard.folder / f"apps/{name}/models/{name}/{name}.gguf").read_bytes() == FILES[f"/{name}.gguf"]
        assert (yard.folder / f"apps/{name}/gemmalock.lock").exists()
    assert not (yard.folder / "gemmalock.lock").exists()


def test_a_heading_names_each_project_for_those_who_ask_for_more(synced: Yard) -> None:
    assert "#" not in synced.here("sync").out + synced.here("status").out
    told = synced.here("sync", "-v").out.splitlines()
    assert [line for line in told if line.startswith("#")] == ["# apps/a", "# apps/b", "# apps/c"]
    assert told[-2].startswith(f"UP TO DATE  {id_of('c')}")


@pytest.mark.parametrize(
    ("command", "line", "summary"),
    [
        ("sync", "", "== 3 up to date in "),
        ("status", f"UP TO DATE  {id_of('a')}  10 B  in place", "== 3 up to date in "),
        ("verify", f"VERIFIED  {id_of('b')}  20 B", "== 3 verified in "),
        ("list", f"{id_of('c')}  30 B", ""),
        ("tree", "apps/b/gemmalock.yaml\n└── b  20 B", ""),
        ("lock", "", "== 3 unchanged in "),
        ("lock --check", "", "== nothing to do in "),
        ("lock --upgrade", "", "== 3 unchanged in "),
        ("outdated", "", "== 3 up to date in "),
        ("prune", "", "== nothing to do in "),
        ("list --co", "apps/a/gemmalock.yaml\n  ::a  10 B\n", "== 3 files, 60 B collected =="),
    ],
)
def test_a_command_about_files_is_about_those_of_all(synced: Yard, command: str, line: str, summary: str) -> None:
    done = synced.here(*command.split())
    assert (done.code, done.err) == (0, "")
    assert line in done.out
    assert [told for told in done.out.splitlines() if told.startswith("==")] == [
        told for told in done.out.splitlines()[-1:] if summary
    ]
    assert done.out.splitlines()[-1].startswith(summary)


@pytest.mark.parametrize("command", ["add x https://h.example/x", "remove a", "path a", "export json", "diff"])
def test_a_command_that_needs_one_project_says_which_there_are(synced: Yard, command: str) -> None:
    done = synced.here(*command.split())
    assert done.code == 4
    assert "more than one project is meant" in done.err
    assert "`apps/a/gemmalock.yaml`, `apps/b/gemmalock.yaml`, `apps/c/gemmalock.yaml`" in done.err


def test_a_library_call_is_about_one_project(synced: Yard) -> None:
    with pytest.raises(SeveralProjects, match="more than one project"):
        gemmalock.sync(synced.folder)


# --- the report --------------------------------------------------------------------------------------------


def test_there_is_one_report_that_names_all_from_where_it_began(yard: Yard) -> None:
    report = yard.report("sync")
    assert (report["command"], report["lock"]) == ("sync", None)
    assert ids(report) == [id_of(name) for name in "abc"]
    assert [file["path"] for file in report["files"]] == [f"apps/{name}/models/{name}/{name}.gguf" for name in "abc"]
    assert (report["summary"]["done"], report["summary"]["bytes_fetched"]) == (3, 60)
    assert report["facts"]["projects"] == [
        {"folder": f"apps/{name}", "exit_code": 0, "lock": {"path": f"apps/{name}/gemmalock.lock", "changed": True}}
        for name in "abc"
    ]


def test_one_project_keeps_its_own_report(synced: Yard) -> None:
    report = synced.report("-C", "apps/a", "sync")
    assert report["lock"] == {"path": "gemmalock.lock", "changed": False}
    assert ids(report) == ["gemmalock.yaml::a::a.gguf"]
    assert report["facts"] == {}


def test_what_is_collected_moved_and_pruned_is_named_from_there_too(synced: Yard) -> None:
    assert synced.report("list", "--co")["facts"]["collected"] == [id_of(name) for name in "abc"]
    synced.server.put("/b.gguf", b"B" * 21)
    moved = synced.report("outdated", "--check", code=1)
    assert moved["facts"]["changed"] == [id_of("b")]
    assert [model["id"] for model in moved["facts"]["difference"]["models"]] == ["apps/b/gemmalock.yaml::b"]
    assert "apps/b/gemmalock.yaml::b" in synced.here("outdated").out
    synced.write("apps/c/models/stray", "x")
    assert [gone["path"] for gone in synced.report("prune", "--dry-run")["pruned"]] == ["apps/c/models/stray"]
    assert "1 pruned" in synced.here("sync").out
    assert not (synced.folder / "apps/c/models/stray").exists()


def test_events_name_files_from_where_the_run_began(yard: Yard) -> None:
    told = yard.here("sync", "--progress", "json").err.splitlines()
    finished = [event["id"] for event in map(json.loads, told) if event["event"] == "finished"]
    assert finished == [id_of(name) for name in "abc"]


def test_a_junit_file_has_the_cases_of_all(yard: Yard) -> None:
    assert yard.here("sync", "--junitxml", "report.xml").code == 0
    text = (yard.folder / "report.xml").read_text()
    assert 'tests="3"' in text
    assert 'classname="apps/c/gemmalock.yaml::c"' in text
    assert list(yard.folder.glob("apps/*/report.xml")) == []


def test_an_annotation_stands_in_the_manifest_of_its_project(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(yard.folder))
    assert yard.here("lock").code == 0
    del yard.server.files["/b.gguf"]
    lines = [line for line in yard.here("sync").err.splitlines() if line.startswith("::")]
    assert len(lines) == 1
    assert lines[0].startswith("::error file=apps/b/gemmalock.yaml,line=3,")


# --- one of them is otherwise ------------------------------------------------------------------------------


def test_a_broken_manifest_is_told_with_its_file_and_the_others_are_synced(yard: Yard) -> None:
    yard.declare("b", more="nonsense: 1\n")
    done = yard.here("sync")
    assert done.code == 4
    assert "apps/b/gemmalock.yaml:5:1: unknown key `nonsense`\n  | nonsense: 1\n" in done.err
    assert done.err.count("nonsense`") == 1
    assert done.err.endswith("error: apps/b: `gemmalock.yaml` has a problem\n")
    assert done.out.splitlines()[-1].startswith("== 2 downloaded, 1 error, 2 locks written in ")
    report = yard.report("sync", code=4)
    assert [error["place"] for error in report["errors"]] == ["apps/b/gemmalock.yaml:5:1"]
    assert ends(report) == [("apps/a", 0), ("apps/b", 4), ("apps/c", 0)]
    assert ids(report) == [id_of("a"), id_of("c")]


def test_a_broken_setting_is_told_with_its_file(yard: Yard) -> None:
    yard.write("apps/a/gemmalock.toml", "jobs = 'many'\n")
    report = yard.report("sync", code=4)
    assert [error["place"] for error in report["errors"]] == ["apps/a/gemmalock.toml:1:1"]
    assert ends(report) == [("apps/a", 4), ("apps/b", 0), ("apps/c", 0)]


def test_one_stale_lock_is_what_the_check_ends_with(synced: Yard) -> None:
    synced.declare("b", model="renamed")
    done = synced.here("lock", "--check")
    assert done.code == 1
    assert "apps/b: gemmalock.yaml::renamed: is not in the lock" in done.err
    report = synced.report("lock", "--check", code=1)
    assert ends(report) == [("apps/a", 0), ("apps/b", 1), ("apps/c", 0)]
    assert {error["place"] for error in report["errors"]} == {"apps/b"}
    locked = synced.here("sync", "--locked")
    assert locked.code == 1
    assert "error: apps/b: `gemmalock.lock` does not follow" in locked.err
    assert "  gemmalock.yaml::renamed: is not in the lock" in locked.err


def test_a_file_that_failed_is_told_at_the_end_and_the_gravest_code_is_the_wholes(yard: Yard) -> None:
    assert yard.here("lock").code == 0
    del yard.server.files["/a.gguf"]
    done = yard.here("sync")
    assert done.code == 1
    assert done.out.splitlines()[-1].startswith("== 2 downloaded, 1 failed in ")
    assert done.err.startswith(f"== failures ==\nerror: {id_of('a')}: ")
    yard.write("apps/c/gemmalock.lock", "{}")
    assert ends(yard.report("sync", code=4)) == [("apps/a", 1), ("apps/b", 0), ("apps/c", 4)]


def test_a_warning_says_whose_it_is(synced: Yard) -> None:
    synced.declare("b", model="renamed")
    assert synced.report("status")["warnings"][0].startswith("apps/b: the lock is stale: ")
    assert synced.here("status").err.startswith("warning: apps/b: the lock is stale: ")


@pytest.mark.parametrize("flag", ["-x", "--maxfail=1", "--maxfail=2"])
def test_failures_are_counted_over_all(yard: Yard, flag: str) -> None:
    assert yard.here("lock").code == 0
    for name in "ab":
        del yard.server.files[f"/{name}.gguf"]
    begun = 2 if flag.endswith("2") else 1
    report = yard.report("sync", flag, code=1)
    assert ends(report) == [("apps/a", 1), ("apps/b", 1)][:begun]
    left = ["`apps/b`", "`apps/c`"][begun - 1 :]
    assert report["warnings"] == [f"so many failed that nothing was begun in {', '.join(left)}"]
    assert len(yard.report("verify", "--maxfail=4", code=1)["files"]) == 3


def test_what_a_project_may_fail_is_what_the_others_have_left(yard: Yard) -> None:
    yard.declare_two("b")
    assert yard.here("lock").code == 0
    yard.server.files.clear()
    outcomes = [file["outcome"] for file in yard.report("sync", "--maxfail=2", "--jobs=1", code=1)["files"]]
    assert outcomes == ["failed", "failed", "planned"]


def test_an_interruption_ends_all_and_what_is_left_is_not_begun(yard: Yard, gemmalock: Gemmalock) -> None:
    yard.server.put("/b.gguf", Content(b"b" * 2_000_000, throttle=100_000, repr_digest=True))
    assert yard.here("lock").code == 0
    with gemmalock.started("sync", "--json", "--progress", "json") as process:
        assert process.stderr is not None and process.stdout is not None
        for line in process.stderr:
            if line.startswith("{") and json.loads(line)["id"] == id_of("b"):
                break
        process.send_signal(signal.SIGINT)
        report = json.loads(process.stdout.read())
        assert process.wait() == 2
    assert ends(report) == [("apps/a", 0), ("apps/b", 2)]
    assert [file["outcome"] for file in report["files"]] == ["done", "cancelled"]


# --- what is selected --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "selected"),
    [
        (["apps/a/gemmalock.yaml::a"], ["a"]),
        ([id_of("b")], ["b"]),
        (["apps/a", "apps/c/gemmalock.yaml"], ["a", "c"]),
        (["-C", "apps", "a/gemmalock.yaml::a", "b"], ["a", "b"]),
        (["-k", "b"], ["b"]),
        (["-k", "not b"], ["a", "c"]),
        (["--deselect", "apps/a"], ["b", "c"]),
        (["--deselect", id_of("c"), "apps"], ["a", "b"]),
    ],
)
def test_what_is_named_is_selected_and_where_nothing_is_nothing_is_said(
    synced: Yard, words: list[str], selected: list[str]
) -> None:
    done = synced.here("list", *words)
    assert (done.code, done.err) == (0, "")
    assert [line.split("::")[1] for line in done.out.splitlines()] == selected


def test_tags_choose_within_each(synced: Yard) -> None:
    synced.declare("b", more="    tags: [mobile]\n")
    report = synced.report("sync", "-m", "mobile")
    assert ids(report) == [id_of("b")]
    assert report["errors"] == []


def test_a_selection_that_leaves_nothing_of_any_collects_nothing(synced: Yard) -> None:
    done = synced.here("sync", "-k", "nonsense")
    assert (done.code, done.out) == (5, "")
    assert done.err == "error: all 3 files are deselected\nhint: say less with `-k`\n"
    assert synced.report("sync", "-k", "nonsense", code=5)["errors"][0]["code"] == "nothing_collected"
    assert synced.here("sync", "-k", "(").err.count("error: ") == 1


def test_a_node_id_that_fits_nothing_is_told_beside_one_that_fits(synced: Yard) -> None:
    done = synced.here("list", id_of("a"), "apps/b/gemmalock.yaml::nonsense")
    assert done.code == 5
    assert done.err.startswith("error: apps/b: nothing fits `gemmalock.yaml::nonsense`")


def test_what_failed_last_is_known_to_each(yard: Yard) -> None:
    yard.declare_two("b")
    assert yard.here("sync").code == 0
    (yard.folder / "apps/b/models/b/b.gguf").unlink()
    assert yard.here("verify").code == 1
    # As with one project: where nothing failed, all is run.
    assert ids(yard.report("list", "--lf")) == [id_of(name) for name in "abc"]
    assert len(ids(yard.report("list"))) == 4


def test_a_run_over_folders_that_are_named_prunes_nothing(synced: Yard) -> None:
    stray = synced.write("apps/a/models/stray", "x")
    assert synced.here("sync", "apps/a", "apps/b").code == 0
    assert stray.exists()
    assert synced.here("sync").code == 0
    assert not stray.exists()


# --- which they are ----------------------------------------------------------------------------------------


def test_each_has_its_own_settings_as_when_run_there(synced: Yard) -> None:
    synced.write("apps/a/gemmalock.toml", "no-prune = true\njson = true\nverbose = 2\n")
    synced.write("apps/b/gemmalock.toml", "addopts = ['--dry-run']\n")
    strays = [synced.write(f"apps/{name}/models/stray", "x") for name in "abc"]
    done = synced.here("sync")
    assert done.code == 0
    assert [stray.exists() for stray in strays] == [True, True, False]
    assert "{" not in done.out
    assert "UP TO DATE" not in done.out


def test_a_project_below_a_project_is_passed_over_from_above(synced: Yard) -> None:
    synced.write("apps/a/inner/gemmalock.yaml", "version: 1\nmodels: {}\n")
    assert ends(synced.report("sync")) == [("apps/a", 0), ("apps/b", 0), ("apps/c", 0)]
    assert ids(synced.report("-C", "apps/a", "sync")) == ["gemmalock.yaml::a::a.gguf"]


def test_a_folder_with_nothing_below_it_still_means_the_nearest_above(synced: Yard) -> None:
    synced.write("apps/a/docs/readme")
    assert ids(synced.report("-C", "apps/a/docs", "sync")) == ["gemmalock.yaml::a::a.gguf"]
    synced.write("docs/readme")
    (synced.folder / ".git").mkdir(exist_ok=True)
    assert synced.here("-C", "docs", "sync").code == 5


def test_a_workspace_is_one_project_and_its_members_are_not_several(synced: Yard) -> None:
    synced.write("gemmalock.yaml", 'version: 1\nworkspace: {members: ["apps/*"], exclude: [apps/c]}\n')
    report = synced.report("sync")
    assert report["lock"] == {"path": "gemmalock.lock", "changed": True}
    assert ids(report) == [id_of("a"), id_of("b")]
    # The one that is no member is its own, and `apps` has both.
    both = synced.report("-C", "apps", "status")
    assert ends(both) == [("..", 0), ("c", 0)]
    assert ids(both) == [id_of(name).removeprefix("apps/") for name in "abc"]

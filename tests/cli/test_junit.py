"""`--junitxml`: what CI servers read, whatever a run came to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.cli.junit import junit_xml, write_junit
from gemmalock.outcome import ErrorNote, ExitCode, FileOutcome, Outcome, Pruned, Report
from tests.cli.conftest import Shop
from tests.cli.test_closing import REPORT
from tests.cli.test_loudness import failed, outcome_of
from tests.running import TIMEOUT_SECONDS, Gemmalock, environment
from tests.servers.fileserver import Content

BEGAN = datetime(2026, 5, 17, 12, 30, 5, tzinfo=UTC)
#: What junit-10.xsd, which pytest holds its own files against, lets an element have: attributes, then children.
#: (It calls `error` `errors`; every reader, and pytest, has `error`.)
MAY: dict[str, tuple[set[str], set[str]]] = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "group", "time", "skipped", "timestamp", "hostname", "id", "package",
         "file", "log", "url", "version"},
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), {"property"}),
    "property": ({"name", "value"}, set()),
    "testcase": ({"name", "time", "classname", "group"}, {"skipped", "error", "failure", "system-out", "system-err"}),
    "skipped": ({"type", "message"}, set()),
    "error": ({"type", "message"}, set()),
    "failure": ({"type", "message"}, set()),
}  # fmt: skip
MUST = {"testsuite": {"name", "tests", "failures", "errors"}, "property": {"name", "value"}, "testcase": {"name"}}


def read(text: bytes) -> Element:
    """The one suite of a document, which is as it has to be."""
    root = ElementTree.fromstring(text)
    assert root.tag == "testsuites"
    for element in root.iter():
        attributes, children = MAY[element.tag]
        assert MUST.get(element.tag, set()) <= set(element.attrib) <= attributes
        assert {child.tag for child in element} <= children
    (suite,) = root
    cases = suite.findall("testcase")
    for name, tag in (("errors", "error"), ("failures", "failure"), ("skipped", "skipped")):
        assert int(suite.attrib[name]) == sum(case.find(tag) is not None for case in cases)
    assert int(suite.attrib["tests"]) == len(cases)
    assert all(len(case) <= 1 for case in cases)
    for element in (suite, *cases):
        whole, _, part = element.attrib["time"].partition(".")
        assert whole.isdecimal() and len(part) == 3
    datetime.fromisoformat(suite.attrib["timestamp"])
    return suite


def verdicts(text: bytes) -> dict[str, str]:
    """What came of each case by its name: the tag and type of its verdict, empty where all is well."""
    cases = read(text).findall("testcase")
    return {case.attrib["name"]: " ".join(f"{each.tag} {each.attrib['type']}" for each in case) for case in cases}


def written(shop: Shop) -> bytes:
    """What is in the file that the tests ask for."""
    return (shop.project.folder / "out/report.xml").read_bytes()


ASKED = ("--junitxml", "out/report.xml")


# --- the document ------------------------------------------------------------------------------------------


def test_a_report_is_a_suite_with_a_case_a_file_and_one_an_error() -> None:
    suite = read(junit_xml(replace(REPORT, seconds=2.5), BEGAN))
    assert suite.attrib == {
        "name": "gemmalock sync", "tests": "6", "failures": "1", "errors": "1", "skipped": "3", "time": "2.500",
        "timestamp": "2026-05-17T12:30:05+00:00",
    }  # fmt: skip
    assert verdicts(junit_xml(REPORT, BEGAN)) == {
        "done": "",
        "planned": "skipped planned",
        "skipped": "skipped skipped",
        "failed": "failure not_found",
        "cancelled": "skipped cancelled",
        "gemmalock.yaml:3:1": "error manifest",
    }
    done = suite.findall("testcase")[0]
    assert done.attrib == {"classname": "gemmalock.yaml::gemma", "name": "done", "time": "1.250"}


def test_a_failure_has_its_message_and_all_that_is_known_of_it() -> None:
    report = Report("sync", ExitCode.FAILED, (failed("a", "no such file", "check the URL", "the mirror had none"),))
    failure = read(junit_xml(report, BEGAN)).find("testcase/failure")
    assert failure is not None
    assert failure.attrib["message"] == "no such file"
    assert failure.text == "no such file\nthe mirror had none\nhint: check the URL"


@pytest.mark.parametrize(
    "report",
    [
        Report("sync", ExitCode.FAILED, (outcome_of("a", Outcome.PLANNED, verb="WOULD DOWNLOAD"),)),
        Report("sync", ExitCode.FAILED, pruned=(Pruned("models/x", 1, "trash"),), facts=(("dry_run", True),)),
        Report("sync", ExitCode.FAILED),
        Report("verify", ExitCode.INTERRUPTED, (outcome_of("a", Outcome.CANCELLED),)),
        Report("sync", ExitCode.INTERNAL, errors=(ErrorNote("error", "a bug"),)),
        REPORT,
    ],
    ids=lambda report: f"{report.command} {report.exit_code}",
)
def test_what_did_not_end_well_has_a_failure_or_an_error(report: Report) -> None:
    suite = read(junit_xml(report, BEGAN))
    assert int(suite.attrib["failures"]) + int(suite.attrib["errors"]) > 0


@given(st.text(), st.text(), st.text())
def test_whatever_a_text_has_in_it_the_document_can_be_read(name: str, message: str, hint: str) -> None:
    file: FileOutcome = replace(failed("x", message or "?", hint, message), id=f"gemmalock.yaml::m::{name}")
    read(junit_xml(Report("sync", ExitCode.FAILED, (file,), errors=(ErrorNote("x", message, hint, name),)), BEGAN))


def test_what_xml_forbids_is_escaped() -> None:
    text = junit_xml(Report("sync", ExitCode.FAILED, (failed("a", "\x00\x1b[31m\ud800\ufffe<&>\"'\n"),)), BEGAN)
    failure = read(text).find("testcase/failure")
    assert failure is not None
    assert failure.attrib["message"] == "\\u0000\\u001b[31m\\ud800\\ufffe<&>\"'\\u000a"


# --- the file ----------------------------------------------------------------------------------------------


def test_a_file_that_is_there_is_replaced_whole_and_folders_are_made(tmp_path: Path) -> None:
    place = tmp_path / "a/b/report.xml"
    write_junit(place, REPORT)
    place.write_text("x" * 100_000)
    place.chmod(0o640)
    write_junit(place, REPORT)
    read(place.read_bytes())
    assert place.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in place.parent.iterdir()] == ["report.xml"]


def test_a_link_is_written_through_and_stays(tmp_path: Path) -> None:
    (tmp_path / "link.xml").symlink_to(tmp_path / "real.xml")
    write_junit(tmp_path / "link.xml", REPORT)
    assert (tmp_path / "link.xml").is_symlink()
    read((tmp_path / "real.xml").read_bytes())


def test_what_is_no_file_is_written_to_and_not_replaced(shop: Shop) -> None:
    shop.here("sync")
    done = shop.run("sync", "-qq", "--junitxml", "/dev/stdout")
    assert done.code == 0
    read(done.out.encode())
    assert Path("/dev/stdout").is_symlink()


# --- runs --------------------------------------------------------------------------------------------------


def test_a_sync_is_told_file_by_file(shop: Shop) -> None:
    shop.here("lock")
    del shop.server.files["/model.gguf"]
    assert shop.here("sync", *ASKED).code == 1
    assert verdicts(written(shop)) == {"model.gguf": "failure not_found", "tokenizer.json": ""}
    suite = read(written(shop))
    assert {case.attrib["classname"] for case in suite.findall("testcase")} == {"gemmalock.yaml::gemma"}
    assert {each.attrib["name"]: each.attrib["value"] for each in suite.iter("property")}["exit_code"] == "1"


@pytest.mark.parametrize("command", ["lock", "sync"])
def test_a_model_whose_source_cannot_be_listed_is_a_case(shop: Shop, command: str) -> None:
    shop.project.write_manifest("version: 1\nmodels:\n  x:\n    source: file://nowhere\n    files: ['*.gguf']\n")
    assert shop.here(command, *ASKED).code == 1
    (case,) = read(written(shop)).findall("testcase")
    assert (case.attrib["classname"], case.attrib["name"]) == ("gemmalock.yaml", "x")
    assert case.find("failure") is not None


@pytest.mark.parametrize("command", ["lock", "sync", "status", "verify"])
def test_every_command_about_files_writes_it(shop: Shop, command: str) -> None:
    shop.here("sync")
    assert shop.here(command, *ASKED).code == 0
    assert list(verdicts(written(shop))) == ["model.gguf", "tokenizer.json"]


def test_a_check_that_finds_something_has_it_as_failures(shop: Shop) -> None:
    shop.here("sync")
    (shop.project.folder / "models/gemma/model.gguf").unlink()
    (shop.project.folder / "models/notes.txt").write_text("mine")
    assert shop.here("sync", "--check", *ASKED).code == 1
    assert verdicts(written(shop)) == {
        "model.gguf": "failure planned",
        "tokenizer.json": "skipped skipped",
        "models/notes.txt": "failure stray",
    }
    assert shop.here("sync", "--dry-run", *ASKED).code == 0
    assert set(verdicts(written(shop)).values()) == {"skipped planned", "skipped skipped"}


@pytest.mark.parametrize(
    ("arrange", "code", "name"),
    [
        (lambda shop: shop.project.lock.write_bytes(shop.project.lock.read_bytes()[:200]), 4, "error lock"),
        (lambda shop: shop.project.write_manifest("version: 1\nmodles: {}\n"), 4, "error manifest"),
        (lambda shop: (shop.project.folder / "gemmalock.toml").write_text("jobs = 0\n"), 4, "error setting"),
        (lambda shop: shop.project.lock.unlink(), 1, "error lock_missing"),
    ],
)
def test_an_error_that_ends_a_run_is_a_case(shop: Shop, arrange: Any, code: int, name: str) -> None:
    shop.here("lock")
    arrange(shop)
    assert shop.here("sync", "--locked", *ASKED).code == code
    assert list(verdicts(written(shop)).values()) == [name]


def test_an_interrupted_run_has_its_file(shop: Shop) -> None:
    shop.here("lock")
    shop.server.put("/model.gguf", Content(bytes(1_500_000), throttle=100_000))
    shop.here("lock", "--upgrade")
    with shop.run.started("sync", "--progress", "json", *ASKED) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if '"progress"' in line)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 2
    found = verdicts(written(shop))
    assert found["model.gguf"] == "skipped cancelled"
    assert "error interrupted" in found.values()


def test_a_bug_has_its_file(shop: Shop) -> None:
    shop.here("lock")
    code = (
        "import sys, gemmalock.codec.lock_json as lock_json\n"
        "def broken(*rest, **more):\n    raise ZeroDivisionError('the moon is full')\n"
        "lock_json.read_lock = broken\n"
        "from gemmalock.cli import main\nmain(sys.argv[1:])\n"
    )
    assert Gemmalock(shop.project.folder, (sys.executable, "-c", code))("sync", *ASKED).code == 3
    assert list(verdicts(written(shop)).values()) == ["error error"]


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_file_that_cannot_be_written_fails_the_run_and_says_so(shop: Shop, flags: list[str]) -> None:
    (shop.project.folder / "out").write_text("no folder")
    done = shop.here("sync", *ASKED, *flags)
    assert done.code == 1
    assert "error: cannot write `" in done.err
    if flags:
        assert done.json()["exit_code"] == 1
        assert [file["outcome"] for file in done.json()["files"]] == ["done", "done"]
        assert [error["code"] for error in done.json()["errors"]] == ["io_error"]
    shop.project.write_manifest("version: 1\nmodles: {}\n")
    done = shop.here("sync", *ASKED)
    assert done.code == 4
    assert "error: cannot write `" in done.err
    assert "modles" in done.err


@pytest.mark.parametrize("place", [".", "models/.."])
def test_a_folder_is_no_file(shop: Shop, place: str) -> None:
    shop.here("sync")
    done = shop.here("sync", "--junitxml", place)
    assert done.code == 4
    assert "error: `--junitxml` must be a file" in done.err


def test_its_name_starts_where_the_run_does_or_at_the_settings_file(shop: Shop) -> None:
    shop.here("lock")
    (shop.project.folder / "sub").mkdir()
    os.chdir(shop.project.folder.parent)
    shop.here("-C", "project/sub", "sync", "--junitxml", "typed.xml")
    assert (shop.project.folder / "sub/typed.xml").is_file()
    (shop.project.folder / "gemmalock.toml").write_text('junitxml = "out/report.xml"\n')
    shop.here("-C", "project/sub", "sync")
    assert list(verdicts(written(shop)).values()) == ["skipped skipped"] * 2


def test_addopts_ask_for_it_too(shop: Shop) -> None:
    assert shop.run("sync").code == 0
    (shop.project.folder / "gemmalock.toml").write_text('addopts = "--junitxml out/report.xml -rs"\n')
    for _ in range(2):
        assert "short summary" in shop.run("sync").out
        assert len(verdicts(written(shop))) == 2
        (shop.project.folder / "out/report.xml").unlink()
    assert "short summary" not in shop.run("sync", "-rN").out


def test_a_quick_answer_does_not_forget_it(shop: Shop) -> None:
    """As a process of its own, where a sync with nothing to do is answered before anything is loaded."""
    assert shop.run("sync").code == 0
    for arguments, env in ((ASKED, {}), ((), {"GEMMALOCK_JUNITXML": "out/report.xml"})):
        done = subprocess.run(
            shop.run.command("sync", *arguments), cwd=shop.project.folder, env=environment(env), capture_output=True
        )
        assert done.returncode == 0
        assert len(verdicts(written(shop))) == 2
        (shop.project.folder / "out/report.xml").unlink()

"""The story that others will try: the demo, and the tour of the README as it can be pasted."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from gemmalock.codec.report_json import report_problems
from gemmalock.demo.server import Shelf, serving
from gemmalock.demo.story import Step, tell
from tests.guard import CHECKOUT
from tests.running import Gemmalock, environment

STEPS = 7


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> list[Step]:
    """The story, told once."""
    return list(tell(tmp_path_factory.mktemp("story")))


def test_nothing_is_wrong_in_the_story(story: list[Step]) -> None:
    assert [step.wrong for step in story] == [()] * STEPS


def test_each_step_says_its_command_as_a_user_would_type_it(story: list[Step]) -> None:
    assert all("gemmalock " in step.command for step in story)
    assert [step.command for step in story][:4] == [
        "gemmalock lock", "gemmalock sync   # kill -9", "gemmalock sync", "gemmalock sync",
    ]  # fmt: skip


def test_the_resume_shows_bytes_kept_and_fetched(story: list[Step]) -> None:
    assert re.search(
        r"RESUMED  gemmalock\.yaml::tiny::tiny\.gguf  [\d.]+ MiB kept, [\d.]+ MiB fetched", story[2].output
    )


def test_the_changed_upstream_is_refused_with_its_cure(story: list[Step]) -> None:
    assert "hint: if the publisher replaced the file, change its `sha256`" in story[4].output
    assert "run `gemmalock lock --upgrade`" in story[4].output


def test_the_demo_ends_well_and_leaves_nothing_behind(gemmalock: Gemmalock, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    # What a person may have set must not change the story.
    hostile = {
        "TMPDIR": str(tmp_path / "tmp"), "GEMMALOCK_JOBS": "none", "GEMMALOCK_FROZEN": "1", "FORCE_COLOR": "1",
        "HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "no_proxy": "example.org",
    }  # fmt: skip
    done = gemmalock("demo", "--json", env=hostile)
    assert done.code == 0, (done.out, done.err)
    assert report_problems(done.out) == []
    assert done.json()["facts"]["steps"] == STEPS
    assert "Traceback" not in done.err
    assert list((tmp_path / "tmp").iterdir()) == []


#: What is broken, as Python that is run first; which step has to notice.
BREAKS = {
    "a server without ranges": (
        "import re, gemmalock.demo.server as server\nserver._RANGE = re.compile('never')\n", "it did not resume",
    ),
    "a file that is not the served one": (
        "import gemmalock.demo.story as story\nstory._Story.is_exact = lambda self: False\n", "is not the served one",
    ),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("what", BREAKS)
def test_the_demo_fails_when_a_step_is_not_what_it_should_be(gemmalock: Gemmalock, what: str) -> None:
    code, says = BREAKS[what]
    broken = Gemmalock(gemmalock.folder, (sys.executable, "-c", code + "from gemmalock.cli import main\nmain()\n"))
    done = broken("demo", "--json")
    assert done.code == 1
    assert report_problems(done.out) == []
    assert any(says in error["message"] for error in done.json()["errors"])
    assert says in done.err


def test_an_interrupted_demo_cleans_up(gemmalock: Gemmalock, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    with gemmalock.started("demo", env={"TMPDIR": str(tmp_path / "tmp"), "PYTHONUNBUFFERED": "1"}) as process:
        assert process.stdout is not None
        while "pin what the manifest declares" not in (line := process.stdout.readline()):
            assert line or process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert "Traceback" not in err
    assert list((tmp_path / "tmp").iterdir()) == []


# --- its server --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status", "body"),
    [
        ({}, 200, b"0123456789"),
        ({"Range": "bytes=4-"}, 206, b"456789"),
        ({"Range": "bytes=4-5"}, 206, b"45"),
        ({"Range": "bytes=4-99"}, 206, b"456789"),
        ({"Range": "bytes=99-"}, 200, b"0123456789"),
        ({"Range": "bytes=4-", "If-Range": '"other"'}, 200, b"0123456789"),
        ({"Range": "lines=1-2"}, 200, b"0123456789"),
    ],
)
def test_the_demos_server_answers_ranges_by_the_book(headers: dict[str, str], status: int, body: bytes) -> None:
    shelf = Shelf({"a.gguf": b"0123456789"})
    with serving(shelf) as url:
        asked = urllib.request.Request(f"{url}/a.gguf", headers=headers)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert (answer.status, answer.read()) == (status, body)
            assert answer.headers["ETag"] == shelf.etag("a.gguf")
    assert shelf.sent == len(body)


def test_the_demos_server_counts_for_itself() -> None:
    one, other = Shelf({"a": b"1"}), Shelf({"a": b"22"})
    with serving(one) as first, serving(other) as second:
        threads = [
            threading.Thread(target=lambda url=url: urllib.request.urlopen(f"{url}/a", timeout=30).close())
            for url in (first, second, second)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert (one.requests, other.requests) == (1, 2)


# --- the README --------------------------------------------------------------------------------------------


def tour() -> str:
    """The shell script of the README's tour."""
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- tour -->\n```sh\n(.*?)```\n<!-- /tour -->", text, re.DOTALL)
    assert found is not None
    return found[1]


def test_every_command_of_the_tour_is_one_that_there_is() -> None:
    from gemmalock.cli.program import COMMANDS

    commands = re.findall(r"^gemmalock ([a-z]+)", tour(), re.MULTILINE)
    assert len(commands) > 10
    assert set(commands) <= set(COMMANDS)


@pytest.mark.long
def test_the_tour_of_the_readme_runs_as_it_is_pasted(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "gemmalock").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gemmalock "$@"\n')
    (programs / "gemmalock").chmod(0o755)
    (tmp_path / "empty").mkdir()
    process = subprocess.Popen(
        ["sh", "-e"], cwd=tmp_path / "empty", env=environment({"PATH": f"{programs}:{os.environ['PATH']}"}),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(tour(), timeout=120)
    finally:
        # A tour that broke off leaves its web server behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, (out, err)
    assert "Traceback" not in out + err
    lines = out.splitlines()
    assert "in sync" in lines
    assert str(tmp_path / "empty/tour/models/gemma/model.gguf") in lines
    assert len([line for line in lines if line.startswith("== 2 up to date")]) >= 1
    assert any(line.startswith("models/.gemmalock/trash/") and line.endswith("/notes.txt") for line in lines)
    assert report_problems(out[out.index("{\n") :]) == []

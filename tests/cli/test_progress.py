"""Who watches a run: events for programs, bars on a real terminal, plain lines elsewhere, or nobody; and colours."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from gemmalock.cli import progress
from gemmalock.cli.page import Page
from gemmalock.cli.progress import BarReporter, EventReporter, LineReporter, PlainReporter, reporter_for
from gemmalock.cli.state import wants_color
from gemmalock.sizes import shown_size
from tests.cli.conftest import LARGE, Shop
from tests.running import environment
from tests.servers.fileserver import Content

ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
COLOURED = re.compile(r"\x1b\[[0-9;]*m")
CHUNK = 4 * 1024 * 1024
#: More than two chunks, so that a cut leaves something to resume.
HUGE = random.Random(5).randbytes(2 * CHUNK + 1000)
KEYS: Mapping[str, set[str]] = {
    "started": {"event", "id", "have", "size"},
    "progress": {"event", "id", "have", "size", "bytes_per_second"},
    "retrying": {"event", "id", "reason", "after_seconds"},
    "waiting": {"event", "id", "reason"},
    "finished": {"event", "id", "outcome", "error"},
}
MODEL = "gemmalock.yaml::gemma::model.gguf"


def events_of(text: str, name: str = MODEL) -> list[dict[str, Any]]:
    """The events of a file in what was written to standard error, each with just the keys of the contract."""
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    for event in found:
        assert set(event) == KEYS[event["event"]]
    return [event for event in found if event["id"] == name]


def cut_for_good(shop: Shop) -> int:
    """Lock HUGE, and sync until the server breaks off after a chunk and lets nobody in again. How much is kept."""
    shop.server.put("/model.gguf", Content(HUGE))
    shop.here("lock")
    tag = shop.server.files["/model.gguf"].etag_now()

    def etag() -> str | None:
        content.fail_first.append(403)
        return tag

    # Slow enough for the client to keep up: a reset takes what it has not read yet.
    content = Content(HUGE, etag=etag, cut_after=CHUNK + 5000, throttle=16_000_000)
    shop.server.put("/model.gguf", content)
    assert shop.here("sync", "--progress", "none", "-q").code == 1
    kept = {file["id"]: file["bytes_kept"] for file in shop.report("status")["files"]}[MODEL]
    assert 0 < kept < len(HUGE)
    return int(kept)


# --- events ------------------------------------------------------------------------------------------------


def test_a_download_is_started_progresses_and_is_finished(shop: Shop) -> None:
    shop.here("lock")
    done = shop.here("sync", "--progress", "json", "--json")
    events = events_of(done.err)
    assert [event["event"] for event in events if event["event"] != "progress"] == ["started", "finished"]
    assert events[0] == {"event": "started", "id": MODEL, "have": 0, "size": len(LARGE)}
    steps = [event for event in events if event["event"] == "progress"]
    assert [step["have"] for step in steps] == sorted(step["have"] for step in steps)
    assert steps[-1]["have"] == steps[-1]["size"] == len(LARGE)
    assert all(step["bytes_per_second"] >= 0 for step in steps)
    assert events[-1] == {"event": "finished", "id": MODEL, "outcome": "done", "error": None}
    assert done.json()["command"] == "sync"


def test_a_server_that_stumbles_is_retried_and_told(shop: Shop) -> None:
    shop.here("lock")
    shop.server.files["/model.gguf"].fail_first = [503]
    events = events_of(shop.here("sync", "--progress", "json").err)
    (retry,) = [event for event in events if event["event"] == "retrying"]
    assert "503" in retry["reason"]
    assert retry["after_seconds"] >= 0
    assert events[-1]["outcome"] == "done"


def test_a_file_that_fails_is_finished_with_its_code(shop: Shop) -> None:
    shop.here("lock")
    del shop.server.files["/model.gguf"]
    events = events_of(shop.here("sync", "--progress", "json").err)
    assert events[-1] == {"event": "finished", "id": MODEL, "outcome": "failed", "error": "not_found"}


def test_a_resume_starts_at_what_was_kept(shop: Shop) -> None:
    kept = cut_for_good(shop)
    shop.server.put("/model.gguf", Content(HUGE))
    events = events_of(shop.here("sync", "--progress", "json").err)
    assert events[0] == {"event": "started", "id": MODEL, "have": kept, "size": len(HUGE)}
    assert events[-1]["outcome"] == "done"


def test_a_sync_with_nothing_to_do_has_no_events(shop: Shop) -> None:
    shop.here("sync")
    assert shop.here("sync", "--progress", "json").err == ""


def test_what_lock_fetches_has_events_too(shop: Shop) -> None:
    events = events_of(shop.here("lock", "--hash", "--progress", "json").err)
    assert [event["event"] for event in events][:1] == ["started"]
    assert events[-1]["have"] == len(LARGE)


def test_verify_tells_each_file(shop: Shop) -> None:
    shop.here("sync")
    assert events_of(shop.here("verify", "--progress", "json").err)[-1]["outcome"] == "done"


@pytest.mark.parametrize("command", [("verify",), ("sync", "--verify")])
def test_whoever_hashes_large_files_tells_how_far_it_came(shop: Shop, command: tuple[str, ...]) -> None:
    shop.here("sync")
    events = events_of(shop.here(*command, "--progress", "json").err)
    assert events[0] == {"event": "started", "id": MODEL, "have": 0, "size": len(LARGE)}
    steps = [event for event in events if event["event"] == "progress"]
    assert steps[-1]["have"] == steps[-1]["size"] == len(LARGE)
    assert steps[-1]["bytes_per_second"] > 0


# --- which reporter ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "kind"),
    [("bar", BarReporter), ("plain", PlainReporter), ("json", EventReporter), ("none", LineReporter),
     ("auto", PlainReporter)],
)  # fmt: skip
def test_the_flag_chooses_who_watches_and_auto_is_plain_without_a_terminal(
    choice: str, kind: type[LineReporter]
) -> None:
    assert type(reporter_for(choice, Page())) is kind


@pytest.mark.parametrize("flags", [["--progress", "none"], ["--progress", "plain"], []])
def test_without_a_terminal_a_short_run_writes_nothing_to_stderr(shop: Shop, flags: list[str]) -> None:
    shop.here("lock")
    assert shop.here("sync", *flags).err == ""


def test_plain_lines_say_how_far_a_file_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    plain = PlainReporter(Page())
    plain.progress("id", 512, 1024)
    plain.progress("empty", 0, 0)
    plain.retrying("id", "cut\x1b[31m", 1.25)
    plain.waiting("id", "process 7 is fetching it")
    plain.waiting("id", "process 7 is fetching it")
    assert capsys.readouterr().err.splitlines() == [
        "id: 512 B of 1.0 KiB (50 %)", "empty: 0 B of 0 B", "id: cut\\u001b[31m; trying again in 1.2 s",
        "id: waiting, process 7 is fetching it",
    ]  # fmt: skip
    quiet = PlainReporter(Page(verbosity=-1))
    quiet.progress("id", 512, 1024)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (126 * 2**20, "126.0 MiB"), (5 * 2**40, "5.0 TiB"),
     (2**63, "8192.0 PiB")],
)  # fmt: skip
def test_sizes_are_shown_in_binary_units(count: int, text: str) -> None:
    assert shown_size(count) == text


# --- on a real terminal ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """What a run showed: on the terminal, and in the pipe of the stream that had none."""

    code: int
    terminal: str
    pipe: str

    @property
    def plainly(self) -> str:
        """The terminal's text without control sequences."""
        return ANSI.sub("", self.terminal)


def on_terminal(shop: Shop, *arguments: str, stream: str, env: Mapping[str, str] | None = None) -> Seen:
    """Run with one of `stdout`, `stderr` on a pseudo-terminal (or `both`), and what is not in a pipe."""
    ours, theirs = pty.openpty()
    out = theirs if stream in ("stdout", "both") else subprocess.PIPE
    err = theirs if stream in ("stderr", "both") else subprocess.PIPE
    added = {"TERM": "xterm-256color", "COLUMNS": "120"} | dict(env or {})
    process = subprocess.Popen(
        shop.run.command(*arguments), cwd=shop.project.folder, env=environment(added), stdin=subprocess.DEVNULL,
        stdout=out, stderr=err,
    )  # fmt: skip
    os.close(theirs)
    shown = bytearray()
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # EIO: the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    piped = b"".join(part for part in process.communicate(timeout=60) if part)
    return Seen(process.returncode, shown.decode(), piped.decode())


def test_bars_are_drawn_on_a_terminal_and_taken_away_again(shop: Shop) -> None:
    shop.server.put("/model.gguf", Content(LARGE, throttle=3_000_000))
    shop.here("lock")
    seen = on_terminal(shop, "sync", stream="stderr")
    assert seen.code == 0
    assert "in all" in seen.plainly
    assert "gemma/model.gguf" in seen.plainly
    assert re.search(r"[\d.]+/1\.[45] MiB", seen.plainly)
    assert "/s" in seen.plainly
    assert "━" in seen.terminal
    assert "\x1b[2K" in seen.terminal
    assert seen.terminal.count("\x1b[?25h") >= seen.terminal.count("\x1b[?25l") > 0
    assert "DOWNLOADED" not in seen.plainly
    assert "DOWNLOADED  gemmalock.yaml::gemma::model.gguf" in seen.pipe
    assert not COLOURED.search(seen.pipe)


def test_a_bar_of_a_resume_starts_at_what_was_kept(shop: Shop) -> None:
    kept = cut_for_good(shop)
    shop.server.put("/model.gguf", Content(HUGE, throttle=8_000_000))
    seen = on_terminal(shop, "sync", stream="stderr")
    assert seen.code == 0
    first = re.search(r"([\d.]+)/8\.0 MiB", seen.plainly)
    assert first is not None
    assert first[1] == f"{kept / 2**20:.1f}"


@pytest.mark.parametrize("command", [("verify",), ("sync", "--verify")])
def test_hashing_shows_bars_on_a_terminal(shop: Shop, command: tuple[str, ...]) -> None:
    shop.here("sync")
    seen = on_terminal(shop, *command, stream="stderr")
    assert seen.code == 0
    assert "gemma/model.gguf" in seen.plainly
    assert "0/0 bytes" not in seen.plainly
    assert seen.terminal.count("\x1b[?25h") >= seen.terminal.count("\x1b[?25l") > 0


def test_what_was_hashed_is_not_counted_with_what_is_fetched(shop: Shop) -> None:
    """A sync that reads everything and then fetches one file: bars of their own for each half."""
    shop.here("sync")
    shop.here("cache", "prune")
    (shop.project.folder / "models/gemma/model.gguf").unlink()
    shop.here("cache", "prune")
    shop.server.put("/model.gguf", Content(LARGE, throttle=3_000_000))
    seen = on_terminal(shop, "sync", "--verify", stream="stderr")
    assert seen.code == 0, seen
    whole = re.findall(r"in all.*?/([\d.]+) (\w+)", seen.plainly)
    assert set(whole) == {(f"{len(LARGE) / 2**20:.1f}", "MiB")}


def test_lock_shows_bars_for_what_it_fetches(shop: Shop) -> None:
    shop.server.put("/model.gguf", Content(LARGE, throttle=3_000_000))
    seen = on_terminal(shop, "lock", "--hash", stream="stderr")
    assert seen.code == 0
    assert "gemma/model.gguf" in seen.plainly
    assert "0/0 bytes" not in seen.plainly


@pytest.mark.parametrize("flags", [["--progress", "plain"], ["--progress", "none"], ["-q"]])
def test_bars_can_be_had_off_on_a_terminal(shop: Shop, flags: list[str]) -> None:
    shop.here("lock")
    seen = on_terminal(shop, "sync", *flags, stream="stderr")
    assert (seen.code, seen.terminal) == (0, "")


def test_a_terminal_shows_lines_and_bars_without_mixing_them_up(shop: Shop) -> None:
    shop.server.put("/model.gguf", Content(LARGE, throttle=3_000_000))
    shop.here("lock")
    seen = on_terminal(shop, "sync", stream="both")
    assert seen.code == 0
    assert re.search(r"(^|[\r\n])DOWNLOADED  gemmalock\.yaml::gemma::model\.gguf  1\.4 MiB fetched\r\n", seen.plainly)
    assert seen.plainly.rstrip().endswith("==")


COLOURS = [
    # flags, environment, coloured on a terminal, coloured in a pipe
    ([], {}, True, False),
    (["--color", "always"], {}, True, True),
    (["--color", "never"], {}, False, False),
    ([], {"NO_COLOR": "1"}, False, False),
    ([], {"NO_COLOR": ""}, True, False),
    ([], {"FORCE_COLOR": "1"}, True, True),
    ([], {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
    (["--color", "always"], {"NO_COLOR": "1"}, True, True),
    (["--color", "never"], {"FORCE_COLOR": "1"}, False, False),
    ([], {"TERM": "dumb"}, False, False),
    ([], {"GEMMALOCK_COLOR": "never"}, False, False),
    ([], {"GEMMALOCK_COLOR": "always"}, True, True),
]


@pytest.mark.parametrize(("flags", "env", "on_tty", "in_pipe"), COLOURS)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_each_stream_is_coloured_for_itself(
    shop: Shop, flags: list[str], env: Mapping[str, str], on_tty: bool, in_pipe: bool, stream: str
) -> None:
    shop.here("sync")
    (shop.project.folder / "models/gemma/tokenizer.json").unlink()
    seen = on_terminal(shop, "verify", *flags, stream=stream, env=env)
    assert seen.code == 1
    assert "FAILED" in seen.plainly + seen.pipe
    assert "error:" in seen.plainly + seen.pipe.replace("\x1b[31m\x1b[1m", "")
    assert bool(COLOURED.search(seen.terminal)) is on_tty
    assert bool(COLOURED.search(seen.pipe)) is in_pipe


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"GEMMALOCK_COLOR": "never"}])
def test_bars_have_no_colours_where_none_are_wanted(shop: Shop, env: Mapping[str, str]) -> None:
    shop.server.put("/model.gguf", Content(LARGE, throttle=3_000_000))
    shop.here("lock")
    seen = on_terminal(shop, "sync", stream="stderr", env=env)
    assert "in all" in seen.plainly
    assert not re.search(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", seen.terminal)


def test_a_stream_that_is_not_there_has_no_colours() -> None:
    assert wants_color("auto", {}, None) is False
    assert wants_color("always", {}, None) is True

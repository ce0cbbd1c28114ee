"""The benchmarks run to their end, clean up, and say what they measured. No time decides a test here."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import hub, table
from benchmarks.__main__ import main
from benchmarks.cases import CASES
from benchmarks.content import random_file
from benchmarks.keeping import disk_use
from benchmarks.measure import Command, Contender, Failed, Ratio, Reading, in_turn, run
from benchmarks.programs import missing, needed
from benchmarks.relay import Line, Way
from benchmarks.table import BEGIN, END, Result, Row
from tests.guard import CHECKOUT
from tests.running import environment
from tests.servers import real

MIB = 1024 * 1024


@pytest.fixture
def page(tmp_path: Path) -> Path:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", "utf-8")
    return page


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A folder to work in, which has to be empty in the end."""
    room = tmp_path / "room"
    room.mkdir()
    return room


def started(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "--quick", *map(str, arguments)],
        cwd=CHECKOUT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def test_a_quick_run_measures_end_to_end_and_leaves_nothing(room: Path, page: Path) -> None:
    real.program("nginx")
    real.program("curl")
    with started("many", "--folder", room, "--write", page) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, (out, err)
    assert "failed" not in out
    assert re.search(
        r"^\| 20 × 256 bytes \| `curl [^|]+` \| [\d.]+ × \| [\d.]+ – [\d.]+ \| — \| — \|$", out, re.MULTILINE
    )
    assert "no figure means anything" in out
    assert page.read_text("utf-8") == f"before\n{BEGIN}\n\n{out.strip()}\n\n{END}\nafter\n"
    assert list(room.iterdir()) == []


def test_a_quick_run_kills_both_at_half_and_counts_what_the_hub_sends_twice(room: Path) -> None:
    real.program("hf")
    with started("expiring", "--folder", room) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, (out, err)
    for name in ("gemmalock sync", "hf download"):
        assert re.search(
            rf"^\| 4 MiB from a hub, .*\| `{name}`, by itself: fetched twice \| [\d.]+ MiB ", out, re.MULTILINE
        )
    assert list(room.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(room: Path, number: int) -> None:
    real.program("nginx")
    with started("large", "--runs", "1000", "--folder", room) as process:
        assert process.stderr is not None
        assert "run 1 of 1000" in process.stderr.readline()
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.splitlines()[-1].startswith("interrupted")
    assert list(room.iterdir()) == []


def test_an_unknown_case_names_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["larg"])
    assert f"there are {', '.join(CASES)}" in capsys.readouterr().err


def test_a_page_without_its_marks_is_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.md").write_text("no marks", "utf-8")
    with pytest.raises(SystemExit):
        main(["--write", str(tmp_path / "page.md")])
    assert "each once" in capsys.readouterr().err


def test_the_page_in_the_docs_can_be_written_anew_and_names_every_case(tmp_path: Path) -> None:
    text = (CHECKOUT / "docs" / "performance.md").read_text("utf-8")
    copy = tmp_path / "performance.md"
    copy.write_text(text, "utf-8")
    table.write(copy, "new")
    assert f"{BEGIN}\n\nnew\n\n{END}" in copy.read_text("utf-8")
    assert [name for name in CASES if f"| `{name}` |" not in text] == []


class TestRatios:
    def test_are_of_medians_and_their_spread_is_of_rounds(self) -> None:
        assert Ratio.of([2.0, 1.0, 6.0], [4.0, 1.0, 3.0]) == Ratio(2 / 3, 0.5, 2.0)

    def test_stand_by_themselves_too(self) -> None:
        assert Ratio.plain([3.0, 1.0, 2.0]) == Ratio(2.0, 1.0, 3.0)

    @pytest.mark.parametrize(("ours", "theirs"), [([], []), ([1.0], [1.0, 2.0])])
    def test_need_the_same_rounds(self, ours: list[float], theirs: list[float]) -> None:
        with pytest.raises(ValueError, match="same rounds"):
            Ratio.of(ours, theirs)


class TestTheTable:
    @pytest.mark.parametrize(
        ("came", "at_most", "unit", "cells"),
        [
            (Ratio(0.5, 0.4, 0.7), 0.75, "×", "0.50 × | 0.40 – 0.70 | 0.75 × | yes"),
            (Ratio(0.8, 0.7, 0.9), 0.75, "×", "0.80 × | 0.70 – 0.90 | 0.75 × | **no**"),
            (Ratio(0.8, 0.7, 0.9), None, "×", "0.80 × | 0.70 – 0.90 | — | —"),
            (Ratio(0.0, 0.0, 0.0), 0.0, "MiB", "0.0 MiB | 0.00 – 0.00 | 0.0 MiB | yes"),
            (None, 0.2, "s", "— | — | 0.20 s | —"),
        ],
    )
    def test_says_what_came_and_whether_it_is_enough(
        self, came: Ratio | None, at_most: float | None, unit: str, cells: str
    ) -> None:
        assert table.ratios([Row("case", "other", came, at_most, unit)])[2:] == [f"| case | other | {cells} |"]

    def test_shows_times_and_no_peak_that_cannot_be_seen(self) -> None:
        readings = (Reading(1.0, 30 * MIB), Reading(3.0, 50 * MIB), Reading(2.0, 40 * MIB))
        result = Result("case", readings={"ours": readings, "theirs": (Reading(1.0, 10 * MIB),)})
        assert table.times([result], 20 * MIB)[2:] == [
            "| case | ours | 2.00 s | 1.00 – 3.00 | 40 MiB |",
            "| case | theirs | 1.00 s | 1.00 – 1.00 | under 20 MiB |",
        ]

    def test_ends_with_the_notes(self) -> None:
        text = table.page([Result("case", notes=("skipped: no `ip`.",))], "circumstances", 0)
        assert text.startswith("circumstances\n\n| case |")
        assert text.endswith("\n\n- case: skipped: no `ip`.")

    @pytest.mark.parametrize("text", ["", BEGIN, END + BEGIN, BEGIN + BEGIN + END, BEGIN + END + END])
    def test_is_not_written_where_its_place_is_not_plain(self, tmp_path: Path, text: str) -> None:
        place = tmp_path / "page.md"
        place.write_text(text, "utf-8")
        with pytest.raises(ValueError, match="each once"):
            table.write(place, "new")
        assert place.read_text("utf-8") == text


class TestContenders:
    def contender(self, folder: Path, name: str, script: str) -> Contender:
        command = Command((sys.executable, "-S", "-c", script), folder, {})
        return Contender(name, command, lambda: self.log.append(name))

    @pytest.fixture(autouse=True)
    def _log(self) -> None:
        self.log: list[str] = []

    def test_take_turns_and_one_that_fails_is_out(self, tmp_path: Path) -> None:
        ours = self.contender(tmp_path, "ours", "pass")
        broken = self.contender(tmp_path, "broken", "raise SystemExit('no such luck')")
        third = self.contender(tmp_path, "third", "pass")
        readings, failures = in_turn([ours, broken, third], 2, lambda text: None)
        assert self.log == ["ours", "broken", "third", "ours", "third"]
        assert {name: len(taken) for name, taken in readings.items()} == {"ours": 2, "third": 2}
        assert len(failures) == 1
        assert "no such luck" in failures[0]

    def test_fail_the_case_when_it_is_the_first(self, tmp_path: Path) -> None:
        with pytest.raises(Failed, match="ended with 3"):
            in_turn([self.contender(tmp_path, "ours", "raise SystemExit(3)")], 1, lambda text: None)

    def test_have_the_peak_of_their_children(self, tmp_path: Path) -> None:
        child = "import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', 'bytearray(200 << 20)'])"
        assert run(Command((sys.executable, "-c", child), tmp_path, dict(os.environ))).peak_bytes > 200 * MIB

    def test_that_are_missing_are_named(self) -> None:
        assert missing(["no-such-program", "sh"]) == ["no-such-program"]
        with pytest.raises(Exception, match="`no-such-program` is not installed"):
            needed("no-such-program")


class TestTheLossyWay:
    WAY = Way(("one", "other"), delay=0.02, loss=0.01, bits_a_second=8_000_000, waiting=10_000)
    PACKET = bytes(1000)

    def test_delays_each_packet_and_keeps_the_order(self) -> None:
        line = Line(Way(("one", "other"), loss=0.0, bits_a_second=8_000_000), random.Random(0))
        for number in range(3):
            line.take(bytes([number]) * 1000, now=100.0)
        assert line.arrived(100.0209) == []
        assert [packet[0] for packet in line.arrived(100.0221)] == [0, 1]
        assert line.next_arrival() == pytest.approx(100.023)
        assert [packet[0] for packet in line.arrived(101.0)] == [2]
        assert line.next_arrival() is None

    def test_loses_about_as_many_as_it_says(self) -> None:
        line = Line(self.WAY, random.Random(0))
        for number in range(10_000):
            line.take(self.PACKET, now=float(number))
        assert 9_850 < len(line.under_way) < 9_950

    def test_drops_what_does_not_fit_into_the_queue(self) -> None:
        line = Line(Way(("one", "other"), loss=0.0, bits_a_second=8_000_000, waiting=10_000), random.Random(0))
        for _ in range(100):
            line.take(self.PACKET, now=0.0)
        assert len(line.under_way) in (10, 11)

    def test_is_told_to_its_process_as_text(self) -> None:
        assert Way.of(self.WAY.text()) == self.WAY


def test_a_file_with_several_names_takes_its_place_once(tmp_path: Path) -> None:
    random_file(tmp_path, "one", MIB)
    before = disk_use(tmp_path)
    (tmp_path / "other").hardlink_to(tmp_path / "one")
    assert disk_use(tmp_path) == before >= MIB


def test_no_two_files_to_serve_are_alike(tmp_path: Path) -> None:
    files = [random_file(tmp_path, name, 3 * MIB + 5) for name in ("one", "other")]
    assert [(tmp_path / file.name).stat().st_size for file in files] == [3 * MIB + 5] * 2
    assert files[0].sha256 != files[1].sha256


def test_the_stand_in_hub_has_a_digest_for_each_file(tmp_path: Path) -> None:
    file = random_file(tmp_path, "one", 10)
    hosting = hub.hosting(tmp_path, [file], tmp_path / "answers")
    assert f'"one" {file.sha256};' in hosting.globals
    assert sorted(path.name for path in (tmp_path / "answers").iterdir()) == ["revision", "tree"]

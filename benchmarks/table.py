"""What was measured, as Markdown. Nothing here measures."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import Ratio, Readings

MIB = 1024 * 1024
BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"
UNITS = {"×": "{:.2f} ×", "": "{:.2f}", "s": "{:.2f} s", "MiB": "{:.1f} MiB"}


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: what stands beside gemmalock, what came out, and what it may be at most (None: no target).

    `came` is None where it could not be measured.
    """

    case: str
    against: str
    came: Ratio | None
    at_most: float | None
    unit: str = "×"

    def reached(self) -> str:
        """Whether the target is reached, in a word."""
        if self.came is None or self.at_most is None:
            return "—"
        return "yes" if self.came.median <= self.at_most else "**no**"


@dataclass(frozen=True, slots=True)
class Result:
    """What a case gave. `readings` by the name of the contender, `notes` in sentences."""

    title: str
    rows: tuple[Row, ...] = ()
    readings: Readings = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def page(results: Sequence[Result], circumstances: str, least_visible_peak: int) -> str:
    """All of it: the ratios, the times and peaks behind them, the notes."""
    return "\n".join(
        [
            circumstances,
            "",
            *ratios(row for result in results for row in result.rows),
            "",
            *times(results, least_visible_peak),
            *notes(results),
        ]
    )


def ratios(rows: Iterable[Row]) -> list[str]:
    """The table of comparisons."""
    lines = [
        "| case | beside | ratio of medians | least – most | at most | reached |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row.case, row.against, *_measured(row), _number(row.at_most, row.unit), row.reached()]
        lines.append(_line(cells))
    return lines


def times(results: Iterable[Result], least_visible_peak: int) -> list[str]:
    """The table of what each contender took."""
    lines = ["| case | what ran | median | least – most | peak memory |", "|---|---|---|---|---|"]
    for result in results:
        for name, readings in result.readings.items():
            seconds = Ratio.plain([reading.seconds for reading in readings])
            peak = statistics.median(reading.peak_bytes for reading in readings)
            spread = f"{seconds.least:.2f} – {seconds.most:.2f}"
            shown = (
                f"under {least_visible_peak / MIB:.0f} MiB" if peak <= least_visible_peak else f"{peak / MIB:.0f} MiB"
            )
            lines.append(_line([result.title, name, _number(seconds.median, "s"), spread, shown]))
    return lines


def notes(results: Iterable[Result]) -> list[str]:
    """What has to be said besides, a bullet a sentence; empty where nothing has."""
    bullets = [f"- {result.title}: {note}" for result in results for note in result.notes]
    return ["", *bullets] if bullets else []


def around(path: Path) -> tuple[str, str]:
    """What a file has before and after the two marks.

    Raises ValueError where it has not each mark once, in order; OSError where it cannot be read.
    """
    before, begin, rest = path.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after or END in before:
        raise ValueError(f"`{path.name}` needs `{BEGIN}` and then `{END}`, each once")
    return before, after


def write(path: Path, text: str) -> None:
    """Put the text between the two marks of a file. Raises as `around` does."""
    before, after = around(path)
    path.write_text(f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}", "utf-8")


def _measured(row: Row) -> list[str]:
    if row.came is None:
        return ["—", "—"]
    return [_number(row.came.median, row.unit), f"{row.came.least:.2f} – {row.came.most:.2f}"]


def _number(value: float | None, unit: str) -> str:
    return "—" if value is None else UNITS[unit].format(value)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"

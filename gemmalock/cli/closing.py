"""What a run says at its end, besides its lines: what went wrong, what took long, what `-r` asks for. Pure: the report
in, lines out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from gemmalock.cli.render import file_line, pruned_line, stray_line, verb_color
from gemmalock.outcome import ErrorNote, FileOutcome, Outcome, Report

#: Files that took less are not among the slowest, unless everything is to be told: as pytest has it.
HIDDEN_SECONDS = 0.005
#: The kinds of `-r` that stand for others, what went wrong at the end: everybody sees that.
GROUPS: Mapping[str, str] = {"a": "pkcEf", "A": "dspkcEf", "N": ""}


class Line(NamedTuple):
    """A line on standard output: its first word and that word's colour, and the rest."""

    verb: str
    rest: str
    color: str


class Trouble(NamedTuple):
    """What went wrong and has one cure: labelled sentences, and the hint that is good for all of them."""

    sentences: tuple[tuple[str, str], ...]
    hint: str


def troubles(report: Report) -> list[Trouble]:
    """Everything that went wrong, files first; what has the same cure stands together."""
    found: dict[str, list[tuple[str, str]]] = {}
    for outcome in report.files:
        if outcome.error is not None:
            told = found.setdefault(outcome.error.hint, [])
            told.append(("error", f"{outcome.id}: {outcome.error.message}"))
            told += [("note", note) for note in tried(outcome)]
    for error in report.errors:
        found.setdefault(error.hint, []).append(("error", placed(error)))
    return [Trouble(tuple(sentences), hint) for hint, sentences in found.items()]


def tried(outcome: FileOutcome) -> tuple[str, ...]:
    """What was noted on the way to a failure, less what the error says itself."""
    message = outcome.error.message if outcome.error is not None else ""
    return tuple(note for note in dict.fromkeys(outcome.notes) if note not in message)


def placed(error: ErrorNote) -> str:
    """An error's sentence, behind its place where it has one."""
    return f"{error.place}: {error.message}" if error.place else error.message


def slowest(report: Report, count: int, *, all: bool = False) -> list[str]:
    """The `count` files that took longest (0: every one) with their seconds, a line each; `all`: those too that took
    next to nothing. What was skipped took no time."""
    worked = [file for file in report.files if file.outcome is not Outcome.SKIPPED]
    ranked = sorted(worked, key=lambda file: -file.seconds)[: count or None]
    told = [file for file in ranked if all or file.seconds >= HIDDEN_SECONDS]
    lines = [f"{file.seconds:.2f}s  {file.id}" for file in told]
    if hidden := len(ranked) - len(told):
        lines.append(f"({hidden} below {HIDDEN_SECONDS}s are hidden; `-vv` shows them)")
    return lines


def expanded(kinds: str) -> str:
    """The kinds that a `-r` asks for, each once; as in pytest, `a`, `A` and `N` forget what stood before them."""
    asked = ""
    for kind in kinds:
        if kind in GROUPS:
            asked = GROUPS[kind]
        elif kind not in asked:
            asked += kind
    return asked


def short_summary(report: Report, kinds: str) -> list[Line]:
    """The lines of the kinds that `-r` asks for, in that order."""
    return [line for kind in expanded(kinds) for line in _LINES[kind](report)]


def _ended(*outcomes: Outcome) -> Callable[[Report], Iterator[Line]]:
    def lines(report: Report) -> Iterator[Line]:
        return (
            Line(*file_line(file), verb_color(file))
            for file in report.files
            if file.outcome in outcomes and file.error is None
        )

    return lines


def _failed(report: Report) -> Iterator[Line]:
    for file in report.files:
        if file.error is not None:
            yield Line(file.verb, f"{file.id}  {file.error.message}", verb_color(file))


def _errors(report: Report) -> Iterator[Line]:
    return (Line("ERROR", placed(error), "red") for error in report.errors)


def _pruned(report: Report) -> Iterator[Line]:
    return (Line(*pruned_line(gone, report), "yellow") for gone in report.pruned)


def _strays(report: Report) -> Iterator[Line]:
    return (Line(*stray_line(stray), "yellow") for stray in report.strays_kept)


#: A kind of `-r` → its lines. What would be done is told with what was done.
_LINES: Mapping[str, Callable[[Report], Iterator[Line]]] = {
    "f": _failed,
    "E": _errors,
    "s": _ended(Outcome.SKIPPED),
    "c": _ended(Outcome.CANCELLED),
    "d": _ended(Outcome.DONE, Outcome.PLANNED),
    "p": _pruned,
    "k": _strays,
}

"""Where a command writes: lines and the summary on standard output, errors, warnings and hints on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sized
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

import click

from gemmalock.cli.closing import short_summary, slowest, troubles
from gemmalock.cli.render import file_line, letter, pruned_line, stray_line, summary_line, verb_color
from gemmalock.errors import GemmalockError, InputError, Problem
from gemmalock.escaping import escaped
from gemmalock.outcome import ErrorNote, FileOutcome, Outcome, Report

if TYPE_CHECKING:
    from gemmalock.app.together import Vantage
    from gemmalock.differing import LockDifference

_LABELS = {"error": "red", "warning": "yellow", "note": "blue", "hint": "cyan"}


@dataclass(eq=False, repr=False)
class Page:
    """Writes what happened. With `json`, the report alone goes to standard output.

    A verbosity of 1 tells what was skipped too, 2 all there is; -1 a letter a file, -2 what went wrong and nothing
    else. `annotates`: a CI runner reads along, and is to annotate the run with its errors.
    """

    json: bool = False
    verbosity: int = 0
    color: bool = False
    error_color: bool = False
    annotates: bool = False
    reported: bool = False
    #: Of a run about one of several projects: it is told as seen from where the whole began.
    vantage: Vantage | None = None
    #: How many letters stand on the line that is not ended yet.
    _letters: int = 0
    #: How many fit on it.
    _columns: int = 0

    def named(self, name: str) -> str:
        """A path in the project, or a node ID of it, as it is told."""
        return name if self.vantage is None else self.vantage.name(name)

    def heading(self, text: str) -> None:
        """What the next lines are about, where several things are told of."""
        self.passed_on(click.style(escaped(f"# {text}"), fg="cyan"))

    def line(self, text: str) -> None:
        """A line of data (with --json: on standard error)."""
        self.passed_on(escaped(text))

    def passed_on(self, text: str) -> None:
        """The same for text that needs no escaping: what gemmalock itself printed, colours and all."""
        self.fresh_line()
        self._put(text)

    def fresh_line(self) -> None:
        """End the line of letters, if there is one."""
        if self._letters:
            self._letters = 0
            self._put("")

    def _put(self, text: str, *, ended: bool = True) -> None:
        stream, color = (sys.stderr, self.error_color) if self.json else (sys.stdout, self.color)
        click.echo(text, file=stream, color=color, nl=ended)

    def outcomes(self, outcomes: Iterable[FileOutcome]) -> None:
        """The lines or the letters of files, of those that are worth one. Those that are told together are written
        together: a terminal takes a thousand lines faster than a thousand times a line."""
        worth = [each for each in outcomes if each.outcome is not Outcome.SKIPPED or self.verbosity > 0]
        if self.verbosity == -1:
            self._put_letters(worth)
        elif worth and self.verbosity > -1:
            self.passed_on("\n".join(map(self._line_of, worth)))

    def _put_letters(self, outcomes: Iterable[FileOutcome]) -> None:
        letters = (_styled_letter(each.outcome) for each in outcomes)
        while row := tuple(islice(letters, self._room())):
            self._put("".join(row), ended=False)
            self._letters += len(row)
            if self._letters >= self._columns:
                self.fresh_line()

    def _room(self) -> int:
        """How many letters more fit on the line. A line is as wide as the terminal is when it begins."""
        if not self._letters:
            import shutil

            self._columns = shutil.get_terminal_size().columns
        return self._columns - self._letters

    def _line_of(self, outcome: FileOutcome) -> str:
        told = outcome if self.vantage is None else replace(outcome, id=self.vantage.name(outcome.id))
        return _coloured(*file_line(told, verbosity=self.verbosity), verb_color(outcome))

    def _coloured(self, verb: str, rest: str, color: str) -> None:
        self.passed_on(_coloured(verb, rest, color))

    def table(self, found: LockDifference) -> None:
        """In what two locks differ."""
        from gemmalock.cli.differences import COLORS, rows_of

        found = found if self.vantage is None else self.vantage.difference(found)
        for row in rows_of(found) if self.verbosity >= 0 else ():
            if row.verb:
                verb = click.style(row.indented, fg=COLORS[row.verb], bold=True)
                self.passed_on(f"{verb}  {escaped(row.rest)}")
            else:
                self.line(row.rest)

    def report(self, report: Report) -> None:
        """The report's end: what was pruned, warnings, and with --json the report itself."""
        for gone in report.pruned if self.verbosity >= 0 else ():
            self._coloured(*pruned_line(gone, report), "yellow")
        for stray in report.strays_kept if self.verbosity > 0 else ():
            self._coloured(*stray_line(stray), "yellow")
        for warning in report.warnings:
            self.warning(warning)
        if self.json and not self.reported:
            from gemmalock.codec.report_json import write_report

            text = write_report(report)
            # Once: whatever comes between now and the end, there is one report on standard output.
            self.reported = True
            click.echo(text, nl=False)

    def summary(self, report: Report) -> None:
        """The one line that ends a run."""
        if self.verbosity > -2:
            text = summary_line(report)
            color = "green" if report.ok else "red"
            self.passed_on(click.style(text, fg=color, bold=True))

    def failures(self, report: Report) -> None:
        """Everything that went wrong, with what was tried and what to do about it: each thing once."""
        if self.verbosity > -2 and any(file.error is not None for file in report.files):
            self._aside(click.style("== failures ==", fg="red", bold=True))
        for trouble in troubles(report):
            for label, sentence in trouble.sentences:
                self.say(label, sentence)
            self.hint(trouble.hint)

    def errors(self, errors: Iterable[ErrorNote]) -> None:
        """Errors of a run that had more of them than the one that ended it."""
        for error in errors:
            self.say("error", error.message)
            self.hint(error.hint)

    def closing(self, report: Report, kinds: str, durations: int | None) -> None:
        """What was asked for in particular: the slowest files (`--durations`), the lines of some kinds (`-r`)."""
        files = slowest(report, durations, all=self.verbosity > 1) if durations is not None else []
        self._title(f"slowest {durations} files" if durations else "slowest files", of=files)
        for line in files:
            self.line(line)
        summary = short_summary(report, kinds)
        self._title("short summary", of=summary)
        for verb, rest, color in summary:
            self._coloured(verb, rest, color)

    def _title(self, text: str, *, of: Sized) -> None:
        if of:
            self.passed_on(click.style(f"== {text} ==", bold=True))

    def annotations(self, lines: Iterable[str]) -> None:
        """Commands for a CI runner, as they are."""
        for line in lines:
            self._aside(line)

    def error(self, error: GemmalockError) -> None:
        """An error that ended the run."""
        problems = error.problems if isinstance(error, InputError) else ()
        for problem in problems:
            if str(problem) != error.message:
                placed = problem if self.vantage is None else replace(problem, path=self.vantage.place(problem.path))
                self._aside(escaped(str(placed)))
                self._place_and_cure(problem)
        self.say("error", self._said(error.message))
        for problem in problems:
            if str(problem) == error.message:
                self._place_and_cure(problem)
        for drift in getattr(error, "drifts", ()):
            self._aside(f"  {escaped(str(drift))}")
        self.hint(error.hint)

    def _said(self, message: str) -> str:
        return message if self.vantage is None else self.vantage.says(message)

    def _place_and_cure(self, problem: Problem) -> None:
        if problem.excerpt:
            # Behind a bar: a line that begins with `::` would drive a CI runner.
            self._aside("\n".join(f"  | {escaped(line)}" for line in problem.excerpt.split("\n")))
        self.hint(problem.hint)

    def warning(self, message: str) -> None:
        """A warning."""
        if self.verbosity > -2:
            self.say("warning", self._said(message))

    def trace(self, message: str) -> None:
        """How something came about, for those who ask twice (`-vv`)."""
        if self.verbosity > 1:
            self._aside(escaped(message))

    def hint(self, message: str) -> None:
        """What to do about it."""
        if message:
            self.say("hint", message)

    def say(self, what: str, message: str) -> None:
        """A labelled line on standard error."""
        self._aside(f"{click.style(f'{what}:', fg=_LABELS[what], bold=True)} {escaped(message)}")

    def _aside(self, text: str) -> None:
        self.fresh_line()
        click.echo(text, err=True, color=self.error_color)


@cache
def _styled_letter(outcome: Outcome) -> str:
    text, color = letter(outcome)
    return click.style(text, fg=color)


def _coloured(verb: str, rest: str, color: str) -> str:
    return f"{click.style(verb, fg=color, bold=True)}  {escaped(rest)}"

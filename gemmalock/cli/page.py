"""Where a command writes: lines and the summary on standard output, errors, warnings and hints on standard error."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import click

from gemmalock.cli.render import file_line, pruned_line, stray_line, summary_line, verb_color
from gemmalock.errors import GemmalockError, InputError, Problem
from gemmalock.escaping import escaped
from gemmalock.outcome import FileOutcome, Outcome, Report


@dataclass
class Page:
    """Writes what happened. With `json`, the report alone goes to standard output."""

    json: bool = False
    verbosity: int = 0
    color: bool = False
    error_color: bool = False
    reported: bool = False

    def line(self, text: str) -> None:
        """A line of data (with --json: on standard error)."""
        self.passed_on(escaped(text))

    def passed_on(self, text: str) -> None:
        """The same for text that needs no escaping: what gemmalock itself printed, colours and all."""
        stream, color = (sys.stderr, self.error_color) if self.json else (sys.stdout, self.color)
        click.echo(text, file=stream, color=color)

    def outcome(self, outcome: FileOutcome) -> None:
        """The line of a file, unless it is not worth one."""
        if self.verbosity < 0 or (outcome.outcome is Outcome.SKIPPED and self.verbosity < 1):
            return
        verb, rest = file_line(outcome, verbose=self.verbosity > 0)
        self._coloured(verb, rest, verb_color(outcome))

    def _coloured(self, verb: str, rest: str, color: str) -> None:
        self.passed_on(f"{click.style(verb, fg=color, bold=True)}  {escaped(rest)}")

    def report(self, report: Report) -> None:
        """The report's end: what was pruned, errors, the summary line, and with --json the report itself."""
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
        """Every error of a report with its hint."""
        for outcome in report.files:
            if outcome.error is not None:
                self.say("error", f"{outcome.id}: {outcome.error.message}")
                self.hint(outcome.error.hint)
        for note in report.errors:
            self.say("error", f"{note.place}: {note.message}" if note.place else note.message)
        for hint in dict.fromkeys(note.hint for note in report.errors):
            self.hint(hint)

    def error(self, error: GemmalockError) -> None:
        """An error that ended the run."""
        problems = error.problems if isinstance(error, InputError) else ()
        for problem in problems:
            if str(problem) != error.message:
                click.echo(escaped(str(problem)), err=True)
                self._place_and_cure(problem)
        self.say("error", error.message)
        for problem in problems:
            if str(problem) == error.message:
                self._place_and_cure(problem)
        for drift in getattr(error, "drifts", ()):
            click.echo(f"  {escaped(str(drift))}", err=True)
        self.hint(error.hint)

    def _place_and_cure(self, problem: Problem) -> None:
        if problem.excerpt:
            # Behind a bar: a line that begins with `::` would drive a CI runner.
            click.echo("\n".join(f"  | {escaped(line)}" for line in problem.excerpt.split("\n")), err=True)
        self.hint(problem.hint)

    def warning(self, message: str) -> None:
        """A warning."""
        if self.verbosity > -2:
            self.say("warning", message)

    def trace(self, message: str) -> None:
        """How something came about, for those who ask twice (`-vv`)."""
        if self.verbosity > 1:
            click.echo(escaped(message), err=True)

    def hint(self, message: str) -> None:
        """What to do about it."""
        if message:
            self.say("hint", message)

    def say(self, what: str, message: str) -> None:
        """A labelled line on standard error."""
        color = {"error": "red", "warning": "yellow", "hint": "cyan"}[what]
        label = click.style(f"{what}:", fg=color, bold=True) if self.error_color else f"{what}:"
        click.echo(f"{label} {escaped(message)}", err=True, color=self.error_color)

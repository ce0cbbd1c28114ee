"""Outcomes and reports as text. Pure: strings in, strings out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gemmalock.errors import Interrupted
from gemmalock.outcome import FileOutcome, Outcome, Pruned, Report, StrayKept
from gemmalock.sizes import shown_size

if TYPE_CHECKING:
    from gemmalock.differing import LockDifference

_COLORS = {
    Outcome.DONE: "green",
    Outcome.SKIPPED: "green",
    Outcome.PLANNED: "cyan",
    Outcome.FAILED: "red",
    Outcome.CANCELLED: "yellow",
}

_LETTERS = {
    Outcome.DONE: ".",
    Outcome.SKIPPED: "s",
    Outcome.PLANNED: "w",
    Outcome.FAILED: "F",
    Outcome.CANCELLED: "c",
}
#: Command → what it says where there is nothing to say.
_NOTHING = {"diff": "no difference"}


def verb_color(outcome: FileOutcome) -> str:
    """The colour of an outcome's verb."""
    return _COLORS[outcome.outcome]


def letter(outcome: Outcome) -> tuple[str, str]:
    """The one letter of a file that ended so, for those who want to hear little, and its colour."""
    return _LETTERS[outcome], _COLORS[outcome]


def file_line(outcome: FileOutcome, *, verbosity: int = 0) -> tuple[str, str]:
    """The line of a file, as its verb and the rest. What was tried before it failed is told at the end."""
    parts = [outcome.id, _told(outcome)]
    if outcome.notes and outcome.error is None and (verbosity > 0 or outcome.outcome is not Outcome.SKIPPED):
        parts.append("; ".join(outcome.notes))
    if verbosity > 0 and outcome.sha256:
        parts.append(f"sha256 {outcome.sha256}")
    if verbosity > 1 and outcome.task_id:
        parts.append(f"task {outcome.task_id}")
    if verbosity > 1 and outcome.outcome is not Outcome.SKIPPED:
        parts.append(f"in {outcome.seconds:.2f}s")
    return outcome.verb, "  ".join(part for part in parts if part)


def _told(outcome: FileOutcome) -> str:
    size = outcome.size or 0
    if outcome.error is not None:
        # The message and its hint follow on standard error.
        kept = f"  {shown_size(outcome.bytes_here)} of {shown_size(size)} are kept" if outcome.bytes_here else ""
        return f"{outcome.error.code}{kept}"
    if outcome.outcome is Outcome.CANCELLED:
        share = f" ({100 * outcome.bytes_here // size} %)" if size else ""
        return f"{shown_size(outcome.bytes_here)} of {shown_size(size)} are kept{share}"
    if outcome.bytes_kept or outcome.bytes_fetched:
        if outcome.outcome is Outcome.PLANNED:
            return outcome.reason
        fetched = f"{shown_size(outcome.bytes_fetched)} fetched"
        return f"{shown_size(outcome.bytes_kept)} kept, {fetched}" if outcome.bytes_kept else fetched
    if outcome.reason and outcome.outcome in (Outcome.PLANNED, Outcome.SKIPPED):
        return f"{shown_size(size)}  {outcome.reason}"
    return shown_size(size)


def pruned_line(pruned: Pruned, report: Report) -> tuple[str, str]:
    """The line of something that was pruned, or would be."""
    would = is_plan(report)
    return "WOULD PRUNE" if would else "PRUNED", f"{pruned.path}  {shown_size(pruned.size)} to {pruned.to}"


def stray_line(stray: StrayKept) -> tuple[str, str]:
    """The line of a stray that stays."""
    return "KEPT", f"{stray.path}  {stray.reason}"


def is_plan(report: Report) -> bool:
    """Whether the report says what would be done, not what was."""
    facts = dict(report.facts)
    return report.command == "status" or bool(facts.get("dry_run"))


def summary_line(report: Report) -> str:
    """The one line that ends a run, as `== 1 resumed, 3 up to date, 1 pruned in 2.41s ==`."""
    facts = dict(report.facts)
    if isinstance(collected := facts.get("collected"), list):
        files = "1 file" if len(collected) == 1 else f"{len(collected)} files"
        return f"== {files}, {shown_size(int(str(facts['bytes'])))} collected =="
    counts = Counter(outcome.verb.lower() for outcome in report.files)
    if report.command == "diff" and report.difference is not None:
        from gemmalock.cli.differences import verb_of

        counts = Counter(verb_of(file).lower() for file in report.difference.files)
    order = sorted(counts, key=lambda verb: (verb in ("failed", "cancelled"), verb == "up to date"))
    parts = [f"{counts[verb]} {verb}" for verb in order]
    if report.pruned:
        parts.append(f"{len(report.pruned)} {'to prune' if is_plan(report) else 'pruned'}")
    if errors := sum(1 for error in report.errors if error.code != Interrupted.code):
        parts.append(f"{errors} error{'s' if errors > 1 else ''}")
    if written := report.locks_written:
        parts.append("lock written" if written == 1 else f"{written} locks written")
    if report.command in ("diff", "outdated"):
        parts += _besides_files(report.difference)
    return f"== {', '.join(parts) or _NOTHING.get(report.command, 'nothing to do')} in {report.seconds:.2f}s =="


def _besides_files(found: LockDifference | None) -> Iterator[str]:
    """What two locks differ in where no file tells of it; or that they do not."""
    if found is None or found.files:
        return
    for count, what in ((len(found.models), "model"), (len(found.manifests), "manifest")):
        if count:
            yield f"{count} {what}{'' if count == 1 else 's'} changed"

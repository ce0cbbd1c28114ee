"""What of a project failed when it was last tried: read for `--lf` and `--ff`, noted by runs that try."""

from __future__ import annotations

from collections.abc import Iterable

from gemmalock.app.papers import Papers
from gemmalock.app.wiring import Workshop
from gemmalock.errors import GemmalockError
from gemmalock.failures import Failures
from gemmalock.outcome import FileOutcome, Outcome

_ENDED = (Outcome.DONE, Outcome.SKIPPED, Outcome.FAILED)


def failed_before(workshop: Workshop, papers: Papers) -> frozenset[str]:
    """The files of the lock that failed when they were last tried."""
    try:
        lock = papers.old_lock
    except GemmalockError:
        # It is told by whoever needs the lock.
        return frozenset()
    known = () if lock is None else (node.id for node in lock.nodes())
    return _failures(workshop).listed().intersection(known)


def note_outcomes(workshop: Workshop, outcomes: Iterable[FileOutcome]) -> None:
    """Note which files failed now, and which ended well."""
    ended = {outcome.id: outcome.outcome is Outcome.FAILED for outcome in outcomes if outcome.outcome in _ENDED}
    _failures(workshop).note(ended, (node.id for node in workshop.lock.nodes()))


def _failures(workshop: Workshop) -> Failures:
    return Failures(workshop.store_folder, workshop.lock_path)

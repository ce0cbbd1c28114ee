"""`lock`: manifest → lock, and the report of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gemmalock.app.papers import Papers
from gemmalock.app.ready import resolve_papers, taught_by
from gemmalock.app.wiring import Workshop
from gemmalock.differing import Change, LockDifference, difference, file_sentences
from gemmalock.drift import shared_pins
from gemmalock.errors import FileError, RunRefused, UsageError
from gemmalock.lockfile import LOCK_NAME, Lock, Node
from gemmalock.outcome import ErrorNote, ExitCode, FileOutcome, LockChange, Outcome, Report
from gemmalock.pinning import Pinned, Wish
from gemmalock.resolver import Resolution
from gemmalock.selection import Selection
from gemmalock.spec import MANIFEST_NAME

#: The verb of what was done → that of what would be.
_WOULD = {"LOCKED": "WOULD LOCK", "UPDATED": "WOULD UPDATE", "REMOVED": "WOULD REMOVE"}


ALL = Selection()


@dataclass(frozen=True, slots=True)
class LockOptions:
    """How to lock: see the flags of `gemmalock lock`."""

    check: bool = False
    upgrade: bool = False
    upgrade_model: tuple[str, ...] = ()
    hash: bool = False
    dry_run: bool = False

    def wish(self, models: frozenset[str] | None) -> Wish:
        """What it wants of the resolver; `models`: the node IDs of those that an upgrade is about, None: of all."""
        if models is None:
            return Wish(self.upgrade, frozenset(self.upgrade_model), self.hash)
        return Wish(False, models.union(self.upgrade_model), self.hash)


def run_lock(workshop: Workshop, papers: Papers, options: LockOptions, selection: Selection = ALL) -> Report:
    """What `gemmalock lock` does. A selection is for an upgrade alone. Raises InputError; a file that cannot be had is
    in the report."""
    return workshop.ended(_lock(workshop, papers, options, selection))


def _lock(workshop: Workshop, papers: Papers, options: LockOptions, selection: Selection) -> Report:
    if selection.prefixes and not options.upgrade:
        hint = "`--upgrade` may be about some models: with a selection, or by `--upgrade-model NAME`"
        raise UsageError("a lock is of a whole project", hint=hint)
    known = {model.name for manifest in papers.manifests.values() for model in manifest.models}
    if unknown := sorted(set(options.upgrade_model) - known):
        where = f"`{MANIFEST_NAME}`" if len(papers.paths) == 1 else "the workspace"
        raise UsageError(f"no model `{unknown[0]}` in {where}", hint="`gemmalock list` shows them")
    if options.check and not (options.upgrade or options.upgrade_model):
        return _check(papers)
    resolution = resolve_papers(workshop, papers, options.wish(_models(papers, selection) if options.upgrade else None))
    if resolution.lock is None:
        return lock_report(papers, resolution, ExitCode.FAILED)
    if options.check or options.dry_run:
        notes = _stale(papers, resolution.lock) if options.check else ()
        code = ExitCode.FAILED if options.check and papers.old_lock != resolution.lock else ExitCode.OK
        return replace(lock_report(papers, resolution, code, planned=True), errors=notes)
    changed = _written(papers, resolution.lock)
    papers.remember()
    return lock_report(papers, resolution, ExitCode.OK, changed=changed)


def _models(papers: Papers, selection: Selection) -> frozenset[str] | None:
    """The node IDs of the models that a selection has something of; None where it is about all."""
    if not selection:
        return None
    nodes = selection.of(papers.required_lock().nodes())
    return frozenset(f"{node.manifest.path}::{node.model.name}" for node in nodes)


def _written(papers: Papers, lock: Lock) -> bool:
    """Write the lock; whether its bytes differed. A lock that somebody else has written meanwhile is replaced where
    ours is the same and knows more digests. Raises RunRefused otherwise."""
    try:
        return papers.write_lock(lock)
    except RunRefused:
        fresh = Papers(papers.project, papers.settings)
        if fresh.old_lock is None or taught_by(fresh.old_lock, lock) != lock:
            raise
        return fresh.write_lock(lock)


def lock_report(
    papers: Papers, resolution: Resolution, code: ExitCode, *, changed: bool = False, planned: bool = False
) -> Report:
    """The report of a resolution: `changed`, the lock was written; `planned`, it is not to be."""
    facts: tuple[tuple[str, object], ...] = ()
    found = None
    if resolution.lock is not None:
        found = difference(resolution.old or Lock(), resolution.lock)
        facts = changed_ids(found)
        shared = [{"source": source, "models": ids} for source, ids in shared_pins(resolution.lock)]
        facts += (("shared", shared),) if shared else ()
    return Report(
        "lock",
        code,
        files=outcomes_of(resolution, papers.roots, planned=planned),
        lock=LockChange(LOCK_NAME, changed),
        warnings=(*resolution.warnings, *papers.unused_locks()),
        facts=facts,
        difference=found,
    )


def changed_ids(found: LockDifference) -> tuple[tuple[str, object], ...]:
    """The node IDs of what is new, otherwise and gone, as facts of a report."""
    return tuple((change.value, list(found.ids(change))) for change in (Change.ADDED, Change.CHANGED, Change.REMOVED))


def outcomes_of(resolution: Resolution, roots: Mapping[str, str], *, planned: bool = False) -> tuple[FileOutcome, ...]:
    """What locking came to, a file each, those that go at the end; `roots` are those of the manifests, by their paths.
    Where one failed, there is no lock, and none of the others is done."""
    before = {node.id: node for node in (resolution.old or Lock()).nodes()}
    outcomes = [_outcome(pin, before.get(pin.file.id), roots[pin.file.manifest]) for pin in resolution.pins]
    if resolution.lock is None:
        return tuple(_not_locked(outcome) for outcome in outcomes)
    stays = {node.id for node in resolution.lock.nodes()}
    outcomes += [_removed(node) for id, node in before.items() if id not in stays]
    return tuple(_planned(outcome) for outcome in outcomes) if planned else tuple(outcomes)


def _outcome(pin: Pinned, before: Node | None, root: str) -> FileOutcome:
    """What locking came to for a file that was in the lock as `before`, or was not."""
    locked, notes = pin.locked, tuple[str, ...]()
    if pin.error is not None:
        outcome, verb, reason = Outcome.FAILED, "FAILED", pin.error.message
    elif before is None:
        outcome, verb, reason = Outcome.DONE, "LOCKED", "it was not in the lock before"
    elif locked == before.file:
        why = "asked for anew, and the same" if pin.asked else "pinned before, and still follows from the manifest"
        outcome, verb, reason = Outcome.SKIPPED, "UNCHANGED", why
    else:
        outcome, verb, reason = Outcome.DONE, "UPDATED", "it is pinned otherwise than before"
        notes = file_sentences(before.file, locked) if locked is not None else ()
    return FileOutcome(
        id=pin.file.id,
        model=pin.file.model,
        path=f"{root}/{pin.file.path}" if pin.file.path else root,
        task_id=locked.task_id if locked else None,
        size=locked.size if locked else None,
        sha256=locked.sha256 if locked else None,
        resume_status=None,
        reason=reason,
        action=None,
        outcome=outcome,
        seconds=pin.seconds,
        error=_note(pin, pin.error) if pin.error is not None else None,
        verb=verb,
        notes=(*notes, *(pin.error.notes if pin.error is not None else ())),
    )


def _note(pin: Pinned, error: FileError) -> ErrorNote:
    """The note of an error; an upgrade is no cure where it is what was wanted."""
    kept = pin.file.pinned is not None and pin.file.spec is None
    return ErrorNote.of_pin(error, pin.file.model, in_source=kept)


def _removed(node: Node) -> FileOutcome:
    reason = "it is no longer among the files of the manifest and its sources"
    return FileOutcome.of_node(node, Outcome.DONE, reason=reason, verb="REMOVED")


def _planned(outcome: FileOutcome) -> FileOutcome:
    """The outcome of a run that only says what it would do."""
    if outcome.outcome is not Outcome.DONE:
        return outcome
    return replace(outcome, outcome=Outcome.PLANNED, verb=_WOULD[outcome.verb])


def _not_locked(outcome: FileOutcome) -> FileOutcome:
    """The outcome of a run in which another file failed."""
    if outcome.outcome is not Outcome.DONE:
        return outcome
    reason = "nothing is written: another file could not be locked"
    return replace(outcome, outcome=Outcome.PLANNED, verb="NOT LOCKED", reason=reason, notes=())


def _stale(papers: Papers, lock: Lock) -> tuple[ErrorNote, ...]:
    """In what else than its files the lock is not the one that was resolved: `--check` has to say it."""
    if papers.old_lock is None or papers.old_lock == lock or (found := difference(papers.old_lock, lock)).files:
        return ()
    drifts = [str(drifted) for drifted in papers.drifts()]
    said = drifts or list(found.sentences) or [f"`{LOCK_NAME}` is not written as it would be"]
    return tuple(ErrorNote("lock_outdated", each, "run `gemmalock lock --upgrade`") for each in said)


def _check(papers: Papers) -> Report:
    drifts = papers.drifts()
    papers.required_lock()
    change = LockChange(LOCK_NAME, changed=False)
    if not drifts:
        return Report("lock", ExitCode.OK, lock=change)
    notes = tuple(ErrorNote("lock_outdated", str(drifted), "run `gemmalock lock`") for drifted in drifts)
    return Report("lock", ExitCode.FAILED, lock=change, errors=notes)

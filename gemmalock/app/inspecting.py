"""Commands that only look: `status`, `verify`, `path`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from gemmalock.app.failing import note_outcomes
from gemmalock.app.papers import Papers
from gemmalock.app.wiring import Workshop
from gemmalock.collect import Project
from gemmalock.errors import DigestMismatch, FileError, NotFound, PolicyRefused, ReadWriteFailed, RunRefused, UsageError
from gemmalock.lockfile import LOCK_NAME, Lock, Node
from gemmalock.looking import look
from gemmalock.machine import PlaceSight, PruneResult
from gemmalock.outcome import ErrorNote, ExitCode, FileOutcome, LockChange, Outcome, Report, exit_code_of
from gemmalock.plan import Action, FilePlan, Place, Plan, ResumeStatus, plan
from gemmalock.selection import Selection
from gemmalock.stopping import Tolerance

_HASH_HINT = "run `gemmalock lock --hash` to have its digest in the lock"
_UNCHANGED = LockChange(LOCK_NAME, changed=False)


def run_status(workshop: Workshop, papers: Papers, selection: Selection) -> Report:
    """What sync would do and why, a line a file. Asks no source."""
    # What the others here have no use for; `verify` of a small model would mostly wait for it.
    from gemmalock.app.foretelling import foreseen
    from gemmalock.app.leftover import former_roots, leftover_roots
    from gemmalock.app.pruning import SELECTED, Pruning, pruning_warnings
    from gemmalock.app.ready import Mode, ready_lock

    ready = ready_lock(workshop, papers, Mode.AS_IS)
    workshop.lock = ready.lock
    nodes = selection.of(ready.lock.nodes())
    planned = plan(nodes, look(nodes, workshop))
    outcomes = tuple(_status(foreseen(workshop, file)) for file in planned.files)
    warnings = [f"the lock is stale: {drift}" for drift in ready.stale]
    if not ready.known:
        warnings.extend(root.told for root in former_roots(workshop))
    pruned = PruneResult()
    if selection.given:
        pruned = Pruning.unwanted(workshop, SELECTED, {node.manifest.path for node in nodes}).preview(workshop)
    else:
        try:
            gone = leftover_roots(workshop) if not (ready.known or selection.within) else ()
            pruning = Pruning.of(workshop, (*selection.manifests(ready.lock), *gone), adopt=False)
            pruned = pruning.preview(workshop)
            warnings.extend(pruning_warnings(pruning))
        except RunRefused as refusal:
            warnings.append(f"{refusal.message}; {refusal.hint}")
    return Report(
        "status",
        ExitCode.OK,
        files=outcomes,
        pruned=pruned.pruned,
        strays_kept=pruned.kept,
        lock=_UNCHANGED,
        warnings=tuple(warnings),
    )


def _status(file: FilePlan) -> FileOutcome:
    if file.action is Action.SKIP:
        return FileOutcome.of(file, Outcome.SKIPPED, verb="UP TO DATE")
    return FileOutcome.of(file, Outcome.PLANNED, verb=file.resume_status.name.replace("_", " "))


def run_verify(workshop: Workshop, papers: Papers, selection: Selection, tolerance: Tolerance | None = None) -> Report:
    """Hash what is in place against the lock; changes no file. What is not begun once `tolerance` is spent says so."""
    lock = papers.required_lock()
    workshop.lock = lock
    reading, plugging = workshop.reading, workshop.plugging
    nodes = selection.of(lock.nodes())
    plugging.call("gemmalock_collected", folder=workshop.project.folder, nodes=nodes)

    takes = tolerance or Tolerance()

    def verify(node: Node) -> FileOutcome:
        if takes.is_spent:
            return FileOutcome.of_node(node, Outcome.PLANNED, reason="the run ended before it", verb="NOT BEGUN")
        began = time.monotonic()
        outcome = replace(_verified(node, reading.of(node, workshop)), seconds=time.monotonic() - began)
        try:
            plugging.call("gemmalock_verified", node=node, outcome=outcome)
        except FileError as error:
            outcome = _objected(outcome, error)
        if outcome.outcome is Outcome.FAILED:
            takes.spend()
        workshop.reporter.finished(outcome)
        return outcome

    outcomes = reading.over(nodes, verify)
    note_outcomes(workshop, outcomes)
    return plugging.ended(Report("verify", exit_code_of(outcomes), files=outcomes, lock=_UNCHANGED))


def _objected(outcome: FileOutcome, error: FileError) -> FileOutcome:
    """The outcome of a file that a plugin found something wrong with; what was wrong before is told first."""
    if outcome.error is not None:
        return replace(outcome, notes=(*outcome.notes, error.message))
    return replace(outcome, outcome=Outcome.FAILED, error=ErrorNote.of(error), verb="FAILED")


def _verified(node: Node, sight: PlaceSight) -> FileOutcome:
    status, error = _verdict(node, sight)
    return FileOutcome.of_node(
        node,
        Outcome.DONE if error is None else Outcome.FAILED,
        resume_status=status,
        sha256=node.file.sha256 or sight.sha256,
        reason=f"in place, and its digest is {_teller(node)}" if error is None else error.message,
        error=ErrorNote.of(error) if error is not None else None,
        verb="VERIFIED" if error is None else "FAILED",
    )


def _teller(node: Node) -> str:
    return "the lock's" if node.file.sha256 is not None else "the ledger's; the lock has none"


def _verdict(node: Node, sight: PlaceSight) -> tuple[ResumeStatus, FileError | None]:
    path, detail = node.path, sight.detail
    match sight.place:
        case Place.KNOWN | Place.MATCHING:
            return ResumeStatus.FILE_COMPLETE, None
        case Place.ABSENT:
            return ResumeStatus.FILE_NOT_FOUND, NotFound(f"`{path}` is not in place", hint="run `gemmalock sync`")
        case Place.OTHER:
            kind = type(sight.error) if sight.error is not None else DigestMismatch
            hint = _HASH_HINT if kind is PolicyRefused else "run `gemmalock sync --verify` to replace it"
            return ResumeStatus.MODIFIED, kind(f"`{path}`: {detail}", hint=hint)
        case Place.UNREADABLE:
            return ResumeStatus.UNREADABLE, sight.error or ReadWriteFailed(detail or f"cannot read `{path}`")


@dataclass(frozen=True, slots=True)
class LocalPath:
    """Where a model or a file of it is to be on this disk; `missing`: why it is not there, or None where it is."""

    place: Path
    missing: FileError | None


def find_path(workshop: Workshop, papers: Papers, wanted: str) -> LocalPath:
    """The local path of a model's folder or of one of its files: `MODEL` or `MODEL::FILE`, with the path of its
    manifest and `::` before it where that has to be said. Raises NotFound for a name that the lock does not have,
    UsageError for one that several manifests have, none of them being nearer than the others."""
    lock = papers.required_lock()
    workshop.lock = lock
    nodes, is_file = _wanted(lock, wanted, workshop.project.manifest)
    folder = workshop.project.folder
    planned = plan(nodes, look(nodes, workshop))
    return LocalPath(folder / (nodes[0].path if is_file else _common_folder(nodes)), _missing(planned, wanted))


def ids_of(project: Project, papers: Papers, wanted: str) -> tuple[str, ...]:
    """The node IDs of what `find_path` finds the place of. Raises what that raises."""
    nodes, _ = _wanted(papers.required_lock(), wanted, project.manifest)
    return tuple(node.id for node in nodes)


def _missing(planned: Plan, wanted: str) -> FileError | None:
    """Why not every file of a plan is in place, or None where it is. A failed look is told before an absence."""
    from gemmalock.job import refused

    for file in planned.files:
        if file.action is Action.REFUSE:
            return refused(file)
    if all(file.resume_status is ResumeStatus.FILE_COMPLETE for file in planned.files):
        return None
    return NotFound(f"`{wanted}` is not in place", hint="run `gemmalock sync`")


def _wanted(lock: Lock, wanted: str, nearest: str) -> tuple[tuple[Node, ...], bool]:
    """The nodes that are meant, and whether that is a single file."""
    first, _, rest = wanted.partition("::")
    manifest = first if rest and lock.manifest(first) is not None else None
    model, _, name = (rest if manifest else wanted).partition("::")
    nodes = [node for node in lock.nodes() if node.model.name == model and (not name or node.file.name == name)]
    if not nodes:
        raise NotFound(f"the lock has no `{wanted}`", hint=_near(lock, manifest, model, name))
    owners = sorted({node.manifest.path for node in nodes})
    if manifest is None:
        manifest = nearest if nearest in owners else owners[0]
        if len(owners) > 1 and nearest not in owners:
            listed = ", ".join(f"`{owner}::{wanted}`" for owner in owners[:10])
            raise UsageError(f"more than one manifest has `{wanted}`", hint=f"say which: {listed}")
    meant = tuple(node for node in nodes if node.manifest.path == manifest)
    if not meant:
        raise NotFound(f"the lock has no `{wanted}`", hint=_near(lock, manifest, model, name))
    return meant, bool(name)


def _near(lock: Lock, manifest: str | None, model: str, name: str) -> str:
    """What the lock has instead: files of the model, where it has that, else models; of that manifest, where one is
    named that has any."""
    from gemmalock.missing import instead_of

    nodes = [node for node in lock.nodes() if node.manifest.path == manifest] or list(lock.nodes())
    files = sorted({node.file.name for node in nodes if node.model.name == model})
    return instead_of(name, files) if files else instead_of(model, sorted({node.model.name for node in nodes}))


def _common_folder(nodes: Iterable[Node]) -> str:
    """The model's folder: what is left of a file's path without its name in the model."""
    first = next(iter(nodes))
    return first.path.removesuffix(first.file.name).rstrip("/")

"""`outdated`: what upstream has that the lock has not. Sources are asked; no lock and no root is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from gemmalock.app.locking import changed_ids, outcomes_of
from gemmalock.app.papers import Papers
from gemmalock.app.wiring import Workshop
from gemmalock.differing import LockDifference, difference
from gemmalock.lockfile import LOCK_NAME, Lock, LockedManifest, LockedModel
from gemmalock.outcome import ExitCode, FileOutcome, LockChange, Outcome, Report
from gemmalock.pinning import Asker, Pinned, Wish
from gemmalock.resolver import Resolution, resolve
from gemmalock.selection import Selection
from gemmalock.spec import Manifest

#: The verb of what an upgrade would do → that of what upstream did.
_DID = {"WOULD LOCK": "ADDED", "WOULD UPDATE": "CHANGED", "WOULD REMOVE": "REMOVED", "UNCHANGED": "UP TO DATE"}
_ANEW = Wish(upgrade=True)


def run_outdated(workshop: Workshop, papers: Papers, selection: Selection, *, check: bool = False) -> Report:
    """What `gemmalock outdated` does; `check`: that anything moved is a failure. A selection asks for its models alone.

    Raises LockMissing, NothingCollected, InputError; a file that cannot be asked for is in the report, and the others
    are told.
    """
    return workshop.ended(_outdated(workshop, papers, selection, check))


def _outdated(workshop: Workshop, papers: Papers, selection: Selection, check: bool) -> Report:
    # Who asks does so in many threads.
    from gemmalock.app.asking import Questions

    # A manifest that is wrong is told before a lock that is missing.
    manifests, stale = papers.manifests, papers.drifts()
    workshop.lock = lock = papers.required_lock()
    before = lock
    if selection or selection.within:
        chosen = frozenset(f"{node.manifest.path}::{node.model.name}" for node in selection.of(lock.nodes()))
        manifests, before = _only(manifests, chosen), _lock_of(lock, chosen)
    workshop.plugging.call("gemmalock_before_resolve", folder=workshop.project.folder, manifests=manifests)
    asker = Questions(workshop, _ANEW)
    resolution = resolve(manifests, lock, _ANEW, asker)
    after = _beside(before, resolution.lock or _as_far_as_known(manifests, lock, resolution, asker))
    found = difference(before, after)
    failed = bool(resolution.failures) or (check and bool(found))
    return Report(
        "outdated",
        ExitCode.FAILED if failed else ExitCode.OK,
        files=_outcomes(replace(resolution, lock=after, old=before), papers.roots, found),
        lock=LockChange(LOCK_NAME, changed=False),
        warnings=(
            *resolution.warnings,
            *(f"the lock is stale: {drifted}" for drifted in stale),
            *papers.unused_locks(),
        ),
        facts=changed_ids(found),
        difference=found,
    )


def _only(manifests: Mapping[str, Manifest], models: frozenset[str]) -> dict[str, Manifest]:
    """The manifests with these models alone, by their node IDs."""
    left = {
        path: replace(manifest, models=tuple(model for model in manifest.models if f"{path}::{model.name}" in models))
        for path, manifest in manifests.items()
    }
    return {path: manifest for path, manifest in left.items() if manifest.models}


def _lock_of(lock: Lock, models: frozenset[str]) -> Lock:
    """The same of a lock."""
    left = (
        replace(each, models=tuple(model for model in each.models if f"{each.path}::{model.name}" in models))
        for each in lock.manifests
    )
    return Lock(tuple(manifest for manifest in left if manifest.models))


def _as_far_as_known(manifests: Mapping[str, Manifest], old: Lock, resolution: Resolution, asker: Asker) -> Lock:
    """The lock where some files could not be asked for: those that could are as they are now, the others as in `old`.
    Whom was asked once is not asked again: `asker` has the answers."""
    failed: frozenset[str] = frozenset()
    again = resolution
    while again.lock is None:
        failed |= {f"{pin.file.manifest}::{pin.file.model}" for pin in again.failures}
        models = {f"{path}::{model.name}" for path, manifest in manifests.items() for model in manifest.models}
        again = resolve(_only(manifests, frozenset(models - failed)), old, _ANEW, asker)
    halves: dict[str, list[LockedModel]] = {}
    for id in sorted(failed):
        pins = [pin for pin in resolution.pins if f"{pin.file.manifest}::{pin.file.model}" == id]
        if (model := _half(id, old, pins)) is not None:
            halves.setdefault(id.partition("::")[0], []).append(model)
    resolved = {manifest.path: manifest for manifest in again.lock.manifests}
    return Lock(
        tuple(
            LockedManifest(path, manifest.root, manifest.declared, _models(resolved.get(path), halves.get(path, ())))
            for path, manifest in manifests.items()
        )
    )


def _models(resolved: LockedManifest | None, halves: Iterable[LockedModel]) -> tuple[LockedModel, ...]:
    return (*(resolved.models if resolved is not None else ()), *halves)


def _half(id: str, old: Lock, pins: Iterable[Pinned]) -> LockedModel | None:
    """A model of which a file failed, with the new pins of the others; None for a new one. At which revision they were
    asked for is not known here."""
    path, name = id.split("::")
    manifest = old.manifest(path)
    model = manifest.model(name) if manifest is not None else None
    if model is None:
        return None
    files = {file.name: file for file in model.files}
    files |= {pin.locked.name: pin.locked for pin in pins if pin.locked is not None}
    return replace(model, files=tuple(files.values()))


def _beside(before: Lock, after: Lock) -> Lock:
    """The new lock with the roots and declarations of the old one: no upstream changes these."""
    return Lock(tuple(_as_declared(before.manifest(manifest.path), manifest) for manifest in after.manifests))


def _as_declared(before: LockedManifest | None, manifest: LockedManifest) -> LockedManifest:
    return manifest if before is None else replace(manifest, root=before.root, declared=before.declared)


def _outcomes(resolution: Resolution, roots: Mapping[str, str], found: LockDifference) -> tuple[FileOutcome, ...]:
    """What upstream did to each file, as outcomes of an upgrade that is only planned."""
    moved = {file.id for file in found.files if file.same_bytes}
    outcomes = outcomes_of(resolution, roots, planned=True)
    return tuple(
        outcome
        if outcome.outcome is Outcome.FAILED
        else replace(outcome, verb="MOVED" if outcome.id in moved else _DID[outcome.verb])
        for outcome in outcomes
    )

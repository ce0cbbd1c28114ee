"""`lock`: manifest → lock, and the lock that every other command starts from."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace

from gemmalock.app.papers import Papers
from gemmalock.app.wiring import Workshop
from gemmalock.errors import GemmalockError, LockOutdated, UsageError
from gemmalock.lockfile import LOCK_NAME, Drift, Lock, LockedFile, Node, difference
from gemmalock.outcome import ErrorNote, ExitCode, FileOutcome, LockChange, Outcome, Report
from gemmalock.resolver import Pinned, Resolution, Wish, resolve

#: How it ends for a file that was asked for: its outcome, and the verb of its line.
_LOCKED = (Outcome.DONE, "LOCKED")
_WOULD_LOCK = (Outcome.PLANNED, "WOULD LOCK")
_NOT_LOCKED = (Outcome.PLANNED, "NOT LOCKED")


@dataclass(frozen=True, slots=True)
class LockOptions:
    """How to lock: see the flags of `gemmalock lock`."""

    check: bool = False
    upgrade: bool = False
    upgrade_model: tuple[str, ...] = ()
    hash: bool = False
    dry_run: bool = False

    @property
    def wish(self) -> Wish:
        """What it wants of the resolver."""
        return Wish(self.upgrade, frozenset(self.upgrade_model), self.hash)


def run_lock(workshop: Workshop, papers: Papers, options: LockOptions) -> Report:
    """What `gemmalock lock` does. Raises InputError; a file that cannot be had is in the report."""
    unknown = sorted(set(options.upgrade_model) - {model.name for model in papers.manifest.models})
    if unknown:
        raise UsageError(
            f"no model `{unknown[0]}` in `{workshop.project.manifest}`", hint="`gemmalock list` shows them"
        )
    if options.check and not (options.upgrade or options.upgrade_model):
        return _check(papers)
    resolution = resolve_papers(workshop, papers, options.wish)
    if resolution.lock is None:
        return lock_report(papers, resolution, ExitCode.FAILED)
    differs = difference(papers.old_lock or Lock(), resolution.lock) or papers.old_lock != resolution.lock
    if options.check or options.dry_run:
        code = ExitCode.FAILED if options.check and differs else ExitCode.OK
        return lock_report(papers, resolution, code, planned=True)
    changed = papers.write_lock(resolution.lock)
    return lock_report(papers, resolution, ExitCode.OK, changed=changed)


def resolve_papers(workshop: Workshop, papers: Papers, wish: Wish) -> Resolution:
    """The lock that follows from the manifest, keeping the pins that may stay."""
    # Who asks does so in many threads; a run whose lock stands asks nothing.
    from gemmalock.app.asking import Questions

    path = workshop.project.manifest
    root = workshop.project.folder / papers.manifest.root
    workshop.lock = papers.old_lock or Lock()
    return resolve({path: papers.manifest}, papers.old_lock, wish, Questions(workshop, path, wish, root))


class Mode(enum.Enum):
    """How a run comes by its lock."""

    #: Lock first, where there is no lock or a stale one.
    DEFAULT = "default"
    #: The same, but nothing is written.
    DRY = "dry"
    #: A stale lock is an error.
    LOCKED = "locked"
    #: The manifest is not read.
    FROZEN = "frozen"
    #: A stale lock is told, and used as it is.
    AS_IS = "as_is"


@dataclass(frozen=True, slots=True)
class Ready:
    """A lock to go by. `resolution` is None where no source had to be asked, else the lock is not yet written; `stale`
    says in what it drifts; `known`, that these very papers were seen to agree before."""

    lock: Lock
    resolution: Resolution | None = None
    stale: tuple[Drift, ...] = ()
    known: bool = False


class NotLocked(GemmalockError):
    """Some files could not be locked; `resolution` says which and why."""

    code = "not_locked"

    def __init__(self, resolution: Resolution) -> None:
        super().__init__(f"{len(resolution.failures)} file(s) could not be locked")
        self.resolution = resolution


def ready_lock(workshop: Workshop, papers: Papers, mode: Mode) -> Ready:
    """The lock that a run goes by. Raises LockMissing, LockOutdated, NotLocked, InputError."""
    if mode is Mode.FROZEN:
        return Ready(papers.required_lock())
    if papers.known_to_agree():
        return Ready(papers.required_lock(), known=True)
    # A manifest that is wrong is told before a lock that is missing.
    drifts = papers.drifts()
    if not drifts:
        return Ready(papers.required_lock())
    if mode is Mode.LOCKED:
        papers.required_lock()
        raise LockOutdated(f"`{LOCK_NAME}` does not follow from `{workshop.project.manifest}`", drifts=drifts)
    if mode is Mode.AS_IS:
        return Ready(papers.required_lock(), stale=drifts)
    resolution = resolve_papers(workshop, papers, Wish())
    if resolution.lock is None:
        raise NotLocked(resolution)
    return Ready(resolution.lock, resolution=resolution)


def with_digests(lock: Lock, learned: Iterable[FileOutcome]) -> Lock:
    """The lock with the digests that a run learned entered where it had none for the same task."""
    digests = {
        (outcome.id, outcome.task_id): outcome.sha256
        for outcome in learned
        if outcome.sha256 and outcome.outcome in (Outcome.DONE, Outcome.SKIPPED)
    }

    def taught(node: Node) -> LockedFile:
        return node.file if node.file.sha256 else replace(node.file, sha256=digests.get((node.id, node.file.task_id)))

    return Lock(
        tuple(
            replace(
                manifest,
                models=tuple(
                    replace(model, files=tuple(taught(Node(manifest, model, file)) for file in model.files))
                    for model in manifest.models
                ),
            )
            for manifest in lock.manifests
        )
    )


def lock_report(
    papers: Papers, resolution: Resolution, code: ExitCode, *, changed: bool = False, planned: bool = False
) -> Report:
    """The report of a resolution: `changed`, the lock was written; `planned`, it is not to be."""
    return Report(
        "lock",
        code,
        files=outcomes_of(resolution, papers.manifest.root, planned=planned),
        lock=LockChange(LOCK_NAME, changed),
        warnings=resolution.warnings,
    )


def outcomes_of(resolution: Resolution, folder_root: str, *, planned: bool = False) -> tuple[FileOutcome, ...]:
    """What locking came to, a file each: where one failed, there is no lock, and none of the others is done."""
    ending = _NOT_LOCKED if resolution.lock is None else _WOULD_LOCK if planned else _LOCKED
    return tuple(_outcome(pin, folder_root, ending) for pin in resolution.pins)


def _outcome(pin: Pinned, root: str, ending: tuple[Outcome, str]) -> FileOutcome:
    locked = pin.locked
    kept = locked is not None and not pin.asked
    if pin.error is not None:
        outcome, verb = Outcome.FAILED, "FAILED"
    elif kept:
        outcome, verb = Outcome.SKIPPED, "UNCHANGED"
    else:
        outcome, verb = ending
    return FileOutcome(
        id=pin.file.id,
        model=pin.file.id.split("::")[1],
        path=f"{root}/{pin.file.path}" if pin.file.path else root,
        task_id=locked.task_id if locked else None,
        size=locked.size if locked else None,
        sha256=locked.sha256 if locked else None,
        resume_status=None,
        reason="pinned before, and still follows from the manifest" if kept else "",
        action=None,
        outcome=outcome,
        error=ErrorNote.of(pin.error) if pin.error is not None else None,
        verb=verb,
        notes=pin.error.notes if pin.error is not None else (),
    )


def _check(papers: Papers) -> Report:
    drifts = papers.drifts()
    papers.required_lock()
    change = LockChange(LOCK_NAME, changed=False)
    if not drifts:
        return Report("lock", ExitCode.OK, lock=change)
    notes = tuple(ErrorNote("lock_outdated", str(drifted), "run `gemmalock lock`") for drifted in drifts)
    return Report("lock", ExitCode.FAILED, lock=change, errors=notes)

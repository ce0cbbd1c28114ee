"""The lock that a run goes by: the one that is there, or one that follows from the manifests now."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gemmalock.app.papers import Papers
from gemmalock.app.wiring import Workshop
from gemmalock.drift import Drift
from gemmalock.errors import GemmalockError, LockOutdated
from gemmalock.lockfile import LOCK_NAME, Lock, LockedFile, Node
from gemmalock.outcome import FileOutcome, Outcome
from gemmalock.spec import MANIFEST_NAME

if TYPE_CHECKING:
    from gemmalock.pinning import Wish
    from gemmalock.resolver import Resolution


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
        source = f"`{MANIFEST_NAME}`" if len(papers.paths) == 1 else "the manifests of the workspace"
        raise LockOutdated(f"`{LOCK_NAME}` does not follow from {source}", drifts=drifts)
    if mode is Mode.AS_IS:
        return Ready(papers.required_lock(), stale=drifts)
    resolution = resolve_papers(workshop, papers)
    if resolution.lock is None:
        raise NotLocked(resolution)
    return Ready(resolution.lock, resolution=resolution)


def resolve_papers(workshop: Workshop, papers: Papers, wish: Wish | None = None) -> Resolution:
    """The lock that follows from the manifest, keeping the pins that may stay, as `wish` says."""
    # Who asks does so in many threads; a run whose lock stands asks nothing.
    from gemmalock.app.asking import Questions
    from gemmalock.pinning import Wish
    from gemmalock.resolver import resolve

    wish = wish or Wish()
    workshop.lock = papers.old_lock or Lock()
    manifests, plugging, folder = papers.manifests, workshop.plugging, workshop.project.folder
    plugging.call("gemmalock_before_resolve", folder=folder, manifests=manifests)
    resolution = resolve(manifests, papers.old_lock, wish, Questions(workshop, wish, papers.meant))
    if resolution.lock is not None:
        plugging.call("gemmalock_resolved", folder=folder, old=papers.old_lock, lock=resolution.lock)
    return resolution


def with_digests(lock: Lock, learned: Iterable[FileOutcome]) -> Lock:
    """The lock with the digests that a run learned entered where it had none for the same task."""
    digests = {
        (outcome.id, outcome.task_id): outcome.sha256
        for outcome in learned
        if outcome.sha256 and outcome.outcome in (Outcome.DONE, Outcome.SKIPPED)
    }

    return _with_digests(lock, digests)


def taught_by(lock: Lock, by: Lock) -> Lock:
    """The lock with the digests that another one has of the same tasks."""
    digests: dict[tuple[str, str | None], str | None] = {
        (node.id, node.file.task_id): node.file.sha256 for node in by.nodes()
    }
    return _with_digests(lock, digests)


def _with_digests(lock: Lock, digests: Mapping[tuple[str, str | None], str | None]) -> Lock:
    """The lock with these digests, by node and task, entered where it has none."""

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

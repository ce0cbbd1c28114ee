"""What is told of a plan that is not carried out: what would be done with each file, and what forbids a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gemmalock.app.room import without_room
from gemmalock.app.wiring import Workshop
from gemmalock.errors import FileError, Offline, PolicyRefused
from gemmalock.executor import untouched
from gemmalock.job import refused
from gemmalock.lockfile import Node
from gemmalock.outcome import FileOutcome, Outcome, failed
from gemmalock.plan import FETCHING, Action, FilePlan, Plan

_IN_CACHE = "the hub client's cache has a file of its digest's name and its size, which is hashed and taken"


def foreseen(workshop: Workshop, file: FilePlan) -> FilePlan:
    """A plan that says where what is to be fetched may be already."""
    return replace(file, reason=f"{file.reason}; {_IN_CACHE}") if _may_adopt(workshop, file) else file


def would_be(workshop: Workshop, file: FilePlan) -> FileOutcome:
    """What would become of a file."""
    if file.action is Action.SKIP:
        return FileOutcome.of(file, Outcome.SKIPPED, verb="UP TO DATE")
    if file.action is Action.REFUSE:
        return failed(file, refused(file))
    if _may_adopt(workshop, file):
        return FileOutcome.of(foreseen(workshop, file), Outcome.PLANNED, verb="WOULD ADOPT")
    if workshop.settings.offline and file.node.file.needs_network and file.action in FETCHING:
        return failed(file, Offline(f"`{file.node.file.name}` is not here, and the network is not to be used"))
    return FileOutcome.of(file, Outcome.PLANNED, verb=f"WOULD {file.action.name}")


def forbidden(workshop: Workshop, planned: Plan) -> list[tuple[FilePlan, FileError]]:
    """The files that may not even be begun, and why: then nothing is."""
    if workshop.settings.require_digests:
        nameless = [file for file in planned.files if file.node.file.sha256 is None]
        return [(file, _no_digest(file.node)) for file in nameless]
    return [*without_room(workshop, planned)]


def not_begun(planned: Plan, forbidden: Sequence[tuple[FilePlan, FileError]]) -> tuple[FileOutcome, ...]:
    """The outcomes of a run of which nothing is begun, because of these files."""
    done = {file.node.id: failed(file, error) for file, error in forbidden}
    return tuple(done.get(file.node.id) or untouched(file) for file in planned.files)


def _no_digest(node: Node) -> PolicyRefused:
    return PolicyRefused(
        f"`{node.file.name}` has no digest in the lock, and `require-digests` is set",
        hint="declare its sha256, or run `gemmalock lock --hash`",
    )


def _may_adopt(workshop: Workshop, file: FilePlan) -> bool:
    """Whether what is to be fetched may be here already, as far as its name and its size tell."""
    return file.action in FETCHING and next(workshop.hub_cache.blobs(file.node.file), None) is not None

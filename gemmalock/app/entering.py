"""Entering the roots that a run fills, so that two stores do not fetch one root's files twice."""

from __future__ import annotations

from collections.abc import Mapping

from gemmalock.app.wiring import Workshop
from gemmalock.errors import Busy, DiskError
from gemmalock.job import POLL_SECONDS
from gemmalock.plan import Plan

#: How long a lock that another process holds is not worth a word.
_QUIET_SECONDS = 1.0


def enter_roots(workshop: Workshop, planned: Plan) -> bool:
    """Enter the roots that something is put into; whether others had to leave first, who may have put in place what is
    wanted here. Raises Interrupted, and Busy where another process does not let go of the lock of a root."""
    wanted = {file.node.manifest.path: file.node.id for file in reversed(planned.files) if file.has_work}
    waited = False
    while (taken := _enter(workshop, wanted)) is not None:
        waited = True
        workshop.reporter.waiting(wanted[taken], "another process fills this root from another store")
        workshop.stop.wait(POLL_SECONDS)
    return waited


def leave_roots(workshop: Workshop) -> None:
    """Leave those that were entered."""
    for _, root in workshop.roots():
        root.leave()


def _enter(workshop: Workshop, wanted: Mapping[str, str]) -> str | None:
    """Enter the roots of these manifests, or none of them: then one in which another store is at work."""
    for manifest, id in wanted.items():
        try:
            entered = _entered(workshop, manifest, id)
        except DiskError:
            continue  # what is wrong with this root is told of each file that is to go into it
        if not entered:
            leave_roots(workshop)
            return manifest
    return None


def _entered(workshop: Workshop, manifest: str, id: str) -> bool:
    root = workshop.root(manifest)
    try:
        return root.enter(workshop.store_folder, patience=_QUIET_SECONDS)
    except Busy:
        workshop.reporter.waiting(id, "another process holds the lock of this root")
        return root.enter(workshop.store_folder)

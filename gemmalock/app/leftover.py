"""Roots that a lock filled and has no more: their manifests left the workspace. Looks; taking out is `pruning`'s.

Such a root is the lock's to empty only where its manifest is gone. Where a manifest still stands there, it is that
one's root, whether it is locked by itself now or not.
"""

from __future__ import annotations

from gemmalock.app.wiring import Workshop
from gemmalock.lockfile import LockedManifest
from gemmalock.paths import folded, path_problem


def leftover_roots(workshop: Workshop) -> tuple[LockedManifest, ...]:
    """Those roots, as manifests that lock nothing. None that is, holds or lies in a root of the lock, and none in which
    no ledger says that sync filled it. Raises DiskError."""
    taken = {folded(manifest.root_path) for manifest in workshop.lock.manifests}
    found = []
    for path, folder in sorted(workshop.store.roots_of(workshop.lock_path).items()):
        if workshop.lock.manifest(path) is not None or path_problem(path):
            continue
        above = workshop.project.folder / path.rpartition("/")[0]
        if above not in folder.parents or (workshop.project.folder / path).exists():
            continue
        gone = LockedManifest(path, folder.relative_to(above).as_posix(), "", ())
        if not _meets(folded(gone.root_path), taken) and workshop.root_of(gone).has_ledger():
            found.append(gone)
    return tuple(found)


def _meets(root: str, taken: set[str]) -> bool:
    return any(root == other or f"{root}/".startswith(f"{other}/") or other.startswith(f"{root}/") for other in taken)

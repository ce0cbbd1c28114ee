"""Roots that a lock filled and has no more: their manifests left the workspace. Looks; taking out is `pruning`'s.

Such a root is the lock's to empty only where its manifest is gone, and no other one stands in any folder above the
root: it may be that one's by now, whether it is locked by itself or not.
"""

from __future__ import annotations

import os
from pathlib import Path

from gemmalock.app.wiring import Workshop
from gemmalock.errors import disk_error
from gemmalock.lockfile import LOCK_NAME, LockedManifest
from gemmalock.paths import folded, path_problem
from gemmalock.spec import MANIFEST_NAME


def leftover_roots(workshop: Workshop) -> tuple[LockedManifest, ...]:
    """Those roots, as manifests that lock nothing. None that is, holds or lies in a root of the lock, and none in which
    no ledger says that sync filled it. Raises DiskError."""
    taken = {folded(manifest.root_path) for manifest in workshop.lock.manifests}
    found = []
    for path, folder in sorted(workshop.store.roots_of(workshop.lock_path).items()):
        if workshop.lock.manifest(path) is not None or path_problem(path):
            continue
        above = workshop.project.folder / path.rpartition("/")[0]
        if above not in folder.parents or _has_an_owner(folder, workshop.project.folder):
            continue
        gone = LockedManifest(path, folder.relative_to(above).as_posix(), "", ())
        if not _meets(folded(gone.root_path), taken) and workshop.root_of(gone).has_ledger():
            found.append(gone)
    return tuple(found)


def _has_an_owner(root: Path, project: Path) -> bool:
    """Whether a manifest or a lock stands in a folder above a root, below the project's. Raises DiskError where the
    disk would not say: a failed look never becomes a deletion."""
    for folder in root.parents:
        if folder == project:
            return False
        if any(_is_there(folder / name) for name in (MANIFEST_NAME, LOCK_NAME)):
            return True
    return True


def _is_there(path: Path) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise disk_error(error, f"look at `{path}`") from error
    return True


def _meets(root: str, taken: set[str]) -> bool:
    return any(root == other or f"{root}/".startswith(f"{other}/") or other.startswith(f"{root}/") for other in taken)

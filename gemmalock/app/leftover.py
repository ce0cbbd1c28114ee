"""Roots that a lock filled and has no more. Looks; taking out is `pruning`'s.

Where the manifest left the workspace, its root is the lock's to empty, if no other one stands in any folder above the
root: it may be that one's by now, whether it is locked by itself or not. Where the manifest has another root since, the
old one is told of and stays: whoever wrote `root` anew may have meant to keep it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from gemmalock.app.wiring import Workshop
from gemmalock.errors import DiskError, StateTooNew, disk_error
from gemmalock.lockfile import LOCK_NAME, LockedManifest
from gemmalock.memo import LEDGER
from gemmalock.paths import folded, path_problem
from gemmalock.seal import OWN
from gemmalock.sizes import shown_size
from gemmalock.spec import MANIFEST_NAME


def leftover_roots(workshop: Workshop) -> tuple[LockedManifest, ...]:
    """Those roots, as manifests that lock nothing. None that is, holds or lies in a root of the lock, and none in which
    no ledger says that sync filled it. Raises DiskError."""
    taken = {folded(manifest.root_path) for manifest in workshop.lock.manifests}
    found = []
    for path, folder in dict(workshop.store.roots_of(workshop.lock_path)).items():
        if workshop.lock.manifest(path) is not None or path_problem(path):
            continue
        above = workshop.project.folder / path.rpartition("/")[0]
        if above not in folder.parents or _has_an_owner(folder, workshop.project.folder):
            continue
        gone = LockedManifest(path, folder.relative_to(above).as_posix(), "", ())
        if not _meets(folded(gone.root_path), taken) and workshop.root_of(gone).has_ledger():
            found.append(gone)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class FormerRoot:
    """A root that a manifest of the lock had before. `sizes`, in bytes: of each file that sync put there and nobody
    changed; `lone`: nothing else is in it."""

    manifest: str
    folder: Path
    prefix: str
    sizes: tuple[int, ...]
    lone: bool

    @property
    def told(self) -> str:
        """As a warning."""
        count = f"{len(self.sizes)} file{'' if len(self.sizes) == 1 else 's'}"
        cure = (
            f"`rm -r {shlex.quote(str(self.folder))}` removes them"
            if self.lone
            else "there is more in it: look before you remove it"
        )
        return (
            f"`{self.prefix}` was the root of `{self.manifest}` before, and still has {count} that sync put there "
            f"({shown_size(sum(self.sizes))}); {cure}; without `{self.prefix}/{OWN}/{LEDGER}` they are yours"
        )


def former_roots(workshop: Workshop) -> tuple[FormerRoot, ...]:
    """The roots that manifests of the lock had before and that sync filled, as long as a ledger and some of that is
    there. What lies in a root of the lock is pruning's. Raises DiskError where the store would not say."""
    found = []
    for path, folder in workshop.store.roots_of(workshop.lock_path):
        # Nothing is taken out: a root that would not say is one of which there is nothing to tell.
        with contextlib.suppress(DiskError, StateTooNew):
            if (former := _former_root(workshop, path, folder)) is not None:
                found.append(former)
    return tuple(found)


def _former_root(workshop: Workshop, path: str, folder: Path) -> FormerRoot | None:
    manifest, base = workshop.lock.manifest(path), workshop.project.folder
    if manifest is None or (above := base / manifest.folder) not in folder.parents or _has_an_owner(folder, above):
        return None
    former = LockedManifest(path, folder.relative_to(above).as_posix(), "", ())
    own, taken = folded(former.root_path), [folded(each.root_path) for each in workshop.lock.manifests]
    root = workshop.open_root(former)
    if any(f"{own}/".startswith(f"{other}/") for other in taken) or not root.has_ledger():
        return None
    strays = root.strays(frozenset())
    ours = tuple(stray.size for stray in strays if stray.ours)
    is_shared = any(other.startswith(f"{own}/") for other in taken)
    lone = len(ours) == len(strays) and not is_shared and not _has_entries(folder / OWN / "trash")
    return FormerRoot(path, folder, former.root_path, ours, lone) if ours else None


def _has_entries(folder: Path) -> bool:
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        return any(True for _ in entries)
    return False


def _has_an_owner(root: Path, project: Path) -> bool:
    """Whether a manifest or a lock stands in a folder above a root, below the project's or the manifest's. Raises
    DiskError where the disk would not say: a failed look never becomes a deletion."""
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

"""Folders, manifests and node IDs → the project that is meant, and which of its files.

Only names are looked at here; what is in a manifest is the codec's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gemmalock.errors import NothingCollected, UsageError
from gemmalock.lockfile import LOCK_NAME, Node
from gemmalock.spec import MANIFEST_NAME

#: Folders that are never walked into in search of a manifest.
NEVER_WALKED = frozenset({".git", ".gemmalock", "node_modules", "__pycache__", ".venv", "venv", ".tox", ".nox"})


@dataclass(frozen=True, slots=True)
class Project:
    """A manifest and its lock. `folder` is absolute; `manifest` is the manifest's path in it."""

    folder: Path
    manifest: str = MANIFEST_NAME

    @property
    def manifest_path(self) -> Path:
        """Where the manifest is."""
        return self.folder / self.manifest

    @property
    def lock_path(self) -> Path:
        """Where the lock is, or would be."""
        return self.folder / LOCK_NAME


@dataclass(frozen=True, slots=True)
class Selection:
    """Which nodes are meant: those under one of the prefixes, or all where there is none. `given`: something was named
    at all, if only a folder."""

    prefixes: tuple[str, ...] = ()
    given: bool = False

    def __bool__(self) -> bool:
        return bool(self.prefixes)

    def of(self, nodes: Iterable[Node]) -> tuple[Node, ...]:
        """The nodes that are meant, in order. Raises NothingCollected for a prefix that fits none."""
        listed = tuple(nodes)
        for prefix in self.prefixes:
            if not any(_under(node.id, prefix) for node in listed):
                raise NothingCollected(
                    f"nothing fits `{prefix}`", hint="run `gemmalock list` to see the node IDs of this lock"
                )
        return tuple(node for node in listed if not self.prefixes or any(_under(node.id, p) for p in self.prefixes))


def collect(folder: Path, selectors: Sequence[str] = ()) -> tuple[Project, Selection]:
    """The one project that `selectors` (folders, manifests, node IDs; none: `folder`) mean, and what of it.

    Raises UsageError for a selector that is nothing, or for selectors of two projects, NothingCollected where there
    is no manifest.
    """
    projects: set[Project] = set()
    prefixes: list[str] = []
    for selector in selectors or ("",):
        manifest, separator, rest = selector.partition("::")
        project = _project_at(folder / manifest, selector or str(folder))
        projects.add(project)
        if separator:
            prefixes.append(f"{project.manifest}::{rest}".rstrip(":"))
    if len(projects) > 1:
        listed = ", ".join(sorted(f"`{_shown(project.folder, folder)}`" for project in projects))
        raise UsageError(f"these belong to different locks: {listed}", hint="run gemmalock once for each")
    return projects.pop(), Selection(tuple(prefixes), given=bool(selectors))


def nearest(folder: Path) -> Project | None:
    """The project of `folder` or of the nearest folder above it, up to the git root. Nothing below is looked at."""
    try:
        return _above(folder)
    except NothingCollected:
        return None


def _under(node_id: str, prefix: str) -> bool:
    """Whether a node ID is the prefix, or below it: `a::m` does not mean `a::mini`."""
    return node_id == prefix or node_id.startswith((f"{prefix}::", f"{prefix}/"))


def _project_at(path: Path, selector: str) -> Project:
    try:
        return _found_at(path, selector)
    except OSError as error:
        raise _closed(path, error) from error


def _found_at(path: Path, selector: str) -> Project:
    if path.is_file() or path.name == MANIFEST_NAME:
        if path.name not in (MANIFEST_NAME, LOCK_NAME):
            raise UsageError(f"`{selector}` is not a manifest", hint=f"a manifest is called `{MANIFEST_NAME}`")
        if not path.parent.is_dir() or not _has_project(path.parent):
            raise NothingCollected(f"there is no `{selector}`")
        return Project(absolute(path.parent))
    if not path.is_dir():
        raise UsageError(f"`{selector}` does not exist", hint="give a folder, a manifest or a node ID")
    if _has_project(path):
        return Project(absolute(path))
    below = list(_below(path))
    if len(below) == 1:
        return Project(absolute(below[0]))
    if below:
        listed = ", ".join(f"`{_shown(folder, path)}/{MANIFEST_NAME}`" for folder in below[:10])
        raise UsageError(f"there is more than one manifest below `{selector}`: {listed}", hint="name one of them")
    return _above(path)


def _has_project(folder: Path) -> bool:
    try:
        return (folder / MANIFEST_NAME).exists() or (folder / LOCK_NAME).exists()
    except OSError as error:
        raise _closed(folder, error) from error


def _closed(path: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot look at `{path}`: {error.strerror or error}", hint="check the permissions of that path")


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        if MANIFEST_NAME in files:
            yield Path(place)
            folders.clear()
        folders[:] = sorted(
            name for name in folders if name not in NEVER_WALKED and not (Path(place) / name / "pyvenv.cfg").exists()
        )


def _above(path: Path) -> Project:
    here = absolute(path)
    for folder in (here, *here.parents):
        if _has_project(folder):
            return Project(folder)
        if (folder / ".git").exists():
            break
    raise NothingCollected(f"there is no `{MANIFEST_NAME}` here, below, or above up to the repository's root")


def absolute(folder: Path) -> Path:
    """The folder from the root of the file system; links stay as they are. Raises UsageError."""
    try:
        return Path(os.path.abspath(folder))
    except FileNotFoundError:
        raise UsageError("the current folder is gone", hint="change to a folder that is there") from None


def _shown(folder: Path, base: Path) -> str:
    return os.path.relpath(folder, base)

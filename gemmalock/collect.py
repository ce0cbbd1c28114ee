"""Folders, manifests and node IDs → the projects that are meant, and which of their files.

Names are looked at here, and who belongs to which workspace; what else is in a manifest is the codec's. Which nodes of
a lock a selection means, it says itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from gemmalock.durable import read_file
from gemmalock.errors import NothingCollected, UsageError
from gemmalock.lockfile import LOCK_NAME
from gemmalock.paths import joined
from gemmalock.selection import Selection
from gemmalock.spec import MANIFEST_NAME
from gemmalock.workspace import MAX_BYTES, manifests_below, may_have_members, workspace_above

#: So many manifests are named.
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Project:
    """A lock and its manifests: one, or a workspace's. `folder`, absolute, has the lock and the root manifest.
    `manifest`, a path in it, is the one that is meant where one is: the nearest to where the run began."""

    folder: Path
    manifest: str = MANIFEST_NAME

    @property
    def manifest_path(self) -> Path:
        """Where the manifest that is meant is."""
        return self.folder / self.manifest

    @property
    def lock_path(self) -> Path:
        """Where the lock is, or would be."""
        return self.folder / LOCK_NAME


class Collected(NamedTuple):
    """A project that is meant, and what of it."""

    project: Project
    selection: Selection


class SeveralProjects(UsageError):
    """Several projects are meant, `found` in the order of their folders, where one is needed."""

    def __init__(self, message: str, found: tuple[Collected, ...]) -> None:
        hint = "name one of them, or run in its folder (`-C`); a `workspace` in a manifest above gives them one lock"
        super().__init__(message, hint=hint)
        self.found = found


def collect(folder: Path, selectors: Sequence[str] = ()) -> Collected:
    """The one project that `selectors` (folders, manifests, node IDs; none: `folder`) mean, and what of it.

    Node IDs begin where the run does, or at the workspace root. Raises UsageError for a selector that is nothing,
    SeveralProjects where more than one is meant, NothingCollected where there is no manifest, ManifestInvalid for one
    above that may be a workspace's.
    """
    if not selectors:
        meant = _meant(folder, "", str(folder))
        # In a folder with nothing below it whose nearest manifest is the root's, a run is about the whole workspace.
        return _only(
            [
                Collected(each.project, Selection(within="" if each.prefix == MANIFEST_NAME else each.prefix))
                for each in meant
            ],
            folder,
        )
    home = _home(folder)
    named = sorted(
        (each for selector in selectors for each in _named(folder, home, selector)),
        key=lambda each: each.project.folder,
    )
    by_project = (list(group) for _, group in groupby(named, key=lambda each: each.project.folder))
    return _only([_selected(meant) for meant in by_project], folder)


def _only(found: Sequence[Collected], folder: Path) -> Collected:
    if len(found) == 1:
        return found[0]
    manifests = [_shown(project.manifest_path, folder) for project, _ in found]
    listed = ", ".join(f"`{name}`" for name in manifests[:_SHOWN])
    rest = f" and {len(manifests) - _SHOWN} more" if len(manifests) > _SHOWN else ""
    raise SeveralProjects(f"more than one project is meant, each with a lock of its own: {listed}{rest}", tuple(found))


def _selected(meant: Sequence[_Meant]) -> Collected:
    """What selectors of one project mean. What means everything leaves nothing out, whatever else was named."""
    prefixes = () if any(not each.prefix for each in meant) else tuple(each.prefix for each in meant)
    return Collected(meant[0].project, Selection(prefixes, named=True))


def prefixes_of(folder: Path, text: str, project: Project) -> tuple[str, ...]:
    """The prefixes of a project's node IDs that a word of `--deselect` means: of what is there as a selector does, else
    as it stands. Empty ones mean everything. Raises UsageError and ManifestInvalid as `collect` does."""
    path = text.partition("::")[0]
    if path and not (folder / path).exists():
        return (text.rstrip(":/"),)
    meant = _named(folder, _home(folder), text)
    return tuple(each.prefix for each in meant if each.project.folder == project.folder)


@dataclass(frozen=True, slots=True)
class _Meant:
    """What a selector means: a project, and a prefix of node IDs in it; an empty one means all."""

    project: Project
    prefix: str = ""


def _home(folder: Path) -> Path | None:
    """The workspace root or project that the run begins in, if there is one: node IDs may begin there."""
    project = nearest(folder)
    return None if project is None else project.folder


def _named(folder: Path, home: Path | None, selector: str) -> list[_Meant]:
    path, separator, rest = selector.partition("::")
    base = folder
    if separator and home is not None and not (folder / path).exists() and (home / path).exists():
        base = home
    meant = _meant(base, path, selector)
    if not separator:
        return meant
    only = meant[0]
    if len(meant) > 1 or (only.project.manifest == MANIFEST_NAME and only.prefix not in ("", MANIFEST_NAME)):
        raise UsageError(f"`{path}` has more than one manifest below it", hint=f"name one of them before `::{rest}`")
    return [_Meant(only.project, f"{only.project.manifest}::{rest}".rstrip(":"))]


def nearest(folder: Path) -> Project | None:
    """The project of `folder` or of the nearest folder above it, up to the git root. Nothing below is looked at."""
    try:
        return _above(folder)
    except NothingCollected:
        return None


def _meant(base: Path, path: str, selector: str) -> list[_Meant]:
    """What a folder or a manifest means: a project, or those below, in the order of their folders."""
    try:
        return list(_found_at(base / path, selector))
    except OSError as error:
        raise _closed(base / path, error) from error


def _found_at(path: Path, selector: str) -> Iterator[_Meant]:
    if path.is_file() or path.name == MANIFEST_NAME:
        if path.name not in (MANIFEST_NAME, LOCK_NAME):
            raise UsageError(f"`{selector}` is not a manifest", hint=f"a manifest is called `{MANIFEST_NAME}`")
        if not path.parent.is_dir() or not _has_project(path.parent):
            raise NothingCollected(f"there is no `{selector}`")
        project = _project_of(absolute(path.parent))
        # The manifest itself, and none of those in folders below it.
        yield _Meant(project, project.manifest if path.name == MANIFEST_NAME and _is_one_of_many(project) else "")
    elif not path.is_dir():
        raise UsageError(f"`{selector}` does not exist", hint="give a folder, a manifest or a node ID")
    elif _has_project(path):
        yield _within(_project_of(absolute(path)), path)
    elif below := [_project_of(absolute(place)) for place in manifests_below(path)]:
        yield from _within_each(below, path)
    else:
        project = _above(path)
        yield _Meant(project, project.manifest if _is_one_of_many(project) else "")


def _within_each(below: list[Project], path: Path) -> Iterator[_Meant]:
    """What a folder means that manifests are below: each of their projects. Of a project's own manifests no one is
    nearer than the others; what is for one alone is for the root's."""
    below.sort(key=lambda project: project.folder)
    for _, manifests in groupby(below, key=lambda project: project.folder):
        first, *others = manifests
        yield _within(replace(first, manifest=MANIFEST_NAME) if others else first, path)


def _has_project(folder: Path) -> bool:
    try:
        return (folder / MANIFEST_NAME).exists() or (folder / LOCK_NAME).exists()
    except OSError as error:
        raise _closed(folder, error) from error


def _closed(path: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot look at `{path}`: {error.strerror or error}", hint="check the permissions of that path")


def _above(path: Path) -> Project:
    here = absolute(path)
    for folder in (here, *here.parents):
        if _has_project(folder):
            return _project_of(folder)
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


def _project_of(folder: Path) -> Project:
    """The project of a folder that has a manifest or a lock: its own, or that of the workspace above, also where the
    folder was reached through a link."""
    if not (folder / MANIFEST_NAME).exists():
        return Project(folder)
    for place in dict.fromkeys((folder, Path(os.path.realpath(folder)))):
        if (above := workspace_above(place)) is not None:
            return Project(above, joined(place.relative_to(above).as_posix(), MANIFEST_NAME))
    return Project(folder)


def _is_one_of_many(project: Project) -> bool:
    """Whether the manifest that is meant may not be the only one of its lock."""
    if "/" in project.manifest:
        return True
    try:
        return may_have_members(read_file(project.manifest_path, MAX_BYTES))
    except OSError:
        return False


def _within(project: Project, path: Path) -> _Meant:
    """What a folder means: everything of the project that is below it. No member is behind a link."""
    here, base = Path(os.path.realpath(path)), Path(os.path.realpath(project.folder))
    return _Meant(project, here.relative_to(base).as_posix() if base in here.parents else "")

"""Folders, manifests and node IDs → the project that is meant, and which of its files.

Names are looked at here, and who belongs to which workspace; what else is in a manifest is the codec's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gemmalock.durable import read_file
from gemmalock.errors import NothingCollected, UsageError
from gemmalock.expressions import Expression
from gemmalock.lockfile import LOCK_NAME, Lock, LockedManifest, Node
from gemmalock.paths import joined
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


@dataclass(frozen=True, slots=True)
class Filter:
    """What is left of what was named: nodes for whose names `keyword` holds, and `tags` for the tags of their models,
    that are under none of `deselected`, and that are among the node IDs `only`, where some of them are.

    As with pytest's `-k`, a word of `keyword` holds where it is somewhere in the name of the manifest, the model or the
    file, whatever its case; one of `tags` is a whole tag.
    """

    keyword: Expression | None = None
    tags: Expression | None = None
    deselected: tuple[str, ...] = ()
    only: frozenset[str] | None = None
    #: Whether anything was said, if only what leaves nothing out.
    asked: bool = False

    def __bool__(self) -> bool:
        return bool(self.keyword or self.tags or self.deselected or self.only is not None)

    @property
    def hint(self) -> str:
        """What to do where nothing is left."""
        names = {"-k": self.keyword, "-m": self.tags, "--deselect": self.deselected}
        return f"say less with {' and '.join(f'`{name}`' for name, value in names.items() if value)}"

    def leaves(self, node: Node) -> bool:
        """Whether the node is left."""
        if any(not prefix or _under(node.id, prefix) for prefix in self.deselected):
            return False
        if self.tags is not None and not self.tags.fits(lambda tag: tag in node.model.tags):
            return False
        name = node.id.casefold()
        return self.keyword is None or self.keyword.fits(lambda word: word.casefold() in name)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which nodes are meant: those under one of the prefixes, or all where there is none, and of these what the filter
    leaves. `named`: something was named at all, if only a folder. `within`: where the run began inside of a workspace,
    as a prefix; empty at its root."""

    prefixes: tuple[str, ...] = ()
    named: bool = False
    within: str = ""
    filter: Filter = Filter()

    def __bool__(self) -> bool:
        return bool(self.prefixes) or bool(self.filter)

    @property
    def given(self) -> bool:
        """Whether anything was said of what is meant: such a run prunes nothing."""
        return self.named or self.filter.asked

    def of(self, nodes: Iterable[Node]) -> tuple[Node, ...]:
        """The nodes that are meant, in order. Raises NothingCollected for a prefix that fits none, and where there were
        some and the filter leaves none."""
        listed = tuple(node for node in nodes if not self.within or _under(node.id, self.within))
        for prefix in self.prefixes:
            if not any(_under(node.id, prefix) for node in listed):
                raise NothingCollected(
                    f"nothing fits `{prefix}`", hint="run `gemmalock list` to see the node IDs of this lock"
                )
        meant = [node for node in listed if not self.prefixes or any(_under(node.id, p) for p in self.prefixes)]
        left = tuple(node for node in meant if self.filter.leaves(node))
        if meant and not left:
            raise NothingCollected(f"all {len(meant)} files are deselected", hint=self.filter.hint)
        # As with pytest: where none of these failed, all are run.
        only = self.filter.only or ()
        return tuple(node for node in left if node.id in only) or left

    def manifests(self, lock: Lock) -> tuple[LockedManifest, ...]:
        """The manifests that the run is about, whichever of their files are named."""
        return tuple(each for each in lock.manifests if not self.within or _under(each.path, self.within))


def collect(folder: Path, selectors: Sequence[str] = ()) -> tuple[Project, Selection]:
    """The one project that `selectors` (folders, manifests, node IDs; none: `folder`) mean, and what of it.

    Node IDs begin where the run does, or at the workspace root. Raises UsageError for a selector that is nothing, or
    for selectors of two projects, NothingCollected where there is no manifest, ManifestInvalid for one above that may
    be a workspace's.
    """
    if not selectors:
        meant = _meant(folder, "", str(folder))
        # In a folder with nothing below it whose nearest manifest is the root's, a run is about the whole workspace.
        return meant.project, Selection(within="" if meant.prefix == MANIFEST_NAME else meant.prefix)
    home = _home(folder)
    found = [_named(folder, home, selector) for selector in selectors]
    projects = {each.project.folder: each.project for each in found}
    if len(projects) > 1:
        listed = ", ".join(sorted(f"`{_shown(place, folder)}`" for place in projects))
        raise UsageError(
            f"these belong to different locks: {listed}",
            hint="run gemmalock once for each; `gemmalock each` does it for all of a repository",
        )
    # What means everything leaves nothing out, whatever else was named.
    prefixes = () if any(not each.prefix for each in found) else tuple(each.prefix for each in found)
    return found[0].project, Selection(prefixes, named=True)


def prefix_of(folder: Path, text: str) -> str:
    """The prefix of node IDs that a word of `--deselect` means: of what is there as a selector does, else as it stands.
    Empty: everything. Raises UsageError and ManifestInvalid as `collect` does."""
    path = text.partition("::")[0]
    if path and not (folder / path).exists():
        return text.rstrip(":/")
    return _named(folder, _home(folder), text).prefix


@dataclass(frozen=True, slots=True)
class _Meant:
    """What a selector means: a project, and a prefix of node IDs in it; an empty one means all."""

    project: Project
    prefix: str = ""


def _home(folder: Path) -> Path | None:
    """The workspace root or project that the run begins in, if there is one: node IDs may begin there."""
    project = nearest(folder)
    return None if project is None else project.folder


def _named(folder: Path, home: Path | None, selector: str) -> _Meant:
    path, separator, rest = selector.partition("::")
    base = folder
    if separator and home is not None and not (folder / path).exists() and (home / path).exists():
        base = home
    meant = _meant(base, path, selector)
    if not separator:
        return meant
    if meant.project.manifest == MANIFEST_NAME and meant.prefix and meant.prefix != MANIFEST_NAME:
        raise UsageError(f"`{path}` has more than one manifest below it", hint=f"name one of them before `::{rest}`")
    return _Meant(meant.project, f"{meant.project.manifest}::{rest}".rstrip(":"))


def nearest(folder: Path) -> Project | None:
    """The project of `folder` or of the nearest folder above it, up to the git root. Nothing below is looked at."""
    try:
        return _above(folder)
    except NothingCollected:
        return None


def _under(node_id: str, prefix: str) -> bool:
    """Whether a node ID is the prefix, or below it: `a::m` does not mean `a::mini`."""
    return node_id == prefix or node_id.startswith((f"{prefix}::", f"{prefix}/"))


def _meant(base: Path, path: str, selector: str) -> _Meant:
    """What a folder or a manifest means."""
    try:
        return _found_at(base / path, selector)
    except OSError as error:
        raise _closed(base / path, error) from error


def _found_at(path: Path, selector: str) -> _Meant:
    if path.is_file() or path.name == MANIFEST_NAME:
        if path.name not in (MANIFEST_NAME, LOCK_NAME):
            raise UsageError(f"`{selector}` is not a manifest", hint=f"a manifest is called `{MANIFEST_NAME}`")
        if not path.parent.is_dir() or not _has_project(path.parent):
            raise NothingCollected(f"there is no `{selector}`")
        project = _project_of(absolute(path.parent))
        # The manifest itself, and none of those in folders below it.
        return _Meant(project, project.manifest if path.name == MANIFEST_NAME and _is_one_of_many(project) else "")
    if not path.is_dir():
        raise UsageError(f"`{selector}` does not exist", hint="give a folder, a manifest or a node ID")
    if _has_project(path):
        return _within(_project_of(absolute(path)), path)
    below = [_project_of(absolute(place)) for place in manifests_below(path)]
    if not below:
        project = _above(path)
        return _Meant(project, project.manifest if _is_one_of_many(project) else "")
    if len({project.folder for project in below}) > 1:
        raise _many(selector, [_shown(project.manifest_path, path) for project in below])
    # No one of them is nearer than the others; what is for one manifest alone is for the root's.
    return _within(below[0] if len(below) == 1 else replace(below[0], manifest=MANIFEST_NAME), path)


def _many(selector: str, manifests: Sequence[str]) -> UsageError:
    """Manifests with locks of their own. A run has one lock, and its report has too: for several there is `each`."""
    listed = ", ".join(f"`{name}`" for name in manifests[:_SHOWN])
    rest = f" and {len(manifests) - _SHOWN} more" if len(manifests) > _SHOWN else ""
    return UsageError(
        f"there is more than one manifest below `{selector}`, each with a lock of its own: {listed}{rest}",
        hint="name one of them, or run lock, sync, status or verify in all by `gemmalock each`; "
        "a `workspace` in a manifest above gives them one lock",
    )


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

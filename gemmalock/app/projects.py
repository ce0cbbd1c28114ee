"""Which projects a repository has: the folders in which the commands of `each` run."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gemmalock.app.papers import read_lock_bytes
from gemmalock.app.repository import Repository
from gemmalock.app.weights import PAPERS, manifests_of
from gemmalock.codec.lock_json import read_lock
from gemmalock.collect import absolute
from gemmalock.errors import LockInvalid
from gemmalock.lockfile import LOCK_NAME
from gemmalock.spec import MANIFEST_NAME
from gemmalock.workspace import NEVER_WALKED

#: What judges a manifest beside itself.
_SETTINGS = frozenset({"gemmalock.toml", "pyproject.toml"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a project is: `shown` from the top of the repository, and the folder to run in."""

    shown: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which projects are meant: those of `papers` (manifests and locks, from the folder of the call), or without any
    all that git tracks there and below. `unlocked`: also where a manifest has no lock. `staged`: as the commit in
    progress has them, where there is one."""

    papers: Sequence[str] = ()
    unlocked: bool = False
    staged: bool = False


@dataclass(frozen=True, slots=True)
class Projects:
    """The projects that are meant, and those that would be if git tracked them and did not ignore them."""

    places: tuple[Place, ...]
    untracked: tuple[Place, ...] = ()


@contextlib.contextmanager
def projects(folder: Path, wanted: Wanted, environ: Mapping[str, str]) -> Iterator[Projects]:
    """The projects that are meant, for as long as the context lasts. Raises UsageError, RunRefused."""
    repository = Repository.around(folder, environ)
    if repository is None:
        base = absolute(folder)
        yield Projects(_places(base, wanted.papers or _walked(base), wanted.unlocked))
        return
    tracked = [entry.path for entry in repository.entries() if entry.path.startswith(repository.prefix)]
    papers = [repository.inside(name) for name in wanted.papers] or [
        path for path in tracked if path.rpartition("/")[2] in PAPERS
    ]
    if not (wanted.staged and repository.committing):
        found = _places(repository.top, papers, wanted.unlocked)
        yield Projects(found, () if wanted.papers else _untracked(repository, found, wanted.unlocked))
        return
    with tempfile.TemporaryDirectory(prefix="gemmalock-staged-") as staged:
        _check_out(repository, Path(staged))
        yield Projects(_places(Path(staged), papers, wanted.unlocked))


def _untracked(repository: Repository, found: Iterable[Place], unlocked: bool) -> tuple[Place, ...]:
    """The projects of papers that are new to git, less those that were found."""
    papers = [
        path
        for path in repository.untracked(sorted(PAPERS), ignored=False)
        if path.startswith(repository.prefix) and not NEVER_WALKED.intersection(path.split("/"))
    ]
    known = {place.folder for place in found}
    return tuple(place for place in _places(repository.top, papers, unlocked) if place.folder not in known)


def _check_out(repository: Repository, target: Path) -> None:
    """Write every paper of the commit in progress into a folder, where nothing above it is taken for the project's."""
    entries = {entry.path: entry for entry in repository.entries()}
    papers = [entry for path, entry in entries.items() if path.rpartition("/")[2] in PAPERS | _SETTINGS]
    # A paper that is a link comes with what it leads to, where that is in the commit.
    links = {entry.blob: entry.path for entry in papers if not entry.is_file}
    targets = repository.read(list(links), lambda pieces: os.fsdecode(b"".join(pieces)))
    led_to = {os.path.normpath(os.path.join(os.path.dirname(links[blob]), led)) for blob, led in targets.items()}
    repository.check_out([*(entry.path for entry in papers), *(led_to & entries.keys())], target)
    (target / ".git").mkdir()


def _places(base: Path, papers: Iterable[str], unlocked: bool) -> tuple[Place, ...]:
    """The projects of these papers, each once; papers that are gone have none."""
    folders = {folder for paper in papers if (folder := _project_of(base, paper, unlocked)) is not None}
    return tuple(Place(folder or ".", base / folder) for folder in sorted(folders))


def _project_of(base: Path, paper: str, unlocked: bool) -> str | None:
    """The folder of the lock that a paper is, or belongs to: the one beside it, else the nearest above that lists it.
    A manifest that no lock lists is a project of its own, where those are wanted."""
    folder = os.path.dirname(paper)
    if (base / folder / LOCK_NAME).exists():
        return folder
    if not (base / folder / MANIFEST_NAME).exists():
        return None
    manifest = os.path.join(folder, MANIFEST_NAME)
    above = folder
    while above:
        above = os.path.dirname(above)
        if os.path.relpath(manifest, above or ".") in _listed(base / above):
            return above
    return folder if unlocked else None


def _listed(folder: Path) -> frozenset[str]:
    """The manifests that the lock in a folder lists; none where it says nothing."""
    try:
        text = read_lock_bytes(folder / LOCK_NAME)
        return frozenset() if text is None else frozenset(manifests_of(read_lock(text, LOCK_NAME), ""))
    except LockInvalid:
        # The commands that run where it is tell it.
        return frozenset()


def _walked(base: Path) -> Iterator[str]:
    """The papers below a folder that is in no repository."""
    for place, folders, files in os.walk(base):
        folders[:] = sorted(name for name in folders if name not in NEVER_WALKED)
        yield from (os.path.relpath(os.path.join(place, name), base) for name in files if name in PAPERS)

"""`diff`: in what two locks differ, each of them a file or that of the project at a revision of its repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gemmalock.app.locking import changed_ids
from gemmalock.app.papers import MAX_BYTES, Papers
from gemmalock.differing import difference
from gemmalock.durable import read_file
from gemmalock.errors import LockInvalid, LockMissing, Problem, UsageError
from gemmalock.escaping import shown
from gemmalock.lockfile import LOCK_NAME, Lock
from gemmalock.outcome import ExitCode, Report

_KINDS = "name a lock file, or a revision such as `HEAD~3`, `main` or a tag"


@dataclass(frozen=True, slots=True)
class Sides:
    """What is compared: names of lock files, relative to `folder`, or revisions of git. None: the lock of the last
    commit (`old`), the lock on the disk (`new`)."""

    folder: Path
    old: str | None = None
    new: str | None = None

    @property
    def are_files(self) -> bool:
        """Whether both are files, so that no project is needed."""
        return all(name is not None and _is_file(self.folder / name) for name in (self.old, self.new))


def run_diff(papers: Papers, sides: Sides, environ: Mapping[str, str], *, check: bool = False) -> Report:
    """What `gemmalock diff` does; `check`: that they differ is a failure. Asks no source, changes nothing.

    Raises UsageError for what is neither a file nor a revision, and where there is no repository; LockMissing,
    LockInvalid, and RunRefused where git fails.
    """
    old, new = sides.old or "HEAD", sides.new
    before = _lock_of(papers, sides.folder, old, environ)
    after = papers.required_lock() if new is None else _lock_of(papers, sides.folder, new, environ)
    found = difference(before, after)
    return Report(
        "diff",
        ExitCode.FAILED if check and found else ExitCode.OK,
        facts=(("old", old), ("new", new or LOCK_NAME), *changed_ids(found)),
        difference=found,
    )


def _lock_of(papers: Papers, folder: Path, name: str, environ: Mapping[str, str]) -> Lock:
    from gemmalock.codec.lock_json import read_lock

    path = folder / name
    if _is_file(path):
        return read_lock(_read(path, name), name)
    text, place = _at_revision(papers.project.folder, name, environ)
    return read_lock(text, place)


def _is_file(path: Path) -> bool:
    """Whether a name is that of a file here: what cannot even be looked at, as it is too long, is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def _read(path: Path, name: str) -> bytes:
    try:
        return read_file(path, MAX_BYTES)
    except OSError as error:
        problem = Problem(name, 0, 0, f"cannot be read: {error.strerror}")
        raise LockInvalid(f"cannot read `{name}`: {error.strerror}", problems=[problem]) from error


def _at_revision(folder: Path, revision: str, environ: Mapping[str, str]) -> tuple[bytes, str]:
    """The lock of the project in `folder` at a revision, and what its problems call it."""
    from gemmalock.app.repository import Repository

    repository = Repository.around(folder, environ)
    if repository is None:
        message = f"`{shown(revision)}` is no file, and `{folder}` is in no git repository"
        raise UsageError(message, hint="name two lock files, as `gemmalock diff OLD NEW`")
    commit = repository.commit(revision)
    if commit is None:
        empty = revision == "HEAD" and not repository.has_commits()
        hint = "there is no commit yet; name two lock files" if empty else _KINDS
        raise UsageError(f"`{shown(revision)}` is neither a file nor a revision of this repository", hint=hint)
    path = f"{repository.prefix}{LOCK_NAME}"
    text = repository.file_at(commit, path)
    if text is None:
        hint = f"commit `{LOCK_NAME}`, or name a revision that has it"
        raise LockMissing(f"there is no `{path}` at `{revision}`", hint=hint)
    return text, f"{revision}:{path}"

"""The registry of tasks for a program: file → task ID, in the terms of one project."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from gemmalock.app.papers import Papers
from gemmalock.app.session import Call, begin, settings_of
from gemmalock.errors import UsageError
from gemmalock.lockfile import LockedFile, Node
from gemmalock.outcome import FileOutcome

#: What may stand for a file of a lock: see `meant`.
File = str | LockedFile | FileOutcome

#: The ways to name a file of a lock, the surest first. What is one of them by a surer way is not meant by another.
_SPELLINGS: tuple[Callable[[Node], str], ...] = (
    lambda node: node.id,
    lambda node: node.id.partition("::")[2],
    lambda node: node.path,
    lambda node: node.file.path,
    lambda node: node.file.task_id,
)


class TaskRegistry:
    """The registry of tasks of one project: file → task ID, persistent.

    A file of the project's lock is meant by its LockedFile, a FileOutcome of it, its node ID, `MODEL::FILE`, its path,
    or its task ID, and is registered by its node ID, as `sync` registers it; any other name stays as it is. A
    registration is this machine's task record, as `gemmalock tasks` lists it; it goes when the file is in place, or
    with `unregister`. What other projects registered is theirs: it is not shown here, and stays. Every call may raise
    LockInvalid, DiskError.
    """

    def __init__(self, folder: str | os.PathLike[str] = ".", **settings: object) -> None:
        session = begin(Call(Path(folder), flags=settings_of("TaskRegistry", settings)), anywhere=True)
        self._papers = session.papers
        self._lock_path = session.workshop.lock_path
        self._registry = session.workshop.registry

    def register(self, file: File, task_id: str) -> None:
        """Note that `file` is the task `task_id`, and no other. Raises UsageError when that is no UUID, and Busy while
        a live process works on the task."""
        try:
            canonical = str(uuid.UUID(task_id))
        except (ValueError, TypeError, AttributeError):
            raise UsageError(f"`{task_id}` is not a task ID", hint="a task ID is a UUID") from None
        name, *others = self._names(file)
        self._registry.register_name(name, canonical, self._lock_path)
        for other in others:
            self._registry.unregister_name(other, self._lock_path)

    def get(self, file: File) -> str | None:
        """The task ID of `file`, or None."""
        registered = self.all()
        return next((registered[name] for name in self._names(file) if name in registered), None)

    def unregister(self, file: File) -> None:
        """Forget `file`; nothing happens where it is not registered. What came of its task counts no more, unless
        another file or project asks for it too. Raises Busy while a live process works on it."""
        for name in self._names(file):
            self._registry.unregister_name(name, self._lock_path)

    def all(self) -> Mapping[str, str]:
        """Every file that is registered in this project, by its node ID or name, with its task ID."""
        return dict(sorted(self._registry.names(self._lock_path).items()))

    def _names(self, file: File) -> tuple[str, ...]:
        """What `file` is registered by, and what it may have been registered by when no lock had it yet."""
        file = named(file)
        given = file if isinstance(file, str) else file.path
        # Read anew: the lock may have changed since this registry was opened.
        lock = Papers(self._papers.project, self._papers.settings).old_lock
        node = meant(lock.nodes() if lock is not None else (), file)
        return (given,) if node is None or node.id == given else (node.id, given)


def named(file: File) -> str | LockedFile:
    """The file, where it is an outcome by its node ID. Raises UsageError for what cannot stand for a file."""
    if isinstance(file, FileOutcome):
        return file.id
    if isinstance(file, (str, LockedFile)):
        return file
    raise UsageError(
        f"`{file!r}` is not a file of a lock", hint="give a node ID, a path, a LockedFile or a FileOutcome"
    )


def meant(nodes: Iterable[Node], file: str | LockedFile) -> Node | None:
    """The node that a name or a LockedFile means, or None. One of an earlier lock means what is at its path now."""
    listed = list(nodes)
    if isinstance(file, str):
        return next((node for spelt in _SPELLINGS for node in listed if spelt(node) == file), None)
    same_path = [node for node in listed if node.file.path == file.path]
    return next((node for node in same_path if node.file.task_id == file.task_id), next(iter(same_path), None))

"""The library's front door: each verb of gemmalock as a function that returns a value and never prints.

Keyword arguments are the flags of the command of that name, with `_` for `-`; those that are settings
(`jobs`, `store`, `offline` …) too. `select` takes the selectors.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from gemmalock.app.session import Call, Session, begin, split_options
from gemmalock.errors import NotFound, UsageError
from gemmalock.plan import ResumeStatus

if TYPE_CHECKING:
    from gemmalock.lockfile import LockedFile
    from gemmalock.outcome import Report
    from gemmalock.registry import DiskRegistry
    from gemmalock.stopping import Stop

Folder = str | os.PathLike[str]


def sync(folder: Folder = ".", *, select: Sequence[str] = (), stop: Stop | None = None, **options: object) -> Report:
    """Make the project's root what the lock says. Raises GemmalockError for what concerns the whole run; a file that
    failed is in the report, whose `exit_code` is then 1."""
    from gemmalock.app.syncing import Sync, SyncOptions

    own, flags = split_options(options, [field.name for field in fields(SyncOptions)])
    session = _session(folder, select, flags, stop)
    try:
        return Sync(session.workshop, session.papers, session.selection, SyncOptions(**own)).run()  # type: ignore[arg-type]
    finally:
        session.workshop.close()


def lock(folder: Folder = ".", *, stop: Stop | None = None, **options: object) -> Report:
    """Resolve the manifest and write the lock, if its bytes differ. Raises InputError."""
    from gemmalock.app.locking import LockOptions, run_lock

    own, flags = split_options(options, [field.name for field in fields(LockOptions)])
    session = _session(folder, (), flags, stop)
    try:
        return run_lock(session.workshop, session.papers, LockOptions(**own))  # type: ignore[arg-type]
    finally:
        session.workshop.close()


def status(folder: Folder = ".", *, select: Sequence[str] = (), **settings: object) -> Report:
    """What `sync` would do and why. Asks no source, changes nothing."""
    from gemmalock.app.inspecting import run_status

    session = _session(folder, select, settings, None)
    return run_status(session.workshop, session.papers, session.selection)


def verify(folder: Folder = ".", *, select: Sequence[str] = (), stop: Stop | None = None, **settings: object) -> Report:
    """Hash what is in place against the lock. Changes nothing."""
    from gemmalock.app.inspecting import run_verify

    session = _session(folder, select, settings, stop)
    return run_verify(session.workshop, session.papers, session.selection)


def path(name: str, folder: Folder = ".", **settings: object) -> Path:
    """Where `MODEL` (its folder) or `MODEL::FILE` is on this disk. Raises NotFound where it is not in place."""
    from gemmalock.app.inspecting import find_path

    session = _session(folder, (), settings, None)
    place, in_place = find_path(session.workshop, session.papers, name)
    if not in_place:
        raise NotFound(f"`{name}` is not in place", hint="run `gemmalock sync`")
    return place


def resume_status(file: str | LockedFile, folder: Folder = ".", **settings: object) -> ResumeStatus:
    """What one look at the disk says of a file, given as a node ID, `MODEL::FILE`, a path below the project, or a
    LockedFile. Raises NotFound for one that the lock does not have."""
    session = _session(folder, (), settings, None)
    lock = session.papers.required_lock()
    wanted = file if isinstance(file, str) else file.task_id
    for node in lock.nodes():
        names = {node.id, node.id.partition("::")[2], node.path, node.file.path, node.file.task_id}
        if wanted in names:
            return _statuses(session, node.id)[node.file.name]
    raise NotFound(f"the lock has no `{wanted}`", hint="`gemmalock list` shows what it has")


def resume_statuses(model: str, folder: Folder = ".", **settings: object) -> Mapping[str, ResumeStatus]:
    """The same for every file of a model: name in the model → status. Raises NotFound."""
    session = _session(folder, (), settings, None)
    lock = session.papers.required_lock()
    for manifest in lock.manifests:
        if manifest.model(model) is not None:
            return _statuses(session, f"{manifest.path}::{model}")
    raise NotFound(f"the lock has no model `{model}`", hint="`gemmalock list` shows what it has")


def _statuses(session: Session, prefix: str) -> dict[str, ResumeStatus]:
    from gemmalock.collect import Selection
    from gemmalock.looking import look
    from gemmalock.plan import plan

    session.workshop.lock = session.papers.required_lock()
    nodes = Selection((prefix,)).of(session.workshop.lock.nodes())
    planned = plan(nodes, look(nodes, session.workshop))
    return {file.node.file.name: file.resume_status for file in planned.files}


class TaskRegistry:
    """The registry of tasks: file → task ID, persistent.

    A file is a LockedFile, a node ID of the project's lock, or any other name. A registration is this machine's
    task record, as `gemmalock tasks` lists it; it goes when the file is in place, or with `unregister`.
    """

    def __init__(self, folder: Folder = ".", **settings: object) -> None:
        self._session = _session(folder, (), settings, None, anywhere=True)

    def register(self, file: str | LockedFile, task_id: str) -> None:
        """Note that `file` is the task `task_id`. Raises UsageError when that is no UUID."""
        import uuid

        try:
            canonical = str(uuid.UUID(task_id))
        except ValueError:
            raise UsageError(f"`{task_id}` is not a task ID", hint="a task ID is a UUID") from None
        self._registry.register_name(_file_name(file), canonical)

    def get(self, file: str | LockedFile) -> str | None:
        """The task ID of `file`, or None."""
        return self._registry.names().get(_file_name(file))

    def unregister(self, file: str | LockedFile) -> None:
        """Forget `file`; nothing happens where it is not registered."""
        self._registry.unregister_name(_file_name(file))

    def all(self) -> Mapping[str, str]:
        """Every registered file with its task ID."""
        return dict(sorted(self._registry.names().items()))

    @property
    def _registry(self) -> DiskRegistry:
        return self._session.workshop.registry


def _file_name(file: str | LockedFile) -> str:
    return file if isinstance(file, str) else file.path


def _session(
    folder: Folder, select: Sequence[str], settings: Mapping[str, object], stop: Stop | None, *, anywhere: bool = False
) -> Session:
    from gemmalock.stopping import Stop as NewStop

    call = Call(Path(folder), tuple(select), settings, stop=stop or NewStop())
    return begin(call, anywhere=anywhere)

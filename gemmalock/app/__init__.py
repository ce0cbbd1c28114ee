"""The library's front door: each verb of gemmalock as a function that returns a value and never prints.

Keyword arguments are the flags of the command of that name, with `_` for `-`; those that are settings
(`jobs`, `store`, `offline` …) too. `select` takes the selectors.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gemmalock.app.registering import File, meant, named
from gemmalock.app.registering import TaskRegistry as TaskRegistry
from gemmalock.app.session import Call, Session, begin, settings_of, split_options
from gemmalock.errors import NotFound, UsageError

if TYPE_CHECKING:
    from gemmalock.outcome import Report
    from gemmalock.plan import ResumeStatus
    from gemmalock.stopping import Stop

Folder = str | os.PathLike[str]


def sync(folder: Folder = ".", *, select: Sequence[str] = (), stop: Stop | None = None, **options: object) -> Report:
    """Make the project's root what the lock says. Raises GemmalockError for what concerns the whole run; a file that
    failed is in the report, whose `exit_code` is then 1."""
    from gemmalock.app.syncing import Sync, SyncOptions

    own, flags = split_options("sync", options, SyncOptions)
    session = _session(folder, select, flags, stop)
    try:
        return Sync(session.workshop, session.papers, session.selection, own).run()
    finally:
        session.workshop.close()


def lock(folder: Folder = ".", *, stop: Stop | None = None, **options: object) -> Report:
    """Resolve the manifest and write the lock, if its bytes differ. Raises InputError."""
    from gemmalock.app.locking import LockOptions, run_lock

    own, flags = split_options("lock", options, LockOptions)
    session = _session(folder, (), flags, stop)
    try:
        return run_lock(session.workshop, session.papers, own)
    finally:
        session.workshop.close()


def status(folder: Folder = ".", *, select: Sequence[str] = (), **settings: object) -> Report:
    """What `sync` would do and why. Asks no source, changes nothing."""
    from gemmalock.app.inspecting import run_status

    session = _session(folder, select, settings_of("status", settings), None)
    return run_status(session.workshop, session.papers, session.selection)


def verify(folder: Folder = ".", *, select: Sequence[str] = (), stop: Stop | None = None, **settings: object) -> Report:
    """Hash what is in place against the lock. Changes nothing."""
    from gemmalock.app.inspecting import run_verify

    session = _session(folder, select, settings_of("verify", settings), stop)
    return run_verify(session.workshop, session.papers, session.selection)


def path(name: str, folder: Folder = ".", **settings: object) -> Path:
    """Where `MODEL` (its folder) or `MODEL::FILE` is on this disk. Raises NotFound where it is not in place, and
    another FileError where the disk would not say."""
    from gemmalock.app.inspecting import find_path

    if not isinstance(name, str):
        raise UsageError(
            f"`path` needs the name of a model or a file, not {name!r}", hint="as `MODEL` or `MODEL::FILE`"
        )
    session = _session(folder, (), settings_of("path", settings), None)
    found = find_path(session.workshop, session.papers, name)
    if found.missing is not None:
        raise found.missing
    return found.place


def ids_of(name: str, folder: Folder = ".", **settings: object) -> tuple[str, ...]:
    """The node IDs of the files of `MODEL`, or of `MODEL::FILE`, that `path` gives the place of, for `sync` to select.
    Raises NotFound for a name that the lock does not have, UsageError for one that several manifests have."""
    from gemmalock.app import inspecting

    session = _session(folder, (), settings_of("ids_of", settings), None)
    return inspecting.ids_of(session.workshop.project, session.papers, name)


def resume_status(file: File, folder: Folder = ".", **settings: object) -> ResumeStatus:
    """What one look at the disk says of a file, given as a node ID, `MODEL::FILE`, a path below the project, a
    LockedFile or a FileOutcome. Raises NotFound for one that the lock does not have."""
    session = _session(folder, (), settings_of("resume_status", settings), None)
    file = named(file)
    node = meant(session.papers.required_lock().nodes(), file)
    name, task_id = (file, None) if isinstance(file, str) else (file.path, file.task_id)
    if node is None or task_id not in (None, node.file.task_id):
        raise NotFound(f"the lock has no `{name}`", hint="`gemmalock list` shows what it has")
    return _statuses(session, node.id)[node.file.name]


def resume_statuses(model: str, folder: Folder = ".", **settings: object) -> Mapping[str, ResumeStatus]:
    """The same for every file of a model: name in the model → status. Raises NotFound."""
    session = _session(folder, (), settings_of("resume_statuses", settings), None)
    lock = session.papers.required_lock()
    for manifest in lock.manifests:
        if manifest.model(model) is not None:
            return _statuses(session, f"{manifest.path}::{model}")
    raise NotFound(f"the lock has no model `{model}`", hint="`gemmalock list` shows what it has")


def _statuses(session: Session, prefix: str) -> dict[str, ResumeStatus]:
    from gemmalock.looking import look
    from gemmalock.plan import plan
    from gemmalock.selection import Selection

    session.workshop.lock = session.papers.required_lock()
    nodes = Selection((prefix,)).of(session.workshop.lock.nodes())
    planned = plan(nodes, look(nodes, session.workshop))
    return {file.node.file.name: file.resume_status for file in planned.files}


def _session(folder: Folder, select: Sequence[str], settings: Mapping[str, object], stop: Stop | None) -> Session:
    from gemmalock.stopping import Stop as NewStop

    call = Call(Path(folder), (select,) if isinstance(select, str) else tuple(select), settings, stop=stop or NewStop())
    return begin(call)

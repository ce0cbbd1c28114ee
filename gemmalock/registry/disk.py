"""The registry on the disk: `<store>/tasks/<task_id>/`, one folder a task."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gemmalock.durable import make_private, refuse_link
from gemmalock.errors import Busy, DiskError, disk_error
from gemmalock.holders import Holder
from gemmalock.lockfile import LockedFile, Node
from gemmalock.plan import TaskRecord, TaskSight
from gemmalock.registry import claims, folders
from gemmalock.registry.folders import TaskFolder
from gemmalock.registry.held import DiskClaim
from gemmalock.registry.records import (
    Asked,
    asked_by,
    asked_too,
    askers,
    continued,
    is_of,
    lock_name,
    named_record,
    record_of,
)

_TASKS = "tasks"


@dataclass(frozen=True, slots=True)
class TaskView:
    """One task, for a person. `stored`: bytes on the disk; `kept`: bytes that the journal vouches for; `holder`: the
    live process that works on it, in words; `error`: why the disk would not say."""

    task_id: str
    record: TaskRecord | None
    stored: int = 0
    kept: int = 0
    holder: str | None = None
    error: str | None = None


class DiskRegistry:
    """The task registry of one store. Safe to use from many threads and many processes."""

    def __init__(self, store_folder: Path, *, watching: claims.Watching | None = None) -> None:
        self.folder = store_folder / _TASKS
        self._watching = watching or claims.Watching()
        self._lock = threading.Lock()
        self._prepared = False
        self._tidy = False

    # --- the port ---

    def look(self, file: LockedFile) -> TaskSight:
        """What is known of a file's task; changes nothing. A failed look is in `error`, never raised."""
        path = self.folder / file.task_id
        try:
            with _opened(path) as folder:
                if folder is None:
                    return TaskSight()
                record = folder.read_record()
                partial = folder.partial(file.size)
                holder = claims.standing(folder.number, self._watching).holder
        except OSError as error:
            return TaskSight(error=disk_error(error, f"look at `{path}`").message)
        except DiskError as error:
            return TaskSight(error=error.message)
        return TaskSight(
            # Nobody's record is none: whoever unregistered the task wants its bytes to count no more.
            record=record if record is not None and askers(record) else None,
            has_bytes=partial.length > 0,
            kept=partial.journal.kept,
            validator=partial.validator,
            holder=None if holder is None else holder.words,
        )

    def claim(self, node: Node, lock_path: Path) -> DiskClaim:
        """Hold the file's task, and register it first where there is none: the record is written before this
        returns. Raises Busy, with the holder in words, while a live process has it; DiskError; PolicyRefused."""
        fresh = record_of(node, lock_name(lock_path))
        held = self._hold(fresh.task_id, lambda: fresh)
        if isinstance(held, Holder):
            raise _busy(fresh.task_id, held)
        assert held is not None
        with _given_up_on_failure(held):
            if askers(held.record) and is_of(held.record, node.file):
                held.keep_record(continued(held.record, fresh))
            else:
                # Bytes that no record vouches for, or those of another file.
                held.drop_partial()
                held.keep_record(asked_too(fresh, held.record))
        return held

    def forget(self, file: LockedFile) -> None:
        """Remove a task that no live process holds; nothing happens where there is none. Raises DiskError."""
        self._drop(file.task_id)

    def sweep(self, lock_path: Path, live: frozenset[str]) -> int:
        """Remove the tasks that only this lock asked for, or nobody any more, and that are not among `live` task IDs,
        or have no bytes, unless a live process holds them. How many went. A task that was only ever registered by
        its name stays. Raises DiskError."""
        folders.sweep(self.folder)
        lock = lock_name(lock_path)
        return sum(
            self._let_go(view, lock, task_is_live=view.task_id in live)
            for view in self.tasks()
            if view.record is not None and view.record.url is not None and _is_for(view.record, lock)
        )

    # --- for people, and for the Python door ---

    def tasks(self) -> tuple[TaskView, ...]:
        """Every task, sorted by its ID; changes nothing. Raises DiskError when the list itself cannot be read."""
        try:
            refuse_link(self.folder)
            names = sorted(name for name in os.listdir(self.folder) if folders.is_task_id(name))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise disk_error(error, f"read `{self.folder}`") from error
        return tuple(view for name in names if (view := self._view(name)) is not None)

    def begun(self, task_ids: frozenset[str]) -> frozenset[str]:
        """Those of these tasks that were begun and are still here; none of them is opened. Raises DiskError."""
        try:
            refuse_link(self.folder)
            return task_ids.intersection(os.listdir(self.folder))
        except FileNotFoundError:
            return frozenset()
        except OSError as error:
            raise disk_error(error, f"read `{self.folder}`") from error

    def clear(self) -> tuple[int, int]:
        """Remove every task that no live process works on: (how many went, how many stay). Raises DiskError."""
        folders.sweep(self.folder)
        gone = [self._drop(view.task_id) for view in self.tasks()]
        return gone.count(True), gone.count(False)

    def register_name(self, file_name: str, task_id: str, lock_path: Path) -> None:
        """Note that what is called `file_name` in the project of this lock is fetched by this task, and by no other.
        Raises Busy when a live process works on the task, ValueError when `task_id` is no UUID, DiskError."""
        if not folders.is_task_id(task_id):
            raise ValueError(f"`{task_id}` is not a UUID in lower case")
        asked = Asked(file_name, lock_name(lock_path))
        if [view.task_id for view in self._asked_for_by(asked)] == [task_id]:
            return
        self.unregister_name(file_name, lock_path)
        fresh = named_record(task_id, asked)
        held = self._hold(task_id, lambda: fresh)
        if isinstance(held, Holder):
            raise _busy(task_id, held)
        assert held is not None
        with _given_up_on_failure(held):
            held.keep_record(asked_too(held.record, fresh))
            held.settle()
        held.release()

    def names(self, lock_path: Path) -> Mapping[str, str]:
        """The task ID of every file name and node ID that is registered in the project of this lock; of two tasks of
        one name, the one that was begun last."""
        lock = lock_name(lock_path)
        records = sorted((view.record for view in self.tasks() if view.record is not None), key=lambda each: each.begun)
        return {name: record.task_id for record in records for name, where in askers(record) if where == lock}

    def unregister_name(self, file_name: str, lock_path: Path) -> None:
        """Forget the name in the project of this lock; a task that is nothing but its name goes with it. Raises Busy
        and DiskError."""
        asked = Asked(file_name, lock_name(lock_path))
        for view in self._asked_for_by(asked):
            held = self._hold(view.task_id)
            if isinstance(held, Holder):
                raise _busy(view.task_id, held)
            if held is not None:
                with _given_up_on_failure(held):
                    self._unregister(held, asked)

    # --- how ---

    def _asked_for_by(self, asked: Asked) -> list[TaskView]:
        return [view for view in self.tasks() if view.record is not None and asked in askers(view.record)]

    def _unregister(self, held: DiskClaim, asked: Asked) -> None:
        rest = [other for other in askers(held.record) if other != asked]
        if not rest and held.record.url is None:
            held.finish()
        else:
            held.keep_record(asked_by(held.record, rest))
            held.release()

    def _let_go(self, view: TaskView, lock: str, *, task_is_live: bool) -> bool:
        assert view.record is not None
        if task_is_live and (_others(view.record, lock) or view.stored):
            return False
        held = self._hold(view.task_id)
        if held is None or isinstance(held, Holder):
            return False
        with _given_up_on_failure(held):
            others = _others(held.record, lock)
            if not others:
                held.finish()
                return True
            held.keep_record(asked_by(held.record, others))
            held.release()
        return False

    def _drop(self, task_id: str) -> bool:
        held = self._hold(task_id, whatever_its_record_says=True)
        if isinstance(held, Holder):
            return False
        if held is not None:
            held.finish()
        return True

    def _hold(
        self, task_id: str, birth: Callable[[], TaskRecord] | None = None, *, whatever_its_record_says: bool = False
    ) -> DiskClaim | Holder | None:
        """Claim a task; the one who has it; or None where there is no such task and no record for it to begin with.

        A task whose record cannot be read is held with one that says nothing but its ID; one that a newer gemmalock
        began only to be removed. Raises TaskTooNew and DiskError.
        """
        path = self.folder / task_id
        try:
            refuse_link(self.folder)
            if birth is not None:
                self._prepare()
            while True:
                try:
                    held = self._take(path, whatever_its_record_says)
                except FileNotFoundError:
                    if birth is None and not os.path.lexists(path):
                        return None
                    held = None if birth is None else self._make(path, birth)
                if held is not None:
                    return held
        except OSError as error:
            raise _said(error, path) from error

    def _take(self, path: Path, whatever_its_record_says: bool) -> DiskClaim | Holder | None:
        """Claim the task at `path`; None when it was moved away meanwhile. Raises FileNotFoundError and OSError."""
        folder = TaskFolder.open(path)
        taken: claims.Taken | Holder | None = None
        try:
            taken = claims.take(folder.number, self._watching)
            if isinstance(taken, Holder):
                folder.close()
                return taken
            in_place = folder.is_in_place()
            record = folder.read_record() if in_place and not whatever_its_record_says else None
        except BaseException:
            _back_out(folder, taken)
            raise
        if not in_place:
            _back_out(folder, taken)
            return None
        held = DiskClaim(folder, taken, record or named_record(path.name))
        if taken.in_doubt:
            with _given_up_on_failure(held):
                folder.renew_partial()
        return held

    def _make(self, path: Path, birth: Callable[[], TaskRecord]) -> DiskClaim | None:
        record = birth()
        try:
            made = folders.make(path, record)
        except FileNotFoundError:
            # Somebody has removed the store.
            self._prepared = False
            self._prepare()
            made = folders.make(path, record)
        return None if made is None else DiskClaim(*made, record)

    def _prepare(self) -> None:
        """Make the store's folder and the tasks' folder, and see that they are ours alone; once is enough. The first
        time, tidy up after the dead."""
        if self._prepared:
            return
        make_private(self.folder.parent)
        make_private(self.folder)
        with self._lock:
            self._prepared = True
            if self._tidy:
                return
            self._tidy = True
        folders.sweep(self.folder)

    def _view(self, task_id: str) -> TaskView | None:
        path = self.folder / task_id
        try:
            with _opened(path) as folder:
                if folder is None:
                    return None
                record = folder.read_record()
                partial = folder.partial(None if record is None else record.size)
                holder = claims.standing(folder.number, self._watching).holder
        except OSError as error:
            return TaskView(task_id, None, error=disk_error(error, f"look at `{path}`").message)
        except DiskError as error:
            return TaskView(task_id, None, error=error.message)
        words = None if holder is None else holder.words
        return TaskView(task_id, record, partial.stored, partial.journal.kept, words)


def _is_for(record: TaskRecord, lock: str) -> bool:
    """Whether the project of this lock asks for the task, or nobody does any more."""
    return lock in record.locks or not record.locks


def _others(record: TaskRecord, lock: str) -> list[Asked]:
    return [asked for asked in askers(record) if asked.lock != lock]


@contextmanager
def _opened(path: Path) -> Iterator[TaskFolder | None]:
    """The folder at `path` while the block lasts, or None where there is none. Raises DiskError for a link."""
    try:
        folder = TaskFolder.open(path)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise _said(error, path) from error
    try:
        yield folder
    finally:
        folder.close()


@contextmanager
def _given_up_on_failure(held: DiskClaim) -> Iterator[None]:
    try:
        yield
    except BaseException:
        held.release()
        raise


def _back_out(folder: TaskFolder, taken: claims.Taken | Holder | None) -> None:
    if folder.number >= 0 and isinstance(taken, claims.Taken):
        with suppress(OSError):
            claims.give_up(folder.number, taken)
    folder.close()


def _said(error: OSError, path: Path) -> DiskError:
    if error.errno == errno.ENOTDIR and path.is_symlink():
        error = OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return disk_error(error, f"use `{path}`")


def _busy(task_id: str, holder: Holder) -> Busy:
    return Busy(f"{holder.words} works on task `{task_id}`", hint="wait for it to end, or stop it")

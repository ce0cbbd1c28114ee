"""The in-memory twin of the registry: records and claims in a dictionary, partials in a folder of the test."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

from gemmalock.errors import Busy, disk_error
from gemmalock.journal import read_journal, write_chunk
from gemmalock.lockfile import LockedFile, Node
from gemmalock.machine import Salvage
from gemmalock.plan import TaskRecord, TaskSight
from gemmalock.stopping import Stop


@dataclass
class Task:
    """A task as the twin keeps it."""

    record: TaskRecord
    holder: object | None = None


@dataclass(eq=False)
class MemoryClaim:
    """A claim of the twin."""

    registry: MemoryRegistry
    folder: Path
    record: TaskRecord

    def beat(self, ranges: tuple[tuple[int, int], ...]) -> None:
        """Note the ranges."""
        self._keep(replace(self.record, ranges=ranges))

    def settle(self) -> None:
        """As Claim has it."""

    def still_held(self) -> bool:
        """Whether it is held."""
        task = self.registry.held.get(self.record.task_id)
        return task is not None and task.holder is self

    def learned(self, sha256: str) -> None:
        """Note the digest."""
        self._keep(replace(self.record, sha256=sha256))

    def drop_partial(self) -> None:
        """Remove the bytes."""
        for name in ("journal", "data.part"):
            (self.folder / name).unlink(missing_ok=True)
        self._keep(replace(self.record, ranges=()))

    def seed(self, salvage: Salvage, stop: Stop) -> None:
        """Begin with these bytes."""
        self.drop_partial()
        stop.check()
        try:
            shutil.copyfile(salvage.path, self.folder / "data.part")
        except OSError as error:
            self.drop_partial()
            raise disk_error(error, f"copy `{salvage.path}`") from error
        (self.folder / "journal").write_bytes(b"".join(write_chunk(chunk) for chunk in salvage.chunks))

    def release(self) -> None:
        """Give it up."""
        if self.still_held():
            self.registry.held[self.record.task_id].holder = None

    def finish(self) -> None:
        """Remove the task."""
        if self.still_held():
            del self.registry.held[self.record.task_id]
            shutil.rmtree(self.folder)

    def _keep(self, record: TaskRecord) -> None:
        self.record = record
        if self.still_held():
            self.registry.held[record.task_id].record = record


@dataclass
class MemoryRegistry:
    """Task records in memory; passes the same conformance suite as the one on the disk."""

    folder: Path
    held: dict[str, Task] = field(default_factory=dict)

    def look(self, file: LockedFile) -> TaskSight:
        """What is known of a file's task."""
        task, folder = self.held.get(file.task_id), self.folder / file.task_id
        part, journal_path = folder / "data.part", folder / "journal"
        length = part.stat().st_size if part.exists() else 0
        journal = read_journal(journal_path.read_bytes() if journal_path.exists() else b"", file.size)
        chunks = [chunk for chunk in journal.values() if chunk.end <= length]
        tags = {chunk.validator.etag for chunk in chunks}
        return TaskSight(
            record=None if task is None else task.record,
            has_bytes=length > 0,
            kept=sum(chunk.length for chunk in chunks),
            validator=tags.pop() if len(tags) == 1 else None,
            holder="somebody" if task is not None and task.holder is not None else None,
        )

    def claim(self, node: Node, lock_path: Path) -> MemoryClaim:
        """Hold the task."""
        file, lock = node.file, str(lock_path)
        task = self.held.get(file.task_id)
        if task is not None and task.holder is not None:
            raise Busy("somebody works on it")
        fresh = TaskRecord(file.task_id, file.url, file.size, file.etag, file.sha256, (node.id,), (lock,), (), "now")
        claim = MemoryClaim(self, self.folder / file.task_id, fresh)
        claim.folder.mkdir(parents=True, exist_ok=True)
        if task is None:
            claim.drop_partial()
            task = Task(fresh)
        old = task.record
        same = (old.url, old.size, old.etag) == (file.url, file.size, file.etag) and (
            None in (old.sha256, file.sha256) or old.sha256 == file.sha256
        )
        if not same:
            claim.drop_partial()
        nodes, locks = sorted({*old.nodes, node.id}), sorted({*old.locks, lock})
        claim.record = replace(fresh, nodes=tuple(nodes), locks=tuple(locks), ranges=old.ranges if same else ())
        self.held[file.task_id] = Task(claim.record, claim)
        return claim

    def forget(self, file: LockedFile) -> None:
        """Remove a task that nobody holds."""
        task = self.held.get(file.task_id)
        if task is None or task.holder is None:
            self._remove(file.task_id)

    def sweep(self, lock_path: Path, live: frozenset[str]) -> int:
        """Remove what only this lock asked for."""
        gone = 0
        for task_id, task in list(self.held.items()):
            others = tuple(lock for lock in task.record.locks if lock != str(lock_path))
            part = self.folder / task_id / "data.part"
            stays = task_id in live and (others or part.exists())
            if str(lock_path) not in task.record.locks or task.holder is not None or stays:
                continue
            if others:
                task.record = replace(task.record, locks=others)
            else:
                self._remove(task_id)
                gone += 1
        return gone

    def _remove(self, task_id: str) -> None:
        self.held.pop(task_id, None)
        shutil.rmtree(self.folder / task_id, ignore_errors=True)

"""One look at the disk: what stands where, for every file of a plan to be. Changes nothing; decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gemmalock.errors import FileError
from gemmalock.lockfile import LockedFile, Node, is_strong
from gemmalock.machine import Machine, PlaceSight, Reporter
from gemmalock.plan import Place, Sight, Snapshot, TaskSight
from gemmalock.stopping import Stop

_Seen = TypeVar("_Seen")


@dataclass(frozen=True, slots=True)
class Reading:
    """How the bytes of many files are read: told to whom, stopped by what, how many files at once."""

    reporter: Reporter
    stop: Stop
    at_once: int = 1

    def of(self, node: Node, machine: Machine) -> PlaceSight:
        """What stands at a node's path, its bytes having been read."""
        root = machine.root(node.manifest.path)
        return root.look(node.file, verify=True, on_read=_Reader(node, self.reporter))

    def over(self, nodes: Sequence[Node], call: Callable[[Node], _Seen]) -> tuple[_Seen, ...]:
        """`call` of every node, in the order of the nodes; the largest files are begun first. Raises Interrupted."""
        # Threads, and what they wait with, are not for a run that only compares stats.
        from gemmalock.at_once import at_once

        return at_once(call, nodes, self.at_once, self.stop, weight=lambda node: node.file.size)


def look(nodes: Iterable[Node], machine: Machine) -> Snapshot:
    """What is seen of each node, by its ID. Store and task records are asked only about what is not in place."""
    return Snapshot({node.id: look_at(node, machine) for node in nodes})


def read_through(nodes: Sequence[Node], machine: Machine, reading: Reading) -> Snapshot:
    """The same, but the bytes of what is in place are read, whatever the ledger says, many files at once."""
    sights = reading.over(nodes, lambda node: _sight(node, machine, reading.of(node, machine)))
    return Snapshot({node.id: sight for node, sight in zip(nodes, sights, strict=True)})


def look_at(node: Node, machine: Machine) -> Sight:
    """What is seen of one file. A failed look is a sight too (`unreadable`); only Interrupted is raised."""
    return _sight(node, machine, machine.root(node.manifest.path).look(node.file, verify=False))


class _Reader:
    """Tells how far the bytes of one file were read; of what is read in one go there is nothing to tell."""

    def __init__(self, node: Node, reporter: Reporter) -> None:
        self._node = node
        self._reporter = reporter
        self._begun = False

    def __call__(self, done: int) -> None:
        size = self._node.file.size
        if not self._begun and done >= size:
            return
        if not self._begun:
            self._begun = True
            self._reporter.hashing(self._node)
        # What is in place may grow while it is read.
        self._reporter.progress(self._node.id, min(done, size), size)


def _sight(node: Node, machine: Machine, stands: PlaceSight) -> Sight:
    if stands.place is not Place.ABSENT:
        return Sight(stands.place, stands.detail, sha256=stands.sha256, error=stands.error)
    try:
        return _elsewhere(node.file, machine)
    except FileError as error:
        return Sight(Place.UNREADABLE, error.message, error=error)


def _elsewhere(file: LockedFile, machine: Machine) -> Sight:
    """What is seen of a file that is not in place, in the store and among the tasks."""
    known = digest_known(file, machine)
    if known is not None and machine.store.has(known, file.size):
        return Sight(Place.ABSENT, in_store=known)
    task = machine.registry.look(file)
    if (learned := _learned(file, task)) is not None and machine.store.has(learned, file.size):
        return Sight(Place.ABSENT, in_store=learned, task=task)
    return Sight(Place.ABSENT, task=task)


def _learned(file: LockedFile, task: TaskSight) -> str | None:
    """The digest that the task of a file turned out to have, where the lock has none: it came whole, and its process
    ended before it was in place."""
    record = task.record
    if file.sha256 is not None or record is None or task.holder is not None:
        return None
    same = (record.url, record.size, record.etag) == (file.url, file.size, file.etag)
    return record.sha256 if same else None


def digest_known(file: LockedFile, machine: Machine) -> str | None:
    """The digest by which the store may have a file: the locked one, or that which its task had when it was fetched
    for somebody else. The latter only where a strong ETag makes the task ID a name of these very bytes."""
    if file.sha256 is not None:
        return file.sha256
    return machine.store.digest_of(file.task_id) if is_strong(file.etag) else None

"""One look at the disk: what stands where, for every file of a plan to be. Changes nothing; decides nothing."""

from __future__ import annotations

from collections.abc import Iterable

from gemmalock.errors import FileError
from gemmalock.lockfile import LockedFile, Node, is_strong
from gemmalock.plan import Place, Sight, Snapshot, TaskSight
from gemmalock.ports import Machine


def look(nodes: Iterable[Node], machine: Machine, *, verify: bool = False) -> Snapshot:
    """What is seen of each node, by its ID. Store and task records are asked only about what is not in place."""
    return Snapshot({node.id: look_at(node, machine, verify=verify) for node in nodes})


def look_at(node: Node, machine: Machine, *, verify: bool = False) -> Sight:
    """What is seen of one file. A failed look is a sight too (`unreadable`); only Interrupted is raised."""
    stands = machine.root(node.manifest.path).look(node.file, verify=verify)
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

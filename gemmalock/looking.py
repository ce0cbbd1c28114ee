"""One look at the disk: what stands where, for every file of a plan to be. Changes nothing; decides nothing."""

from __future__ import annotations

from collections.abc import Iterable

from gemmalock.lockfile import LockedFile, Node
from gemmalock.plan import Place, Sight, Snapshot, TaskSight
from gemmalock.ports import Machine


def look(nodes: Iterable[Node], machine: Machine, *, verify: bool = False) -> Snapshot:
    """What is seen of each node, by its ID. Store and task records are asked only about what is not in place."""
    return Snapshot({node.id: look_at(node, machine, verify=verify) for node in nodes})


def look_at(node: Node, machine: Machine, *, verify: bool = False) -> Sight:
    """What is seen of one file. A failed look is a sight too (`unreadable`); only Interrupted is raised."""
    stands = machine.root(node.manifest.path).look(node.file, verify=verify)
    if stands.place is not Place.ABSENT:
        return Sight(stands.place, stands.detail)
    if _in_store(node.file, machine):
        return Sight(Place.ABSENT, in_store=True)
    return Sight(Place.ABSENT, task=_task(node.file, machine))


def _in_store(file: LockedFile, machine: Machine) -> bool:
    return file.sha256 is not None and machine.store.has(file.sha256, file.size)


def _task(file: LockedFile, machine: Machine) -> TaskSight:
    return machine.registry.look(file)

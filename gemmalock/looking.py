"""One look at the disk: what stands where, for every file of a plan to be. Changes nothing; decides nothing."""

from __future__ import annotations

from collections.abc import Iterable

from gemmalock.errors import FileError
from gemmalock.lockfile import LockedFile, Node
from gemmalock.plan import Place, Sight, Snapshot
from gemmalock.ports import Machine


def look(nodes: Iterable[Node], machine: Machine, *, verify: bool = False) -> Snapshot:
    """What is seen of each node, by its ID. Store and task records are asked only about what is not in place."""
    return Snapshot({node.id: look_at(node, machine, verify=verify) for node in nodes})


def look_at(node: Node, machine: Machine, *, verify: bool = False) -> Sight:
    """What is seen of one file. A failed look is a sight too (`unreadable`); only Interrupted is raised."""
    stands = machine.root(node.manifest.path).look(node.file, verify=verify)
    if stands.place is not Place.ABSENT:
        return Sight(stands.place, stands.detail)
    try:
        return _elsewhere(node.file, machine)
    except FileError as error:
        return Sight(Place.UNREADABLE, error.message)


def _elsewhere(file: LockedFile, machine: Machine) -> Sight:
    """What is seen of a file that is not in place, in the store and among the tasks."""
    if file.sha256 is not None and machine.store.has(file.sha256, file.size):
        return Sight(Place.ABSENT, in_store=True)
    return Sight(Place.ABSENT, task=machine.registry.look(file))

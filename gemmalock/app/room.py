"""Whether there is room for what a plan brings, told before the first byte. Looks at disks; writes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gemmalock.app.adopting import is_ours
from gemmalock.app.wiring import Workshop
from gemmalock.errors import NoSpace, disk_error
from gemmalock.plan import FETCHING, Action, FilePlan, Plan

#: What is in place stays as it is, or is not touched.
_IN_PLACE = frozenset({Action.SKIP, Action.ADOPT, Action.REFUSE})


@dataclass(slots=True)
class _Disk:
    """One file system, called by a `place` on it: bytes that are free, bytes that are to be written, by which files."""

    place: Path
    free: int
    needed: int
    files: list[FilePlan]


def without_room(workshop: Workshop, planned: Plan) -> list[tuple[FilePlan, NoSpace]]:
    """The files for which a disk has no room, and the numbers; empty where everything fits. Raises DiskError.

    Partials are there already, and so is what the store has, or links; a root takes room only where its files are
    copies.
    """
    store_device, _ = _measured(workshop.store_folder)
    disks: dict[int, _Disk] = {}
    to_come = {_task(file): (file, needed) for file, needed in _to_store(workshop, planned, store_device)}.values()
    _ask(disks, workshop.store_folder, [file for file, _ in to_come], sum(needed for _, needed in to_come))
    for folder, files in _to_place(workshop, planned).items():
        if _is_copied(workshop, folder, store_device):
            _ask(disks, folder, files, sum(file.node.file.size for file in files))
    return [
        (file, NoSpace(f"{disk.needed} bytes are to be written to `{disk.place}`, and {disk.free} are free there"))
        for disk in disks.values()
        if disk.needed > disk.free
        for file in {file.node.id: file for file in disk.files}.values()
    ]


def _to_store(workshop: Workshop, planned: Plan, store_device: int) -> Iterable[tuple[FilePlan, int]]:
    """The files that bring bytes into the store, and how many."""
    for file in planned.files:
        locked = file.node.file
        is_here = locked.sha256 is not None and workshop.store.holds(locked.sha256)
        if file.action not in FETCHING or is_here:
            continue
        blob = next(workshop.hub_cache.blobs(locked), None)
        if blob is not None and not _is_linked(blob, store_device):
            yield file, locked.size
        elif blob is None and not (workshop.settings.offline and locked.needs_network):
            yield file, file.to_fetch


def _is_linked(blob: Path, store_device: int) -> bool:
    """Whether a file of another program is taken into the store without its bytes being written again."""
    try:
        found = os.lstat(blob)
    except OSError:
        return False
    return found.st_dev == store_device and is_ours(found)


def _to_place(workshop: Workshop, planned: Plan) -> dict[Path, list[FilePlan]]:
    """The files that are to come into each root, by its folder."""
    files: dict[Path, list[FilePlan]] = {}
    for file in planned.files:
        if file.action not in _IN_PLACE:
            files.setdefault(workshop.root(file.node.manifest.path).folder, []).append(file)
    return files


def _task(file: FilePlan) -> str:
    return file.node.file.task_id


def _is_copied(workshop: Workshop, folder: Path, store_device: int) -> bool:
    mode = workshop.settings.link_mode
    return mode == "copy" or (mode != "symlink" and _measured(folder)[0] != store_device)


def _ask(disks: dict[int, _Disk], place: Path, files: list[FilePlan], needed: int) -> None:
    device, free = _measured(place)
    disk = disks.setdefault(device, _Disk(place, free, 0, []))
    disk.needed += needed
    disk.files += files


def _measured(place: Path) -> tuple[int, int]:
    """The device of a path, or of the nearest folder above it that is there, and the bytes that are free on it."""
    for folder in (place, *place.parents):
        try:
            import shutil

            return os.stat(folder).st_dev, shutil.disk_usage(folder).free
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise disk_error(error, f"measure the disk of `{place}`") from error
    raise NoSpace(f"there is no disk at `{place}`")

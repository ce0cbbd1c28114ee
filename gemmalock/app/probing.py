"""Looks at the disks of `doctor`: what works where the store is, in each root, and between the two.

Everything is tried for real, in a folder of its own that is gone afterwards. Nothing is made that stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gemmalock.app.findings import Finding, Verdict
from gemmalock.app.wiring import Workshop
from gemmalock.durable import check_private, create_at, has_unnamed_files, open_folder, write_file
from gemmalock.errors import FileError, disk_error
from gemmalock.links import ATTEMPTS, LinkMode, link
from gemmalock.sources.fields import amount

_BYTES = b"gemmalock doctor\n"
_OWN = ".gemmalock"
_ELSEWHERE = "place the store elsewhere with `GEMMALOCK_STORE`"
_MODES = (LinkMode.REFLINK, LinkMode.HARDLINK, LinkMode.SYMLINK, LinkMode.COPY)
#: What becomes of files where a mode was asked for and cannot be had.
_INSTEAD = {LinkMode.REFLINK: "files are copied", LinkMode.HARDLINK: "files are copied"}


@dataclass(frozen=True, slots=True)
class Root:
    """A root: its name from the project's folder, and where it is."""

    name: str
    folder: Path


def examine_disks(workshop: Workshop, roots: tuple[Root, ...]) -> Iterator[Finding]:
    """The store, then each root, with the ways from the one to the other. Raises nothing of the disk."""
    try:
        place = workshop.store_folder
    except FileError as error:
        yield Finding("store", "place", Verdict.BROKEN, error.message, error.hint or _ELSEWHERE)
        return
    yield Finding("store", "place", Verdict.OK, f"{place}, {_why(workshop, place, roots)}")
    with contextlib.ExitStack() as stack:
        trial = None
        try:
            trial = stack.enter_context(_trial(place))
            yield from _store_findings(place, trial)
        except OSError as error:
            yield _unusable("store", place, error)
        for root in roots:
            yield from _root_findings(workshop, root, trial)


def file_system(path: Path) -> str | None:
    """The type of the file system of a path, as `ext4`; None where the system does not tell (proc_pid_mountinfo(5))."""
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    here, found = Path(os.path.realpath(path)), ("", "")
    for line in lines:
        before, _, after = line.partition(" - ")
        mount = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), before.split(" ")[4])
        if (mount == str(here) or Path(mount) in here.parents) and len(mount) >= len(found[0]):
            # Of two that are mounted on one place the later one is seen.
            found = (mount, after.split(" ")[0])
    return found[1] or None


@contextlib.contextmanager
def _trial(folder: Path) -> Iterator[Path]:
    """A folder to try things in, below `folder` or below the nearest one above it that is there. Raises OSError."""
    own = folder / _OWN
    with tempfile.TemporaryDirectory(prefix=".gemmalock-doctor-", dir=own if own.is_dir() else there(folder)) as place:
        yield Path(place)


def there(path: Path) -> Path:
    """The path, or the nearest one above it that is there already."""
    return next(place for place in (path, *path.parents) if os.path.lexists(place))


def _why(workshop: Workshop, place: Path, roots: tuple[Root, ...]) -> str:
    if workshop.settings.store:
        return "as the setting `store` says"
    if any(root.folder in place.parents for root in roots):
        return "in the root, because that is on another file system than the user's cache folder"
    return "the user's cache folder"


def _unusable(topic: str, place: Path, error: OSError) -> Finding:
    said = disk_error(error, f"write to `{there(place)}`")
    hint = said.hint or (_ELSEWHERE if topic == "store" else "check that path, and what is mounted there")
    return Finding(topic, "writable", Verdict.BROKEN, said.message, hint)


def _disk(topic: str, place: Path) -> Finding:
    free = shutil.disk_usage(there(place)).free
    verdict = Verdict.OK if free else Verdict.BROKEN
    hint = "" if free else "free some space: `gemmalock cache prune`, the trash in `.gemmalock/trash`"
    return Finding(topic, "disk", verdict, f"{file_system(place) or 'a file system'}, {amount(free)} free", hint)


def _store_findings(place: Path, trial: Path) -> Iterator[Finding]:
    yield _disk("store", place)
    yield _privacy(place)
    with open_folder(trial) as folder:
        yield _writable("store", place, trial)
        yield _exclusive(folder)
        unnamed = has_unnamed_files(folder)
        says = (
            "had: a process that dies while it writes leaves nothing behind" if unnamed else "not had: names are used"
        )
        yield Finding("store", "unnamed files", Verdict.OK if unnamed else Verdict.NO, says)


def _privacy(place: Path) -> Finding:
    if not place.is_dir():
        return Finding("store", "private", Verdict.OK, "not there yet; it is made for its user alone")
    try:
        check_private(place)
    except FileError as error:
        return Finding("store", "private", Verdict.BROKEN, error.message, error.hint)
    return Finding("store", "private", Verdict.OK, "nobody else can write to it")


def _writable(topic: str, place: Path, trial: Path) -> Finding:
    try:
        write_file(trial / "written", _BYTES)
    except OSError as error:
        return _unusable(topic, place, error)
    return Finding(topic, "writable", Verdict.OK, "a file was written, synced and renamed")


def _exclusive(folder: int) -> Finding:
    """Tasks are taken by names that only one process can make."""
    try:
        create_at(folder, "claim", _BYTES)
        create_at(folder, "claim", _BYTES)
    except FileExistsError:
        return Finding("store", "claims", Verdict.OK, "a name is made by one process only")
    except OSError as error:
        says = f"a task cannot be taken, for want of hard links: {error.strerror or error}"
        return Finding("store", "claims", Verdict.BROKEN, says, _ELSEWHERE)
    return Finding("store", "claims", Verdict.BROKEN, "two processes can make one name", _ELSEWHERE)


def _root_findings(workshop: Workshop, root: Root, store_trial: Path | None) -> Iterator[Finding]:
    topic = f"root {root.name}"
    if root.folder.is_symlink():
        hint = "replace the link by a folder, or name another `root` in the manifest"
        yield Finding(topic, "place", Verdict.BROKEN, f"`{root.folder}` is a symbolic link", hint)
        return
    state = "" if root.folder.is_dir() else ", not there yet"
    yield Finding(topic, "place", Verdict.OK, f"{root.folder}{state}")
    try:
        with _trial(root.folder) as trial:
            yield _disk(topic, root.folder)
            yield _writable(topic, root.folder, trial)
            yield _locks(topic, trial)
            if store_trial is not None:
                yield from _links(workshop, topic, store_trial, trial)
    except OSError as error:
        yield _unusable(topic, root.folder, error)


def _locks(topic: str, trial: Path) -> Finding:
    """The ledger of a root is written under flock(2)."""
    with open(trial / "lock", "wb") as first, open(trial / "lock", "wb") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return Finding(topic, "locks", Verdict.OK, "one process has a lock, and another one waits")
        except OSError as error:
            says = f"not had ({error.strerror or error}): runs go on without"
            return Finding(topic, "locks", Verdict.WARNING, says, "do not run two at once in this root")
    says = "two processes can have one lock"
    return Finding(topic, "locks", Verdict.WARNING, says, "do not run two at once in this root")


def _links(workshop: Workshop, topic: str, store_trial: Path, trial: Path) -> Iterator[Finding]:
    source = store_trial / f"object-{trial.name}"
    source.write_bytes(_BYTES)
    works = {mode: _works(source, trial, mode) for mode in _MODES}
    for mode, had in works.items():
        says = "works from the store" if had else "not had from the store"
        yield Finding(topic, mode.value, Verdict.OK if had else Verdict.NO, says)
    wanted = LinkMode(workshop.settings.link_mode)
    taken = next((mode for mode in ATTEMPTS[wanted] if works[mode]), None)
    if taken is None:
        hint = "choose another `link-mode`"
        yield Finding(topic, "link-mode", Verdict.BROKEN, f"`{wanted.value}` does not work here", hint)
    elif wanted in (LinkMode.AUTO, taken):
        twice = ": each file is on the disk twice" if taken is LinkMode.COPY else ""
        yield Finding(topic, "link-mode", Verdict.OK, f"files come by {taken.value}{twice}")
    else:
        says = f"`{wanted.value}` does not work here: {_INSTEAD[wanted]}"
        yield Finding(topic, "link-mode", Verdict.WARNING, says, "choose another `link-mode`")


def _works(source: Path, trial: Path, mode: LinkMode) -> bool:
    try:
        with open_folder(trial) as folder:
            made = link(source, folder, mode.value, mode)
        return made is mode and (trial / mode.value).read_bytes() == _BYTES
    except OSError:
        return False

"""The trash of a root: what gemmalock takes out of the way is moved here, never deleted, for some days.

`.gemmalock/trash/<run>/<path>`: one run a RootFolder, named by its UTC time and a random part. Nothing here decides
what goes; how long it stays is read off the run's name.
"""

from __future__ import annotations

import calendar
import errno
import os
import re
import threading
import time
from pathlib import Path

from gemmalock.roots.digest import digest_at
from gemmalock.roots.walk import drop_at, lstat_at, opened, short_name, split
from gemmalock.stopping import Stop

_RUN = re.compile(r"(\d{8}T\d{6}Z)-[0-9a-f]{8}")
_STAMP = "%Y%m%dT%H%M%SZ"
_DAY = 24 * 60 * 60


class Trash:
    """The trash folder `path` (from `base`, with `/`). Safe to use from many threads."""

    def __init__(self, base: Path, path: str) -> None:
        self._base = base
        self._path = path
        self._run: str | None = None
        self._lock = threading.Lock()

    def take(self, folder: int, name: str, path: str) -> str | None:
        """Move `name` of an open folder to the trash as `path`, durably: the run that has it now.

        None where there is no such name. Raises OSError: EXDEV, EBUSY or EPERM where something of it is mounted.
        """
        with self._lock:
            if lstat_at(folder, name) is None:
                return None
            run = self._run or _run_name(time.time())
            try:
                taken = self._move(folder, name, f"{run}/{path}")
            except (FileExistsError, NotADirectoryError):
                # This run has something of that name already, and what it has is not replaced.
                run = _run_name(time.time())
                taken = self._move(folder, name, f"{run}/{path}")
            self._run = run
            return run if taken else None

    def note_empty(self, path: str) -> str:
        """Make an empty folder in the trash as `path`, for one that is about to be removed: the run that has it now.
        Raises OSError and UnsafePath."""
        with self._lock:
            run = self._run or _run_name(time.time())
            try:
                self._make(f"{run}/{path}")
            except NotADirectoryError:
                # What this run has under that name is not replaced.
                run = _run_name(time.time())
                self._make(f"{run}/{path}")
            self._run = run
            return run

    def drop_empty(self, run: str, path: str) -> None:
        """Take back what `note_empty` made, unless something is in it by now."""
        with self._lock:
            remove_empty(self._base, self._path, f"{run}/{path}")

    def drop(self, run: str, path: str) -> None:
        """Unlink what `take` moved here as `path`, and the folders that it leaves empty."""
        folder_path, name = split(path)
        with opened(self._base, f"{self._path}/{run}/{folder_path}".rstrip("/")) as folder:
            drop_at(folder, name)
        with self._lock:
            remove_empty(self._base, self._path, f"{run}/{folder_path}".rstrip("/"))

    def stat(self, run: str, path: str) -> os.stat_result | None:
        """The stat of what `take` moved here as `path`, or None."""
        folder_path, name = split(path)
        with opened(self._base, f"{self._path}/{run}/{folder_path}".rstrip("/")) as folder:
            return lstat_at(folder, name)

    def sha256(self, run: str, path: str, stop: Stop | None) -> str:
        """The digest of the regular file that `take` moved here as `path`. Raises OSError and Interrupted."""
        folder_path, name = split(path)
        with opened(self._base, f"{self._path}/{run}/{folder_path}".rstrip("/")) as folder:
            return digest_at(folder, name, stop)[0]

    def purge(self, now: float, days: int) -> int:
        """Delete the runs that are more than `days` old at `now` (seconds since the epoch), by their names. How many
        went; a run that will not go, or whose name tells no time, stays."""
        try:
            with opened(self._base, self._path) as trash:
                old = [name for name in os.listdir(trash) if _is_older(name, now - days * _DAY)]
                return sum(_delete(trash, name) for name in old)
        except (FileNotFoundError, NotADirectoryError):
            return 0

    def _make(self, folder: str) -> None:
        with opened(self._base, f"{self._path}/{folder}", make=True):
            return

    def _move(self, folder: int, name: str, to: str) -> bool:
        to_folder, to_name = split(f"{self._path}/{to}")
        with opened(self._base, to_folder, make=True) as trash:
            if lstat_at(trash, to_name) is not None:
                raise FileExistsError(errno.EEXIST, "in the trash already")
            try:
                os.rename(name, to_name, src_dir_fd=folder, dst_dir_fd=trash)
            except FileNotFoundError:
                return False
            os.fsync(trash)
        return True


def remove_empty(base: Path, top: str, folder: str) -> None:
    """Remove the folder `folder` below `top` if it is empty, then those above it; `top` itself stays."""
    while folder:
        above, name = split(folder)
        try:
            with opened(base, f"{top}/{above}".rstrip("/")) as parent:
                os.rmdir(name, dir_fd=parent)
                os.fsync(parent)
        except OSError:
            return  # not empty, gone already, or not ours to remove
        folder = above


def _run_name(now: float) -> str:
    return f"{time.strftime(_STAMP, time.gmtime(now))}-{short_name()}"


def _is_older(name: str, limit: float) -> bool:
    match = _RUN.fullmatch(name)
    if match is None:
        return False
    try:
        return calendar.timegm(time.strptime(match[1], _STAMP)) < limit
    except ValueError:
        return False


def _delete(trash: int, name: str) -> bool:
    import shutil

    try:
        shutil.rmtree(name, dir_fd=trash)
    except OSError:
        return False
    return True

"""The one way to a path in a root: a walk by folder descriptors that follows no symbolic link.

Every component is opened with openat(2), O_NOFOLLOW and O_DIRECTORY; after the walk the descriptor is used, never the
path again, so nobody can swap a folder for a link in between. Nothing here knows ledgers, trash or strays.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from gemmalock.errors import UnsafePath

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: How often a step is tried again when another process removes the folder between making and opening it.
_TRIES = 20

#: Moves what stands in the way of a folder: called with its folder's descriptor, its name and its path from the base.
Clear = Callable[[int, str, str], None]


@contextlib.contextmanager
def opened(base: Path, path: str, *, make: bool = False, clear: Clear | None = None) -> Iterator[int]:
    """The descriptor of the folder `path` (with `/`, or empty) below `base`, closed again afterwards.

    `base` itself is a person's own folder and may be reached through links. With `make`, folders that are missing
    are made, durably. What is no folder is handed to `clear`, if there is one. Raises UnsafePath at a symbolic link,
    FileNotFoundError or NotADirectoryError where there is no such folder, OSError where the disk would not.
    """
    folder = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        walked = ""
        for name in path.split("/") if path else ():
            walked = f"{walked}/{name}" if walked else name
            inner = _step(folder, name, walked, make, clear)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def lstat_at(folder: int, name: str) -> os.stat_result | None:
    """The stat of what is called `name` in a folder, or None where nothing is; a link is not followed."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def read_at(folder: int, name: str) -> bytes:
    """All bytes of a small regular file. Raises OSError, ELOOP at a symbolic link."""
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    with open(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return stream.read()


def drop_at(folder: int, name: str) -> None:
    """Unlink `name` in a folder if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def short_name() -> str:
    """A random name of eight hexadecimal digits."""
    return os.urandom(4).hex()


def split(path: str) -> tuple[str, str]:
    """The folder (empty for the top) and the name of a path."""
    folder, _, name = path.rpartition("/")
    return folder, name


def _step(folder: int, name: str, walked: str, make: bool, clear: Clear | None) -> int:
    for _ in range(_TRIES):
        try:
            return os.open(name, _FOLDER, dir_fd=folder)
        except FileNotFoundError:
            if not make:
                raise
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=folder)
                os.fsync(folder)
        except OSError as error:
            # With O_DIRECTORY, Linux answers a link with ENOTDIR, and other systems with ELOOP or EMLINK.
            if error.errno not in (errno.ENOTDIR, errno.ELOOP, errno.EMLINK):
                raise
            found = lstat_at(folder, name)
            if found is not None and stat.S_ISLNK(found.st_mode):
                raise through_a_link(walked) from None
            if found is not None and not stat.S_ISDIR(found.st_mode):
                if clear is None:
                    raise
                clear(folder, name, walked)
    raise OSError(errno.EBUSY, f"`{walked}` changes all the time")


def through_a_link(path: str) -> UnsafePath:
    """The error for a symbolic link where a folder should be."""
    return UnsafePath(
        f"`{path}` is a symbolic link; gemmalock does not write through links",
        hint="replace the link with a real folder, or name another `root` in the manifest",
    )

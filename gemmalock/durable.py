"""Small files: reading one, and writing one so that a crash leaves the old bytes or the new ones, never a mixture.

Write beside, fsync, rename, fsync the folder (Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014).
Where the file system has unnamed files (open(2), O_TMPFILE) a process that dies while writing leaves nothing behind.
Everything here raises OSError as it is; who knows what was being done says so through `errors.disk_error`. What the
bytes mean is nobody's business here. Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gemmalock.errors import PolicyRefused, UnsafePath

#: The mode of a file that is finished: nobody writes to it, also not through a hard link in a root.
SEALED = 0o444
#: What a name that was about to become another one ends with; what is left of it after a crash is nobody's.
BESIDE = ".new"
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_UNNAMED = getattr(os, "O_TMPFILE", 0)
#: What open(2) answers where unnamed files cannot be had; in a folder that was removed ext4 says EPERM. The attempt
#: with a name that follows says what is really wrong.
_NO_UNNAMED = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS, errno.ENOENT, errno.EPERM})


def write_file(path: Path, data: bytes | bytearray, mode: int = 0o600) -> None:
    """Make `path` a file with these bytes, for good; a crash leaves the old file or the new one, whole.

    A file that is there keeps its permissions, a new one gets `mode` less the umask. A symbolic link at `path` is
    replaced, not followed. Raises OSError, and then the old file is as it was.
    """
    with open_folder(path.parent) as folder:
        replace_at(folder, path.name, data, mode)


def read_file(path: Path, most: int) -> bytes:
    """The first `most` bytes of a regular file, which may be reached through links. Raises OSError, EINVAL for what is
    no regular file: nobody waits for the other end of a pipe, or reads a device without an end."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    with open(file, "rb") as stream:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        # Python sets aside as much memory as is asked for, however short the file is.
        return stream.read() if found.st_size < most else stream.read(most)


def replace_at(folder: int, name: str, data: bytes | bytearray, mode: int = 0o600) -> None:
    """`write_file` for a name inside an open folder."""
    put_at(folder, name, data, mode)
    os.fsync(folder)


def put_at(folder: int, name: str, data: bytes | bytearray, mode: int = 0o600) -> None:
    """`replace_at` for who syncs the folder: until then a power cut may bring back the old file, whole."""
    old_mode = _mode_of(folder, name)
    while True:
        with _whole(folder, data, mode if old_mode is None else old_mode, synced=True) as file:
            if old_mode is not None:
                os.fchmod(file.number, old_mode)
            beside = file.name or _named_beside(folder, name, file)
            try:
                os.replace(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
            except FileNotFoundError:
                # Somebody else writes this very file now, and took the whole file beside it for their own.
                continue
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(beside, dir_fd=folder)
                raise
        return


def create_at(folder: int, name: str, data: bytes, *, synced: bool = True) -> int:
    """Make the new name `name` inside an open folder, with all of these bytes or not at all; exactly one of many
    who try it at once succeeds. Raises FileExistsError for the others. With `synced` it also outlives a power cut.
    Its inode."""
    with _whole(folder, data, 0o600, synced) as file:
        inode = os.fstat(file.number).st_ino
        file.link(folder, name)
    if synced:
        os.fsync(folder)
    return inode


def fill_at(folder: int, name: str, data: bytes) -> int:
    """Make the new name `name` with these bytes inside an open folder: a crash may leave half of it there, and a power
    cut nothing, as long as nobody syncs it. Raises FileExistsError where the name is taken. Its inode."""
    file = os.open(name, _NEW, 0o600, dir_fd=folder)
    try:
        write_all(file, data)
        return os.fstat(file).st_ino
    finally:
        os.close(file)


def sync_at(folder: int, name: str) -> None:
    """Make the bytes of a file in an open folder, and the names in it, outlive a power cut."""
    file = os.open(name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0), dir_fd=folder)
    try:
        os.fsync(file)
    finally:
        os.close(file)
    os.fsync(folder)


def has_unnamed_files(folder: int) -> bool:
    """Whether the file system of an open folder has files without a name, that a name can be given to later."""
    file = _open_unnamed(folder, 0o600)
    if file is not None:
        os.close(file)
    return file is not None


def make_private(path: Path) -> None:
    """Make a folder (and those above it) that nobody else can write to, unless it is there already; and refuse one
    that `check_private` refuses. Raises OSError and PolicyRefused."""
    if not path.is_dir():
        _make_for_good(path, 0o700)
    check_private(path)


def _make_for_good(path: Path, mode: int = 0o777) -> None:
    """Make a folder and those above it that are missing; every new name outlives a power cut."""
    if not path.parent.is_dir():
        _make_for_good(path.parent)
    path.mkdir(mode, exist_ok=True)
    sync_folder(path.parent)


def check_private(path: Path) -> None:
    """Raise PolicyRefused for a folder that belongs to another user, other than root, or that everybody can rename
    files in: whoever can put files there decides what is read from there. Raises OSError."""
    found = path.stat()
    if hasattr(os, "geteuid") and found.st_uid not in (0, os.geteuid()):
        raise PolicyRefused(
            f"`{path}` belongs to another user (number {found.st_uid})",
            hint="name a folder of your own in `GEMMALOCK_STORE`",
        )
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise PolicyRefused(f"everybody can write to `{path}`", hint=f"run `chmod go-w {path}`")


def refuse_link(path: Path) -> None:
    """Raise UnsafePath where a folder inside of the store is a symbolic link: we make none, and what it leads to is
    not ours to write to or to tidy. Raises OSError."""
    is_real_folder(path)


def is_real_folder(path: Path) -> bool:
    """Whether a folder inside of the store is there. Raises UnsafePath as `refuse_link` does, and OSError."""
    try:
        mode = os.stat(path, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISLNK(mode):
        raise UnsafePath(
            f"`{path}` is a symbolic link; gemmalock does not write through links",
            hint="remove the link; `GEMMALOCK_STORE` places the whole store elsewhere",
        )
    return stat.S_ISDIR(mode)


def sync_folder(path: Path) -> None:
    """Make the names in a folder outlive a power cut."""
    with open_folder(path) as folder:
        os.fsync(folder)


@contextlib.contextmanager
def open_folder(path: Path, *, follow: bool = True) -> Iterator[int]:
    """A file descriptor of a folder, for as long as the block lasts."""
    folder = os.open(path, _FOLDER | (0 if follow else getattr(os, "O_NOFOLLOW", 0)))
    try:
        yield folder
    finally:
        os.close(folder)


def write_all(file: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of `data` at the file's position, however few bytes a single write takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _WholeFile:
    """An open file that has all of its bytes; `name` is its own inside the folder, None where it has none yet."""

    number: int
    name: str | None

    def link(self, folder: int, name: str) -> None:
        """Give it the new name `name`. Raises FileExistsError where that is taken."""
        if self.name is not None:
            os.link(self.name, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        else:
            os.link(f"/proc/self/fd/{self.number}", name, dst_dir_fd=folder, follow_symlinks=True)


def _named_beside(folder: int, name: str, file: _WholeFile) -> str:
    """The file under the one name that belongs to the writers of `name`, so that crashes leave at most one.

    Nobody ever has a half-written file there: taking the name from another writer costs that writer a second try.
    """
    beside = f".{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{BESIDE}"
    while True:
        try:
            file.link(folder, beside)
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside, dir_fd=folder)
            continue
        return beside


@contextlib.contextmanager
def _whole(folder: int, data: bytes | bytearray, mode: int, synced: bool) -> Iterator[_WholeFile]:
    """A new file with all of `data`. A name that it was given for want of a better one is gone afterwards."""
    number = _open_unnamed(folder, mode)
    name = f".{os.urandom(8).hex()}{BESIDE}" if number is None else None
    if name is not None:
        number = os.open(name, _NEW, mode, dir_fd=folder)
    assert number is not None
    try:
        write_all(number, data)
        if synced:
            os.fsync(number)
        yield _WholeFile(number, name)
    finally:
        os.close(number)
        if name is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)


def _mode_of(folder: int, name: str) -> int | None:
    """The permissions of the regular file that is there, or None."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found.st_mode & 0o777 if stat.S_ISREG(found.st_mode) else None


def _open_unnamed(folder: int, mode: int) -> int | None:
    if not _UNNAMED or not _has_names_of_descriptors():
        return None
    try:
        return os.open(".", _UNNAMED | os.O_WRONLY | getattr(os, "O_CLOEXEC", 0), mode, dir_fd=folder)
    except OSError as error:
        if error.errno not in _NO_UNNAMED:
            raise
        return None


@lru_cache(maxsize=1)
def _has_names_of_descriptors() -> bool:
    """Whether an unnamed file can be given a name (proc_pid_fd(5))."""
    return Path("/proc/self/fd").is_dir()

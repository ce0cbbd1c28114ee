"""How the bytes of one file come to another name: shared by the file system where it can, copied where it cannot.

Which name, in which folder and whether it may be written there is `roots`' to decide; this module only makes a new
name in an open folder. It never replaces one, never follows a link, and raises OSError as it is.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from gemmalock.durable import write_all
from gemmalock.errors import DigestMismatch
from gemmalock.stopping import Stop

#: ioctl_ficlone(2): share the blocks of another file, copied on write.
FICLONE = 0x40049409
_BUFFER = 1024 * 1024
_CLOSED = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
#: What a file system answers when it cannot share, for want of the feature, across devices, or beyond a limit.
CANNOT_SHARE = frozenset(
    {
        errno.EOPNOTSUPP,
        errno.ENOTSUP,
        errno.EXDEV,
        errno.EPERM,
        errno.EACCES,
        errno.EMLINK,
        errno.EINVAL,
        errno.ENOTTY,
        errno.ENOSYS,
        errno.EBADF,
        errno.ETXTBSY,
    }
)

#: What a file system answers to FICLONE that has no reflinks, whatever the file; those that said so, by their device.
_NO_REFLINKS = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS})
_WITHOUT_REFLINKS: set[int] = set()


class LinkMode(enum.Enum):
    """How a stored file gets its name in a root."""

    AUTO = "auto"
    REFLINK = "reflink"
    HARDLINK = "hardlink"
    SYMLINK = "symlink"
    COPY = "copy"


#: What is tried, in this order. A mode that was asked for and cannot be had becomes a copy.
ATTEMPTS: Mapping[LinkMode, tuple[LinkMode, ...]] = {
    LinkMode.AUTO: (LinkMode.REFLINK, LinkMode.HARDLINK, LinkMode.COPY),
    LinkMode.REFLINK: (LinkMode.REFLINK, LinkMode.COPY),
    LinkMode.HARDLINK: (LinkMode.HARDLINK, LinkMode.COPY),
    # A link where a link was asked for, or an error: a silent copy would cost the space it was to save.
    LinkMode.SYMLINK: (LinkMode.SYMLINK,),
    LinkMode.COPY: (LinkMode.COPY,),
}


def link(
    source: Path, folder_fd: int, name: str, mode: LinkMode, *, sha256: str | None = None, stop: Stop | None = None
) -> LinkMode:
    """Make `name`, which must not be there yet, inside an open folder from the bytes of `source`; how it was done.

    A reflink or a copy belongs to the user (0644 less the umask) and is synced; a hard link stays read-only as the
    object is; a symbolic link is absolute. With `sha256` a copy is hashed on its way. The name is there
    only when this returns. Raises OSError (FileExistsError when the name is taken), DigestMismatch and Interrupted.
    """
    *shared, last = ATTEMPTS[mode]
    for attempt in shared:
        try:
            _MAKERS[attempt](source, folder_fd, name)
        except OSError as error:
            if error.errno not in CANNOT_SHARE:
                raise
            continue
        return attempt
    if last is LinkMode.COPY:
        copy(source, folder_fd, name, sha256=sha256, stop=stop)
    else:
        _MAKERS[last](source, folder_fd, name)
    return last


def hardlink_whole(source: Path, folder_fd: int, name: str, mode: LinkMode, size: int) -> os.stat_result | None:
    """Make `name` inside an open folder a hard link to `source`, where that is what `link` would come to: at once, with
    nothing to be seen half-made. The stat of the file; None where it takes another way, and nothing was done.

    `source` has to be a regular file of `size` bytes. Raises OSError (FileExistsError when the name is taken).
    """
    found = os.stat(source, follow_symlinks=False)
    may = mode is LinkMode.HARDLINK or (mode is LinkMode.AUTO and found.st_dev in _WITHOUT_REFLINKS)
    if not may or not stat.S_ISREG(found.st_mode) or found.st_size != size:
        return None
    try:
        _MAKERS[LinkMode.HARDLINK](source, folder_fd, name)
    except OSError as error:
        if error.errno not in CANNOT_SHARE:
            raise
        return None
    return found


def copy(source: Path, folder_fd: int, name: str, *, sha256: str | None = None, stop: Stop | None = None) -> None:
    """Copy `source` to a new name in an open folder, synced. With `sha256` the bytes that are
    written must have that digest; raises DigestMismatch else. Memory stays flat."""
    with _opened(source) as old, _created(folder_fd, name) as new:
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(_BUFFER))
        while count := os.readv(old, [buffer]):
            if stop is not None:
                stop.check()
            if sha256 is not None:
                digest.update(buffer[:count])
            write_all(new, buffer[:count])
        os.fsync(new)
        if sha256 is not None:
            _expect(digest.hexdigest(), sha256, source)


def _expect(found: str, sha256: str, source: Path) -> None:
    if found != sha256:
        raise DigestMismatch(
            f"the copy of `{source}` has sha256 `{found}`, not `{sha256}`", hint="run `gemmalock cache verify`"
        )


def _reflink(source: Path, folder_fd: int, name: str) -> None:
    try:
        from fcntl import ioctl
    except ImportError:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), str(source)) from None
    with _opened(source) as old:
        device = os.fstat(old).st_dev
        if device in _WITHOUT_REFLINKS:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), str(source))
        with _created(folder_fd, name) as new:
            try:
                ioctl(new, FICLONE, old)
            except OSError as error:
                if error.errno in _NO_REFLINKS:
                    _WITHOUT_REFLINKS.add(device)
                raise
            os.fsync(new)


def _hardlink(source: Path, folder_fd: int, name: str) -> None:
    os.link(source, name, dst_dir_fd=folder_fd, follow_symlinks=False)


def _symlink(source: Path, folder_fd: int, name: str) -> None:
    os.symlink(source.absolute(), name, dir_fd=folder_fd)


_MAKERS: Mapping[LinkMode, Callable[[Path, int, str], None]] = {
    LinkMode.REFLINK: _reflink,
    LinkMode.HARDLINK: _hardlink,
    LinkMode.SYMLINK: _symlink,
    LinkMode.COPY: copy,
}


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[int]:
    file = os.open(source, os.O_RDONLY | _CLOSED)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EISDIR, "not a regular file", str(source))
        yield file
    finally:
        os.close(file)


@contextlib.contextmanager
def _created(folder_fd: int, name: str) -> Iterator[int]:
    """A new file, which is gone again when the block fails."""
    file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | _CLOSED, 0o644, dir_fd=folder_fd)
    try:
        yield file
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder_fd)
        raise
    finally:
        os.close(file)

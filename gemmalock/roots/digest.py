"""The sha256 of a file in an open folder. Memory stays flat, and a wish to stop is heard between two reads."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable

from gemmalock.stopping import Stop

OnRead = Callable[[int], None]
_BUFFER = 1024 * 1024
#: How often a file is read again when something but its bytes changed meanwhile.
_TRIES = 20


def digest_at(
    folder: int, name: str, stop: Stop | None, *, follow: bool = False, on_read: OnRead | None = None
) -> tuple[str, os.stat_result]:
    """The sha256 (hexadecimal) of a regular file, and its stat. With `follow`, `name` may be a symbolic link. `on_read`
    is told how many bytes were read so far.

    Raises Interrupted, and OSError: ELOOP at a link, EINVAL at what is no file, EAGAIN when the file changed while
    it was read. Another link to it, or another name, is no change: then it is read again, until two readings agree.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    file = os.open(name, flags, dir_fd=folder)
    try:
        before = os.fstat(file)
        if not stat.S_ISREG(before.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        last = None
        for _ in range(_TRIES):
            sha256 = _digest(file, stop, on_read)
            after = os.fstat(file)
            if marks(before) == marks(after) or (sha256 == last and _bytes_mark(before) == _bytes_mark(after)):
                return sha256, after
            if _bytes_mark(before) != _bytes_mark(after):
                break
            last, before = sha256, after
            os.lseek(file, 0, os.SEEK_SET)
        raise OSError(errno.EAGAIN, "it changed while it was read")
    finally:
        os.close(file)


def marks(found: os.stat_result) -> tuple[int, ...]:
    """All of a stat that changes when a file's bytes do."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _bytes_mark(found: os.stat_result) -> tuple[int, int]:
    """What changes when an honest program writes to the file, and not when it is linked or renamed."""
    return found.st_size, found.st_mtime_ns


def _digest(file: int, stop: Stop | None, on_read: OnRead | None) -> str:
    sha256 = hashlib.sha256()
    buffer = memoryview(bytearray(_BUFFER))
    done = 0
    while count := os.readv(file, [buffer]):
        sha256.update(buffer[:count])
        done += count
        if stop is not None:
            stop.check()
        if on_read is not None:
            on_read(done)
    return sha256.hexdigest()

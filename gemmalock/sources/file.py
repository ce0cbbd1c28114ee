"""Files behind file URLs: `ports.Source` over folders of this machine.

`file:///srv/models/a.gguf` is absolute; `file://../shared/a.gguf` is relative to the folder of the manifest. What
follows `file://` is a path whose percent escapes are decoded, as in every URL: a name with a `%` in it is written
`%25`. There is no host part: `file://localhost/a` means the folder `localhost` beside the manifest.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from gemmalock.errors import (
    ConnectionFailed,
    FileError,
    NotFound,
    PolicyRefused,
    SizeMismatch,
    UpstreamChanged,
    disk_error,
)
from gemmalock.ports import Ask, Listing, Probe, Restarted
from gemmalock.spec import scheme_of
from gemmalock.stopping import Stop

_PIECE = 1024 * 1024
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})
#: What asking for the target of a link says that has none.
_NOWHERE = _GONE | {errno.ELOOP}
#: Opening a FIFO for reading would wait for a writer: it does not with O_NONBLOCK.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


class FileSource:
    """Files of this machine; `base` is where relative URLs start: the folder of the manifest."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def probe(self, url: str, stop: Stop) -> Probe:
        """As ports.Source has it. The ETag is the quoted sha256, so that another content is another task."""
        descriptor, status = _opened(self.path_of(url), url)
        try:
            digest = _digest(descriptor, url, stop)
        finally:
            os.close(descriptor)
        return Probe(status.st_size, f'"{digest}"', digest)

    def list(self, source: str, stop: Stop) -> Listing:
        """As ports.Source has it: every file below the folder, sorted. Links that stay in the folder are followed,
        others are left out, and so is everything that is neither file nor folder."""
        folder = self.path_of(source)
        try:
            mode = folder.stat().st_mode
        except OSError as error:
            raise _seen(error, source) from error
        if not stat.S_ISDIR(mode):
            raise NotFound(
                f"`{source}` is not a folder", hint="give the folder as `source`, and its files under `files`"
            )
        home = os.path.realpath(folder)
        return Listing(tuple(sorted(_names(home, home, "", frozenset({home}), stop))))

    def open(self, ask: Ask, stop: Stop) -> FileAnswer:
        """As ports.Source has it."""
        stop.check()
        descriptor, status = _opened(self.path_of(ask.url), ask.url)
        try:
            _check(ask, descriptor, status.st_size, stop)
        except BaseException:
            os.close(descriptor)
            raise
        end = status.st_size if ask.end is None else min(ask.end, status.st_size)
        return FileAnswer(descriptor, ask, max(ask.start, end), stop)

    def close(self) -> None:
        """As ports.Source has it: nothing is kept open."""

    def path_of(self, url: str) -> Path:
        """The path that a file URL names."""
        if scheme_of(url) != "file":
            raise PolicyRefused(f"`{url}` is not a file URL")
        path = unquote(url.partition("://")[2])
        if not path or "\0" in path:
            raise NotFound(f"`{url}` names no file")
        return self._base / path


class FileAnswer:
    """An open file (ports.Answer), read at positions, so that other readers do not disturb it."""

    def __init__(self, descriptor: int, ask: Ask, end: int, stop: Stop) -> None:
        self.start = ask.start
        self.end: int | None = end
        self.etag = ask.etag
        self.origin = "file://"
        self.restarted: Restarted | None = None
        self.delimited = True
        self._url = ask.url
        self._descriptor: int | None = descriptor
        self._place = ask.start
        self._end = end
        self._stop = stop

    def readinto(self, buffer: memoryview) -> int:
        """As ports.Answer has it."""
        self._stop.check()
        view = buffer[: max(0, self._end - self._place)]
        if self._descriptor is None or not view.nbytes:
            return 0
        try:
            count = os.preadv(self._descriptor, [view], self._place)
        except OSError as error:
            raise _seen(error, self._url) from error
        if count == 0:
            raise ConnectionFailed(f"`{self._url}` ended {self._end - self._place} bytes too early")
        self._place += count
        return count

    def close(self) -> None:
        """As ports.Answer has it."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None


def _opened(path: Path, url: str) -> tuple[int, os.stat_result]:
    """The descriptor of a regular file, for the caller to close, and its stat."""
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        raise _seen(error, url) from error
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        return descriptor, status
    os.close(descriptor)
    raise NotFound(f"`{url}` is {'a folder' if stat.S_ISDIR(status.st_mode) else 'no regular file'}")


def _check(ask: Ask, descriptor: int, size: int, stop: Stop) -> None:
    """Whether the file is the locked one, as far as that can be told before it is read; without a digest, that is
    its ETag, which is made of its content."""
    if ask.size is not None and size != ask.size:
        raise SizeMismatch(f"the source has {size} bytes, the lock says {ask.size}")
    if ask.proven or ask.etag is None:
        return
    etag = f'"{_digest(descriptor, ask.url, stop)}"'
    if ask.etag != etag:
        raise UpstreamChanged(f"the source has ETag `{etag}`, the lock says `{ask.etag}`")


def _digest(descriptor: int, url: str, stop: Stop) -> str:
    digest, place = hashlib.sha256(), 0
    buffer = memoryview(bytearray(_PIECE))
    while True:
        stop.check()
        try:
            count = os.preadv(descriptor, [buffer], place)
        except OSError as error:
            raise _seen(error, url) from error
        if count == 0:
            return digest.hexdigest()
        digest.update(buffer[:count])
        place += count


def _names(home: str, folder: str, prefix: str, above: frozenset[str], stop: Stop) -> Iterator[str]:
    """The names of the files below `folder`; `above` are the real folders on the way, against links that go round."""
    stop.check()
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except OSError as error:
        raise _seen(error, f"file://{folder}") from error
    for entry in found:
        real = os.path.realpath(entry.path)
        if real != home and not real.startswith(home.rstrip(os.sep) + os.sep):
            continue
        name = f"{prefix}{entry.name}"
        kind = _kind(entry, f"file://{folder}/{entry.name}")
        if kind == stat.S_IFDIR and real not in above:
            yield from _names(home, real, f"{name}/", above | {real}, stop)
        elif kind == stat.S_IFREG:
            yield name


def _kind(entry: os.DirEntry[str], url: str) -> int:
    """What an entry is, as stat has it, through links; 0 where a link leads nowhere or goes round. Raises FileError
    where the disk would not say: a list without that file would be wrong."""
    try:
        return stat.S_IFMT(entry.stat().st_mode)
    except OSError as error:
        if error.errno in _NOWHERE:
            return 0
        raise _seen(error, url) from error


def _seen(error: OSError, url: str) -> FileError:
    if error.errno in _GONE:
        return NotFound(f"`{url}` is not there")
    return disk_error(error, f"read `{url}`")

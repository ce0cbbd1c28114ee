"""A plugin of gemmalock: files inside zip archives, as `zip+file://folder/archive.zip/name`.

The archive is the first part of the path that ends in `.zip`; it is relative to the manifest's folder, and percent
escapes are decoded, as in `file://` URLs, which those of every scheme that ends in `+file` are like.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from gemmalock.errors import (
    ConnectionFailed,
    FileError,
    NotFound,
    PolicyRefused,
    ReadWriteFailed,
    SizeMismatch,
    UpstreamChanged,
    disk_error,
)
from gemmalock.plugins.specs import Scheme, SourceContext, hookimpl
from gemmalock.ports import Ask, Listing, Probe, Restarted
from gemmalock.stopping import Stop

_PIECE = 1024 * 1024
_ARCHIVE = re.compile(r".*?\.zip(?=/|\Z)", re.DOTALL)


@hookimpl
def gemmalock_sources() -> Mapping[str, Scheme]:
    """One scheme. Where its files are is what is so for every scheme that says nothing else: below their source."""
    return {"zip+file": Scheme(lambda context: ZipSource(context))}


class ZipSource:
    """gemmalock.ports.Source over the archives of this machine. Nothing is kept open: any thread may ask anything."""

    def __init__(self, context: SourceContext) -> None:
        self._folder = context.folder

    def probe(self, url: str, stop: Stop) -> Probe:
        """Size and digest of a member. The ETag is the quoted digest: another content is another task."""
        archive, name = self._parts(url)
        with _opened(archive, url) as zipped:
            member = _member(zipped, name, url)
            digest = _digest(zipped, member, stop)
            return Probe(member.file_size, f'"{digest}"', digest)

    def list(self, source: str, stop: Stop) -> Listing:
        """Every member below the source, that is no folder."""
        stop.check()
        archive, prefix = self._parts(source)
        prefix = f"{prefix}/" if prefix else ""
        with _opened(archive, source) as zipped:
            names = [member.filename for member in zipped.infolist() if not member.is_dir()]
        return Listing(tuple(sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))))

    def open(self, ask: Ask, stop: Stop) -> ZipAnswer:
        """The bytes that are asked for; what comes before them is unpacked and skipped."""
        stop.check()
        archive, name = self._parts(ask.url)
        with contextlib.ExitStack() as opened:
            zipped = opened.enter_context(_opened(archive, ask.url))
            member = _member(zipped, name, ask.url)
            _check(ask, zipped, member, stop)
            body = opened.enter_context(zipped.open(member))
            body.seek(ask.start)
            end = member.file_size if ask.end is None else min(ask.end, member.file_size)
            return ZipAnswer(body, ask, max(ask.start, end), stop, opened.pop_all())

    def close(self) -> None:
        """There is nothing to let go of."""

    def _parts(self, url: str) -> tuple[Path, str]:
        """The archive and the name in it; an empty name is the archive as a whole."""
        path = unquote(url.partition("://")[2])
        found = _ARCHIVE.match(path)
        if "\0" in path or found is None:
            raise NotFound(f"`{url}` names no archive", hint="write it as `zip+file://folder/archive.zip/name`")
        return self._folder / found[0], path[found.end() :].strip("/")


class ZipAnswer:
    """gemmalock.ports.Answer: the open body of a member, from `start` up to `end`."""

    def __init__(self, body: IO[bytes], ask: Ask, end: int, stop: Stop, opened: contextlib.ExitStack) -> None:
        self.start = ask.start
        self.end: int | None = end
        self.etag = ask.etag
        self.origin = "zip+file://"
        self.restarted: Restarted | None = None
        self.delimited = True
        self._url = ask.url
        self._body = body
        self._left = end - ask.start
        self._stop = stop
        self._opened = opened

    def readinto(self, buffer: memoryview) -> int:
        """As ports.Answer has it."""
        self._stop.check()
        if not self._left or not buffer.nbytes:
            return 0
        with _told(self._url):
            piece = self._body.read(min(self._left, buffer.nbytes))
        if not piece:
            raise ConnectionFailed(f"`{self._url}` ended {self._left} bytes too early")
        buffer[: len(piece)] = piece
        self._left -= len(piece)
        return len(piece)

    def close(self) -> None:
        """As ports.Answer has it."""
        with contextlib.suppress(OSError):
            self._opened.close()


@contextlib.contextmanager
def _opened(archive: Path, url: str) -> Iterator[zipfile.ZipFile]:
    """An archive; what goes wrong while it is open is an error of gemmalock's."""
    with _told(url), zipfile.ZipFile(archive) as zipped:
        yield zipped


@contextlib.contextmanager
def _told(url: str) -> Iterator[None]:
    """Raise what goes wrong with an archive as what it is in gemmalock's tree of errors."""
    try:
        yield
    except FileError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"`{url}` is not there") from error
    except OSError as error:
        raise disk_error(error, f"read `{url}`") from error
    except zipfile.BadZipFile as error:
        raise ReadWriteFailed(f"`{url}` cannot be read: {error}", hint="get the archive anew") from error
    except (NotImplementedError, RuntimeError) as error:
        raise PolicyRefused(f"`{url}` cannot be unpacked: {error}") from error


def _member(zipped: zipfile.ZipFile, name: str, url: str) -> zipfile.ZipInfo:
    try:
        return zipped.getinfo(name)
    except KeyError:
        raise NotFound(f"`{url}` is not there", hint="`unzip -l` shows what the archive has") from None


def _check(ask: Ask, zipped: zipfile.ZipFile, member: zipfile.ZipInfo, stop: Stop) -> None:
    """Whether the member is the locked one, as far as that can be told before it is read."""
    if ask.size is not None and member.file_size != ask.size:
        raise SizeMismatch(f"the source has {member.file_size} bytes, the lock says {ask.size}")
    if ask.proven or ask.etag is None:
        return
    etag = f'"{_digest(zipped, member, stop)}"'
    if ask.etag != etag:
        raise UpstreamChanged(f"the source has ETag `{etag}`, the lock says `{ask.etag}`")


def _digest(zipped: zipfile.ZipFile, member: zipfile.ZipInfo, stop: Stop) -> str:
    digest = hashlib.sha256()
    with zipped.open(member) as body:
        while True:
            stop.check()
            if not (piece := body.read(_PIECE)):
                return digest.hexdigest()
            digest.update(piece)

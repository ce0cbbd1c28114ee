"""The in-memory twin of a source: the same port, no network, no disk. It passes the same conformance suite."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from gemmalock.errors import NotFound, SizeMismatch, UpstreamChanged
from gemmalock.ports import Ask, Listing, Probe, Restarted
from gemmalock.stopping import Stop


class MemorySource:
    """Files by URL. `ranges` False: it always sends the whole file."""

    def __init__(self, files: Mapping[str, bytes], *, ranges: bool = True) -> None:
        self.files = dict(files)
        self.ranges = ranges

    def probe(self, url: str, stop: Stop) -> Probe:
        stop.check()
        body = self._body(url)
        return Probe(len(body), _tag(body), hashlib.sha256(body).hexdigest())

    def list(self, source: str, stop: Stop) -> Listing:
        stop.check()
        prefix = source.rstrip("/") + "/"
        names = tuple(sorted(url.removeprefix(prefix) for url in self.files if url.startswith(prefix)))
        if not names:
            raise NotFound(f"`{source}` is not there")
        return Listing(names)

    def open(self, ask: Ask, stop: Stop) -> MemoryAnswer:
        stop.check()
        body = self._body(ask.url)
        if ask.size is not None and len(body) != ask.size:
            raise SizeMismatch(f"the source has {len(body)} bytes, the lock says {ask.size}")
        if not ask.proven and ask.etag not in (None, _tag(body)):
            raise UpstreamChanged(f"the source has ETag `{_tag(body)}`, the lock says `{ask.etag}`")
        if self.ranges:
            return MemoryAnswer(body, ask.start, len(body) if ask.end is None else ask.end, None, stop)
        wants_part = ask.start > 0 or ask.end not in (None, len(body))
        return MemoryAnswer(body, 0, len(body), Restarted.IGNORED if wants_part else None, stop)

    def close(self) -> None:
        pass

    def _body(self, url: str) -> bytes:
        try:
            return self.files[url]
        except KeyError:
            raise NotFound(f"`{url}` is not there") from None


class MemoryAnswer:
    """A body in memory."""

    def __init__(self, body: bytes, start: int, end: int, restarted: Restarted | None, stop: Stop) -> None:
        self.start = start
        self.end: int | None = end
        self.etag: str | None = _tag(body)
        self.origin = "memory://"
        self.restarted = restarted
        self.delimited = True
        self._left = memoryview(body)[start:end]
        self._stop = stop

    def readinto(self, buffer: memoryview) -> int:
        self._stop.check()
        piece = self._left[: len(buffer)]
        buffer[: len(piece)] = piece
        self._left = self._left[len(piece) :]
        return len(piece)

    def close(self) -> None:
        self._left = memoryview(b"")


def _tag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()}"'

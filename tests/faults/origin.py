"""The server of the catalogue: it serves well, until a test lets it fail, and well again after that.

`Origin.good` is how it serves while all is well, `Origin.fault` what it does instead while that is set. Scripts are
those of `tests.servers.scripted`; `serve` is the well-behaved one, and many faults are `serve` with one thing wrong.
"""

from __future__ import annotations

import contextlib
import hashlib
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.servers.scripted import Exchange, Received, Script, ScriptedServer

CHUNK = 4 * 1024 * 1024
MIB = 1024 * 1024


def strong(body: bytes) -> str:
    """A strong entity tag made from the bytes."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def serve(exchange: Exchange, body: bytes, etag: str | None, headers: Mapping[str, str] | None = None) -> None:
    """Answer as a good server does: HEAD, single ranges, If-Range, 416 (RFC 9110, 13.1.5 and 14)."""
    fields = {**({"ETag": etag} if etag is not None else {}), **(headers or {})}
    asked = exchange.range
    condition = exchange.request.headers.get("if-range")
    if asked is None or (condition is not None and condition != etag):
        if exchange.request.method == "HEAD":
            exchange.head(200, {"Content-Length": str(len(body)), **fields})
        else:
            exchange.answer(200, fields, body)
        return
    start, end = asked[0], min(asked[1] or len(body), len(body))
    if start >= end:
        exchange.answer(416, {"Content-Range": f"bytes */{len(body)}"})
        return
    exchange.answer(206, {"Content-Range": f"bytes {start}-{end - 1}/{len(body)}", **fields}, body[start:end])


@dataclass
class Origin:
    """A server with `files` (path → bytes), all with the same kind of entity tag."""

    files: dict[str, bytes]
    etag: str | None = "strong"
    headers: Mapping[str, str] = field(default_factory=dict)
    fault: Script | None = None
    #: How it serves while all is well, where that is not `serve`.
    good: Script | None = None
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        self.server = ScriptedServer(self._answer, tls=self.tls)

    @property
    def url(self) -> str:
        """Its origin."""
        return self.server.url

    @property
    def requests(self) -> list[Received]:
        """Every request so far."""
        return self.server.requests

    @property
    def gets(self) -> list[Received]:
        """Every GET so far."""
        return [request for request in self.requests if request.method == "GET"]

    @property
    def sent(self) -> int:
        """Bytes that went out so far, heads included."""
        return sum(request.sent for request in self.requests)

    def tag(self, path: str) -> str | None:
        """The entity tag of a file, as it is sent."""
        match self.etag:
            case "strong":
                return strong(self.files[path])
            case "weak":
                return f"W/{strong(self.files[path])}"
            case literal:
                return literal

    def serve(self, exchange: Exchange) -> None:
        """Answer well."""
        path = exchange.request.path.partition("?")[0]
        if path not in self.files:
            exchange.answer(404)
            return
        serve(exchange, self.files[path], self.tag(path), self.headers)

    def forget(self) -> None:
        """Empty the log."""
        self.server.requests.clear()

    def _answer(self, exchange: Exchange) -> None:
        (self.fault or self.good or self.serve)(exchange)


@contextlib.contextmanager
def running(origin: Origin) -> Iterator[Origin]:
    """Inside, the origin serves; at the end no script of it may have raised."""
    with origin.server:
        yield origin
    assert origin.server.failures == []

"""A well-behaved HTTP/1.1 file server on the loopback interface, with knobs: what end-to-end tests download from.

    with FileServer({"/gemma.gguf": b"..."}) as server:
        sync(server.url + "/gemma.gguf")
        assert server.bytes_served("/gemma.gguf") == 3

A value of `files` is bytes, or a `Content` where the defaults are not enough. The defaults are those of a good
server: a strong ETag made from the bytes, `Accept-Ranges`, `Content-Length`, HEAD, single ranges with `If-Range`
(RFC 9110, 13.1.5 and 14), 416, keep-alive. `server.files` may be changed while the server runs: replace a value to
change a file upstream, delete one to lose it.

Knobs of a `Content` (all may be changed while it runs):

    etag            STRONG (default), WEAK, None for none, a str sent literally, or a callable asked per request
    ranges          False: Range is ignored and not announced; every GET is a 200 with the whole file
    head            False: HEAD is answered 405; or a status to answer it with
    content_length  False: GET is chunked, HEAD tells no length
    repr_digest     True: `Repr-Digest: sha-256=:…:` (RFC 9530)
    content_type    the `Content-Type`
    headers         further fields of the answer
    fail_first      statuses that the next GETs get instead, one each, used up from the front
    retry_after     the `Retry-After` of those
    throttle        bytes a second that each GET gets at most
    cut_after       each GET's connection is reset after so many bytes of the body …
    cut_times       … but only the next so many times (None: always)

`redirects` maps a path to a URL (or a path): answered 302, HEAD too. `FileServer(…, tls=context)` speaks https.

What it tells: `url` and `origin` (the same, without a slash at the end); `requests`, a tuple of `Request` in order of
arrival, each with `method`, `path` (as sent, with its query), `headers` (lower-case names), `status` and `served`
(bytes of the body that went out); `bytes_served(path)`; `gets(path)`; `failures`, the exceptions of the server itself,
which a test may want to see empty. `forget()` empties the log. For broken framing, wrong ranges and hangs see
`tests.servers.scripted`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from urllib.parse import unquote, urlsplit

from tests.servers.listening import Conversation, Listener

STRONG = "strong"
WEAK = "weak"
_PIECE = 256 * 1024
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(slots=True)
class Content:
    """One file and how it is served; see the module's docstring."""

    body: bytes
    etag: str | Callable[[], str | None] | None = STRONG
    ranges: bool = True
    head: bool | int = True
    content_length: bool = True
    repr_digest: bool = False
    content_type: str = "application/octet-stream"
    headers: dict[str, str] = field(default_factory=dict)
    fail_first: list[int] = field(default_factory=list)
    retry_after: str | None = None
    throttle: int | None = None
    cut_after: int | None = None
    cut_times: int | None = None

    def etag_now(self) -> str | None:
        """The ETag of the next answer, as it is sent."""
        if callable(self.etag):
            return self.etag()
        if self.etag in (STRONG, WEAK):
            tag = f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'
            return tag if self.etag == STRONG else f"W/{tag}"
        return self.etag


@dataclass(slots=True)
class Request:
    """One request that arrived, and what was answered."""

    method: str
    path: str
    headers: Mapping[str, str]
    status: int = 0
    served: int = 0


class FileServer:
    """A file server; use it as a context manager. Safe to change and to read while it serves."""

    def __init__(
        self,
        files: Mapping[str, bytes | Content],
        *,
        redirects: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.files: dict[str, Content] = {
            path: content if isinstance(content, Content) else Content(content) for path, content in files.items()
        }
        self.redirects = dict(redirects or {})
        self.failures: list[BaseException] = []
        self._requests: list[Request] = []
        self._sending = 0
        self.most_at_once = 0
        self._lock = threading.Lock()
        self._listener = _Listener(self, tls)
        self.origin = self._listener.origin
        self.url = self.origin

    def __enter__(self) -> FileServer:
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.stop()

    def put(self, path: str, content: bytes | Content) -> None:
        """Add or replace a file."""
        self.files[path] = content if isinstance(content, Content) else Content(content)

    @property
    def requests(self) -> tuple[Request, ...]:
        """Every request so far, in order of arrival."""
        with self._lock:
            return tuple(self._requests)

    def gets(self, path: str) -> tuple[Request, ...]:
        """The GETs for a path."""
        return tuple(request for request in self.requests if request.method == "GET" and request.path == path)

    def bytes_served(self, path: str | None = None) -> int:
        """Bytes of bodies that were sent for a path, or for all."""
        return sum(request.served for request in self.requests if path is None or request.path == path)

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        """While inside, one more body is being sent; `most_at_once` has the most there ever were."""
        with self._lock:
            self._sending += 1
            self.most_at_once = max(self.most_at_once, self._sending)
        try:
            yield
        finally:
            with self._lock:
                self._sending -= 1

    def forget(self) -> None:
        """Empty the log."""
        with self._lock:
            self._requests.clear()

    def _log(self, request: Request) -> None:
        with self._lock:
            self._requests.append(request)

    def _next_failure(self, content: Content) -> int | None:
        with self._lock:
            return content.fail_first.pop(0) if content.fail_first else None

    def _next_cut(self, content: Content) -> int | None:
        with self._lock:
            if content.cut_after is None or content.cut_times == 0:
                return None
            if content.cut_times is not None:
                content.cut_times -= 1
            return content.cut_after


class _Listener(Listener):
    def __init__(self, owner: FileServer, tls: ssl.SSLContext | None) -> None:
        self.owner = owner
        super().__init__(_Conversation, owner.failures, tls)


class _Conversation(Conversation):
    server: _Listener

    def serve(self) -> None:
        owner = self.server.owner
        request = Request(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        owner._log(request)
        path = unquote(urlsplit(self.path).path)
        if target := owner.redirects.get(self.path, owner.redirects.get(path)):
            return self._refuse(request, 302, {"Location": target})
        content = owner.files.get(path)
        if content is None:
            return self._refuse(request, 404, {})
        if self.command == "HEAD" and content.head is not True:
            return self._refuse(request, content.head or 405, {})
        if self.command == "GET" and (status := owner._next_failure(content)):
            return self._refuse(request, status, {"Retry-After": content.retry_after} if content.retry_after else {})
        return self._send_content(request, content)

    def _refuse(self, request: Request, status: int, headers: Mapping[str, str]) -> None:
        request.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send_content(self, request: Request, content: Content) -> None:
        body, etag = content.body, content.etag_now()
        start, end, status = asked_range(request, content, etag)
        request.status = status
        if status == 416:
            return self._refuse(request, 416, {"Content-Range": f"bytes */{len(body)}"})
        self.send_response(status)
        self.send_header("Content-Type", content.content_type)
        if etag is not None:
            self.send_header("ETag", etag)
        if content.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(body)}")
        if content.repr_digest:
            digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
            self.send_header("Repr-Digest", f"sha-256=:{digest}:")
        for name, value in content.headers.items():
            self.send_header(name, value)
        if content.content_length:
            self.send_header("Content-Length", str(end - start))
        elif self.command == "GET":
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.command == "GET":
            self._send_body(request, content, memoryview(body)[start:end])
        return None

    def _send_body(self, request: Request, content: Content, body: memoryview) -> None:
        with self.server.owner.sending():
            self._send_pieces(request, content, body)

    def _send_pieces(self, request: Request, content: Content, body: memoryview) -> None:
        cut = self.server.owner._next_cut(content)
        piece = _PIECE if content.throttle is None else max(1, min(_PIECE, content.throttle // 20))
        begun = time.monotonic()
        place = 0
        while place < len(body):
            part = body[place : place + piece]
            if cut is not None:
                part = part[: cut - place]
                if not part:
                    return self._reset()
            self._write(part, chunked=not content.content_length)
            place += len(part)
            request.served += len(part)
            if content.throttle:
                time.sleep(max(0.0, begun + place / content.throttle - time.monotonic()))
        if not content.content_length:
            self.wfile.write(b"0\r\n\r\n")
        return None

    def _write(self, part: memoryview, *, chunked: bool) -> None:
        if chunked:
            self.wfile.write(b"%x\r\n" % len(part))
        self.wfile.write(part)
        if chunked:
            self.wfile.write(b"\r\n")

    def _reset(self) -> None:
        """End the connection with a reset: what the client has not yet read may be lost, as in life."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


def asked_range(request: Request, content: Content, etag: str | None) -> tuple[int, int, int]:
    """The range to send and the status to send it with."""
    size = len(content.body)
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    if request.method != "GET" or not content.ranges or asked is None or asked.groups() == ("", ""):
        return 0, size, 200
    condition = request.headers.get("if-range")
    if condition is not None and (condition != etag or condition.startswith("W/")):
        return 0, size, 200
    first, last = asked.groups()
    if not first:
        return max(0, size - int(last)), size, 206 if int(last) and size else 416
    start, end = int(first), min(size, int(last) + 1) if last else size
    return (start, end, 206) if start < end else (0, 0, 416)

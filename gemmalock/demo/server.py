"""A small HTTP/1.1 server on loopback that serves one folder's worth of bytes, with ranges and strong ETags."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: How much is sent between two looks at the clock.
SLICE = 256 * 1024
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class Shelf:
    """What the server serves (path → bytes), how fast (bytes a second, None: unlimited), and what it has sent."""

    files: dict[str, bytes] = field(default_factory=dict)
    rate: float | None = None
    requests: int = 0
    sent: int = 0

    def etag(self, path: str) -> str:
        """A strong entity tag: it changes with the bytes."""
        return f'"{hashlib.sha256(self.files[path]).hexdigest()[:32]}"'


@contextlib.contextmanager
def serving(shelf: Shelf) -> Iterator[str]:
    """Serve a shelf on a free loopback port; the URL of its top."""

    class Handler(_Handler):
        pass

    Handler.shelf = shelf
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    shelf: Shelf

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        self.shelf.requests += 1
        path = self.path.lstrip("/")
        content = self.shelf.files.get(path)
        if content is None:
            self.send_error(404)
            return
        start, end = self._range(path, len(content))
        partial = (start, end) != (0, len(content))
        self.send_response(206 if partial else 200)
        self.send_header("Content-Length", str(end - start))
        self.send_header("ETag", self.shelf.etag(path))
        self.send_header("Accept-Ranges", "bytes")
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        self.end_headers()
        if body:
            self._send(memoryview(content)[start:end])

    def _range(self, path: str, size: int) -> tuple[int, int]:
        """The range to send: all of it, unless one is asked for that is still of these bytes (RFC 9110, 13.1.5)."""
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if match is None or (condition is not None and condition != self.shelf.etag(path)):
            return 0, size
        start, end = int(match[1]), min(int(match[2] or size - 1) + 1, size)
        return (start, end) if start < end else (0, size)

    def _send(self, content: memoryview) -> None:
        began, sent = time.monotonic(), 0
        with contextlib.suppress(ConnectionError):
            while sent < len(content):
                self.wfile.write(content[sent : sent + SLICE])
                count = len(content[sent : sent + SLICE])
                sent += count
                self.shelf.sent += count
                if self.shelf.rate:
                    time.sleep(max(0.0, began + sent / self.shelf.rate - time.monotonic()))
            return
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the story is told by the program."""

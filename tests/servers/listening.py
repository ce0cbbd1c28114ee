"""A listener on the loopback interface that ends when it is told to: what the test servers stand on.

It speaks no protocol of its own: a `conversation` of the standard library does. Whatever such a conversation raises,
but for the network's own errors, goes to `failures`, which a test may want to see empty.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Listener(ThreadingHTTPServer):
    """A port of its own, and a thread for each connection."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self,
        conversation: type[BaseHTTPRequestHandler],
        failures: list[BaseException],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._conversation = conversation
        self._failures = failures
        self._tls = tls
        self._open_sockets: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(("127.0.0.1", 0), conversation)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self.origin = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_address[1]}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more, and end what is being sent."""
        self.shutdown()
        self._thread.join()
        with self._guard:
            left = list(self._open_sockets)
        for each in left:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def finish_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        with self._guard:
            self._open_sockets.add(request)
        wrapped = self._tls.wrap_socket(request, server_side=True) if self._tls else request
        try:
            with self._guard:
                self._open_sockets.add(wrapped)
            self._conversation(wrapped, ("127.0.0.1", 0), self)
        finally:
            with self._guard:
                self._open_sockets -= {request, wrapped}
            wrapped.close()

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self._failures.append(error)


class Conversation(BaseHTTPRequestHandler):
    """One connection, HEAD and GET alike: `serve` answers. It is kept alive, and says nothing on standard error."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a server has a log of its own."""

    def do_HEAD(self) -> None:
        self.serve()

    def do_GET(self) -> None:
        self.serve()

    def serve(self) -> None:
        """Answer one request."""
        raise NotImplementedError

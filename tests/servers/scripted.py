"""A scripted HTTP server on raw sockets, for servers that misbehave: every byte, delay and reset is the test's.

    def script(exchange: Exchange) -> None:
        exchange.answer(206, {"Content-Range": "bytes 7-9/10"}, b"xyz")     # not the range that was asked for

    with ScriptedServer(script) as server:
        ...
        assert server.requests[0].headers["range"] == "bytes=5-9"

The script is called once for each request, in the thread of its connection, after the request's head was read. It
may `send` raw bytes, `answer` a whole response, send a `head` and then pieces or `chunk`s, `reset` or `close` the
connection, or `hang` until the test is over; sending can be chained, as `exchange.head(200).send(b"abc").close()`. When
it returns and the connection is still open, the next request of that connection is read. `exchange.number` counts
requests over all connections from 0, `exchange.connection` counts connections, `exchange.turn` requests on this
connection. A sequence of scripts instead of one: the n-th request gets the n-th script, further ones the last.

`server.requests`: `Received` with `method`, `path`, `headers` (lower-case names), `sent` (bytes sent in answer,
heads included). `server.connections`: how many connections were opened. `server.failures`: exceptions of scripts,
those of a client that went away excepted. A server without faults is `tests.servers.fileserver`.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn

_MAX_HEAD = 256 * 1024
_REASONS = {200: "OK", 206: "Partial Content", 302: "Found", 404: "Not Found", 416: "Range Not Satisfiable"}


@dataclass(slots=True)
class Received:
    """One request, and how many bytes were sent in answer to it."""

    method: str
    path: str
    headers: Mapping[str, str]
    sent: int = 0


class _Over(Exception):
    """The connection is at its end."""


class Exchange:
    """One request and the connection to answer it on."""

    def __init__(self, server: ScriptedServer, wire: socket.socket, connection: int, turn: int) -> None:
        self.connection = connection
        self.turn = turn
        self.number = 0
        self.request = Received("", "", {})
        self._server = server
        self._wire = wire

    @property
    def protocol(self) -> str | None:
        """What the two agreed on to speak over TLS (RFC 7301), or None."""
        return self._wire.selected_alpn_protocol() if isinstance(self._wire, ssl.SSLSocket) else None

    @property
    def range(self) -> tuple[int, int | None] | None:
        """The range asked for, as (first, one past the last or None), or None."""
        text = self.request.headers.get("range", "")
        if not text.startswith("bytes="):
            return None
        first, _, last = text.removeprefix("bytes=").partition("-")
        return int(first), int(last) + 1 if last else None

    def send(self, raw: bytes) -> Exchange:
        """Send bytes as they are."""
        self._wire.sendall(raw)
        self.request.sent += len(raw)
        return self

    def head(
        self, status: int, headers: Mapping[str, str] | Sequence[tuple[str, str]] = (), reason: str = ""
    ) -> Exchange:
        """Send a status line, these fields and the empty line; nothing is added."""
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        lines = [f"HTTP/1.1 {status} {reason or _REASONS.get(status, 'Scripted')}"]
        lines += [f"{name}: {value}" for name, value in pairs]
        return self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def answer(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        """Send a whole answer; `Content-Length` is added unless it, or `Transfer-Encoding`, is among the headers."""
        fields = dict(headers or {})
        if not {"content-length", "transfer-encoding"} & {name.lower() for name in fields} and status >= 200:
            fields["Content-Length"] = str(len(body))
        self.head(status, fields)
        if self.request.method != "HEAD":
            self.send(body)

    def chunk(self, piece: bytes) -> Exchange:
        """Send one chunk; an empty one ends the body."""
        return self.send(b"%x\r\n%s\r\n" % (len(piece), piece))

    def reset(self) -> NoReturn:
        """End the connection with RST; what the client has not read is lost."""
        self._wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _Over

    def close(self) -> NoReturn:
        """End the connection in good order."""
        raise _Over

    def pause(self, seconds: float) -> None:
        """Wait, or end the connection when the test is over before."""
        if self._server.over.wait(seconds):
            raise _Over

    def hang(self) -> NoReturn:
        """Say nothing more until the test is over."""
        self._server.over.wait()
        raise _Over


Script = Callable[[Exchange], object]


class ScriptedServer:
    """The server; use it as a context manager."""

    def __init__(
        self, script: Script | Sequence[Script], *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.requests: list[Received] = []
        self.failures: list[BaseException] = []
        self.connections = 0
        self.over = threading.Event()
        self._scripts = [script] if callable(script) else list(script)
        self._tls = tls
        self._lock = threading.Lock()
        self._wires: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._host = host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=256)
        self.port = int(self._listener.getsockname()[1])
        named = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{named}:{self.port}"

    def __enter__(self) -> ScriptedServer:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        # Closing a listening socket does not wake accept() everywhere; one more connection does.
        with contextlib.suppress(OSError), socket.create_connection((self._host, self.port), timeout=1):
            pass
        with self._lock:
            wires = list(self._wires)
        for wire in wires:
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(timeout=5)
        self._listener.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                wire, _ = self._listener.accept()
            except OSError:
                return
            if self.over.is_set():
                wire.close()
                return
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Counted before it is spoken to: whoever got an answer finds its connection in the count.
            self.connections += 1
            self._start(self._converse, wire, self.connections - 1)

    def _converse(self, raw: socket.socket, connection: int) -> None:
        wire: socket.socket = raw
        try:
            if self._tls:
                wire = self._tls.wrap_socket(raw, server_side=True)
            with self._lock:
                self._wires.add(wire)
            turn = 0
            rest = b""
            while True:
                exchange = Exchange(self, wire, connection, turn)
                rest = self._turn(exchange, wire, rest)
                turn += 1
        except (_Over, OSError):
            pass
        except Exception as error:
            self.failures.append(error)
        finally:
            with self._lock:
                self._wires.discard(wire)
            wire.close()

    def _turn(self, exchange: Exchange, wire: socket.socket, rest: bytes) -> bytes:
        head, rest = _read_head(wire, rest)
        exchange.request = _parsed(head)
        with self._lock:
            exchange.number = len(self.requests)
            self.requests.append(exchange.request)
        self._scripts[min(exchange.number, len(self._scripts) - 1)](exchange)
        return rest


def _read_head(wire: socket.socket, rest: bytes) -> tuple[bytes, bytes]:
    while b"\r\n\r\n" not in rest:
        more = wire.recv(65536)
        if not more or len(rest) > _MAX_HEAD:
            raise _Over
        rest += more
    head, _, rest = rest.partition(b"\r\n\r\n")
    return head, rest


def _parsed(head: bytes) -> Received:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines)
    return Received(method, path, {name.strip().lower(): value.strip() for name, _, value in pairs})

"""A proxy behind which every host is: it ends TLS itself, answers for whoever was asked, and keeps what was sent.

    with Everywhere(context, {"https://a.example/x": "https://b.example/y"}) as world:
        source = HttpSource(routes=Routes({"https": Proxy(world.url, "HTTPS_PROXY")}, ca_file=…))
        ...
        assert [asked.url for asked in world.asked] == ["https://a.example/x", "https://b.example/y"]

What is in `leads` is answered by a redirect there, everything else by the file `x`. `tunnels` has the heads of CONNECT
requests. So hosts that no test may reach are asked over a real wire, by a real client, with real TLS.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: the URL that was meant, its head as it came, its fields by lower-case names."""

    url: str
    head: str
    fields: Mapping[str, str]


class Everywhere:
    """The proxy; use it as a context manager. `context` is a server's, with a certificate of the hosts that are
    asked."""

    def __init__(self, context: ssl.SSLContext, leads: Mapping[str, str]) -> None:
        self.asked: list[Asked] = []
        self.tunnels: list[str] = []
        self.leads = leads
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._wires: list[socket.socket] = []
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Everywhere:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for wire in self._wires:
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                wire, _ = self._listener.accept()
                self._wires.append(wire)
                threading.Thread(target=self._converse, args=(wire,), daemon=True).start()

    def _converse(self, wire: socket.socket) -> None:
        with contextlib.suppress(OSError), wire:
            head = _head_of(wire)
            if not head.startswith("CONNECT "):
                while head:
                    self._answer(wire, "", head)
                    head = _head_of(wire)
                return
            self.tunnels.append(head)
            wire.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            authority = head.split(" ")[1].removesuffix(":443")
            with self._context.wrap_socket(wire, server_side=True) as secure:
                while head := _head_of(secure):
                    self._answer(secure, f"https://{authority}", head)

    def _answer(self, wire: socket.socket, origin: str, head: str) -> None:
        method, target, _ = head.partition("\r\n")[0].split(" ")
        pairs = (line.partition(":") for line in head.split("\r\n")[1:])
        url = f"{origin}{target}"
        self.asked.append(Asked(url, head, {name.lower(): value.strip() for name, _, value in pairs}))
        if url in self.leads:
            answer = f"HTTP/1.1 302 Found\r\nLocation: {self.leads[url]}\r\nContent-Length: 0\r\n\r\n"
        else:
            answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + ("" if method == "HEAD" else "x")
        wire.sendall(answer.encode("latin-1"))


def _head_of(wire: socket.socket) -> str:
    """The next head, without its empty line; empty at the end of the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = wire.recv(1)
        if not piece:
            return ""
        head += piece
    return head.removesuffix(b"\r\n\r\n").decode("latin-1")

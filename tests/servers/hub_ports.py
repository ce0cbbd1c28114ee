"""How a stand-in hub speaks HTTP/1.1: it reads a request, has it answered, and sends the answer."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable

from tests.servers.fileserver import Request
from tests.servers.hub_answers import Answer
from tests.servers.listening import Conversation, Listener

_PIECE = 256 * 1024
#: Gives the request as it is logged, in which what was sent is written down, and its answer.
Answering = Callable[[Request], tuple[Request, Answer]]


class Port(Listener):
    """One of the hub's two ports."""

    def __init__(self, answering: Answering, failures: list[BaseException]) -> None:
        self.answering = answering
        super().__init__(_Conversation, failures)


class _Conversation(Conversation):
    server: Port

    def serve(self) -> None:
        arrived = Request(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        request, answer = self.server.answering(arrived)
        request.status = answer.status
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self._send(request, answer)

    def _send(self, request: Request, answer: Answer) -> None:
        body = memoryview(answer.body)
        piece = _PIECE if answer.throttle is None else max(1, min(_PIECE, answer.throttle // 20))
        begun = time.monotonic()
        while request.served < len(body):
            part = body[request.served : request.served + piece]
            if answer.allow is not None:
                part = part[: answer.allow(len(part))]
            if not part:
                return self._hang_up(reset=answer.resets)
            self.wfile.write(part)
            request.served += len(part)
            if answer.throttle:
                time.sleep(max(0.0, begun + request.served / answer.throttle - time.monotonic()))
        return None

    def _hang_up(self, *, reset: bool) -> None:
        """End the connection. With a reset, what the client has not yet read may be lost, as in life."""
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

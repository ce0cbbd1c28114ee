"""The real servers start over a folder, serve it as their kind does, count what they sent, and end."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.servers import real

BODY = bytes(range(256)) * 4096
Kind = Callable[[Path], AbstractContextManager[real.RealServer]]


@pytest.fixture
def served(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    folder.mkdir(mode=0o700)
    (folder / "model.gguf").write_bytes(BODY)
    return folder


def ask(server: real.RealServer, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", "/model.gguf", headers={name.replace("_", "-"): headers[name] for name in headers})
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("kind", [real.nginx, real.lighttpd, real.caddy, real.http_server])
def test_a_real_server_serves_a_whole_file(kind: Kind, served: Path) -> None:
    with kind(served) as server:
        answer, body = ask(server)
        assert (answer.status, body) == (200, BODY)
    assert server.process.poll() is not None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)


@pytest.mark.parametrize("kind", [real.nginx, real.lighttpd, real.caddy])
def test_a_real_server_serves_a_range_under_a_strong_etag(kind: Kind, served: Path) -> None:
    with kind(served) as server:
        etag = ask(server)[0].headers["ETag"]
        answer, body = ask(server, Range="bytes=1000-", If_Range=etag)
        assert etag.startswith('"')
        assert (answer.status, body) == (206, BODY[1000:])
        assert answer.headers["Content-Range"] == f"bytes 1000-{len(BODY) - 1}/{len(BODY)}"


def test_python_answers_a_range_with_the_whole_file(served: Path) -> None:
    with real.http_server(served) as server:
        answer, body = ask(server, Range="bytes=1000-")
        assert (answer.status, body) == (200, BODY)


def test_nginx_counts_the_bytes_it_sent(served: Path) -> None:
    with real.nginx(served) as server:
        ask(server)
        ask(server, Range="bytes=0-9")
        assert server.bytes_sent() == len(BODY) + 10
        assert [(request.status, request.range) for request in server.requests()] == [(200, ""), (206, "bytes=0-9")]


def test_nginx_counts_a_body_that_was_cut(served: Path) -> None:
    with real.nginx(served, limit_rate="64k", limit_rate_after="64k") as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(b"GET /model.gguf HTTP/1.1\r\nHost: here\r\n\r\n")
            assert client.recv(4096)
        assert 0 < server.bytes_sent() < len(BODY)


def test_nginx_refuses_a_second_request_at_once(served: Path) -> None:
    with (
        real.nginx(served, limit_rate="64k", limit_rate_after="64k", limit_conn=1) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as client,
    ):
        client.sendall(b"GET /model.gguf HTTP/1.1\r\nHost: here\r\n\r\n")
        assert client.recv(4096)
        assert ask(server)[0].status == 503


def test_two_servers_run_side_by_side(served: Path) -> None:
    with real.nginx(served) as one, real.nginx(served) as two:
        assert one.url != two.url
        assert ask(one)[1] == ask(two)[1] == BODY


def test_a_missing_program_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(real.REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="`no-such-server` is not installed"):
        real.program("no-such-server")


def test_a_missing_program_fails_where_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(real.REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="must be"):
        real.program("no-such-server")

"""Real servers over a folder, each its own process on a free loopback port, with its own settings, pid and logs.

    with nginx(folder, limit_rate="20m") as server:
        fetch(f"{server.url}/model.gguf")
    server.bytes_sent()

They work as root and as any user, read nothing below /etc, and end by the process that was started. A program that
is missing skips the test, with the reason; with GEMMALOCK_TESTS_REQUIRE_SERVERS=1 it fails it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

REQUIRED = "GEMMALOCK_TESTS_REQUIRE_SERVERS"
#: How long a server may take to listen, and to end: far longer than it does.
PATIENCE_SECONDS = 30.0
#: Where Debian keeps what only root is expected to run.
_SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin")
#: Several processes of xdist may ask for a free port at once, and one may lose it: then another port is tried.
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class RealServer:
    """A server that listens. `work` holds its settings and logs, and lives a little longer than the server."""

    process: subprocess.Popen[bytes]
    port: int
    work: Path

    @property
    def url(self) -> str:
        """Its address, without a `/` at the end."""
        return f"http://127.0.0.1:{self.port}"

    def requests(self) -> list[LoggedRequest]:
        """Every request that is in the access log (nginx only: it writes a line when a request is over)."""
        lines = (self.work / "access.log").read_text("utf-8").splitlines()
        return [LoggedRequest.of(line) for line in lines]

    def bytes_sent(self) -> int:
        """How many bytes of bodies went out in all, as the server counted them (nginx only). Ends the server first,
        so that requests which are under way, or were cut, are in the log."""
        self.stop()
        return sum(request.body_bytes for request in self.requests())

    def stop(self) -> None:
        """End the server and its workers; again does nothing."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """A line of the access log."""

    status: int
    body_bytes: int
    method: str
    path: str
    range: str

    @classmethod
    def of(cls, line: str) -> LoggedRequest:
        """Read one line, as NGINX_SETTINGS has it written."""
        status, body_bytes, method, path, range_ = line.split("\t")
        return cls(int(status), int(body_bytes), method, path, "" if range_ == "-" else range_)


# Workers keep the user who starts them: the folder to serve may be readable for nobody else.
NGINX_SETTINGS = """\
daemon off;
master_process on;
worker_processes 1;
{user}
pid {work}/nginx.pid;
error_log {work}/error.log warn;
events {{ worker_connections 256; }}
http {{
  log_format lines '$status\\t$body_bytes_sent\\t$request_method\\t$uri\\t$http_range';
  access_log {work}/access.log lines;
  client_body_temp_path {work}/body;
  proxy_temp_path {work}/proxy;
  fastcgi_temp_path {work}/fastcgi;
  uwsgi_temp_path {work}/uwsgi;
  scgi_temp_path {work}/scgi;
  types {{ }}
  default_type application/octet-stream;
  limit_conn_zone $binary_remote_addr zone=clients:1m;
  server {{
    listen 127.0.0.1:{port};
    root {folder};
    {limits}
  }}
}}
"""

LIGHTTPD_SETTINGS = """\
server.document-root = "{folder}"
server.bind = "127.0.0.1"
server.port = {port}
server.errorlog = "{work}/error.log"
server.upload-dirs = ( "{work}" )
mimetype.assign = ( "" => "application/octet-stream" )
"""

CADDY_SETTINGS = """\
{{
  admin off
  auto_https off
  persist_config off
}}
http://127.0.0.1:{port} {{
  root * {folder}
  file_server
}}
"""


@contextlib.contextmanager
def nginx(
    folder: Path,
    *,
    limit_rate: str | None = None,
    limit_rate_after: str | None = None,
    limit_conn: int | None = None,
    port: int | None = None,
) -> Iterator[RealServer]:
    """nginx: ranges, strong ETags of mtime and size, one rate limit a connection (`20m` is 20 MiB/s), and at most
    `limit_conn` requests of one client at once: more are answered 503."""
    binary = program("nginx")
    limits = [f"limit_rate {limit_rate};"] if limit_rate else []
    limits += [f"limit_rate_after {limit_rate_after};"] if limit_rate_after else []
    limits += [f"limit_conn clients {limit_conn};"] if limit_conn else []

    def command(port: int, work: Path) -> Sequence[str]:
        settings = NGINX_SETTINGS.format(
            folder=folder.resolve(),
            work=work,
            port=port,
            limits=" ".join(limits),
            user="user root;" if os.geteuid() == 0 else "",
        )
        (work / "nginx.conf").write_text(settings, "utf-8")
        return [binary, "-p", str(work), "-e", str(work / "error.log"), "-c", str(work / "nginx.conf")]

    with _running(command, port) as server:
        yield server


@contextlib.contextmanager
def lighttpd(folder: Path) -> Iterator[RealServer]:
    """lighttpd: ranges, strong ETags of inode, mtime and size."""
    binary = program("lighttpd")

    def command(port: int, work: Path) -> Sequence[str]:
        (work / "lighttpd.conf").write_text(
            LIGHTTPD_SETTINGS.format(folder=folder.resolve(), work=work, port=port), "utf-8"
        )
        return [binary, "-D", "-f", str(work / "lighttpd.conf")]

    with _running(command) as server:
        yield server


@contextlib.contextmanager
def caddy(folder: Path) -> Iterator[RealServer]:
    """Caddy: ranges, strong ETags of mtime and size, HTTP/1.1 as Go's library speaks it."""
    binary = program("caddy")

    def command(port: int, work: Path) -> Sequence[str]:
        (work / "Caddyfile").write_text(CADDY_SETTINGS.format(folder=folder.resolve(), port=port), "utf-8")
        return [binary, "run", "--adapter", "caddyfile", "--config", str(work / "Caddyfile")]

    with _running(command) as server:
        yield server


@contextlib.contextmanager
def http_server(folder: Path) -> Iterator[RealServer]:
    """Python's http.server: no ranges, no ETag, HTTP/1.0."""

    def command(port: int, work: Path) -> Sequence[str]:
        return [sys.executable, "-m", "http.server", str(port), "-b", "127.0.0.1", "-d", str(folder.resolve())]

    with _running(command) as server:
        yield server


def program(name: str) -> str:
    """Where a program is: beside this Python (packages that carry one), on the PATH, or where Debian has servers."""
    places = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", ""), *_SYSTEM_FOLDERS))
    found = shutil.which(name, path=places)
    if found is not None:
        return found
    reason = f"the program `{name}` is not installed"
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{reason}, and {REQUIRED}=1 says that it must be")
    pytest.skip(reason)


@contextlib.contextmanager
def _running(command: Callable[[int, Path], Sequence[str]], port: int | None = None) -> Iterator[RealServer]:
    with tempfile.TemporaryDirectory(prefix="gemmalock-server-") as folder:
        work = Path(folder)
        server = _started(command, port, work)
        try:
            yield server
        finally:
            server.stop()


def _started(command: Callable[[int, Path], Sequence[str]], port: int | None, work: Path) -> RealServer:
    said = ""
    for _ in range(1 if port else _ATTEMPTS):
        number = port or free_port()
        with (work / "output.log").open("wb") as output:
            process = subprocess.Popen(
                command(number, work),
                cwd=work,
                env={**os.environ, "HOME": str(work), "XDG_DATA_HOME": str(work), "XDG_CONFIG_HOME": str(work)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        server = RealServer(process, number, work)
        if _listens(server):
            return server
        server.stop()
        said = "".join(path.read_text("utf-8", "replace") for path in sorted(work.glob("*.log")))
    pytest.fail(f"`{command(port or 0, work)[0]}` did not come to listen:\n{said}")


def _listens(server: RealServer) -> bool:
    """Whether the server itself, and not a stranger on its port, answers within PATIENCE_SECONDS."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            return False
        try:
            with socket.create_connection(("127.0.0.1", server.port), timeout=1):
                # Whoever lost the port to another process ends at once; the next look sees it.
                return server.process.poll() is None
        except OSError:
            time.sleep(0.02)
    return False


def wait_until_open(port: int) -> None:
    """Come back when somebody listens on that port; fail the test when nobody does within PATIENCE_SECONDS."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    pytest.fail(f"nobody listens on port {port}")


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])

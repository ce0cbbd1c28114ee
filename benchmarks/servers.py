"""A real nginx of its own: on a free port, with its own settings, pid and log, in a folder that goes with it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Failed
from benchmarks.programs import needed

PATIENCE_SECONDS = 30.0
#: How long the log has to stand still until every request that was cut is in it.
SETTLED_SECONDS = 0.3
LOOPBACK = "127.0.0.1"

# Workers keep the user who starts them: what is served may be readable for nobody else.
SETTINGS = """\
daemon off;
worker_processes auto;
{user}
pid {work}/nginx.pid;
error_log {work}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000;
  log_format lines '$status\\t$body_bytes_sent\\t$request_method';
  access_log {work}/access.log lines;
  client_body_temp_path {work}/body;
  proxy_temp_path {work}/proxy;
  fastcgi_temp_path {work}/fastcgi;
  uwsgi_temp_path {work}/uwsgi;
  scgi_temp_path {work}/scgi;
  types {{ }}
  default_type application/octet-stream;
  {globals}
  server {{
    listen {host}:{port};
    root {folder};
    {limits}
    {locations}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Hosting:
    """How a folder is served: the address, a rate in bytes a second a connection (0: none), what the command begins
    with, and more of nginx's settings."""

    host: str = LOOPBACK
    rate: int = 0
    prefix: tuple[str, ...] = ()
    globals: str = ""
    locations: str = ""


PLAIN = Hosting()


@dataclass(frozen=True, slots=True)
class Server:
    """An nginx that listens."""

    url: str
    log: Path

    def mark(self) -> int:
        """How far the log has come, for `since`; every request that is over is in it."""
        size, still_since = -1, time.monotonic()
        while time.monotonic() - still_since < SETTLED_SECONDS:
            if (now := self.log.stat().st_size) != size:
                size, still_since = now, time.monotonic()
            time.sleep(0.02)
        return size

    def since(self, mark: int) -> list[int]:
        """The bytes of body of each GET that came into the log since then."""
        self.mark()
        lines = self.log.read_bytes()[mark:].decode("ascii").splitlines()
        return [int(size) for _, size, method in (line.split("\t") for line in lines) if method == "GET"]

    def asked(self, mark: int) -> int:
        """How many requests came into the log since then."""
        self.mark()
        return self.log.read_bytes()[mark:].count(b"\n")


@contextlib.contextmanager
def nginx(folder: Path, work: Path, hosting: Hosting = PLAIN) -> Iterator[Server]:
    """Serve `folder`; `work` is a new folder for its settings and logs. Raises Skipped where nginx is missing."""
    binary = needed("nginx")
    work.mkdir(parents=True)
    port = _free_port()
    settings = SETTINGS.format(
        work=work,
        folder=folder,
        port=port,
        host=hosting.host,
        user="user root;" if os.geteuid() == 0 else "",
        limits=f"limit_rate {hosting.rate};" if hosting.rate else "",
        globals=hosting.globals,
        locations=hosting.locations,
    )
    (work / "nginx.conf").write_text(settings, "utf-8")
    command = (binary, "-p", str(work), "-e", str(work / "error.log"), "-c", str(work / "nginx.conf"))
    with (work / "output.log").open("wb") as output:
        # A session of its own: Ctrl-C at the terminal ends the benchmark, and the benchmark ends it.
        process = subprocess.Popen(
            (*hosting.prefix, *command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_it_listens(process, work)
        yield Server(f"http://{hosting.host}:{port}", work / "access.log")
    finally:
        _stop(process)


def _wait_until_it_listens(process: subprocess.Popen[bytes], work: Path) -> None:
    """nginx writes its pid when it has bound its port."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    pid = work / "nginx.pid"
    while not (pid.exists() and pid.read_text("ascii").strip()):
        if process.poll() is not None or time.monotonic() > deadline:
            said = "".join(path.read_text("utf-8", "replace") for path in sorted(work.glob("*.log")))
            raise Failed(f"nginx did not come to listen: {said.strip()}")
        time.sleep(0.01)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as probe:
        return int(probe.getsockname()[1])

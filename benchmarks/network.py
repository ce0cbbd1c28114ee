"""Two network namespaces of their own with a long and lossy way between them; all of it goes when it is left."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Command, Failed, Skipped, started
from benchmarks.programs import needed
from benchmarks.relay import Way

CHECKOUT = Path(__file__).resolve().parents[1]
#: Addresses of documentation (RFC 5737): nobody else has them.
SERVER, CLIENT = "192.0.2.1", "192.0.2.2"
#: What both ends are told: classic congestion control, and nothing kept from one run to the next.
SETTINGS = {"tcp_congestion_control": "reno", "tcp_no_metrics_save": "1"}


@dataclass(frozen=True, slots=True)
class Link:
    """A way between two namespaces: where the server listens, and what commands of each side begin with."""

    address: str
    server_prefix: tuple[str, ...]
    client_prefix: tuple[str, ...]


@contextlib.contextmanager
def lossy_link(loss: float = 0.01) -> Iterator[Link]:
    """A way as `relay.Way` says by default, with that share of packets lost. Raises Skipped where this machine or this
    user cannot have one."""
    ip = _can_have_one()
    names = tuple(f"gemmalock-{os.getpid()}-{side}" for side in ("server", "client"))
    devices = (f"gls{os.getpid()}", f"glc{os.getpid()}")
    with contextlib.ExitStack() as stack:
        for name in names:
            _do(ip, "netns", "add", name)
            stack.callback(_do, ip, "netns", "del", name)
        stack.enter_context(_relay(Way(devices, loss=loss)))
        for name, device, here, there in zip(names, devices, (SERVER, CLIENT), (CLIENT, SERVER), strict=True):
            _do(ip, "link", "set", device, "netns", name)
            _do(ip, "-n", name, "addr", "add", here, "peer", there, "dev", device)
            _do(ip, "-n", name, "link", "set", device, "up")
            _do(ip, "-n", name, "link", "set", "lo", "up")
            for setting, value in SETTINGS.items():
                _do(ip, "netns", "exec", name, "sh", "-c", f"echo {value} > /proc/sys/net/ipv4/{setting}")
        server, client = ((ip, "netns", "exec", name) for name in names)
        yield Link(SERVER, server, client)


def _can_have_one() -> str:
    """Where `ip` is. Raises Skipped."""
    ip = needed("ip")
    if os.geteuid() != 0:
        raise Skipped("network namespaces and TUN devices need root")
    if not Path("/dev/net/tun").exists():
        raise Skipped("this kernel has no TUN devices")
    return ip


@contextlib.contextmanager
def _relay(way: Way) -> Iterator[None]:
    command = Command((sys.executable, "-m", "benchmarks.relay", way.text()), CHECKOUT, dict(os.environ))
    with started(command, subprocess.PIPE) as process:
        assert process.stdout is not None
        with process.stdout as said:
            if (line := said.readline().strip()) != b"ready":
                raise Skipped(f"no TUN device can be made: {line.decode('utf-8', 'replace')}")
            yield


def _do(*command: str) -> None:
    """Raises Failed."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise Failed(f"`{' '.join(command[1:])}`: {done.stdout.decode('utf-8', 'replace').strip()}")

"""What no test may do: touch the real home folder, or talk to any host but this one.

It is a Python audit hook (PEP 578), so nothing of the product is patched: the interpreter itself reports every file
that is opened and every address that is asked for or connected to, also those of libraries and of other threads. A
hook stays for the life of the process, therefore it only speaks while `WATCH.on` is true. It does not see into child
processes: those get the folders of `tests/conftest.py` as HOME, and no credentials.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import pwd
import site
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
#: Audit events whose first argument is a path, or whose first two are.
_ONE_PATH = frozenset(
    {"open", "os.chmod", "os.listdir", "os.mkdir", "os.remove", "os.rmdir", "os.scandir", "os.truncate", "os.utime"}
)
_TWO_PATHS = frozenset({"os.link", "os.rename", "os.symlink"})
#: Audit events that name a host: socket.connect and socket.sendto have (socket, address), the others (host, …).
_ADDRESSES = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_NAMES = frozenset({"socket.getaddrinfo", "socket.gethostbyaddr", "socket.gethostbyname"})


class ForbiddenInTests(AssertionError):
    """A test reached for what it must not. No OSError, so that no `except OSError` can swallow it."""


def real_homes() -> tuple[str, ...]:
    """The home folders of the person who runs the tests: by the environment and by the user database."""
    named = [os.environ.get("HOME", "")]
    with contextlib.suppress(KeyError):
        named.append(pwd.getpwuid(os.getuid()).pw_dir)
    return tuple({os.path.realpath(home) for home in named if home and os.path.realpath(home) != "/"})


def _allowed() -> tuple[str, ...]:
    """What may lie in the home folder and has to be read: this checkout, the interpreter, its packages, temp files."""
    places = [str(CHECKOUT), sys.prefix, sys.base_prefix, sys.exec_prefix, tempfile.gettempdir(), *sys.path]
    places.append(site.getusersitepackages())
    return tuple({form for place in places if place for form in (os.path.abspath(place), os.path.realpath(place))})


class Watch:
    """The audit hook's state: whether it is on, and where the forbidden places are."""

    def __init__(self) -> None:
        self.on = False
        self.homes = real_homes()
        self.allowed = _allowed()

    def hook(self, event: str, arguments: tuple[object, ...]) -> None:
        """Raise ForbiddenInTests where an event breaks a rule; say nothing of all others."""
        if not self.on:
            return
        if event in _ONE_PATH:
            self._check_path(event, arguments[0])
        elif event in _TWO_PATHS:
            self._check_path(event, arguments[0])
            self._check_path(event, arguments[1])
        elif event in _ADDRESSES:
            self._check_host(event, arguments[1], literal_is_fine=False)
        elif event in _NAMES:
            # A literal address is parsed, not asked for: no packet leaves. Connecting to it is another event.
            self._check_host(event, arguments[0], literal_is_fine=True)

    def _check_path(self, event: str, path: object) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        place = os.path.abspath(os.fsdecode(path))
        if _within(place, self.homes) and not _within(place, self.allowed):
            raise ForbiddenInTests(f"a test touches the real home folder: {event} `{place}`")

    def _check_host(self, event: str, address: object, *, literal_is_fine: bool) -> None:
        host = address[0] if isinstance(address, tuple) and address else address
        if isinstance(host, bytes):
            host = host.decode("ascii", "replace")
        if not isinstance(host, str) or (isinstance(address, (str, bytes)) and event in _ADDRESSES):
            return  # a Unix socket, a netlink socket, or the wildcard
        if not is_this_machine(host, literal_is_fine=literal_is_fine):
            raise ForbiddenInTests(f"a test leaves this machine: {event} `{host}`")


def is_this_machine(host: str, *, literal_is_fine: bool) -> bool:
    """Whether a host is loopback: `localhost`, below it, 127.0.0.0/8 or ::1 (RFC 6761, 6.3; RFC 1122, 3.2.1.3)."""
    name = host.rstrip(".").lower()
    if name in ("", "localhost") or name.endswith(".localhost"):
        return True
    try:
        literal = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(literal, "ipv4_mapped", None)
    return literal_is_fine or literal.is_loopback or (mapped is not None and mapped.is_loopback)


def _within(place: str, folders: tuple[str, ...]) -> bool:
    return any(place == folder or place.startswith(folder + os.sep) for folder in folders)


WATCH = Watch()
sys.addaudithook(WATCH.hook)


@contextlib.contextmanager
def watching() -> Iterator[None]:
    """Inside, the rules hold for the whole process."""
    before = WATCH.on
    WATCH.on = True
    try:
        yield
    finally:
        WATCH.on = before

"""Who a process is, so that another one, later or elsewhere, can tell whether it still lives. Standard library only.

A process number alone says little: it is used again, means another process in another container, and nothing on
another machine. With the host, its boot, the namespace of process numbers (pid_namespaces(7)) and the time that the
process began (proc_pid_stat(5), field 22) a number is one process for ever. What follows from being dead is decided
by who asks.
"""

from __future__ import annotations

import enum
import hashlib
import json
import os
import re
import socket
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path


class Life(enum.Enum):
    """What can be told of another process from here."""

    ALIVE = "alive"
    DEAD = "dead"
    #: It is, or was, on another machine or in another container.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Holder:
    """One claim of one process. `boot`, `namespace` and `started` are empty where the system does not tell them;
    `token` is random, and different for each claim."""

    host: str
    boot: str
    namespace: str
    process: int
    started: str
    token: str

    @classmethod
    def here(cls) -> Holder:
        """This process, with a new token."""
        place = _place(os.getpid())
        return cls(place.host, place.boot, place.namespace, place.process, place.started, os.urandom(16).hex())

    @property
    def words(self) -> str:
        """The holder for a person, as the subject of a sentence."""
        here = _place(os.getpid())
        if self.host != here.host:
            return f"process {self.process} on `{self.host.partition(' ')[0]}`"
        where = "on this machine" if self.namespace == here.namespace else "in another container of this machine"
        return f"process {self.process} {where}"

    def life(self) -> Life:
        """Whether the process lives, as far as can be told from here without waiting."""
        here = _place(os.getpid())
        if self.host != here.host:
            return Life.UNKNOWN
        if self.boot != here.boot:
            return Life.DEAD
        if self.namespace != here.namespace:
            return Life.UNKNOWN
        return Life.ALIVE if _lives(self.process, self.started) else Life.DEAD

    def write(self) -> bytes:
        """The holder as JSON; `read` reads it back."""
        return json.dumps({name: getattr(self, name) for name in _FIELDS}, sort_keys=True).encode() + b"\n"

    @classmethod
    def read(cls, text: bytes) -> Holder | None:
        """The holder that was written, or None where the text is something else."""
        with suppress(ValueError, TypeError):
            holder = cls(**json.loads(text))
            words = (holder.host, holder.boot, holder.namespace, holder.started, holder.token)
            if type(holder.process) is int and holder.process > 0 and all(isinstance(word, str) for word in words):
                return holder
        return None


_FIELDS = tuple(field.name for field in fields(Holder))


def mark() -> str:
    """A name that no other process gives, and that tells whether its maker still lives."""
    here = _place(os.getpid())
    return f"{_short(here)}.{here.process}.{here.started or 0}.{os.urandom(6).hex()}"


def is_dead_mark(name: str) -> bool:
    """Whether the process that gave this name is dead for sure; False too where it cannot be told."""
    return life_of_mark(name) is Life.DEAD


def life_of_mark(name: str) -> Life:
    """What can be told from here of the process that gave this name; of what is no mark, nothing."""
    match = _MARK.fullmatch(name)
    here = _place(os.getpid())
    host, boot, namespace = _short(here).split(".")
    if match is None or match["host"] != host:
        return Life.UNKNOWN
    if match["boot"] != boot:
        return Life.DEAD
    if match["namespace"] != namespace:
        return Life.UNKNOWN
    started = "" if match["started"] == "0" else match["started"]
    return Life.ALIVE if _lives(int(match["process"]), started) else Life.DEAD


_MARK = re.compile(
    r"(?P<host>[0-9a-f]{8})\.(?P<boot>[0-9a-f]{8})\.(?P<namespace>[0-9a-f]{8})"
    r"\.(?P<process>\d{1,18})\.(?P<started>\d+)\.[0-9a-f]+"
)


@dataclass(frozen=True, slots=True)
class _Place:
    host: str
    boot: str
    namespace: str
    process: int
    started: str


@lru_cache(maxsize=1)
def _short(place: _Place) -> str:
    """Host, boot and namespace as three short words."""
    words = (place.host, place.boot, place.namespace)
    return ".".join(hashlib.sha256(word.encode()).hexdigest()[:8] for word in words)


@lru_cache(maxsize=1)
def _place(process: int) -> _Place:
    """This process; asked with its number, because a forked child is another one."""
    host = f"{socket.gethostname()} {_text('/etc/machine-id')}".strip()
    namespace = ""
    with suppress(OSError):
        namespace = str(Path("/proc/self/ns/pid").readlink())
    state = _state(process)
    return _Place(host, _text("/proc/sys/kernel/random/boot_id"), namespace, process, state[1] if state else "")


def _lives(process: int, started: str) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        # It is another user's, and there.
        pass
    state = _state(process)
    if state is None:
        # Hidden from us (proc(5), hidepid), or no Linux: the number is taken, and nothing says by another process.
        return True
    letter, began = state
    # A zombie works on nothing any more; its parent just has not asked for its end yet.
    return letter not in "ZXx" and (not started or began == started)


def _state(process: int) -> tuple[str, str] | None:
    """State and start of a process: fields 3 and 22 of proc_pid_stat(5). Its name (field 2) may hold anything."""
    fields = _text(f"/proc/{process}/stat").rpartition(")")[2].split()
    return (fields[0], fields[19]) if len(fields) > 19 else None


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""

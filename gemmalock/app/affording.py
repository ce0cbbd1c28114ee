"""How much at once this process can afford."""

from __future__ import annotations

import os

#: What the interpreter, the papers, a root and its ledger take, and a margin.
_OWN = 16
#: What a file under way takes: its task's folder, its part and journal, a connection and its handle, and what is open
#: for a moment while it is put in place.
_EACH = 8
#: What one more connection of a file takes.
_CONNECTION = 3


def affordable(wanted: int) -> int:
    """How many files at once, at most `wanted`, the limit on open descriptors allows; at least one."""
    return wanted if (most := _most_open()) is None else max(1, min(wanted, (most - _OWN) // _EACH))


def affordable_connections(wanted: int, files: int) -> int:
    """How many connections in all, at most `wanted`, that limit allows beside so many files at once; one for each of
    them in any case."""
    if (most := _most_open()) is None:
        return max(files, wanted)
    return max(files, min(wanted, files + (most - _OWN - files * _EACH) // _CONNECTION))


def _most_open() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if most == resource.RLIM_INFINITY else most


def cores() -> int:
    """How many cores this process may use: so many files are hashed at once."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux has it
        return os.cpu_count() or 1

"""How much at once this process can afford."""

from __future__ import annotations

import contextlib
import os

#: What the interpreter, the papers, a root and its ledger take, and a margin.
_OWN = 16
#: What a file under way takes: its task's folder, its part and journal, a connection and its handle, and what is open
#: for a moment while it is put in place.
_EACH = 8
#: What one more connection of a file takes.
_CONNECTION = 3
#: mallopt(3): in how many heaps glibc keeps what the threads of a process ask for.
_HEAPS = -8


def affordable(wanted: int) -> int:
    """How many files at once, at most `wanted`, the limit on open descriptors allows; at least one."""
    return wanted if (most := _most_open()) is None else max(1, min(wanted, (most - _OWN) // _EACH))


def affordable_connections(files: int) -> int | None:
    """How many connections, to all servers together, that limit allows for so many files at once; one for each of
    them in any case. None: as many as anybody wants."""
    if (most := _most_open()) is None:
        return None
    return max(files, files + (most - _OWN - files * _EACH) // _CONNECTION)


def share_one_heap() -> None:
    """Where the address space is limited, let all threads of this process take their memory from one heap.

    glibc sets 64 MiB of addresses aside for the heap of each thread, until there are none left for a connection.
    """
    if _most_addresses() is None:
        return
    import ctypes

    # Another libc has no such thing, and no such heaps.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_HEAPS, 1)


def _most_open() -> int | None:
    return _limit("RLIMIT_NOFILE")


def _most_addresses() -> int | None:
    return _limit("RLIMIT_AS")


def _limit(name: str) -> int | None:
    """A limit of this process, or None where there is none, or nothing tells."""
    try:
        import resource
    except ImportError:
        return None
    number = getattr(resource, name, None)
    most = resource.RLIM_INFINITY if number is None else resource.getrlimit(number)[0]
    return None if most == resource.RLIM_INFINITY else most


def cores() -> int:
    """How many cores this process may use: so many files are hashed at once."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux has it
        return os.cpu_count() or 1

"""The staging folder of a root: new files get whole here, under short names, before they are renamed into place.

A name says which process made it, so that what a killed process left behind can be told and removed. A wrong guess
(a process of another container) does no harm: whoever misses its staged file stages it again.
"""

from __future__ import annotations

import contextlib
import os
import re
from functools import lru_cache
from pathlib import Path

from gemmalock.roots.walk import drop_at, opened, short_name

_NAME = re.compile(r"(\d+)\.(\d+)\.[0-9a-f]{8}")


def staged_name() -> str:
    """A new name in a staging folder: `<process>.<its start>.<random>`."""
    process = os.getpid()
    return f"{process}.{_start_of(process) or 0}.{short_name()}"


def sweep(base: Path, path: str) -> int:
    """Remove from the staging folder `path` what dead processes left there. How many went; never raises OSError."""
    swept = 0
    with contextlib.suppress(OSError), opened(base, path) as staging:
        for name in os.listdir(staging):
            if _is_dead(name):
                drop_at(staging, name)
                swept += 1
    return swept


def _is_dead(name: str) -> bool:
    match = _NAME.fullmatch(name)
    if match is None:
        return False
    process, start = int(match[1]), int(match[2])
    if start and (started := _start_of(process)) is not None:
        return started != start
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _start_of(process: int) -> int | None:
    """When a process began, in clock ticks since boot (proc_pid_stat(5), field 22); None where nothing tells."""
    return _own_start(process) if process == os.getpid() else _read_start(process)


@lru_cache(maxsize=1)
def _own_start(process: int) -> int | None:
    return _read_start(process)


def _read_start(process: int) -> int | None:
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(fields.rpartition(")")[2].split()[19])

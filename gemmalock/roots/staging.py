"""The staging folder of a root: new files get whole here, under marks, before they are renamed into place.

A mark says which process made it, so that what a killed process left behind can be told and removed. Nobody can be
asked about a process of another machine or container: what it left goes when it is old.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from gemmalock.holders import is_dead_mark
from gemmalock.roots.walk import drop_at, lstat_at, opened

#: After so long nobody works on a staged file any more; and whoever misses his stages it again.
KEPT_SECONDS = 7 * 24 * 3600


def sweep(base: Path, path: str) -> int:
    """Remove from the staging folder `path` what dead processes left there, and what is old. How many went; never
    raises OSError."""
    swept = 0
    with contextlib.suppress(OSError), opened(base, path) as staging:
        for name in os.listdir(staging):
            if is_dead_mark(name) or is_old(staging, name):
                drop_at(staging, name)
                swept += 1
    return swept


def is_old(folder: int, name: str) -> bool:
    """Whether what is called `name` in a folder is so old that nobody works on it any more."""
    found = lstat_at(folder, name)
    return found is not None and time.time() - found.st_ctime > KEPT_SECONDS

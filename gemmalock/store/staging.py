"""Folders of the store in which files are for a while only, under names that tell who made them."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from gemmalock.durable import open_folder
from gemmalock.holders import is_dead_mark, mark

#: What nobody can be asked about, or is kept as evidence, goes after so long.
KEPT_SECONDS = 7 * 24 * 3600


def staged_file(folder: Path) -> Path:
    """A new, empty file that only its owner may read. Raises OSError."""
    path = folder / mark()
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    return path


def sweep(folder: Path) -> None:
    """Remove what dead processes left in a folder, and what is old; nothing where the folder is a link. Only tidying:
    never raises."""
    with suppress(OSError), open_folder(folder, follow=False) as opened:
        for name in os.listdir(opened):
            with suppress(OSError):
                if is_dead_mark(name) or time.time() - os.lstat(name, dir_fd=opened).st_ctime > KEPT_SECONDS:
                    os.unlink(name, dir_fd=opened)

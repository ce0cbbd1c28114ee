"""Where a file may be written that somebody asked for by name: nowhere where it would take something's place."""

from __future__ import annotations

import os
from pathlib import Path

from gemmalock.errors import UsageError
from gemmalock.lockfile import LOCK_NAME
from gemmalock.spec import MANIFEST_NAME


def check_output(place: Path, flag: str) -> None:
    """Raise UsageError for a manifest, a lock, and a file in a managed root, which the next sync would take for a
    stray."""
    real = Path(os.path.realpath(place))
    if real.name in (MANIFEST_NAME, LOCK_NAME):
        raise UsageError(f"`{flag}` would write over `{place}`", hint="name a file of its own")
    for folder in real.parents:
        if folder.name == ".gemmalock" or os.path.lexists(folder / ".gemmalock"):
            raise UsageError(f"`{flag}` would write into a managed root: `{place}`", hint="name a file outside of it")

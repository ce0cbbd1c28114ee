"""Whether any plugin may be installed at all, told in a thousandth of a second.

importlib.metadata and pluggy take fifty times as long to be imported. Where nothing names the group, they are not.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from importlib.machinery import PathFinder

#: The entry point group of plugins.
GROUP = "gemmalock"
_HEADER = f"[{GROUP}]".encode()
_METADATA = (".dist-info", ".egg-info")


def may_have_plugins() -> bool:
    """Whether an installed package may name a plugin; False only where none does."""
    others = any(finder is not PathFinder and hasattr(finder, "find_distributions") for finder in sys.meta_path)
    return others or _any_named(places())


def places() -> tuple[str, ...]:
    """Where packages may be installed: `sys.path`, less the current folder, where `python -m` and the like put it. A
    project that was cloned is no environment."""
    try:
        here = os.path.realpath(os.curdir)
    except OSError:
        return tuple(sys.path)
    return tuple(place for place in sys.path if place and os.path.realpath(place) != here)


@lru_cache(maxsize=8)
def _any_named(where: tuple[str, ...]) -> bool:
    return any(_is_named_in(place) for place in where)


def _is_named_in(place: str) -> bool:
    try:
        with os.scandir(place) as entries:
            return any(entry.name.endswith(_METADATA) and _names_the_group(entry.path) for entry in entries)
    except FileNotFoundError:
        return False
    except OSError:
        # An archive, or what cannot be read: importlib.metadata knows better.
        return True


def _names_the_group(metadata: str) -> bool:
    try:
        with open(os.path.join(metadata, "entry_points.txt"), "rb") as file:
            return _HEADER in file.read()
    except OSError:
        return False

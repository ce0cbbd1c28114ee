"""Where the files of other programs are, by the environment that is given. Looks at no file.

None stands for a place that there is not: a user without a home folder, as an arbitrary one in a container is.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from pathlib import Path


def home(environ: Mapping[str, str]) -> Path | None:
    """The user's home folder: `HOME`, else that of the user database."""
    if environ.get("HOME"):
        return Path(environ["HOME"])
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None


def placed(text: str, environ: Mapping[str, str]) -> Path | None:
    """A path as people write it in a variable, where `~` is the user's home folder, and `~name` that of another."""
    if not text.startswith("~"):
        return Path(text)
    name, _, rest = text[1:].partition("/")
    folder = _home_of(name) if name else home(environ)
    return None if folder is None else folder / rest.lstrip("/")


def hub_home(environ: Mapping[str, str]) -> Path | None:
    """Where the hub's client keeps what is its own: `HF_HOME`, else a folder in the user's cache folder."""
    if environ.get("HF_HOME"):
        return placed(environ["HF_HOME"], environ)
    cache = placed(environ.get("XDG_CACHE_HOME") or "~/.cache", environ)
    return None if cache is None else cache / "huggingface"


def hub_cache(environ: Mapping[str, str]) -> Path | None:
    """The cache of that client: `HF_HUB_CACHE`, or `HUGGINGFACE_HUB_CACHE` as it was called, else `hub` in `HF_HOME`,
    else that in the user's cache folder; None where there is none."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environ.get(variable):
            return placed(environ[variable], environ)
    house = hub_home(environ)
    return None if house is None else house / "hub"


def _home_of(name: str) -> Path | None:
    try:
        return Path(pwd.getpwnam(name).pw_dir)
    except (KeyError, ValueError):
        return None

"""Where the hub's own client keeps the files of a repository on this machine. Pure: places are told, none is looked at.

Its cache has a folder for each repository, and in `blobs/` each file by the ETag that it came with: a large file by its
sha256, a small one by its git blob's SHA-1. Nothing is believed of what is there: bytes count once they are hashed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from gemmalock.lockfile import LockedFile
from gemmalock.sources.hub_papers import Repository, file_of

#: A name that the client gives a blob.
_NAME = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def blobs_of(file: LockedFile, environ: Mapping[str, str]) -> Iterator[Path]:
    """The places at which the hub's client has the bytes of a file, if it has them."""
    place = file_of(file.url)
    if place is None or file.sha256 is None:
        return
    folder = cache_folder(environ) / _folder_of(place.repository) / "blobs"
    for name in (file.sha256, (file.etag or "").strip('"')):
        if _NAME.fullmatch(name):
            yield folder / name


def cache_folder(environ: Mapping[str, str]) -> Path:
    """The client's cache: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else that in the user's cache folder."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environ.get(variable):
            return Path(environ[variable]).expanduser()
    return hub_home(environ) / "hub"


def hub_home(environ: Mapping[str, str]) -> Path:
    """Where the client keeps what is its own."""
    if environ.get("HF_HOME"):
        return Path(environ["HF_HOME"]).expanduser()
    cache = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or Path.home()) / ".cache"
    return Path(cache).expanduser() / "huggingface"


def _folder_of(repository: Repository) -> str:
    return "--".join([repository.kind, *repository.id.split("/")])

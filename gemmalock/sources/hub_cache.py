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
from gemmalock.sources.places import hub_home, placed

#: A name that the client gives a blob.
_NAME = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def blobs_of(file: LockedFile, environ: Mapping[str, str]) -> Iterator[Path]:
    """The places at which the hub's client has the bytes of a file, if it has them."""
    place = file_of(file.url)
    if place is None or file.sha256 is None:
        return
    cache = cache_folder(environ)
    if cache is None:
        return
    folder = cache / _folder_of(place.repository) / "blobs"
    for name in dict.fromkeys([file.sha256, (file.etag or "").strip('"')]):
        if _NAME.fullmatch(name):
            yield folder / name


def cache_folder(environ: Mapping[str, str]) -> Path | None:
    """The client's cache: `HF_HUB_CACHE`, or `HUGGINGFACE_HUB_CACHE` as it was called, else `hub` in `HF_HOME`, else
    that in the user's cache folder; None where there is none."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environ.get(variable):
            return placed(environ[variable], environ)
    house = hub_home(environ)
    return None if house is None else house / "hub"


def _folder_of(repository: Repository) -> str:
    return "--".join([repository.kind, *repository.id.split("/")])

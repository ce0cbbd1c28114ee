"""Where the hub's own client keeps the files of a repository on this machine. Pure: places are told, none is looked at.

Its cache has a folder for each repository, and in `blobs/` each file by the ETag that it came with: a large file by its
sha256, a small one by its git blob's SHA-1. Nothing is believed of what is there: bytes count once they are hashed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from gemmalock.lockfile import LockedFile
from gemmalock.sources.hub_papers import Repository, file_of

#: A name that the client gives a blob.
_NAME = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def blobs_of(file: LockedFile, cache: Path, repositories: Iterable[str]) -> Iterator[Path]:
    """The places at which the hub's client has the bytes of a file, if it has them: in the file's own repository by
    its digest and by its ETag, and by its digest in every other one of `repositories`, which are folders in `cache`."""
    if file.sha256 is None:
        return
    place = file_of(file.url)
    own = None if place is None else _folder_of(place.repository)
    if own is not None:
        for name in dict.fromkeys([file.sha256, (file.etag or "").strip('"')]):
            if _NAME.fullmatch(name):
                yield cache / own / "blobs" / name
    for other in repositories:
        if other != own:
            yield cache / other / "blobs" / file.sha256


def _folder_of(repository: Repository) -> str:
    return "--".join([repository.kind, *repository.id.split("/")])

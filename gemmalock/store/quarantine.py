"""Where rotten objects of the store are kept, as evidence and for the chunks of them that are still right.

An object is `<sha256>.<mark>` here, and its sidecar the same with `.json`. The chunks of a digest are the same in every
sidecar of it, so that any of them goes with any object. Everything here raises OSError as it is.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from gemmalock.holders import mark
from gemmalock.journal import Chunk
from gemmalock.machine import Salvage
from gemmalock.store.objects import chunks_of, read_sidecar, sidecar_path


def put_away(path: Path, quarantine: Path) -> None:
    """Move the object at `path` to the quarantine, and its sidecar before it: a crash in between leaves an object that
    nothing vouches for, and its chunks are known. Nothing happens where there is nothing."""
    away = quarantine / f"{path.name}.{mark()}"
    for old, new in ((sidecar_path(path), sidecar_path(away)), (path, away)):
        with suppress(FileNotFoundError):
            old.rename(new)


def find_salvage(quarantine: Path, sha256: str) -> Salvage | None:
    """What is left of the object of that digest that came here last; None where there is none, or where no sidecar
    tells its chunks."""
    try:
        names = [name for name in os.listdir(quarantine) if name.startswith(f"{sha256}.")]
    except FileNotFoundError:
        return None
    objects = [found for name in names if not name.endswith(".json") if (found := _came(quarantine / name)) is not None]
    chunks = _chunks(quarantine, names)
    return Salvage(max(objects)[1], chunks) if objects and chunks else None


def _came(path: Path) -> tuple[int, Path] | None:
    """When a file came here, and the file; None for what is no file, or gone again."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return (found.st_ctime_ns, path) if stat.S_ISREG(found.st_mode) else None


def _chunks(quarantine: Path, names: list[str]) -> tuple[Chunk, ...]:
    for name in names:
        sidecar = read_sidecar(quarantine / name.removesuffix(".json")) if name.endswith(".json") else None
        if sidecar is not None and sidecar.chunks:
            return chunks_of(sidecar)
    return ()

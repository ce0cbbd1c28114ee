"""Files to serve: random bytes that no program can make less of, and a sparse one."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path

BLOCK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Served:
    """A file that is served: its name, its size, and its digest in hexadecimal."""

    name: str
    size: int
    sha256: str


def random_file(folder: Path, name: str, size: int) -> Served:
    """Make a file that differs from every other in each block."""
    block = random.Random(name).randbytes(BLOCK - 8)
    digest = hashlib.sha256()
    with (folder / name).open("wb") as file:
        for number in range(-(-size // BLOCK)):
            piece = (number.to_bytes(8, "big") + block)[: size - number * BLOCK]
            digest.update(piece)
            file.write(piece)
    return Served(name, size, digest.hexdigest())


def random_files(folder: Path, stem: str, count: int, size: int) -> list[Served]:
    """Make `count` such files."""
    return [random_file(folder, f"{stem}-{number:04}.bin", size) for number in range(count)]


def sparse_file(folder: Path, name: str, size: int) -> Served:
    """Make a file that is one hole."""
    with (folder / name).open("wb") as file:
        file.truncate(size)
    zeros, digest = bytes(BLOCK), hashlib.sha256()
    for _ in range(size // BLOCK):
        digest.update(zeros)
    digest.update(zeros[: size % BLOCK])
    return Served(name, size, digest.hexdigest())

"""A manifest's folder with a root in it, and a store's worth of objects beside it: what the tests of roots play in."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gemmalock.lockfile import LockedFile
from gemmalock.roots import RootFolder

NOBODY = 65534


def sha256_of(content: bytes) -> str:
    """The sha256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def locked(path: str, content: bytes, *, digest: bool = True, etag: str | None = '"1"') -> LockedFile:
    """A locked file whose bytes are `content`."""
    return LockedFile.pin(
        name=path,
        path=path,
        url=f"https://models.example.org/{path}",
        size=len(content),
        etag=etag,
        sha256=sha256_of(content) if digest else None,
    )


class World:
    """`base/models` is the root, `base/objects` the objects."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.models = base / "models"
        self.objects = base / "objects"
        self.objects.mkdir(parents=True)

    def open(self, **options: Any) -> RootFolder:
        """The root as a new process would open it."""
        return RootFolder(self.base, "models", **options)

    def object(self, content: bytes) -> Path:
        """A read-only object with these bytes."""
        path = self.objects / sha256_of(content)
        if not path.exists():
            path.write_bytes(content)
            path.chmod(0o444)
        return path

    def put(self, root: RootFolder, path: str, content: bytes, *, digest: bool = True) -> LockedFile:
        """Place bytes as sync does."""
        file = locked(path, content, digest=digest)
        root.place(file, self.object(content), sha256_of(content))
        return file

    def write(self, path: str, content: bytes) -> Path:
        """Write a file into the root as a person does."""
        target = self.models / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_bytes(content)
        return target

    def trashed(self) -> list[tuple[str, bytes]]:
        """The regular files in the trash, sorted: their paths without the run, and their bytes."""
        folder = self.models / ".gemmalock" / "trash"
        return sorted(
            ("/".join(path.relative_to(folder).parts[1:]), path.read_bytes())
            for path in folder.rglob("*")
            if path.is_file() and not path.is_symlink()
        )

    def staged(self) -> list[str]:
        """What is in the staging folder."""
        folder = self.models / ".gemmalock" / "staging"
        return sorted(os.listdir(folder)) if folder.is_dir() else []

    def tree(self) -> dict[str, bytes]:
        """Every regular file in the root, outside gemmalock's own folder."""
        return {
            path.relative_to(self.models).as_posix(): path.read_bytes()
            for path in self.models.rglob("*")
            if path.is_file() and not path.is_symlink() and ".gemmalock" not in path.parts
        }


def rot(path: Path) -> None:
    """Change the bytes of a file under an unchanged stat."""
    found = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as stream:
        first = stream.read(1)
        stream.seek(0)
        stream.write(bytes([first[0] ^ 1]))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    path.chmod(found.st_mode)


def nothing_in_store(_: str) -> bool:
    """A store that has nothing."""
    return False


@contextlib.contextmanager
def as_a_user() -> Iterator[World]:
    """A world seen by a user whom permissions stop: `nobody`, where the tests run as root."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        if os.geteuid() != 0:
            yield world
            return
        for path in (Path(folder), world.objects):
            os.chown(path, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield world
        finally:
            os.seteuid(0)

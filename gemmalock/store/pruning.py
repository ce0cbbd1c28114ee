"""Which objects of the store may go. Looks and decides; removing them is `disk`'s.

An object that a root links to stays: by a hard link, which its link count tells; by a symbolic link, which only a
walk through the roots that were remembered tells. A root that cannot be read, or that is gone together with its file
system, protects everything: a failed look never becomes a deletion.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gemmalock.durable import write_file
from gemmalock.errors import RunRefused, disk_error
from gemmalock.store.objects import StoredObject

_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What may stay: nothing that was not used for `older_than_seconds` (None: whatever its age), and not more than
    `max_bytes` in all (None: any number)."""

    older_than_seconds: float | None
    max_bytes: int | None


def choose(
    objects: Iterable[StoredObject], pinned: frozenset[str], limits: Limits, now_ns: int
) -> tuple[StoredObject, ...]:
    """Which objects go: those that are not `pinned` and too old, then the least recently used ones until what stays
    is small enough. Without any limit, everything that is not pinned goes. Pure."""
    listed = sorted(objects, key=lambda stored: (stored.used_ns, stored.sha256))
    left = sum(stored.size for stored in listed)
    removed: list[StoredObject] = []
    for stored in listed:
        if stored.sha256 in pinned:
            continue
        if _is_too_old(stored, limits, now_ns) or (limits.max_bytes is not None and left > limits.max_bytes):
            removed.append(stored)
            left -= stored.size
    return tuple(removed)


def _is_too_old(stored: StoredObject, limits: Limits, now_ns: int) -> bool:
    if limits.older_than_seconds is None:
        return limits.max_bytes is None
    return now_ns - stored.used_ns >= limits.older_than_seconds * _NANOSECONDS


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose a root is: a lock's, for the manifest at that path from the lock's folder."""

    lock: Path
    manifest: str


@dataclass(frozen=True, slots=True)
class KnownRoots:
    """The roots that files of this store were linked into, one small file each in `folder`."""

    folder: Path

    def remember(self, root: Path, tenant: Tenant | None = None) -> None:
        """Note a root, which need not be there yet, its file system, and whose it is. Raises OSError."""
        path = self._path(root)
        fields = {"path": os.fspath(root.absolute()), "device": _nearest_device(root)}
        if tenant is not None:
            fields |= {"lock": os.fspath(tenant.lock.absolute()), "manifest": tenant.manifest}
        text = json.dumps(fields).encode() + b"\n"
        with suppress(OSError):
            if path.read_bytes() == text:
                return
        self.folder.mkdir(mode=0o700, exist_ok=True)
        write_file(path, text)

    def of_lock(self, lock: Path) -> tuple[tuple[str, Path], ...]:
        """The roots that are noted as a lock's, each with the path of its manifest, sorted: more than one of a manifest
        whose root changed. What cannot be read is left out."""
        found = []
        for path in self._listed():
            try:
                fields = json.loads(path.read_bytes())
                if fields.get("lock") == os.fspath(lock.absolute()):
                    found.append((str(fields["manifest"]), Path(str(fields["path"]))))
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
        return tuple(sorted(found))

    def knows(self, root: Path) -> bool:
        """Whether the root is noted under the path that it has now; one stat."""
        return os.path.lexists(self._path(root))

    def linked(self, objects: Path) -> frozenset[str]:
        """The digests that symbolic links in known roots point to. Raises RunRefused when a root would not say."""
        found: set[str] = set()
        for path in self._listed():
            root, device = self._read(path)
            if root.is_dir():
                found.update(self._links_in(root, objects))
            elif _nearest_device(root) != device:
                raise self._refusal(path, f"`{root}` and its file system are not there")
        return frozenset(found)

    def _listed(self) -> list[Path]:
        try:
            return sorted(path for path in self.folder.iterdir() if path.suffix == ".json")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise disk_error(error, f"read `{self.folder}`") from error

    def _read(self, path: Path) -> tuple[Path, int]:
        try:
            fields = json.loads(path.read_bytes())
            root, device = fields["path"], fields["device"]
            if isinstance(root, str) and type(device) is int:
                return Path(root), device
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._refusal(path, f"it cannot be read: {error}") from error
        raise self._refusal(path, "it names no root")

    def _links_in(self, root: Path, objects: Path) -> Iterator[str]:
        """The digests that links below `root` point to; the walk itself follows none."""
        folders = [os.fspath(root)]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.is_symlink():
                            yield from _digest_in(Path(folder, Path(entry.path).readlink()), objects)
                        elif entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self._refusal(self._path(root), f"`{folder}` cannot be read: {error.strerror}") from error

    def _path(self, root: Path) -> Path:
        name = hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:16]
        return self.folder / f"{name}.json"

    @staticmethod
    def _refusal(path: Path, why: str) -> RunRefused:
        return RunRefused(
            f"not pruning the store: a root that may link to it would not say ({why})",
            hint=f"make it readable, or remove `{path}` if that root is gone for good",
        )


def _digest_in(target: Path, objects: Path) -> Iterator[str]:
    if target.parent.parent == objects or os.path.realpath(target.parent.parent) == os.path.realpath(objects):
        yield target.name


def _nearest_device(path: Path) -> int | None:
    for folder in (path, *path.parents):
        with suppress(FileNotFoundError, NotADirectoryError):
            return folder.stat().st_dev
    return None

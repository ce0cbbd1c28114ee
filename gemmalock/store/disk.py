"""The store on the disk: `<store>/objects/ab/<sha256>`, read-only, and beside each object its sidecar."""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from gemmalock.durable import (
    SEALED,
    check_private,
    is_real_folder,
    make_private,
    open_folder,
    refuse_link,
    sync_folder,
    write_file,
)
from gemmalock.errors import SizeMismatch, disk_error
from gemmalock.holders import mark
from gemmalock.journal import Chunk
from gemmalock.links import copy
from gemmalock.lockfile import TASK_ID
from gemmalock.machine import Salvage
from gemmalock.spec import SHA256
from gemmalock.stopping import Stop
from gemmalock.store.objects import (
    StoredObject,
    StoreVerified,
    hash_object,
    read_sidecar,
    refresh_sidecar,
    sidecar_path,
    write_sidecar,
)
from gemmalock.store.pruning import KnownRoots, Limits, Tenant, choose
from gemmalock.store.quarantine import find_salvage, put_away
from gemmalock.store.staging import staged_file, sweep

_SHELF = re.compile(r"[0-9a-f]{2}")


class DiskStore:
    """The store in one folder. Safe to use from many threads and many processes. Every method raises DiskError, and
    whatever hashes or copies bytes raises Interrupted when it is time to `stop`."""

    def __init__(self, folder: Path, stop: Stop | None = None) -> None:
        self.folder = folder
        self._stop = stop or Stop()
        self._objects = folder / "objects"
        self._staging = folder / "staging"
        self._quarantine = folder / "quarantine"
        self._learned = folder / "learned"
        self._roots = KnownRoots(folder / "roots")
        self._tidy = False
        self._trusted = False

    # --- the port ---

    def has(self, sha256: str, size: int) -> bool:
        """Whether the object is there and sound: its recorded stat holds, or its bytes were hashed again. Changes
        nothing."""
        path = self.object_path(sha256)
        with _disk_errors(f"read `{path}`"):
            found = self._find(path)
            if found is None or found.st_size != size:
                return False
            sidecar = read_sidecar(path)
            if sidecar is not None and sidecar.holds(found):
                return True
            hashed = hash_object(path, self._stop)
            return hashed is not None and hashed[0] == sha256

    def checked(self, sha256: str, size: int, *, verify: bool = False) -> Path | None:
        """Where the object is, if it is sound; a rotten one is moved out of the way, and None is returned. With
        `verify` its bytes are hashed even where its recorded stat holds."""
        path = self._checked(sha256, size, verify=verify)
        if path is not None:
            self.touch(sha256)
        return path

    def salvage(self, sha256: str) -> Salvage | None:
        """What is left of an object that had rotted: the one that was put into the quarantine last; None where there is
        none, or where no sidecar tells its chunks."""
        with _disk_errors(f"read `{self._quarantine}`"):
            return find_salvage(self._quarantine, self.object_path(sha256).name)

    def object_path(self, sha256: str) -> Path:
        """Where the object is, or would be. Raises ValueError for what is no sha256."""
        if not SHA256.fullmatch(sha256):
            raise ValueError(f"`{sha256}` is not 64 lower-case hexadecimal digits")
        return self._objects / sha256[:2] / sha256

    def enter(self, part: Path, sha256: str, size: int, chunks: Iterable[Chunk] = ()) -> Path:
        """Take a checked, synced file in by renaming it: read-only, its stat recorded. Where it goes.

        An object that is there already and sound is kept, and `part` is dropped. Raises SizeMismatch, DigestMismatch.
        """
        path = self.object_path(sha256)
        with _disk_errors(f"put `{part}` into the store"):
            self._prepare(path.parent)
            if self.checked(sha256, size) is not None:
                part.unlink(missing_ok=True)
                return path
            sealed = self._seal(part, sha256, size)
            try:
                part.rename(path)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                sealed = self._copy_in(part, path, sha256)
            write_sidecar(path, sealed, chunks)
        return path

    def learn(self, task_id: str, sha256: str) -> None:
        """Note which object a task turned out to be. Raises DiskError."""
        with _disk_errors(f"write to `{self._learned}`"):
            self._prepare(self._learned)
            write_file(self._learned / task_id, sha256.encode("ascii"))

    def digest_of(self, task_id: str) -> str | None:
        """The digest that a task turned out to have, or None where that is not known."""
        with suppress(OSError, ValueError):
            sha256 = (self._learned / task_id).read_bytes()[:65].decode("ascii")
            return sha256 if SHA256.fullmatch(sha256) else None
        return None

    def free_bytes(self) -> int:
        """Free space on the store's file system."""
        with _disk_errors(f"measure the disk of `{self.folder}`"):
            import shutil

            for folder in (self.folder.absolute(), *self.folder.absolute().parents):
                with suppress(FileNotFoundError, NotADirectoryError):
                    return shutil.disk_usage(folder).free
        return 0

    # --- beyond the port ---

    def holds(self, sha256: str) -> bool:
        """Whether the object is there and its recorded stat holds; nothing is hashed."""
        path = self.object_path(sha256)
        with _disk_errors(f"read `{path}`"):
            found = self._find(path)
            sidecar = None if found is None else read_sidecar(path)
            return found is not None and sidecar is not None and sidecar.holds(found)

    def staging(self) -> Path:
        """A new, empty file on the store's file system that only its owner may read; whoever asked removes it."""
        with _disk_errors(f"write to `{self._staging}`"):
            self._prepare(self._staging)
            if not self._tidy:
                self._tidy = True
                sweep(self._staging)
            return staged_file(self._staging)

    def touch(self, sha256: str) -> None:
        """Note that the object is used now, so that pruning by age takes it last. Never raises."""
        with suppress(OSError):
            os.utime(sidecar_path(self.object_path(sha256)))

    def roots_of(self, lock: Path) -> tuple[tuple[str, Path], ...]:
        """The roots that were filled from this store for a lock, each with the path of its manifest; what would not say
        is left out. Raises DiskError."""
        return self._roots.of_lock(lock)

    def remember_root(self, root: Path, tenant: Tenant | None = None) -> None:
        """Note a root that files of this store are linked into: what it links to is never pruned."""
        with _disk_errors(f"write to `{self._roots.folder}`"):
            self._prepare(self._roots.folder)
            self._roots.remember(root, tenant)

    def has_to_remember(self, root: Path) -> bool:
        """Whether a root that has symbolic links is not noted yet: it was moved or copied here since it was filled. A
        stat where it is noted; where there is no store, nothing can link to it."""
        return not self._roots.knows(root) and self.folder.is_dir()

    def objects(self) -> Iterator[StoredObject]:
        """Every object, in the order of their digests."""
        with _disk_errors(f"read `{self._objects}`"):
            for shelf in _names(self._objects, _SHELF):
                for sha256 in _names(self._objects / shelf, SHA256):
                    found = _regular(self._objects / shelf / sha256)
                    if found is not None:
                        yield StoredObject(sha256, found.st_size, self._used_ns(sha256, found))

    def size(self) -> int:
        """Bytes of all objects."""
        return sum(stored.size for stored in self.objects())

    def verify(self, most: int = 1, on_progress: Callable[[int, int], None] | None = None) -> StoreVerified:
        """Hash every object, at most `most` at once; what is rotten is moved to the quarantine. `on_progress` is told
        (bytes hashed, bytes in all) after each."""
        from gemmalock.at_once import at_once

        listed = tuple(self.objects())
        tally = _Tally(sum(stored.size for stored in listed), on_progress or (lambda done, total: None))

        def is_sound(stored: StoredObject) -> bool:
            path = self._checked(stored.sha256, stored.size, verify=True)
            tally.add(stored.size)
            return path is not None

        sound = at_once(is_sound, listed, most, self._stop, weight=lambda stored: stored.size)
        rotten = (stored.sha256 for stored, is_right in zip(listed, sound, strict=True) if not is_right)
        return StoreVerified(sound.count(True), tuple(rotten))

    def prune(
        self,
        older_than_seconds: float | None = None,
        max_bytes: int | None = None,
        live: frozenset[str] = frozenset(),
        dry_run: bool = False,
    ) -> tuple[StoredObject, ...]:
        """Remove objects that no root links to: those not used for so long, then the least recently used ones until
        the rest is small enough; without either limit, all of them. `live` digests stay: those of tasks that are
        worked on. Which ones went, or would go. Raises RunRefused when a root would not say what it links to; then
        nothing goes."""
        listed = tuple(self.objects())
        pinned = live | self._roots.linked(self._objects) | frozenset(self._hard_linked(listed))
        chosen = choose(listed, pinned, Limits(older_than_seconds, max_bytes), time.time_ns())
        if dry_run:
            return chosen
        gone = tuple(stored for stored in chosen if self._remove(stored))
        self._forget_tasks()
        sweep(self._staging)
        sweep(self._quarantine)
        return gone

    def _forget_tasks(self) -> None:
        """Drop the notes of tasks whose object is gone."""
        with _disk_errors(f"read `{self._learned}`"):
            noted = _names(self._learned, TASK_ID)
        for task_id in noted:
            sha256 = self.digest_of(task_id)
            if sha256 is None or _regular(self.object_path(sha256)) is None:
                with suppress(OSError):
                    (self._learned / task_id).unlink()

    # --- how ---

    def _checked(self, sha256: str, size: int, *, verify: bool) -> Path | None:
        path = self.object_path(sha256)
        with _disk_errors(f"read `{path}`"):
            while (found := self._find(path)) is not None:
                sidecar = read_sidecar(path)
                trusted = not verify and sidecar is not None and sidecar.holds(found)
                if trusted or self._is_sound(path, sha256, found):
                    # Nobody can have these bytes with another size: then it is not the object that is wrong.
                    return path if found.st_size == size else None
            return None

    def _find(self, path: Path) -> os.stat_result | None:
        """The stat of an object, or None where there is none. Raises PolicyRefused when the store is not ours, and
        UnsafePath where a link leads out of it."""
        found = _regular(path)
        if found is None:
            return None
        refuse_link(self._objects)
        refuse_link(path.parent)
        if not self._trusted:
            check_private(self.folder)
            self._trusted = True
        return found

    def _prepare(self, folder: Path) -> None:
        """Make a folder of the store where it is missing; and see, the first time, that the store is ours alone.
        Raises OSError, PolicyRefused, and UnsafePath at a link."""
        if folder == self.folder:
            if not self._trusted:
                make_private(folder)
                self._trusted = True
            return
        self._prepare(folder.parent)
        if not is_real_folder(folder):
            make_private(self.folder)
            folder.mkdir(mode=0o700, exist_ok=True)
            sync_folder(folder.parent)

    def _is_sound(self, path: Path, sha256: str, found: os.stat_result) -> bool:
        """Hash the object; when it is right, its sidecar is made to say so, else it is put away, unless somebody has
        put another in its place meanwhile. False: look again."""
        hashed = hash_object(path, self._stop)
        if hashed is None or hashed[0] != sha256:
            now = _regular(path)
            if now is not None and os.path.samestat(now, found if hashed is None else hashed[1]):
                self._put_away(path)
            return False
        # A store that may only be read serves sound objects all the same.
        with suppress(OSError):
            refresh_sidecar(path, hashed[1])
        return True

    def _put_away(self, path: Path) -> None:
        """Move a rotten object to the quarantine, and its sidecar before it; its name is free then."""
        self._prepare(self._quarantine)
        put_away(path, self._quarantine)

    def _seal(self, part: Path, sha256: str, size: int) -> os.stat_result:
        """Make the part read-only, for good, unless it is; it has to be a regular file of the right size. Its stat."""
        seen = part.lstat()
        if seen.st_mode == stat.S_IFREG | SEALED and seen.st_size == size:
            return seen
        file = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or found.st_size != size:
                raise SizeMismatch(f"`{part}` has {found.st_size} bytes, and `{sha256}` is to have {size}")
            os.fchmod(file, SEALED)
            os.fsync(file)
            return found
        finally:
            os.close(file)

    def _copy_in(self, part: Path, path: Path, sha256: str) -> os.stat_result:
        """The same for a part on another file system: copied beside, checked, renamed."""
        self._prepare(self._staging)
        staged = self._staging / mark()
        try:
            with open_folder(self._staging) as folder:
                copy(part, folder, staged.name, sha256=sha256, stop=self._stop)
            staged.chmod(SEALED)
            staged.rename(path)
        finally:
            staged.unlink(missing_ok=True)
        part.unlink(missing_ok=True)
        return path.lstat()

    def _used_ns(self, sha256: str, found: os.stat_result) -> int:
        with suppress(OSError):
            return sidecar_path(self.object_path(sha256)).lstat().st_mtime_ns
        return found.st_mtime_ns

    def _hard_linked(self, objects: Iterable[StoredObject]) -> Iterator[str]:
        for stored in objects:
            found = _regular(self.object_path(stored.sha256))
            if found is not None and found.st_nlink > 1:
                yield stored.sha256

    def _remove(self, stored: StoredObject) -> bool:
        """Remove an object, unless somebody has linked or used it since it was chosen."""
        path = self.object_path(stored.sha256)
        with _disk_errors(f"remove `{path}`"):
            found = _regular(path)
            if found is None or found.st_nlink > 1 or self._used_ns(stored.sha256, found) != stored.used_ns:
                return False
            path.unlink(missing_ok=True)
            sidecar_path(path).unlink(missing_ok=True)
            return True


@dataclass(slots=True)
class _Tally:
    """A sum that many threads add to, and who is told of it."""

    total: int
    told: Callable[[int, int], None]
    done: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, count: int) -> None:
        with self.lock:
            self.done += count
            self.told(self.done, self.total)


@contextmanager
def _disk_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk_error(error, doing) from error


def _names(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    """The names in a folder of the store that are ours, sorted. Raises OSError, and UnsafePath at a link."""
    refuse_link(folder)
    try:
        return sorted(name for name in os.listdir(folder) if pattern.fullmatch(name))
    except FileNotFoundError:
        return []


def _regular(path: Path) -> os.stat_result | None:
    """The stat of the regular file at `path`, or None where there is none. A link is not followed."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None

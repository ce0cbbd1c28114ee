"""The two papers of a project, manifest and lock: read, compared, and the lock written only when its bytes differ."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from gemmalock.collect import Project
from gemmalock.errors import (
    LockInvalid,
    LockMissing,
    ManifestInvalid,
    NothingCollected,
    PermissionRefused,
    Problem,
    RunRefused,
    disk_error,
)
from gemmalock.lockfile import LOCK_NAME, Drift, Lock, drift
from gemmalock.memo import agreed, agreement
from gemmalock.settings import Settings
from gemmalock.spec import Manifest

#: A file that people wrote is not larger than this; reading stops there.
MAX_BYTES = 256 * 1024 * 1024


@dataclass
class Papers:
    """A project's manifest and lock, each read once. What is not asked for is not read."""

    project: Project
    settings: Settings
    _lock_bytes: list[bytes | None] = field(default_factory=list)

    @cached_property
    def manifest_bytes(self) -> bytes:
        """The manifest as it stands. Raises NothingCollected, ManifestInvalid."""
        try:
            return _read(self.project.manifest_path)
        except FileNotFoundError:
            raise NothingCollected(
                f"there is a lock but no `{self.project.manifest}`", hint="`--frozen` goes by the lock alone"
            ) from None
        except OSError as error:
            raise ManifestInvalid(f"cannot read `{self.project.manifest}`: {error.strerror}") from error

    @cached_property
    def manifest(self) -> Manifest:
        """What the manifest means. Raises ManifestInvalid with all its problems."""
        from gemmalock.codec.manifest import read_manifest

        return read_manifest(self.manifest_bytes, self.project.manifest, allow_http=self.settings.allow_http)

    @property
    def lock_bytes(self) -> bytes | None:
        """The lock as it was when it was first looked at, or None where there is none."""
        if not self._lock_bytes:
            self._lock_bytes.append(read_lock_bytes(self.project.lock_path))
        return self._lock_bytes[0]

    @cached_property
    def old_lock(self) -> Lock | None:
        """What the lock says, or None where there is none. Raises LockInvalid."""
        if self.lock_bytes is None:
            return None
        from gemmalock.codec.lock_json import read_lock

        return read_lock(self.lock_bytes, LOCK_NAME)

    def required_lock(self) -> Lock:
        """What the lock says. Raises LockMissing where there is none."""
        if self.old_lock is None:
            raise LockMissing(f"there is no `{LOCK_NAME}`")
        return self.old_lock

    def drifts(self) -> tuple[Drift, ...]:
        """In what the lock does not follow from the manifest; everything is read and compared."""
        lock = self.old_lock
        return drift(self.project.manifest, self.manifest, lock.manifest(self.project.manifest) if lock else None)

    @property
    def agreement(self) -> str:
        """The digest under which it is remembered that these two agree."""
        return agreement(self.manifest_bytes, self.lock_bytes or b"", f"http={self.settings.allow_http}")

    def known_to_agree(self) -> bool:
        """Whether these very bytes were compared before, so that no YAML has to be read."""
        if self.old_lock is None:
            return False
        locked = self.old_lock.manifest(self.project.manifest)
        return locked is not None and agreed(self.project.folder / locked.root_path, self.agreement)

    def write_lock(self, lock: Lock) -> bool:
        """Write the lock, if its bytes differ; whether they did. Line endings stay as they were."""
        from gemmalock.codec.lock_json import write_lock
        from gemmalock.durable import write_file

        text = write_lock(lock)
        if self.lock_bytes is not None and b"\r\n" in self.lock_bytes:
            text = text.replace(b"\n", b"\r\n")
        if text == self.lock_bytes:
            return False
        path = _write_place(self.project)
        try:
            write_file(path, text, mode=_mode(path))
        except OSError as error:
            raise disk_error(error, f"write `{LOCK_NAME}`") from error
        self._lock_bytes[:] = [text]
        self.__dict__.pop("old_lock", None)
        return True


def read_lock_bytes(path: Path) -> bytes | None:
    """The bytes of the lock, or None where there is none. Raises LockInvalid when the disk would not say."""
    try:
        return _read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        problem = Problem(LOCK_NAME, 0, 0, f"cannot be read: {error.strerror}")
        raise LockInvalid(f"cannot read `{LOCK_NAME}`: {error.strerror}", problems=[problem]) from error


def _read(path: Path) -> bytes:
    from gemmalock.durable import read_file

    return read_file(path, MAX_BYTES)


def _write_place(project: Project) -> Path:
    """Where the lock is really written: through a link only where that stays in the project's folder."""
    path = project.lock_path
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if project.folder.resolve() not in target.parents:
        raise RunRefused(
            f"`{LOCK_NAME}` is a symbolic link to a place outside of the project", hint="replace the link by a file"
        )
    return target


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
    except PermissionError as error:
        raise PermissionRefused(f"cannot look at `{path.name}`: {error.strerror}") from error

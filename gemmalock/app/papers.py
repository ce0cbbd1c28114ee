"""The two papers of a project, manifest and lock: read, compared, and the lock written only when its bytes differ."""

from __future__ import annotations

import contextlib
import os
from functools import cached_property
from pathlib import Path

from gemmalock.collect import Project
from gemmalock.errors import (
    GemmalockError,
    LockInvalid,
    LockMissing,
    ManifestInvalid,
    NothingCollected,
    Problem,
    RunRefused,
    disk_error,
)
from gemmalock.lockfile import LOCK_NAME, Drift, Lock, drift, strange_manifests
from gemmalock.meanings import Meanings
from gemmalock.memo import agreed, agreement
from gemmalock.settings import Settings
from gemmalock.spec import SCHEMES, Manifest
from gemmalock.store.place import store_folder

#: A file that people wrote is not larger than this; reading stops there.
MAX_BYTES = 256 * 1024 * 1024


class Papers:
    """A project's manifest and lock, each read once. What is not asked for is not read.

    `manifest`: the text of a manifest that is to be judged instead of the one that stands there.
    """

    def __init__(self, project: Project, settings: Settings, *, manifest: bytes | None = None) -> None:
        self.project = project
        self.settings = settings
        self._edited = manifest
        self._lock: _LockText | None = None
        self._learned: tuple[bytes, Manifest] | None = None

    @cached_property
    def manifest_bytes(self) -> bytes:
        """The manifest as it stands. Raises NothingCollected, ManifestInvalid."""
        if self._edited is not None:
            return self._edited
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
        if (known := self._meanings.recall(self.manifest_bytes)) is not None:
            return known
        from gemmalock.codec.manifest import read_manifest

        meaning = read_manifest(self.manifest_bytes, self.project.manifest, allow_http=self.settings.allow_http)
        self._learned = (self.manifest_bytes, meaning)
        return meaning

    def remember(self) -> None:
        """Note what was found out about the papers' meaning; for runs that may write, once there is a store."""
        if self._learned is not None:
            self._meanings.remember(*self._learned)
            self._learned = None

    @property
    def _meanings(self) -> Meanings:
        store = store_folder(self.settings.store, None)
        return Meanings.of(store, schemes=SCHEMES, allow_http=self.settings.allow_http)

    @property
    def lock_bytes(self) -> bytes | None:
        """The lock as this run read or wrote it, or None where there is none."""
        return self._lock_text().text

    @property
    def old_lock(self) -> Lock | None:
        """What the lock says, or None where there is none. Raises LockInvalid."""
        return self._lock_text().meaning

    def lock_stands(self) -> bool:
        """Whether the lock on disk is still the one that this run read or wrote."""
        return read_lock_bytes(self.project.lock_path) == self.lock_bytes

    def _lock_text(self) -> _LockText:
        if self._lock is None:
            self._lock = _LockText(read_lock_bytes(self.project.lock_path))
        return self._lock

    def required_lock(self) -> Lock:
        """What the lock says. Raises LockMissing where there is none."""
        if self.old_lock is None:
            raise LockMissing(f"there is no `{LOCK_NAME}`")
        return self.old_lock

    def first_root(self) -> str | None:
        """The first root, from the project's folder: by the lock, else by the manifest; None where neither says."""
        with contextlib.suppress(GemmalockError):
            if self.old_lock is not None and self.old_lock.manifests:
                return self.old_lock.manifests[0].root_path
        with contextlib.suppress(GemmalockError):
            return self.manifest.root
        return None

    def drifts(self) -> tuple[Drift, ...]:
        """In what the lock does not follow from the manifest; everything is read and compared."""
        lock = self.old_lock or Lock()
        path = self.project.manifest
        return (*drift(path, self.manifest, lock.manifest(path)), *strange_manifests(lock, {path}))

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
        """Write the lock, if its bytes differ; whether they did. Line endings stay as they were.

        Raises RunRefused when another lock stands there by now: it is not ours to replace.
        """
        from gemmalock.codec.lock_json import write_lock
        from gemmalock.durable import write_file

        text = write_lock(lock)
        if self.lock_bytes is not None and b"\r\n" in self.lock_bytes:
            text = text.replace(b"\n", b"\r\n")
        if text == self.lock_bytes:
            return False
        path = write_place(self.project, self.project.lock_path)
        there = read_lock_bytes(self.project.lock_path)
        if there == text:
            # Another run has come to the same.
            self._lock = _LockText(text)
            return False
        if there != self.lock_bytes:
            raise RunRefused(
                f"`{LOCK_NAME}` changed during the run", hint="run it again, on the lock that is there now"
            )
        try:
            write_file(path, text, mode=0o666)
        except OSError as error:
            raise disk_error(error, f"write `{LOCK_NAME}`") from error
        self._lock = _LockText(text)
        return True


class _LockText:
    """The bytes of a lock, and what they mean."""

    def __init__(self, text: bytes | None) -> None:
        self.text = text

    @cached_property
    def meaning(self) -> Lock | None:
        """None where there is no lock. Raises LockInvalid."""
        if self.text is None:
            return None
        from gemmalock.codec.lock_json import read_lock

        return read_lock(self.text, LOCK_NAME)


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


def write_place(project: Project, path: Path) -> Path:
    """Where a paper is really written: through a link only where that stays in the project's folder. Raises
    RunRefused."""
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if project.folder.resolve() not in target.parents:
        message = f"`{path.name}` is a symbolic link to a place outside of the project"
        raise RunRefused(message, hint="replace the link by a file")
    return target

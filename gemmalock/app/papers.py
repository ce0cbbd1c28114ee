"""The two papers of a project, manifest and lock: read, compared, and the lock written only when its bytes differ."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from functools import cached_property
from itertools import chain
from pathlib import Path

from gemmalock.app.gathering import find_members, read_project
from gemmalock.app.plugging import KnownSchemes, rule_of
from gemmalock.collect import Project
from gemmalock.drift import Drift, drift, strange_manifests
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
from gemmalock.lockfile import LOCK_NAME, Lock
from gemmalock.meanings import Meanings
from gemmalock.memo import agreed, agreement
from gemmalock.paths import joined
from gemmalock.settings import Settings
from gemmalock.spec import MANIFEST_NAME, SCHEMES, Manifest
from gemmalock.store.place import store_folder
from gemmalock.workspace import Search

#: A file that people wrote is not larger than this; reading stops there.
MAX_BYTES = 256 * 1024 * 1024


class Papers:
    """A project's manifests and lock, each read once. What is not asked for is not read.

    `edited`: texts of manifests that are to be judged instead of those that stand there, by their paths;
    `settings_texts`: the settings files as the run found them, where they could be read.
    """

    def __init__(
        self,
        project: Project,
        settings: Settings,
        *,
        edited: Mapping[str, bytes] | None = None,
        settings_texts: Mapping[str, bytes] | None = None,
    ) -> None:
        self.project = project
        self.settings = settings
        self.settings_texts = settings_texts
        self._texts = dict(edited or {})
        self._lock: _LockText | None = None
        self._learned: list[tuple[Manifest, bytes]] = []

    @property
    def manifest_bytes(self) -> bytes:
        """The manifest that is meant, as it stands. Raises NothingCollected, ManifestInvalid."""
        return self.text(self.project.manifest)

    @property
    def manifest(self) -> Manifest:
        """What the manifest that is meant says. Raises ManifestInvalid with all problems of the project."""
        return self.manifests[self.project.manifest]

    @cached_property
    def manifests(self) -> Mapping[str, Manifest]:
        """What every manifest of the project says, by its path, in order. Raises ManifestInvalid with all problems of
        all of them, NothingCollected where there is none."""
        return read_project(self)

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """The paths of every manifest of the project, in order. Raises ManifestInvalid, NothingCollected."""
        return tuple(sorted((MANIFEST_NAME, *(joined(folder, MANIFEST_NAME) for folder in self.members.found))))

    @cached_property
    def members(self) -> Search:
        """The members of the workspace, if it is one. Raises ManifestInvalid, NothingCollected."""
        return find_members(self)

    @property
    def roots(self) -> Mapping[str, str]:
        """The root of each manifest, from the project's folder, by its path. Raises what `manifests` does."""
        return {path: manifest.root_path(path) for path, manifest in self.manifests.items()}

    def unused_locks(self) -> tuple[str, ...]:
        """What is to be told of locks that stand beside members: they were made before these were members."""
        folder = self.project.folder
        stale = [member for member in self.members.found if (folder / member / LOCK_NAME).exists()]
        return tuple(f"`{member}/{LOCK_NAME}` is not used: the workspace has one lock; remove it" for member in stale)

    def text(self, path: str) -> bytes:
        """A manifest as it stands. Raises NothingCollected, ManifestInvalid."""
        if path not in self._texts:
            self._texts[path] = self._read(path)
        return self._texts[path]

    def _read(self, path: str) -> bytes:
        try:
            return _read(self.project.folder / path)
        except FileNotFoundError:
            raise NothingCollected(
                f"there is a lock but no `{path}`", hint="`--frozen` goes by the lock alone"
            ) from None
        except OSError as error:
            raise ManifestInvalid(f"cannot read `{path}`: {error.strerror}") from error

    def meaning(self, path: str) -> Manifest:
        """What the manifest at `path` says, judged by itself. Raises ManifestInvalid with all its problems."""
        text = self.text(path)
        if (known := self._meanings.recall(text)) is not None:
            return known
        from gemmalock.codec.manifest import read_manifest

        schemes = KnownSchemes(self.settings)
        meaning = read_manifest(text, path, schemes=schemes, allow_http=self.settings.allow_http)
        if not schemes.asked:
            # What a manifest with a scheme of a plugin means hangs on what is installed.
            self._learned.append((meaning, text))
        return meaning

    def meant(self, declared: str) -> Manifest | None:
        """What a manifest of this digest said that was read before, or None where that is forgotten."""
        return self._meanings.recall(declared.encode())

    def remember(self) -> None:
        """Note what was found out about the papers' meaning; for runs that may write, once there is a store."""
        for meaning, text in self._learned:
            self._meanings.remember(meaning, text, meaning.declared.encode())
        self._learned.clear()

    @cached_property
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
            return next(manifest.root_path(path) for path, manifest in self.manifests.items())
        return None

    def drifts(self) -> tuple[Drift, ...]:
        """In what the lock does not follow from the manifests; everything is read and compared."""
        lock = self.old_lock or Lock()
        rule = rule_of(self.settings)
        of_each = (drift(path, manifest, lock.manifest(path), rule) for path, manifest in self.manifests.items())
        return (*chain.from_iterable(of_each), *strange_manifests(lock, self.manifests.keys()))

    @property
    def agreement(self) -> str:
        """The digest under which it is remembered that these agree."""
        texts = (part for path in self.paths for part in (path.encode(), self.text(path)))
        return agreement(texts, self.lock_bytes or b"", f"http={self.settings.allow_http}")

    def known_to_agree(self) -> bool:
        """Whether these very bytes were compared before, so that no YAML has to be read."""
        root = memo_root(self.old_lock) if self.old_lock is not None else None
        return root is not None and agreed(self.project.folder / root, self.agreement)

    def write_lock(self, lock: Lock) -> bool:
        """Write the lock, if its bytes differ; whether they did. Line endings stay as they were. Raises what
        `lock_to_write` does, and DiskError."""
        from gemmalock.durable import write_file

        text = self.lock_to_write(lock)
        if text is None:
            return False
        try:
            write_file(write_place(self.project, self.project.lock_path), text, mode=0o666)
        except OSError as error:
            raise disk_error(error, f"write `{LOCK_NAME}`") from error
        self._lock = _LockText(text)
        return True

    def lock_to_write(self, lock: Lock) -> bytes | None:
        """The bytes that the lock is to be written as; None where it is there already. Writes nothing.

        Raises RunRefused when another lock stands there by now: it is not ours to replace; and for one that could not
        be read again. Raises PolicyRefused for one with a secret in it, as a server may have it that names files by
        what it was sent.
        """
        from gemmalock.app.lock_text import refuse_unfit, text_of

        text = text_of(lock)
        if self.lock_bytes is not None and b"\r\n" in self.lock_bytes:
            text = text.replace(b"\n", b"\r\n")
        if text == self.lock_bytes:
            return None
        refuse_unfit(text)
        write_place(self.project, self.project.lock_path)
        there = read_lock_bytes(self.project.lock_path)
        if there == text:
            # Another run has come to the same.
            self._lock = _LockText(text)
            return None
        if there != self.lock_bytes:
            raise RunRefused(
                f"`{LOCK_NAME}` changed during the run", hint="run it again, on the lock that is there now"
            )
        return text


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


def memo_root(lock: Lock) -> str | None:
    """The root that remembers what agreed: the first one that files go into, from the project's folder."""
    return next((node.manifest.root_path for node in lock.nodes()), None)


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

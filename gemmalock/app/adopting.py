"""Files that another program has on this machine already: hashed, and taken into the store instead of downloaded.

A file of the user's own becomes one file with the store's, where a hard link can be had: no model is on the disk twice,
and its permissions are the store's from then on, to read only. Of a file of somebody else, as in a cache that is
shared, the bytes are copied (or their blocks shared): its owner could change what the store has. Bytes that are not
the locked ones are left alone and said nothing of: then the file is downloaded.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gemmalock.errors import FileError
from gemmalock.lockfile import LockedFile
from gemmalock.stopping import Stop

if TYPE_CHECKING:
    from gemmalock.store.disk import DiskStore


@dataclass(frozen=True, slots=True)
class HubCache:
    """The cache of the hub's client, and its folders of repositories; no `folder` where it is not to be used, or not
    there."""

    folder: Path | None = None
    repositories: tuple[str, ...] = ()

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> HubCache:
        """The one that this environment names."""
        from gemmalock.sources.places import hub_cache

        folder = hub_cache(environ)
        try:
            names = os.listdir(folder) if folder is not None else []
        except OSError:
            return cls()
        return cls(folder, tuple(sorted(name for name in names if "--" in name and not name.startswith("."))))

    def blobs(self, file: LockedFile) -> Iterator[Path]:
        """The files in it that may be that one, by their names and sizes: also those of another repository, as the
        file's own was called before, or has a copy in."""
        if self.folder is None or file.sha256 is None:
            return
        from gemmalock.sources.hub_cache import blobs_of

        for blob in blobs_of(file, self.folder, self.repositories):
            with suppress(OSError):
                found = os.lstat(blob)
                if stat.S_ISREG(found.st_mode) and found.st_size == file.size:
                    yield blob

    def take(self, file: LockedFile, store: DiskStore, stop: Stop) -> str | None:
        """Take the file's bytes into the store. A sentence that tells of it; None where they are not there, or not
        those. Raises Interrupted."""
        for blob in self.blobs(file):
            with suppress(OSError, FileError):
                if _take(blob, file, store, stop):
                    return f"not downloaded: the hub client's cache has it, in `{blob.parent.parent.name}`"
        return None


def is_ours(found: os.stat_result) -> bool:
    """Whether a file belongs to who runs this: then it is linked where that can be, else copied."""
    return found.st_uid == os.geteuid()


def _take(blob: Path, file: LockedFile, store: DiskStore, stop: Stop) -> bool:
    """Give the bytes of `blob` a name in the store's staging folder, read them there, and enter them if they are the
    file's: what is read is what is entered, whatever becomes of the name in the cache."""
    from gemmalock.durable import open_folder
    from gemmalock.links import LinkMode, link
    from gemmalock.roots.digest import digest_at

    assert file.sha256 is not None
    staged = store.staging()
    staged.unlink()
    try:
        with open_folder(staged.parent, follow=False) as folder:
            mode = LinkMode.AUTO if is_ours(os.lstat(blob)) else LinkMode.REFLINK
            link(blob, folder, staged.name, mode, stop=stop)
            sha256, found = digest_at(folder, staged.name, stop)
            # Somebody may have put another file under that name meanwhile.
            if (sha256, found.st_size) != (file.sha256, file.size) or not is_ours(found):
                return False
            _sync(folder, staged.name)
        store.enter(staged, sha256, file.size)
        return True
    finally:
        with suppress(OSError):
            staged.unlink(missing_ok=True)


def _sync(folder: int, name: str) -> None:
    """Make the bytes outlive a power cut: their first owner may not have."""
    opened = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)

"""The bytes of a partial on disk: positional reads and writes, and syncs whose errors are believed.

What is known of the bytes is in `ranges`. Every OSError becomes a DiskError here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from gemmalock.durable import SEALED
from gemmalock.errors import ReadWriteFailed, UnsafePath, disk_error
from gemmalock.transfer.blocks import BLOCK, Blocks, Buffers
from gemmalock.transfer.checks import Hasher
from gemmalock.transfer.journalfile import datasync
from gemmalock.turns import aside

#: To write, or to hash, so many bytes takes long enough for others to work meanwhile.
LONG = 128 * 1024
PART_NAME = "data.part"
#: How many blocks stay in memory: as much as the journal and the digest may be behind, and some to be filled.
_BLOCKS = 10


def _aside_for(count: int) -> contextlib.AbstractContextManager[None]:
    return aside() if count >= LONG else contextlib.nullcontext()


class Part:
    """`data.part` of one task, open. Its methods may be called from many threads."""

    def __init__(self, folder: Path, size: int, buffers: Buffers | None = None) -> None:
        """Open it, or make it. Raises DiskError; a link, or what is no plain file, is UnsafePath."""
        self.path = folder / PART_NAME
        self.size = size
        self.blocks = Blocks(_BLOCKS, buffers)
        self._descriptor = self._open()

    @property
    def stored(self) -> int:
        """How long the file is now, in bytes; holes count. Raises DiskError."""
        try:
            return os.fstat(self._descriptor).st_size
        except OSError as error:
            raise disk_error(error, f"look at `{self.path}`") from error

    def write_at(self, block: memoryview, offset: int) -> None:
        """Put a whole block at `offset`, inside of the file's size."""
        if offset < 0 or offset + len(block) > self.size:
            raise ReadWriteFailed(f"cannot write `{self.path}`: bytes {offset} to {offset + len(block)} of {self.size}")
        try:
            while block:
                with _aside_for(len(block)):
                    count = os.pwrite(self._descriptor, block, offset)
                if count == 0:
                    raise OSError(errno.EIO, "nothing was written")
                block, offset = block[count:], offset + count
        except OSError as error:
            raise disk_error(error, f"write `{self.path}`") from error

    def hash_new(self, hasher: Hasher, bounds: tuple[int, int]) -> bool:
        """Feed bytes that were just written to `hasher`: from memory where they still are, else as `hash_into`."""
        offset, end = bounds
        while offset < end:
            with self.blocks.reading(offset) as here:
                if here is not None:
                    hasher.update(here[: end - offset])
                    offset += min(len(here), end - offset)
                    continue
            until = min(end, offset + BLOCK)
            if not self.hash_into(hasher, (offset, until)):
                return False
            offset = until
        return True

    def hash_into(self, hasher: Hasher, bounds: tuple[int, int]) -> bool:
        """Feed the bytes from bounds[0] to bounds[1] of the file to `hasher`. False when the file ends before that."""
        offset, end = bounds
        buffer = self.blocks.buffers.take()
        try:
            while offset < end:
                count = self._read(buffer[: end - offset], offset)
                if count == 0:
                    return False
                with _aside_for(count):
                    hasher.update(buffer[:count])
                offset += count
            return True
        finally:
            self.blocks.buffers.give(buffer)

    def _read(self, buffer: memoryview, offset: int) -> int:
        try:
            return os.preadv(self._descriptor, [buffer], offset)
        except OSError as error:
            raise disk_error(error, f"read `{self.path}`") from error

    def sync_bytes(self) -> None:
        """What was written so far is on disk for good. After an error nothing since the last success is."""
        try:
            datasync(self._descriptor)
        except OSError as error:
            raise disk_error(error, f"sync `{self.path}`") from error

    def seal(self) -> None:
        """Cut off what stands behind the size, sync bytes and inode, and make it read-only as finished files are.
        Who has it open may still write."""
        try:
            if os.fstat(self._descriptor).st_size != self.size:
                os.ftruncate(self._descriptor, self.size)
            with aside():
                os.fsync(self._descriptor)
            # Last: whoever finds it read-only takes it for synced.
            os.fchmod(self._descriptor, SEALED)
        except OSError as error:
            raise disk_error(error, f"sync `{self.path}`") from error

    def empty(self) -> None:
        """Drop all bytes."""
        self.blocks.clear()
        try:
            os.ftruncate(self._descriptor, 0)
        except OSError as error:
            raise disk_error(error, f"truncate `{self.path}`") from error

    def close(self) -> None:
        """Let go of the file. An error of the file system that shows only now is raised."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        self.blocks.clear()
        try:
            os.close(descriptor)
        except OSError as error:
            raise disk_error(error, f"close `{self.path}`") from error

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = self._open_writable(flags)
            seen = os.fstat(descriptor)
            if stat.S_ISREG(seen.st_mode) and seen.st_nlink > 1:
                # A second name of these bytes is somebody's file: it must not change under their hands.
                os.close(descriptor)
                self.path.unlink()
                descriptor = os.open(self.path, flags | os.O_EXCL, 0o600)
                seen = os.fstat(descriptor)
        except OSError as error:
            raise disk_error(error, f"open `{self.path}`") from error
        if not stat.S_ISREG(seen.st_mode):
            os.close(descriptor)
            raise UnsafePath(f"cannot open `{self.path}`: it is not a plain file")
        return descriptor

    def _open_writable(self, flags: int) -> int:
        try:
            return os.open(self.path, flags, 0o600)
        except PermissionError:
            # A process that was killed while it gave a whole file to the store has left it read-only.
            read_only = os.open(self.path, flags & ~(os.O_RDWR | os.O_CREAT))
            try:
                if os.fstat(read_only).st_nlink == 1:
                    os.fchmod(read_only, 0o600)
                else:
                    self.path.unlink()
            finally:
                os.close(read_only)
            return os.open(self.path, flags, 0o600)

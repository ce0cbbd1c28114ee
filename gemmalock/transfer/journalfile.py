"""The journal of a partial as a file: read at the start, made whole again, appended to in step with the bytes."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from gemmalock.durable import sync_folder, write_all, write_file
from gemmalock.errors import UnsafePath, disk_error
from gemmalock.journal import Chunk, JournalReader, write_chunk

JOURNAL_NAME = "journal"
#: So many lines are four for each chunk that a file may have: then it is time to begin with a line a chunk again.
_LONG = 64 * 1024
#: Never through a link, and never waiting for the other end of a pipe.
_SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
#: Only Linux tells a sync of the bytes from one of the inode too.
datasync = getattr(os, "fdatasync", os.fsync)


class JournalFile:
    """The journal of one task. It is made with its first line: what came in one go needs none."""

    def __init__(self, folder: Path, settle: Callable[[], None] = lambda: None) -> None:
        """`settle` makes the task's record outlive a power cut: a journal without a record vouches for nothing."""
        self._path = folder / JOURNAL_NAME
        self._settle = settle
        self._descriptor = -1
        self._appended = 0

    @property
    def is_long(self) -> bool:
        """Whether it should be rewritten, for most of its lines have been replaced by later ones."""
        return self._appended >= _LONG

    def read(self, size: int) -> JournalReader:
        """What it vouches for, and whether it is tidy; nothing where there is none."""
        reader = JournalReader(size)
        try:
            with open(os.open(self._path, os.O_RDONLY | _SAFELY), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise UnsafePath(f"cannot read `{self._path}`: it is not a plain file")
                return reader.read(file)
        except FileNotFoundError:
            return reader
        except OSError as error:
            raise disk_error(error, f"read `{self._path}`") from error

    def rewrite(self, chunks: Iterable[Chunk]) -> None:
        """Replace it by one that has these chunks and nothing else; gone where there are none. Never half of it."""
        self.close()
        self._appended = 0
        # To be joined they would all have to be there at once, as objects.
        text = bytearray()
        for chunk in chunks:
            text += write_chunk(chunk)
        try:
            if text:
                write_file(self._path, text)
            else:
                self._path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(error, f"write `{self._path}`") from error

    def append(self, chunks: Sequence[Chunk]) -> None:
        """Add lines, for good. The bytes that they vouch for are on disk for good already."""
        try:
            if self._descriptor < 0:
                self._settle()
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _SAFELY, 0o600)
                sync_folder(self._path.parent)
            write_all(self._descriptor, b"".join(write_chunk(chunk) for chunk in chunks))
            datasync(self._descriptor)
            self._appended += len(chunks)
        except OSError as error:
            raise disk_error(error, f"write `{self._path}`") from error

    def close(self) -> None:
        """Let go of the file. Everything in it was synced, so that an error now means nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(descriptor)

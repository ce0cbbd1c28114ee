"""The folder of a task: its record, its partial, and how it comes and goes. Who may touch it is `claims`' to say.

Everything happens relative to an open descriptor, follows no symbolic link, and raises OSError as it is. The names
in it are `record.json`, `data.part`, `journal` and the claims; what is called otherwise is not ours and stays.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gemmalock.codec.record_json import RECORD_VERSION, read_record, write_record
from gemmalock.codec.versions import is_newer
from gemmalock.durable import BESIDE, fill_at, replace_at, sync_at, sync_folder
from gemmalock.errors import TaskTooNew
from gemmalock.holders import is_dead_mark, mark
from gemmalock.journal import Chunk, Journal, read_journal, write_chunk
from gemmalock.links import LinkMode, copy, link
from gemmalock.lockfile import TASK_ID
from gemmalock.plan import TaskRecord
from gemmalock.registry import claims
from gemmalock.stopping import Stop

RECORD = "record.json"
PART = "data.part"
JOURNAL = "journal"
#: What a folder that is not a task yet, or no longer, begins with; the maker's mark follows.
COMING = ".new-"
GOING = ".gone-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
#: A folder that nobody can ask about is left over for sure after so long.
_ABANDONED_SECONDS = 7 * 24 * 3600
#: How often a folder is emptied again when somebody who came too late still makes names in it.
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Partial:
    """What is there of a task's bytes. `length`: of the partial, 0 where there is none; `stored`: bytes that it
    takes on the disk; `journal` vouches for nothing beyond its end."""

    length: int = 0
    stored: int = 0
    journal: Journal = field(default_factory=Journal)

    @property
    def validator(self) -> str | None:
        """The entity tag that all the kept bytes came with, or None."""
        tags = {validator.etag for validator in self.journal.validators}
        return tags.pop() if len(tags) == 1 else None


@dataclass(slots=True)
class TaskFolder:
    """One task's folder, open as `number` until it is closed."""

    path: Path
    number: int
    _identity: tuple[int, int] | None = None

    @classmethod
    def open(cls, path: Path) -> TaskFolder:
        """The folder at `path`. Raises FileNotFoundError, and NotADirectoryError for a symbolic link."""
        return cls(path, os.open(path, _FOLDER))

    def close(self) -> None:
        """Let go of it. Calling it again changes nothing."""
        number, self.number = self.number, -1
        if number >= 0:
            os.close(number)

    def is_in_place(self) -> bool:
        """Whether the folder that is open is still the one at its path."""
        if self._identity is None:
            # As long as it is open nothing else gets its inode.
            self._identity = _identity(os.fstat(self.number))
        try:
            return _identity(os.stat(self.path, follow_symlinks=False)) == self._identity
        except FileNotFoundError:
            return False

    def read_record(self) -> TaskRecord | None:
        """The task's record; None where there is none, or it cannot be understood. Raises TaskTooNew."""
        text = self._read(RECORD)
        record = None if text is None else read_record(text)
        if record is None and text is not None and is_newer(text, "record_version", RECORD_VERSION):
            raise TaskTooNew(
                f"a newer gemmalock began task `{self.path.name}`; update this one, or drop what the task has with "
                "`gemmalock tasks clear`"
            )
        return record

    def write_record(self, record: TaskRecord) -> None:
        """Replace the record, for good; a crash leaves the old one or the new one."""
        replace_at(self.number, RECORD, write_record(record))

    def settle(self) -> None:
        """Make the record, as it is, and the folder itself outlive a power cut."""
        sync_at(self.number, RECORD)
        sync_folder(self.path.parent)

    def partial(self, size: int | None) -> Partial:
        """What is there of the bytes of a file of `size` (None: not known). Follows no link; changes nothing."""
        try:
            part = os.stat(PART, dir_fd=self.number, follow_symlinks=False)
        except FileNotFoundError:
            return Partial()
        if not stat.S_ISREG(part.st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(self.path / PART))
        journal = read_journal(self._read(JOURNAL) or b"", part.st_size if size is None else size)
        for chunk in journal.values():
            if chunk.end > part.st_size:
                del journal[chunk.index]
        return Partial(part.st_size, part.st_blocks * 512, journal)

    def drop_partial(self) -> None:
        """Remove the partial and its journal, for good."""
        gone = [_unlink(self.number, name) for name in (JOURNAL, PART)]
        if any(gone):
            os.fsync(self.number)

    def put_part(self, source: Path, stop: Stop) -> None:
        """Make the partial, of which there is none, a copy of the bytes at `source`, for good; blocks are shared where
        the file system can. A failure leaves none."""
        link(source, self.number, PART, LinkMode.REFLINK, stop=stop)
        os.chmod(PART, 0o600, dir_fd=self.number)
        os.fsync(self.number)

    def write_journal(self, chunks: Iterable[Chunk]) -> None:
        """Replace the journal by one of these chunks, for good."""
        replace_at(self.number, JOURNAL, b"".join(write_chunk(chunk) for chunk in chunks))

    def renew_partial(self, stop: Stop | None = None) -> None:
        """Give the partial another inode with the same bytes, so that whoever still has it open writes to nobody."""
        fresh = f".{mark()}{BESIDE}"
        try:
            copy(self.path / PART, self.number, fresh, stop=stop)
            os.chmod(fresh, 0o600, dir_fd=self.number)
            os.replace(fresh, PART, src_dir_fd=self.number, dst_dir_fd=self.number)
        except FileNotFoundError:
            return
        os.fsync(self.number)

    def remove(self, *likely: str) -> None:
        """Make the folder no task any more, and then nothing: a crash in between leaves what `sweep` removes. Names
        that are `likely` in it are not looked for first."""
        gone = self.path.with_name(f"{GOING}{mark()}")
        self.path.rename(gone)
        # It is no task any more; what cannot be removed now is `sweep`'s.
        with suppress(OSError):
            for name in likely:
                _unlink(self.number, name)
            _empty(self.number, gone)

    def _read(self, name: str) -> bytes | None:
        try:
            file = os.open(name, _READ, dir_fd=self.number)
        except FileNotFoundError:
            return None
        with open(file, "rb") as stream:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", str(self.path / name))
            return stream.read()


def is_task_id(name: str) -> bool:
    """Whether this is a UUID as task IDs are written, and so safe as the name of a folder."""
    return TASK_ID.fullmatch(name) is not None


def make(path: Path, record: TaskRecord) -> tuple[TaskFolder, claims.Taken] | None:
    """A new task at `path` with this record, claimed, all of it at once; None when somebody was faster.

    It outlives this process from now on, and a power cut from `settle` on. Raises OSError, and then nothing is left.
    """
    place = path.with_name(f"{COMING}{mark()}")
    place.mkdir(mode=0o700)
    folder = None
    try:
        folder = TaskFolder.open(place)
        fill_at(folder.number, RECORD, write_record(record))
        taken = claims.first(folder.number)
        place.rename(path)
        place = folder.path = path
    except BaseException as error:
        with suppress(OSError):
            if folder is not None:
                _empty(folder.number, place)
            else:
                place.rmdir()
        if folder is not None:
            folder.close()
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return None
        raise
    return folder, taken


def sweep(tasks: Path) -> None:
    """Remove what processes that are dead left beside the tasks; nothing where `tasks` is a link. Never raises OSError:
    it is only tidying."""
    with suppress(OSError):
        for name in [] if tasks.is_symlink() else os.listdir(tasks):
            prefix = next((prefix for prefix in (COMING, GOING) if name.startswith(prefix)), None)
            if prefix is not None and _is_left_over(tasks / name, name.removeprefix(prefix)):
                _remove_left_over(tasks / name)


def _is_left_over(path: Path, maker: str) -> bool:
    if is_dead_mark(maker):
        return True
    try:
        return time.time() - path.lstat().st_ctime > _ABANDONED_SECONDS
    except OSError:
        return False


def _remove_left_over(path: Path) -> None:
    with suppress(OSError):
        folder = TaskFolder.open(path)
        try:
            _empty(folder.number, path)
        finally:
            folder.close()


def _empty(folder: int, path: Path) -> None:
    """Remove the names that are ours in an open folder, and then the folder at `path`."""
    for tries in range(_TRIES + 1):
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            # Somebody who opened it before it went may only now find out; what is not ours stays for good.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or tries == _TRIES:
                raise
        else:
            return
        for name in os.listdir(folder):
            if name in (RECORD, PART, JOURNAL) or claims.is_claim(name) or (name[0] == "." and name.endswith(BESIDE)):
                _unlink(folder, name)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _unlink(folder: int, name: str) -> bool:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True

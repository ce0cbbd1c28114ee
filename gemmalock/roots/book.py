"""The ledger of a root on disk: read once, changed in memory, merged back under an advisory lock.

What this process changed is kept as a difference, so that two processes that save at the same time do not undo each
other. Nothing here knows what stands in the root.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gemmalock.durable import replace_at
from gemmalock.errors import Busy, GemmalockError, StateTooNew
from gemmalock.ledger import LedgerEntry
from gemmalock.roots.walk import lstat_at, opened, read_at
from gemmalock.stopping import Stop

OWN = ".gemmalock"
LEDGER = "ledger.json"
#: What a file system answers that has no flock(2): NFS without a lock daemon, Lustre, some FUSE (524: ENOTSUPP).
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, 524})
#: Less the umask: a root may be shared, and its ledger holds no secret.
_MODE = 0o666
_LOCK_SECONDS = 60.0
#: How often the ledger is saved while files are being placed, in seconds at least: a killed run loses no more.
_SAVE_SECONDS = 1.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class _Change:
    """An entry as this process found it, and as it left it; None: there was, or is to be, no entry."""

    before: LedgerEntry | None
    after: LedgerEntry | None


class Book:
    """The ledger of the root `root` below `base`. Safe to use from many threads."""

    def __init__(self, base: Path, root: str, stop: Stop | None) -> None:
        self._base = base
        self._own = f"{root}/{OWN}"
        self._stop = stop
        self._mutex = threading.RLock()
        self._seen: tuple[int, int, int] | None = None
        self._entries: Mapping[str, LedgerEntry] | None = None
        self._is_read = False
        self._changes: dict[str, _Change] = {}
        self._save_due = time.monotonic() + _SAVE_SECONDS
        self.warnings: list[str] = []

    def entry(self, path: str) -> LedgerEntry | None:
        """What is recorded of a path. Raises OSError or UnsafePath where the ledger cannot be read, and StateTooNew."""
        with self._mutex:
            change = self._changes.get(path)
            return change.after if change else self._read().get(path)

    def is_readable(self) -> bool:
        """Whether there is a ledger that can be made sense of. Raises OSError, UnsafePath and StateTooNew."""
        with self._mutex:
            self._read()
            return self._entries is not None

    def refresh(self) -> bool:
        """Read the ledger again if another process has written it since. Whether it did."""
        with self._mutex:
            if not self._is_read or self._stat() == self._seen:
                return False
            self._is_read = False
            return True

    def enter(self, path: str, entry: LedgerEntry) -> None:
        """Record what stands at a path now."""
        self._change(path, entry)

    def drop(self, path: str) -> None:
        """Forget a path: it is no longer in the root."""
        self._change(path, None)

    def begin(self) -> None:
        """Make sure that there is a ledger on disk, an empty one where there is none that can be made sense of: what is
        put in place from now on is ours, also where this process is killed. Raises as `save`, and StateTooNew."""
        if self.is_readable():
            return
        with self.locked(), self._mutex:
            self._is_read = False
            if not self.is_readable():
                self._write({})

    def save_if_due(self) -> None:
        """Save, at most about once a second. Never waits and never raises: what could not be saved now is saved, or
        told, by the `save` at the end."""
        with self._mutex:
            now = time.monotonic()
            if now < self._save_due:
                return
            self._save_due = now + _SAVE_SECONDS
        with contextlib.suppress(OSError, GemmalockError):
            self.save(patience=0.0)

    def save(self, *, patience: float | None = None) -> None:
        """Merge this process's changes into what is on disk now; nothing is written where nothing changes.
        Raises OSError, UnsafePath, and Busy when nobody lets go of the root's lock for `patience` seconds (None: a
        minute)."""
        if not self._changes:
            return
        # The lock of the root before that of the threads, everywhere: pruning holds the first and needs the second.
        with self.locked(patience), self._mutex:
            self._is_read = False
            entries = dict(self._read())
            for path, change in self._changes.items():
                if change.after is not None:
                    entries[path] = change.after
                elif entries.get(path) == change.before:
                    entries.pop(path, None)
            if entries != (self._entries or {}):
                self._write(entries)
            self._changes.clear()

    @contextlib.contextmanager
    def locked(self, patience: float | None = None) -> Iterator[None]:
        """Hold the root's advisory lock, alone among processes. Where the file system has no locks, go on without and
        warn once. Raises Busy when nobody lets go for `patience` seconds (None: a minute), and Interrupted."""
        with self.own_folder() as own:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            lock = os.open("lock", flags, _MODE, dir_fd=own)
        try:
            self._acquire(lock, _LOCK_SECONDS if patience is None else patience)
            yield
        finally:
            os.close(lock)

    @contextlib.contextmanager
    def own_folder(self) -> Iterator[int]:
        """The folder `.gemmalock` of the root, made where it is missing, and invisible to git."""
        with opened(self._base, self._own, make=True) as own:
            if lstat_at(own, ".gitignore") is None:
                replace_at(own, ".gitignore", b"*\n", _MODE)
            yield own

    def _change(self, path: str, after: LedgerEntry | None) -> None:
        with self._mutex:
            before = self._changes[path].before if path in self._changes else self._read_or_empty().get(path)
            self._changes[path] = _Change(before, after)

    def _read(self) -> Mapping[str, LedgerEntry]:
        if not self._is_read:
            from gemmalock.codec.ledger_json import read_ledger

            self._entries = None
            self._seen = None
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), opened(self._base, self._own) as own:
                self._seen = _identity(lstat_at(own, LEDGER))
                text = read_at(own, LEDGER)
                self._entries = read_ledger(text)
                if self._entries is None:
                    self._refuse_newer(text)
            self._is_read = True
        return self._entries or {}

    def _refuse_newer(self, text: bytes) -> None:
        """Anything else that cannot be read is no ledger, and is written anew."""
        from gemmalock.codec.ledger_json import LEDGER_VERSION
        from gemmalock.codec.versions import is_newer

        if is_newer(text, "ledger_version", LEDGER_VERSION):
            raise StateTooNew(
                f"a newer gemmalock wrote `{self._own}/{LEDGER}`, and is needed to work in this root",
                hint=f"update gemmalock; or remove `{self._own}/{LEDGER}`: what is in place is hashed, not fetched",
            )

    def _read_or_empty(self) -> Mapping[str, LedgerEntry]:
        try:
            return self._read()
        except OSError:
            return {}

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            with opened(self._base, self._own) as own:
                return _identity(lstat_at(own, LEDGER))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _write(self, entries: Mapping[str, LedgerEntry]) -> None:
        from gemmalock.codec.ledger_json import write_ledger

        with self.own_folder() as own:
            replace_at(own, LEDGER, write_ledger(entries), _MODE)
            self._seen = _identity(lstat_at(own, LEDGER))
        self._entries = entries

    def _acquire(self, lock: int, patience: float) -> None:
        deadline = time.monotonic() + patience
        while True:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Busy(
                        f"another process has held the lock `{self._own}/lock` for {patience:.0f} s",
                        hint="run it again when that process is done with this root, or has ended",
                    ) from None
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                if not self.warnings:
                    self.warnings.append(
                        f"the file system of `{self._own}` has no locks ({error.strerror}): going on without"
                    )
                return None
            self._pause()

    def _pause(self) -> None:
        if self._stop is None:
            time.sleep(_POLL_SECONDS)
        else:
            self._stop.wait(_POLL_SECONDS)


def _identity(found: os.stat_result | None) -> tuple[int, int, int] | None:
    return None if found is None else (found.st_size, found.st_mtime_ns, found.st_ino)

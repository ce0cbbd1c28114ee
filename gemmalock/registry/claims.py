"""Claims: the exclusive right to a task's folder, taken without trusting flock.

flock(2) succeeds without excluding anybody on some network file systems; a hard link to a name that is taken fails on
all of them. So a claim is a file `claim.<n>`, made by linking a whole file to a name that nobody has:

- The claim with the highest number counts. To take the task one reads it, and when its holder is dead or has given
  up, links one's own file to the next number. Of many who try it exactly one succeeds: that link is the decision.
- Giving up empties one's own claim and leaves it where it is (that needs no space on the disk). So the highest number
  of a folder never falls, and a slow process that still means to take number n+1 finds it taken, not free again.
- Claims eight numbers below one's own are removed, the lowest first: whoever finds his own claim, and before that
  none with the next number, has the highest. A process that slept through eight whole claims between its look
  and its link could therefore take a number that was used before; it looks once more after the link, sees a higher
  one, and has nothing. A folder with a dozen names is listed by a single system call, so that look misses nothing.
- The folder is opened before the look, and everything happens relative to that descriptor: in a folder that was
  removed meanwhile the link fails, and a folder that was renamed away is noticed by comparing it with the path
  afterwards (`folders.TaskFolder.is_in_place`). Only the holder renames it.

Whoever stops for long enough to be taken for dead (on another machine, where only its heartbeat is seen) asks
`still_held` before it commits, and its successor writes to a copy of the partial. A claim need not outlive a power
cut, when every holder is dead: it is not synced. An empty or damaged claim is nobody's.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from gemmalock.durable import create_at, fill_at
from gemmalock.holders import Holder, Life

#: A holder that cannot be asked is dead when its heart did not beat while we watched for so long.
PATIENCE_SECONDS = 60.0
#: How many numbers below the highest stay.
KEPT_NUMBERS = 8
_CLAIM = re.compile(r"claim\.([1-9]\d{0,17})")
_SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_MOST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Taken:
    """A claim that is ours, with the inode of its file. `in_doubt`: its last holder was taken for dead by its silence
    alone."""

    number: int
    token: str
    inode: int
    in_doubt: bool = False

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"claim.{self.number}"


@dataclass(slots=True)
class Watching:
    """What was seen of holders that cannot be asked whether they live: when their heart last beat, by our clock."""

    clock: Callable[[], float] = time.monotonic
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def is_silent(self, holder: Holder, beat_ns: int) -> bool:
        """Whether this heart has stood still for as long as we have patience; a first look never says so."""
        now = self.clock()
        with self._lock:
            last, since = self._seen.get(holder.token, (None, now))
            if last != beat_ns:
                since = now
            self._seen[holder.token] = (beat_ns, since)
            return now - since >= PATIENCE_SECONDS


@dataclass(frozen=True, slots=True)
class Standing:
    """The claim that counts in a folder: its number (0: there is none), and who lives by it."""

    number: int
    holder: Holder | None
    in_doubt: bool = False


def is_claim(name: str) -> bool:
    """Whether this is the name of a claim."""
    return _CLAIM.fullmatch(name) is not None


def standing(folder: int, watching: Watching) -> Standing:
    """Who holds the folder now. Raises OSError."""
    while True:
        number = _highest(folder)
        if number == 0:
            return Standing(0, None)
        try:
            holder, beat_ns = _read(folder, number)
        except FileNotFoundError:
            # Newer ones came, and this one was tidied away.
            continue
        if holder is None:
            return Standing(number, None)
        life = holder.life()
        if life is Life.UNKNOWN:
            silent = watching.is_silent(holder, beat_ns)
            return Standing(number, None if silent else holder, in_doubt=silent)
        return Standing(number, holder if life is Life.ALIVE else None)


def take(folder: int, watching: Watching) -> Taken | Holder:
    """Take the folder, or say who has it. Raises FileNotFoundError when the folder is gone, and OSError."""
    while True:
        now = standing(folder, watching)
        if now.holder is not None:
            return now.holder
        me = Holder.here()
        number = now.number + 1
        try:
            inode = create_at(folder, f"claim.{number}", me.write(), synced=False)
        except FileExistsError:
            continue
        taken = Taken(number, me.token, inode, now.in_doubt)
        try:
            if _highest(folder) == taken.number:
                _tidy(folder, taken.number)
                return taken
            os.unlink(taken.name, dir_fd=folder)
        except OSError:
            with suppress(OSError):
                give_up(folder, taken)
            raise


def first(folder: int) -> Taken:
    """The first claim in a folder that nobody else knows yet. Raises OSError."""
    me = Holder.here()
    inode = fill_at(folder, "claim.1", me.write())
    return Taken(1, me.token, inode)


def still_held(folder: int, taken: Taken) -> bool:
    """Whether this claim still counts: its file is the one that we made, not emptied, and none has the next number.
    Raises OSError."""
    if _stat(folder, f"claim.{taken.number + 1}") is not None:
        return False
    found = _stat(folder, taken.name)
    if found is None or found.st_size == 0:
        return False
    # Some file systems in user space number a file anew once they have forgotten it: then its text is asked.
    return found.st_ino == taken.inode or _token(folder, taken.number) == taken.token


def beat(folder: int, taken: Taken) -> None:
    """Show those who cannot ask that this holder lives. Raises OSError."""
    os.utime(taken.name, dir_fd=folder, follow_symlinks=False)


def give_up(folder: int, taken: Taken) -> None:
    """Empty the claim, if it is still this one. Raises OSError."""
    file = os.open(taken.name, os.O_RDWR | _SAFELY, dir_fd=folder)
    try:
        holder = Holder.read(os.read(file, _MOST_BYTES))
        if holder is not None and holder.token == taken.token:
            os.ftruncate(file, 0)
    finally:
        os.close(file)


def _read(folder: int, number: int) -> tuple[Holder | None, int]:
    try:
        file = os.open(f"claim.{number}", os.O_RDONLY | _SAFELY, dir_fd=folder)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return None, 0  # a link that nobody of us made: it is not followed, and is nobody's
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            return None, 0
        return Holder.read(os.read(file, _MOST_BYTES)), found.st_mtime_ns
    finally:
        os.close(file)


def _token(folder: int, number: int) -> str | None:
    with suppress(FileNotFoundError):
        holder, _ = _read(folder, number)
        return None if holder is None else holder.token
    return None


def _numbers(folder: int) -> list[int]:
    return [int(match[1]) for name in os.listdir(folder) if (match := _CLAIM.fullmatch(name))]


def _highest(folder: int) -> int:
    return max(_numbers(folder), default=0)


def _stat(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _tidy(folder: int, number: int) -> None:
    for old in sorted(_numbers(folder)):
        if old <= number - KEPT_NUMBERS:
            with suppress(OSError):
                os.unlink(f"claim.{old}", dir_fd=folder)

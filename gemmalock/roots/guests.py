"""Who is at work in a root, and with which store: processes of one store share its claims, those of two do not.

A process that is about to put files in place leaves a mark in `.gemmalock/guests/`, named by its store. Whoever comes
with another store waits until the marks of the others are gone, so that a file is fetched once for a root, not once
for each store. A mark of a dead process counts for nothing; nor does one of another machine or container, which nobody
here can ask.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from gemmalock.holders import Life, life_of_mark, mark
from gemmalock.roots.book import OWN, Book
from gemmalock.roots.staging import is_old
from gemmalock.roots.walk import drop_at, opened

_GUESTS = "guests"


class Guests:
    """The guests of the root `root` below `base`."""

    def __init__(self, base: Path, root: str, book: Book) -> None:
        self._base = base
        self._path = f"{root}/{OWN}/{_GUESTS}"
        self._book = book
        self._mine: str | None = None

    def enter(self, store: Path, patience: float | None = None) -> bool:
        """Be a guest with this store; False while one with another store is there. `patience` as
        `Book.locked` has it. Raises OSError, UnsafePath, Busy and Interrupted."""
        name = f"{_short(store)}-{mark()}"
        with self._book.locked(patience), opened(self._base, self._path, make=True) as guests:
            taken = False
            for other in os.listdir(guests):
                theirs, _, maker = other.partition("-")
                life = life_of_mark(maker)
                taken = taken or (life is Life.ALIVE and theirs != _short(store))
                if life is Life.DEAD or (life is Life.UNKNOWN and is_old(guests, other)):
                    drop_at(guests, other)
            if taken:
                return False
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=guests))
        self._mine = name
        return True

    def leave(self) -> None:
        """Be no guest any more; nothing happens to who is none. Raises OSError and UnsafePath."""
        name, self._mine = self._mine, None
        if name is not None:
            with opened(self._base, self._path) as guests:
                drop_at(guests, name)


def _short(store: Path) -> str:
    return hashlib.sha256(os.fsencode(os.path.realpath(store))).hexdigest()[:16]

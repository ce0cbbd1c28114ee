"""The sha256 of a whole file, taken while the file comes in.

The frontier hashes the part of the file that is there from its beginning without a hole, in a thread of its own, so
that hashing overlaps receiving. It reads the bytes back from the file: they are still in memory, reading them costs a
sixth of hashing them, it does not matter in which order or over how many connections they came, and what is hashed is
what is in the file, whatever a write has claimed. (hashlib has no way to save a digest half-way, so that a later run
begins at zero again; it does so while the rest comes in.)
"""

from __future__ import annotations

import hashlib
import threading

from gemmalock.errors import DiskError, ReadWriteFailed
from gemmalock.stopping import Stop
from gemmalock.transfer.blocks import BLOCK
from gemmalock.transfer.part import Part


class DigestFrontier:
    """The running digest of one part. `advance` may be called from many threads, all else from one."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._hasher = hashlib.sha256()
        self._hashed = 0
        self._limit = 0
        self._closing = False
        self._thread: threading.Thread | None = None
        self._wake = threading.Condition()
        #: Held while a block is hashed.
        self._working = threading.Lock()

    def advance(self, limit: int) -> None:
        """The bytes up to `limit` are in the file now, and stay as they are."""
        with self._wake:
            self._limit = max(self._limit, limit)
            if self._limit - self._hashed < BLOCK:
                return
            if self._thread is None and not self._closing:
                self._start()
            self._wake.notify()

    def reset(self) -> None:
        """Forget everything: the file begins anew."""
        with self._working, self._wake:
            self._hasher = hashlib.sha256()
            self._hashed = self._limit = 0

    def finish(self, stop: Stop) -> str:
        """The digest of the whole part, every byte of which is there. Raises DiskError and Interrupted."""
        self.close()
        self._limit = self._part.size
        while self._hashed < self._limit:
            stop.check()
            self._step()
        self._closing = False
        return self._hasher.hexdigest()

    def close(self) -> None:
        """End the thread, where there is one, after its current block."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _start(self) -> None:
        # A daemon: a disk that hangs must not keep an interrupted run from ending.
        thread = threading.Thread(target=self._follow, name="gemmalock-digest", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # No more threads to be had: `finish` does all the hashing.
            self._closing = True
        else:
            self._thread = thread

    def _follow(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closing or self._limit - self._hashed >= BLOCK)
                if self._closing:
                    return
            try:
                self._step()
            except (DiskError, MemoryError):
                # `finish` comes upon it again, in a thread that can say so.
                return

    def _step(self) -> None:
        with self._working:
            bounds = self._hashed, min(self._hashed + BLOCK, self._limit)
            if not self._part.hash_into(self._hasher, bounds):
                raise ReadWriteFailed(f"cannot read `{self._part.path}`: another program cut it short")
            self._hashed = bounds[1]

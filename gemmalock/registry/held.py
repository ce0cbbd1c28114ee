"""A claim that this process holds: the record kept up to date, a heart that beats, and the two ways it ends."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from gemmalock.errors import DiskError, disk_error
from gemmalock.journal import Chunk
from gemmalock.machine import Salvage
from gemmalock.plan import TaskRecord
from gemmalock.registry import claims
from gemmalock.registry.folders import RECORD, TaskFolder
from gemmalock.stopping import Stop

#: How often the record is written at most.
RECORD_SECONDS = 1.0
#: How often the heart beats by itself, in case nothing arrives for a while: well within `claims.PATIENCE_SECONDS`.
HEART_SECONDS = 15.0


class DiskClaim:
    """The claim of one task. Safe to use from many threads; once released or finished it does nothing any more."""

    def __init__(self, opened: TaskFolder, taken: claims.Taken, record: TaskRecord) -> None:
        self.folder: Path = opened.path
        self.record = record
        self._opened = opened
        self._taken = taken
        self._lock = threading.Lock()
        self._on_disk = record
        self._beaten = float("-inf")
        self._settled = False
        self._ended = False
        _HEART.join(self)

    def beat(self, ranges: tuple[tuple[int, int], ...]) -> None:
        """Say that this holder lives, and note the ranges on disk in the record, at most once a second."""
        with self._lock:
            if self._ended:
                return
            changed = ranges != self._on_disk.ranges
            self.record = replace(self.record, ranges=ranges)
            now = time.monotonic()
            if now - self._beaten < RECORD_SECONDS:
                return
            self._beaten = now
            if changed:
                self._write_record()
            else:
                self._show_life()

    def settle(self) -> None:
        """Make the record outlive a power cut; once is enough. Raises DiskError."""
        with self._lock:
            try:
                self._settle()
            except OSError as error:
                raise disk_error(error, f"sync the record in `{self.folder}`") from error

    def still_held(self) -> bool:
        """Whether nobody has taken this claim away."""
        with self._lock:
            try:
                return not self._ended and self._holds()
            except OSError as error:
                raise disk_error(error, f"read `{self.folder}`") from error

    def drop_partial(self) -> None:
        """Remove the partial and its journal; the record and the claim stay."""
        with self._lock:
            try:
                if not self._ended and self._holds():
                    self._opened.drop_partial()
            except OSError as error:
                raise disk_error(error, f"remove the partial in `{self.folder}`") from error
            self.record = replace(self.record, ranges=())
            if self.record != self._on_disk:
                self._write_record()

    def seed(self, salvage: Salvage, stop: Stop) -> None:
        """Make the partial a copy of these bytes, with a journal of these chunks that is written last. Raises DiskError
        and Interrupted, and then there is no partial."""
        self.drop_partial()
        try:
            if self.still_held():
                # Without the lock, which the heart needs: a copy may take longer than others are patient.
                self._opened.put_part(salvage.path, stop)
                self.settle()
                self._vouch_for(salvage.chunks)
        except OSError as error:
            with suppress(DiskError):
                self.drop_partial()
            raise disk_error(error, f"copy `{salvage.path}` to `{self.folder}`") from error

    def _vouch_for(self, chunks: Iterable[Chunk]) -> None:
        with self._lock:
            if not self._ended and self._holds():
                self._opened.write_journal(chunks)

    def learned(self, sha256: str) -> None:
        """Note the digest that the whole file turned out to have, for good."""
        self.keep_record(replace(self.record, sha256=sha256))

    def keep_record(self, record: TaskRecord) -> None:
        """Write this record, if it is another one than the task has."""
        with self._lock:
            self.record = record
            if record != self._on_disk:
                self._write_record()

    def release(self) -> None:
        """Give the claim up and leave partial and record for the next. Never raises."""
        with self._lock:
            if self._ended:
                return
            with suppress(OSError, DiskError):
                if self.record != self._on_disk:
                    self._write_record()
            self._end(give_up=True)

    def finish(self) -> None:
        """The file is in place: remove partial, record and claim."""
        with self._lock:
            if self._ended:
                return
            try:
                if self._holds():
                    self._opened.remove(self._taken.name, RECORD)
            except OSError as error:
                self._end(give_up=True)
                raise disk_error(error, f"remove `{self.folder}`") from error
            self._end(give_up=False)

    def show_life(self) -> None:
        """Let the claim's file tell those who cannot ask that this process lives. Never raises."""
        with self._lock:
            if not self._ended:
                self._show_life()

    def _show_life(self) -> None:
        with suppress(OSError):
            claims.beat(self._opened.number, self._taken)

    def _holds(self) -> bool:
        return claims.still_held(self._opened.number, self._taken) and self._opened.is_in_place()

    def _write_record(self) -> None:
        try:
            if not self._ended and self._holds():
                claims.beat(self._opened.number, self._taken)
                self._opened.write_record(self.record)
                self._on_disk = self.record
                self._settle()
        except OSError as error:
            raise disk_error(error, f"write the record in `{self.folder}`") from error

    def _settle(self) -> None:
        if not self._settled and not self._ended and self._holds():
            self._opened.settle()
            self._settled = True

    def _end(self, *, give_up: bool) -> None:
        self._ended = True
        _HEART.leave(self)
        if give_up:
            with suppress(OSError):
                claims.give_up(self._opened.number, self._taken)
        self._opened.close()


class _Heart:
    """One thread that beats for every claim of this process, for as long as there is one."""

    def __init__(self) -> None:
        self._claims: weakref.WeakSet[DiskClaim] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def join(self, claim: DiskClaim) -> None:
        """Beat for this claim too."""
        with self._lock:
            self._claims.add(claim)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._beat, name="gemmalock-heart", daemon=True)
                # Without a thread the claims beat whenever bytes are committed.
                with suppress(RuntimeError):
                    self._thread.start()

    def leave(self, claim: DiskClaim) -> None:
        """Beat for it no longer."""
        with self._lock:
            self._claims.discard(claim)

    def _beat(self) -> None:
        while True:
            time.sleep(HEART_SECONDS)
            with self._lock:
                held = list(self._claims)
                if not held:
                    self._thread = None
                    return
            for claim in held:
                claim.show_life()


_HEART = _Heart()

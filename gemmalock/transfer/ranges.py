"""Which bytes of a partial are on disk for good, and keeping the journal in step with them.

Connections write *stretches*. A committer follows each stretch: it hashes the bytes that came since it last looked,
syncs them, and only then adds their lines to the journal (a chunk that is complete, or the beginning of one). It runs
in a thread of its own, and a connection is never more than CHUNK bytes ahead of it, so that this much is lost at most
when the process dies. A chunk belongs to one stretch at a time; stretches end at the ends of chunks.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator

from gemmalock.errors import DiskError, FileError, ReadWriteFailed
from gemmalock.journal import CHUNK, Chunk, Journal, Validator, joined_ranges, write_chunk
from gemmalock.stopping import Stop
from gemmalock.transfer.frontier import DigestFrontier
from gemmalock.transfer.journalfile import JournalFile
from gemmalock.transfer.part import BLOCK, Hasher, Part

#: How many bytes may come before the committer is woken, and for how long, in seconds.
_COMMIT_BYTES = CHUNK // 2
_COMMIT_SECONDS = 1.0
#: Less room than this is not worth a read.
_LEAST_ROOM = CHUNK // 8
#: A file of up to so many bytes that comes in one go is never journaled.
_SMALL = BLOCK
Beat = Callable[[tuple[tuple[int, int], ...]], None]


class Stretch:
    """A run of bytes that one connection receives in order: [start, end), of which those up to `here` are written and
    those up to `safe` are journaled."""

    __slots__ = ("end", "hashed", "hasher", "here", "safe", "start", "validator")

    def __init__(self, bounds: tuple[int, int], validator: Validator, hasher: Hasher) -> None:
        self.start, self.end = bounds
        self.here = self.safe = self.hashed = self.start
        self.validator = validator
        self.hasher = hasher


class DurableRanges:
    """The chunks of one part. Stretches may be written by many threads at once; all else is for one thread."""

    def __init__(self, part: Part, journal: JournalFile, beat: Beat) -> None:
        self.chunks: dict[int, Chunk] = {}
        self.frontier = DigestFrontier(part)
        self._part = part
        self._journal = journal
        self._beat = beat
        self._beaten = 0.0
        self._buffer = memoryview(bytearray(min(BLOCK, max(part.size, 1))))
        #: The digests of chunks that are there in part, to go on from: index → hasher.
        self._begun: dict[int, Hasher] = {}
        self._stretches: list[Stretch] = []
        self._prefix = 0
        self._state = threading.Condition()
        self._committing = threading.Lock()
        self._failure: FileError | None = None
        self._thread: threading.Thread | None = None
        self._closing = False
        self._threadless = False

    @property
    def kept(self) -> int:
        """How many bytes are journaled, or will be before the part is given away."""
        with self._state:
            return Journal(self.chunks).kept

    @property
    def validators(self) -> frozenset[Validator]:
        """Every validator under which a chunk came."""
        with self._state:
            return Journal(self.chunks).validators

    def missing(self) -> tuple[tuple[int, int], ...]:
        """The gaps between the chunks, in order. No stretch is being written."""
        gaps, at = [], 0
        for start, end in self._joined():
            if at < start:
                gaps.append((at, start))
            at = end
        if at < self._part.size:
            gaps.append((at, self._part.size))
        return tuple(gaps)

    # --- an earlier run's bytes ----------------------------------------------------------------------------

    def take_up(self, journal: Journal, text: bytes, stop: Stop) -> int:
        """Keep the chunks of an earlier run whose bytes are in the file as the journal has them: every one is read
        again. How many bytes had to go. Raises DiskError and Interrupted."""
        lost = 0
        for index, chunk in sorted(journal.chunks.items()):
            stop.check()
            hasher = hashlib.sha256()
            whole = self._part.hash_into(hasher, (chunk.start, chunk.end), self._buffer)
            if not whole or hasher.hexdigest() != chunk.sha256:
                lost += chunk.length
                continue
            self.chunks[index] = chunk
            if chunk.length < CHUNK:
                self._begun[index] = hasher
            self._move_prefix()
        kept = [self.chunks[index] for index in sorted(self.chunks)]
        if b"".join(write_chunk(chunk) for chunk in kept) != text:
            # A line that is not whole would swallow the next one.
            self._journal.rewrite(kept)
        return lost

    def drop(self) -> int:
        """Forget all bytes, on disk too. How many they were. No stretch is being written."""
        lost = self.kept
        self.frontier.reset()
        self.chunks.clear()
        self._begun.clear()
        self._prefix = 0
        self._journal.rewrite(())
        self._part.empty()
        return lost

    # --- a connection's side -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self, bounds: tuple[int, int], validator: Validator) -> Iterator[Stretch]:
        """A new stretch over a gap, or over the beginning of one; it may go on inside a chunk. However the block
        ends, what came is journaled then; a DiskError of that is raised where nothing else is."""
        hasher = self._begun.pop(bounds[0] // CHUNK) if bounds[0] % CHUNK else hashlib.sha256()
        stretch = Stretch(bounds, validator, hasher)
        with self._state:
            self._check()
            self._stretches.append(stretch)
        try:
            yield stretch
        except BaseException:
            # The next `room` or `writing` raises what is suppressed here.
            with contextlib.suppress(FileError):
                self._end(stretch)
            raise
        self._end(stretch)

    def room(self, stretch: Stretch) -> int:
        """How many bytes may be written before the journal has to catch up; waits until it is worth a read.

        Raises DiskError when the committer failed: the bytes since its last success are not to be trusted.
        """
        while True:
            with self._state:
                self._check()
                room = min(CHUNK - (stretch.here - stretch.safe), stretch.end - stretch.here)
                if room >= min(_LEAST_ROOM, stretch.end - stretch.here):
                    return room
                if self._thread is not None and self._thread.is_alive():
                    self._state.wait(_COMMIT_SECONDS)
                    continue
            self.commit()

    def write(self, stretch: Stretch, block: memoryview) -> None:
        """Put the next bytes of a stretch where they belong. Raises DiskError."""
        self._part.write_at(block, stretch.here)
        with self._state:
            stretch.here += len(block)
            if self._thread is None and stretch.here < stretch.end and not self._threadless:
                self._start()
            if stretch.here - stretch.safe >= _COMMIT_BYTES:
                self._state.notify_all()
            if stretch.start <= self._prefix:
                self._move_prefix()

    def close(self) -> None:
        """End the threads."""
        self.frontier.close()
        with self._state:
            self._closing = True
            self._state.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    # --- the committer's side ------------------------------------------------------------------------------

    def commit(self) -> None:
        """Hash, sync and journal whatever came. Raises DiskError, and then for ever."""
        with self._committing:
            with self._state:
                self._check()
                due = [(stretch, stretch.here) for stretch in self._stretches if stretch.here > stretch.safe]
            if not due:
                return
            try:
                self._commit(due)
            except FileError as error:
                # What a second sync says after a failed one is not to be believed.
                self._failure = error
                raise
            finally:
                with self._state:
                    self._state.notify_all()

    def _commit(self, due: list[tuple[Stretch, int]]) -> None:
        lines = [chunk for stretch, here in due for chunk in self._hash(stretch, here)]
        self._part.sync_bytes()
        self._journal.append(lines)
        self._note(lines)
        for stretch, here in due:
            stretch.safe = here
        now = time.monotonic()
        if now - self._beaten >= _COMMIT_SECONDS:
            self._beaten = now
            self._beat(self._joined())

    def _hash(self, stretch: Stretch, here: int) -> list[Chunk]:
        """The chunks, the last perhaps only begun, that the bytes of a stretch up to `here` make."""
        found = []
        while stretch.hashed < here:
            index = stretch.hashed // CHUNK
            end = min(here, (index + 1) * CHUNK)
            if not self._part.hash_into(stretch.hasher, (stretch.hashed, end), self._buffer):
                raise ReadWriteFailed(f"cannot read `{self._part.path}`: another program cut it short")
            found.append(Chunk(index, end - index * CHUNK, stretch.hasher.hexdigest(), stretch.validator))
            stretch.hashed = end
            if end % CHUNK == 0:
                stretch.hasher = hashlib.sha256()
        return found

    def _note(self, chunks: list[Chunk]) -> None:
        with self._state:
            for chunk in chunks:
                self.chunks[chunk.index] = chunk

    def _end(self, stretch: Stretch) -> None:
        at_one_go = stretch.here - stretch.start == self._part.size
        try:
            if not (at_one_go and self._part.size <= _SMALL):
                self.commit()
                self._beat(self._joined())
            self._note(self._hash(stretch, stretch.here))
        finally:
            with self._state:
                self._stretches.remove(stretch)
        if stretch.hashed % CHUNK:
            self._begun[stretch.hashed // CHUNK] = stretch.hasher

    def _start(self) -> None:
        # A daemon: a disk that hangs must not keep an interrupted run from ending.
        thread = threading.Thread(target=self._follow, name="gemmalock-journal", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # No more threads to be had: the connections commit by themselves.
            self._threadless = True
        else:
            self._thread = thread

    def _follow(self) -> None:
        while True:
            with self._state:
                self._state.wait_for(lambda: self._closing or self._is_due(), _COMMIT_SECONDS)
                if self._closing or self._failure is not None:
                    return
            try:
                self.commit()
            except DiskError:
                # It is noted, and the connections raise it.
                return

    def _is_due(self) -> bool:
        return any(stretch.here - stretch.safe >= _COMMIT_BYTES for stretch in self._stretches)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _joined(self) -> tuple[tuple[int, int], ...]:
        with self._state:
            return joined_ranges((chunk.start, chunk.end) for _, chunk in sorted(self.chunks.items()))

    def _move_prefix(self) -> None:
        at = self._prefix
        while True:
            chunk = self.chunks.get(at // CHUNK)
            if chunk is not None and chunk.end > at:
                at = chunk.end
                continue
            reached = max(
                (stretch.here for stretch in self._stretches if stretch.start <= at < stretch.here), default=at
            )
            if reached == at:
                break
            at = reached
        self._prefix = at
        if self._part.size > CHUNK:
            # The digest of a file of one chunk is that chunk's.
            self.frontier.advance(at)

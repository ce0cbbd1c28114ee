"""Which bytes of a partial are on disk for good, and keeping the journal in step with them.

Connections write *stretches*. A committer follows each stretch: it hashes the bytes that came since it last looked,
syncs them, and only then adds their lines to the journal (a chunk that is complete, or the beginning of one). It runs
in a thread of its own, and the connections are never more than AHEAD bytes ahead of it, so that this much is lost at
most when the process dies.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from gemmalock.errors import DiskError, FileError, ReadWriteFailed
from gemmalock.journal import CHUNK, Chunk, Journal, Validator, chunk_size
from gemmalock.stopping import Stop
from gemmalock.transfer.blocks import BLOCK
from gemmalock.transfer.checks import Hasher, check_like, new_check
from gemmalock.transfer.frontier import DigestFrontier
from gemmalock.transfer.journalfile import JournalFile
from gemmalock.transfer.part import Part
from gemmalock.transfer.stretch import Stretch, slowest, steal

#: How far all connections together may be ahead of the journal: what a death costs at most. Of more than eight, each
#: may be a block ahead.
AHEAD = 4 * 1024 * 1024
_LEAST_AHEAD = BLOCK
#: How many bytes may come before the committer is woken, and for how long, in seconds.
_COMMIT_BYTES = AHEAD // 2
_COMMIT_SECONDS = 1.0
#: Less room than this is not worth a read.
_LEAST_ROOM = BLOCK // 2
#: A file of up to so many bytes that comes in one go is never journaled.
_SMALL = CHUNK
Beat = Callable[[tuple[tuple[int, int], ...]], None]


class DurableRanges:
    """The chunks of one part. Stretches may be written, and stolen from, by many threads at once; all else is for one
    thread."""

    def __init__(self, part: Part, journal: JournalFile, beat: Beat, *, proven: bool = False) -> None:
        """`proven`: the digest of the whole file is known, so that the journal need not prove its chunks."""
        self.chunks = Journal()
        self.frontier = DigestFrontier(part)
        self._part = part
        self._unit = chunk_size(part.size)
        self._journal = journal
        self._proven = proven
        self._beat = beat
        self._beaten = 0.0
        #: The digests of chunks that are there in part, to go on from: index → hasher.
        self._begun: dict[int, Hasher] = {}
        self._stretches: list[Stretch] = []
        self._prefix = 0
        self._state = threading.RLock()
        #: The committer waits for work by the first, connections for the journal by the second: who waits for the
        #: journal must not wake others who do.
        self._work = threading.Condition(self._state)
        self._committed = threading.Condition(self._state)
        self._committing = threading.Lock()
        self._failure: FileError | MemoryError | None = None
        self._thread: threading.Thread | None = None
        self._closing = False
        #: Somebody waits for the journal to catch up.
        self._wanted = False
        self._wants_thread = part.size > _SMALL

    @property
    def kept(self) -> int:
        """How many bytes are journaled, or will be before the part is given away."""
        with self._state:
            return self.chunks.kept

    @property
    def validators(self) -> frozenset[Validator]:
        """Every validator under which a chunk came, or comes now."""
        with self._state:
            return frozenset(self.chunks.validators) | {stretch.validator for stretch in self._stretches}

    def validator_before(self, start: int, origin: str | None = None) -> Validator | None:
        """The validator of the bytes right before `start`, else of any that are here or coming; rather one of this
        origin than another's."""
        with self._state:
            before = self.chunks.get((start - 1) // self._unit)
            neighbours = [before.validator] if before is not None and before.end == start else []
            coming = (stretch.validator for stretch in self._stretches)
            found = [*neighbours, *self.chunks.validators, *coming]
        return next((validator for validator in found if validator.origin == origin), found[0] if found else None)

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

    def take_up(self, journal: Journal, stop: Stop, *, is_tidy: bool) -> int:
        """Keep the chunks of an earlier run whose bytes are in the file as the journal has them. How many bytes had to
        go. Raises DiskError and Interrupted. `is_tidy`: the journal's file has a line for each of them, and no more.

        Every chunk is read again. Where the digest of the whole is known that is the digest's to do, while the
        rest comes in, and `prove` says afterwards which chunks were wrong; else it is done here.
        """
        stored = self._part.stored
        self.chunks = journal
        unproved = (
            chunk
            for chunk in journal.values()
            if not self._proven or chunk.end > stored or not self._is_complete(chunk)
        )
        lost = self._read_again(unproved, stop)
        if lost or not is_tidy:
            # A line that is not whole would swallow the next one.
            self._journal.rewrite(journal.values())
        with self._state:
            self._move_prefix()
        return lost

    def prove(self, stop: Stop) -> int:
        """Read every chunk again, for the whole is not what it should be, and let go of those that are not in the file
        as they came: how many bytes. No stretch is being written. Raises DiskError and Interrupted."""
        lost = self._read_again(self.chunks.values(), stop)
        if lost:
            self._rewind()
        return lost

    def let_go(self, indexes: Iterable[int]) -> int:
        """Forget these chunks, which may be wrong: how many bytes. No stretch is being written. Raises DiskError."""
        lost = 0
        for index in indexes:
            lost += self.chunks.pop(index).length
            self._begun.pop(index, None)
        self._rewind()
        return lost

    def _rewind(self) -> None:
        """Chunks are gone: the digest of the whole begins anew."""
        self.frontier.reset()
        self._part.blocks.clear()
        self._journal.rewrite(self.chunks.values())
        with self._state:
            self._prefix = 0
            self._move_prefix()

    def _read_again(self, doubted: Iterable[Chunk], stop: Stop) -> int:
        lost = 0
        for chunk in doubted:
            stop.check()
            hasher = check_like(chunk.check)
            whole = self._part.hash_into(hasher, (chunk.start, chunk.end))
            if not whole or hasher.hexdigest() != chunk.check:
                del self.chunks[chunk.index]
                lost += chunk.length
            elif not self._is_complete(chunk):
                self._begun[chunk.index] = hasher
        return lost

    def _new_check(self) -> Hasher:
        return new_check(proven=self._proven)

    def _is_complete(self, chunk: Chunk) -> bool:
        return chunk.end == min((chunk.index + 1) * self._unit, self._part.size)

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
        with self._state:
            self._check()
            check = self._begun.pop(bounds[0] // self._unit) if bounds[0] % self._unit else self._new_check()
            stretch = Stretch(bounds, validator, check, time.monotonic())
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
        """How many bytes may be written before the journal has to catch up; waits until it is worth a read. None or
        fewer are left when the rest was stolen.

        Raises DiskError when the committer failed: the bytes since its last success are not to be trusted.
        """
        while True:
            with self._state:
                self._check()
                left = stretch.end - stretch.here
                room = min(self._ahead(stretch), left, BLOCK)
                if room >= min(_LEAST_ROOM, left):
                    stretch.granted = stretch.here + room
                    return room
                if self._thread is not None and self._thread.is_alive():
                    self._wanted = True
                    self._work.notify()
                    self._committed.wait(_COMMIT_SECONDS)
                    continue
            self.commit()

    def write(self, stretch: Stretch, block: memoryview) -> int:
        """Put the next bytes of a stretch where they belong: those that are still its own, how many. Raises
        DiskError."""
        with self._state:
            count = max(0, min(len(block), stretch.end - stretch.here))
            stretch.ahead = stretch.here + count
        self._part.write_at(block[:count], stretch.here)
        with self._state:
            stretch.here = stretch.ahead
            if self._thread is None and stretch.here < stretch.end and self._wants_thread:
                self._start()
            if self._is_due():
                self._work.notify()
            if stretch.start <= self._prefix:
                self._move_prefix()
        return count

    def steal(self) -> tuple[int, int] | None:
        """Take the second half of the largest rest that crawls away from its stretch; None when none is worth a
        connection."""
        with self._state:
            return steal(self._stretches, time.monotonic(), self._unit)

    @property
    def crawls(self) -> bool:
        """Whether there is a rest to steal."""
        with self._state:
            return slowest(self._stretches, time.monotonic()) is not None

    def close(self) -> None:
        """End the threads."""
        self.frontier.close()
        with self._state:
            self._closing = True
            self._work.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    # --- the committer's side ------------------------------------------------------------------------------

    def commit(self) -> None:
        """Hash, sync and journal whatever came. Raises DiskError or MemoryError, and then for ever."""
        with self._committing:
            with self._state:
                self._check()
                self._wanted = False
                due = [(stretch, stretch.here) for stretch in self._stretches if stretch.here > stretch.safe]
            try:
                if due:
                    self._commit(due)
            except (FileError, MemoryError) as error:
                # What a second sync says after a failed one is not to be believed, and a hash that was begun is lost.
                self._failure = error
                raise
            finally:
                with self._state:
                    self._committed.notify_all()

    def _commit(self, due: list[tuple[Stretch, int]]) -> None:
        lines = [chunk for stretch, here in due for chunk in self._hash(stretch, here)]
        self._part.sync_bytes()
        self._journal.append(lines)
        self._note(lines)
        if self._journal.is_long:
            self._journal.rewrite(self.chunks.values())
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
            index = stretch.hashed // self._unit
            end = min(here, (index + 1) * self._unit)
            if not self._part.hash_new(stretch.hasher, (stretch.hashed, end)):
                raise ReadWriteFailed(f"cannot read `{self._part.path}`: another program cut it short")
            length, check = end - index * self._unit, stretch.hasher.hexdigest()
            found.append(Chunk(index, length, check, stretch.validator, self._unit))
            stretch.hashed = end
            if end % self._unit == 0:
                stretch.hasher = self._new_check()
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
            with self._committing:
                self._note(self._hash(stretch, stretch.here))
            if stretch.hashed % self._unit:
                self._begun[stretch.hashed // self._unit] = stretch.hasher
        except FileError as error:
            self._failure = self._failure or error
            raise
        finally:
            with self._state:
                self._stretches.remove(stretch)

    def _start(self) -> None:
        # A daemon: a disk that hangs must not keep an interrupted run from ending.
        thread = threading.Thread(target=self._follow, name="gemmalock-journal", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # No more threads to be had: the connections commit by themselves.
            self._wants_thread = False
        else:
            self._thread = thread

    def _follow(self) -> None:
        while True:
            with self._state:
                self._work.wait_for(lambda: self._closing or self._is_due(), _COMMIT_SECONDS)
                if self._closing or self._failure is not None:
                    return
            try:
                self.commit()
            except (DiskError, MemoryError):
                # It is noted, and the connections raise it.
                return

    def _is_due(self) -> bool:
        return self._wanted or sum(stretch.here - stretch.safe for stretch in self._stretches) >= _COMMIT_BYTES

    def _ahead(self, stretch: Stretch) -> int:
        """How many bytes a stretch may write on: of its share, and of what the others leave, whose shares may have been
        larger when they were fewer. Who is silent holds no more than a block, so that there is some for everybody."""
        count = len(self._stretches)
        share = max(_LEAST_AHEAD, AHEAD // count)
        taken = sum(max(other.granted, other.here) - other.safe for other in self._stretches if other is not stretch)
        return min(share, max(AHEAD, count * _LEAST_AHEAD) - taken) - (stretch.here - stretch.safe)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _joined(self) -> tuple[tuple[int, int], ...]:
        with self._state:
            return self.chunks.ranges

    def _move_prefix(self) -> None:
        at = self._prefix
        while True:
            index = at // self._unit
            journaled = index * self._unit + self.chunks.length_of(index)
            if journaled > at:
                at = journaled
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

"""Bringing one locked file's exact bytes into its task's folder: keep what is proved, ask for the rest, check it all.

Nothing here knows how a source speaks, or where a finished file goes.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gemmalock.errors import (
    ConnectionFailed,
    DigestMismatch,
    FileError,
    GemmalockError,
    Offline,
    PolicyRefused,
    RangeRefused,
    SizeMismatch,
    SourceError,
    TransferError,
    UpstreamChanged,
)
from gemmalock.journal import CHUNK, Chunk, Journal, Validator
from gemmalock.lockfile import LockedFile
from gemmalock.ports import Answer, Ask, Claim, Source, Watch
from gemmalock.stopping import Stop
from gemmalock.transfer.combine import changed, clash, doubtful
from gemmalock.transfer.journalfile import JournalFile
from gemmalock.transfer.pace import RateLimit
from gemmalock.transfer.part import BLOCK, Part
from gemmalock.transfer.ranges import DurableRanges
from gemmalock.transfer.segment import Segment, Throttle

#: An attempt that brought so many bytes was not in vain.
_PROGRESS = BLOCK
#: A server may answer with a shorter range than was asked for (RFC 9110, 15.3.7): from so many bytes on it is asked
#: for the rest at once. Below, it is no use.
_SHORT = 64 * 1024
_EMPTY = hashlib.sha256().hexdigest()
#: After these another URL may still have the file.
_ELSEWHERE = (SourceError, TransferError, PolicyRefused)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is whole, checked and synced at `part`.

    `bytes_kept`: of an earlier run, and used. `bytes_fetched`: received by this call, what was thrown away included.
    `notes`: sentences for the report: why it was started again, how many bytes were lost.
    """

    sha256: str
    bytes_kept: int
    bytes_fetched: int
    part: Path
    chunks: tuple[Chunk, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Terms:
    """How to work.

    `delay` says after how many seconds to try again after the n-th failure in a row (from 1), or None: give up.
    `limit` is shared by everybody who shares the line. `max_attempts_total` bounds the failures of one file, and
    `max_restarts` how often one URL may make it start again from zero.
    """

    delay: Callable[[int, SourceError], float | None]
    limit: RateLimit | None = None
    max_attempts_total: int = 100
    max_restarts: int = 2


def fetch(file: LockedFile, claim: Claim, source: Source, terms: Terms, stop: Stop, watch: Watch) -> Fetched:
    """Bring `file` to `data.part` in the claim's folder, exactly as it is locked.

    Bytes of an earlier run are read again and kept as far as the journal and the rules of `combine` prove them.
    Raises SourceError, TransferError, PolicyRefused, DiskError and Interrupted; except after wrong bytes, what came
    stays there, journaled, for the next time. However it ends, `watch` is told last how many bytes were received.
    """
    with contextlib.ExitStack() as stack:
        part = Part(claim.folder, file.size)
        stack.callback(part.close)
        journal = JournalFile(claim.folder)
        stack.callback(journal.close)
        ranges = DurableRanges(part, journal, claim.beat)
        stack.callback(ranges.close)
        transfer = _Transfer(file, source, terms, stop, watch, part, ranges)
        transfer.take_up(journal)
        stack.callback(lambda: watch.fetched(transfer.fetched))
        try:
            sha256 = transfer.run()
        except GemmalockError:
            if not ranges.kept:
                stack.callback(claim.drop_partial)
            raise
        chunks = tuple(ranges.chunks[index] for index in sorted(ranges.chunks))
    return Fetched(sha256, transfer.kept, transfer.fetched, part.path, chunks, tuple(transfer.notes))


@dataclass(slots=True)
class _Transfer:
    """One call of `fetch`.

    `kept`: bytes of an earlier run that are in the file. `answers`: how many answers are. `have`: all bytes that are.
    """

    file: LockedFile
    source: Source
    terms: Terms
    stop: Stop
    watch: Watch
    part: Part
    ranges: DurableRanges
    notes: list[str] = field(default_factory=list)
    kept: int = 0
    answers: int = 0
    have: int = 0
    fetched: int = 0
    failures: int = 0
    restarts: int = 0
    upstream: str | None = None
    segment: Segment = field(init=False)
    tell: Throttle = field(init=False)

    def __post_init__(self) -> None:
        self.tell = Throttle(self._told)
        self.segment = Segment(self.ranges, self.stop, self.terms.limit, self._came, self.file.size)

    def take_up(self, journal_file: JournalFile) -> None:
        """Keep what is proved of an earlier run's bytes."""
        journal, text = journal_file.read(self.file.size)
        chunks = journal.chunks
        if doubt := doubtful(self.file, chunks):
            lost = sum(chunks[index].length for index in doubt.indexes)
            self.notes.append(f"{lost} bytes that were here are fetched again: {doubt.why}")
            chunks = {index: chunk for index, chunk in chunks.items() if index not in doubt.indexes}
        if lost := self.ranges.take_up(Journal(chunks), text, self.stop):
            self.notes.append(f"{lost} bytes that were here are fetched again: they are not what the journal says")
        self.kept = self.have = self.ranges.kept
        if self.kept:
            self.watch.progress(self.have)
        else:
            self.part.empty()

    def run(self) -> str:
        """Fetch what is missing, from the first of the file's URLs that has it. The sha256 of the whole."""
        if self.file.size == 0:
            self.part.seal()
            return self._checked(_EMPTY, self.file.url)
        refused: list[tuple[str, FileError]] = []
        for url in self._urls():
            try:
                sha256 = self._complete(url)
            except Offline:
                raise
            except _ELSEWHERE as error:
                refused.append((url, error))
                continue
            self.notes.extend(f"`{other}` failed: {error}" for other, error in refused)
            self.watch.progress(self.file.size)
            return sha256
        raise _verdict(refused)

    def _urls(self) -> tuple[str, ...]:
        # Without a digest nothing would tell that a mirror has the same file.
        return (self.file.url, *(self.file.mirrors if self.file.sha256 is not None else ()))

    # --- one URL -------------------------------------------------------------------------------------------

    def _complete(self, url: str) -> str:
        self.restarts = 0
        self._fill(url)
        sha256 = self._sha256()
        if sha256 != (self.file.sha256 or sha256) and (self.kept or self.answers > 1):
            self._drop(f"the bytes did not come at one go, and together have sha256 `{sha256}`")
            self._fill(url)
            sha256 = self._sha256()
        return self._checked(sha256, url)

    def _sha256(self) -> str:
        self.part.seal()
        if self.file.size <= CHUNK:
            return self.ranges.chunks[0].sha256
        return self.ranges.frontier.finish(self.stop)

    def _checked(self, sha256: str, url: str) -> str:
        """The digest, if it is the locked one; else everything is dropped, and TransferError raised."""
        if sha256 == (self.file.sha256 or sha256):
            return sha256
        self._forget()
        if self.upstream is not None:
            raise UpstreamChanged(self.upstream)
        raise DigestMismatch(f"`{url}` gave bytes with sha256 `{sha256}`, the lock has `{self.file.sha256}`")

    def _fill(self, url: str) -> None:
        """Fetch every gap in turn, however many attempts that takes."""
        attempt = 0
        while gaps := self.ranges.missing():
            before = self.fetched
            try:
                self._ask_for(url, gaps[0])
            except RangeRefused as error:
                self._start_again(error)
            except SourceError as error:
                attempt = 1 if self.fetched - before >= _PROGRESS else attempt + 1
                self._pause(attempt, error)

    def _pause(self, attempt: int, error: SourceError) -> None:
        """Wait before the next attempt, or raise the error when there is to be none."""
        self.failures += 1
        if not error.transient or self.failures > self.terms.max_attempts_total:
            raise error
        seconds = self.terms.delay(attempt, error)
        if seconds is None:
            raise error
        self.watch.retrying(error.message, seconds)
        self.stop.wait(seconds)

    def _start_again(self, error: RangeRefused) -> None:
        """Drop everything, or raise the error when that has happened too often."""
        if self.restarts >= self.terms.max_restarts:
            raise error
        self.restarts += 1
        self._drop(error.message)

    def _drop(self, why: str) -> None:
        lost = self._forget()
        self.notes.append(f"started again from zero, {lost} bytes were lost: {why}")
        self.watch.progress(0)

    def _forget(self) -> int:
        self.kept = self.have = self.answers = 0
        return self.ranges.drop()

    # --- one answer ----------------------------------------------------------------------------------------

    def _ask_for(self, url: str, gap: tuple[int, int]) -> None:
        with contextlib.closing(self.source.open(self._ask(url, gap), self.stop)) as answer:
            bounds = self._bounds(answer, url, gap)
            before = self.fetched
            try:
                reached = self._receive(answer, bounds)
            except SizeMismatch:
                # A file that goes on past its locked size is another one: none of its bytes may be continued.
                self._forget()
                raise
        self.have = self.ranges.kept
        if reached < gap[1] and self.fetched - before < (_SHORT if reached == bounds[1] else _PROGRESS):
            raise ConnectionFailed(f"the source ended after {reached - bounds[0]} of {gap[1] - bounds[0]} bytes")

    def _receive(self, answer: Answer, bounds: tuple[int, int]) -> int:
        """Write the answer where its bytes go, and journal them. Up to where it came."""
        with self.ranges.writing(bounds, Validator(answer.etag, answer.origin)) as stretch:
            self.answers += 1
            self.segment.receive(answer, stretch)
        if answer.end is None and stretch.here == self.file.size:
            self.segment.refuse_more(answer)
        return stretch.here

    def _ask(self, url: str, gap: tuple[int, int]) -> Ask:
        # The bytes right before the gap, if there are any, are those to be continued.
        chunks = self.ranges.chunks.values()
        neighbour = next((chunk for chunk in chunks if chunk.end == gap[0]), next(iter(chunks), None))
        validator = None if neighbour is None else neighbour.validator
        return Ask(
            url=url,
            start=gap[0],
            end=gap[1],
            size=self.file.size,
            etag=self.file.etag if url == self.file.url else None,
            validator=validator.etag if validator else None,
            validator_origin=validator.origin if validator else None,
            proven=self.file.sha256 is not None,
        )

    def _bounds(self, answer: Answer, url: str, gap: tuple[int, int]) -> tuple[int, int]:
        """Where the answer's bytes go. Everything that is here is dropped if it restarts the file. Raises
        RangeRefused when it may not be joined to what is here, and TransferError when it is of another file."""
        found = Validator(answer.etag, answer.origin)
        self.upstream = changed(self.file, found, url)
        if answer.end is not None and answer.end > self.file.size:
            raise SizeMismatch(f"the source has {answer.end} bytes, the lock says {self.file.size}")
        if self.upstream is not None and self.file.sha256 is None:
            raise UpstreamChanged(self.upstream)
        if answer.restarted is not None and gap[0] > 0:
            self._start_again(RangeRefused(answer.restarted))
            gap = 0, self.file.size
        if answer.start != gap[0]:
            raise RangeRefused(f"the source sent bytes from {answer.start} on, those from {gap[0]} on were asked for")
        if why := clash(self.file, self.ranges.validators, found):
            raise RangeRefused(why)
        return gap[0], gap[1] if answer.end is None else min(gap[1], answer.end)

    def _came(self, count: int) -> None:
        self.fetched += count
        self.have += count
        self.tell(self.have)

    def _told(self, have: int) -> None:
        self.watch.progress(have)
        self.watch.fetched(self.fetched)


def _verdict(refused: list[tuple[str, FileError]]) -> FileError:
    """The error of a file that none of its URLs has: that of the first, and what the others said."""
    _, first = refused[0]
    if len(refused) == 1:
        return first
    others = "; ".join(f"mirror `{url}`: {error}" for url, error in refused[1:])
    return type(first)(f"{first}; {others}", hint=first.hint)

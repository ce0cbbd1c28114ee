"""Bringing one locked file's exact bytes into its task's folder: keep what is proved, ask for the rest, check it all.

Nothing here knows how a source speaks, or where a finished file goes.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from gemmalock.errors import (
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
from gemmalock.ports import Answer, Claim, Source, Watch
from gemmalock.stopping import Stop
from gemmalock.transfer.combine import changed, doubtful
from gemmalock.transfer.journalfile import JournalFile
from gemmalock.transfer.part import Part
from gemmalock.transfer.ranges import DurableRanges
from gemmalock.transfer.tally import Tally
from gemmalock.transfer.team import CONNECTIONS, LARGE, Team
from gemmalock.transfer.work import Terms, Work

__all__ = ["Fetched", "Terms", "fetch"]

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


def fetch(file: LockedFile, claim: Claim, source: Source, terms: Terms, stop: Stop, watch: Watch) -> Fetched:
    """Bring `file` to `data.part` in the claim's folder, exactly as it is locked.

    Bytes of an earlier run are read again and kept as far as the journal and the rules of `combine` prove them.
    Raises SourceError, TransferError, PolicyRefused, DiskError and Interrupted; except after wrong bytes, what came
    stays there, journaled, for the next time, and the error has the `notes` that Fetched would have had. However it
    ends, `watch` is told last how many bytes were received.
    """
    with contextlib.ExitStack() as stack:
        part = Part(claim.folder, file.size, terms.buffers)
        stack.callback(part.close)
        journal = JournalFile(claim.folder)
        stack.callback(journal.close)
        ranges = DurableRanges(part, journal, claim.beat, proven=file.sha256 is not None)
        stack.callback(ranges.close)
        tally = Tally(watch)
        transfer = _Transfer(Work(file, source, terms, part, ranges, tally), stop)
        transfer.take_up(journal)
        stack.callback(lambda: watch.fetched(tally.fetched))
        try:
            sha256 = transfer.run()
        except GemmalockError as error:
            for note in transfer.notes:
                error.add_note(note)
            if not ranges.kept:
                stack.callback(claim.drop_partial)
            raise
        chunks = tuple(ranges.chunks[index] for index in sorted(ranges.chunks))
    return Fetched(sha256, transfer.kept, tally.fetched, part.path, chunks, tuple(transfer.notes))


class _Transfer:
    """One call of `fetch`. `kept`: bytes of an earlier run that are in the file."""

    def __init__(self, work: Work, stop: Stop) -> None:
        self._work = work
        self._file = work.file
        self._ranges = work.ranges
        self._stop = stop
        self._restarts = 0
        self._upstream: str | None = None
        self.kept = 0
        self.notes: list[str] = []

    def take_up(self, journal_file: JournalFile) -> None:
        """Keep what is proved of an earlier run's bytes, or will be by the digest of the whole."""
        journal, text = journal_file.read(self._file.size)
        chunks = journal.chunks
        if doubt := doubtful(self._file, chunks):
            lost = sum(chunks[index].length for index in doubt.indexes)
            self.notes.append(f"{lost} bytes that were here are fetched again: {doubt.why}")
            chunks = {index: chunk for index, chunk in chunks.items() if index not in doubt.indexes}
        self._note_lost(self._ranges.take_up(Journal(chunks), text, self._stop))
        self.kept = self._ranges.kept
        if self.kept:
            self._work.tally.begin(self.kept)
        else:
            self._work.part.empty()

    def run(self) -> str:
        """Fetch what is missing, from the first of the file's URLs that has it. The sha256 of the whole."""
        if self._file.size == 0:
            self._work.part.seal()
            return self._checked(_EMPTY, self._file.url)
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
            self._work.tally.watch.progress(self._file.size)
            return sha256
        raise _verdict(refused)

    def _urls(self) -> tuple[str, ...]:
        # Without a digest nothing would tell that a mirror has the same file.
        return (self._file.url, *(self._file.mirrors if self._file.sha256 is not None else ()))

    # --- one URL -------------------------------------------------------------------------------------------

    def _complete(self, url: str) -> str:
        self._restarts = 0
        sha256 = self._whole(url)
        if self._is_right(sha256):
            return sha256
        if lost := self._ranges.prove(self._stop):
            self.kept = max(0, self.kept - lost)
            self._work.tally.lost(lost)
            self._note_lost(lost)
            sha256 = self._whole(url)
        if not self._is_right(sha256) and (self.kept or self._work.tally.answers > 1):
            self._drop(f"the bytes did not come at one go, and together have sha256 `{sha256}`")
            # Over one connection: what comes at one go is of one file.
            self._restarts = max(self._restarts, 1)
            sha256 = self._whole(url)
        return self._checked(sha256, url)

    def _whole(self, url: str) -> str:
        """Fill every gap. The digest of what is there then."""
        self._fill(url)
        self._work.part.seal()
        return self._ranges.frontier.finish(self._stop)

    def _is_right(self, sha256: str) -> bool:
        return sha256 == (self._file.sha256 or sha256)

    def _checked(self, sha256: str, url: str) -> str:
        """The digest, if it is the locked one; else everything is dropped, and TransferError raised."""
        if self._is_right(sha256):
            return sha256
        self._forget()
        if self._upstream is not None:
            raise UpstreamChanged(self._upstream)
        raise DigestMismatch(f"`{url}` gave bytes with sha256 `{sha256}`, the lock has `{self._file.sha256}`")

    def _fill(self, url: str) -> None:
        """Fetch every gap, and start again where what comes may not be joined to what is here."""
        while self._ranges.missing():
            # What did not fit together over many connections comes over one.
            team = Team(self._work, self, url, self._width if self._restarts == 0 else 1)
            try:
                team.fill(self._stop)
            except RangeRefused as error:
                self.start_again(error)
            except SizeMismatch:
                if team.overflowed:
                    # A file that goes on past its locked size is another one: none of its bytes may be continued.
                    lost = self._forget()
                    self.notes.append(
                        f"{lost} bytes that were here were thrown away: the file goes on past its locked size"
                    )
                raise

    @property
    def _width(self) -> int:
        wanted = self._work.terms.connections
        if wanted is None:
            wanted = CONNECTIONS if self._file.size >= LARGE else 1
        return min(wanted, -(-self._file.size // CHUNK))

    # --- as Judge has it -----------------------------------------------------------------------------------

    def judge(self, answer: Answer, url: str) -> None:
        """Raise TransferError when the answer is of another file than the locked one."""
        self._upstream = changed(self._file, Validator(answer.etag, answer.origin), url)
        if answer.end is not None and answer.end > self._file.size:
            raise SizeMismatch(f"the source has {answer.end} bytes, the lock says {self._file.size}")
        if self._upstream is not None and self._file.sha256 is None:
            raise UpstreamChanged(self._upstream)

    def start_again(self, error: RangeRefused) -> None:
        """Drop everything, or raise the error when that has happened too often."""
        if self._restarts >= self._work.terms.max_restarts:
            raise error
        self._restarts += 1
        self._drop(error.message)

    def _drop(self, why: str) -> None:
        lost = self._forget()
        self.notes.append(f"started again from zero, {lost} bytes were lost: {why}")

    def _forget(self) -> int:
        self.kept = 0
        self._work.tally.begin(0)
        return self._ranges.drop()

    def _note_lost(self, lost: int) -> None:
        if lost:
            self.notes.append(f"{lost} bytes that were here are fetched again: they are not what the journal says")


def _verdict(refused: list[tuple[str, FileError]]) -> FileError:
    """The error of a file that none of its URLs has: that of the first, and what the others said."""
    _, first = refused[0]
    if len(refused) == 1:
        return first
    others = "; ".join(f"mirror `{url}`: {error}" for url, error in refused[1:])
    return type(first)(f"{first}; {others}", hint=first.hint)

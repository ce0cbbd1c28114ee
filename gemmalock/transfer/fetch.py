"""Bringing one locked file's exact bytes into its task's folder: keep what is proved, ask for the rest, check it all.

Nothing here knows how a source speaks, or where a finished file goes.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from gemmalock.errors import (
    DigestMismatch,
    GemmalockError,
    Offline,
    RangeRefused,
    SizeMismatch,
    TransferError,
    UpstreamChanged,
)
from gemmalock.journal import CHUNK, Chunk, Validator, chunk_size
from gemmalock.lockfile import LockedFile
from gemmalock.machine import Claim, Watch
from gemmalock.ports import Answer, Source
from gemmalock.stopping import Stop
from gemmalock.transfer.attempts import Attempts
from gemmalock.transfer.checks import kind_of
from gemmalock.transfer.combine import changed, doubtful
from gemmalock.transfer.givers import Givers, mixed, suspect
from gemmalock.transfer.journalfile import JournalFile
from gemmalock.transfer.part import Part
from gemmalock.transfer.pieces import LARGE
from gemmalock.transfer.ranges import DurableRanges
from gemmalock.transfer.tally import Tally
from gemmalock.transfer.team import CONNECTIONS, ELSEWHERE, Team
from gemmalock.transfer.urls import Urls
from gemmalock.transfer.work import Terms, Work

__all__ = ["Fetched", "Terms", "fetch"]

_EMPTY = hashlib.sha256().hexdigest()


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
    chunks: Collection[Chunk]
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
        journal = JournalFile(claim.folder, claim.settle)
        stack.callback(journal.close)
        ranges = DurableRanges(part, journal, claim.beat, proven=file.sha256 is not None)
        stack.callback(ranges.close)
        tally = Tally(watch)
        attempts = Attempts(terms.delay, terms.max_attempts_total, terms.budget)
        urls = Urls(file, terms.mistrusted, together=file.size >= LARGE)
        givers = Givers(chunk_size(file.size))
        transfer = _Transfer(Work(file, source, terms, part, ranges, tally, urls, attempts, givers), stop)
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
    chunks = ranges.chunks.values()
    return Fetched(sha256, transfer.kept, tally.fetched, part.path, chunks, tuple(transfer.notes))


class _Transfer:
    """One call of `fetch`. `kept`: bytes of an earlier run that are in the file."""

    def __init__(self, work: Work, stop: Stop) -> None:
        self._work = work
        self._file = work.file
        self._ranges = work.ranges
        self._urls = work.urls
        self._givers = work.givers
        self._stop = stop
        self._restarts: Counter[str] = Counter()
        self._proved = False
        #: The URLs that were asked to send all of it at one go.
        self._clean: set[str] = set()
        #: What was let go of: chunks, and who gave all of each.
        self._doubted: list[tuple[str, Chunk]] = []
        #: The wrong digests of the whole, and who sent it first.
        self._wrong: dict[str, str] = {}
        self._upstream: str | None = None
        self.kept = 0
        self.notes: list[str] = []

    def take_up(self, journal_file: JournalFile) -> None:
        """Keep what is proved of an earlier run's bytes, or will be by the digest of the whole."""
        found = journal_file.read(self._file.size)
        journal, is_tidy = found.journal, found.is_tidy
        if doubt := doubtful(self._file, journal):
            lost = sum(journal.pop(index).length for index in doubt.indexes)
            self.notes.append(f"{lost} bytes that were here are fetched again: {doubt.why}")
            is_tidy = False
        self._note_lost(self._ranges.take_up(journal, self._stop, is_tidy=is_tidy))
        self._givers.left(self._ranges.chunks.values())
        self.kept = self._ranges.kept
        if self.kept:
            self._work.tally.begin(self.kept)
        else:
            self._work.part.empty()

    def run(self) -> str:
        """Fetch what is missing, from whichever of the file's URLs have it. The sha256 of the whole."""
        while True:
            sha256 = self._whole()
            if sha256 == (self._file.sha256 or sha256):
                self._tell_right_from_wrong()
                self.notes.extend(f"`{url}` failed: {error}" for url, error in self._urls.failures)
                self._work.tally.watch.progress(self._file.size)
                return sha256
            self._look_for_the_fault(sha256)

    def _whole(self) -> str:
        """Fill every gap. The digest of what is there then."""
        self._fill()
        self._work.part.seal()
        return self._ranges.frontier.finish(self._stop) if self._file.size else _EMPTY

    def _fill(self) -> None:
        """Fetch every gap, from the most trusted URL that is left; start again where what comes may not be joined to
        what is here."""
        while self._ranges.missing():
            url = next(iter(self._urls.live), None)
            if url is None:
                if self._urls.recall():
                    continue
                raise self._urls.verdict()
            # What did not fit together over many connections comes over one.
            team = Team(self._work, self, url, 1 if self._restarts[url] or url in self._clean else self._width)
            try:
                self._fill_by(team, url)
            except Offline:
                raise
            except ELSEWHERE as error:
                if team.overflowed:
                    # A file that goes on past its locked size is another one: none of its bytes may be continued.
                    lost = self._forget()
                    self.notes.append(
                        f"{lost} bytes that were here were thrown away: the file goes on past its locked size"
                    )
                self._urls.fail(url, error)

    def _fill_by(self, team: Team, url: str) -> None:
        try:
            team.fill(self._stop)
        except RangeRefused as error:
            self.start_again(error, url)

    @property
    def _width(self) -> int:
        return min(self._work.terms.connections or CONNECTIONS, -(-self._file.size // CHUNK))

    # --- wrong bytes ---------------------------------------------------------------------------------------

    def _look_for_the_fault(self, sha256: str) -> None:
        """The whole is wrong: let go of what is most likely to be at fault.

        Each call takes something out for good: the disk's word, a giver, a URL's second chance, a URL.
        """
        if not self._file.size:
            raise self._wrong_bytes(self._file.url, sha256)
        if not self._proved:
            self._proved = True
            if self._let_go_of_what_rotted():
                return
        shares = self._givers.shares()
        doubted = suspect(shares, self._by_trust, self._urls.others)
        if doubted is not None:
            self._let_go_of(doubted, shares, sha256)
            return
        # All came from one place, or would come from there again.
        url = next((url for url in self._urls.live if url in shares), self._file.url)
        if url in self._urls.live and url not in self._clean and (self.kept or self._work.tally.answers > 1):
            self._clean.add(url)
            self._drop(f"the bytes did not come at one go, and together have sha256 `{sha256}`")
            return
        self._forget()
        # Where two have the same bytes, it is the lock that is odd: no reason to mistrust them with other files.
        agrees = self._wrong.setdefault(sha256, url) != url
        (self._urls.fail if agrees else self._urls.convict)(url, self._wrong_bytes(url, sha256))
        self._urls.recall()

    @property
    def _by_trust(self) -> tuple[str, ...]:
        """The file's URLs; its own last where that has another file now, by its ETag."""
        own, *mirrors = self._urls.all
        return (own, *mirrors) if self._upstream is None else (*mirrors, own)

    def _let_go_of_what_rotted(self) -> int:
        here = set(self._ranges.chunks)
        lost = self._ranges.prove(self._stop)
        self._givers.forget(here - set(self._ranges.chunks))
        if lost:
            self._lose(lost)
            self._note_lost(lost)
        return lost

    def _let_go_of(self, giver: str, shares: Mapping[str, frozenset[int]], sha256: str) -> None:
        indexes = shares[giver]
        # What an earlier run had of a URL, or only of its server, says nothing of what it sends now.
        unclear = mixed(shares) | (self._givers.old if giver in self._urls.all else frozenset())
        self._doubted += [(giver, self._ranges.chunks[index]) for index in sorted(indexes - unclear)]
        self._givers.forget(indexes)
        lost = self._ranges.let_go(indexes)
        self._lose(lost)
        self.notes.append(f"{lost} bytes from `{giver}` are fetched again: with them the whole has sha256 `{sha256}`")
        if giver in self._urls.all:
            self._urls.set_aside(giver)

    def _tell_right_from_wrong(self) -> None:
        """The whole is right now: who had given other bytes of it gave wrong ones."""
        wrong: Counter[str] = Counter()
        for giver, chunk in self._doubted:
            right = self._ranges.chunks[chunk.index].check
            if chunk.check != right and kind_of(chunk.check) == kind_of(right):
                wrong[giver] += chunk.length
        for giver, count in wrong.items():
            if giver in self._urls.all:
                self._urls.convict(giver, DigestMismatch(f"it sent wrong bytes, in chunks of {count} bytes together"))
            else:
                self.notes.append(f"an earlier run had wrong bytes from `{giver}`, in chunks of {count} bytes together")

    def _wrong_bytes(self, url: str, sha256: str) -> TransferError:
        if self._upstream is not None and url == self._file.url:
            return UpstreamChanged(self._upstream)
        return DigestMismatch(f"`{url}` gave bytes with sha256 `{sha256}`, the lock has `{self._file.sha256}`")

    # --- as Judge has it -----------------------------------------------------------------------------------

    def judge(self, answer: Answer, url: str) -> None:
        """Raise TransferError when the answer is of another file than the locked one."""
        if url == self._file.url:
            self._upstream = changed(self._file, Validator(answer.etag, answer.origin), url)
        if answer.end is not None and answer.end > self._file.size:
            raise SizeMismatch(f"the source has {answer.end} bytes, the lock says {self._file.size}")
        if self._upstream is not None and self._file.sha256 is None:
            raise UpstreamChanged(self._upstream)

    def start_again(self, error: RangeRefused, url: str) -> None:
        """Drop everything, or raise the error when this URL has made that necessary too often."""
        if self._restarts[url] >= self._work.terms.max_restarts:
            raise error
        self._restarts[url] += 1
        self._drop(error.message)

    def _drop(self, why: str) -> None:
        lost = self._forget()
        self.notes.append(f"started again from zero, {lost} bytes were lost: {why}")

    def _forget(self) -> int:
        self.kept = 0
        self._givers.clear()
        self._work.tally.begin(0)
        return self._ranges.drop()

    def _lose(self, count: int) -> None:
        self.kept = min(self.kept, self._givers.kept)
        self._work.tally.lost(count)
        # Whoever counts what an earlier run left hears that it has become less.
        self._work.tally.watch.progress(self.kept)

    def _note_lost(self, lost: int) -> None:
        if lost:
            self.notes.append(f"{lost} bytes that were here are fetched again: they are not what the journal says")

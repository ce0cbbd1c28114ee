"""Twins of the ports for the tests of transfer: a source that follows a script, a claim on a plain folder, a watch."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gemmalock.errors import ConnectionFailed, RangeRefused, SourceError
from gemmalock.journal import CHUNK, Journal, read_journal
from gemmalock.lockfile import LockedFile
from gemmalock.machine import Salvage
from gemmalock.plan import TaskRecord
from gemmalock.ports import Ask, Listing, Probe, Restarted, Source
from gemmalock.stopping import Stop
from gemmalock.transfer.fetch import Fetched, Terms, fetch

URL = "https://models.example.org/gemma.gguf"
MIRROR = "https://mirror.example.net/gemma.gguf"
ORIGIN = "https://models.example.org"
MIRROR_ORIGIN = "https://mirror.example.net"
ETAG = '"v1"'


def some_bytes(size: int, seed: int = 1) -> bytes:
    """Bytes that are the same in every run, and nowhere the same as those of another seed."""
    return random.Random(seed).randbytes(size)


def digest(body: bytes) -> str:
    """The sha256, as locks have it."""
    return hashlib.sha256(body).hexdigest()


def locked(
    body: bytes, *, etag: str | None = ETAG, proven: bool = True, mirrors: tuple[str, ...] = (), url: str = URL
) -> LockedFile:
    """The lock's entry of a file with this body."""
    return LockedFile.pin(
        name="gemma.gguf",
        path="gemma/gemma.gguf",
        url=url,
        size=len(body),
        etag=etag,
        sha256=digest(body) if proven else None,
        mirrors=mirrors,
    )


@dataclass(frozen=True, slots=True)
class Reply:
    """How one request is answered: with `body` under `etag`, and what goes wrong.

    `cut`: the connection breaks after so many bytes. `short`: the answer promises and sends only so many. `refuse`:
    the range is refused. `whole`: the range is ignored. `error`: there is no answer. `endless`: the length is not
    told, and the body does not end. `piece`: how many bytes come at once. `then`: called before the last thing.
    """

    body: bytes
    etag: str | None = ETAG
    origin: str = ORIGIN
    cut: int | None = None
    short: int | None = None
    refuse: bool = False
    whole: bool = False
    error: SourceError | None = None
    endless: bool = False
    shift: int = 0
    piece: int = 1 << 20
    then: Callable[[], None] | None = None


class ScriptedAnswer:
    """An open body, as ports.Answer has it."""

    def __init__(self, reply: Reply, start: int, end: int | None, restarted: Restarted | None) -> None:
        self.start, self.end, self.restarted = start, end, restarted
        self.etag, self.origin = reply.etag, reply.origin
        self.delimited = True
        self.closed = False
        self.sent = 0
        self._reply = reply
        last = len(reply.body) if end is None else end
        self._rest = memoryview(reply.body)[start : last if reply.short is None else min(last, start + reply.short)]

    def readinto(self, buffer: memoryview) -> int:
        """The next piece, or what goes wrong."""
        reply = self._reply
        count = min(len(buffer), len(self._rest), reply.piece)
        if reply.cut is not None:
            count = min(count, reply.cut - self.sent)
        if count:
            buffer[:count] = self._rest[:count]
            self._rest = self._rest[count:]
            self.sent += count
            return count
        if reply.then is not None:
            reply.then()
        if reply.cut is not None and self._rest:
            raise ConnectionFailed("the connection was reset")
        if reply.endless:
            buffer[:1] = b"x"
            return 1
        return 0

    def close(self) -> None:
        """Note it."""
        self.closed = True


@dataclass
class ScriptedSource:
    """A ports.Source: the n-th request gets the n-th reply, and the last one again and again; `at` has other URLs."""

    replies: Sequence[Reply]
    at: dict[str, ScriptedSource] = field(default_factory=dict)
    asks: list[Ask] = field(default_factory=list)
    answers: list[ScriptedAnswer] = field(default_factory=list)

    def open(self, ask: Ask, stop: Stop) -> ScriptedAnswer:
        """The next reply."""
        if ask.url in self.at:
            return self.at[ask.url].open(ask, stop)
        stop.check()
        reply = self.replies[min(len(self.asks), len(self.replies) - 1)]
        self.asks.append(ask)
        if reply.error is not None:
            raise reply.error
        ranged = ask.start > 0 or ask.end != ask.size
        if reply.refuse and ranged:
            raise RangeRefused("the server answered 416")
        start, end, restarted = ask.start + reply.shift, ask.end, None
        if reply.whole and ranged:
            start, end, restarted = 0, ask.size, Restarted.IGNORED
        if reply.short is not None and end is not None:
            end = min(end, start + reply.short)
        answer = ScriptedAnswer(reply, start, None if reply.endless else end, restarted)
        self.answers.append(answer)
        return answer

    @property
    def ranges(self) -> list[tuple[int, int | None]]:
        """What was asked for, in order."""
        return [(ask.start, ask.end) for ask in self.asks]

    def probe(self, url: str, stop: Stop) -> Probe:
        """Size and ETag of the last reply."""
        return Probe(len(self.replies[-1].body), self.replies[-1].etag, None)

    def list(self, source: str, stop: Stop) -> Listing:
        """Nothing."""
        return Listing(())

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class FolderClaim:
    """A machine.Claim on a plain folder."""

    folder: Path
    record: TaskRecord = field(default_factory=lambda: TaskRecord("t", None, None, None, None, (), (), (), ""))
    beats: list[tuple[tuple[int, int], ...]] = field(default_factory=list)
    dropped: int = 0

    def beat(self, ranges: tuple[tuple[int, int], ...]) -> None:
        """Note it."""
        self.beats.append(ranges)

    def settle(self) -> None:
        """As Claim has it."""

    def still_held(self) -> bool:
        """Always."""
        return True

    def learned(self, sha256: str) -> None:
        """Nobody asks for it."""

    def drop_partial(self) -> None:
        """Remove both files."""
        self.dropped += 1
        for path in (self.part, self.journal_path):
            path.unlink(missing_ok=True)

    def seed(self, salvage: Salvage, stop: Stop) -> None:
        """Nobody asks for it."""

    def release(self) -> None:
        """Nothing is held."""

    def finish(self) -> None:
        """Nothing is held."""

    @property
    def part(self) -> Path:
        """Where the bytes are."""
        return self.folder / "data.part"

    @property
    def journal_path(self) -> Path:
        """Where the journal is."""
        return self.folder / "journal"

    def journal(self, size: int) -> Journal:
        """What the journal vouches for."""
        return read_journal(self.journal_path.read_bytes() if self.journal_path.exists() else b"", size)


@dataclass
class Watched:
    """A machine.Watch that remembers."""

    have: list[int] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    retries: list[tuple[str, float]] = field(default_factory=list)

    def progress(self, have: int) -> None:
        """Note it."""
        self.have.append(have)

    def fetched(self, count: int) -> None:
        """Note it."""
        self.received.append(count)

    def retrying(self, reason: str, after_seconds: float) -> None:
        """Note it."""
        self.retries.append((reason, after_seconds))


def patient(attempts: int = 5) -> Terms:
    """Terms that try again at once, so many times in a row, over one connection."""
    return Terms(delay=lambda attempt, error: 0.0 if attempt <= attempts else None, connections=1)


@dataclass
class Bench:
    """One task's folder, and what is needed to work on it."""

    folder: Path
    stop: Stop = field(default_factory=Stop)
    watch: Watched = field(default_factory=Watched)
    terms: Terms = field(default_factory=patient)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.claim = FolderClaim(self.folder)

    def fetch(self, file: LockedFile, source: Source) -> Fetched:
        """One call of fetch."""
        return fetch(file, self.claim, source, self.terms, self.stop, self.watch)

    def partial(self, file: LockedFile, reply: Reply, count: int) -> None:
        """Leave the first `count` bytes of a reply behind, as a run whose source went away does."""
        source = ScriptedSource([replace(reply, cut=count), Reply(b"", error=ConnectionFailed("the source is gone"))])
        try:
            fetch(file, self.claim, source, patient(0), Stop(), Watched())
        except ConnectionFailed:
            return
        raise AssertionError("the source did not go away")

    def bytes(self) -> bytes:
        """What is in the part."""
        return self.claim.part.read_bytes()


def chunk_count(size: int) -> int:
    """How many chunks a file of that size has."""
    return -(-size // CHUNK)

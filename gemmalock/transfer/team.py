"""The connections that fill the gaps of one file from one URL.

The caller's thread is the first of them. Where one connection is slow, or more were asked for, others join it: each
takes a piece that nobody has begun, in the end half of a rest that crawls. What they received has to fit together, so
that an answer is accepted by one at a time. What the file is, and what follows from an error, is `fetch`'s to say.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from gemmalock.errors import (
    ConnectionFailed,
    Interrupted,
    RangeRefused,
    RateLimited,
    ServerError,
    SizeMismatch,
    SourceError,
)
from gemmalock.journal import CHUNK, Validator
from gemmalock.ports import Answer, Ask
from gemmalock.stopping import Stop
from gemmalock.transfer.combine import clash, origin_of
from gemmalock.transfer.segment import Segment, refuse_more
from gemmalock.transfer.stretch import Stretch, split
from gemmalock.transfer.work import Judge, Work

#: How many connections a file gets at most, where nobody says.
CONNECTIONS = 8
#: A connection that brings so many bytes a second is not slow: more of them would only take turns.
FAST = 64 * 1024 * 1024
#: From so many bytes on a file may come over several connections where nobody says so.
LARGE = 32 * 1024 * 1024
_LEAST_PIECE = 4 * CHUNK
#: How long to look at a connection before it is called slow, in seconds.
_LOOK_SECONDS = 0.1
#: An attempt that brought so many bytes was not in vain.
_PROGRESS = CHUNK
#: A server may answer with a shorter range than was asked for (RFC 9110, 15.3.7): from so many bytes on it is asked
#: for the rest at once. Below, it is no use.
_SHORT = 64 * 1024
#: How long a request may go unanswered before somebody who has nothing to do takes its piece over, in seconds.
_OVERDUE_SECONDS = 1.0
_SLICE = 0.05


@dataclass(slots=True, eq=False)
class _Piece:
    """A piece of the file that somebody asks for, and then writes. For want of an answer somebody else may ask for it
    too, its `taker`; whoever is answered first has it, and for the other it is `taken`."""

    bounds: tuple[int, int]
    since: float
    taken: bool = False
    is_takeover: bool = False
    taker: _Piece | None = None
    stretch: Stretch | None = None

    @property
    def came(self) -> int:
        """How many bytes were written."""
        return 0 if self.stretch is None else self.stretch.here - self.stretch.start

    @property
    def left(self) -> tuple[int, int]:
        """What is still to be fetched of it; empty where it is somebody else's."""
        if self.stretch is not None:
            return self.stretch.here, self.stretch.end
        return (0, 0) if self.taken else self.bounds


class _NotNow(Exception):
    """The server answers others, and would not answer this one as asked."""


class _OneTooMany(Exception):
    """The server would not have this connection beside the others."""


def piece_size(size: int, connections: int | None) -> int:
    """How many bytes of a file to ask for at once: so many that asking costs nothing, so few that connections that
    are not equally fast end together. Where nobody says how many there are to be, a file that is not large comes in
    one piece."""
    if connections is not None:
        return max(_LEAST_PIECE, size // (4 * connections)) if size > connections * _LEAST_PIECE else CHUNK
    return max(2 * _LEAST_PIECE, size // 64) if size >= LARGE else size


class Team:
    """One filling of all gaps. Raises SourceError, TransferError, DiskError and Interrupted; what came is kept."""

    def __init__(self, work: Work, judge: Judge, url: str, width: int) -> None:
        self._work = work
        self._judge = judge
        self._url = url
        self._origin = origin_of(url)
        self._width = width if work.file.continuable and work.terms.lanes.splits(self._origin) else 1
        self._piece = piece_size(work.file.size, work.terms.connections) if self._width > 1 else work.file.size
        self._todo: list[tuple[int, int]] = []
        self._open: list[_Piece] = []
        self._failures = 0
        self._failure: BaseException | None = None
        self._stop = Stop()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._over = False
        self._grown = self._width == 1
        self._looked = (time.monotonic(), 0)
        self._changed = threading.Condition(threading.RLock())
        #: A body went on past the end of the file.
        self.overflowed = False

    def fill(self, stop: Stop) -> None:
        """Fetch every gap, however many attempts and connections that takes."""
        for gap in self._work.ranges.missing():
            self._todo += split(gap, -(-(gap[1] - gap[0]) // self._piece))
        with stop.closing(self._stop.set), self._work.terms.lanes.first(self._origin, stop):
            try:
                self._lead(stop)
            except Interrupted:
                stop.check()
                if self._failure is None and not self._over:
                    raise
            except BaseException as error:
                self._fail(error)
            finally:
                for thread in self._threads:
                    thread.join()
        if self._failure is not None:
            raise self._failure

    # --- who does what -------------------------------------------------------------------------------------

    def _lead(self, stop: Stop) -> None:
        """Work as the first connection until nothing is left that anybody does."""
        while True:
            self._take_part(self._came_to_first, first=True)
            with self._changed:
                if self._failure is not None or not (self._busy or self._todo):
                    return
                if not self._todo:
                    self._changed.wait(_SLICE)
            stop.check()

    def _join_in(self) -> None:
        refused = False
        try:
            self._take_part(self._work.tally.came, first=False)
        except _OneTooMany:
            refused = True
        except Interrupted:
            pass
        except BaseException as error:
            self._fail(error)
        finally:
            self._work.terms.lanes.leave(self._origin, refused=refused)
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def _take_part(self, came: Callable[[int, int], None], *, first: bool) -> None:
        attempt = 0
        while not self._stop.is_set():
            piece = self._next_piece()
            if piece is None:
                if first or not self._waited():
                    return
                continue
            try:
                self._receive(piece, came)
                attempt = 0
            except (RangeRefused, _NotNow) as refusal:
                # One odd answer beside good ones: only a connection that is alone lets it cost what is here.
                if first and not self._busy and isinstance(refusal, RangeRefused):
                    raise
                if not first:
                    return
                self._wait_for_the_others()
            except SourceError as error:
                attempt = 1 if piece.came >= _PROGRESS else attempt + 1
                if piece.taken and piece.stretch is None:
                    continue
                if not self._goes_on(error, attempt, first=first):
                    return

    def _waited(self) -> bool:
        """Wait a moment while others work: one of them may fail, crawl or get no answer. False when nobody works."""
        with self._changed:
            if self._open:
                self._changed.wait(_SLICE)
            return bool(self._open or self._todo)

    def _wait_for_the_others(self) -> None:
        with self._changed:
            while self._busy and not self._stop.is_set():
                self._changed.wait(_SLICE)

    def _next_piece(self) -> _Piece | None:
        with self._changed:
            piece = self._begun_piece()
            if piece is not None:
                self._open.append(piece)
            return piece

    def _begun_piece(self) -> _Piece | None:
        now = time.monotonic()
        if self._todo:
            return _Piece(self._todo.pop(0), now)
        if not self._work.terms.lanes.splits(self._origin):
            return None
        stolen = self._work.ranges.steal()
        return _Piece(stolen, now) if stolen is not None else self._takeover(now)

    def _takeover(self, now: float) -> _Piece | None:
        """A piece that somebody has waited for too long, to be asked for once more."""
        for piece in self._open:
            overdue = now - piece.since > _OVERDUE_SECONDS and piece.stretch is None
            if overdue and not piece.taken and not piece.is_takeover:
                piece.taken = True
                piece.taker = _Piece(piece.bounds, now, is_takeover=True)
                return piece.taker
        return None

    def _grow(self) -> None:
        """Let others join, as many as the server and this machine have room for."""
        with self._changed:
            if self._grown:
                return
            self._grown = True
            for _ in range(self._width - 1):
                if not self._work.terms.lanes.further(self._origin):
                    return
                # A daemon: a thread that hangs in a connect must not keep an interrupted run from ending.
                thread = threading.Thread(target=self._join_in, name="gemmalock-connection", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    self._work.terms.lanes.leave(self._origin)
                    return
                self._busy += 1
                self._threads.append(thread)

    def _came_to_first(self, count: int, kept: int) -> None:
        self._work.tally.came(count, kept)
        if self._grown or self._work.terms.connections is not None or self._work.terms.limit is not None:
            return
        since, before = self._looked
        now = time.monotonic()
        if now - since < _LOOK_SECONDS:
            self._looked = since, before + count
        elif before + count < FAST * (now - since):
            self._grow()
        else:
            self._looked = now, 0

    # --- what goes wrong -----------------------------------------------------------------------------------

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()
        self._stop.set()

    def _goes_on(self, error: SourceError, attempt: int, *, first: bool) -> bool:
        """Whether this connection tries again, after a pause; False: the others do without it. Raises the error when
        there is nobody else, or trying again is no use, and _OneTooMany where the others have to do without it."""
        refused = isinstance(error, (RateLimited, ServerError))
        others = self._busy > 0 or not first
        if refused and not first:
            raise _OneTooMany
        if refused and others:
            self._work.terms.lanes.refused(self._origin)
        if not first and not error.transient:
            return False
        with self._changed:
            self._failures += 1
        seconds = None
        if error.transient and self._failures <= self._work.terms.max_attempts_total:
            seconds = self._work.terms.delay(attempt, error)
        if seconds is None and first and error.transient and others:
            seconds = 1.0
        if seconds is None:
            if first:
                raise error
            return False
        self._work.tally.watch.retrying(error.message, seconds)
        self._stop.wait(seconds)
        return True

    # --- one answer ----------------------------------------------------------------------------------------

    def _receive(self, piece: _Piece, came: Callable[[int, int], None]) -> None:
        try:
            with contextlib.closing(self._work.source.open(self._ask(piece.bounds), self._stop)) as answer:
                self._write(piece, answer, came)
        finally:
            with self._changed:
                self._open.remove(piece)
                if piece.left[0] < piece.left[1]:
                    self._todo.insert(0, piece.left)
                self._changed.notify_all()
                self._end_what_nobody_needs()

    def _end_what_nobody_needs(self) -> None:
        """Where every byte is here, nobody waits for an answer that has been taken over."""
        if not self._todo and all(piece.taken and piece.stretch is None for piece in self._open):
            self._over = True
            self._stop.set()

    def _is_first_answer(self, piece: _Piece) -> bool:
        taker = piece.taker
        if piece.taken and taker is not None and taker in self._open and taker.stretch is None:
            piece.taken, taker.taken = False, True
        return not piece.taken

    def _write(self, piece: _Piece, answer: Answer, came: Callable[[int, int], None]) -> None:
        work = self._work
        with contextlib.ExitStack() as stack:
            with self._changed:
                if not self._is_first_answer(piece):
                    return
                bounds = self._accepted(piece, answer)
                validator = Validator(answer.etag, answer.origin)
                piece.stretch = stack.enter_context(work.ranges.writing(bounds, validator))
            work.tally.answered()
            if bounds[1] < work.file.size and work.terms.connections is not None:
                self._grow()
            try:
                Segment(work.ranges, work.part.blocks, self._stop, work.terms.limit, came).receive(
                    answer, piece.stretch
                )
                if answer.end is None and piece.stretch.here == work.file.size:
                    refuse_more(answer, work.file.size)
            except SizeMismatch:
                self.overflowed = True
                raise
        here, end = piece.left
        if here < end and piece.came < (_SHORT if here == answer.end else _PROGRESS):
            raise ConnectionFailed(f"the source ended after {piece.came} of {bounds[1] - bounds[0]} bytes")

    def _ask(self, gap: tuple[int, int]) -> Ask:
        file = self._work.file
        validator = self._work.ranges.validator_before(gap[0])
        return Ask(
            url=self._url,
            start=gap[0],
            end=gap[1],
            size=file.size,
            etag=file.etag if self._url == file.url else None,
            validator=validator.etag if validator else None,
            validator_origin=validator.origin if validator else None,
            proven=file.sha256 is not None,
        )

    def _accepted(self, piece: _Piece, answer: Answer) -> tuple[int, int]:
        """Where the answer's bytes go: all of the file, where it brings all of it anew. Raises RangeRefused when it
        may not be joined to what is here, and TransferError when it is of another file."""
        gap, size = piece.bounds, self._work.file.size
        self._judge.judge(answer, self._url)
        is_whole = answer.start == 0 and answer.end in (None, size) and gap != (0, size)
        if is_whole and all(validator.etag == answer.etag for validator in self._work.ranges.validators):
            self._work.terms.lanes.whole_only(self._origin)
        if answer.restarted is not None and gap[0] > 0:
            if len(self._open) > 1:
                raise _NotNow
            self._judge.start_again(RangeRefused(answer.restarted))
            is_whole, gap = True, (0, size)
        if is_whole and len(self._open) == 1 and not self._work.ranges.kept:
            self._todo.clear()
            gap = 0, size
        if answer.start != gap[0]:
            raise RangeRefused(f"the source sent bytes from {answer.start} on, those from {gap[0]} on were asked for")
        if why := clash(self._work.file, self._work.ranges.validators, Validator(answer.etag, answer.origin)):
            raise RangeRefused(why)
        return gap

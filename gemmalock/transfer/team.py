"""The connections that fill the gaps of one file, from one URL or, where it is large, from its mirrors too.

The caller's thread is the first of them. Where one connection is slow, or more were asked for, others join it: each
takes a piece that nobody has begun, in the end half of a rest that crawls. What they received has to fit together, so
that an answer is accepted by one at a time. What the file is, and what follows from an error, is `fetch`'s to say.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from gemmalock.errors import (
    ConnectionFailed,
    Interrupted,
    Offline,
    PolicyRefused,
    RangeRefused,
    RateLimited,
    ServerError,
    SizeMismatch,
    SourceError,
    TransferError,
)
from gemmalock.journal import CHUNK, chunk_size
from gemmalock.ports import Answer, Ask, Restarted
from gemmalock.stopping import Stop
from gemmalock.transfer.answers import ask_for, refuse_what_does_not_fit, validator_of
from gemmalock.transfer.combine import origin_of
from gemmalock.transfer.pieces import Piece, Pieces, piece_size
from gemmalock.transfer.segment import Segment, refuse_more
from gemmalock.transfer.work import Judge, Work

#: How many connections a file gets at most, where nobody says.
CONNECTIONS = 8
#: A connection that brings so many bytes a second is not slow: more of them would only take turns.
FAST = 64 * 1024 * 1024
#: How long to look at a connection before it is called slow, in seconds.
_LOOK_SECONDS = 0.1
#: An attempt that brought so many bytes was not in vain.
_PROGRESS = CHUNK
#: A server may answer with a shorter range than was asked for (RFC 9110, 15.3.7): from so many bytes on it is asked
#: for the rest at once. Below, it is no use.
_SHORT = 64 * 1024
_SLICE = 0.05
#: After these another URL may still have the file.
ELSEWHERE = (SourceError, TransferError, PolicyRefused)


class _NotNow(Exception):
    """The server answers others, and would not answer this one as asked."""


class _OneTooMany(Exception):
    """The server would not have this connection beside the others."""


class Team:
    """One filling of all gaps, led from `url`. Raises SourceError, TransferError, PolicyRefused, DiskError and
    Interrupted; what came is kept."""

    def __init__(self, work: Work, judge: Judge, url: str, width: int) -> None:
        self._work = work
        self._judge = judge
        self._url = url
        self._lanes = work.terms.lanes
        self._width = width if work.file.continuable and self._lanes.splits(origin_of(url)) else 1
        self._piece = piece_size(work.file.size, work.terms.connections) if self._width > 1 else work.file.size
        self._pieces = Pieces()
        self._failure: BaseException | None = None
        self._stop = Stop()
        self._threads: list[threading.Thread] = []
        self._busy = self._joined = 0
        #: The thread of the first connection, and those whose requests were answered.
        self._first = 0
        self._served: set[int] = set()
        self._over = False
        self._grown = self._width == 1
        #: Since when the first connection is looked at, and how much it brought since; None before its first bytes.
        self._looked: tuple[float, int] | None = None
        self._changed = threading.Condition(threading.RLock())
        #: A body of the leading URL went on past the end of the file.
        self.overflowed = False

    def fill(self, stop: Stop) -> None:
        """Fetch every gap, however many attempts and connections that takes."""
        self._first = threading.get_ident()
        self._pieces.plan(self._work.ranges.missing(), self._piece, chunk_size(self._work.file.size))
        with stop.closing(self._stop.set), self._lanes.first(origin_of(self._url), stop):
            if self._width > 1 and self._work.urls.are_together:
                # A mirror need not wait until the file's own server has said something, or nothing, for long.
                self._grow(1)
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

    @property
    def _is_alone(self) -> bool:
        """Whether this thread has the first connection, and nobody else is at work."""
        return threading.get_ident() == self._first and not self._busy

    @property
    def _is_served(self) -> bool:
        """Whether a request of this thread was answered."""
        return threading.get_ident() in self._served

    # --- who does what -------------------------------------------------------------------------------------

    def _lead(self, stop: Stop) -> None:
        """Work as the first connection until nothing is left that anybody does."""
        while True:
            try:
                self._take_part(self._url, self._came_to_first, first=True)
            except ELSEWHERE as error:
                # Whoever asks another URL goes on without this one.
                if isinstance(error, Offline) or not self._busy:
                    raise
                self._wait_for_the_others()
                stop.check()
                if self._pieces.todo:
                    raise
                self._work.urls.fail(self._url, error)
            with self._changed:
                if self._failure is not None or not (self._busy or self._pieces.todo):
                    return
                if not self._pieces.todo:
                    self._changed.wait(_SLICE)
            stop.check()

    def _join_in(self, url: str | None) -> None:
        try:
            while url is not None:
                refused = False
                try:
                    self._take_part(url, self._work.tally.came, first=False)
                except _OneTooMany:
                    refused = True
                except ELSEWHERE as error:
                    if isinstance(error, Offline) or (url == self._url and not isinstance(error, SourceError)):
                        raise
                    if url != self._url:
                        self._work.urls.fail(url, error)
                finally:
                    self._lanes.leave(origin_of(url), refused=refused)
                if refused:
                    with self._changed:
                        # Another may join when the server, or a mirror, has a lane for it.
                        self._joined -= 1
                        self._grown = False
                # Who lost its URL asks another one.
                url = None if url in self._work.urls.live or self._stop.is_set() else self._lane()
        except Interrupted:
            pass
        except BaseException as error:
            self._fail(error)
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def _take_part(self, url: str, came: Callable[[int, int], None], *, first: bool) -> None:
        """Ask one URL for one piece after the other. Raises what ends it; a further connection rather goes home where
        others may do without it."""
        attempt = 0
        while not self._stop.is_set():
            if not first and url not in self._work.urls.live:
                return
            piece = self._next_piece(url)
            if piece is None:
                if first or not self._waited():
                    return
                continue
            try:
                self._receive(url, piece, came)
                self._work.attempts.succeeded()
                attempt = 0
                self._served.add(threading.get_ident())
            except (RangeRefused, _NotNow) as refusal:
                # One odd answer beside good ones: only a connection that is alone lets it cost what is here.
                if self._is_alone and isinstance(refusal, RangeRefused):
                    raise
                if not first:
                    return
                self._wait_for_the_others()
            except SourceError as error:
                attempt = 1 if piece.came >= _PROGRESS else attempt + 1
                if piece.taken and piece.stretch is None:
                    if not (first or self._is_served):
                        # Others are served, and this one only waits: a server that talks to one at a time.
                        raise _OneTooMany from error
                    continue
                if not self._goes_on(url, error, attempt, first=first):
                    return

    def _waited(self) -> bool:
        """Wait a moment while others work: one of them may fail, crawl or get no answer. False when nobody works."""
        with self._changed:
            if self._pieces.open:
                self._changed.wait(_SLICE)
            return bool(self._pieces.open or self._pieces.todo)

    def _wait_for_the_others(self) -> None:
        with self._changed:
            while self._busy and not self._stop.is_set():
                self._changed.wait(_SLICE)

    def _next_piece(self, url: str) -> Piece | None:
        origin = origin_of(url)
        splits = self._lanes.splits(origin)
        with self._changed:
            if self._is_alone and self._lanes.has_refused(origin):
                # One stream: each request more would be one more to refuse.
                self._pieces.join()
            steal = self._work.ranges.steal if splits else None
            return self._pieces.begin(time.monotonic(), steal, may_take_over=self._is_served)

    def _lane(self) -> str | None:
        """The URL that one more connection is to ask, with a lane to it; None where there is no room."""
        return next((url for url in self._work.urls.in_turn(self._url) if self._lanes.further(origin_of(url))), None)

    def _grow(self, most: int | None = None) -> None:
        """Let others join, at most `most` of them, as many as the servers and this machine have room for."""
        with self._changed:
            goal = self._width - 1 if most is None else min(self._width - 1, self._joined + most)
            while self._joined < goal:
                url = self._lane()
                if url is None:
                    return  # others have the lanes now; a later look may find one
                # A daemon: a thread that hangs in a connect must not keep an interrupted run from ending.
                thread = threading.Thread(target=self._join_in, args=(url,), name="gemmalock-connection", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    self._lanes.leave(origin_of(url))
                    return
                self._busy += 1
                self._threads.append(thread)
                self._joined += 1
                self._grown = self._joined == self._width - 1

    def _came_to_first(self, count: int, kept: int) -> None:
        self._work.tally.came(count, kept)
        if self._grown or self._work.terms.limit is not None:
            return
        now = time.monotonic()
        since, before = self._looked or (now, -count)
        if now - since < _LOOK_SECONDS:
            self._looked = since, before + count
            return
        self._looked = now, 0
        if before + count < FAST * (now - since) and (self._pieces.todo or self._work.ranges.crawls):
            self._grow()

    # --- what goes wrong -----------------------------------------------------------------------------------

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()
        self._stop.set()

    def _goes_on(self, url: str, error: SourceError, attempt: int, *, first: bool) -> bool:
        """Whether this connection tries again, after a pause; False: the others do without it. Raises the error when
        there is nobody else, or trying again is no use, and _OneTooMany where the others have to do without it."""
        refused = isinstance(error, (RateLimited, ServerError))
        others = self._busy > 0 or not first
        if refused and not first:
            raise _OneTooMany
        if refused and others:
            self._lanes.refused(origin_of(url))
        seconds = self._work.attempts.seconds(attempt, error, has_answered=self._work.urls.has_answered(url))
        if seconds is None and first and error.transient and others:
            seconds = 1.0
        if seconds is None:
            if first or not error.transient:
                raise error
            return False
        self._work.tally.watch.retrying(error.message, seconds)
        self._stop.wait(seconds)
        return True

    # --- one answer ----------------------------------------------------------------------------------------

    def _receive(self, url: str, piece: Piece, came: Callable[[int, int], None]) -> None:
        try:
            ask = ask_for(self._work, url, piece.bounds)
            with contextlib.closing(self._work.source.open(ask, self._stop)) as answer:
                self._write(piece, ask, answer, came)
        finally:
            with self._changed:
                self._pieces.end(piece)
                if piece.stretch is not None:
                    self._work.givers.brought(url, (piece.stretch.start, piece.stretch.here))
                self._changed.notify_all()
                # Where every byte is here, nobody waits for an answer that has been taken over.
                if self._pieces.all_came:
                    self._over = True
                    self._stop.set()

    def _write(self, piece: Piece, ask: Ask, answer: Answer, came: Callable[[int, int], None]) -> None:
        work = self._work
        with contextlib.ExitStack() as stack:
            with self._changed:
                if not self._pieces.is_first_answer(piece):
                    return
                bounds = self._accepted(piece, ask, answer)
                validator = validator_of(work.file, ask.url, answer)
                piece.stretch = stack.enter_context(work.ranges.writing(bounds, validator))
                work.givers.answers(ask.url, answer.origin)
            work.urls.answered(ask.url)
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
                self.overflowed = ask.url == self._url
                raise
        here, end = piece.left
        if here < end and piece.came < (_SHORT if here == answer.end else _PROGRESS):
            raise ConnectionFailed(f"the source ended after {piece.came} of {bounds[1] - bounds[0]} bytes")

    def _accepted(self, piece: Piece, ask: Ask, answer: Answer) -> tuple[int, int]:
        """Where the answer's bytes go: all of the file, where it brings all of it anew, and nobody else brings any.
        Raises RangeRefused when it may not be joined to what is here, and TransferError when it is of another file."""
        gap, size = piece.bounds, self._work.file.size
        self._judge.judge(answer, ask.url)
        is_whole = answer.start == 0 and answer.end in (None, size) and gap != (0, size)
        if answer.restarted is Restarted.IGNORED:
            self._lanes.whole_only(origin_of(ask.url))
        if answer.restarted is not None and gap[0] > 0:
            if not self._is_alone:
                raise _NotNow
            self._judge.start_again(RangeRefused(answer.restarted.told(ask, answer)), ask.url)
            is_whole, gap = True, (0, size)
        if is_whole and self._is_alone and not self._work.ranges.kept:
            self._pieces.todo.clear()
            gap = 0, size
        refuse_what_does_not_fit(self._work, ask.url, answer, gap[0])
        return gap

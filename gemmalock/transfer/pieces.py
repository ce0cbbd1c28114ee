"""The pieces of a file that are still to be fetched, and who has which. Only numbers: `team` asks, locks and acts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gemmalock.journal import CHUNK
from gemmalock.transfer.stretch import Stretch, split

#: How long a request may go unanswered before somebody who has nothing to do takes its piece over, in seconds.
OVERDUE_SECONDS = 1.0
#: From so many bytes on a file is asked for in pieces where nobody says over how many connections it is to come.
LARGE = 32 * 1024 * 1024
_LEAST_PIECE = 4 * CHUNK


def piece_size(size: int, connections: int | None) -> int:
    """How many bytes of a file to ask for at once: so many that asking costs nothing, so few that connections that
    are not equally fast end together. Where nobody says how many there are to be, a file that is not large is
    asked for at once; where it crawls, others take the end of it over."""
    if connections is not None:
        return max(_LEAST_PIECE, size // (4 * connections)) if size > connections * _LEAST_PIECE else CHUNK
    return max(2 * _LEAST_PIECE, size // 64) if size >= LARGE else size


@dataclass(slots=True, eq=False)
class Piece:
    """A piece of the file that somebody asks for, and then writes. For want of an answer somebody else may ask for it
    too, its `taker`; whoever is answered first has it, and for the other it is `taken`."""

    bounds: tuple[int, int]
    since: float
    taken: bool = False
    is_takeover: bool = False
    taker: Piece | None = None
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


@dataclass(slots=True)
class Pieces:
    """All of one filling: `todo` is asked for by nobody, `open` by somebody. For whoever holds the team's lock."""

    todo: list[tuple[int, int]] = field(default_factory=list)
    open: list[Piece] = field(default_factory=list)

    def plan(self, gaps: Iterable[tuple[int, int]], size: int, unit: int) -> None:
        """Fetch these gaps in pieces of about `size` bytes, which end at the ends of chunks of `unit`."""
        for gap in gaps:
            self.todo += split(gap, -(-(gap[1] - gap[0]) // size), unit)

    def join(self) -> None:
        """What is to be asked for next, and what comes right behind it, is one piece."""
        while len(self.todo) > 1 and self.todo[0][1] == self.todo[1][0]:
            start, _ = self.todo.pop(0)
            self.todo[0] = start, self.todo[0][1]

    def begin(
        self, now: float, steal: Callable[[], tuple[int, int] | None] | None, *, may_take_over: bool = True
    ) -> Piece | None:
        """The next piece for whoever has nothing to do: one that nobody has begun, else what `steal` gives, else one
        that is overdue, for whom `may_take_over`; None where there is none. Without `steal`, only the first."""
        if self.todo:
            return self._opened(Piece(self.todo.pop(0), now))
        if steal is None:
            return None
        stolen = steal()
        if stolen is not None:
            return self._opened(Piece(stolen, now))
        taken_over = self._takeover(now) if may_take_over else None
        return None if taken_over is None else self._opened(taken_over)

    def end(self, piece: Piece) -> None:
        """Whoever had it is done with it, or failed: what is left of it is anybody's again."""
        self.open.remove(piece)
        if piece.left[0] < piece.left[1]:
            self.todo.insert(0, piece.left)

    def is_first_answer(self, piece: Piece) -> bool:
        """Whether a piece that is answered now is not another's already."""
        taker = piece.taker
        if piece.taken and taker is not None and taker in self.open and taker.stretch is None:
            piece.taken, taker.taken = False, True
        return not piece.taken

    @property
    def all_came(self) -> bool:
        """Whether every byte is here, and whoever is still asking asks for nothing."""
        return not self.todo and all(piece.taken and piece.stretch is None for piece in self.open)

    def _opened(self, piece: Piece) -> Piece:
        self.open.append(piece)
        return piece

    def _takeover(self, now: float) -> Piece | None:
        """A piece that somebody has waited for too long, to be asked for once more."""
        for piece in self.open:
            overdue = now - piece.since > OVERDUE_SECONDS and piece.stretch is None
            if overdue and not piece.taken and not piece.is_takeover:
                piece.taken = True
                piece.taker = Piece(piece.bounds, now, is_takeover=True)
                return piece.taker
        return None

"""What the connections of one transfer share: on which terms, with which file, source and part, judged by whom.

Values and a Protocol; nothing here moves a byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from gemmalock.errors import RangeRefused, SourceError
from gemmalock.lockfile import LockedFile
from gemmalock.ports import Answer, Source
from gemmalock.transfer.attempts import Attempts, RunBudget
from gemmalock.transfer.blocks import Buffers
from gemmalock.transfer.givers import Givers
from gemmalock.transfer.lanes import Lanes
from gemmalock.transfer.pace import RateLimit
from gemmalock.transfer.part import Part
from gemmalock.transfer.ranges import DurableRanges
from gemmalock.transfer.tally import Tally
from gemmalock.transfer.urls import Mistrusted, Urls


@dataclass(frozen=True, slots=True)
class Terms:
    """How to work.

    `delay` says after how many seconds to try again after the n-th failure in a row (from 1), or None: give up.
    `limit`, `lanes`, `buffers`, `mistrusted` and `budget` are shared by all files of a run. `connections`: how many a
    file gets; None: as many as it needs. `max_attempts_total` bounds how many failures of one file are tried again,
    `budget` those of the run, and `max_restarts` how often one URL may make a file start again from zero.
    """

    delay: Callable[[int, SourceError], float | None]
    limit: RateLimit | None = None
    connections: int | None = None
    lanes: Lanes = field(default_factory=Lanes)
    buffers: Buffers = field(default_factory=Buffers)
    mistrusted: Mistrusted = field(default_factory=Mistrusted)
    budget: RunBudget = field(default_factory=RunBudget)
    max_attempts_total: int = 100
    max_restarts: int = 2


@dataclass(frozen=True, slots=True)
class Work:
    """What all connections of a transfer share."""

    file: LockedFile
    source: Source
    terms: Terms
    part: Part
    ranges: DurableRanges
    tally: Tally
    urls: Urls
    attempts: Attempts
    givers: Givers


class Judge(Protocol):
    """Who knows what may stand in one file together. Asked by one connection at a time."""

    def judge(self, answer: Answer, url: str) -> None:
        """Raise RangeRefused when the answer may not be joined to what is here, TransferError when it is of another
        file."""

    def start_again(self, error: RangeRefused, url: str) -> None:
        """Drop everything that is here, or raise the error when this URL has made that necessary too often."""

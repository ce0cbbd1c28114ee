"""Who gave which bytes of a file, and whom to suspect when the whole is wrong. Only numbers and names; pure.

A giver is a URL; of bytes that an earlier run left, it is the origin that the journal has, until a URL turns out to
answer from that origin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from gemmalock.journal import CHUNK, Chunk, joined_ranges
from gemmalock.transfer.combine import same_origin

#: Bytes [start, end) of a file.
Bounds = tuple[int, int]


class Givers:
    """The givers of one file's bytes. `brought` may be called from many threads, one at a time; all else from one."""

    def __init__(self, unit: int = CHUNK) -> None:
        """`unit`: how large a chunk of the file is, in bytes."""
        self._unit = unit
        self._gave: list[tuple[str, Bounds]] = []
        self._left: list[tuple[str, Bounds]] = []
        self._url_of: dict[str, str] = {}
        self._origin_of: dict[str, str] = {}

    def left(self, chunks: Iterable[Chunk]) -> None:
        """These chunks are of an earlier run."""
        for chunk in chunks:
            _add(self._left, chunk.validator.origin, (chunk.start, chunk.end))

    def answers(self, url: str, origin: str) -> None:
        """A URL answers, itself or by redirects, from this origin."""
        self._url_of.setdefault(origin, url)
        self._origin_of[url] = origin

    def origin_of(self, url: str) -> str | None:
        """From which origin a URL answered last, if it did."""
        return self._origin_of.get(url)

    def brought(self, url: str, bounds: Bounds) -> None:
        """A URL gave these bytes."""
        if bounds[0] < bounds[1]:
            _add(self._gave, url, bounds)

    @property
    def kept(self) -> int:
        """How many bytes of an earlier run are here."""
        return sum(end - start for _, (start, end) in self._left)

    @property
    def old(self) -> frozenset[int]:
        """The chunks that have bytes of an earlier run."""
        return frozenset(index for _, bounds in self._left for index in self._chunks(bounds))

    def shares(self) -> dict[str, frozenset[int]]:
        """Giver → the chunks that have bytes of it."""
        shares: dict[str, set[int]] = {}
        left = ((self._url_of.get(origin, origin), bounds) for origin, bounds in self._left)
        for giver, bounds in (*left, *self._gave):
            shares.setdefault(giver, set()).update(self._chunks(bounds))
        return {giver: frozenset(indexes) for giver, indexes in shares.items()}

    def forget(self, indexes: Collection[int]) -> None:
        """These chunks are not here any more."""
        holes = joined_ranges((index * self._unit, (index + 1) * self._unit) for index in sorted(indexes))
        self._gave = [(giver, rest) for giver, bounds in self._gave for rest in _without(bounds, holes)]
        self._left = [(giver, rest) for giver, bounds in self._left for rest in _without(bounds, holes)]

    def clear(self) -> None:
        """Nothing is here any more."""
        self._gave.clear()
        self._left.clear()

    def _chunks(self, bounds: Bounds) -> range:
        return range(bounds[0] // self._unit, -(-bounds[1] // self._unit))


def suspect(givers: Collection[str], urls: Sequence[str], live: Sequence[str]) -> str | None:
    """Whose bytes to have again from somebody else, when the whole is wrong: those of the least trusted giver that
    another of the URLs that are `live` can stand in for. `urls` are in the order of trust, the file's own first.

    None where all came from the file's own URL, or from whom it would come again: nobody is to be told apart then.
    """
    ranks = {giver: rank for rank, giver in enumerate(urls)}
    for giver in givers:
        # An earlier run's bytes from the file's own server are nearly as good as its own; those from elsewhere are not.
        ranks.setdefault(giver, 0 if same_origin(giver, urls[0]) else len(urls))
    for giver in sorted(givers, key=lambda giver: (-ranks[giver], giver)):
        others = [url for url in live if url != giver]
        alone = len(givers) == 1 and (giver not in urls or giver == urls[0])
        if others and not alone:
            return giver
    return None


def mixed(shares: Mapping[str, frozenset[int]]) -> frozenset[int]:
    """The chunks that have bytes of several givers."""
    counted = Counter(index for indexes in shares.values() for index in indexes)
    return frozenset(index for index, count in counted.items() if count > 1)


def _add(gave: list[tuple[str, Bounds]], giver: str, bounds: Bounds) -> None:
    """Note bytes, as one with those right before them where they have the same giver."""
    if gave and gave[-1][0] == giver and gave[-1][1][1] == bounds[0]:
        gave[-1] = giver, (gave[-1][1][0], bounds[1])
    else:
        gave.append((giver, bounds))


def _without(bounds: Bounds, holes: Iterable[Bounds]) -> list[Bounds]:
    """What is left of bytes, in order, where the (sorted) holes are taken out."""
    start, end = bounds
    rest = []
    for first, last in holes:
        if first >= end or last <= start:
            continue
        if start < first:
            rest.append((start, first))
        start = last
    return [*rest, (start, end)] if start < end else rest

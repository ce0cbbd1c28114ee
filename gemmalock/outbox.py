"""From many threads to the one who tells: what they are done with, in batches. Standard library only."""

from __future__ import annotations

import collections
import threading
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class Outbox(Generic[_Item]):
    """Where many threads leave what one takes out. He looks into it now and then and is not woken for each item: to
    hand Python's lock over and back costs those who work more than the telling. Safe to use from many threads; one
    takes."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: how long an item may lie here before it is taken out."""
        self._seconds = seconds
        self._items: collections.deque[_Item] = collections.deque()
        self._urgent = threading.Event()

    def put(self, item: _Item) -> None:
        """Leave an item."""
        self._items.append(item)

    def hurry(self) -> None:
        """Have what is here taken out at once: it is bad news, or no more may come."""
        self._urgent.set()

    def take(self) -> tuple[_Item, ...]:
        """Wait until it is time, or somebody is in a hurry, and take everything out, in order."""
        self._urgent.wait(self._seconds)
        self._urgent.clear()
        return tuple(self._items.popleft() for _ in range(len(self._items)))

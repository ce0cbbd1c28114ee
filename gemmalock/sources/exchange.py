"""What is asked one after the other to learn one thing: a generator that yields requests and is sent their replies.

It waits for nothing (a rule without I/O), so who drives it decides how: `alone` waits for each reply, `multiplexed` for
those of many at once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from gemmalock.sources.channel import Reply
    from gemmalock.sources.request import Request

_Told = TypeVar("_Told")
#: What came instead of a reply is thrown in at the request.
Exchange = Generator["Request", "Reply", _Told]


def alone(exchange: Exchange[_Told], send: Callable[[Request], Reply]) -> _Told:
    """What an exchange ends with, whose every request is sent by `send`. Raises what it does."""
    try:
        request = next(exchange)
        while True:
            try:
                reply = send(request)
            except BaseException as error:
                request = exchange.throw(error)
            else:
                request = exchange.send(reply)
    except StopIteration as end:
        told: _Told = end.value
        return told

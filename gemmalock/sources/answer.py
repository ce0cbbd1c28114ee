"""The open body of an answer over http: read straight into the caller's memory, and not past its end."""

from __future__ import annotations

import contextlib

from gemmalock.errors import ConnectionFailed, FileError, SizeMismatch
from gemmalock.ports import Ask
from gemmalock.sources import ranges
from gemmalock.sources.channel import LAST_WORD_SECONDS, Reply
from gemmalock.sources.failures import FOREIGN, source_error, told_cause
from gemmalock.sources.fields import shown_url
from gemmalock.stopping import Stop


class HttpAnswer:
    """An open body (ports.Answer). Reads straight into the caller's memory, and not past `end`."""

    def __init__(self, ask: Ask, accepted: ranges.Accepted, origin: str, reply: Reply, stop: Stop) -> None:
        self.start = accepted.start
        self.end = accepted.end
        self.etag = accepted.etag
        self.restarted = accepted.restarted
        self.origin = origin
        self.headers = reply.headers
        self._url = ask.url
        self._left = None if accepted.end is None else accepted.end - accepted.start
        self.delimited = self._left is not None or reply.body.delimited
        self._is_whole = ask.size is not None and accepted.start == 0 and accepted.end == ask.size
        self._reply = reply
        self._stop = stop
        self._done = False
        self._wakers = contextlib.ExitStack()
        self._wakers.enter_context(stop.closing(reply.shut_down))
        if self._left == 0:
            self._finish()

    def readinto(self, buffer: memoryview) -> int:
        """As ports.Answer has it: what one read of the connection gives, so that a trickle is seen as it comes."""
        if self._done or not buffer.nbytes:
            return 0
        self._stop.check()
        count = self._read(buffer if self._left is None else buffer[: self._left])
        if self._left is None:
            if count == 0:
                self.close()
            return count
        self._left -= count
        if self._left == 0:
            self._finish()
        elif count == 0:
            self.close()
            raise ConnectionFailed(f"`{shown_url(self._url)}` ended {self._left} bytes too early")
        return count

    def close(self) -> None:
        """As ports.Answer has it."""
        if not self._done:
            self._done = True
            self._wakers.close()
            self._reply.release()

    def _read(self, view: memoryview) -> int:
        try:
            count = self._reply.body.readinto(view)
        except (*FOREIGN, FileError) as error:
            self.close()
            self._stop.check()
            raise source_error(error, self._url) from told_cause(error)
        if count == 0 and self._stop.is_set():
            self.close()
            self._stop.check()
        return count

    def _finish(self) -> None:
        """Every byte is here. Where nothing told the body's length, look whether more comes: a file that goes on past
        its locked size is not the locked file."""
        surplus = 0
        if not self._reply.body.ended:
            with contextlib.suppress(*FOREIGN, FileError):
                self._reply.wait_at_most(LAST_WORD_SECONDS)
                surplus = self._reply.body.readinto(memoryview(bytearray(1)))
        self.close()
        if surplus and self._is_whole:
            raise SizeMismatch(f"the source has more than the {self.end} bytes that the lock says")

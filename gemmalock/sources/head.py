"""The head of an answer: a status line and fields (RFC 9112, 4 and 5). Reads lines; no socket, no clock.

`http.client` gives the fields to the parser of e-mails, which takes as long as all the rest of a question does, and
takes a head that was cut off for a whole one.
"""

from __future__ import annotations

import io
import re
from collections.abc import Generator
from functools import lru_cache
from typing import NamedTuple, Protocol

#: A version that is not HTTP/1 speaks otherwise; a reason may be anything, or missing (RFC 9112, 4).
_STATUS = re.compile(rb"HTTP/1\.([0-9])[ \t]+([1-9][0-9]{2})(?:[ \t][^\n]*)?\r?\n")
_NAME = re.compile(rb"[!-9;-~]+")
#: A last head with nothing out of the ordinary, as nearly all are.
_PLAIN = re.compile(rb"HTTP/1\.1 ([2-9][0-9]{2})(?: [^\n]*)?\r\n((?:[!-9;-~]+:[^\n]*\r\n)*)\r\n")
_MOST_FIELDS = 100
_MAX_LINE = 64 * 1024
_ENDS = (b"\r\n", b"\n")
_SWITCHING = 101
_OK = 200


class NotHttp(ValueError):
    """What came is no head of an answer in HTTP/1."""


class HungUp(ConnectionResetError):
    """The connection ended before the head did."""


class Lines(Protocol):
    """What a head is read from: an `io.BufferedReader` over a connection."""

    def readline(self, size: int, /) -> bytes:
        """A line, cut after `size` bytes; empty at the end."""


class Head(NamedTuple):
    """`fields`: names in lower case, and values, in their order. `persists`: the server means to keep the connection
    (RFC 9112, 9.3), and can be trusted to. `is_flawed`: there were lines that are no fields."""

    status: int
    fields: tuple[tuple[str, str], ...]
    persists: bool
    is_flawed: bool = False

    @classmethod
    def of(cls, status: int, fields: tuple[tuple[str, str], ...], minor: int, *, is_flawed: bool) -> Head:
        """The head with these lines, of a server that speaks HTTP/1.`minor`."""
        return cls(status, fields, not is_flawed and _persists(fields, minor), is_flawed)


def read_head(lines: Lines) -> Head:
    """The head of the last answer; interim ones (RFC 9110, 15.2), but a change of protocol, which ends them, are
    passed over. Raises NotHttp, HungUp, and what the stream does."""
    reading = _last_head()
    next(reading)
    try:
        while True:
            reading.send(lines.readline(_MAX_LINE + 1))
    except StopIteration as end:
        head: Head = end.value
        return head


class Arrival:
    """A head that comes in pieces, for those who cannot wait for it; read as `read_head` does."""

    def __init__(self) -> None:
        #: What came and is no whole line yet; once the head is here, what came behind it.
        self.rest = b""
        self._reading: Generator[None, bytes, Head] | None = None

    def take(self, piece: bytes) -> Head | None:
        """The head, with the piece that ends it; an empty one is the end of the connection. Raises NotHttp and
        HungUp."""
        if self._reading is None:
            found = _PLAIN.match(piece) if len(piece) <= _MAX_LINE else None
            if found is not None:
                self.rest = piece[found.end() :]
                return _plain_head(int(found[1]), found[2].decode("latin-1"))
            self._reading = _last_head()
            next(self._reading)
        lines = io.BytesIO(self.rest + piece)
        try:
            while (line := lines.readline(_MAX_LINE + 1)).endswith(b"\n") or len(line) > _MAX_LINE or not piece:
                self._reading.send(line)
        except StopIteration as end:
            self.rest = lines.read()
            head: Head = end.value
            return head
        self.rest = line
        return None


def _plain_head(status: int, text: str) -> Head:
    """The head with these lines, each of which is a field."""
    fields = []
    for line in text.split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        fields.append((name.lower(), value.strip(" \t\r\n")))
    if len(fields) > _MOST_FIELDS:
        raise NotHttp(f"more than {_MOST_FIELDS} fields")
    return Head.of(status, tuple(fields), 1, is_flawed=False)


def _last_head() -> Generator[None, bytes, Head]:
    """Is sent the lines; an empty one is the end."""
    while True:
        minor, status = yield from _status()
        fields, is_flawed = yield from _fields()
        if status >= _OK or status == _SWITCHING:
            return Head.of(status, fields, minor, is_flawed=is_flawed)


def _persists(fields: tuple[tuple[str, str], ...], minor: int) -> bool:
    """Whether a server of HTTP/1.`minor` keeps a connection after an answer with these fields (RFC 9112, 9.3); one of
    HTTP/1.0 that speaks of a transfer coding is not trusted to (6.1)."""
    if minor == 0 and any(name == "transfer-encoding" for name, _ in fields):
        return False
    said = {each.strip().lower() for name, value in fields if name == "connection" for each in value.split(",")}
    return "close" not in said and (minor > 0 or "keep-alive" in said)


def _status() -> Generator[None, bytes, tuple[int, int]]:
    """The minor version and the status."""
    line = yield
    if not line:
        raise HungUp("closed the connection without an answer")
    found = _STATUS.fullmatch(line)
    if found is None:
        # Whole: who shows it cuts it when no secret stands in it any more.
        raise NotHttp(line.decode("latin-1").rstrip("\r\n") or "an empty line")
    return int(found[1]), int(found[2])


def _fields() -> Generator[None, bytes, tuple[tuple[tuple[str, str], ...], bool]]:
    """The fields, and whether lines among them are none. One that goes on in the next line is one line (RFC 9112,
    5.2)."""
    fields: list[tuple[str, str]] = []
    is_flawed = False
    while (line := (yield)) not in _ENDS:
        if not line.endswith(b"\n"):
            if len(line) > _MAX_LINE:
                raise NotHttp(f"a line of more than {_MAX_LINE} bytes")
            raise HungUp("closed the connection within the head of its answer")
        before, colon, behind = line.partition(b":")
        name = _name(before) if colon else None
        value = behind.strip(b" \t\r\n").decode("latin-1")
        if name is not None:
            fields.append((name, value))
        elif line[:1] in b" \t" and fields:
            name, begun = fields.pop()
            fields.append((name, f"{begun} {line.decode('latin-1').strip()}".strip()))
        else:
            is_flawed = True
        if len(fields) > _MOST_FIELDS:
            raise NotHttp(f"more than {_MOST_FIELDS} fields")
    return tuple(fields), is_flawed


@lru_cache(1024)  # a server has few, and says them again and again
def _name(text: bytes) -> str | None:
    """The name of a field, in lower case; None for what cannot be one."""
    return text.decode("ascii").lower() if _NAME.fullmatch(text) else None

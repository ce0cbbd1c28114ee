"""A text that a person wrote, as lines: decoding it, and pointing at a place in it.

What the text means is its reader's. Nothing in a Problem made here can drive a terminal or holds a URL's secret.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from gemmalock.errors import Problem
from gemmalock.escaping import escaped, redacted

#: What YAML 1.2 (5.1) and JSON readers refuse, and what would make them count other lines than an editor does.
_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")
_BREAK = re.compile("\r\n|\r|\n")
_CONFLICT = re.compile(r"^<<<<<<< ", re.MULTILINE)
#: How many characters an excerpt shows on either side of its place.
_BEFORE, _AFTER = 60, 40
#: Longer lines have no excerpt: one would show a piece that says nothing, or half a secret.
_LONGEST_LINE = 400
_TAB = "    "


class Place(NamedTuple):
    """A line and a column of it, both from 1; line 0: not known."""

    line: int
    column: int


NOWHERE = Place(0, 0)


@dataclass(frozen=True, slots=True)
class Page:
    """A whole text, under the path that it was asked for by."""

    path: str
    text: str
    lines: tuple[str, ...]

    @classmethod
    def of(cls, path: str, text: str) -> Page:
        """The page of a decoded text."""
        return cls(path, text, tuple(_BREAK.split(text)))

    def problem(self, place: Place, message: str, hint: str = "", *, secret: bool = False) -> Problem:
        """A problem at `place`, with its excerpt unless the place holds a secret."""
        excerpt = "" if secret else self.excerpt(place)
        return Problem(escaped(self.path), place.line, place.column, message, hint, excerpt)

    def excerpt(self, place: Place) -> str:
        """The line of `place` and a line with a caret under its column, or nothing."""
        if not 0 < place.line <= len(self.lines):
            return ""
        line = self.lines[place.line - 1]
        if not line.strip() or len(line) > _LONGEST_LINE:
            return ""
        return _pointed_at(redacted(line), place.column - 1)

    def end(self) -> Place:
        """Behind the last line that is not blank."""
        last = max((number for number, line in enumerate(self.lines, 1) if line.strip()), default=1)
        return Place(last, len(self.lines[last - 1].rstrip()) + 1)

    def place(self, offset: int) -> Place:
        """The place of a character of the text."""
        before = _BREAK.split(self.text[:offset])
        return Place(len(before), len(before[-1]) + 1)


def read_page(text: bytes, path: str, limit: int) -> Page | Problem:
    """The page of a file's bytes: UTF-8 with or without a byte order mark, at most `limit` bytes; or what is wrong."""
    if len(text) > limit:
        message = f"the file has {len(text)} bytes, and at most {limit} are read"
        return Problem(escaped(path), 0, 0, message, "is this the right file?")
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Problem(escaped(path), 1, 1, "the file is UTF-16, not UTF-8", "save it as UTF-8")
    try:
        page = Page.of(path, text.decode("utf-8").removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        before = Page.of(path, text[: error.start].decode("utf-8").removeprefix("\ufeff"))
        message = f"the file is not UTF-8: byte 0x{text[error.start]:02x} is not text"
        return Problem(escaped(path), *before.place(len(before.text)), message, "save it as UTF-8")
    return next(_unreadable(page), page)


def _unreadable(page: Page) -> Iterator[Problem]:
    if found := _UNREADABLE.search(page.text):
        message = f"the file has a character that is not text: U+{ord(found[0]):04X}"
        hint = "is this a binary file, or one that is UTF-16?" if found[0] == "\0" else "remove that character"
        yield page.problem(page.place(found.start()), message, hint)
    if "<<<<<<< " in page.text and (found := _CONFLICT.search(page.text)):
        place = page.place(found.start())
        message = f"unresolved merge: line {place.line} is a conflict marker of git"
        yield page.problem(place, message, "resolve the conflict, and remove the markers")


def _pointed_at(line: str, column: int) -> str:
    begin, end = max(0, column - _BEFORE), column + _AFTER
    before = "".join(map(_drawn, line[begin:column]))
    after = "".join(map(_drawn, line[column:end])).rstrip()
    if begin:
        before = "…" + before
    if end < len(line):
        after += "…"
    return f"{before}{after}\n{' ' * sum(map(_width, before))}^"


def _drawn(character: str) -> str:
    return _TAB if character == "\t" else escaped(character)


def _width(character: str) -> int:
    """How many columns of a terminal a character takes (Unicode TR11)."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1

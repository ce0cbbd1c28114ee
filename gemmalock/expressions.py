"""Expressions that choose files by words: `and`, `or`, `not`, parentheses. Pure; what a word holds for is the caller's.

expression = term ("or" term)*; term = factor ("and" factor)*; factor = "not" factor | "(" expression ")" | word.
An empty expression holds for everything. The grammar is pytest's, and words may have every character but white space
and parentheses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from gemmalock.errors import Problem, UsageError
from gemmalock.escaping import escaped

_TOKEN = re.compile(r"\s*(\(|\)|[^\s()]+)")
#: Nobody writes more; what is deeper would be a trap for the reader.
_DEEPEST = 100
_HINT = "write words with `and`, `or`, `not` and parentheses, as in `gemma and not (q8 or f16)`"
Holds = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Expression:
    """A text and what it means. Made by `parse`."""

    text: str
    fits: Callable[[Holds], bool]

    @classmethod
    def parse(cls, text: str, flag: str) -> Expression:
        """What `text`, which `flag` was given, means. Raises UsageError with a caret under what is wrong."""
        reader = _Reader(text, flag)
        return cls(text, reader.whole())


@dataclass(slots=True)
class _Token:
    text: str
    column: int


class _Reader:
    def __init__(self, text: str, flag: str) -> None:
        self._text = text
        self._flag = flag
        self._tokens = [_Token(found[1], found.start(1)) for found in _TOKEN.finditer(text)]
        self._depth = 0

    def whole(self) -> Callable[[Holds], bool]:
        if not self._tokens:
            return lambda holds: True
        meaning = self._either()
        if self._tokens:
            self._refuse("expected `and`, `or` or the end", self._tokens[0].column)
        return meaning

    def _either(self) -> Callable[[Holds], bool]:
        parts = [self._both()]
        while self._takes("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda holds: any(part(holds) for part in parts)

    def _both(self) -> Callable[[Holds], bool]:
        parts = [self._one()]
        while self._takes("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else lambda holds: all(part(holds) for part in parts)

    def _one(self) -> Callable[[Holds], bool]:
        column = self._tokens[0].column if self._tokens else len(self._text)
        self._depth += 1
        if self._depth > _DEEPEST:
            self._refuse("it is too deep", column)
        try:
            if self._takes("not"):
                part = self._one()
                return lambda holds: not part(holds)
            if self._takes("("):
                part = self._either()
                if not self._takes(")"):
                    self._refuse("expected `)`", self._tokens[0].column if self._tokens else len(self._text))
                return part
            if not self._tokens or self._tokens[0].text in ("and", "or", ")"):
                self._refuse("expected a word, `not` or `(`", column)
            word = self._tokens.pop(0).text
            return lambda holds: holds(word)
        finally:
            self._depth -= 1

    def _takes(self, text: str) -> bool:
        if self._tokens and self._tokens[0].text == text:
            self._tokens.pop(0)
            return True
        return False

    def _refuse(self, why: str, column: int) -> NoReturn:
        before = escaped(self._text[:column])
        excerpt = f"{before}{escaped(self._text[column:])}\n{' ' * len(before)}^"
        problem = Problem(self._flag, 1, column + 1, why, _HINT, excerpt)
        raise UsageError(str(problem), problems=[problem])

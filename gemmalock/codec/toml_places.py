"""Where each key of a TOML text begins: tomllib does not tell. Only asked when something is to be said of a key."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Path = tuple[str, ...]
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACES = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*'""")
#: A whole string; of three quotes, up to two more may belong to its end.
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*+"{3,5}|\'\'\'(?:[^\']|\'{1,2}(?!\'))*+\'{3,5}|"(?:[^"\\\n]|\\.)*+"|\'[^\'\n]*\'',
    re.DOTALL,
)
#: A number, a date, true or false.
_SCALAR = re.compile(r"[^,\]}#\n]*")


def key_places(text: str) -> Mapping[Path, tuple[int, int]]:
    """Line and column, from 1, of the first place that names each key of `text`, by its path from the top; also of keys
    in inline tables. `text` must be valid TOML. Keys of an array of tables have the path of the array."""
    scan = _Scan(text)
    # Deeper than anybody writes, or not TOML after all: what was found so far is true.
    with contextlib.suppress(RecursionError, ValueError):
        scan.run()
    return {path: _line_and_column(text, offset) for path, offset in scan.found.items()}


def _line_and_column(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


@dataclass(slots=True)
class _Scan:
    """A walk over a text from its beginning: where it is, and the offsets of the keys that it came by."""

    text: str
    at: int = 0
    found: dict[Path, int] = field(default_factory=dict)

    def run(self) -> None:
        table: Path = ()
        self._skip(_BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                brackets = 2 if self.text.startswith("[[", self.at) else 1
                self.at += brackets
                table = self._key(())
                self.at += brackets
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _pair(self, table: Path) -> None:
        path = self._key(table)
        self._expect("=")
        self._value(path)

    def _key(self, table: Path) -> Path:
        """A key, dotted or not, and the spaces around it. Its path."""
        path = table
        while True:
            self._skip(_SPACES)
            begin = self.at
            word = self._skip(_KEY)
            if not word:
                raise ValueError(f"no key at offset {begin}")
            path = (*path, str(tomllib.loads(f"key = {word}")["key"]) if word[0] in "\"'" else word)
            self.found.setdefault(path, begin)
            self._skip(_SPACES)
            if not self.text.startswith(".", self.at):
                return path
            self.at += 1

    def _value(self, path: Path) -> None:
        self._skip(_SPACES)
        first = self.text[self.at : self.at + 1]
        if first == "[":
            self._members("]", path, self._value)
        elif first == "{":
            self._members("}", path, self._pair)
        elif first in ('"', "'"):
            if not self._skip(_STRING):
                raise ValueError(f"no string at offset {self.at}")
        else:
            self._skip(_SCALAR)

    def _members(self, end: str, path: Path, member: Callable[[Path], None]) -> None:
        self.at += 1
        self._skip(_BLANK)
        while not self.text.startswith(end, self.at):
            member(path)
            self._skip(_BLANK)
            if self.text.startswith(",", self.at):
                self.at += 1
                self._skip(_BLANK)
            elif not self.text.startswith(end, self.at):
                raise ValueError(f"neither a comma nor `{end}` at offset {self.at}")
        self.at += 1

    def _expect(self, mark: str) -> None:
        if not self.text.startswith(mark, self.at):
            raise ValueError(f"no `{mark}` at offset {self.at}")
        self.at += len(mark)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            return ""
        self.at = match.end()
        return match[0]

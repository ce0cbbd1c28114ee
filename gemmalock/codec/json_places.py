"""Where each value of a JSON text begins. Only asked when something is wrong with a text that is known to be JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

Pointer = tuple[str | int, ...]
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)


@dataclass(slots=True)
class _Open:
    """A list or mapping that is being read: the step of what comes next, and whether that is a key."""

    is_mapping: bool
    step: str | int
    wants_key: bool = field(init=False)

    def __post_init__(self) -> None:
        self.wants_key = self.is_mapping


@dataclass(frozen=True, slots=True)
class Offsets:
    """Pointer → offset of its value; of keys that are twice in one mapping, the offset of the second."""

    values: Mapping[Pointer, int]
    repeats: Mapping[Pointer, int]


def json_offsets(text: str) -> Offsets:
    """Where everything is in `text`, which must be valid JSON."""
    found: dict[Pointer, int] = {}
    repeats: dict[Pointer, int] = {}
    opened: list[_Open] = []
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in "]}":
            opened.pop()
        elif mark == ",":
            _next(opened[-1])
        elif mark == ":":
            opened[-1].wants_key = False
        elif opened and opened[-1].wants_key:
            opened[-1].step = json.loads(mark)
            pointer = tuple(level.step for level in opened)
            if pointer in found:
                repeats[pointer] = token.start()
        else:
            found[tuple(level.step for level in opened)] = token.start()
            if mark in "[{":
                opened.append(_Open(mark == "{", "" if mark == "{" else 0))
    return Offsets(found, repeats)


def _next(level: _Open) -> None:
    if level.is_mapping:
        level.wants_key = True
    elif isinstance(level.step, int):
        level.step += 1


def pointer_text(pointer: Pointer) -> str:
    """A pointer as RFC 6901 writes it; that of the whole text is empty."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in pointer)

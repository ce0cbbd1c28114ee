"""YAML as a tree of plain values that know where they stand, read from PyYAML's parse events.

PyYAML's own constructors are never used: they run tags, let the last of two duplicate keys win, follow aliases without
end and take `no` for false. Here a document is one mapping, list or scalar of text, numbers, booleans and null; scalars
are resolved much as in the core schema of YAML 1.2 (10.3). What the tree means is its reader's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml
from yaml import events

from gemmalock.codec.page import Page, Place, read_page
from gemmalock.errors import Problem
from gemmalock.escaping import shown

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
#: How many nodes aliases may add to those that are written out.
MAX_ALIASED = 20_000

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]

_NULL = ("", "~", "null", "Null", "NULL")
_BOOLEAN = {text: text[0] in "tT" for text in ("true", "True", "TRUE", "false", "False", "FALSE")}
_WORDS: Mapping[str, bool | None] = {**dict.fromkeys(_NULL), **_BOOLEAN}
#: What a number begins with; nearly all scalars begin with something else.
_NUMERIC = frozenset("-+.0123456789")
# No leading zeros: 0755 means two things in two versions of YAML, so here it is text. Longer numbers than this are too.
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,999})")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]{1,999}|[0-9]{1,999}\.[0-9]{0,999}|[0-9]{1,999}(?=[eE]))(?:[eE][-+]?[0-9]{1,999})?"
)
#: The keys and children of a scalar.
_NOTHING: Mapping[Any, Any] = MappingProxyType({})


class Node(NamedTuple):
    """A value and where it stands. (A frozen dataclass takes three times as long to make, and there are thousands.)

    `raw` is the text of a scalar and `plain` whether it stood there unquoted; `keys` has the place of each key of a
    mapping; `children` the nodes of a mapping by key, of a list by number. A `broken` node is one that a Problem
    already speaks of: its value means nothing.
    """

    value: Plain
    place: Place
    raw: str = ""
    plain: bool = False
    broken: bool = False
    keys: Mapping[str, Place] = _NOTHING
    children: Mapping[str | int, Node] = _NOTHING
    #: How many nodes there are in it, itself among them, aliases written out.
    weight: int = 1

    def get(self, key: str | int) -> Node | None:
        """The child of that key or number, or None."""
        return self.children.get(key)

    def entries(self) -> Iterator[tuple[str, Node]]:
        """The keys and nodes of a mapping."""
        for key, child in self.children.items():
            if isinstance(key, str):
                yield key, child

    def items(self) -> Iterator[Node]:
        """The nodes of a list."""
        for key, child in self.children.items():
            if isinstance(key, int):
                yield child


@dataclass(frozen=True, slots=True)
class Document:
    """What was read: the page, its tree, and what is wrong with it. `tree` is None where there is no telling."""

    page: Page | None
    tree: Node | None
    problems: tuple[Problem, ...]


def read_yaml(text: bytes, path: str, *, limit: int = MAX_BYTES) -> Document:
    """The one YAML document in `text`; every problem of its notation is in the answer, none is raised."""
    page = read_page(text, path, limit)
    if isinstance(page, Problem):
        return Document(None, None, (page,))
    reader = _Reader(page)
    try:
        tree = reader.document()
    except yaml.MarkedYAMLError as error:
        reader.problems.append(_syntax_problem(page, error))
        tree = None
    except _Unreadable as error:
        reader.problems.append(error.problem)
        tree = None
    return Document(page, tree, tuple(reader.problems))


def resolved(raw: str) -> bool | int | float | str | None:
    """What an unquoted scalar means. Dates, `yes`, `on`, octal and sexagesimal numbers are text."""
    if raw in _WORDS:
        return _WORDS[raw]
    if raw[0] not in _NUMERIC:
        return raw
    if _INTEGER.fullmatch(raw):
        return int(raw)
    if _FLOAT.fullmatch(raw):
        return float(raw)
    return raw


class _Unreadable(Exception):
    """Nothing after this can be trusted."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class _Reader:
    """One walk over the events of a page."""

    def __init__(self, page: Page) -> None:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._page = page
        # What `yaml.parse` does, without asking before each event whether there is one.
        self._next: Callable[[], events.Event] = loader(page.text).get_event
        self._anchors: dict[str, Node | None] = {}  # None: its node is not whole yet
        self._aliased = 0
        self.problems: list[Problem] = []

    def document(self) -> Node:
        """The tree of the page; an empty page is null."""
        tree: Node | None = None
        for event in iter(self._next, None):
            if isinstance(event, events.DocumentStartEvent):
                if tree is not None:
                    self._add(_place(event), "a second document begins here", "write one document a file")
                    break
                tree = self._node(self._next(), 1)
        return tree if tree is not None else Node(None, Place(1, 1))

    def _node(self, event: events.Event, depth: int) -> Node:
        place = _place(event)
        if depth > MAX_DEPTH:
            raise _Unreadable(self._page.problem(place, f"nested deeper than {MAX_DEPTH} levels"))
        if isinstance(event, events.ScalarEvent) and event.anchor is None and event.tag is None:
            return _scalar(event, place, tagged=False)
        if isinstance(event, events.AliasEvent):
            return self._alias(event)
        assert isinstance(event, events.NodeEvent)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        tagged = self._refuse_tag(event)
        if isinstance(event, events.MappingStartEvent):
            node = self._mapping(place, depth, tagged)
        elif isinstance(event, events.SequenceStartEvent):
            node = self._sequence(place, depth, tagged)
        else:
            assert isinstance(event, events.ScalarEvent)
            node = _scalar(event, place, tagged)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _mapping(self, place: Place, depth: int, tagged: bool) -> Node:
        keys: dict[str, Place] = {}
        children: dict[str | int, Node] = {}
        values: dict[str, Plain] = {}
        broken, weight = tagged, 1
        while not isinstance(event := self._next(), events.MappingEndEvent):
            key = self._key(event, depth)
            value = self._node(self._next(), depth + 1)
            if key is None:
                broken = True
            elif key in keys:
                message = f"`{shown(key)}` is here twice: in line {keys[key].line} and in line {_place(event).line}"
                self._add(_place(event), message, "remove one of the two")
            else:
                keys[key] = _place(event)
                children[key] = value
                values[key] = value.value
                weight += value.weight
        return Node(values, place, broken=broken, keys=keys, children=children, weight=weight)

    def _sequence(self, place: Place, depth: int, tagged: bool) -> Node:
        nodes: list[Node] = []
        while not isinstance(event := self._next(), events.SequenceEndEvent):
            nodes.append(self._node(event, depth + 1))
        weight = 1 + sum(node.weight for node in nodes)
        values: Plain = [node.value for node in nodes]
        return Node(values, place, broken=tagged, children=dict(enumerate(nodes)), weight=weight)

    def _key(self, event: events.Event, depth: int) -> str | None:
        """The text of a key, whatever it looks like (`1:` is the key `1`); None for one that cannot be had."""
        if isinstance(event, events.ScalarEvent):
            if event.anchor is None and event.tag is None and event.value != "<<":
                return event.value
            node = self._node(event, depth)
            if event.implicit[0] and event.value == "<<":
                self._add(node.place, "merge keys (`<<`) are not part of the format", "write the keys out")
                return None
            return None if node.broken else node.raw
        self._node(event, depth + 1)
        self._add(_place(event), "a key must be text", "put quotes around it")
        return None

    def _alias(self, event: events.AliasEvent) -> Node:
        name, place = event.anchor or "", _place(event)
        if name not in self._anchors:
            self._add(place, f"`*{shown(name)}` names no anchor above it", f"write `&{shown(name)}` where the value is")
            return Node(None, place, broken=True)
        node = self._anchors[name]
        if node is None:
            self._add(place, f"`*{shown(name)}` stands inside of `&{shown(name)}` itself", "write the value out")
            return Node(None, place, broken=True)
        self._aliased += node.weight
        if self._aliased > MAX_ALIASED:
            raise _Unreadable(self._page.problem(place, f"aliases stand for more than {MAX_ALIASED} values"))
        return node

    def _refuse_tag(self, event: events.NodeEvent) -> bool:
        tag = getattr(event, "tag", None)
        if tag is None:
            return False
        written = str(tag).replace("tag:yaml.org,2002:", "!!", 1)
        self._add(_place(event), f"tags are not part of the format: `{shown(written)}`", "remove the tag")
        return True

    def _add(self, place: Place, message: str, hint: str) -> None:
        self.problems.append(self._page.problem(place, message, hint))


def _scalar(event: events.ScalarEvent, place: Place, tagged: bool) -> Node:
    plain = event.implicit[0]
    value = resolved(event.value) if plain and not tagged else event.value
    return Node(value, place, event.value, plain, tagged)


def _place(event: events.Event) -> Place:
    assert event.start_mark is not None
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


#: What a parser says → what to do about it. The first that is part of its message counts.
_SYNTAX_HINTS = (
    ("mapping values are not allowed", "put quotes around text that has `: ` in it, and check the indentation"),
    ("cannot start any token", "put quotes around text that begins with a special character"),
    ("unknown escape", "use single quotes, in which a backslash is a backslash"),
    ("unexpected end of stream", "a quote that is opened has to be closed"),
    ("expected <block end>", "check the indentation of this line and of the one above"),
    ("did not find expected key", "check the indentation of this line and of the one above"),
    ("could not find expected ':'", "a key is followed by `: `"),
    ("incompatible YAML document", "remove the `%YAML` line"),
)


_CUT_OFF = "the file ends here: is it whole? a `{` or a `[` that is opened has to be closed"


def _syntax_problem(page: Page, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    place = Place(mark.line + 1, mark.column + 1) if mark is not None else Place(0, 0)
    said = error.problem or error.context or "it cannot be read"
    if "maximum nesting depth" in said:  # libyaml's own limit, which it comes upon while it looks ahead
        return page.problem(place, f"nested deeper than {MAX_DEPTH} levels")
    line = page.lines[place.line - 1] if 0 < place.line <= len(page.lines) else ""
    if "cannot start any token" in said and line[place.column - 1 : place.column] == "\t":
        return page.problem(place, "not YAML: a tab cannot indent", "indent with spaces")
    hint = next((hint for part, hint in _SYNTAX_HINTS if part in said), "")
    if place.line and not any(rest.strip() for rest in _from(page, place)):
        place, hint = page.end(), hint or _CUT_OFF
    return page.problem(place, f"not YAML: {shown(said)}", hint)


def _from(page: Page, place: Place) -> Iterator[str]:
    """What stands at a place, and the lines below it."""
    yield from (line[place.column - 1 :] for line in page.lines[place.line - 1 : place.line])
    yield from page.lines[place.line :]

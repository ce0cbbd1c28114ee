"""YAML as a tree that knows where everything stands."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.codec.yaml_tree import MAX_BYTES, Document, Node, Plain, read_yaml, resolved


def _read(text: str) -> Document:
    return read_yaml(text.encode(), "m.yaml")


def _tree(text: str) -> Node:
    document = _read(text)
    assert document.tree is not None, document.problems
    assert not document.problems
    return document.tree


def _only_problem(text: bytes) -> str:
    (problem,) = read_yaml(text, "m.yaml").problems
    return str(problem)


@pytest.mark.parametrize(
    ("written", "meaning"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("NULL", None),
        ("nUll", "nUll"),
        ("true", True),
        ("False", False),
        ("tRue", "tRue"),
        ("yes", "yes"),
        ("on", "on"),
        ("N", "N"),
        ("0", 0),
        ("-0", 0),
        ("12", 12),
        ("+12", 12),
        ("-7", -7),
        ("007", "007"),
        ("0o17", "0o17"),
        ("0x1f", "0x1f"),
        ("0b1", "0b1"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("1.5E-3", 0.0015),
        (".", "."),
        ("e3", "e3"),
        ("1e", "1e"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("1.2.3", "1.2.3"),
        ("²", "²"),
        ("٣", "٣"),
        ("1" * 5000, "1" * 5000),
        ("12\n", "12\n"),
    ],
)
def test_scalars_mean_what_the_core_schema_says_and_less(written: str, meaning: Plain) -> None:
    assert resolved(written) == meaning
    assert type(resolved(written)) is type(meaning)


def test_a_quoted_scalar_is_text() -> None:
    assert _tree("['12', \"true\", '']").value == ["12", "true", ""]
    assert _tree("a: |\n  12\nb: >-\n  true\n").value == {"a": "12\n", "b": "true"}


def test_the_raw_text_of_a_scalar_is_kept() -> None:
    node = _tree("a: 12e3").get("a")
    assert node is not None
    assert (node.value, node.raw, node.plain) == (12000.0, "12e3", True)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_places_count_characters_whatever_ends_a_line(newline: str, mark: str) -> None:
    tree = _tree(mark + newline.join(["# ü😀", "é: 模型  # x", "b:\t'x'", "c:", "  - {d: 1}", ""]))
    places = {key: (tree.keys[key], node.place) for key, node in tree.entries()}
    assert places["é"] == ((2, 1), (2, 4))
    assert places["b"] == ((3, 1), (3, 4))
    inner = tree.get("c")
    assert inner is not None
    assert inner.place == (5, 3)
    entry = inner.get(0)
    assert entry is not None
    assert entry.keys["d"] == (5, 6)


#: A text with a tag in it, and the columns of a terminal that stand before the tag in the excerpt.
CARETS = {
    "plain": ("a: !x 1", 3),
    "a tab is drawn as four spaces": ("a:\t!x 1", 6),
    "wide characters, and CRLF": ("模型: !x 1\r\n", 6),
    "a combining accent": ("cafe\u0301: !x 1", 6),
    "an escaped character": ("\u200b: !x 1", 8),
    "the middle of a long line": ("{" + "a: 1, " * 30 + "b: !x 1}", 61),
}


@pytest.mark.parametrize(("text", "column"), CARETS.values(), ids=CARETS.keys())
def test_the_caret_stands_under_its_place(text: str, column: int) -> None:
    document = _read(text)
    (excerpt,) = (problem.excerpt for problem in document.problems if "tags" in problem.message)
    line, caret = excerpt.split("\n")
    assert caret == " " * column + "^"
    before = line.partition("!")[0]
    assert sum({"模": 2, "型": 2, "\u0301": 0}.get(character, 1) for character in before) == column


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: 1\nb: 2\na: 3\n", "m.yaml:3:1: `a` is here twice: in line 1 and in line 3"),
        (b"a: 1\n'a': 3\n", "m.yaml:2:1: `a` is here twice: in line 1 and in line 2"),
        (b"a: !!python/object/apply:os.system [id]\n", "m.yaml:1:4: tags are not part of the format"),
        (b"a: ! x\n", "m.yaml:1:4: tags are not part of the format"),
        (b"!x a: 1\n", "m.yaml:1:1: tags are not part of the format"),
        (b"a: &a {b: 1}\nc: {<<: *a}\n", "m.yaml:2:5: merge keys"),
        (b"a: &a [*a]\n", "m.yaml:1:8: `*a` stands inside of `&a` itself"),
        (b"a: *b\n", "m.yaml:1:4: `*b` names no anchor"),
        (b"? {a: 1}\n: 2\n", "m.yaml:1:3: a key must be text"),
        (b"a: 1\n---\nb: 1\n", "m.yaml:2:1: a second document begins here"),
        (b"a: 1\n<<<<<<< HEAD\nb: 1\n", "m.yaml:2:1: unresolved merge: line 2"),
        (b"\xff\xfea\x00:\x00", "m.yaml:1:1: the file is UTF-16"),
        (b"a:\x00 1", "m.yaml:1:3: the file has a character that is not text: U+0000"),
        (b"a: 1\nb: \xff", "m.yaml:2:4: the file is not UTF-8: byte 0xff"),
        (b"\x7fELF\x02", "m.yaml:1:1: the file has a character that is not text: U+007F"),
        ("a: \u2028b".encode(), "m.yaml:1:4: the file has a character that is not text: U+2028"),
        (b"a:\n\tb: 1\n", "m.yaml:2:1: not YAML: a tab cannot indent"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: bytes, said: str) -> None:
    assert _only_problem(text).startswith(said)


#: A text that is cut off → the last line that has something in it, and how many columns that has.
CUT_OFF = {
    "in a mapping": ("a: 1\nb: {c: 1,\n", 2, "b: {c: 1,"),
    "in a mapping, without a newline": ("a: 1\nb: {c: 1", 2, "b: {c: 1"),
    "in a list, with blank lines behind": ("a: [1,\n\n  \n", 1, "a: [1,"),
    "in a quote": ("a: 1\nb: 'c\n", 2, "b: 'c"),
    "in a key": ("a: 1\nmod", 2, "mod"),
    "behind a comment": ("a: [1, # one\n", 1, "a: [1, # one"),
    "with other line ends": ("a: 1\r\nb: [1,\r\n", 2, "b: [1,"),
}


@pytest.mark.parametrize(("text", "line", "last"), CUT_OFF.values(), ids=CUT_OFF.keys())
def test_a_text_that_is_cut_off_is_shown_where_it_ends(text: str, line: int, last: str) -> None:
    (problem,) = _read(text).problems
    assert problem.message.startswith("not YAML")
    assert (problem.line, problem.column) == (line, len(last) + 1)
    assert problem.excerpt == f"{last}\n{' ' * len(last)}^"
    assert problem.hint


def test_a_hundred_megabytes_are_not_looked_at() -> None:
    text = b"[" * (100 * 1024 * 1024)
    assert _only_problem(text) == f"m.yaml: the file has {len(text)} bytes, and at most {MAX_BYTES} are read"


def test_a_million_brackets_are_too_deep() -> None:
    assert "nested deeper than 32 levels" in _only_problem(b"[" * MAX_BYTES)
    assert "nested deeper than 32 levels" in _only_problem(b"- " * 1000)


def test_a_bomb_of_aliases_does_not_go_off() -> None:
    levels = [b"a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [b"a%d: &a%d [%s]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 10)]
    assert "aliases stand for more than" in _only_problem(b"\n".join(levels))


def test_a_large_file_without_aliases_is_no_bomb() -> None:
    tree = _tree("\n".join(f"k{number}: [a, b, c]" for number in range(20_000)))
    assert len(tree.keys) == 20_000


def test_a_key_may_be_as_long_as_the_file() -> None:
    document = _read("? " + "a" * 50_000 + "\n: 1\n? " + "a" * 50_000 + "\n: 1\n")
    assert len(document.problems[0].message) < 300


@given(st.binary(max_size=200))
def test_no_bytes_raise(text: bytes) -> None:
    document = read_yaml(text, "m.yaml")
    assert (document.tree is None) <= bool(document.problems)


_FRAGMENTS = st.lists(
    st.sampled_from(
        [
            "a",
            "b: ",
            "- ",
            "\n",
            "  ",
            "[",
            "]",
            "{",
            "}",
            ", ",
            "&x ",
            "*x",
            "!t ",
            "'",
            '"',
            "|\n",
            "? ",
            ": ",
            "#",
            "\t",
        ]
    ),
    max_size=25,
).map("".join)


@given(_FRAGMENTS)
def test_what_is_read_is_what_pyyaml_composes(text: str) -> None:
    document = _read(text)
    if document.problems:
        assert all(problem.line >= 1 and problem.column >= 1 for problem in document.problems)
        return
    assert document.tree is not None
    assert _shape(document.tree.value) == _shape(yaml.load(text, Loader=yaml.CBaseLoader))


def _shape(value: object) -> object:
    """A value with its scalars as text, as BaseLoader has them."""
    if isinstance(value, dict):
        return {key: _shape(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_shape(child) for child in value]
    return "" if value is None else value


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(st.characters(codec="ascii"), max_size=8),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text("abc", max_size=3), children, max_size=4),
    max_leaves=12,
)


@given(_VALUES)
def test_json_is_read_as_json(value: Plain) -> None:
    text = json.dumps(value)
    # DEL is written raw by json, and refused here.
    if "\x7f" not in text:
        assert _tree(text).value == value


def test_no_problem_has_a_raw_control_character() -> None:
    document = read_yaml(b'"\\e]0;x\\a": 1\n"\\e]0;x\\a": 2\n', "m\x1b.yaml")
    for problem in document.problems:
        assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", f"{problem}{problem.hint}{problem.excerpt}") is None

"""Where the keys of a TOML text begin: every key that tomllib reads is found, at the place where it is written."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.codec.toml_places import key_places

Path = tuple[str, ...]


@pytest.mark.parametrize(
    ("text", "path", "place"),
    [
        ("jobs = 2\n", ("jobs",), (1, 1)),
        ("\n  jobs=2", ("jobs",), (2, 3)),
        ("# jobs = 1\r\njobs = 2\r\n", ("jobs",), (2, 1)),
        ("[tool.gemmalock]\na = 1\njobs = 2\n", ("tool", "gemmalock", "jobs"), (3, 1)),
        ("[ tool . 'gemmalock' ]\n\tjobs = 2\n", ("tool", "gemmalock", "jobs"), (2, 2)),
        ("tool.gemmalock.jobs = 2\n", ("tool", "gemmalock", "jobs"), (1, 16)),
        ("[tool]\ngemmalock = { a = [1, {b = 2}], jobs = 2 }\n", ("tool", "gemmalock", "jobs"), (2, 33)),
        ("[tool]\ngemmalock = 5\n", ("tool", "gemmalock"), (2, 1)),
        ("[other]\njobs = 1\n[tool.gemmalock]\njobs = 2\n", ("tool", "gemmalock", "jobs"), (4, 1)),
        ("[[other]]\njobs = 1\n[[other]]\njobs = 3\n", ("other", "jobs"), (2, 1)),
        ('a = "jobs = 1"\njobs = 2\n', ("jobs",), (2, 1)),
        ('a = """\njobs = 1\n\\"""\njobs = 2"""\njobs = 3\n', ("jobs",), (5, 1)),
        ('a = """x"""""\njobs = 3\n', ("jobs",), (2, 1)),
        ("a = '''\njobs = 1\n'' '''''\njobs = 3\n", ("jobs",), (4, 1)),
        ("a = [ # ] jobs = 1\n  '}', \"]\",\n]\njobs = 3\n", ("jobs",), (4, 1)),
        ("a = 1979-05-27 07:32:00 # x\njobs = 3\n", ("jobs",), (2, 1)),
        ('rewrite = { "https://a.example/" = "https://b.example/" }\n', ("rewrite", "https://a.example/"), (1, 13)),
        ("['ä b'.\"c\\u0064\"]\njobs = 3\n", ("ä b", "cd", "jobs"), (2, 1)),
    ],
)
def test_a_key_is_found_where_it_is_written(text: str, path: Path, place: tuple[int, int]) -> None:
    assert tomllib.loads(text)
    assert key_places(text)[path] == place


def paths_of(value: object, above: Path = ()) -> Iterator[Path]:
    """Every path of a table, with those of the tables in its lists."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield (*above, key)
            yield from paths_of(below, (*above, key))
    if isinstance(value, list):
        for each in value:
            yield from paths_of(each, above)


KEYS = st.sampled_from(["jobs", "a-b", "_", "7", "'x y'", '"q\\"]"', '"="', "''"])
SCALARS = st.sampled_from(
    ["1", "-0.5e3", "true", "1979-05-27", '"jobs = 1"', "'#'", '"""\n[x]\n"y" \\"""" ', "'''\n]}'' '''", '""', "''"]
)
INLINE = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda each: "[ " + ", # ]\n".join(each) + "\n]")
        | st.dictionaries(KEYS, inner.filter(lambda text: "\n" not in text), max_size=3).map(
            lambda each: "{" + ", ".join(f"{key} = {value}" for key, value in each.items()) + "}"
        )
    ),
    max_leaves=6,
)
LINES = st.builds(lambda keys, value: f"{' . '.join(keys)} = {value}", st.lists(KEYS, min_size=1, max_size=2), INLINE)
HEADERS = st.builds(lambda keys: f"[{'.'.join(keys)}]", st.lists(KEYS, min_size=1, max_size=3))
TEXTS = st.lists(LINES | HEADERS | st.sampled_from(["", "# [a] jobs = 1", "\t"]), max_size=8).map("\n".join)


@given(TEXTS)
def test_every_key_that_tomllib_reads_has_a_place(text: str) -> None:
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    places = key_places(text)
    assert set(paths_of(read)) == set(places)
    lines = text.split("\n")
    for path, (line, column) in places.items():
        word = lines[line - 1][column - 1 :]
        assert word.startswith((path[-1], "'", '"')), (path, word)


@given(st.text(alphabet="ab.=[]{}\"'#\n, \\1", max_size=40))
def test_what_is_no_toml_ends_all_the_same(text: str) -> None:
    key_places(text)


def test_what_is_nested_too_deep_has_the_places_that_come_before_it() -> None:
    assert key_places("jobs = 1\nkeep = " + "[" * 100_000)[("jobs",)] == (1, 1)

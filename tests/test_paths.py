"""Paths: which are safe everywhere, which clash, what globs match."""

from __future__ import annotations

import fnmatch
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.paths import clashes, folded, glob_pattern, is_glob, joined, matches, path_problem

SAFE = [
    "model.gguf",
    "a/b/c.safetensors",
    ".hidden",
    ".gitignore",
    ".github/x",
    "github",
    "...x",
    "a b/c d",
    "größe/模型.gguf",
    "console",
    "com",
    "com10",
    "aux-1",
    "nul_",
    "~",
    "-rf",
    "100%.gguf",
    "git~x",
    "a" * 255,
]
UNSAFE = {
    "": "is empty",
    "/etc/passwd": "absolute",
    "\\\\server\\share": "absolute",
    "C:": "drive",
    "c:/x": "drive",
    "a\\b": "backslash",
    "..": "`..`",
    "../x": "`..`",
    "a/../b": "`..`",
    "a/..": "`..`",
    ".": "`.`",
    "./a": "`.`",
    "a/./b": "`.`",
    "a//b": "empty",
    "a/": "empty",
    "a\0b": "character",
    "a\nb": "character",
    "a\x7f": "character",
    "a\x85b": "character",
    "file:stream": "character",
    "a*": "character",
    "a?": "character",
    'a"': "character",
    "a|b": "character",
    "a<b>": "character",
    "a\u202eb": "direction",
    "a\u200bb": "invisible",
    "a\ufeff": "invisible",
    ".g\u200cit/config": "invisible",
    ".gi\u206at/config": "invisible",
    "a\u00adb": "invisible",
    "a\ud800": "Unicode",
    "a.": "dot",
    "a /b": "space",
    " a": "space",
    "...": "dot",
    "con": "Windows",
    "CON": "Windows",
    "aux.txt": "Windows",
    "aux.tar.gz": "Windows",
    "x/NUL": "Windows",
    "com1": "Windows",
    "LPT9.gguf": "Windows",
    "com¹": "Windows",
    "CONIN$": "Windows",
    "con .txt": "Windows",
    ".git": "git",
    ".GIT/hooks/x": "git",
    "a/.git": "git",
    "GIT~1": "git",
    ".gemmalock": "gemmalock",
    ".Gemmalock/ledger.json": "gemmalock",
    "a" * 256: "longer",
    "é" * 128: "longer",
    "/".join(["a"] * 3000): "longer",
}


@pytest.mark.parametrize("path", SAFE)
def test_a_plain_path_is_safe(path: str) -> None:
    assert path_problem(path) is None


@pytest.mark.parametrize(("path", "why"), UNSAFE.items())
def test_an_unsafe_path_says_why(path: str, why: str) -> None:
    problem = path_problem(path)
    assert problem is not None
    assert why in problem


@given(st.text(max_size=40))
def test_a_safe_path_stays_below_its_root_under_both_systems_rules(path: str) -> None:
    if path_problem(path) is not None:
        return
    components = path.split("/")
    assert all(component not in ("", ".", "..") for component in components)
    assert not set(path) & set('\\:*?"<>|\0')
    assert path == path.strip(" ")


_ALMOST_PLAIN = st.lists(
    st.sampled_from(
        ["con", "COM1", "git~1", "a", "B", ".", "..", "-", "=", " ", "_", "/", "\n", "\u212a", "\u017f", "nul.x"]
    ),
    max_size=6,
).map("".join)


@given(_ALMOST_PLAIN)
def test_what_is_safe_at_a_glance_is_safe_component_by_component(path: str) -> None:
    # A component beyond ASCII in front keeps the glance from deciding.
    if not path.startswith(("/", "\\")):
        assert (path_problem(path) is None) == (bool(path) and path_problem(f"é/{path}") is None)


@given(st.text(max_size=20))
def test_folding_is_stable_and_blind_to_case_and_form(path: str) -> None:
    assert folded(folded(path)) == folded(path)
    for form in ("NFC", "NFD"):
        assert folded(unicodedata.normalize(form, path)) == folded(path)
    assert folded(path.casefold()) == folded(path)


def test_clashes_name_both_places_and_why() -> None:
    assert clashes(["a/x", "b", "A/X"]) == [(0, 2, "is the same path on some file systems")]
    assert clashes(["a", "a"]) == [(0, 1, "is the same path")]
    assert clashes(["a/b/c", "x", "a"]) == [(0, 2, "needs the other one to be a folder")]
    assert clashes(["caf\u00e9", "cafe\u0301"]) == [(0, 1, "is the same path on some file systems")]
    assert clashes(["a", "ab", "a.b", "b/a"]) == []


_NAMES = st.lists(st.sampled_from(["a", "A", "b", "c"]), min_size=1, max_size=3).map("/".join)


@given(st.lists(_NAMES, max_size=8))
def test_there_are_no_clashes_exactly_when_all_can_be_files_at_once(paths: list[str]) -> None:
    keys = [path.lower() for path in paths]
    can_be = len(set(keys)) == len(keys) and not any(other.startswith(key + "/") for key in keys for other in keys)
    assert (clashes(paths) == []) == can_be


@given(st.lists(_NAMES, max_size=8))
def test_every_clash_is_of_an_earlier_with_a_later(paths: list[str]) -> None:
    for first, second, _ in clashes(paths):
        assert 0 <= first < second < len(paths)


GLOBS = [
    ("*.gguf", "a.gguf", True),
    ("*.gguf", ".gguf", True),
    ("*.gguf", "d/a.gguf", False),
    ("*.gguf", "a.gguf.part", False),
    ("**/*.gguf", "a.gguf", True),
    ("**/*.gguf", "x/y/a.gguf", True),
    ("a/**", "a/b/c", True),
    ("a/**", "a", False),
    ("a/**", "ab/c", False),
    ("**", "a/b", True),
    ("a/**/b", "a/b", True),
    ("a/**/b", "a/x/y/b", True),
    ("a/**/b", "ab", False),
    ("**/x/**/y", "q/x/z/x/y", True),
    ("**/x/**", "1/x/2/3", True),
    ("**/x/**", "1/x", False),
    ("**/**/x", "a/x", True),
    ("**.gguf", "b.gguf", True),
    ("**.gguf", "a/b.gguf", False),
    ("?.x", "a.x", True),
    ("a?b", "a/b", False),
    ("[abc]x", "bx", True),
    ("[a-c]x", "bx", True),
    ("[a-c]x", "dx", False),
    ("[!a]b", "cb", True),
    ("[!a]b", "ab", False),
    ("[^a]b", "ab", False),
    ("[!a]b", "/b", False),
    ("[]a]", "]", True),
    ("[!]a]", "]", False),
    ("[!]a]", "b", True),
    ("[z-a]", "z", False),
    ("[a--b]", "-", True),
    ("[a&&b]", "&", True),
    ("[\\d]", "5", False),
    ("[\\d]", "\\", True),
    ("a[b", "a[b", True),
    ("[]", "[]", True),
    ("a.b*", "axb", False),
    ("*ab", "aab", True),
    ("a*b*c", "aXbYc", True),
    ("a*b*c", "abbcb", False),
    ("*\n*", "a\nb", True),
]


@pytest.mark.parametrize(("glob", "name", "expected"), GLOBS)
def test_globs(glob: str, name: str, expected: bool) -> None:
    assert bool(glob_pattern(glob).fullmatch(name)) is expected


_PIECES = st.text(alphabet="ab*?", max_size=8)


@given(_PIECES, st.text(alphabet="ab", max_size=10))
def test_within_a_folder_a_glob_is_the_shells(glob: str, name: str) -> None:
    if glob == "**":
        return  # a whole component of `**` is everything below
    assert bool(glob_pattern(glob).fullmatch(name)) == fnmatch.fnmatchcase(name, glob)


def _slowly(glob: list[str], name: list[str]) -> bool:
    """What globs mean, one component after another, by trying everything."""
    if not glob:
        return not name
    if glob[0] == "**":
        if len(glob) == 1:
            return bool(name)
        return _slowly(glob[1:], name) or (bool(name) and _slowly(glob, name[1:]))
    return bool(name) and fnmatch.fnmatchcase(name[0], glob[0]) and _slowly(glob[1:], name[1:])


@given(
    st.lists(st.sampled_from(["**", "*", "a", "b", "a*", "?b"]), min_size=1, max_size=6),
    st.lists(st.sampled_from(["a", "b", "ab", "bb"]), min_size=1, max_size=6),
)
def test_across_folders_taking_the_first_place_finds_what_trying_everything_finds(
    glob: list[str], name: list[str]
) -> None:
    assert bool(glob_pattern("/".join(glob)).fullmatch("/".join(name))) == _slowly(glob, name)


def test_no_glob_takes_time_that_explodes() -> None:
    # Each of these would run for longer than the universe has, if what a wildcard took were tried again.
    assert not matches("a" * 255, ["*a" * 40 + "*b"])
    assert not matches("a/" * 1500 + "c", ["**/a/" * 40 + "b"])
    assert not matches("a/" * 1500 + "c", ["**/*a*a*a*/" * 20 + "b"])


@given(st.text(max_size=30), st.text(max_size=10))
def test_any_text_is_a_glob_that_can_be_asked(glob: str, name: str) -> None:
    assert glob_pattern(glob).fullmatch(name) is None or isinstance(name, str)
    assert matches(glob, [glob])


def test_a_name_with_glob_marks_in_it_matches_itself() -> None:
    assert is_glob("model[1].bin")
    assert matches("model[1].bin", ["model[1].bin"])
    assert matches("model1.bin", ["model[1].bin"])


def test_joining_leaves_out_what_is_empty() -> None:
    assert joined("", "models", ".", "a/b") == "models/a/b"

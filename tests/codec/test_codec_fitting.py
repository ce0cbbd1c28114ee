"""What fits a schema is accepted without jsonschema, which stays the judge: the two never differ."""

from __future__ import annotations

import copy
import datetime
import decimal
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemmalock.codec import manifest as manifests
from gemmalock.codec.fitting import acceptor
from gemmalock.codec.manifest import read_manifest
from gemmalock.codec.schema import validator
from gemmalock.codec.yaml_tree import read_yaml
from gemmalock.errors import ManifestInvalid, Problem
from gemmalock.resources import schema_text
from tests.guard import CHECKOUT
from tests.running import Gemmalock, Project

CASES = CHECKOUT / "manifest" / "cases"
VALID = sorted((CASES / "valid").glob("*.yaml"))
INVALID = sorted((CASES / "invalid").glob("*.yaml"))
DIGEST = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
TASK = "cd6cc49b-a92f-5e55-be4a-db1bed7583e3"

NAMES = ("manifest.v1", "lock.v1", "report.v1", "task-record.v1")
SCHEMAS = {name: json.loads(schema_text(f"{name}.schema.json")) for name in NAMES}
ACCEPTORS = {name: acceptor(schema) for name, schema in SCHEMAS.items()}
JUDGES = {name: validator(schema) for name, schema in SCHEMAS.items()}

LOCK = {
    "lock_version": 1,
    "manifests": [
        {
            "declared": f"sha256:{DIGEST}",
            "path": "gemmalock.yaml",
            "root": "models",
            "models": [
                {
                    "name": "gemma",
                    "license": "gemma",
                    "revision": "0123",
                    "source": "hf://o/r@main",
                    "tags": ["llm"],
                    "files": [
                        {
                            "etag": None,
                            "mirrors": ["https://b.example/größe"],
                            "name": "größe.bin",
                            "path": "gemma/größe.bin",
                            "sha256": DIGEST,
                            "size": 2**63 - 1,
                            "task_id": TASK,
                            "url": "https://a.example/größe",
                        }
                    ],
                }
            ],
        }
    ],
}
RECORD = {
    "record_version": 1,
    "task_id": TASK,
    "url": "https://models.example.org/größe.gguf",
    "size": 100,
    "etag": '"x"',
    "sha256": None,
    "nodes": ["gemmalock.yaml::gemma::gemma.gguf"],
    "locks": ["/home/a/gemmalock.lock"],
    "ranges": [[0, 10], [20, 100]],
    "begun": "2025-01-01T00:00:00Z",
}
LOCKED_MODEL = {"source": None, "revision": "1", "license": None, "tags": ["a"]}
LOCKED_FILE = {"path": "p", "url": "u", "mirrors": [], "size": 1, "etag": None, "sha256": DIGEST, "task_id": TASK}
DIFFERENCE = {
    "manifests": [
        {"path": "g.yaml", "change": "added", "before": None, "after": {"root": "models", "declared": "sha256:"}}
    ],
    "models": [
        {
            "id": "g.yaml::m",
            "name": "m",
            "change": "changed",
            "before": LOCKED_MODEL,
            "after": None,
            "files": [
                {
                    "id": "g.yaml::m::f",
                    "name": "f",
                    "change": "removed",
                    "same_bytes": None,
                    "before": LOCKED_FILE,
                    "after": None,
                }
            ],
        }
    ],
}
REPORT = {
    "report_version": 1,
    "command": "sync",
    "exit_code": 1,
    "files": [
        {
            "id": "gemmalock.yaml::gemma::gemma.gguf",
            "model": "gemma",
            "path": "models/gemma/gemma.gguf",
            "task_id": TASK,
            "size": 253115392,
            "sha256": DIGEST,
            "resume_status": "can_resume",
            "reason": "",
            "action": None,
            "outcome": "failed",
            "bytes_kept": 0,
            "bytes_fetched": 1,
            "seconds": 1.5,
            "error": {"code": "timeout", "message": "it took too long", "hint": ""},
        }
    ],
    "pruned": [{"path": "models/old/x.gguf", "size": 123, "to": "trash"}],
    "strays_kept": [{"path": "models/notes.txt", "reason": "git tracks it"}],
    "lock": {"path": "gemmalock.lock", "changed": False},
    "errors": [{"code": "manifest", "message": "", "hint": "", "place": "gemmalock.yaml:1:2"}],
    "warnings": ["one"],
    "facts": {
        "objects": 3,
        "difference": DIFFERENCE,
        "projects": [{"folder": "a", "exit_code": 0, "lock": None, "report": {"x": [1]}}],
    },
    "summary": {
        "done": 0,
        "skipped": 0,
        "planned": 0,
        "failed": 1,
        "cancelled": 0,
        "pruned": 1,
        "bytes_fetched": 1,
        "seconds": 2,
    },
}


def _tree(case: Path) -> Any:
    tree = read_yaml(case.read_bytes(), case.name).tree
    return None if tree is None else tree.value


#: The name of a schema, and a value that fits it.
FITTING: tuple[tuple[str, Any], ...] = (
    ("lock.v1", LOCK),
    ("task-record.v1", RECORD),
    ("report.v1", REPORT),
    *(("manifest.v1", _tree(case)) for case in VALID),
)


def _judged(schema: dict[str, Any], value: Any) -> bool:
    """Whether a value fits, by acceptor and jsonschema, who agree."""
    accepted, right = acceptor(schema)(value), validator(schema).is_valid(value)
    assert accepted == right, (schema, value)
    return accepted


# --- the schemas of this package ---------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), FITTING)
def test_what_is_valid_is_accepted(name: str, value: Any) -> None:
    assert JUDGES[name].is_valid(value)
    assert ACCEPTORS[name](value)


def test_what_is_written_in_the_examples_is_accepted() -> None:
    locks = sorted((CHECKOUT / "examples").glob("*/gemmalock.lock"))
    assert locks
    assert [path for path in locks if not ACCEPTORS["lock.v1"](json.loads(path.read_bytes()))] == []


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case.stem)
def test_no_flawed_manifest_is_accepted(case: Path) -> None:
    value = _tree(case)
    assert ACCEPTORS["manifest.v1"](value) == JUDGES["manifest.v1"].is_valid(value)


def _problems(case: Path) -> tuple[Problem, ...]:
    try:
        read_manifest(case.read_bytes(), case.name)
    except ManifestInvalid as error:
        return tuple(error.problems)
    return ()


def test_a_manifest_has_the_problems_that_it_has_where_nothing_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {case: _problems(case) for case in (*VALID, *INVALID)}
    monkeypatch.setattr(manifests, "_accepts", lambda: lambda value: False)
    assert {case: _problems(case) for case in (*VALID, *INVALID)} == found


_SCALARS = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, -1, 2**63, 10**400, 0.0, 1.0, -0.5, 1e300, math.inf, math.nan])
    | st.sampled_from(["", "a", "A\n", "größe", "\u202e", "\ud800", DIGEST, DIGEST.upper(), DIGEST + "\n", "é" * 201])
    | st.text(max_size=3)
)
_KEYS = st.sampled_from(["a", "b", "", "url", "files", "quant", "size", "\x00"])
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=6,
)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every mapping or list in a value, with every key or number of it."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in list(pairs):
        yield value, key
        yield from _places(child)


def _removed(_: st.DrawFn, parent: Any, key: Any) -> None:
    del parent[key]


def _replaced(draw: st.DrawFn, parent: Any, key: Any) -> None:
    parent[key] = draw(_VALUES)


def _disguised(_: st.DrawFn, parent: Any, key: Any) -> None:
    """The same to Python, or nearly, but not to JSON."""
    child = parent[key]
    if isinstance(child, bool):
        parent[key] = int(child)
    elif isinstance(child, int):
        parent[key] = bool(child) if child in (0, 1) else float(child % 2**64)
    elif isinstance(child, str):
        parent[key] = child + "\n"
    else:
        parent[key] = [child]


def _added(draw: st.DrawFn, parent: Any, key: Any) -> None:
    if isinstance(parent, list):
        parent.insert(key, draw(_VALUES))
    else:
        parent[draw(_KEYS)] = draw(_VALUES)


def _renamed(draw: st.DrawFn, parent: Any, key: Any) -> None:
    if isinstance(parent, dict):
        parent[draw(st.text(max_size=4) | st.just("n" * 201))] = parent.pop(key)


def _doubled(_: st.DrawFn, parent: Any, key: Any) -> None:
    if isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))


_CHANGES: tuple[Callable[[st.DrawFn, Any, Any], None], ...] = (
    _removed, _replaced, _disguised, _added, _renamed, _doubled,
)  # fmt: skip


@st.composite
def _changed(draw: st.DrawFn) -> tuple[str, Any]:
    name, value = draw(
        st.sampled_from(NAMES).flatmap(lambda name: st.sampled_from([f for f in FITTING if f[0] == name]))
    )
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        if places := list(_places(value)):
            draw(st.sampled_from(_CHANGES))(draw, *draw(st.sampled_from(places)))
    return name, value


@settings(max_examples=400)
@given(_changed())
def test_a_changed_value_is_accepted_exactly_where_it_still_fits(changed: tuple[str, Any]) -> None:
    name, value = changed
    assert ACCEPTORS[name](value) == JUDGES[name].is_valid(value)


# --- any schema --------------------------------------------------------------------------------------------

#: A schema, a value, and whether it fits.
TRAPS: tuple[tuple[dict[str, Any], Any, bool], ...] = (
    ({}, None, True),
    ({"type": "integer"}, 1.0, False),
    ({"type": "integer"}, True, False),
    ({"type": "number"}, True, False),
    ({"type": "number"}, 10**400, True),
    ({"type": ["integer", "null"]}, None, True),
    ({"type": []}, None, False),
    ({"minimum": 1}, False, True),
    ({"minimum": 1}, "", True),
    ({"minimum": 1}, 0.5, False),
    ({"minimum": 1}, math.nan, True),
    ({"maximum": 1}, math.nan, True),
    ({"maximum": 1}, math.inf, False),
    ({"minLength": 1}, [], True),
    ({"minItems": 1}, "", True),
    ({"maxLength": 1}, "👍", True),
    ({"maxLength": 1}, "e\u0301", False),
    ({"maxItems": 1}, [1, 2], False),
    ({"pattern": "b"}, "abc", True),
    ({"pattern": "^b"}, "abc", False),
    ({"pattern": "^b$"}, "b\n", True),
    ({"pattern": "^b$"}, "a\nb", False),
    ({"pattern": "^b$"}, 3, True),
    ({"pattern": r"^\d$"}, "٣", True),
    ({"const": 1}, True, False),
    ({"const": 1}, 1.0, True),
    ({"const": 1}, "1", False),
    ({"const": None}, False, False),
    ({"const": False}, 0, False),
    ({"const": 1}, [1], False),
    ({"enum": [1, "a", None, True]}, True, True),
    ({"enum": ["a", None]}, {}, False),
    ({"enum": [0]}, False, False),
    ({"enum": [0]}, -0.0, True),
    ({"enum": []}, 0, False),
    ({"required": ["a"]}, [], True),
    ({"required": ["a"]}, {"b": 1}, False),
    ({"items": False}, [], True),
    ({"items": False}, [1], False),
    ({"items": {"type": "null"}}, {"a": 1}, True),
    ({"items": {"type": "null"}}, [None, 1], False),
    ({"properties": {"a": False}}, {"a": 1}, False),
    ({"properties": {"a": False}}, {"b": 1}, True),
    ({"additionalProperties": False}, {"a": 1}, False),
    ({"additionalProperties": False, "properties": {"a": {}}}, {"a": 1}, True),
    ({"additionalProperties": {"type": "null"}, "properties": {"a": {}}}, {"a": 1, "b": 1}, False),
    ({"additionalProperties": {"type": "null"}, "properties": {"a": {}}}, {"a": 1, "b": None}, True),
    ({"properties": {"a": {"additionalProperties": False}, "b": {}}}, {"a": {"b": 1}}, False),
    ({"propertyNames": {"maxLength": 1}}, {"ab": 1}, False),
    ({"propertyNames": {"pattern": "b"}}, {"ab": 1}, True),
    ({"propertyNames": False}, {}, True),
    ({"propertyNames": {"pattern": "b"}}, {1: 1}, True),
    ({"additionalProperties": False}, {1: 1}, False),
    ({"if": {"required": ["a"]}, "else": {"required": ["b"]}}, {}, False),
    ({"if": {"required": ["a"]}, "else": {"required": ["b"]}}, {"a": 1}, True),
    ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"a": 1}, False),
    ({"if": {"type": "integer"}, "then": False}, 1.0, True),
    ({"if": {"enum": [1]}, "then": False, "else": {"type": "null"}}, 2, False),
    ({"then": False, "else": False}, 1, True),
    ({"if": False}, 1, True),
    ({"$ref": "#/$defs/a", "minimum": 3, "$defs": {"a": {"type": "integer"}}}, 2, False),
    ({"$ref": "#/$defs/a", "minimum": 3, "$defs": {"a": {"type": "integer"}}}, 3.0, False),
    ({"$ref": "#/$defs/a", "minimum": 3, "$defs": {"a": {"type": "integer"}}}, 3, True),
    ({"$ref": "#/$defs/a", "$defs": {"a": False}}, 3, False),
    ({"properties": {"a": {"type": "null"}, "b": {"$ref": "#/properties/a"}}}, {"b": 1}, False),
    ({"$ref": "#/$defs/t", "$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}}, [[], [[]]], True),
    ({"$ref": "#/$defs/t", "$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}}, [[], [[1]]], False),
    ({"title": "a", "description": "b", "$comment": "c", "default": 1, "examples": [1], "format": "date"}, "x", True),
    ({"$schema": SCHEMAS["lock.v1"]["$schema"], "$id": "urn:a", "type": "null"}, 1, False),
)  # fmt: skip


@pytest.mark.parametrize(("schema", "value", "fits"), TRAPS)
def test_acceptor_and_judge_fall_into_no_trap(schema: dict[str, Any], value: Any, fits: bool) -> None:
    assert _judged(schema, value) is fits


#: Schemas that something fits, and that say what is not known here.
UNKNOWN: tuple[dict[str, Any], ...] = (
    {"unheard-of": 1},
    {"uniqueItems": True},
    {"patternProperties": {}},
    {"anyOf": [True]},
    {"not": False},
    {"prefixItems": []},
    {"$dynamicRef": "#/$defs/a", "$defs": {"a": True}},
    {"minimum": 0.5},
    {"minLength": 1.0},
    {"minLength": True},
    {"const": [1]},
    {"const": {}},
    {"enum": [1, [1]]},
    {"enum": "a"},
    {"type": "decimal"},
    {"type": {"integer": 1}},
    {"type": [["integer"]]},
    {"required": "a"},
    {"required": [1]},
    {"pattern": "("},
    {"pattern": 1},
    {"properties": []},
    {"properties": [], "additionalProperties": False},
    {"properties": {"a": None}},
    {"items": [True]},
    {"if": 1},
    {"$schema": "http://json-schema.org/draft-04/schema#"},
    {"properties": {"a": {"$id": "urn:a"}}},
    {"properties": {"a": {"$schema": SCHEMAS["lock.v1"]["$schema"]}}},
    {"$ref": "#"},
    {"$ref": 1},
    {"$ref": "https://schemas.invalid/a.json"},
    {"$ref": "other.json#/$defs/a", "$defs": {"a": True}},
    {"$ref": "#a", "$defs": {"a": {"$anchor": "a"}}},
    {"$ref": "#/$defs/a~0", "$defs": {"a~": True}},
    {"$ref": "#/$defs/%61", "$defs": {"a": True}},
    {"$ref": "#/$defs/b", "$defs": {"a": True}},
    {"$ref": "#/$defs/a/b", "$defs": {"a": True}},
    {"$ref": "#/enum/0", "enum": [{}]},
    {"$ref": "#/$defs/a/items", "$defs": {"a": {"$id": "urn:a", "items": {}}}},
    {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
)


@pytest.mark.parametrize("schema", UNKNOWN)
def test_a_schema_that_says_what_is_not_known_fits_nothing(schema: dict[str, Any]) -> None:
    accepts = acceptor(schema)
    assert not any(accepts(value) for value in (None, True, 1, 1.5, "a", "", [], [1], {}, {"a": 1}))


class Text(str):
    """Text, and not only that."""


@pytest.mark.parametrize("odd", [decimal.Decimal(1), datetime.date(2025, 1, 1), (1,), b"a", Text("a"), {1}, 1j])
@pytest.mark.parametrize("schema", [{}, {"minimum": 0}, {"if": {"const": 1}}, {"enum": [1, "a"]}])
def test_what_json_has_no_word_for_is_left_to_the_judge(odd: object, schema: dict[str, Any]) -> None:
    accepts = acceptor({"items": schema})
    assert accepts([1])
    assert not accepts([odd])


_PATTERNS = st.sampled_from(["a", "^a", "a$", "^[a-z]*$", "^$", r"\w", "(a|ö){2}"])
_SHORT = st.integers(0, 2)
_PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "type": st.sampled_from(["object", "array", "string", "integer", "number", "boolean", "null"])
    | st.lists(st.sampled_from(["object", "array", "string", "integer", "number"]), max_size=3),
    "required": st.lists(_KEYS, max_size=2),
    "minItems": _SHORT,
    "maxItems": _SHORT,
    "minLength": _SHORT,
    "maxLength": _SHORT,
    "pattern": _PATTERNS,
    "minimum": st.integers(-1, 1),
    "maximum": st.integers(-1, 1),
    "const": st.sampled_from([0, 1, 1.0, True, False, None, "", "a"]),
    "enum": st.lists(_SCALARS, min_size=1, max_size=4),
    "title": st.just("a"),
    "format": st.just("uri"),
}


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    nesting = {
        "properties": st.dictionaries(_KEYS, inner, max_size=3),
        "additionalProperties": inner,
        "propertyNames": inner,
        "items": inner,
        "if": inner,
        "then": inner,
        "else": inner,
    }
    words = {**_PLAIN, **nesting}
    some = st.lists(st.sampled_from(sorted(words)), max_size=4, unique=True)
    return some.flatmap(lambda keywords: st.fixed_dictionaries({word: words[word] for word in keywords}))


_LOW = st.booleans() | _schemas(st.booleans())
_HIGH = _schemas(_LOW | st.just({"$ref": "#/$defs/low"}))
_ROOTS = st.builds(
    lambda schema, low, high, refers: (
        {**schema, "$defs": {"low": low, "high": high}} | ({"$ref": "#/$defs/high"} if refers else {})
    ),
    _HIGH,
    _LOW,
    _HIGH,
    st.booleans(),
)


@settings(max_examples=250)
@given(_ROOTS, st.lists(_VALUES, min_size=1, max_size=8))
def test_acceptor_and_judge_agree_on_any_schema_of_known_keywords(schema: dict[str, Any], values: list[Any]) -> None:
    accepts, judge = acceptor(schema), validator(schema)
    for value in values:
        assert accepts(value) == judge.is_valid(value)


# --- what it is for ----------------------------------------------------------------------------------------

_WATCHED = (
    "import sys\nfrom gemmalock.cli import main\n"
    "try:\n    main(sys.argv[1:])\n"
    "finally:\n    print(*sorted({'jsonschema', 'attr', 'referencing', 'rpds'} & set(sys.modules)))\n"
)


@pytest.mark.parametrize("command", ["lock", "sync"])
def test_a_first_lock_or_sync_of_a_good_manifest_never_loads_the_judge(
    project: Project, gemmalock: Gemmalock, command: str
) -> None:
    (project.folder / "weights").mkdir()
    (project.folder / "weights/a.bin").write_bytes(b"a")
    project.write_manifest("version: 1\nmodels:\n  m:\n    source: file://weights\n    files: [a.bin]\n")
    done = replace(gemmalock, program=(sys.executable, "-c", _WATCHED))(command)
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == ""
    assert project.lock.is_file()


def test_a_bad_manifest_is_told_with_all_that_is_wrong_in_it(project: Project, gemmalock: Gemmalock) -> None:
    project.write_manifest("version: 1\nrot: x\nmodels:\n  m:\n    files: []\n  n:\n    files: [{url: 3}]\n")
    done = replace(gemmalock, program=(sys.executable, "-c", _WATCHED))("lock")
    assert done.code == 4
    assert done.out.splitlines()[-1] == "attr jsonschema referencing rpds"
    for place in (":2:1: unknown key `rot`", ":5:12: `files` is empty", ":7:19: `url` must be text"):
        assert place in done.err

"""JSON Schema (Draft 2020-12) as sentences: what in a value does not fit a schema, for a person to read.

The only importer of jsonschema. Nothing is ever retrieved: the registry is empty, and a remote `$ref` an error.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry

from gemmalock.escaping import shown
from gemmalock.resources import schema_text

Pointer = tuple[str | int, ...]

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that does not fit: where in the value, and with `key` at which key of the mapping there."""

    pointer: Pointer
    message: str
    hint: str = ""
    key: str | None = None
    missing: bool = False


@dataclass(frozen=True, slots=True)
class _Failure:
    """A keyword that a value does not fit, as jsonschema tells it."""

    keyword: str
    wanted: Any
    instance: Any
    schema: Mapping[str, Any]
    pointer: Pointer
    message: str
    of_a_key: bool


def flaws(schema: str, value: Any) -> Iterator[Flaw]:
    """Everything in `value` that does not fit the schema of that file name."""
    for error in validator(json.loads(schema_text(schema))).iter_errors(value):
        failure = _Failure(
            keyword=str(error.validator),
            wanted=error.validator_value,
            instance=error.instance,
            schema=error.schema if isinstance(error.schema, dict) else {},
            pointer=tuple(error.absolute_path),
            message=error.message,
            of_a_key="propertyNames" in error.absolute_schema_path,
        )
        yield from _RULES.get(failure.keyword, _other)(failure)


def validator(schema: Mapping[str, Any]) -> Validator:
    """A validator that retrieves nothing, and for which 1.0 and 1e3 are no integers."""
    return _strict()(schema, registry=Registry())


@lru_cache(maxsize=1)
def _strict() -> type[Validator]:
    checker = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    strict: type[Validator] = extend(Draft202012Validator, type_checker=checker)  # type: ignore[no-untyped-call]
    return strict


def kind(value: object) -> str:
    """What a value is, in words."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return f"the number {shown(str(value), 30)}"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "a mapping"


def label(pointer: Pointer) -> str:
    """What a person calls the place: `files`, or entry 2 of `files`; the whole is "the file"."""
    if not pointer:
        return "the file"
    last = pointer[-1]
    if isinstance(last, int):
        return f"entry {last + 1} of {label(pointer[:-1])}"
    return f"`{shown(last)}`"


def near_key(key: str, known: Mapping[str, object]) -> str:
    """A hint for an unknown key: the known one that is nearest, or all of them."""
    near = difflib.get_close_matches(key[:80].lower(), list(known), n=1)
    if near:
        return f"did you mean `{near[0]}`?"
    return "known here: " + ", ".join(f"`{name}`" for name in known)


def _unknown_keys(failure: _Failure) -> Iterator[Flaw]:
    known: Mapping[str, object] = failure.schema.get("properties", {})
    for key in failure.instance:
        if key not in known:
            yield Flaw(failure.pointer, f"unknown key `{shown(key)}`", near_key(key, known), key)


def _missing_key(failure: _Failure) -> Iterator[Flaw]:
    # jsonschema yields one error for each missing key, and the key's name only in its message.
    for key in failure.wanted:
        if key not in failure.instance and failure.message.startswith(repr(key)):
            yield Flaw(failure.pointer, f"`{key}` is missing", missing=True)


def _wrong_type(failure: _Failure) -> Iterator[Flaw]:
    names = [failure.wanted] if isinstance(failure.wanted, str) else list(failure.wanted)
    words = " or ".join(_TYPES[name] for name in names)
    has_text = isinstance(failure.instance, str)
    hint = ""
    if "string" in names and isinstance(failure.instance, (bool, int, float)):
        hint = "put quotes around it"
    elif "array" in names and has_text:
        hint = "write it as a list: `[…]`"
    elif names == ["integer"] and has_text:
        hint = "write the number, without quotes"
    yield Flaw(failure.pointer, f"{label(failure.pointer)} must be {words}, and is {kind(failure.instance)}", hint)


def _too_few(failure: _Failure) -> Iterator[Flaw]:
    yield Flaw(failure.pointer, f"{label(failure.pointer)} is empty")


def _constant(failure: _Failure) -> Iterator[Flaw]:
    # A wrong type has been reported already, by `type`.
    if type(failure.instance) is type(failure.wanted):
        yield Flaw(failure.pointer, f"{label(failure.pointer)} must be {json.dumps(failure.wanted)}")


def _bounds(failure: _Failure) -> Iterator[Flaw]:
    word = "at least" if failure.keyword == "minimum" else "at most"
    unit = " characters long" if failure.keyword == "maxLength" else ""
    yield Flaw(failure.pointer, f"{label(failure.pointer)} must be {word} {failure.wanted}{unit}")


def _unfit_text(failure: _Failure) -> Iterator[Flaw]:
    if failure.of_a_key:
        yield Flaw(failure.pointer, f"`{shown(failure.instance)}` cannot be a name here", key=failure.instance)
        return
    says = failure.schema.get("description", f"it must match `{failure.wanted}`")
    yield Flaw(failure.pointer, f"{label(failure.pointer)} is `{shown(failure.instance)}`: {says}")


def _one_of_a_list(failure: _Failure) -> Iterator[Flaw]:
    allowed = ", ".join(f"`{value}`" for value in failure.wanted)
    yield Flaw(failure.pointer, f"{label(failure.pointer)} must be one of {allowed}")


def _other(failure: _Failure) -> Iterator[Flaw]:
    yield Flaw(failure.pointer, f"{label(failure.pointer)}: {shown(failure.message)}")


_RULES: Mapping[str, Callable[[_Failure], Iterator[Flaw]]] = {
    "additionalProperties": _unknown_keys,
    "required": _missing_key,
    "type": _wrong_type,
    "minItems": _too_few,
    "const": _constant,
    "minimum": _bounds,
    "maximum": _bounds,
    "minLength": _too_few,
    "maxLength": _bounds,
    "pattern": _unfit_text,
    "enum": _one_of_a_list,
}

"""JSON Schema (Draft 2020-12) as plain functions: whether a value fits a schema, and not a word of why it does not.

The keywords are those that the schemas of this package are written in; a schema that has another one fits nothing here.
No library, no file, no sentence: what is not accepted is `schema`'s to judge and to explain.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import NoneType
from typing import Any

#: True, or what counts as true, of a value that fits.
Check = Callable[[Any], object]

#: The name of a type in a schema → what such values are in Python; `bool` is apart, and no number.
_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (NoneType,),
}
_KINDS = (dict, list, str, int, float, bool, NoneType)
_SCALARS = (str, int, float, bool, NoneType)
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: They decide nothing where they stand: annotations, what `$ref` looks up, and what is read along with its sibling.
_SILENT = frozenset({"title", "description", "$comment", "default", "examples", "format", "$defs", "then", "else"})


def acceptor(schema: Mapping[str, Any]) -> Callable[[object], bool]:
    """A function that is true of a value only where the value certainly fits the schema.

    As in `schema.validator`, 1.0 is no integer. It is false of what does not fit, of what JSON has no word for (a date,
    a subclass), and of everything where the schema says something that is not known here.
    """
    try:
        check = _Reader(schema).check(schema)
    except (_Unknown, re.error):
        check = _never

    def accepts(value: object) -> bool:
        try:
            return bool(check(value))
        except (KeyError, RecursionError):  # of a type that JSON has not, or a schema that refers to itself for ever
            return False

    return accepts


class _Unknown(Exception):
    """The schema says something that is not known here."""


class _Reader:
    """Makes checks of a schema and of those inside it."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._referred: dict[str, Check] = {}

    def check(self, schema: Any) -> Check:
        """The check of a schema. Raises _Unknown, and re.error for a pattern that is none.

        What it says is sorted by the type of the value first: a look at that, and only what concerns it is asked.
        """
        if isinstance(schema, bool):
            return _always if schema else _never
        if not isinstance(schema, dict):
            raise _Unknown
        checks: dict[type, Check] = dict.fromkeys(_KINDS, _always)
        for keyword in schema:
            kinds, check = self._keyword(keyword, schema)
            for kind in kinds:
                checks[kind] = _both(checks[kind], check)
        return lambda value: checks[type(value)](value)

    def _keyword(self, keyword: str, schema: Mapping[str, Any]) -> tuple[Iterable[type], Check]:
        """The kinds of value that a keyword concerns, and what it asks of them."""
        wanted = schema[keyword]
        if keyword in _SILENT:
            return (), _always
        if keyword == "type":
            allowed = _allowed(wanted)
            return [kind for kind in _KINDS if kind not in allowed], _never
        if keyword in _PLAIN:
            kinds, written_as, make = _PLAIN[keyword]
            if type(wanted) not in written_as:
                raise _Unknown
            return kinds, make(wanted)
        if keyword in _NESTING:
            kinds, nest = _NESTING[keyword]
            return kinds, nest(self, schema)
        # Elsewhere than at the root they would change what `$ref` means below them.
        if schema is self._root and (keyword == "$id" or (keyword == "$schema" and wanted == _DIALECT)):
            return (), _always
        raise _Unknown

    def properties(self, schema: Mapping[str, Any]) -> Check:
        checks = {key: self.check(child) for key, child in _members(schema["properties"])}

        def fits(value: dict[str, Any]) -> bool:
            for key, child in value.items():
                check = checks.get(key)
                if check is not None and not check(child):
                    return False
            return True

        return fits

    def additional_properties(self, schema: Mapping[str, Any]) -> Check:
        known = frozenset(key for key, _ in _members(schema.get("properties", {})))
        if schema["additionalProperties"] is False:
            return lambda value: value.keys() <= known
        check = self.check(schema["additionalProperties"])
        return lambda value: all(check(child) for key, child in value.items() if key not in known)

    def property_names(self, schema: Mapping[str, Any]) -> Check:
        check = self.check(schema["propertyNames"])
        return lambda value: all(map(check, value))

    def items(self, schema: Mapping[str, Any]) -> Check:
        check = self.check(schema["items"])
        return lambda value: all(map(check, value))

    def condition(self, schema: Mapping[str, Any]) -> Check:
        """`if`: a check is false of what does not fit alone (at what is odd it raises), so that it may choose."""
        condition = self.check(schema["if"])
        then, otherwise = self.check(schema.get("then", True)), self.check(schema.get("else", True))
        return lambda value: then(value) if condition(value) else otherwise(value)

    def reference(self, schema: Mapping[str, Any]) -> Check:
        """`$ref`, one keyword among its siblings; what it names is looked up late, as that may name itself."""
        name, referred = schema["$ref"], self._referred
        if not isinstance(name, str) or re.fullmatch(r"#(/[$\w-]+)+", name, re.ASCII) is None:
            raise _Unknown
        if name not in referred:
            referred[name] = _never
            referred[name] = self.check(self._named(name))
        return lambda value: referred[name](value)

    def _named(self, name: str) -> Any:
        """What stands in this schema at a JSON pointer in a fragment (RFC 6901, 6), of words alone."""
        place: Any = self._root
        for step in name.split("/")[1:]:
            if not isinstance(place, dict) or step not in place or ("$id" in place and place is not self._root):
                raise _Unknown
            place = place[step]
        return place


def _always(_: object) -> bool:
    return True


def _never(_: object) -> bool:
    return False


def _both(first: Check, second: Check) -> Check:
    return second if first is _always else lambda value: first(value) and second(value)


def _allowed(wanted: object) -> set[type]:
    names = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(names, list) or not all(isinstance(name, str) and name in _TYPES for name in names):
        raise _Unknown
    return {kind for name in names for kind in _TYPES[name]}


def _members(wanted: object) -> Iterable[tuple[str, Any]]:
    if not isinstance(wanted, dict):
        raise _Unknown
    return wanted.items()


def _required(wanted: list[Any]) -> Check:
    if not all(isinstance(key, str) for key in wanted):
        raise _Unknown
    keys = frozenset(wanted)
    return lambda value: value.keys() >= keys


def _one_of(wanted: list[Any]) -> Check:
    """Equal as JSON is: 1 and 1.0 are, 1 and true are not."""
    if not all(type(each) in _SCALARS for each in wanted):
        raise _Unknown
    numbers = frozenset(each for each in wanted if type(each) in (int, float))
    others = {kind: frozenset(each for each in wanted if type(each) is kind) for kind in (str, bool, NoneType)}
    equals: Mapping[type, frozenset[Any]] = {**others, int: numbers, float: numbers}
    return lambda value: type(value) in equals and value in equals[type(value)]


#: Keyword → the kinds of value that it concerns, what it is written as, and the check that it makes.
_PLAIN: Mapping[str, tuple[tuple[type, ...], tuple[type, ...], Callable[[Any], Check]]] = {
    "required": ((dict,), (list,), _required),
    "minItems": ((list,), (int,), lambda least: lambda value: len(value) >= least),
    "maxItems": ((list,), (int,), lambda most: lambda value: len(value) <= most),
    "minLength": ((str,), (int,), lambda least: lambda value: len(value) >= least),
    "maxLength": ((str,), (int,), lambda most: lambda value: len(value) <= most),
    # Anywhere in the text, as jsonschema has it, and in Python's notation.
    "pattern": ((str,), (str,), lambda pattern: re.compile(pattern).search),
    # What is not a number (`nan`) is neither below nor above.
    "minimum": ((int, float), (int,), lambda least: lambda value: not value < least),
    "maximum": ((int, float), (int,), lambda most: lambda value: not value > most),
    "const": (_KINDS, _SCALARS, lambda wanted: _one_of([wanted])),
    "enum": (_KINDS, (list,), _one_of),
}
#: Keyword → the kinds of value that it concerns, and what makes its check of the schema that it stands in.
_NESTING: Mapping[str, tuple[tuple[type, ...], Callable[[_Reader, Mapping[str, Any]], Check]]] = {
    "properties": ((dict,), _Reader.properties),
    "additionalProperties": ((dict,), _Reader.additional_properties),
    "propertyNames": ((dict,), _Reader.property_names),
    "items": ((list,), _Reader.items),
    "if": (_KINDS, _Reader.condition),
    "$ref": (_KINDS, _Reader.reference),
}

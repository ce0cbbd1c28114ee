"""What an API answers in JSON, field by field: values that may be kept and shown, or an error that says what was
missing. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeGuard

from gemmalock.errors import SourceError
from gemmalock.sources.fields import quoted


def is_line(value: object) -> TypeGuard[str]:
    """Whether a value is text, and all of it can be shown, and written into a URL or a lock: JSON has controls, and
    halves of characters."""
    return isinstance(value, str) and value != "" and value.isprintable()


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer that is read. `url` gave it; `hint` says what to look at where it is no such answer. What a method
    wants and has not got is a SourceError."""

    url: str
    hint: str

    def parsed(self, body: bytes) -> object:
        """JSON as a value."""
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise self.without("JSON") from None

    def mapping(self, value: object) -> dict[str, Any]:
        """An object."""
        if not isinstance(value, dict):
            raise self.without("an object")
        return value

    def list(self, value: object) -> list[Any]:
        """A list."""
        if not isinstance(value, list):
            raise self.without("a list")
        return value

    def line(self, value: object, wanted: str) -> str:
        """Text that `is_line`."""
        if not is_line(value):
            raise self.without(wanted)
        return value

    def name(self, value: object, wanted: str) -> str:
        """The name of a file, which may have any character that UTF-8 has (RFC 3629, 3)."""
        try:
            if isinstance(value, str) and value.encode():
                return value
        except UnicodeEncodeError:
            pass
        raise self.without(wanted)

    def number(self, value: object, wanted: str) -> int:
        """A whole number that is not negative and fits into 63 bits: a size in bytes, or an id."""
        if type(value) is not int or not 0 <= value < 2**63:
            raise self.without(wanted)
        return value

    def moment(self, value: object) -> datetime:
        """A date with a time and its zone (RFC 3339, 5.6)."""
        try:
            moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise self.without("a date with its time zone")
        return moment

    def without(self, wanted: str, of: str = "") -> SourceError:
        """The error of an answer that has not what is wanted `of` something in it."""
        what = f"{wanted} of `{quoted(of)}`" if of else wanted
        return SourceError(f"`{self.url.partition('?')[0]}` answered without {what}", hint=self.hint)

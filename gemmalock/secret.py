"""Values that nobody may read by chance, and the one list of them that everything shown is held against. Pure.

Whoever shows, raises or writes text that others had a hand in passes it through `redacted_secrets`: `errors` does it
for messages and hints, `escaping` for all that is shown, and the standard streams for what comes by other ways. As
long as no secret is known that costs nothing. What a secret is for is known in `sources`.
"""

from __future__ import annotations

import re
from _thread import allocate_lock
from collections.abc import Iterator
from typing import NoReturn

#: What stands where a secret was.
MASK = "***"
#: What is shorter is found in too many words that are no secret: it is not looked for. No service gives such a token.
LEAST_LENGTH = 8

_forms: frozenset[str] = frozenset()
_pattern: re.Pattern[str] | None = None
_learning = allocate_lock()


class Secret:
    """A value that shows itself to `reveal` alone. One that is made is known to `redacted_secrets` from then on.

    It does not show in a repr, cannot be formatted, pickled, copied or written as JSON, and compares in constant time.
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value
        _learn(value)

    def reveal(self) -> str:
        """The value, for the one place that sends it."""
        return self.__value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __format__(self, form: str) -> str:
        return format(repr(self), form)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        import hmac

        return hmac.compare_digest(_bytes(self.__value), _bytes(other.reveal()))

    def __hash__(self) -> int:
        return hash((Secret, self.__value))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled or copied")


def redacted_secrets(text: str) -> str:
    """`text` with `***` for every known secret: as it is, percent-encoded, in Base64 or as JSON, in either case."""
    return text if _pattern is None else _pattern.sub(MASK, text)


def redacted_bytes(text: bytes) -> bytes:
    """The same for what is encoded already, in any encoding that has ASCII in it."""
    if _pattern is None:
        return text
    return redacted_secrets(text.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def holds_secret(text: str) -> bool:
    """Whether a known secret stands in `text`, in a form that `redacted_secrets` would find."""
    return _pattern is not None and _pattern.search(text) is not None


def _learn(value: str) -> None:
    global _forms, _pattern
    spelt = frozenset(form for form in _spellings(value) if len(form) >= LEAST_LENGTH)
    with _learning:
        forms = _forms | spelt
        if forms == _forms:
            return
        # Replaced whole, and the pattern last: who reads meanwhile sees the old ones or the new ones.
        _forms = forms
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        _pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)


def _spellings(value: str) -> Iterator[str]:
    """How a value may come back: servers echo what they were sent, and libraries quote what they complain of."""
    if len(value) < LEAST_LENGTH:
        # Its Base64 would be long enough, and no more telling.
        return
    import base64
    import json
    from urllib.parse import quote, quote_plus

    raw = _bytes(value)
    yield value
    yield quote(raw)
    yield quote(raw, safe="")
    yield quote_plus(raw)
    yield json.dumps(value)[1:-1]
    yield repr(value)[1:-1]
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(raw).decode("ascii").rstrip("=")


def _bytes(value: str) -> bytes:
    """As the environment has it, where a byte need not be a letter."""
    return value.encode("utf-8", "surrogateescape")

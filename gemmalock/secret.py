"""Values that nobody may read by chance, and the one list of them that everything shown is held against. Pure.

Whoever shows, raises or writes text that others had a hand in passes it through `redacted_secrets`: `errors` does it
for messages and hints, `escaping` for all that is shown, and the standard streams for what comes by other ways. As
long as no secret is known that costs nothing. What a secret is for is known in `sources`.
"""

from __future__ import annotations

import re
from _thread import allocate_lock
from collections.abc import Iterator
from functools import lru_cache
from typing import NoReturn

#: What stands where a secret was.
MASK = "***"
#: What is shorter is found in too many words that are no secret: it is not looked for. No service gives such a token.
LEAST_LENGTH = 8

_values: frozenset[str] = frozenset()
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
    """`text` with `***` for every known secret: as it is, with letters of it escaped as in URLs or in JSON, in Base64
    or in hexadecimal, in either case."""
    for pattern in _looking_into(text):
        text = pattern.sub(MASK, text)
    return text


def redacted_bytes(text: bytes) -> bytes:
    """The same for what is encoded already, in any encoding that has ASCII in it."""
    if not _values:
        return text
    return redacted_secrets(text.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def holds_secret(text: str) -> bool:
    """Whether a known secret stands in `text`, in a form that `redacted_secrets` would find."""
    return any(pattern.search(text) for pattern in _looking_into(text))


def _looking_into(text: str) -> tuple[re.Pattern[str], ...]:
    """What the secrets in a text are found by: where letters of them may be escaped, and then as they are."""
    values = _values
    if not values:
        return ()
    return (_escaped(values), _plain(values)) if "%" in text or "\\" in text else (_plain(values),)


def _learn(value: str) -> None:
    global _values
    if len(value) < LEAST_LENGTH or value in _values:
        return
    with _learning:
        # Replaced whole: who reads meanwhile sees the old ones or the new ones.
        _values = _values | {value}


@lru_cache(1)
def _escaped(values: frozenset[str]) -> re.Pattern[str]:
    longest_first = sorted(values, key=lambda value: (-len(value), value))
    return re.compile("|".join("".join(map(_escapable, value)) for value in longest_first), re.IGNORECASE)


@lru_cache(1)
def _plain(values: frozenset[str]) -> re.Pattern[str]:
    forms = sorted({form for value in values for form in _spellings(value)}, key=lambda form: (-len(form), form))
    return re.compile("|".join(map(re.escape, forms)), re.IGNORECASE)


def _spellings(value: str) -> Iterator[str]:
    """How a value may come back as a whole: servers echo what they were sent, and encode what they echo."""
    import base64

    raw = _bytes(value)
    yield value
    yield raw.hex()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before, cut in ((0, 0), (1, 2), (2, 3)):
            # Whatever stands before and behind it: the letters that hold bits of that are left out.
            whole = encode(bytes(before) + raw).decode("ascii")
            yield whole[cut : (len(raw) + before) * 8 // 6]


def _escapable(letter: str) -> str:
    """A letter as it is, or each of its bytes percent-encoded, however often, or escaped as in JSON or in Python."""
    raw = _bytes(letter)
    percent = "".join(f"%(?:25)*{byte:02x}" for byte in raw)
    python = "".join(f"\\\\x{byte:02x}" for byte in raw)
    forms = [re.escape(letter), percent, python]
    if letter in "\"\\/'":
        forms.append(re.escape(f"\\{letter}"))
    units = letter.encode("utf-16-be", "surrogatepass")
    forms.append("".join(f"\\\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2)))
    if letter == " ":
        forms.append(r"\+")
    return f"(?:{'|'.join(reversed(forms))})"


def _bytes(value: str) -> bytes:
    """As the environment has it, where a byte need not be a letter."""
    return value.encode("utf-8", "surrogateescape")

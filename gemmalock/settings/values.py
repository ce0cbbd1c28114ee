"""What each setting and flag may be: a reader for each, that makes a value of what was said or raises ValueError.

Where it was said, and what weighs more, is not known here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from gemmalock.errors import UsageError
from gemmalock.settings.said import Flaw, Flaws

if TYPE_CHECKING:
    from datetime import datetime

#: The setting that puts flags before those that are typed.
ADDOPTS = "addopts"
COLORS = ("auto", "always", "never")
PROGRESS = ("auto", "bar", "plain", "json", "none")
#: What `-r` shows at the end of a run.
SUMMARY_KINDS: Mapping[str, str] = {
    "f": "failed",
    "E": "errors of the run",
    "s": "skipped",
    "c": "cancelled",
    "d": "done or to be done",
    "p": "pruned",
    "k": "strays that stay",
    "a": "all but s and d",
    "A": "all",
    "N": "none",
}
LINK_MODES = ("auto", "reflink", "hardlink", "symlink", "copy")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_AMOUNT = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*([kmgt]i?)?b?(?:/s)?", re.IGNORECASE)
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off", ""})


def read_amount(value: object) -> int:
    """A number of bytes, as `20M` (10^6), `4MiB` (2^20) or 1024. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"must be an amount such as `20M`, not {value!r}")
    match = _AMOUNT.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"must be an amount such as `20M` or `4MiB`, not `{value}`")
    return int(float(match[1]) * _UNITS[(match[2] or "").lower()])


def is_true(text: str) -> bool:
    """Whether a variable's value switches on, as `1`, `true`, `yes` or `on`."""
    return text.strip().lower() in _TRUE


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
        return is_true(value)
    raise ValueError(f"must be true or false, not {value!r}")


def _at_least(least: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        text = str(value).strip()
        if isinstance(value, bool) or not re.fullmatch(r"\d{1,9}", text) or int(text) < least:
            raise ValueError(f"must be a whole number of at least {least}, not `{value}`")
        return int(text)

    return read


def _strings(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part for part in re.split(r"[,\s]+", value) if part)
    if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
        return tuple(value)
    raise ValueError(f"must be a list of strings, not {value!r}")


def read_words(value: object) -> tuple[str, ...]:
    """Words as a shell splits them, or a list of them."""
    if not isinstance(value, str):
        return _strings(value)
    import shlex

    try:
        return tuple(shlex.split(value))
    except ValueError as error:
        raise ValueError(f"cannot be split as a shell does: {str(error).lower()}") from None


def _plugins(value: object) -> tuple[str, ...]:
    names = _strings(value)
    for name in names:
        if not name.removeprefix("no:"):
            raise ValueError(f"must be names of plugins, as `NAME` or `no:NAME`, not `{name}`")
    return names


def _hosts(value: object) -> tuple[str, ...]:
    return tuple(host.lower() for host in _strings(value))


def _rate(value: object) -> int:
    rate = read_amount(value)
    if rate < 1:
        raise ValueError(f"must be at least 1 byte a second, not `{value}`")
    return rate


def _place(value: object) -> str:
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise ValueError(f"must be a path, not {value!r}")
    if "\0" in os.fsdecode(value):
        raise ValueError("must be a path, and has a null character")
    return os.fsdecode(value)


def _one_of(choices: tuple[str, ...]) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, not `{value}`")
        return str(value)

    return read


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a string, not {value!r}")
    return value


def _rewrite(value: object) -> tuple[tuple[str, str], ...]:
    from gemmalock.settings.tables import read_rewrite

    return read_rewrite(value)


def _auth(value: object) -> tuple[tuple[str, str], ...]:
    from gemmalock.settings.tables import read_auth

    return read_auth(value)


def _moment(value: object) -> datetime:
    from gemmalock.settings.times import read_moment

    return read_moment(value)


def _span(value: object) -> int:
    from gemmalock.settings.times import read_span

    return read_span(value)


def _told(read: Callable[[object], object]) -> Callable[[object], str]:
    """The reader of a flag whose command takes it as it was told; what cannot be `read` is refused all the same."""

    def read_told(value: object) -> str:
        read(value)
        return str(value)

    return read_told


def _expression(value: object) -> str:
    from gemmalock.expressions import Expression

    text = _text(value)
    try:
        Expression.parse(text, "")
    except UsageError as error:
        told = (Flaw("", f"is no expression: {each.message} at character {each.column}", each.hint, each.excerpt)
                for each in error.problems)  # fmt: skip
        raise Flaws(told) from None
    return text


def _kinds(value: object) -> str:
    text = _text(value)
    if unknown := next((letter for letter in text if letter not in SUMMARY_KINDS), ""):
        known = ", ".join(f"`{letter}` {what}" for letter, what in SUMMARY_KINDS.items())
        raise ValueError(f"has no kind `{unknown}`; there are {known}")
    return text


#: The settings of a run, by name.
READERS: Mapping[str, Callable[[object], object]] = {
    "store": _place,
    "jobs": _at_least(1),
    "connections": _at_least(1),
    "limit_rate": _rate,
    "link_mode": _one_of(LINK_MODES),
    "offline": _flag,
    "no_adopt_caches": _flag,
    "require_digests": _flag,
    "allow_http": _flag,
    "allowed_hosts": _hosts,
    "max_delete": _at_least(0),
    "keep": _strings,
    "trash_days": _at_least(0),
    "timeout": _at_least(1),
    "retries": _at_least(0),
    "rewrite": _rewrite,
    "auth": _auth,
    "plugin": _plugins,
    "exclude_newer": _moment,
    "minimum_age": _span,
}

#: Flags of the command line that are no settings of a run, and have a home in a settings file all the same.
FLAGS: Mapping[str, Callable[[object], object]] = {
    **dict.fromkeys(
        ("adopt", "allow_empty", "catalogue", "check", "dry_run", "frozen", "hash", "json", "locked"), _flag
    ),
    **dict.fromkeys(("no_prune", "staged", "upgrade", "verify"), _flag),
    **dict.fromkeys(("collect_only", "exitfirst", "failed_first", "last_failed"), _flag),
    **dict.fromkeys(("keyword", "tags"), _expression),
    **dict.fromkeys(("from", "quant"), _text),
    "deselect": _strings,
    "maxfail": _at_least(0),
    "color": _one_of(COLORS),
    "durations": _at_least(0),
    "junitxml": _place,
    "max_size": _told(read_amount),
    "output": _place,
    "older_than": _told(_span),
    "progress": _one_of(PROGRESS),
    "quiet": _at_least(0),
    "summary": _kinds,
    "upgrade_model": _strings,
    "verbose": _at_least(0),
}

#: All that a settings file may say.
ALL: Mapping[str, Callable[[object], object]] = {**READERS, **FLAGS, ADDOPTS: read_words}

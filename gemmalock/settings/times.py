"""The settings that are times: a date or a date and time, and a span. Pure: what time it is, somebody else says."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SPAN = re.compile(r"(\d{1,6})\s*([smhdw])", re.IGNORECASE)
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
#: A date-time of RFC 3339, 5.6, with its offset; a space may stand for the `T`.
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


def read_moment(value: object) -> datetime:
    """The last moment, in UTC, of a date as `2026-11-01`, or a date-time of RFC 3339. Raises ValueError.

    A date alone is all of that day in UTC, so that it means the same on every machine. TOML has both as values of their
    own.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"must say its offset from UTC, as `{value.isoformat()}Z`")
        # As text is read: what lies beyond the first or the last year in UTC is no date either.
        value = value.isoformat()
    elif isinstance(value, date):
        return datetime.combine(value, time.max, UTC)
    if not isinstance(value, str):
        raise ValueError(f"must be a date such as `2026-11-01`, not {value!r}")
    text = value.strip()
    try:
        if _DATE.fullmatch(text):
            return datetime.combine(date.fromisoformat(text), time.max, UTC)
        if (match := _MOMENT.fullmatch(text)) is not None:
            day, clock, fraction, offset = match.groups()
            # Finer than a microsecond is not told apart.
            told = f"{day}T{clock}{(fraction or '')[:7]}{offset.upper()}"
            return datetime.fromisoformat(told).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"must be a date that there is, not `{value}`: {error}") from None
    raise ValueError(f"must be a date such as `2026-11-01`, or a time such as `2026-11-01T12:00:00Z`, not `{value}`")


def read_span(value: object) -> int:
    """A span of time in seconds, as `7d`, `36h` or `2w`. Raises ValueError."""
    match = _SPAN.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"must be a span of time such as `7d`, `36h` or `2w`, not {_written(value)}")
    return int(match[1]) * _SECONDS[match[2].lower()]


def earliest(until: datetime | None, age: int | None, now: datetime) -> datetime | None:
    """The earlier of a moment and of `age` seconds before `now`; None where there is neither."""
    if age is None:
        return until
    # 999,999 weeks are longer ago than the first year.
    old_enough = now - timedelta(seconds=age) if timedelta(seconds=age) < now - _FIRST else _FIRST
    return old_enough if until is None else min(until, old_enough)


_FIRST = datetime.min.replace(tzinfo=UTC)


def _written(value: object) -> str:
    return f"`{value}`" if isinstance(value, str) else repr(value)

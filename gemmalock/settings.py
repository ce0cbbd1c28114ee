"""Settings: what a flag, its environment twin or a settings file says, in that order of weight.

A settings file is `[tool.gemmalock]` in the workspace's `pyproject.toml`, or `gemmalock.toml` beside the manifest.
Nothing here knows what a setting is for; whoever uses one does.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from gemmalock.durable import read_file
from gemmalock.errors import Problem, SettingInvalid

PREFIX = "GEMMALOCK_"
#: No settings file that people write is larger.
MAX_BYTES = 16 * 1024 * 1024
COLORS = ("auto", "always", "never")
PROGRESS = ("auto", "bar", "plain", "json", "none")
LINK_MODES = ("auto", "reflink", "hardlink", "symlink", "copy")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_AMOUNT = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*([kmgt]i?)?b?(?:/s)?", re.IGNORECASE)
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off", ""})


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting with its default. Sizes and rates in bytes and bytes a second."""

    store: str | None = None
    jobs: int = 8
    connections: int | None = None
    limit_rate: int | None = None
    link_mode: str = "auto"
    offline: bool = False
    require_digests: bool = False
    allow_http: bool = False
    allowed_hosts: tuple[str, ...] = ()
    max_delete: int | None = None
    keep: tuple[str, ...] = ()
    trash_days: int = 7
    timeout: int = 15
    retries: int = 5


def load_settings(folder: Path, environ: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """The settings of a run: `flags` (those that were given) over `environ` over the settings file in `folder`.

    Raises SettingInvalid with every value that cannot be.
    """
    values: dict[str, object] = {}
    problems: list[Problem] = []
    for place, given in (*_file(folder), *_environment(environ), *_flags(flags)):
        name, value = given
        try:
            read = (FLAGS[name] if name in FLAGS else _READERS[name])(value)
        except ValueError as error:
            problems.append(Problem(place, 0, 0, f"`{_written(name)}` {error}"))
        except KeyError:
            problems.append(Problem(place, 0, 0, f"unknown setting `{_written(name)}`", hint=_suggestion(name)))
        else:
            values |= {name: read} if name in _READERS else {}
    if problems:
        told = str(problems[0]) if len(problems) == 1 else f"{len(problems)} settings cannot be"
        raise SettingInvalid(told, problems=problems)
    return Settings(**values)  # type: ignore[arg-type]


def load_flags(folder: Path) -> dict[str, object]:
    """The FLAGS that the settings file in `folder` gives, by name; what `load_settings` complains of is left out.

    Raises SettingInvalid for a file that cannot be read.
    """
    found: dict[str, object] = {}
    for _, (name, value) in _file(folder):
        if name in FLAGS:
            with contextlib.suppress(ValueError):
                found[name] = FLAGS[name](value)
    return found


def read_amount(value: object) -> int:
    """A number of bytes, as `20M` (10^6), `4MiB` (2^20) or 1024. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"must be an amount such as `20M`, not {value!r}")
    match = _AMOUNT.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"must be an amount such as `20M` or `4MiB`, not `{value}`")
    return int(float(match[1]) * _UNITS[(match[2] or "").lower()])


def _file(folder: Path) -> list[tuple[str, tuple[str, object]]]:
    found: list[tuple[str, tuple[str, object]]] = []
    for name, at in (("pyproject.toml", ("tool", "gemmalock")), ("gemmalock.toml", ())):
        try:
            text = read_file(folder / name, MAX_BYTES).decode("utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise SettingInvalid(f"cannot read `{name}`: {error}") from error
        if name == "pyproject.toml" and "gemmalock" not in text:
            continue
        found += [(name, item) for item in _table(name, text, at).items()]
    return [(place, (key.replace("-", "_"), _from(folder, key, value))) for place, (key, value) in found]


def _from(folder: Path, key: str, value: object) -> object:
    """A value of a file: a relative path in it starts at that file."""
    here = key == "store" and isinstance(value, str) and value and not value.startswith("~")
    return str(folder / str(value)) if here else value


def _table(name: str, text: str, at: tuple[str, ...]) -> dict[str, object]:
    import tomllib

    try:
        table: object = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: TOMLDecodeError, and numbers beyond Python's limit
        raise SettingInvalid(f"`{name}` is not TOML: {error}") from error
    for key in at:
        table = table.get(key, {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict):
        raise SettingInvalid(f"`{'.'.join(at)}` in `{name}` is not a table")
    return table


def _environment(environ: Mapping[str, str]) -> list[tuple[str, tuple[str, object]]]:
    names = [field.name for field in fields(Settings)]
    return [
        (PREFIX + name.upper(), (name, environ[PREFIX + name.upper()]))
        for name in names
        if environ.get(PREFIX + name.upper())
    ]


def _flags(flags: Mapping[str, object]) -> list[tuple[str, tuple[str, object]]]:
    return [(f"--{_written(name)}", (name, value)) for name, value in flags.items() if value is not None]


def _suggestion(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, [*_READERS, *FLAGS], n=1)
    return f"did you mean `{_written(close[0])}`?" if close else ""


def _written(name: str) -> str:
    """A setting's name as files and flags write it."""
    return name.replace("_", "-")


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


_READERS: Mapping[str, Callable[[object], object]] = {
    "store": _place,
    "jobs": _at_least(1),
    "connections": _at_least(1),
    "limit_rate": _rate,
    "link_mode": _one_of(LINK_MODES),
    "offline": _flag,
    "require_digests": _flag,
    "allow_http": _flag,
    "allowed_hosts": _hosts,
    "max_delete": _at_least(0),
    "keep": _strings,
    "trash_days": _at_least(0),
    "timeout": _at_least(1),
    "retries": _at_least(0),
}

#: Flags of the command line that are no settings of a run, and have a home in a settings file all the same.
FLAGS: Mapping[str, Callable[[object], object]] = {
    **dict.fromkeys(("adopt", "allow_empty", "check", "dry_run", "frozen", "hash", "json", "locked"), _flag),
    **dict.fromkeys(("no_prune", "upgrade", "verify"), _flag),
    **dict.fromkeys(("collect_only", "exitfirst", "failed_first", "last_failed"), _flag),
    **dict.fromkeys(("keyword", "tags"), _text),
    "deselect": _strings,
    "maxfail": _at_least(0),
    "color": _one_of(COLORS),
    "max_size": _text,
    "older_than": _text,
    "progress": _one_of(PROGRESS),
    "quiet": _at_least(0),
    "upgrade_model": _strings,
    "verbose": _at_least(0),
}

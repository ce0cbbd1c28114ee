"""What is said of settings, and where: by keys of settings files, variables and flags. Nothing is judged here."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gemmalock.durable import read_file
from gemmalock.errors import Problem

#: No settings file that people write is larger.
MAX_BYTES = 16 * 1024 * 1024
#: The settings files, the weightier one last, and where in each our table is.
FILES: Mapping[str, tuple[str, ...]] = {"pyproject.toml": ("tool", "gemmalock"), "gemmalock.toml": ()}


class From(enum.StrEnum):
    """What says a setting, from the lightest to the weightiest."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A settings file that is there: its name, where in it our table is, and its text."""

    name: str
    table: tuple[str, ...]
    text: str

    def place(self, *keys: str) -> tuple[int, int]:
        """Line and column of a key of our table, from 1; zeros where it cannot be found."""
        from gemmalock.codec.toml_places import key_places

        return key_places(self.text).get((*self.table, *keys), (0, 0))


@dataclass(frozen=True, slots=True)
class Said:
    """What one place says of a setting, not read yet: a variable, a flag, or `key` of a settings file."""

    name: str
    value: object
    by: From
    place: str
    file: SettingsFile | None = None
    key: str = ""

    @property
    def origin(self) -> str:
        """Where it was said, as `gemmalock.toml:3`, `environment GEMMALOCK_JOBS` or `flag --jobs`."""
        if self.file is None:
            return f"{self.by.value} {self.place}"
        line, _ = self.file.place(self.key)
        return f"{self.place}:{line}" if line else self.place

    def problem(self, message: str, hint: str = "", *, inside: tuple[str, ...] = (), excerpt: str = "") -> Problem:
        """What is wrong with it, and where; `inside`: with that key of its table."""
        line, column = self.file.place(self.key, *inside) if self.file is not None else (0, 0)
        return Problem(self.place, line, column, message, hint, excerpt)


class Flaw(NamedTuple):
    """What is wrong with one key of a setting that is a table, or (no key) with one that is none."""

    key: str
    message: str
    hint: str = ""
    excerpt: str = ""


class Flaws(ValueError):
    """All that is wrong with a setting, where that is more than a sentence."""

    def __init__(self, all: Iterable[Flaw]) -> None:
        super().__init__("is wrong in more than one place")
        self.all = tuple(all)


def said_in_files(folder: Path) -> tuple[list[Said], list[Problem]]:
    """What the settings files of a folder say, the weightiest last, and what is wrong with the files themselves."""
    found: list[Said] = []
    problems: list[Problem] = []
    for name, table in FILES.items():
        try:
            text = read_file(folder / name, MAX_BYTES).decode("utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem(name, 0, 0, f"cannot be read: {getattr(error, 'strerror', None) or error}"))
            continue
        if not _names(table, text):
            # Somebody else's: whether it is TOML is not our business, and no run depends on it.
            continue
        try:
            found += _said_in(SettingsFile(name, table, text), folder)
        except _SaysNothing as error:
            problems.append(error.problem)
    return found, problems


def mistaken_in_files(folder: Path) -> list[Problem]:
    """What somebody may take for ours in settings files of a folder, and that is not read: a file that cannot be
    understood and does not name us, and a table whose name is nearly ours."""
    found: list[Problem] = []
    for name, table in FILES.items():
        try:
            file = SettingsFile(name, table, read_file(folder / name, MAX_BYTES).decode("utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        if not _names(table, file.text):
            try:
                found += _nearly_ours(file)
            except _SaysNothing as error:
                found.append(error.problem)
    return found


def _names(table: tuple[str, ...], text: str) -> bool:
    """Whether a settings file can have our table."""
    return not table or table[-1] in text


def _nearly_ours(file: SettingsFile) -> Iterator[Problem]:
    import difflib

    *above, own = file.table
    tables = _parsed(file)
    for key in above:
        tables = tables.get(key, {})
        if not isinstance(tables, dict):
            return
    for name in difflib.get_close_matches(own, tables, n=1, cutoff=0.8):
        line, column = SettingsFile(file.name, (*above,), file.text).place(name)
        told = ".".join((*above, name))
        yield Problem(
            file.name, line, column, f"`{told}` is no table of ours", f"did you mean `{'.'.join(file.table)}`?"
        )


class _SaysNothing(Exception):
    """A settings file that cannot be understood, and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def _said_in(file: SettingsFile, folder: Path) -> list[Said]:
    table = _parsed(file)
    for depth, key in enumerate(file.table):
        table = table.get(key, {})
        if not isinstance(table, dict):
            place = SettingsFile(file.name, file.table[:depth], file.text).place(key)
            raise _SaysNothing(Problem(file.name, *place, f"`{'.'.join(file.table[: depth + 1])}` must be a table"))
    return [
        Said(key.replace("-", "_"), _from(folder, key, value), From.FILE, file.name, file, key)
        for key, value in table.items()
    ]


def _parsed(file: SettingsFile) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(file.text)
    except (ValueError, RecursionError) as error:  # ValueError: TOMLDecodeError, and numbers beyond Python's limit
        what, _, where = str(error).partition(" (at ")
        line, column = [int(digits) for digits in re.findall(r"\d+", where)[:2]] or (0, 0)
        if where.startswith("end"):
            line, column = file.text.count("\n") + 1, len(file.text) - file.text.rfind("\n")
        told = f"is not TOML: {what[:1].lower()}{what[1:]}"
        raise _SaysNothing(Problem(file.name, line, column, told)) from error


def _from(folder: Path, key: str, value: object) -> object:
    """A value of a file: a relative path in it starts at that file."""
    here = key in ("store", "junitxml") and isinstance(value, str) and value and not value.startswith("~")
    return str(folder / str(value)) if here else value

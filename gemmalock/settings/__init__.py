"""Settings: what a flag, its environment twin or a settings file says, in that order of weight.

A settings file is `[tool.gemmalock]` in the workspace's `pyproject.toml`, or `gemmalock.toml` beside the manifest.
Nothing here knows what a setting is for; whoever uses one does.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gemmalock.errors import Problem, SettingInvalid, UsageError
from gemmalock.settings.said import Flaw, Flaws, From, Said, said_in_files

if TYPE_CHECKING:
    from datetime import datetime

PREFIX = "GEMMALOCK_"
#: What the hub's own client is kept from the network with.
HUB_OFFLINE = "HF_HUB_OFFLINE"
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


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting with its default. Sizes and rates in bytes and bytes a second, ages in seconds."""

    store: str | None = None
    jobs: int = 8
    connections: int | None = None
    limit_rate: int | None = None
    link_mode: str = "auto"
    offline: bool = False
    no_adopt_caches: bool = False
    require_digests: bool = False
    allow_http: bool = False
    allowed_hosts: tuple[str, ...] = ()
    max_delete: int | None = None
    keep: tuple[str, ...] = ()
    trash_days: int = 7
    timeout: int = 15
    retries: int = 5
    rewrite: tuple[tuple[str, str], ...] = ()
    auth: tuple[tuple[str, str], ...] = ()
    plugin: tuple[str, ...] = ()
    exclude_newer: datetime | None = None
    minimum_age: int | None = None

    def newest(self, now: datetime) -> datetime | None:
        """The moment after which nothing that a source published is taken: the earlier of `exclude_newer` and of
        `minimum_age` before `now`, which is in UTC; None where there is neither."""
        if self.exclude_newer is None and self.minimum_age is None:
            return None
        from gemmalock.settings.times import earliest

        return earliest(self.exclude_newer, self.minimum_age, now)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Every value that was said, by its setting, the weightiest last, and all that is wrong with them."""

    said: Mapping[str, tuple[Said, ...]]
    values: Mapping[str, object]
    problems: tuple[Problem, ...]

    @property
    def settings(self) -> Settings:
        """The settings of a run: what cannot be is left out."""
        return Settings(**{name: value for name, value in self.values.items() if name in _READERS})  # type: ignore[arg-type]


def load_settings(
    folder: Path, environ: Mapping[str, str], flags: Mapping[str, object], problems: Iterable[Problem] = ()
) -> Settings:
    """The settings of a run: `flags` (those that were given) over `environ` over the settings files in `folder`.

    Raises SettingInvalid with every value that cannot be, and with the `problems` that are known already.
    """
    loaded = load(folder, environ, flags)
    if wrong := (*loaded.problems, *(problem for problem in problems if problem not in loaded.problems)):
        raise refusal(wrong)
    return loaded.settings


def refusal(wrong: Sequence[Problem]) -> SettingInvalid:
    """The error that tells all that is wrong with settings."""
    return SettingInvalid(str(wrong[0]) if len(wrong) == 1 else f"{len(wrong)} settings cannot be", problems=wrong)


def load(folder: Path, environ: Mapping[str, str], flags: Mapping[str, object], also: Iterable[str] = ()) -> Loaded:
    """The same with all that was said; `also` names those of FLAGS whose twins in the environment are looked at."""
    in_files, problems = said_in_files(folder)
    said: dict[str, tuple[Said, ...]] = {}
    values: dict[str, object] = {}
    for each in (*in_files, *_environment(environ, also), *_flags(flags)):
        try:
            values[each.name] = read_said(each)
        except SettingInvalid as error:
            problems += error.problems
        else:
            before = said.get(each.name, ())
            if before and before[-1].file is each.file is not None:
                problems.append(each.problem(f"`{_written(each.name)}` is said twice in this file"))
            said[each.name] = (*before, each)
    return Loaded(said, values, tuple(problems))


def read_said(said: Said) -> object:
    """What was said, read. Raises SettingInvalid with all that is wrong with it, and where."""
    if said.name not in _ALL:
        wrong = [said.problem(f"unknown setting `{_written(said.name)}`", _suggestion(said.name))]
        raise SettingInvalid(wrong[0].message, problems=wrong)
    try:
        return _ALL[said.name](said.value)
    except Flaws as flaws:
        found = flaws.all
    except ValueError as error:
        found = (Flaw("", str(error)),)
    raise SettingInvalid(f"`{_written(said.name)}` {found[0].message}", problems=[_wrong(said, each) for each in found])


def _wrong(said: Said, flaw: Flaw) -> Problem:
    inside = (flaw.key,) if flaw.key else ()
    return said.problem(f"`{_written(said.name)}` {flaw.message}", flaw.hint, inside=inside, excerpt=flaw.excerpt)


def flags_in(said: Iterable[Said]) -> dict[str, object]:
    """The FLAGS in what settings files say, by name; what `load_settings` complains of is left out."""
    found: dict[str, object] = {}
    for each in said:
        if each.name in FLAGS:
            with contextlib.suppress(ValueError):
                found[each.name] = FLAGS[each.name](each.value)
    return found


def addopts_in(said: Iterable[Said], environ: Mapping[str, str]) -> list[tuple[Said, tuple[str, ...]]]:
    """The words that `addopts` puts before those that are typed, with who says so: of the settings files the
    weightiest, then the environment. What `load_settings` complains of is left out."""
    by_file = [each for each in said if each.name == ADDOPTS][-1:]
    twin = PREFIX + ADDOPTS.upper()
    by_twin = [Said(ADDOPTS, environ[twin], From.ENVIRONMENT, twin)] if environ.get(twin) else []
    found = []
    for each in (*by_file, *by_twin):
        with contextlib.suppress(ValueError):
            found.append((each, _words(each.value)))
    return found


def check_setting(name: str, value: object) -> None:
    """Raise ValueError for a value that a setting cannot have. What is no setting is not looked at."""
    if name in _READERS:
        _READERS[name](value)


def read_amount(value: object) -> int:
    """A number of bytes, as `20M` (10^6), `4MiB` (2^20) or 1024. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"must be an amount such as `20M`, not {value!r}")
    match = _AMOUNT.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"must be an amount such as `20M` or `4MiB`, not `{value}`")
    return int(float(match[1]) * _UNITS[(match[2] or "").lower()])


def _environment(environ: Mapping[str, str], also: Iterable[str]) -> list[Said]:
    # The hub's own client has a word for it, which is on or says nothing; ours outweighs it.
    theirs = [Said("offline", True, From.ENVIRONMENT, HUB_OFFLINE)] if is_true(environ.get(HUB_OFFLINE, "")) else []
    return theirs + [
        Said(name, environ[twin], From.ENVIRONMENT, twin)
        for name in (*_READERS, ADDOPTS, *also)
        if environ.get(twin := PREFIX + name.upper())
    ]


def _flags(flags: Mapping[str, object]) -> list[Said]:
    return [Said(name, value, From.FLAG, f"--{_written(name)}") for name, value in flags.items() if value is not None]


def _suggestion(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, _ALL, n=1)
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


def _words(value: object) -> tuple[str, ...]:
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


_READERS: Mapping[str, Callable[[object], object]] = {
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

_ALL: Mapping[str, Callable[[object], object]] = {**_READERS, **FLAGS, ADDOPTS: _words}

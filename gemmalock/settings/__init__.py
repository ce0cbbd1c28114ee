"""Settings: what a flag, its environment twin or a settings file says, in that order of weight.

A settings file is `[tool.gemmalock]` in the workspace's `pyproject.toml`, or `gemmalock.toml` beside the manifest.
Nothing here knows what a setting is for; whoever uses one does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gemmalock.errors import Problem, SettingInvalid
from gemmalock.settings.said import Flaw, Flaws, From, Said, said_in_files
from gemmalock.settings.values import ADDOPTS, ALL, FLAGS, READERS, is_true, read_words

if TYPE_CHECKING:
    from datetime import datetime

PREFIX = "GEMMALOCK_"
#: What the hub's own client is kept from the network with.
HUB_OFFLINE = "HF_HUB_OFFLINE"


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
        return Settings(**{name: value for name, value in self.values.items() if name in READERS})  # type: ignore[arg-type]


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
    if said.name not in ALL:
        wrong = [said.problem(f"unknown setting `{_written(said.name)}`", _suggestion(said.name))]
        raise SettingInvalid(wrong[0].message, problems=wrong)
    try:
        value = ALL[said.name](said.value)
        if said.name == "auth" and said.file is not None:
            from gemmalock.settings.tables import refuse_foreign_tokens

            refuse_foreign_tokens(said.value)
        return value
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
            found.append((each, read_words(each.value)))
    return found


def check_setting(name: str, value: object) -> None:
    """Raise ValueError for a value that a setting cannot have. What is no setting is not looked at."""
    if name in READERS:
        READERS[name](value)


def _environment(environ: Mapping[str, str], also: Iterable[str]) -> list[Said]:
    # The hub's own client has a word for it, which is on or says nothing; ours outweighs it.
    theirs = [Said("offline", True, From.ENVIRONMENT, HUB_OFFLINE)] if is_true(environ.get(HUB_OFFLINE, "")) else []
    return theirs + [
        Said(name, environ[twin], From.ENVIRONMENT, twin)
        for name in (*READERS, ADDOPTS, *also)
        if environ.get(twin := PREFIX + name.upper())
    ]


def _flags(flags: Mapping[str, object]) -> list[Said]:
    return [Said(name, value, From.FLAG, f"--{_written(name)}") for name, value in flags.items() if value is not None]


def _suggestion(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, ALL, n=1)
    return f"did you mean `{_written(close[0])}`?" if close else ""


def _written(name: str) -> str:
    """A setting's name as files and flags write it."""
    return name.replace("_", "-")

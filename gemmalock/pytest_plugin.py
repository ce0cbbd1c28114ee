"""The pytest plugin: the fixture `gemmalock_model`, the marker `gemmalock`, and `--gemmalock=require|sync|skip`.

pytest loads it by the entry point `gemmalock` of the group `pytest11`, in every suite that has gemmalock beside it: so
nothing of gemmalock but this module is imported before a test asks for a model. pytest is no dependency: nobody but
pytest imports this. What a model is, where it goes and how it comes there is the library's; here it is only said what
becomes of a test whose model is not to be had.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import gemmalock

if TYPE_CHECKING:
    from gemmalock import ErrorNote, GemmalockError

_MARK = "gemmalock"


class Mode(enum.StrEnum):
    """What becomes of a test whose models are not in place."""

    REQUIRE = "require"
    SYNC = "sync"
    SKIP = "skip"


#: What a hint about something that is not here goes on with, by the error's code.
_ALSO = {
    "not_found": ", or pytest with `--gemmalock=sync`",
    "lock_missing": ", or pytest with `--gemmalock=sync`",
    "nothing_collected": ", or name the project's folder with `--gemmalock-folder`",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options and their twins in the ini file."""
    group = parser.getgroup("gemmalock", "models (gemmalock)")
    group.addoption(
        "--gemmalock",
        dest="gemmalock_mode",
        choices=[mode.value for mode in Mode],
        help="a test whose models are not in place: fails (require, the default), has them fetched first (sync), or "
        "is skipped (skip)",
    )
    group.addoption(
        "--gemmalock-folder",
        dest="gemmalock_folder",
        metavar="DIR",
        help="the folder of the manifest (default: that of the nearest one at or above the test's file, else rootdir)",
    )
    parser.addini("gemmalock_mode", "the default of --gemmalock", default=Mode.REQUIRE.value)
    parser.addini("gemmalock_folder", "the default of --gemmalock-folder, from rootdir", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known. Raises UsageError for a mode that there is not."""
    config.addinivalue_line(
        "markers", f"{_MARK}(name, ...): the models or files, as `MODEL` or `MODEL::FILE`, that the test needs"
    )
    config.stash[_MODELS] = Models(_mode(config), _given_folder(config), config.rootpath)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Make sure of what the test's marks name: after `skip` and `skipif` were heeded, before any fixture."""
    models = item.config.stash[_MODELS]
    models.here = item.path.parent
    names = tuple(dict.fromkeys(_marked(item)))
    if names:
        models.need(names)


@pytest.fixture(scope="session")
def gemmalock_model(pytestconfig: pytest.Config) -> Callable[[str], Path]:
    """`gemmalock_model("name")` is the folder of a model on this disk, `gemmalock_model("name::file")` a file of it."""
    models = pytestconfig.stash[_MODELS]

    def place_of(name: str) -> Path:
        __tracebackhide__ = True
        return models.need((name,))[0]

    return place_of


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a model is not to be had. `is_absent`: nothing is wrong, but that it, its lock or its project is not here."""

    notes: tuple[ErrorNote, ...]
    folder: Path
    is_absent: bool = False

    def told(self, mode: Mode) -> str:
        """What is wrong, what to do about it, and in which project, as the lines of a failure."""
        from gemmalock.escaping import escaped

        lines = []
        for note in self.notes:
            place = f"{note.place}: " if note.place else ""
            lines.append(f"gemmalock: {place}{note.message} ({note.code})")
            if note.hint:
                lines.append(f"hint: {note.hint}{self._also(note, mode)}")
        return "\n".join(escaped(line) for line in (*lines, f"project: {self.folder}"))

    def reason(self) -> str:
        """The same as the reason of a skip, on one line."""
        from gemmalock.escaping import escaped

        note = self.notes[0]
        return escaped(f"gemmalock: {note.message}; {note.hint}{self._also(note, Mode.SKIP)}")

    def _also(self, note: ErrorNote, mode: Mode) -> str:
        return _ALSO.get(note.code, "") if self.is_absent and mode is not Mode.SYNC else ""


class Models:
    """What one session of pytest knows of models: each is looked at once, or fetched once, and its end is remembered.

    `here`: the folder of the test that runs. `given`: the folder that was asked for, if any.
    """

    def __init__(self, mode: Mode, given: Path | None, rootdir: Path) -> None:
        self.here = rootdir
        self._mode = mode
        self._given = given
        self._rootdir = rootdir
        self._folders: dict[Path, Path] = {}
        self._known: dict[tuple[Path, str], Path | Missing] = {}

    def need(self, names: Sequence[str]) -> list[Path]:
        """Where these models and files are. Fails or skips the test that runs if one of them is not to be had."""
        __tracebackhide__ = True
        found = [self._find(name) for name in names]
        missing = [model for model in found if isinstance(model, Missing)]
        if missing and self._mode is Mode.SKIP and all(model.is_absent for model in missing):
            pytest.skip(missing[0].reason())
        if missing:
            pytest.fail("\n\n".join(dict.fromkeys(model.told(self._mode) for model in missing)), pytrace=False)
        return [model for model in found if isinstance(model, Path)]

    def _find(self, name: str) -> Path | Missing:
        try:
            folder = self._folder()
        except gemmalock.GemmalockError as error:
            return Missing(_notes(error), self.here)
        if (folder, name) not in self._known:
            faults = _fetch(folder, name) if self._mode is Mode.SYNC else ()
            self._known[folder, name] = Missing(faults, folder) if faults else _look(folder, name)
        return self._known[folder, name]

    def _folder(self) -> Path:
        """The project's folder, for the test that runs. Raises UsageError for folders that the disk hides."""
        if self._given is not None:
            return self._given
        if self.here not in self._folders:
            from gemmalock.collect import nearest

            project = nearest(self.here)
            self._folders[self.here] = self._rootdir if project is None else project.manifest_path.parent
        return self._folders[self.here]


_MODELS = pytest.StashKey[Models]()


def _mode(config: pytest.Config) -> Mode:
    asked = config.getoption("gemmalock_mode") or config.getini("gemmalock_mode")
    try:
        return Mode(asked)
    except ValueError:
        raise pytest.UsageError(f"`gemmalock_mode` must be one of {', '.join(Mode)}, not `{asked}`") from None


def _given_folder(config: pytest.Config) -> Path | None:
    asked: str | None = config.getoption("gemmalock_folder")
    if asked is not None:
        return config.invocation_params.dir / asked
    written: str = config.getini("gemmalock_folder")
    return config.rootpath / written if written else None


def _marked(item: pytest.Item) -> Iterator[str]:
    """The names in a test's marks, the nearest mark first. Fails the test for a mark that names nothing."""
    for mark in item.iter_markers(_MARK):
        if mark.kwargs or not mark.args or not all(isinstance(name, str) and name for name in mark.args):
            pytest.fail(
                "gemmalock: the mark has to name models or files (usage)\n"
                f'hint: write `@pytest.mark.{_MARK}("MODEL", "MODEL::FILE")`',
                pytrace=False,
            )
        yield from mark.args


def _fetch(folder: Path, name: str) -> tuple[ErrorNote, ...]:
    """Sync one model or file, as `gemmalock sync` would. What went wrong."""
    from gemmalock.errors import NotFound

    try:
        report = _synced(folder, name)
    except (gemmalock.NothingCollected, NotFound):
        return ()  # `_look` says it better: with the name that was meant, or where it looked
    except gemmalock.GemmalockError as error:
        return _notes(error)
    if report.ok:
        return ()
    failed = (replace(file.error, place=file.id) for file in report.files if file.error is not None)
    return (*failed, *report.errors)


def _synced(folder: Path, name: str) -> gemmalock.Report:
    """Sync what is meant: of the nearest manifest, which may have to be locked first, else of another one."""
    from gemmalock.app import ids_of

    try:
        return gemmalock.sync(folder, select=[name if "gemmalock.yaml::" in name else f"::{name}"])
    except gemmalock.NothingCollected:
        return gemmalock.sync(folder, select=ids_of(name, folder))


def _look(folder: Path, name: str) -> Path | Missing:
    """Where a model or a file is, or why it is not there."""
    from gemmalock.errors import NotFound

    try:
        return gemmalock.path(name, folder)
    except NotFound as error:
        return Missing(_notes(error), folder, is_absent=_is_locked(folder, name))
    except (gemmalock.LockMissing, gemmalock.NothingCollected) as error:
        return Missing(_notes(error), folder, is_absent=True)
    except gemmalock.GemmalockError as error:
        return Missing(_notes(error), folder)


def _is_locked(folder: Path, name: str) -> bool:
    """Whether the lock has it: then it is only not here, else its name is wrong."""
    model, _, file = name.rpartition("gemmalock.yaml::")[2].partition("::")
    try:
        statuses = gemmalock.resume_statuses(model, folder)
    except gemmalock.GemmalockError:
        return False
    return not file or file in statuses


def _notes(error: GemmalockError) -> tuple[ErrorNote, ...]:
    """An error as what is told of it: each problem of an input by itself."""
    if isinstance(error, gemmalock.InputError) and error.problems:
        return tuple(gemmalock.ErrorNote.of_problem(error, problem) for problem in error.problems)
    return (gemmalock.ErrorNote.of(error),)

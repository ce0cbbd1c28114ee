"""The answers that need no look: a bare command, in a project whose seal holds. Anything else is for the program.

What is said here is what the program would say, letter by letter; the tests hold one against the other. Next to nothing
may be imported: this is most of what a sync with nothing to do costs.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gemmalock.seal import Sealed

#: Command → the flags that change nothing where there is nothing to do.
_FLAGS = {
    "sync": frozenset({"--locked", "--check", "--offline"}),
    "status": frozenset[str](),
    "lock": frozenset({"--check", "--offline"}),
    "path": frozenset[str](),
}
#: The settings of the environment that change nothing in such an answer. The seal has their values all the same.
_SETTINGS = frozenset({"GEMMALOCK_STORE", "GEMMALOCK_JOBS", "GEMMALOCK_CONNECTIONS", "GEMMALOCK_LIMIT_RATE",
                       "GEMMALOCK_LINK_MODE", "GEMMALOCK_OFFLINE", "GEMMALOCK_PROGRESS", "GEMMALOCK_EXCLUDE_NEWER",
                       "GEMMALOCK_MINIMUM_AGE"})  # fmt: skip
_GREEN, _PLAIN = ("\x1b[32m\x1b[1m", "\x1b[0m")


def answer(arguments: Sequence[str]) -> int | None:
    """Answer a command line, and give its exit code; None where the program has to be asked."""
    if not arguments or not _is_bare(arguments):
        return None
    try:
        if arguments in (["--help"], ["-h"]):
            return _help()
        return _answered(arguments[0], arguments[1:])
    except (OSError, ValueError):
        return None


def _is_bare(arguments: Sequence[str]) -> bool:
    """Whether nobody has a say in this but the command line."""
    if any(name.startswith("GEMMALOCK_") and name not in _SETTINGS for name in os.environ):
        return False
    return sys.stdout is sys.__stdout__ and sys.stdout is not None


def _answered(command: str, rest: Sequence[str]) -> int | None:
    if command not in _FLAGS or (command == "lock" and "--check" not in rest):
        return None
    wanted = [word for word in rest if command == "path" and not word.startswith("-")]
    if len(wanted) != (command == "path") or not _FLAGS[command].issuperset(set(rest) - set(wanted)):
        return None
    from time import monotonic

    from gemmalock.seal import check

    began = monotonic()
    folder = os.getcwd()
    found = check(folder, os.environ)
    if found is None:
        return None
    if command == "path":
        return _path(folder, found, wanted[0])
    lines = _lines(found) if command == "status" else ""
    # The lock was compared with the manifests, and its files are none of that.
    count = f"{found.count} up to date" if command != "lock" else "nothing to do"
    return _say(f"{lines}{_coloured(f'== {count} in {monotonic() - began:.2f}s ==')}\n")


def _lines(found: Sealed) -> str:
    """What `status` says of files that are in place, a line each."""
    verb = _coloured("UP TO DATE")
    told = found.told.decode("utf-8").replace("\n", f"\n{verb}  ")
    return f"{verb}  {told}\n"


def _coloured(text: str) -> str:
    """The text as good news, where colours are wanted."""
    if os.environ.get("NO_COLOR"):
        return text
    wanted = os.environ.get("FORCE_COLOR") or (sys.stdout.isatty() and os.environ.get("TERM") != "dumb")
    return f"{_GREEN}{text}{_PLAIN}" if wanted else text


def _path(folder: str, found: Sealed, wanted: str) -> int | None:
    """Print the place of what is named, where only one can be meant."""
    places = set()
    for id, path in found.paths():
        _, model, name = id.split("::", 2)
        if wanted == model:
            places.add(path.removesuffix(name).rstrip("/"))
        elif wanted == f"{model}::{name}":
            places.add(path)
    if len(places) != 1:
        return None
    return _say(f"{folder}/{places.pop()}\n")


def _help() -> int | None:
    """Print the help, as it is written out in the package for terminals that are wide enough."""
    width = os.environ.get("COLUMNS", "")
    if not width and sys.stdout.isatty():
        width = str(os.get_terminal_size(1).columns)
    if width and not (width.isdecimal() and int(width) >= 80):
        return None
    with open(f"{os.path.dirname(__file__)}/help.txt", encoding="utf-8") as file:
        return _say(file.read())


def _say(text: str) -> int | None:
    """Write it out whole. None where standard output would not take it: the program knows what to do about that."""
    encoded = text.encode(sys.stdout.encoding, "strict")
    sys.stdout.flush()
    written = os.write(1, encoded)
    while written < len(encoded):
        written += os.write(1, encoded[written:])
    return 0

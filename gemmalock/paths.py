"""Which relative paths are safe on every platform, and what globs match. Pure: no path is ever opened here.

A path that is written in a manifest or a lock uses `/`, is relative, and must mean the same file under POSIX and
Windows rules. The walk over real folders that refuses links is in `roots`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

#: Names that Windows gives to devices, whatever follows the first dot (Naming Files, Win32 documentation).
RESERVED_NAMES = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{device}{number}" for device in ("com", "lpt") for number in "0123456789¹²³"}
)
#: Names in a root that belong to gemmalock or to git, in any case.
OWN_NAMES = frozenset({".gemmalock", ".git"})
MAX_COMPONENT_BYTES = 255
MAX_PATH_BYTES = 4000
_FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f-\x9f]')
#: Characters that change how the text around them is shown (Unicode TR36, bidirectional controls and isolates).
_INVISIBLE = re.compile("[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def path_problem(path: str) -> str | None:
    """Why `path` is not a safe relative path, as the end of a sentence, or None when it is safe."""
    if not path:
        return "is empty"
    if path.startswith("/") or path.startswith("\\"):
        return "is absolute; write it relative to the root"
    if re.match(r"[A-Za-z]:", path):
        return "names a drive; write it relative to the root"
    if "\\" in path:
        return "has a backslash; write `/` between folders"
    if len(path.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} bytes"
    for component in path.split("/"):
        if problem := _component_problem(component):
            return problem
    return None


def folded(path: str) -> str:
    """What a case-insensitive, normalising file system takes `path` for (NFC after case folding)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def clashes(paths: Iterable[str]) -> list[tuple[int, int, str]]:
    """The pairs of places in `paths` that cannot both be files, as (earlier, later, why).

    Two paths clash when some file system takes them for one (case folding, Unicode normalisation), or when one is
    a folder of the other.
    """
    listed = list(paths)
    first: dict[str, int] = {}
    found: list[tuple[int, int, str]] = []
    for place, path in enumerate(listed):
        key = folded(path)
        if key in first:
            same = listed[first[key]] == path
            found.append((first[key], place, "is the same path" if same else "is the same path on some file systems"))
        else:
            first[key] = place
    for key, place in first.items():
        parent = key.rpartition("/")[0]
        while parent:
            if parent in first:
                found.append((*sorted((first[parent], place)), "needs the other one to be a folder"))  # type: ignore[arg-type]
                break
            parent = parent.rpartition("/")[0]
    return sorted(found)


@lru_cache(maxsize=1024)
def glob_pattern(glob: str) -> re.Pattern[str]:
    """The regular expression of a glob: `*` and `?` stop at `/`, `**/` is any folders or none, `[…]` a class."""
    out: list[str] = []
    place = 0
    while place < len(glob):
        if glob.startswith("**/", place):
            out.append("(?:[^/]+/)*")
            place += 3
        elif glob.startswith("**", place):
            out.append(".*")
            place += 2
        elif glob[place] == "*":
            out.append("[^/]*")
            place += 1
            while place < len(glob) and glob[place] == "*":
                place += 1
        elif glob[place] == "?":
            out.append("[^/]")
            place += 1
        elif glob[place] == "[" and (end := glob.find("]", place + 2)) > 0:
            body = glob[place + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            negated = body[0] in "!^"
            out.append("(?!/)[" + ("^" + body[1:] if negated else body) + "]")
            place = end + 1
        else:
            out.append(re.escape(glob[place]))
            place += 1
    try:
        return re.compile("".join(out), re.DOTALL)
    except re.error:
        return re.compile(re.escape(glob))


def is_glob(pattern: str) -> bool:
    """Whether `pattern` is a glob rather than a plain name."""
    return any(mark in pattern for mark in "*?[")


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether `name` is one of `patterns`, or matches one that is a glob."""
    return any(name == pattern or (is_glob(pattern) and glob_pattern(pattern).fullmatch(name)) for pattern in patterns)


def joined(*parts: str) -> str:
    """The parts as one path with `/` between them; `.` and empty parts vanish."""
    return "/".join(part for part in parts if part not in ("", "."))


def _component_problem(component: str) -> str | None:
    if component in ("", "."):
        return "has an empty or `.` component"
    if component == "..":
        return "has a `..` component; it would leave the root"
    if _FORBIDDEN.search(component):
        return "has a character that some file systems do not allow"
    if _INVISIBLE.search(component):
        return "has an invisible or direction-changing character"
    if any("\ud800" <= character <= "\udfff" for character in component):
        return "is not valid Unicode"
    if component[-1] in ". " or component[0] == " ":
        return "has a component that begins or ends with a space, or ends with a dot"
    if folded(component.partition(".")[0].rstrip()) in RESERVED_NAMES or folded(component) in RESERVED_NAMES:
        return "has a component whose name Windows reserves"
    if folded(component) in OWN_NAMES or re.fullmatch(r"git~\d+", folded(component)):
        return f"has a component `{component}`, which belongs to git or gemmalock"
    if len(component.encode()) > MAX_COMPONENT_BYTES:
        return f"has a component longer than {MAX_COMPONENT_BYTES} bytes"
    return None

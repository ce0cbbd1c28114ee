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
#: What turns the class of a glob round, after its `[`.
_NOT = ("!", "^")
_FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f-\x9f]')
#: Characters that change how the text around them is shown (Unicode TR36, bidirectional controls and isolates).
#: HFS+ ignores some of them, so that `.g\u206ait` would be `.git` there (CVE-2014-9390).
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")

#: Paths that are safe at a glance, as nearly all are; every other one is looked at component by component.
_PLAIN = re.compile(
    r"(?:(?!con|prn|aux|nul|com[0-9]|lpt[0-9]|git~)[a-z0-9_][a-z0-9_.+@=-]{0,200}(?<!\.)(?:/(?!\Z)|\Z)){1,15}",
    re.IGNORECASE | re.ASCII,
)


def path_problem(path: str) -> str | None:
    """Why `path` is not a safe relative path, as the end of a sentence, or None when it is safe."""
    if _PLAIN.fullmatch(path):
        return None
    if not path:
        return "is empty"
    if path.startswith(("/", "\\")):
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
    if path.isascii():
        return path.lower()
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
    """The regular expression of a glob: `*` and `?` stop at `/`, `**/` is any folders or none, `[…]` a class.

    `**` as the last component is everything below; anywhere else inside a component it is `*`. A class never matches
    `/`; a `[` that nothing closes stands for itself. What a wildcard leaves for the rest is taken at its first place
    and never tried again (atomic groups), so that no glob takes more than about len(glob) * len(name) steps.
    """
    groups: list[list[str]] = [[]]  # of components, with `**/` between them
    components = glob.split("/")
    below = components[-1] == "**"
    for component in components[:-1] if below else components:
        if component != "**":
            groups[-1].append(_component_pattern(component))
        elif groups[-1] or len(groups) == 1:
            groups.append([])
    first, *rest = ("/".join(group) for group in groups)
    if below:
        out = "".join(_anywhere(group) for group in rest if group) + ".+"
    elif rest:
        out = "".join(_anywhere(group) for group in rest[:-1]) + "(?:[^/]+/)*" + rest[-1]
    else:
        return re.compile(first, re.DOTALL)
    return re.compile((first + "/" if first else "") + out, re.DOTALL)


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


def _anywhere(group: str) -> str:
    """The first place, some folders down or none, where the components of `group` are, and the `/` behind them."""
    return f"(?>(?:[^/]+/)*?{group}/)"


def _component_pattern(component: str) -> str:
    """The regular expression of one component of a glob."""
    pieces = [""]
    place = 0
    while place < len(component):
        mark = component[place]
        if mark == "*":
            if pieces[-1] or len(pieces) == 1:
                pieces.append("")
            place += 1
        elif mark == "?":
            pieces[-1] += "[^/]"
            place += 1
        elif (
            mark == "["
            and (end := component.find("]", place + (3 if component[place + 1 : place + 2] in _NOT else 2))) > 0
        ):
            pieces[-1] += _class_pattern(component[place + 1 : end])
            place = end + 1
        else:
            pieces[-1] += re.escape(mark)
            place += 1
    if len(pieces) == 1:
        return pieces[0]
    first, *middle, last = pieces
    return first + "".join(f"(?>[^/]*?{piece})" for piece in middle) + f"[^/]*{last}"


def _class_pattern(body: str) -> str:
    """The regular expression of what stands in the brackets of a class; one that matches nothing for `z-a`."""
    negated = body[0] in _NOT
    members = re.sub(r"([\\\[\]&~|^])", r"\\\1", body[1:] if negated else body)
    # Python keeps `--` for set differences to come; at either end of a class a `-` is plain.
    members = re.sub("-{2,}", r"\\-", members)
    try:
        re.compile(pattern := f"(?!/)[{'^' if negated else ''}{members}]")
    except re.error:
        return "(?!)"
    return pattern

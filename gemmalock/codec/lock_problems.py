"""What is wrong with a lock, in sentences with places. Imported only when something is.

The schema says what has the wrong shape; the rest is said here, by the same rules by which `lock_json` refused it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from gemmalock.codec.json_places import Offsets, Pointer, json_offsets, pointer_text
from gemmalock.codec.page import NOWHERE, Page, Place, read_page
from gemmalock.codec.schema import flaws
from gemmalock.codec.url_rules import url_wrongs
from gemmalock.errors import Problem
from gemmalock.escaping import shown
from gemmalock.lockfile import LOCK_VERSION
from gemmalock.paths import clashes, joined, path_problem

SCHEMA = "lock.v1.schema.json"
_RESTORE = "restore the lock from version control, or delete it and run `gemmalock lock`"
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
#: An entity tag may have bytes beyond ASCII in it, which are no controls there (RFC 9110, 8.8.3: obs-text).
_FIELD = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class _Said:
    """A thing that is wrong at a pointer."""

    pointer: Pointer
    message: str
    hint: str = ""
    secret: bool = False


def lock_problems(text: bytes, path: str, limit: int) -> list[Problem]:
    """Every problem of a lock that could not be read, in the order of their places; at least one. A lock of more than
    `limit` bytes is not looked into."""
    page = read_page(text, path, limit)
    if isinstance(page, Problem):
        return [page]
    try:
        value = json.loads(page.text)
    except (ValueError, RecursionError) as error:
        return [_notation_problem(page, error)]
    offsets = json_offsets(page.text)
    if problem := _version_problem(page, offsets, value):
        return [problem]
    said = [*_repeated_keys(offsets), *_rules(value)]
    taken = {each.pointer for each in said}
    for flaw in flaws(SCHEMA, value):
        at = (*flaw.pointer, flaw.key) if flaw.key is not None else flaw.pointer
        if at not in taken:
            said.append(_Said(at, flaw.message, flaw.hint))
    problems = {_problem(page, offsets, each) for each in said}
    if not problems:
        problems = {page.problem(NOWHERE, "the lock breaks a rule of its format", _RESTORE)}
    return sorted(problems, key=lambda problem: (problem.line, problem.column, problem.message))


def _notation_problem(page: Page, error: ValueError | RecursionError) -> Problem:
    if not page.text.strip():
        return page.problem(Place(1, 1), "the lock is empty", _RESTORE)
    if isinstance(error, json.JSONDecodeError):
        message = f"not JSON: {error.msg[:1].lower()}{error.msg[1:]}"
        return page.problem(page.place(error.pos), message, _RESTORE)
    says = "it is nested too deeply" if isinstance(error, RecursionError) else "a number in it is too long"
    return page.problem(NOWHERE, f"not a lock: {says}", _RESTORE)


def _version_problem(page: Page, offsets: Offsets, value: object) -> Problem | None:
    """The version is read first: what another one means is not ours to judge, and it is never rewritten."""
    version = value.get("lock_version") if isinstance(value, dict) else None
    if type(version) is not int or version == LOCK_VERSION:
        return None
    place = page.place(offsets.values[("lock_version",)])
    number = str(version)[:20]
    if version > LOCK_VERSION:
        return page.problem(place, f"lock version {number} needs a newer gemmalock", "update gemmalock")
    return page.problem(place, f"there is no lock version {number}", "restore the lock from version control")


def _problem(page: Page, offsets: Offsets, said: _Said) -> Problem:
    offset = offsets.repeats.get(said.pointer, offsets.values.get(said.pointer))
    place = page.place(offset) if offset is not None else NOWHERE
    message = f"{shown(pointer_text(said.pointer))}: {said.message}" if said.pointer else said.message
    return page.problem(place, message, said.hint or _RESTORE, secret=said.secret)


# --- the rules that no schema can say ----------------------------------------------------------------------


def _repeated_keys(offsets: Offsets) -> Iterator[_Said]:
    for pointer in offsets.repeats:
        yield _Said(pointer, "this key is twice in one mapping")


def _rules(value: object) -> Iterator[_Said]:
    yield from _unshowable(value, ())
    roots: dict[Pointer, str] = {}
    for at, manifest in _each(value, (), "manifests"):
        path, root = _text(manifest, "path"), _text(manifest, "root")
        yield from _path_rule((*at, "path"), path)
        yield from _path_rule((*at, "root"), root)
        if path is not None and root is not None:
            roots[(*at, "root")] = joined(path.rpartition("/")[0], root)
        yield from _manifest_rules(at, manifest)
    yield from _clash_rules(roots, "two manifests never share or nest roots")
    yield from _repeats({(*at, "path"): _text(each, "path") for at, each in _each(value, (), "manifests")})


def _manifest_rules(at: Pointer, manifest: object) -> Iterator[_Said]:
    paths: dict[Pointer, str] = {}
    models = list(_each(manifest, at, "models"))
    yield from _repeats({(*place, "name"): _text(model, "name") for place, model in models})
    for place, model in models:
        yield from _url_rule((*place, "source"), _text(model, "source"))
        files = list(_each(model, place, "files"))
        yield from _repeats({(*spot, "name"): _text(file, "name") for spot, file in files})
        for spot, file in files:
            yield from _file_rules(spot, file)
            if (path := _text(file, "path")) is not None:
                paths[(*spot, "path")] = path
    yield from _clash_rules(paths, "two files never share a path")


def _file_rules(at: Pointer, file: object) -> Iterator[_Said]:
    for key in ("path", "name"):
        yield from _path_rule((*at, key), _text(file, key))
    yield from _url_rule((*at, "url"), _text(file, "url"))
    for number, mirror in enumerate(_list(file, "mirrors")):
        yield from _url_rule((*at, "mirrors", number), mirror if isinstance(mirror, str) else None)
    task = _text(file, "task_id")
    if task is not None and not _is_uuid(task):
        yield _Said((*at, "task_id"), f"`{shown(task)}` is not a task ID: it is not a UUID in lower case")


def _path_rule(at: Pointer, path: str | None) -> Iterator[_Said]:
    if path is not None and (problem := path_problem(path)):
        yield _Said(at, f"`{shown(path)}` {problem}")


def _url_rule(at: Pointer, url: str | None) -> Iterator[_Said]:
    for wrong in url_wrongs(url, None) if url is not None else ():
        yield _Said(at, wrong.message, wrong.hint, wrong.secret)


def _clash_rules(paths: Mapping[Pointer, str], rule: str) -> Iterator[_Said]:
    pointers = list(paths)
    for first, second, why in clashes(paths.values()):
        one, other = pointers[second], pointers[first]
        earlier = f"`{shown(paths[other])}` ({pointer_text(other)})"
        yield _Said(one, f"`{shown(paths[one])}` {why}: {earlier}; {rule}")


def _repeats(names: Mapping[Pointer, str | None]) -> Iterator[_Said]:
    seen: dict[str, Pointer] = {}
    for at, name in names.items():
        if name is None:
            continue
        if name in seen:
            yield _Said(at, f"`{shown(name)}` is here twice, first in {pointer_text(seen[name])}")
        seen.setdefault(name, at)


def _unshowable(value: object, at: Pointer) -> Iterator[_Said]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _unshowable(child, (*at, key))
    elif isinstance(value, list):
        for number, child in enumerate(value):
            yield from _unshowable(child, (*at, number))
    elif isinstance(value, str) and (found := (_FIELD if at[-1:] == ("etag",) else _CONTROL).search(value)):
        yield _Said(at, f"the text has a control character (U+{ord(found[0]):04X})")


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _each(value: object, at: Pointer, key: str) -> Iterator[tuple[Pointer, object]]:
    for number, child in enumerate(_list(value, key)):
        yield (*at, key, number), child


def _list(value: object, key: str) -> list[object]:
    child = value.get(key) if isinstance(value, dict) else None
    return child if isinstance(child, list) else []


def _text(value: object, key: str) -> str | None:
    child = value.get(key) if isinstance(value, dict) else None
    return child if isinstance(child, str) else None

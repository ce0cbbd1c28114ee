"""Manifests: YAML in, frozen values out, or every problem of the file at once.

The notation is `yaml_tree`'s, the structure the schema's, what no schema can say `manifest_rules`'. Nothing here opens
a file, asks a network or knows a lock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from gemmalock import spec
from gemmalock.codec.fitting import acceptor
from gemmalock.codec.manifest_rules import Rules
from gemmalock.codec.page import Page, Place
from gemmalock.codec.url_rules import file_name
from gemmalock.codec.yaml_tree import Node, read_yaml
from gemmalock.errors import ManifestInvalid, Problem
from gemmalock.resources import schema_text
from gemmalock.spec import FileSpec, Manifest, ModelSpec, Workspace

if TYPE_CHECKING:
    from gemmalock.codec.schema import Flaw

SCHEMA = "manifest.v1.schema.json"


def read_manifest(
    text: bytes, path: str, *, schemes: Collection[str] = spec.SCHEMES, allow_http: bool = False
) -> Manifest:
    """The manifest in the bytes of a file; `path` is what its problems call it.

    `schemes` are those that a URL may have, `allow_http` lifts the rule on `http://` to other machines. Raises
    ManifestInvalid with every problem of the file, in the order of their places.
    """
    document = read_yaml(text, path)
    if document.page is None or document.tree is None:
        raise _invalid(path, document.problems)
    if unknown := _unknown_version(document.page, document.tree):
        raise _invalid(path, (unknown,))
    rules = Rules(document.page, schemes, allow_http)
    rules.check(document.tree)
    problems = [*document.problems, *rules.problems]
    taken = {(problem.line, problem.column) for problem in problems}
    problems += [
        problem for problem in _structure(document.page, document.tree) if (problem.line, problem.column) not in taken
    ]
    if problems:
        raise _invalid(path, problems)
    return _manifest(document.tree)


def read_workspace(text: bytes, path: str) -> Workspace | None:
    """The `workspace` of a manifest that may have other problems; None where it has none. Raises ManifestInvalid where
    nobody could tell: the text is no YAML, or the section names no members for want of being right."""
    document = read_yaml(text, path)
    if document.tree is None:
        raise _invalid(path, document.problems)
    section = _workspace(document.tree.get("workspace"))
    return section if section is None or section.members else read_manifest(text, path, allow_http=True).workspace


def problem_at(text: bytes, path: str, pointer: Sequence[str | int], message: str, hint: str = "") -> Problem:
    """A problem of a valid manifest where the key or item stands that `pointer` leads to; where a step is not there, at
    the one before."""
    document = read_yaml(text, path)
    if document.page is None or document.tree is None:
        return Problem(path, 0, 0, message, hint)
    node, place = document.tree, document.tree.place
    for step in pointer:
        child = node.get(step)
        if child is None:
            break
        node, place = child, child.place
    return document.page.problem(place, message, hint)


def model_places(text: bytes) -> Mapping[str, Place]:
    """Where the name of each model stands in a manifest, which may have problems; empty where nobody could tell."""
    tree = read_yaml(text, "").tree
    models = tree.get("models") if tree is not None else None
    return models.keys if models is not None else {}


def _invalid(path: str, problems: Iterable[Problem]) -> ManifestInvalid:
    found = sorted(set(problems), key=lambda problem: (problem.line, problem.column, problem.message))
    count = "a problem" if len(found) == 1 else f"{len(found)} problems"
    return ManifestInvalid(f"`{path}` has {count}", problems=found)


def _unknown_version(page: Page, tree: Node) -> Problem | None:
    """The version is read first: what a newer format allows is not ours to judge."""
    node = tree.get("version")
    if node is None or not isinstance(node.value, int) or isinstance(node.value, bool):
        return None
    if node.value == spec.MANIFEST_VERSION:
        return None
    if node.value > spec.MANIFEST_VERSION:
        number = str(node.value)[:20]
        return page.problem(node.place, f"manifest version {number} needs a newer gemmalock", "update gemmalock")
    return page.problem(node.place, f"there is no manifest version {str(node.value)[:20]}", "write `version: 1`")


# --- structure ---------------------------------------------------------------------------------------------


def _structure(page: Page, tree: Node) -> Iterator[Problem]:
    if tree.value is None and not tree.raw:
        hint = "begin it with `version: 1`, or let `gemmalock init` write one"
        yield page.problem(Place(1, 1), "the manifest is empty", hint)
        return
    if _accepts()(tree.value):
        return
    # What finds the flaws takes longer to load than all the rest that reads a manifest.
    from gemmalock.codec.schema import flaws, kind

    if not isinstance(tree.value, dict):
        message = f"a manifest must be a mapping, and this is {kind(tree.value)}"
        if not tree.broken:
            yield page.problem(tree.place, message, "begin it with `version: 1`")
        return
    for flaw in flaws(SCHEMA, tree.value):
        if problem := _placed(page, tree, flaw):
            yield problem


@lru_cache(maxsize=1)
def _accepts() -> Callable[[object], bool]:
    return acceptor(json.loads(schema_text(SCHEMA)))


def _placed(page: Page, tree: Node, flaw: Flaw) -> Problem | None:
    """The problem that a flaw is, where it stands; None where another problem has spoken of that node already."""
    node, place = tree, tree.place
    for step in flaw.pointer:
        child = node.get(step)
        if child is None:
            return None
        # What a model or a list lacks is best shown at its name, not at the first thing that it does have.
        place = node.keys[step] if flaw.missing and isinstance(step, str) else child.place
        node = child
    if node.broken:
        return None
    if flaw.key is not None:
        place = node.keys.get(flaw.key, place)
    return page.problem(place, flaw.message, flaw.hint or _HINTS.get(flaw.message, ""))


#: Message → the cure, where it takes the words of the format.
_HINTS = {
    "`version` is missing": "write `version: 1` in the first line",
    "`version` must be 1": "write `version: 1`",
    "`files` is missing": "name the files: `files: [name or glob]`, `files: [{url: https://…}]`, or `quant: Q4_K_M`",
    "`files` is empty": "name the files: `files: [name or glob]`, or `files: [{url: https://…}]`",
    "`url` is missing": "give the file's `url`, or write its name inside `source` as plain text",
    "`models` must be a mapping, and is empty": "write `models: {}` for none",
}


# --- values ------------------------------------------------------------------------------------------------


def _manifest(tree: Node) -> Manifest:
    models = tree.get("models")
    return Manifest(
        root=_text(tree, "root") or spec.DEFAULT_ROOT,
        models=tuple(_model(name, node) for name, node in models.entries()) if models else (),
        workspace=_workspace(tree.get("workspace")),
    )


def _workspace(node: Node | None) -> Workspace | None:
    if node is None:
        return None
    return Workspace(_texts(node, "members"), _texts(node, "exclude"))


def _model(name: str, node: Node) -> ModelSpec:
    files, quant = node.get("files"), _text(node, "quant")
    entries = tuple(files.items()) if files else ()
    return ModelSpec(
        name=name,
        path=_text(node, "path") or name,
        source=_text(node, "source"),
        patterns=tuple(dict.fromkeys(entry.value for entry in entries if isinstance(entry.value, str))),
        files=tuple(_file(entry) for entry in entries if isinstance(entry.value, dict)),
        exclude=_texts(node, "exclude"),
        license=_text(node, "license"),
        tags=tuple(sorted(_texts(node, "tags"))),
        quant=quant.upper() if quant is not None else None,
    )


def _file(node: Node) -> FileSpec:
    url, size, sha256 = _text(node, "url"), node.get("size"), _text(node, "sha256")
    assert url is not None
    return FileSpec(
        url=url,
        path=_text(node, "path") or file_name(url),
        sha256=sha256.lower() if sha256 is not None else None,
        size=size.value if size is not None and isinstance(size.value, int) else None,
        mirrors=_texts(node, "mirrors"),
    )


def _text(node: Node, key: str) -> str | None:
    child = node.get(key)
    return child.value if child is not None and isinstance(child.value, str) else None


def _texts(node: Node, key: str) -> tuple[str, ...]:
    child = node.get(key)
    return tuple(dict.fromkeys(entry.value for entry in child.items() if isinstance(entry.value, str))) if child else ()

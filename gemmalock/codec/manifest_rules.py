"""The rules of a manifest that no schema can say: paths, URLs, digests, and two files on one path.

Each check takes a node and adds problems; what has the wrong type is left to the schema. Messages are whole sentences
with the place of what they speak of.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import unquote

from gemmalock.codec.page import Page, Place
from gemmalock.codec.repository_rules import repository_wrong
from gemmalock.codec.url_rules import file_name, http_wrong, url_wrongs
from gemmalock.codec.yaml_tree import Node
from gemmalock.errors import Problem
from gemmalock.escaping import shown
from gemmalock.paths import clashes, is_glob, joined, matches, path_problem
from gemmalock.spec import MODEL_NAME, SHA256

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SHA256_ADVICE = "write the 64 hexadecimal digits that `sha256sum` prints"
_QUANT_ADVICE = "write it as the files' names have it: `Q4_K_M`, `IQ4_XS`, `Q8_0`, `UD-Q4_K_XL`, `MXFP4` or `BF16`"
#: How clashes() ends its sentence → ours.
_CLASH = {
    "is the same path": "two files go to `{later}`: this one, and `{earlier}` in line {line}",
    "is the same path on some file systems": (
        "two files go to one path where case or Unicode form does not count: `{later}`, and `{earlier}` in line {line}"
    ),
    "needs the other one to be a folder": (
        "one file would have to be the folder of the other: `{later}`, and `{earlier}` in line {line}"
    ),
}


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a file of the manifest goes, from the root, and the place that says so."""

    path: str
    place: Place


@dataclass(slots=True, eq=False, repr=False)
class Rules:
    """One check of one manifest; `problems` fill up as it goes."""

    page: Page
    schemes: Collection[str]
    allow_http: bool
    problems: list[Problem] = field(default_factory=list)
    targets: list[_Target] = field(default_factory=list)

    def check(self, tree: Node) -> None:
        """Everything in the tree of a manifest."""
        if not isinstance(tree.value, dict):
            return
        if (root := tree.get("root")) is not None:
            self._root(root)
        if (workspace := tree.get("workspace")) is not None:
            for key in ("members", "exclude"):
                self._patterns(workspace.get(key), "name folders below this one, as `apps/*`")
        models = tree.get("models")
        for name, model in models.entries() if models is not None else ():
            assert models is not None
            self._model(name, models.keys[name], model)
        self._clashes()

    # --- the parts, from the top down ----------------------------------------------------------------------

    def _root(self, node: Node) -> None:
        text = self._line(node)
        if text is None:
            return
        if text.rstrip("/") in (".", "./"):
            message = "`root` is the folder of the manifest itself; prune would take everything in it for a stray"
            self._add(node.place, message, "name a folder below it, as `models`")
        elif problem := path_problem(text):
            hint = f"write `{shown(text.strip('/').removeprefix('./'))}`" if _only_untidy(text) else ""
            self._add(node.place, f"root `{shown(text)}` {problem}", hint)

    def _model(self, name: str, place: Place, node: Node) -> None:
        if not MODEL_NAME.fullmatch(name) or len(name) > 200:
            hint = "a name has up to 200 letters, digits, `.`, `_`, `+` and `-`, and begins with a letter or a digit"
            self._add(place, f"`{shown(name)}` is not a model's name", hint)
        elif node.get("path") is None and (problem := path_problem(name)):
            self._add(place, f"`{name}` as a folder {problem}", "give the model a `path`")
        if not isinstance(node.value, dict):
            return
        folder = self._folder(node, name)
        self._source(node)
        self._quant(node)
        excluded = self._patterns(node.get("exclude"))
        for key in ("license", "tags"):
            self._lines(node.get(key))
        files = node.get("files")
        for entry in files.items() if files is not None else ():
            if isinstance(entry.value, dict):
                self._file(entry, folder)
            elif (text := self._pattern(entry)) and not is_glob(text) and not matches(text, excluded):
                self._target(folder, text, entry.place)

    def _folder(self, node: Node, name: str) -> str:
        child = node.get("path")
        if child is None:
            return name
        text = self._line(child)
        if text is None or text == ".":
            return text or name
        if problem := path_problem(text):
            hint = f"write `{shown(text.strip('/').removeprefix('./'))}`" if _only_untidy(text) else ""
            self._add(child.place, f"path `{shown(text)}` {problem}", hint)
        return text

    def _source(self, node: Node) -> None:
        source, files = node.get("source"), node.get("files")
        if source is not None:
            self._url(source, has_digest=False, takes_digest=False)
        elif files is not None:
            named = next((entry for entry in files.items() if isinstance(entry.value, str) and entry.value), None)
            if named is not None:
                message = f"`{shown(str(named.value))}` is a name inside a source, and the model has no `source`"
                hint = "add `source: hf://owner/name`, or give the file as `url: https://…`"
                self._add(named.place, message, hint)

    def _quant(self, node: Node) -> None:
        quant = node.get("quant")
        text = self._line(quant) if quant is not None else None
        if quant is None or not text:
            return
        from gemmalock.quantisations import MAX_QUANT, is_quantisation

        if not is_quantisation(text):
            self._add(quant.place, f"`{shown(text, MAX_QUANT)}` is no quantisation of GGUF files", _QUANT_ADVICE)
        elif node.get("source") is None:
            message = "`quant` selects files of a source, and the model has no `source`"
            self._add(quant.place, message, "add `source: hf://owner/name-GGUF`")

    def _file(self, node: Node, folder: str) -> None:
        sha256, url, path = node.get("sha256"), node.get("url"), node.get("path")
        if sha256 is not None:
            self._sha256(sha256)
        if url is not None:
            sound = self._url(url, has_digest=sha256 is not None)
            if path is None and sound:
                self._default_path(url, folder)
        if path is not None and (text := self._line(path)) is not None:
            if problem := path_problem(text):
                hint = f"write `{shown(text.strip('/').removeprefix('./'))}`" if _only_untidy(text) else ""
                self._add(path.place, f"path `{shown(text)}` {problem}", hint)
            else:
                self._target(folder, text, path.place)
        self._size(node)
        mirrors = node.get("mirrors")
        for mirror in mirrors.items() if mirrors is not None else ():
            self._url(mirror, has_digest=sha256 is not None)

    # --- one value -----------------------------------------------------------------------------------------

    def _url(self, node: Node, *, has_digest: bool, takes_digest: bool = True) -> bool:
        """Whether the URL is sound; a problem for each thing that is not."""
        text = self._line(node)
        if not text:
            return False
        wrongs = list(url_wrongs(text, self.schemes))
        if not wrongs and not has_digest and not self.allow_http:
            http = http_wrong(text, takes_digest=takes_digest)
            wrongs += [http] if http is not None else []
        if not wrongs and (wrong := repository_wrong(text, is_file=takes_digest)) is not None:
            wrongs.append(wrong)
        for wrong in wrongs:
            problem = self.page.problem(node.place, wrong.message, wrong.hint, secret=wrong.secret)
            self.problems.append(problem)
        return not wrongs

    def _default_path(self, node: Node, folder: str) -> None:
        name = file_name(str(node.value))
        if not name:
            self._add(node.place, "the URL ends without a name for the file", "give the file a `path`")
            return
        # A name that decodes once more into another path was written to be taken for that.
        again = unquote(name)
        problem = path_problem(name) or (path_problem(again) if again != name else None)
        if "/" in name or "/" in again:
            problem = "has a percent-encoded `/`"
        elif "\ufffd" in name:
            problem = "is not valid UTF-8"
        if problem:
            self._add(node.place, f"the name in the URL, `{shown(name)}`, {problem}", "give the file a `path`")
        else:
            self._target(folder, name, node.place)

    def _sha256(self, node: Node) -> None:
        value = node.value
        if node.plain and not isinstance(value, str) and value is not None:
            hint = f'write it as `sha256: "{shown(node.raw)}"`'
            self._add(node.place, "the sha256 reads as a number, and loses digits; quote it", hint)
        elif isinstance(value, str) and (said := _sha256_wrong(value)):
            self._add(node.place, *said)

    def _size(self, node: Node) -> None:
        size = node.get("size")
        if size is None or size.broken or (type(size.value) is int and 0 <= size.value < 2**63):
            return
        wanted = "a whole number of bytes, from 0 to 2^63 - 1"
        written = f"`{shown(size.raw, 40)}`" if size.raw else "something else"
        hint = "write the number without quotes" if isinstance(size.value, str) and size.value.isdecimal() else ""
        self._add(size.place, f"`size` must be {wanted}, and is {written}", hint)

    def _pattern(self, node: Node, named: str = "names are paths inside the source, with `/`") -> str | None:
        """The text of a name or glob, or None where it has a problem; `named` says what such texts name."""
        text = self._line(node)
        if not text:
            return None
        # What a glob's marks stand for is never a `/` or a dot that would change the verdict on the rest.
        if problem := path_problem(re.sub(r"[*?]", "x", text)):
            self._add(node.place, f"`{shown(text)}` {problem}", named)
            return None
        return text

    def _patterns(self, node: Node | None, *named: str) -> tuple[str, ...]:
        patterns = (self._pattern(entry, *named) for entry in node.items()) if node is not None else ()
        return tuple(pattern for pattern in patterns if pattern)

    def _lines(self, node: Node | None) -> None:
        for entry in (node, *node.items()) if node is not None else ():
            self._line(entry)

    def _line(self, node: Node) -> str | None:
        """The text of a node; None where it is something else, or has a problem already."""
        if not isinstance(node.value, str) or node.broken:
            return None
        # Of ASCII, all controls are what cannot be printed, and nothing else is.
        is_shown = node.value.isascii() and node.value.isprintable()
        if not is_shown and (found := _CONTROL.search(node.value)):
            what = "a line break" if found[0] in "\r\n" else f"a control character (U+{ord(found[0]):04X})"
            self._add(node.place, f"the text has {what} in it", "write it on one line")
            return None
        return node.value

    # --- two files on one path -----------------------------------------------------------------------------

    def _target(self, folder: str, name: str, place: Place) -> None:
        self.targets.append(_Target(joined(folder, name), place))

    def _clashes(self) -> None:
        for first, second, why in clashes(target.path for target in self.targets):
            earlier, later = sorted((self.targets[first], self.targets[second]), key=lambda target: target.place)
            message = _CLASH[why].format(later=shown(later.path), earlier=shown(earlier.path), line=earlier.place.line)
            self._add(later.place, message, "give one of the two another `path`")

    def _add(self, place: Place, message: str, hint: str) -> None:
        self.problems.append(self.page.problem(place, message, hint))


def _only_untidy(path: str) -> bool:
    """Whether the path would be safe without `./` before it or `/` after it."""
    return not path.startswith("/") and path_problem(path.strip("/").removeprefix("./")) is None


def _sha256_wrong(text: str) -> tuple[str, str] | None:
    digest = text.lower()
    if SHA256.fullmatch(digest):
        if not digest.strip("0"):
            return "a sha256 of only zeros is a placeholder, not a digest", _SHA256_ADVICE
        return None
    algorithm, colon, rest = digest.partition(":")
    if colon and algorithm in ("sha256", "sha-256"):
        hint = f"write `{shown(rest)}`" if SHA256.fullmatch(rest) else _SHA256_ADVICE
        return f"a sha256 stands without `{shown(text[: len(algorithm) + 1])}` before it", hint
    if colon:
        return f"`{shown(text)}` is not a sha256; other digests are not taken", _SHA256_ADVICE
    if re.fullmatch(r"[0-9a-f]+", digest):
        return f"a sha256 has 64 hexadecimal digits, and this has {len(digest)}", _SHA256_ADVICE
    return f"`{shown(text)}` is not a sha256", _SHA256_ADVICE

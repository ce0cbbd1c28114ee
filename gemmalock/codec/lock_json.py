"""Locks: JSON in, frozen values out, and back to the same bytes.

Reading builds the values at once; only when that fails is the text looked at again, with the schema, to say what is
wrong and where (`lock_problems`). So a sound lock of 10,000 files costs no import of jsonschema and no second walk.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import NoReturn

from gemmalock.codec.url_rules import url_wrongs
from gemmalock.errors import LockInvalid
from gemmalock.escaping import escaped
from gemmalock.lockfile import LOCK_VERSION, TASK_ID, Lock, LockedFile, LockedManifest, LockedModel
from gemmalock.paths import clashes
from gemmalock.spec import MODEL_NAME

#: Twenty times the lock of 100,000 files.
MAX_BYTES = 1024 * 1024 * 1024
_LOCK_KEYS = frozenset({"lock_version", "manifests"})
_MANIFEST_KEYS = frozenset({"declared", "models", "path", "root"})
_MODEL_KEYS = frozenset({"files", "name"})
_MODEL_EXTRAS = frozenset({"license", "revision", "source", "tags"})
_FILE_KEYS = frozenset({"etag", "name", "path", "sha256", "size", "task_id", "url"})
_FILE_EXTRAS = frozenset({"mirrors"})
_SCALAR = json.JSONEncoder(ensure_ascii=False)
#: What that comes to for a text.
_json = json.encoder.encode_basestring
_DECLARED = re.compile(r"sha256:[0-9a-f]{64}")
# These are compiled when they are needed: hardly a lock has anything in it that is not ASCII.
#: What no header field may hold (RFC 9110, 5.5). An entity tag is kept as it came.
_NO_FIELD = "[\x00-\x1f\x7f\ud800-\udfff]"
#: What is written as an escape, so that an editor shows a lock as it is.
_INVISIBLE = "[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufffe\uffff]"
_CONTROL = "[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"


class _Unsound(Exception):
    """Something in the lock is not as it has to be; what, is found out by a second look."""


def read_lock(text: bytes, path: str) -> Lock:
    """The lock in the bytes of a file; `path` is what its problems call it. CRLF is taken as LF.

    Raises LockInvalid with every problem that was found, in the order of their places.
    """
    try:
        lock = _lock(_value(text))
        if _is_consistent(lock):
            return lock
    except (_Unsound, ValueError, RecursionError):
        # What is wrong is said below, from the text; nothing that was half read is used.
        pass
    from gemmalock.codec.lock_problems import lock_problems

    problems = lock_problems(text, path, MAX_BYTES)
    count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
    raise LockInvalid(f"`{escaped(path)}` has {count}", problems=problems)


def write_lock(lock: Lock) -> bytes:
    """The canonical bytes of a lock: the same lock gives the same bytes, whatever the order of its parts."""
    manifests = sorted(lock.manifests, key=lambda manifest: manifest.path)
    value = {"lock_version": LOCK_VERSION, "manifests": [_manifest_value(manifest) for manifest in manifests]}
    text = "".join((*_indented(value), "\n"))
    if "\x7f" in text or not text.isascii():
        text = re.sub(_INVISIBLE, lambda found: f"\\u{ord(found[0]):04x}", text)
    return text.encode()


# --- values to JSON ----------------------------------------------------------------------------------------


def _manifest_value(manifest: LockedManifest) -> dict[str, object]:
    models = sorted(manifest.models, key=lambda model: model.name)
    return {
        "declared": manifest.declared,
        "models": [_model_value(model) for model in models],
        "path": manifest.path,
        "root": manifest.root,
    }


def _model_value(model: LockedModel) -> dict[str, object]:
    files = sorted(model.files, key=lambda file: file.path)
    value: dict[str, object] = {"files": files, "name": model.name}
    extras = {"license": model.license, "revision": model.revision, "source": model.source, "tags": sorted(model.tags)}
    return value | {key: extra for key, extra in extras.items() if extra}


def _indented(value: object, margin: str = "\n") -> Iterator[str]:
    """JSON as `json.dumps` has it with `indent=2` and `sort_keys`; that takes a call in Python for each of its tokens.
    `margin`: how a line begins that is at home where the value is. In pieces: a text is not copied at each level."""
    if isinstance(value, LockedFile):
        yield _file_text(value, margin)
        return
    if not value or not isinstance(value, dict | list):
        yield _SCALAR.encode(value)
        return
    inner = f"{margin}  "
    if isinstance(value, dict):
        before, end = "{", "}"
        entries = [(f"{_json(key)}: ", each) for key, each in sorted(value.items())]
    else:
        before, end = "[", "]"
        entries = [("", each) for each in value]
    for key, each in entries:
        yield f"{before}{inner}{key}"
        yield from _indented(each, inner)
        before = ","
    yield f"{margin}{end}"


def _file_text(file: LockedFile, margin: str) -> str:
    """A file as `_indented` would have it with its keys as a mapping: nearly all of a lock is this."""
    inner = f"{margin}  "
    mirrors = f'{inner}"mirrors": {"".join(_indented(list(file.mirrors), inner))},' if file.mirrors else ""
    return (
        f'{{{inner}"etag": {"null" if file.etag is None else _json(file.etag)},{mirrors}'
        f'{inner}"name": {_json(file.name)},'
        f'{inner}"path": {_json(file.path)},'
        f'{inner}"sha256": {"null" if file.sha256 is None else _json(file.sha256)},'
        f'{inner}"size": {file.size},'
        f'{inner}"task_id": {_json(file.task_id)},'
        f'{inner}"url": {_json(file.url)}{margin}}}'
    )


# --- JSON to values ----------------------------------------------------------------------------------------


def _value(text: bytes) -> object:
    """The JSON value of a text. Raises ValueError or RecursionError."""
    if len(text) > MAX_BYTES:
        raise _Unsound
    return json.loads(text.decode("utf-8-sig"), object_pairs_hook=_no_repeats, parse_constant=_no_constant)


def _no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Where a key is there twice, one reader may see the one value and another the other.
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _Unsound
    return value


def _no_constant(name: str) -> NoReturn:
    raise _Unsound(name)


def _lock(value: object) -> Lock:
    mapping = _mapping(value, _LOCK_KEYS)
    version = mapping["lock_version"]
    if type(version) is not int or version != LOCK_VERSION:
        raise _Unsound
    return Lock(tuple(_manifest(each) for each in _list(mapping["manifests"])))


def _manifest(value: object) -> LockedManifest:
    mapping = _mapping(value, _MANIFEST_KEYS)
    declared = _text(mapping["declared"])
    if not _DECLARED.fullmatch(declared):
        raise _Unsound
    models = tuple(_model(each) for each in _list(mapping["models"]))
    return LockedManifest(_text(mapping["path"]), _text(mapping["root"]), declared, models)


def _model(value: object) -> LockedModel:
    mapping = _mapping(value, _MODEL_KEYS, _MODEL_EXTRAS)
    name = _text(mapping["name"])
    if not MODEL_NAME.fullmatch(name):
        raise _Unsound
    source, revision, license = (
        _line(mapping[key]) if key in mapping else None for key in ("source", "revision", "license")
    )
    if source is not None:
        _url(source)
    tags = tuple(_line(tag) for tag in _list(mapping.get("tags", [])))
    if "tags" in mapping and not tags:
        raise _Unsound
    files = tuple(_file(each) for each in _list(mapping["files"]))
    return LockedModel(name, files, source, revision, license, tags)


def _file(value: object) -> LockedFile:
    mapping = _mapping(value, _FILE_KEYS, _FILE_EXTRAS)
    etag, sha256, size = mapping["etag"], mapping["sha256"], mapping["size"]
    mirrors = tuple(map(_url, _list(mapping["mirrors"]))) if "mirrors" in mapping else ()
    if type(size) is not int or ("mirrors" in mapping and not mirrors):
        raise _Unsound
    if etag is not None and (not isinstance(etag, str) or _has(_NO_FIELD, etag)):
        raise _Unsound
    return LockedFile(
        name=_text(mapping["name"]),
        path=_text(mapping["path"]),
        url=_url(mapping["url"]),
        size=size,
        etag=etag,
        sha256=None if sha256 is None else _text(sha256),
        task_id=_uuid(mapping["task_id"]),
        mirrors=mirrors,
    )


def _mapping(value: object, keys: frozenset[str], extras: frozenset[str] = frozenset()) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _Unsound
    there = value.keys()
    if there != keys and (not keys <= there or there - keys - extras):
        raise _Unsound
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise _Unsound
    return value


def _text(value: object) -> str:
    # ASCII controls are refused by the rules for paths, URLs and lines; what is left needs only this look.
    if not isinstance(value, str) or (not value.isascii() and _has(_CONTROL, value)):
        raise _Unsound
    return value


def _line(value: object) -> str:
    """A text of one line that is not empty."""
    text = _text(value)
    if not text or _has(_CONTROL, text):
        raise _Unsound
    return text


def _has(controls: str, text: str) -> bool:
    """Whether one of these is in a text. Of ASCII they all are what cannot be printed, and nothing else is."""
    return not text.isprintable() if text.isascii() else re.search(controls, text) is not None


def _url(value: object) -> str:
    text = _text(value)
    if any(True for _ in url_wrongs(text, None)):
        raise _Unsound
    return text


def _uuid(value: object) -> str:
    text = _text(value)
    if not TASK_ID.fullmatch(text):
        raise _Unsound
    return text


# --- a lock as a whole -------------------------------------------------------------------------------------


def _is_consistent(lock: Lock) -> bool:
    """Whether nothing is there twice, and no two files or roots are in each other's way."""
    if clashes(manifest.root_path for manifest in lock.manifests):
        return False
    if _repeat(manifest.path for manifest in lock.manifests):
        return False
    return not any(_manifest_clashes(manifest) for manifest in lock.manifests)


def _manifest_clashes(manifest: LockedManifest) -> bool:
    if _repeat(model.name for model in manifest.models):
        return True
    if any(_repeat(file.name for file in model.files) for model in manifest.models):
        return True
    files = chain.from_iterable(model.files for model in manifest.models)
    return bool(clashes(file.path for file in files))


def _repeat(names: Iterator[str]) -> bool:
    listed = list(names)
    return len(set(listed)) != len(listed)

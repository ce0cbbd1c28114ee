"""Locks: the same value has the same bytes, and what is not a lock is refused with its place."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemmalock.codec.json_places import json_offsets
from gemmalock.codec.lock_json import read_lock, write_lock
from gemmalock.codec.schema import flaws
from gemmalock.errors import LockInvalid, Problem
from gemmalock.lockfile import Lock, LockedFile, LockedManifest, LockedModel

SCHEMA = "lock.v1.schema.json"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
DIGEST = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
FILE = LockedFile.pin(
    name="gemma.gguf",
    path="gemma/gemma.gguf",
    url=f"https://huggingface.co/o/r/resolve/{COMMIT}/gemma.gguf",
    size=253115392,
    etag=f'"{DIGEST}"',
    sha256=DIGEST,
)
PLAIN = LockedFile.pin(
    name="größe.bin",
    path="gemma/größe.bin",
    url="file://weights/größe.bin",
    size=0,
    etag=None,
    sha256=None,
    mirrors=("https://b.example/x", "https://a.example/x"),
)
MODEL = LockedModel("gemma", (FILE, PLAIN), "hf://o/r@main", COMMIT, "gemma", ("llm", "mobile"))
LOCK = Lock((LockedManifest("gemmalock.yaml", "models", f"sha256:{DIGEST}", (MODEL,)),))
TEXT = write_lock(LOCK)


def _problems(text: bytes) -> tuple[Problem, ...]:
    with pytest.raises(LockInvalid) as caught:
        read_lock(text, "gemmalock.lock")
    assert caught.value.problems
    return caught.value.problems


def test_the_bytes_are_those_of_the_contract() -> None:
    value = json.loads(TEXT)
    assert TEXT.decode() == json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    first, second = value["manifests"][0]["models"][0]["files"]
    assert first == {
        "etag": f'"{DIGEST}"',
        "name": "gemma.gguf",
        "path": "gemma/gemma.gguf",
        "sha256": DIGEST,
        "size": 253115392,
        "task_id": FILE.task_id,
        "url": FILE.url,
    }
    assert (second["etag"], second["sha256"]) == (None, None)
    assert second["mirrors"] == ["https://b.example/x", "https://a.example/x"]


def test_what_is_not_there_is_not_written() -> None:
    bare = LockedModel("m", (FILE,))
    value = json.loads(write_lock(Lock((LockedManifest("g.yaml", "models", f"sha256:{DIGEST}", (bare,)),))))
    assert set(value["manifests"][0]["models"][0]) == {"files", "name"}


def test_the_order_in_which_a_lock_was_made_does_not_show() -> None:
    other = LockedManifest("apps/gemmalock.yaml", "models", f"sha256:{DIGEST}", ())
    turned = LockedModel("gemma", (PLAIN, FILE), MODEL.source, COMMIT, "gemma", ("mobile", "llm"))
    more = LockedModel("a", ())
    manifest = LOCK.manifests[0]
    one = Lock((LockedManifest(manifest.path, "models", manifest.declared, (turned, more)), other))
    two = Lock((other, LockedManifest(manifest.path, "models", manifest.declared, (more, MODEL))))
    assert write_lock(one) == write_lock(two)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + TEXT,
        json.dumps(json.loads(TEXT)).encode(),
        json.dumps(dict(reversed(json.loads(TEXT).items()))).encode(),
    ],
    ids=["as written", "CRLF", "byte order mark", "on one line", "another order"],
)
def test_layout_means_nothing(text: bytes) -> None:
    assert read_lock(text, "gemmalock.lock") == LOCK


def test_an_empty_lock_is_a_lock() -> None:
    assert read_lock(write_lock(Lock()), "gemmalock.lock") == Lock()


# --- what is refused ---------------------------------------------------------------------------------------


def _edited(edit: Callable[[dict[str, list[dict[str, object]]]], object]) -> bytes:
    value = json.loads(TEXT)
    edit(value)
    return json.dumps(value, indent=2).encode()


def _file(**change: object) -> bytes:
    value = json.loads(TEXT)
    value["manifests"][0]["models"][0]["files"][0].update(change)
    return json.dumps(value, indent=2).encode()


def _manifest(**change: object) -> bytes:
    value = json.loads(TEXT)
    value["manifests"][0].update(change)
    return json.dumps(value, indent=2).encode()


def _model(**change: object) -> bytes:
    value = json.loads(TEXT)
    value["manifests"][0]["models"][0].update(change)
    return json.dumps(value, indent=2).encode()


def _two_roots(path: str, root: str) -> bytes:
    value = json.loads(TEXT)
    value["manifests"].append({"declared": f"sha256:{DIGEST}", "models": [], "path": path, "root": root})
    return json.dumps(value, indent=2).encode()


AT_FILE = "/manifests/0/models/0/files/0"
REFUSED = {
    "empty": (b"", "1:1: the lock is empty"),
    "cut": (TEXT[:100], "not JSON"),
    "not JSON": (b'{"lock_version": 1,\n "manifests": nope}', "2:15: not JSON: expecting value"),
    "a list": (b"[]", "1:1: the file must be a mapping, and is a list"),
    "UTF-16": (TEXT.decode().encode("utf-16"), "1:1: the file is UTF-16"),
    "not UTF-8": (TEXT.replace("größe".encode(), b"gr\xf6\xdfe", 1), "is not UTF-8"),
    "NUL": (b"\0" * 100, "1:1: the file has a character that is not text: U+0000"),
    "a merge": (TEXT.replace(b'  "manifests"', b'<<<<<<< HEAD\n  "manifests"'), "3:1: unresolved merge: line 3"),
    "too deep": (b"[" * 100_000, "nested too deeply"),
    "a number without end": (b'{"lock_version": ' + b"9" * 5000 + b"}", "number in it is too long"),
    "a newer version": (b'{"lock_version": 7, "x": 1}', "1:18: lock version 7 needs a newer gemmalock"),
    "no such version": (b'{"lock_version": 0}', "1:18: there is no lock version 0"),
    "version as text": (TEXT.replace(b'"lock_version": 1', b'"lock_version": "1"'), "/lock_version"),
    "version 1.0": (TEXT.replace(b'"lock_version": 1', b'"lock_version": 1.0'), "/lock_version"),
    "version true": (TEXT.replace(b'"lock_version": 1', b'"lock_version": true'), "/lock_version"),
    "NaN": (TEXT.replace(b'"size": 0', b'"size": NaN'), "/size"),
    "no manifests": (b'{"lock_version": 1}', "`manifests` is missing"),
    "a key more": (_file(extra=1), f"{AT_FILE}/extra: unknown key `extra`"),
    "a key twice": (
        TEXT.replace(b'"size": 0', b'"size": 0,\n              "size": 1'),
        "28:15: /manifests/0/models/0/files/1/size: this key is twice",
    ),
    "a key less": (_edited(lambda value: value["manifests"][0].pop("declared")), "`declared` is missing"),
    "size as text": (_file(size="1"), f"{AT_FILE}/size"),
    "size in floating point": (_file(size=1.0), f"{AT_FILE}/size"),
    "size true": (_file(size=True), f"{AT_FILE}/size"),
    "size negative": (_file(size=-1), f"{AT_FILE}/size"),
    "size too large": (_file(size=2**63), f"{AT_FILE}/size"),
    "sha256 upper case": (_file(sha256=DIGEST.upper()), f"{AT_FILE}/sha256"),
    "sha256 with a line end": (_file(sha256=DIGEST + "\n"), f"{AT_FILE}/sha256"),
    "sha256 number": (_file(sha256=1), f"{AT_FILE}/sha256"),
    "task ID": (_file(task_id="x"), f"{AT_FILE}/task_id: `x` is not a task ID"),
    "task ID upper case": (_file(task_id=FILE.task_id.upper()), f"{AT_FILE}/task_id"),
    "task ID in braces": (_file(task_id="{" + FILE.task_id + "}"), f"{AT_FILE}/task_id"),
    "etag with a line end": (_file(etag='"x"\r\nHost: y'), f"{AT_FILE}/etag"),
    "etag number": (_file(etag=1), f"{AT_FILE}/etag"),
    "lone surrogate": (_file(etag="\ud800"), f"{AT_FILE}/etag"),
    "path up": (_file(path="../x"), f"{AT_FILE}/path: `../x` has a `..` component"),
    "path absolute": (_file(path="/etc/x"), f"{AT_FILE}/path: `/etc/x` is absolute"),
    "path into git": (_file(path=".git/hooks/x"), f"{AT_FILE}/path"),
    "path with a control": (_file(path="a\x1b]0;x\x07"), f"{AT_FILE}/path"),
    "name up": (_file(name="../x"), f"{AT_FILE}/name: `../x` has a `..` component"),
    "path empty": (_file(path=""), f"{AT_FILE}/path"),
    "two files on one path": (_file(path="gemma/GRÖSSE.bin"), "two files never share a path"),
    "a file below a file": (_file(path="gemma/größe.bin/x"), "needs the other one to be a folder"),
    "two files of one name": (_file(name="größe.bin"), "`größe.bin` is here twice"),
    "no URL": (_file(url="x"), f"{AT_FILE}/url: `x` has no scheme"),
    "a URL without a host": (_file(url="https:///x"), f"{AT_FILE}/url: the URL has no host"),
    "a bracket that stays open": (_file(url="http://["), f"{AT_FILE}/url: the URL's host or port cannot be read"),
    "a port that is none": (_file(url="https://h.example:99999/x"), f"{AT_FILE}/url: the URL's host or port"),
    "a URL that is too long": (_file(url=f"https://h.example/{'x' * 4000}"), f"{AT_FILE}/url: the URL is longer"),
    "mirrors empty": (_file(mirrors=[]), f"{AT_FILE}/mirrors"),
    "mirror null": (_file(mirrors=[None]), f"{AT_FILE}/mirrors/0"),
    "root up": (_manifest(root=".."), "/manifests/0/root"),
    "root itself": (_manifest(root="."), "/manifests/0/root"),
    "manifest up": (_manifest(path="../gemmalock.yaml"), "/manifests/0/path"),
    "declared": (_manifest(declared=DIGEST), "/manifests/0/declared"),
    "roots shared": (_two_roots("other.yaml", "models"), "/manifests/1/root: `models` is the same path"),
    "roots shared by case": (_two_roots("other.yaml", "Models"), "/manifests/1/root"),
    "roots nested": (_two_roots("models/x/gemmalock.yaml", "models"), "two manifests never share or nest roots"),
    "manifests twice": (_two_roots("gemmalock.yaml", "other"), "/manifests/1/path: `gemmalock.yaml` is here twice"),
    "model name": (_model(name="a b"), "/manifests/0/models/0/name"),
    "model name with a line end": (_model(name="a\n"), "/manifests/0/models/0/name"),
    "license null": (_model(license=None), "/manifests/0/models/0/license"),
    "license in lines": (_model(license="MIT\nx"), "/manifests/0/models/0/license"),
    "tags empty": (_model(tags=[]), "/manifests/0/models/0/tags"),
    "tag empty": (_model(tags=[""]), "/manifests/0/models/0/tags/0"),
    "source without scheme": (_model(source="o/r"), "/manifests/0/models/0/source"),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_a_lock_is_refused_with_its_place(text: bytes, said: str) -> None:
    problems = _problems(text)
    assert any(said in str(problem) for problem in problems), [str(problem) for problem in problems]
    for problem in problems:
        assert f"{problem}{problem.hint}{problem.excerpt}".replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "change",
    [
        {"url": "https://user:hunter2@h.example/x"},
        {"url": "https://h.example/x?X-Amz-Signature=hunter2"},
        {"mirrors": ["https://hunter2@h.example/x"]},
    ],
)
def test_a_credential_in_a_lock_is_refused_and_not_repeated(change: dict[str, object]) -> None:
    (problem,) = _problems(_file(**change))
    assert "credential" in problem.message
    assert "hunter2" not in f"{problem}{problem.hint}{problem.excerpt}"


def test_a_lock_that_is_cut_anywhere_is_refused() -> None:
    whole = json.dumps(json.loads(TEXT), separators=(",", ":")).encode()
    for end in range(len(whole)):
        _problems(whole[:end])


def test_all_problems_are_reported_at_once() -> None:
    value = json.loads(TEXT)
    value["manifests"][0]["models"][0]["files"][0].update(size=-1, path="../x", url="x")
    value["manifests"][0]["root"] = "."
    problems = _problems(json.dumps(value, indent=2).encode())
    assert len(problems) == 4
    assert all(problem.line for problem in problems)


# --- properties --------------------------------------------------------------------------------------------

_TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=12)
_SHA256 = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")


@st.composite
def _files(draw: st.DrawFn, number: int, folder: str) -> LockedFile:
    return LockedFile.pin(
        name=f"f{number}.bin",
        path=f"{folder}/f{number}.bin",
        url=draw(st.sampled_from(["https://h.example/x?a=b", "file://a b/c", "s3://b/k", "https://h.example/größe"])),
        size=draw(st.integers(0, 2**63 - 1)),
        etag=draw(st.none() | st.text(st.characters(exclude_categories=["Cs"], min_codepoint=0x80)) | _TEXTS),
        sha256=draw(st.none() | _SHA256),
        mirrors=draw(st.lists(st.sampled_from(["https://b.example/x", "https://a.example/x"]), max_size=2).map(tuple)),
    )


@st.composite
def _models(draw: st.DrawFn, name: str) -> LockedModel:
    return LockedModel(
        name,
        tuple(draw(_files(number, name)) for number in range(draw(st.integers(0, 3)))),
        draw(st.none() | st.just("hf://o/r@main")),
        draw(st.none() | st.just(COMMIT)),
        draw(st.none() | _TEXTS),
        tuple(sorted(draw(st.sets(_TEXTS, max_size=2)))),
    )


@st.composite
def _locks(draw: st.DrawFn) -> Lock:
    folders = sorted(draw(st.sets(st.sampled_from(["", "apps/a/", "apps/b/", "é/"]))))
    names = ["A", "a.b", "b"]
    manifests = [
        LockedManifest(
            f"{folder}gemmalock.yaml",
            "models",
            f"sha256:{draw(_SHA256)}",
            tuple(draw(_models(name)) for name in names[: draw(st.integers(0, 3))]),
        )
        for folder in folders
    ]
    return Lock(tuple(sorted(manifests, key=lambda manifest: manifest.path)))


@given(_locks())
def test_a_lock_is_indented_as_json_indents_it(lock: Lock) -> None:
    text = write_lock(lock).decode()
    in_ascii = "".join(json.dumps(letter)[1:-1] if letter > "~" else letter for letter in text)
    assert in_ascii == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"


@given(_locks())
def test_a_canonical_lock_is_read_as_it_was_written(lock: Lock) -> None:
    text = write_lock(lock)
    assert read_lock(text, "gemmalock.lock") == lock
    assert write_lock(read_lock(text, "gemmalock.lock")) == text
    assert list(flaws(SCHEMA, json.loads(text))) == []


_SCRAPS: st.SearchStrategy[object] = st.sampled_from(
    [None, True, 0, -1, 1.0, "", "x", "../x", [], {}, [None], "https://h.example/x", "\n", 2**63]
)


@settings(max_examples=200)
@given(st.integers(0, 10**6), _SCRAPS, st.sampled_from(["replace", "remove", "add"]))
def test_whatever_is_done_to_a_lock_it_is_refused_with_a_reason_or_fits_the_schema(
    number: int, scrap: object, how: str
) -> None:
    value = json.loads(TEXT)
    places = list(_places(value))
    holder, key = places[number % len(places)]
    if how == "replace":
        holder[key] = scrap
    elif how == "remove":
        del holder[key]
    elif isinstance(holder, dict):
        holder["added"] = scrap
    text = json.dumps(value).encode()
    try:
        lock = read_lock(text, "gemmalock.lock")
    except LockInvalid as error:
        assert error.problems
        assert all("breaks a rule" not in problem.message for problem in error.problems)
    else:
        assert list(flaws(SCHEMA, value)) == []
        # The edit may have put the files out of order, which writing mends.
        assert write_lock(read_lock(write_lock(lock), "gemmalock.lock")) == write_lock(lock)


def _places(value: object) -> list[tuple[dict[str | int, object], str | int]]:
    found: list[tuple[dict[str | int, object], str | int]] = []
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in steps:
        found.append((value, key))  # type: ignore[arg-type]
        found.extend(_places(child))
    return found


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5) | st.booleans(),
        lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
        max_leaves=10,
    ),
    st.sampled_from([None, 1]),
)
def test_places_in_json_are_where_the_values_are(value: object, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    decoder = json.JSONDecoder()
    offsets = json_offsets(text)
    assert offsets.repeats == {}
    assert () in offsets.values
    for pointer, offset in offsets.values.items():
        found: object = value
        for step in pointer:
            found = found[step]  # type: ignore[index]
        assert decoder.raw_decode(text, offset)[0] == found


@pytest.mark.parametrize("broken", [False, True])
def test_a_sound_lock_costs_no_heavy_import(tmp_path: Path, broken: bool) -> None:
    path = tmp_path / "gemmalock.lock"
    path.write_bytes(TEXT[:-3] if broken else TEXT)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from gemmalock.codec.lock_json import read_lock, write_lock\n"
        "from gemmalock.errors import LockInvalid\n"
        "try:\n"
        "    write_lock(read_lock(Path(sys.argv[1]).read_bytes(), 'gemmalock.lock'))\n"
        "except LockInvalid:\n"
        "    pass\n"
        "heavy = {'jsonschema', 'yaml', 'referencing', 'urllib3'} & set(sys.modules)\n"
        "print(*sorted(heavy))\n"
    )
    ran = subprocess.run([sys.executable, "-c", script, str(path)], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == (["jsonschema", "referencing"] if broken else [])

"""Manifests and locks that are cut, merged, from the future, edited by a foreign hand, or bombs: rows M and X05-X09.

Whatever is wrong with them: no byte is fetched, nothing is pruned, and the file is as it was.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.stage import Stage
from tests.running import Finished


def edit(stage: Stage, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the lock as an attacker would: its meaning, in its own layout."""
    lock = json.loads(stage.lock.read_text())
    change(lock)
    stage.lock.write_text(json.dumps(lock, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def file_of(lock: dict[str, Any], name: str = "model.gguf") -> dict[str, Any]:
    """The entry of a file."""
    files = lock["manifests"][0]["models"][0]["files"]
    return next(file for file in files if file["name"] == name)


def set_in_file(**values: Any) -> Callable[[dict[str, Any]], None]:
    """A change of the large file's entry."""
    return lambda lock: file_of(lock).update(values)


def refused(stage: Stage, *arguments: str, code: int = 4) -> Finished:
    """A command that fails, asks nobody, and leaves root and papers alone."""
    stray = stage.root / "stray.txt"
    stray.parent.mkdir(exist_ok=True)
    stray.write_text("a run that is refused prunes nothing")
    papers = [path.read_bytes() if path.is_file() else None for path in (stage.lock, stage.project.manifest)]
    stage.server.forget()
    done = stage.run(*arguments, code=code)
    assert stage.server.requests == ()
    assert stray.exists()
    stray.unlink()
    assert [path.read_bytes() if path.is_file() else None for path in (stage.lock, stage.project.manifest)] == papers
    return done


# --- manifests ---------------------------------------------------------------------------------------------

ALIASES = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
NAUGHTY = {
    "empty": (b"", "gemmalock.yaml"),
    "UTF-16": ("version: 1\n".encode("utf-16"), "UTF-16"),
    "a NUL": (b"version: 1\nmodels: {}\n\0", "U+0000"),
    "binary": (bytes(range(256)) * 40, "gemmalock.yaml"),
    "not text": (b"version: 1\nroot: \xff\xfe\n", "not UTF-8"),
    "an alias bomb": (ALIASES.encode(), "gemmalock.yaml"),
    "an alias of itself": (b"version: 1\nmodels: &a [*a]\n", "gemmalock.yaml"),
    "a Python object": (b"version: 1\nmodels: !!python/object/apply:os.system ['touch pwned']\n", "gemmalock.yaml"),
    "deep": (b"version: 1\nmodels: " + b"[" * 5000, "gemmalock.yaml"),
    "two documents": (b"version: 1\nmodels: {}\n---\nversion: 1\n", "gemmalock.yaml"),
    "duplicate keys": (b"version: 1\nmodels: {}\nmodels: {}\n", "gemmalock.yaml:3:1"),
    "conflict markers": (b"version: 1\n<<<<<<< HEAD\nmodels: {}\n=======\n>>>>>>> other\n", "unresolved merge: line 2"),
    "a misspelt key": (b"version: 1\nmodels:\n  m:\n    fils: []\n", "`files`"),
    "the future": (b"version: 99\nmodels: {}\n", "newer gemmalock"),
    "a hook": (b"version: 1\nmodels: {}\nhooks:\n  after: touch pwned\n", "gemmalock.yaml:3:1"),
    "a token": (b"version: 1\nmodels: {}\nauth: HF_TOKEN\nendpoint: https://evil.example\n", "gemmalock.yaml:3:1"),
    "a remote $ref": (b"version: 1\nmodels: {}\n$ref: http://127.0.0.1:9/x.json\n", "gemmalock.yaml:3:1"),
    "a credential": (b"version: 1\nmodels:\n  m:\n    files: [{url: 'https://u:hunter2@h.example/a'}]\n", "credential"),
    "a long name": (b"version: 1\nmodels:\n  " + b"a" * 50000 + b": {files: []}\n", "gemmalock.yaml"),
    "a huge number": (b"version: 1" + b"0" * 6000 + b"\n", "gemmalock.yaml"),
}


@pytest.mark.parametrize("name", NAUGHTY)
def test_a_manifest_that_cannot_be_is_told_with_its_place_and_changes_nothing(synced: Stage, name: str) -> None:
    content, told = NAUGHTY[name]
    synced.project.manifest.write_bytes(content)
    done = refused(synced, "sync")
    assert told in done.err
    assert "hunter2" not in done.err
    assert refused(synced, "lock").err == done.err


@pytest.mark.parametrize("kind", ["BOM", "CRLF", "both"])
def test_a_byte_order_mark_and_crlf_mean_nothing(synced: Stage, kind: str) -> None:
    text = synced.project.manifest.read_bytes()
    text = text.replace(b"\n", b"\r\n") if kind != "BOM" else text
    synced.project.manifest.write_bytes(b"\xef\xbb\xbf" + text if kind != "CRLF" else text)
    synced.run("lock", "--check")
    synced.run("sync", "--locked")


VALUES = {
    "sha256: 'ABC'": 4,
    f"sha256: {'0' * 64}": 4,
    f"sha256: '{'a' * 63}'": 4,
    f"sha256: '{'a' * 65}'": 4,
    f"sha256: '{'a' * 32}'": 4,
    f"md5: '{'a' * 32}'": 4,
    "size: -1": 4,
    "size: 1e3": 4,
    "size: 9223372036854775808": 4,
    "size: '12'": 4,
    "path: gemma//model": 4,
    "path: ./tokenizer.json": 4,
    "path: tokenizer.json": 4,
    "path: TOKENIZER.JSON": 4,
    "path: tokenizer.json/model": 4,
    "path: /etc/passwd": 4,
    "path: ../../canary/theirs.bin": 4,
    "path: 'C:/x'": 4,
    "path: 'a\\b'": 4,
    "path: CON": 4,
    "path: aux.txt": 4,
    "path: 'x '": 4,
    "path: x.": 4,
    "path: 'f:stream'": 4,
    "path: .git/hooks/post-checkout": 4,
    "path: sub/.GIT/config": 4,
    "path: .gemmalock/ledger.json": 4,
    "path: \"a\\u202eb\"": 4,
    "path: \"a\\u001b[31m\"": 4,
    "path: \"a\\0\"": 4,
    "path: '..%2f..%2fx'": 0,
}  # fmt: skip


@pytest.mark.parametrize("line", VALUES)
def test_digests_sizes_and_paths_are_what_they_may_be_or_refused(stage: Stage, line: str) -> None:
    key, _, value = line.partition(": ")
    stage.declare(**{key: value})
    if code := VALUES[line]:
        # Line 7 has the key, line 8 the file that it may be in the way of.
        assert re.match("gemmalock.yaml:[78]:", refused(stage, "sync", code=code).err)
    else:
        # Percent escapes are plain characters in a path: nothing decodes them.
        stage.run("sync")
        assert (stage.root / "gemma" / value.strip("'")).is_file()


# --- locks -------------------------------------------------------------------------------------------------


def test_a_lock_cut_anywhere_downloads_and_prunes_nothing(synced: Stage) -> None:
    whole = synced.lock.read_bytes()
    for end in range(0, len(whole.rstrip()), max(1, len(whole) // 12)):
        synced.lock.write_bytes(whole[:end])
        assert "gemmalock.lock" in refused(synced, "sync").err
    refused(synced, "sync", "--frozen")
    refused(synced, "prune")
    synced.lock.write_bytes(whole)


NOT_LOCKS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "conflict markers": (
        lambda text: text.replace(b'  "manifests"', b'<<<<<<< HEAD\n  "manifests"\n=======\n>>>>>>> b\n'),
        "unresolved merge: line 3",
    ),
    "the future": (lambda text: text.replace(b'_version": 1', b'_version": 2'), "needs a newer gemmalock"),
    "version 0": (lambda text: text.replace(b'_version": 1', b'_version": 0'), "there is no lock version 0"),
    "a key twice": (
        lambda text: text.replace(b'  "manifests"', b'  "manifests": [],\n  "manifests"'),
        "twice",
    ),
    "zeros": (lambda text: bytes(len(text)), "gemmalock.lock"),
    "UTF-16": (lambda text: text.decode().encode("utf-16"), "UTF-16"),
    "a list": (lambda text: b"[]", "gemmalock.lock"),
    "deep": (lambda text: b"[" * 100000, "gemmalock.lock"),
    "an unknown key": (lambda text: text.replace(b'"name"', b'"run": "touch pwned", "name"', 1), "run"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_LOCKS)
def test_a_lock_that_is_none_is_said_and_never_rewritten(synced: Stage, name: str) -> None:
    change, told = NOT_LOCKS[name]
    synced.lock.write_bytes(change(synced.lock.read_bytes()))
    for command in ("sync", "lock", "status", "prune", "verify"):
        assert told in refused(synced, command).err


def test_a_lock_with_crlf_is_read_and_keeps_its_line_ends(synced: Stage) -> None:
    crlf = synced.lock.read_bytes().replace(b"\n", b"\r\n")
    synced.lock.write_bytes(crlf)
    synced.run("sync", "--locked")
    synced.run("lock", "--upgrade")
    assert synced.lock.read_bytes() == crlf
    synced.content.body = synced.content.body[::-1]
    synced.run("lock", "--upgrade")
    changed = synced.lock.read_bytes()
    assert changed != crlf
    assert changed.count(b"\r\n") == changed.count(b"\n") == crlf.count(b"\n")


def test_locking_twice_gives_the_same_bytes_and_writes_them_once(synced: Stage) -> None:
    before = synced.lock.read_bytes(), synced.lock.stat().st_ino
    synced.run("lock")
    synced.run("lock", "--upgrade")
    synced.run("lock", "--hash")
    assert (synced.lock.read_bytes(), synced.lock.stat().st_ino) == before


ATTACKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "another host": set_in_file(url="https://evil.example/model.gguf"),
    "another port": lambda lock: set_in_file(url=re.sub(r":\d+/", ":9/", file_of(lock)["url"]))(lock),
    "another name": lambda lock: set_in_file(url=file_of(lock)["url"].replace("model.gguf", "evil.gguf"))(lock),
    "another path": set_in_file(path="gemma/elsewhere.gguf"),
    "a mirror": set_in_file(mirrors=["https://evil.example/model.gguf"]),
    "another size": set_in_file(size=7),
    "another task": set_in_file(task_id="00000000-0000-5000-8000-000000000000"),
    "another root": lambda lock: lock["manifests"][0].update(root="src"),
    "a file more": lambda lock: lock["manifests"][0]["models"][0]["files"].append(
        file_of(lock) | {"name": "extra", "path": "gemma/extra"}
    ),
    "a model more": lambda lock: lock["manifests"][0]["models"].append({"name": "evil", "files": []}),
    "a file less": lambda lock: lock["manifests"][0]["models"][0]["files"].pop(),
    "another declaration": lambda lock: lock["manifests"][0].update(declared="sha256:" + "0" * 64),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_lock_that_does_not_follow_from_its_manifest_is_told_offline(synced: Stage, attack: str) -> None:
    edit(synced, ATTACKS[attack])
    assert "error: " in refused(synced, "lock", "--check", code=1).err
    refused(synced, "sync", "--locked", code=1)


def test_a_lock_whose_digest_contradicts_the_declared_one_is_told_offline(stage: Stage) -> None:
    stage.declare(sha256="'" + "a" * 64 + "'")
    stage.run("lock")
    edit(stage, set_in_file(sha256="b" * 64))
    assert "sha256" in refused(stage, "lock", "--check", code=1).err


def test_a_digest_that_was_edited_in_the_lock_alone_gets_no_byte_into_the_root(stage: Stage) -> None:
    stage.run("lock")
    edit(stage, set_in_file(sha256="b" * 64))
    done = stage.run("sync", "--locked", code=1)
    assert "`" + "b" * 64 + "`" in done.err
    assert not stage.model.exists()
    assert refused(stage, "lock", "--check", code=0)


UNSAFE = (
    "../escape", "/etc/passwd", "a/../../b", "C:/x", "a\\..\\b", "con", "x.", "f:s", ".git/config", ".gemmalock/lock",
    "a\u202eb", "a\u001b[2Jb",
)  # fmt: skip
ALSO_UNSAFE = (
    "\\\\host\\share", "nul.bin", "COM1", "x ", " x", ".GIT/config", "git~1/config", "a//b", "./a", "", ".",
    "a\u0000b", "a\u200db", "x" * 256, "a*b", "a\nb", ".g\u206ait/config",
)  # fmt: skip


@pytest.mark.parametrize("path", UNSAFE)
def test_an_unsafe_path_in_a_lock_is_refused_before_anything_is_done(synced: Stage, path: str) -> None:
    edit(synced, set_in_file(path=path))
    done = refused(synced, "sync", "--frozen")
    assert "gemmalock.lock:" in done.err
    refused(synced, "prune")


def test_every_other_unsafe_path_in_a_lock_is_refused_too(synced: Stage) -> None:
    for path in ALSO_UNSAFE:
        edit(synced, set_in_file(path=path))
        assert synced.in_turn(("sync", "--frozen"), ("prune",)) == [4, 4], path
    assert synced.model.exists()


@pytest.mark.parametrize("root", ["..", ".", "/etc", "../canary", ".git", "a/../..", "models/../../canary"])
def test_an_unsafe_root_in_a_lock_is_refused_before_anything_is_done(synced: Stage, root: str) -> None:
    edit(synced, lambda lock: lock["manifests"][0].update(root=root))
    refused(synced, "sync", "--frozen")
    refused(synced, "prune")


def test_clashing_paths_in_a_lock_are_refused(synced: Stage) -> None:
    for path in ("gemma/TOKENIZER.json", "gemma/tokenizer.json/model", "gemma"):
        edit(synced, set_in_file(path=path))
        refused(synced, "sync", "--frozen")
    edit(synced, set_in_file(path="gemma/model.gguf"))


@pytest.mark.parametrize("command", ["sync --frozen", "sync --locked"])
def test_plain_http_to_another_host_needs_a_digest_also_in_a_lock(stage: Stage, command: str) -> None:
    stage.run("lock")
    edit(stage, set_in_file(url="http://models.example.invalid/model.gguf", sha256=None))
    done = stage.run(*command.split(), code=1 if "locked" in command else [1, 4], env={"GEMMALOCK_RETRIES": "0"})
    assert "http" in done.err
    assert not stage.model.exists()


def test_plain_http_to_another_host_is_an_error_of_the_manifest(stage: Stage) -> None:
    stage.project.write_manifest("version: 1\nmodels:\n  m:\n    files: [{url: 'http://models.example.org/a'}]\n")
    assert "sha256" in refused(stage, "lock").err


@pytest.mark.parametrize("target", ["canary", "project", "dangling"])
def test_a_lock_that_is_a_link_is_written_through_only_inside_of_the_project(stage: Stage, target: str) -> None:
    places = {
        "canary": stage.canary / "theirs.json",
        "project": stage.project.folder / "real.lock",
        "dangling": stage.base / "nowhere" / "x",
    }
    place = places[target]
    if target == "canary":
        place.write_text("{}")
    stage.ours.append(stage.project.folder / "real.lock")
    stage.lock.symlink_to(place)
    done = stage.run("lock", code=0 if target == "project" else [1, 4])
    assert stage.lock.is_symlink()
    if target == "project":
        assert json.loads(place.read_text())["lock_version"] == 1
    else:
        assert "gemmalock.lock" in done.err


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *product(
            ["gemmalock.lock", "gemmalock.yaml", "gemmalock.toml", "pyproject.toml"],
            ["fifo", "folder", "device", "unreadable"],
        )
    ],
)
def test_a_paper_that_is_no_file_is_told_and_nobody_waits_for_it(synced: Stage, name: str, kind: str) -> None:
    path = synced.project.folder / name
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.symlink_to(path)
    done = synced.run("sync", code=4, timeout=20)
    assert name in done.err
    path.unlink() if kind != "folder" else path.rmdir()


def test_an_empty_lock_prunes_nothing_without_being_told_so(synced: Stage) -> None:
    edit(synced, lambda lock: lock["manifests"][0].update(models=[]))
    synced.run("sync", "--frozen")
    assert synced.model.exists()
    refused(synced, "prune", code=1)
    synced.run("sync", "--frozen", "--allow-empty")
    assert not synced.model.exists()


def test_nothing_of_what_naughty_papers_asked_for_was_run(synced: Stage) -> None:
    for name in ("a Python object", "a hook"):
        synced.project.manifest.write_bytes(NAUGHTY[name][0])
        refused(synced, "sync")
    assert not list(synced.base.rglob("pwned"))
    assert not Path("pwned").exists()

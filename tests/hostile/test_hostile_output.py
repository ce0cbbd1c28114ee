"""Text that others wrote, on its way to a terminal, a log, a CI runner or a file of ours: rows X13, X14 and V10.

O9 does the judging, after every command: no raw control character, no line that a runner would obey.
"""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from gemmalock.codec.report_json import report_problems
from tests.hostile.oracles import RAW
from tests.hostile.stage import Stage
from tests.running import environment
from tests.servers.scripted import Exchange, ScriptedServer

TERMINAL = {
    "ESC": "\x1b[2J\x1b[31m",
    "OSC 8": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "OSC 52": "\x1b]52;c;ZXZpbA==\x07",
    "CR": "fine\rerror",
    "BEL": "\x07",
    "C1": "\x9b31m\x85",
    "bidi": "\u202egguf.ledom\u202c",
    "isolate": "\u2066x\u2069",
    "separator": "\u2028::set-env name=PATH::/evil",
    "markup": "[red]x[/red][/] [link=https://evil.example]x[/link]",
    "runner": "::set-env name=PATH::/evil",
    "old runner": "##[set-env name=PATH]/evil",
    "format": "%s%n{0}{x}$(touch pwned)`touch pwned`",
}
LOUD = ("-vv", "--color", "always")


@pytest.mark.parametrize("kind", TERMINAL)
def test_hostile_text_in_a_manifest_is_shown_harmlessly(stage: Stage, kind: str) -> None:
    text = json.dumps(TERMINAL[kind])
    naughty = f"x{text}: 1\n  m:\n    {text}: 1\n    license: {text}\n    tags: [{text}]\n    files: {text}\n"
    raw = f"version: 1\nmodels: {{}}\n{TERMINAL[kind]}\n{TERMINAL[kind]}: 1\n"
    stage.declare(naughty.partition("\n")[2])
    lines = (("lock",), ("lock", "--json"), ("status", *LOUD), ("sync", "--dry-run"))
    assert set(stage.in_turn(*lines)) == {4}
    stage.declare(naughty)
    assert set(stage.in_turn(*lines)) == {4}
    # As it is, without YAML's escapes: what an excerpt of the file would show.
    stage.project.manifest.write_text(raw, "utf-8")
    assert set(stage.in_turn(*lines)) <= ({0, 1} if kind == "old runner" else {4})  # which YAML takes for a comment
    stage.declare()


FILE_KEYS = ("name", "path", "url", "etag", "sha256", "task_id", "mirrors")
MODEL_KEYS = ("license", "tags", "source", "name", "revision")


@pytest.mark.parametrize(
    ("keys", "kind"),
    [*(("all at once", kind) for kind in TERMINAL), *(("one by one", kind) for kind in ("ESC", "bidi", "runner"))],
)
def test_hostile_text_in_a_lock_is_shown_harmlessly(synced: Stage, kind: str, keys: str) -> None:
    text = TERMINAL[kind]
    whole = synced.lock.read_text()
    one_by_one = [*(((key,), ()) for key in FILE_KEYS), *(((), (key,)) for key in MODEL_KEYS)]
    at_once = [((*FILE_KEYS, text), ()), ((), MODEL_KEYS), (("etag",), ()), ((), ("license", "tags"))]
    for of_file, of_model in at_once if keys == "all at once" else one_by_one:
        lock = json.loads(whole)
        model = lock["manifests"][0]["models"][0]
        model["files"][0].update(dict.fromkeys(of_file, text))
        model.update({key: [text] if key == "tags" else text for key in of_model})
        synced.lock.write_text(json.dumps(lock, indent=2, ensure_ascii=False), "utf-8")
        synced.in_turn(
            ("status", "-v"),
            ("sync", "--frozen", "--dry-run"),
            ("lock", "--check", "--json"),
            ("lock", "--check"),
            ("verify", *LOUD),
            ("list",),
            ("list", *LOUD),
        )


@pytest.mark.parametrize("kind", TERMINAL)
def test_hostile_licences_tags_and_names_are_listed_harmlessly(stage: Stage, kind: str) -> None:
    text = json.dumps(TERMINAL[kind])
    stage.project.write_manifest(
        f"version: 1\nmodels:\n  gemma:\n    license: {text}\n    tags: [{text}]\n    files:\n"
        f"      - {{url: '{stage.server.origin}/model.gguf', path: 'x/[red]##[add-mask]%s.gguf'}}\n"
    )
    # A licence or tag that cannot be shown is refused; one that only looks odd is kept.
    done = stage.run("sync", *LOUD, code=[0, 4])
    for words in (
        ["list"],
        ["list", *LOUD],
        ["list", "--json"],
        ["status", "-v"],
        ["sync"],
        ["path", "gemma", "--json"],
    ):
        stage.run(*words, code=[0, 1, 4])
    assert done.code == 4 or "[red]" in stage.run("list").out
    assert not list(stage.base.rglob("pwned"))


@pytest.mark.parametrize("kind", TERMINAL)
def test_hostile_etags_are_kept_as_they_came_or_refused(stage: Stage, kind: str) -> None:
    text = TERMINAL[kind].replace("\r", "").encode("utf-8").decode("latin-1").replace("\x85", "")
    stage.content.etag = f'"{text}"'
    stage.content.head = 405
    stage.run("lock", code=[0, 1], env={"GEMMALOCK_RETRIES": "0"})
    stage.run("sync", *LOUD, code=[0, 1], env={"GEMMALOCK_RETRIES": "0"})
    stage.run("status", "-vv", code=[0, 1])
    stage.content.etag = f'"{text}2"'
    stage.run("outdated", code=[0, 1], env={"GEMMALOCK_RETRIES": "0"})
    stage.run("lock", "--upgrade", "-vv", code=[0, 1], env={"GEMMALOCK_RETRIES": "0"})


def answers(text: bytes) -> Iterator[bytes]:
    """Whole answers with the text everywhere where a server may put some; and a redirect to nowhere."""
    body = b"\n" + text + b"\n::set-env name=X::y\n##[add-mask]x\n" + text
    fields = b"".join(
        name + b": " + text + b"\r\n" for name in (b"Content-Type", b"Server", b"X-Error-Message", b"ETag")
    )
    for status in (b"403", b"404", b"500", b"200"):
        head = b"HTTP/1.1 " + status + b" " + text + b"\r\n" + fields
        yield head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    for scheme in (b"gopher", b"http"):
        yield b"HTTP/1.1 302 " + text + b"\r\nLocation: " + scheme + b"://" + text + b"\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("kind", TERMINAL)
def test_hostile_error_bodies_reasons_and_redirects_are_shown_harmlessly(stage: Stage, kind: str) -> None:
    text = TERMINAL[kind].encode("utf-8").replace(b"\r", b"")
    for number, answer in enumerate(answers(text)):
        with ScriptedServer(saying(answer)) as server:
            stage.project.write_manifest(
                f"version: 1\nmodels:\n  m:\n    files: [{{url: '{server.url}/x.gguf', size: 9}}]\n"
            )
            words = ["sync", "--json", "--progress", "json"] if number % 2 else ["lock", "-vv"]
            stage.run(*words, code=1, env={"GEMMALOCK_RETRIES": "0"})
    stage.declare()


@pytest.mark.parametrize("kind", ["ESC", "OSC 52", "CR", "bidi", "runner", "old runner", "markup"])
def test_strays_with_hostile_names_are_pruned_and_named_harmlessly(synced: Stage, kind: str) -> None:
    name = TERMINAL[kind].replace("/", "_")
    (synced.root / name).write_text("a stray")
    (synced.root / f"{name}-folder").mkdir()
    (synced.root / f"{name}-folder" / name).write_text("a stray")
    for words in (["status"], ["status", "--json"], ["sync", "--dry-run", *LOUD], ["sync", "--json"]):
        found = synced.run(*words)
        assert "--json" not in words or report_problems(found.out) == []
    assert synced.trashed == [b"a stray", b"a stray"]


def test_a_name_that_is_no_text_is_pruned_and_named(synced: Stage) -> None:
    raw = os.fsencode(synced.root) + b"/\xff\xfe.bin"
    with open(raw, "wb") as file:
        file.write(b"a stray")
    for words in (["status"], ["sync", "--dry-run", "--json"], ["sync", "--json"]):
        done = synced.run(*words)
        assert "--json" not in words or report_problems(done.out) == []
    assert synced.trashed == [b"a stray"]


@pytest.mark.parametrize(
    "words",
    [
        ["no\x1b[2Jsuch"],
        ["sync", "::set-env name=X::y"],
        ["sync", "--\u202e"],
        ["path", "\x07"],
        ["diff", "::set-env name=X::\x1b[2J"],
        ["outdated", "--exclude-newer", "\x1b[2J\u202e"],
    ],
)
def test_hostile_arguments_are_shown_harmlessly(stage: Stage, words: list[str]) -> None:
    stage.run(*words, code=[1, 4, 5])
    stage.run(*words, "--json", code=[1, 4, 5])


@pytest.mark.parametrize("kind", ["OSC 52", "CR", "bidi", "markup"])
def test_a_terminal_gets_nothing_but_our_own_colours_and_cursor(stage: Stage, kind: str) -> None:
    text = TERMINAL[kind].replace("/", "_") if kind != "markup" else "[red]x[bold] ##[add-mask]x[link=y]"
    name = text if kind == "markup" else "model.gguf"
    stage.project.write_manifest(
        "version: 1\nmodels:\n  gemma:\n    files:\n"
        f"      - {{url: '{stage.server.origin}/model.gguf', path: {json.dumps(name)}}}\n"
    )
    stage.root.mkdir()
    (stage.root / text).write_text("a stray")
    shown = on_a_terminal(stage, "sync", "--adopt")
    assert text not in shown or kind == "markup"
    assert "\x1b]" not in shown and "\x07" not in shown and "\u202e" not in shown
    assert "a stray" not in shown
    assert stage.trashed == [b"a stray"]


def saying(answer: bytes) -> Callable[[Exchange], None]:
    """A script that answers everything with these bytes."""

    def script(exchange: Exchange) -> None:
        exchange.send(answer).close()

    return script


def on_a_terminal(stage: Stage, *words: str) -> str:
    """What a terminal is sent by a command that believes it has one."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "gemmalock", *words]
    with subprocess.Popen(
        command,
        cwd=stage.project.folder,
        env=environment(stage.env | {"TERM": "xterm-256color", "COLUMNS": "200"}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        said = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # EIO: the last one that had it open is gone
                break
            if not piece:
                break
            said += piece
    os.close(ours)
    assert process.returncode == 0, said
    assert RAW.search(said.decode("utf-8", "replace"))  # it did speak to a terminal: CR at least
    return said.decode("utf-8", "replace")

"""Servers that repeat what they were sent, in every place they have: no secret is in what is printed or written."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gemmalock.app.papers import Papers
from gemmalock.cli import boundary
from gemmalock.cli.state import State
from gemmalock.collect import Project as Place
from gemmalock.errors import PolicyRefused
from gemmalock.lockfile import Lock, task_id
from gemmalock.secret import Secret
from gemmalock.settings import Settings
from tests.running import Finished, Gemmalock, Project
from tests.servers.scripted import Exchange, ScriptedServer

TOKEN, PASSWORD, FIELD = "hf_D1stinctive+T0ken/x", "d1stinctive-passw0rd", "glpat-d1stinctive"
SECRETS = {
    form
    for value in (TOKEN, PASSWORD, FIELD)
    for form in (value, quote(value, safe=""), base64.b64encode(value.encode()).decode().rstrip("="))
} | {base64.b64encode(f"me:{PASSWORD}".encode()).decode().rstrip("=")}
BODY = b"weights" * 400_000


def echo(exchange: Exchange) -> None:
    """Answer as the path says, with what was sent put where the path says."""
    fields = exchange.request.headers
    sent = fields.get("authorization", fields.get("private-token", "nothing")).rpartition(" ")[2]
    where = exchange.request.path.strip("/").partition(".")[0]
    body = b"" if exchange.request.method == "HEAD" else sent.encode()
    away = f"https://evil.example/{quote(sent)}?t={quote(sent)}"
    answers: dict[str, Callable[[], object]] = {
        "refused": lambda: exchange.head(401, echoed(sent), reason=sent).send(body),
        "forbidden": lambda: exchange.head(403, echoed(sent), reason=f"no {sent}").send(body),
        "missing": lambda: exchange.head(404, echoed(sent), reason=sent).send(body),
        "broken": lambda: exchange.head(503, echoed(sent) | {"Retry-After": sent}, reason=sent).send(body),
        "garbage": lambda: exchange.send(f"{sent} is no HTTP\r\n\r\n".encode()).close(),
        "defect": lambda: exchange.head(200, {"Content-Length": sent, sent: sent}).close(),
        "coded": lambda: exchange.head(200, {"Transfer-Encoding": sent}).close(),
        "away": lambda: exchange.head(302, {"Location": away} | EMPTY),
        "ftp": lambda: exchange.head(302, {"Location": f"ftp://{quote(sent)}/x"} | EMPTY),
        "torn": lambda: exchange.head(302, {"Location": f"https://[{sent}/x"} | EMPTY),
        "user": lambda: exchange.head(302, {"Location": f"https://{quote(sent)}@evil.example/x"} | EMPTY),
        "within": lambda: exchange.head(302, {"Location": f"/missing.{quote(sent, safe='')}"} | EMPTY),
        "range": lambda: exchange.head(206, {"Content-Range": f"bytes {sent}", "ETag": f'"{sent}"'} | EMPTY),
        "short": lambda: exchange.head(200, {"Content-Length": "2800000", "ETag": f'"{sent}"'}).send(b"x").close(),
    }
    if where in answers:
        answers[where]()
    else:
        exchange.answer(200, {"ETag": f'"{sent}"', "X-Note": sent}, BODY)


EMPTY = {"Content-Length": "0"}
WAYS = (
    "refused", "forbidden", "missing", "broken", "garbage", "defect", "coded", "away", "ftp", "torn", "user", "within",
    "range", "short",
)  # fmt: skip


def echoed(sent: str) -> dict[str, str]:
    return {"Content-Length": str(len(sent)), "X-Error-Message": f"what is {sent}", "X-Error-Code": sent, "ETag": sent}


@pytest.fixture
def environ(request: pytest.FixtureRequest, house: Path, project: Project) -> Iterator[dict[str, str]]:
    """A server that echoes, and the environment that has a credential for it, in one of the ways there are."""
    with ScriptedServer(echo) as server:
        found = {"GEMMALOCK_RETRIES": "0", "TMPDIR": str(house), "HF_HOME": str(house / "hf")}
        if request.param == "HF_TOKEN":
            found |= {"HF_ENDPOINT": server.url, "HF_TOKEN": TOKEN}
        elif request.param == "token file":
            (house / "hf").mkdir()
            (house / "hf/token").write_text(TOKEN)
            (house / "hf/token").chmod(0o600)
            found |= {"HF_ENDPOINT": server.url}
        elif request.param == "netrc":
            (house / ".netrc").write_text(f"machine 127.0.0.1 login me password {PASSWORD}\n")
            (house / ".netrc").chmod(0o600)
        else:
            found |= {"MODELS": TOKEN if request.param == "auth" else f"PRIVATE-TOKEN: {FIELD}"}
            found |= {"GEMMALOCK_AUTH": f"{server.url}=MODELS"}
        found["SERVER"] = server.url
        yield found
        arrived = [set(each.headers) & {"authorization", "private-token"} for each in server.requests]
        assert all(arrived), "the test proves nothing where nothing was sent"


def declare(project: Project, environ: dict[str, str], *names: str) -> None:
    files = "".join(f"      - url: {environ['SERVER']}/{name}.bin\n        path: {name}.bin\n" for name in names)
    project.write_manifest(f"version: 1\nmodels:\n  gemma:\n    files:\n{files}")


def leaks(done: Finished, project: Project, house: Path) -> list[str]:
    """Where a secret is: in what was printed, or in which file that a person did not put there."""
    found = [name for name, text in (("stdout", done.out), ("stderr", done.err)) if any(s in text for s in SECRETS)]
    for path in (*project.folder.rglob("*"), *house.rglob("*")):
        if path.is_file() and path.name not in (".netrc", "token"):
            raw = path.read_bytes()
            found += [str(path) for each in SECRETS if each.encode() in raw or each in str(path)]
    return found


@pytest.mark.parametrize(
    ("environ", "loud"),
    [
        ("HF_TOKEN", ("-vv",)),
        ("auth", ("--json",)),
        ("field", ("--progress", "json")),
        ("netrc", ("-vv", "--progress", "plain")),
        ("token file", ("--json", "-vv")),
    ],
    indirect=["environ"],
    ids=str,
)
def test_no_secret_is_printed_or_written(
    environ: dict[str, str], loud: tuple[str, ...], project: Project, gemmalock: Gemmalock, house: Path
) -> None:
    environ |= {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(project.folder)}
    declare(project, environ, *WAYS)
    done = gemmalock("lock", *loud, env=environ)
    assert done.code == 1, done.err
    assert leaks(done, project, house) == []
    declare(project, environ, "fine")
    for command in (("lock",), ("status",), ("sync", "--junitxml", "models.xml"), ("verify",), ("doctor",), ("list",)):
        done = gemmalock(*command, *loud, env=environ)
        assert done.code == 0, (command, done.err)
        assert leaks(done, project, house) == []
    assert '\\"***\\"' in project.lock.read_text()


@pytest.mark.parametrize("environ", ["HF_TOKEN", "field", "netrc"], indirect=True)
def test_no_secret_comes_of_files_that_are_locked_and_fail(
    environ: dict[str, str], project: Project, gemmalock: Gemmalock, house: Path
) -> None:
    declare(project, environ, "fine")
    assert gemmalock("lock", env=environ).code == 0
    lock = json.loads(project.lock.read_text())
    model = lock["manifests"][0]["models"][0]
    (fine,) = model["files"]
    model["files"] = [at_another_place(fine, way) for way in sorted(WAYS)]
    project.lock.write_text(json.dumps(lock))
    done = gemmalock("sync", "--frozen", "-vv", "--junitxml", "models.xml", env=environ)
    assert done.code == 1, (done.out, done.err)
    assert done.out.count("FAILED  ") == len(WAYS)
    assert leaks(done, project, house) == []


def at_another_place(file: dict[str, Any], way: str) -> dict[str, Any]:
    url = file["url"].replace("/fine.bin", f"/{way}.bin")
    task = task_id(url, file["size"], file["etag"])
    return file | {"url": url, "name": f"{way}.bin", "path": f"gemma/{way}.bin", "task_id": task}


@pytest.mark.parametrize("environ", ["token file", "netrc"], indirect=True)
@pytest.mark.parametrize("command", [("lock",), ("sync",), ("lock", "--json"), ("outdated",)], ids=str)
def test_a_file_of_secrets_that_others_may_read_is_warned_of_once(
    environ: dict[str, str], command: tuple[str, ...], project: Project, gemmalock: Gemmalock, house: Path
) -> None:
    for place in (house / "hf/token", house / ".netrc"):
        if place.exists():
            place.chmod(0o644)
    declare(project, environ, "fine")
    if command == ("outdated",):
        assert gemmalock("lock", env=environ).code == 0
    done = gemmalock(*command, env=environ)
    assert done.code == 0, done.err
    assert done.err.count("others may read it") == 1
    if "--json" in command:
        (warning,) = done.json()["warnings"]
        assert "`chmod 600` takes that away" in warning


@pytest.fixture
def known() -> None:
    """A secret that this process knows."""
    Secret(TOKEN)


@pytest.mark.usefixtures("known")
def test_a_bug_keeps_its_traceback_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def listen() -> None:
        raise RuntimeError(f"who put {TOKEN} there")

    assert boundary.ended(State(), ["list"], listen) == 3
    (log,) = tmp_path.glob("gemmalock-*.log")
    assert "who put *** there" in log.read_text()
    told = capfd.readouterr()
    assert TOKEN not in log.read_text() + told.out + told.err


@pytest.mark.usefixtures("known")
def test_a_lock_with_a_secret_in_it_is_not_written(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from gemmalock.app import lock_text

    monkeypatch.setattr(lock_text, "write_lock", lambda lock: f'{{"name": "{TOKEN}"}}\n'.encode())
    project.write_manifest("version: 1\n")
    with pytest.raises(PolicyRefused, match="a credential in it"):
        Papers(Place(project.folder), Settings()).write_lock(Lock())
    assert not project.lock.exists()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_whatever_writes_to_the_streams_gets_no_secret_through(
    gemmalock: Gemmalock, project: Project, encoding: str
) -> None:
    script = f"""
import sys
import click
from gemmalock.cli.streams import steady_streams
from gemmalock.secret import Secret
steady_streams()
Secret({TOKEN!r})
for stream in (sys.stdout, sys.stderr):
    stream.write({TOKEN!r})
    stream.write("." * 8190)
    stream.write({TOKEN!r} + "\\n")
    stream.buffer.write({TOKEN!r}.encode())
    click.echo({TOKEN!r}, file=stream)
    print("é", {TOKEN!r}, file=stream, flush=True)
click.echo({TOKEN!r}, err=True)
"""
    done = Gemmalock(project.folder, (gemmalock.program[0], "-c"))(script, env={"PYTHONIOENCODING": encoding})
    assert done.code == 0, done.err
    assert TOKEN not in done.out + done.err
    assert done.out.count("***") == 5
    assert done.err.count("***") == 6

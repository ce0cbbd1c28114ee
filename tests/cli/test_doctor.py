"""`doctor`: where each setting comes from, what works here, and never a secret."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from gemmalock.app import trusting
from gemmalock.app.probing import file_system
from gemmalock.codec.report_json import report_problems
from gemmalock.sources import certificates
from tests.cli.conftest import Here, Shop
from tests.running import Project

MANIFEST = "version: 1\nmodels:\n  gemma:\n    files:\n      - url: https://models.example.org/m.gguf\n"
SECRET = "s3cretS3cret"


@pytest.fixture(autouse=True)
def declared(project: Project) -> None:
    """There is a project."""
    project.write_manifest(MANIFEST)


def examined(here: Here, *arguments: str, code: int = 0) -> dict[str, Any]:
    """The facts of doctor's report, with its errors and warnings."""
    done = here("doctor", "--json", *arguments)
    assert done.code == code, (done.out, done.err)
    assert report_problems(done.out) == []
    report = done.json()
    return report["facts"] | {"errors": report["errors"], "warnings": report["warnings"]}  # type: ignore[no-any-return]


def check(facts: dict[str, Any], about: str, what: str) -> dict[str, str]:
    """The one finding of that name."""
    (found,) = [each for each in facts["checks"] if (each["about"], each["what"]) == (about, what)]
    return found  # type: ignore[no-any-return]


def rows(facts: dict[str, Any]) -> dict[str, tuple[object, str, list[str]]]:
    """Settings as (value, origin, what is outweighed) by name."""
    return {row["name"]: (row["value"], row["origin"], row["outweighed"]) for row in facts["settings"]}


# --- settings ----------------------------------------------------------------------------------------------


def test_a_time_is_shown_as_it_was_understood(here: Here) -> None:
    shown = rows(examined(here, "--exclude-newer", "2026-11-01", "--minimum-age", "7d"))
    assert shown["exclude-newer"] == ("2026-11-01T23:59:59.999999+00:00", "flag --exclude-newer", [])
    assert shown["minimum-age"] == (604800, "flag --minimum-age", [])


def test_every_setting_is_shown_with_where_it_comes_from(
    here: Here, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.folder / "pyproject.toml").write_text("[tool.gemmalock]\njobs = 2\ntimeout = 9\nretries = 1\n")
    (project.folder / "gemmalock.toml").write_text(
        "jobs = 3\nretries = 2\naddopts = '--limit-rate 20M -v'\ndry-run = true\n"
        "[rewrite]\n'https://a.example' = 'https://b.example'\n"
    )
    monkeypatch.setenv("GEMMALOCK_RETRIES", "7")
    monkeypatch.setenv("GEMMALOCK_CHECK", "1")
    shown = rows(examined(here, "--connections", "4"))
    assert shown["jobs"] == (3, "gemmalock.toml:1", ["pyproject.toml:2"])
    assert shown["timeout"] == (9, "pyproject.toml:3", [])
    assert shown["retries"] == (7, "environment GEMMALOCK_RETRIES", ["gemmalock.toml:2", "pyproject.toml:4"])
    assert shown["connections"] == (4, "flag --connections", [])
    assert shown["limit-rate"] == (20_000_000, "addopts in gemmalock.toml:3", [])
    assert shown["trash-days"] == (7, "default", [])
    assert shown["rewrite"] == ({"https://a.example": "https://b.example"}, "gemmalock.toml:5", [])
    assert shown["dry-run"] == (True, "gemmalock.toml:4", [])
    assert shown["check"] == (True, "environment GEMMALOCK_CHECK", [])
    assert shown["addopts"] == ("--limit-rate 20M -v", "gemmalock.toml:3", [])


def test_people_see_a_line_a_setting_and_a_line_a_check(here: Here, project: Project) -> None:
    (project.folder / "gemmalock.toml").write_text("jobs = 3\nallowed-hosts = ['a.example', 'b.example']\n")
    (project.folder / "pyproject.toml").write_text("[tool.gemmalock]\njobs = 2\n")
    done = here("doctor")
    assert (done.code, done.err) == (0, "")
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert lines[0].startswith("gemmalock ")
    assert f"project {project.folder}" in lines
    assert "jobs 3 gemmalock.toml:1 (over pyproject.toml:2)" in lines
    assert "allowed-hosts a.example b.example gemmalock.toml:2" in lines
    assert "keep - default" in lines
    assert "ok writable: a file was written, synced and renamed" in lines
    assert lines[-1].startswith("== all works in ")
    assert len(here("doctor", "-q").out.splitlines()) == 1


def test_settings_that_cannot_be_are_told_all_at_once_and_the_rest_is_looked_at(here: Here, project: Project) -> None:
    (project.folder / "gemmalock.toml").write_text("jobs = 0\nofline = true\naddopts = '--jbos 3'\nretries = 1\n")
    facts = examined(here, code=4)
    assert [error["place"] for error in facts["errors"]] == [
        "gemmalock.toml:1:1", "gemmalock.toml:2:1", "gemmalock.toml:3:1",
    ]  # fmt: skip
    assert {error["code"] for error in facts["errors"]} == {"setting"}
    assert rows(facts)["retries"] == (1, "gemmalock.toml:4", [])
    assert check(facts, "store", "writable")["verdict"] == "ok"


@pytest.mark.parametrize("name", ["pyproject.toml", "gemmalock.toml"])
def test_a_settings_file_that_is_not_read_is_warned_of(here: Here, project: Project, name: str) -> None:
    (project.folder / "apps/chat").mkdir(parents=True)
    head = "[tool.gemmalock]\n" if name == "pyproject.toml" else ""
    (project.folder / "apps/chat" / name).write_text(f"{head}jobs = 1\n")
    facts = examined(here, "-C", "apps/chat")
    assert check(facts, "not read", f"apps/chat/{name}")["verdict"] == "warning"
    assert rows(facts)["jobs"] == (8, "default", [])


@pytest.mark.parametrize(
    ("text", "place", "says", "hint"),
    [
        ("[project]\nname = \n", "pyproject.toml:2", "is not TOML: invalid value", ""),
        ("[tool.gemalock]\njobs = 1\n", "pyproject.toml:1", "`tool.gemalock` is no table of ours",
         "did you mean `tool.gemmalock`?"),
    ],
)  # fmt: skip
def test_what_may_be_taken_for_our_settings_is_warned_of_and_stops_no_run(
    here: Here, project: Project, text: str, place: str, says: str, hint: str
) -> None:
    project.write_manifest("version: 1\nmodels: {}\n")
    (project.folder / "pyproject.toml").write_text(text)
    facts = examined(here)
    assert check(facts, "not read", place)["says"] == says
    assert any(place in warning and warning.endswith(hint) for warning in facts["warnings"])
    assert here("lock").code == 0


def test_a_pyproject_of_others_is_no_finding(here: Here, project: Project) -> None:
    for text in ("[tool.poetry]\n", "tool = 3\n", "[project]\nname = 'gema'\n"):
        (project.folder / "pyproject.toml").write_text(text)
        assert not [each for each in examined(here)["checks"] if each["about"] == "not read"]


def test_a_members_settings_file_is_warned_of_from_anywhere(here: Here, shop: Shop, project: Project) -> None:
    shop.declare("tokenizer.json")
    shop.here("lock")
    lock = json.loads(project.lock.read_text())
    member = json.loads(json.dumps(lock["manifests"][0])) | {"path": "apps/chat/gemmalock.yaml"}
    lock["manifests"] = [member, *lock["manifests"]]
    project.lock.write_text(json.dumps(lock))
    (project.folder / "apps/chat").mkdir(parents=True)
    (project.folder / "apps/chat/pyproject.toml").write_text("[tool.gemmalock]\njobs = 1\n")
    facts = examined(here)
    assert check(facts, "not read", "apps/chat/pyproject.toml")["verdict"] == "warning"
    assert {each["about"] for each in facts["checks"]} >= {"root models", "root apps/chat/models"}


def test_a_variable_that_is_nearly_a_twin_is_warned_of(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMMALOCK_ALOWED_HOSTS", SECRET)
    monkeypatch.setenv("GEMMALOCK_OF_SOMEBODY_ELSE", SECRET)
    facts = examined(here)
    (warning,) = facts["warnings"]
    assert warning.endswith("did you mean `GEMMALOCK_ALLOWED_HOSTS`?")


# --- this machine ------------------------------------------------------------------------------------------


def test_it_works_outside_of_any_project(here: Here, project: Project) -> None:
    project.manifest.unlink()
    facts = examined(here)
    assert facts["project"] is None
    assert check(facts, "store", "writable")["verdict"] == "ok"
    assert not [each for each in facts["checks"] if each["about"].startswith("root ")]
    assert list(project.folder.iterdir()) == []


@pytest.mark.parametrize("made", [False, True])
def test_it_leaves_nothing_behind(shop: Shop, house: Path, made: bool) -> None:
    if made:
        shop.here("sync")
    before = [sorted(place.rglob("*")) for place in (shop.project.folder, house)]
    asked = len(shop.server.requests)
    assert shop.here("doctor").code == 0
    assert [sorted(place.rglob("*")) for place in (shop.project.folder, house)] == before
    assert len(shop.server.requests) == asked


def test_it_uses_no_network(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    examined(here)


def test_what_works_between_store_and_root_was_tried(here: Here) -> None:
    facts = examined(here)
    assert check(facts, "root models", "copy")["verdict"] == "ok"
    assert check(facts, "root models", "symlink")["verdict"] == "ok"
    ways = {each["what"]: each["verdict"] for each in facts["checks"] if each["about"] == "root models"}
    taken = next(mode for mode in ("reflink", "hardlink", "copy") if ways[mode] == "ok")
    assert check(facts, "root models", "link-mode")["says"].startswith(f"files come by {taken}")


def without_links(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A file system that knows no hard (`link`) or symbolic (`symlink`) links."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, name, refuse)


def test_a_disk_without_hard_links_can_be_no_store(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    without_links(monkeypatch, "link")
    facts = examined(here, code=1)
    assert check(facts, "store", "claims")["verdict"] == "broken"
    assert check(facts, "root models", "hardlink")["verdict"] == "no"
    assert {error["code"] for error in facts["errors"]} == {"doctor"}
    (hint,) = [error["hint"] for error in facts["errors"] if error["message"].startswith("store: claims: ")]
    assert hint == "place the store elsewhere with `GEMMALOCK_STORE`"


def test_a_link_mode_that_does_not_work_here_is_told(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    without_links(monkeypatch, "symlink")
    facts = examined(here, "--link-mode", "symlink", code=1)
    assert check(facts, "root models", "link-mode")["says"] == "`symlink` does not work here"
    without_links(monkeypatch, "link")
    facts = examined(here, "--link-mode", "hardlink", code=1)
    assert check(facts, "root models", "link-mode")["verdict"] == "warning"
    assert check(facts, "root models", "link-mode")["says"] == "`hardlink` does not work here: files are copied"


@pytest.mark.parametrize(("number", "says"), [(errno.ENOLCK, "not had"), (None, "two processes can have one lock")])
def test_a_disk_without_locks_is_warned_of(
    here: Here, monkeypatch: pytest.MonkeyPatch, number: int | None, says: str
) -> None:
    def flock(*_: object) -> None:
        if number is not None:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    found = check(examined(here), "root models", "locks")
    assert found["verdict"] == "warning"
    assert found["says"].startswith(says)


def test_a_store_that_cannot_be_is_broken(here: Here, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.folder / "file").write_text("")
    monkeypatch.setenv("GEMMALOCK_STORE", str(project.folder / "file/store"))
    facts = examined(here, code=1)
    assert check(facts, "store", "writable")["verdict"] == "broken"
    assert check(facts, "root models", "writable")["verdict"] == "ok"


def test_a_store_that_everybody_can_write_to_is_broken(here: Here, house: Path) -> None:
    (house / "store").mkdir()
    (house / "store").chmod(0o777)
    facts = examined(here, code=1)
    assert check(facts, "store", "private")["verdict"] == "broken"
    assert facts["errors"][0]["hint"].startswith("run `chmod go-w ")


def test_a_root_that_is_a_link_is_broken(here: Here, project: Project, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (project.folder / "models").symlink_to(tmp_path / "elsewhere")
    facts = examined(here, code=1)
    assert check(facts, "root models", "place")["verdict"] == "broken"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_file_system_of_a_path_is_that_of_its_mount() -> None:
    if not Path("/proc/self/mountinfo").exists():
        pytest.skip("the system does not tell what is mounted")
    assert file_system(Path("/proc/self")) == "proc"
    assert file_system(Path("/")) not in (None, "proc")


# --- the way out -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_certificates_that_cannot_be_read_are_broken(
    here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    (tmp_path / "certificates.pem").write_text("no certificate")
    monkeypatch.setenv(variable, str(tmp_path / "certificates.pem"))
    facts = examined(here, code=1)
    assert check(facts, "certificates", variable)["verdict"] == "broken"


def test_a_folder_in_which_openssl_finds_no_certificate_is_a_warning(
    here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "certificates"
    folder.mkdir()
    (folder / "ours.pem").write_text("a certificate whose name is no hash")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(folder))
    found = check(examined(here), "certificates", "REQUESTS_CA_BUNDLE")
    assert found["verdict"] == "warning"
    (folder / "82965258.0").write_text("one whose name is")
    assert check(examined(here), "certificates", "REQUESTS_CA_BUNDLE")["verdict"] == "ok"


def test_a_system_that_openssl_does_not_know_is_asked_by_itself(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "openssl_knows_the_system", lambda: False)
    monkeypatch.setattr(trusting, "openssl_knows_the_system", lambda: False)
    found = check(examined(here), "certificates", "system")
    assert found["says"] == "those of the system, which is asked at each connection"


@pytest.mark.parametrize(
    ("environment", "scheme", "verdict", "says"),
    [
        ({}, "https", "ok", "none"),
        ({"HTTPS_PROXY": "http://p.example:3128/"}, "https", "ok", "http://p.example:3128 (`HTTPS_PROXY`)"),
        ({"https_proxy": "p.example:1", "HTTPS_PROXY": "x"}, "https", "ok", "http://p.example:1 (`https_proxy`)"),
        ({"ALL_PROXY": f"http://me:{SECRET}@p.example"}, "http", "ok",
         "http://p.example, with credentials (`ALL_PROXY`)"),
        ({"HTTP_PROXY": f"socks5://me:{SECRET}@p.example"}, "http", "broken",
         "`HTTP_PROXY` names a socks5 proxy, and that is no http or https proxy"),
        ({"HTTP_PROXY": f"http://me:{SECRET}"}, "http", "broken", "`HTTP_PROXY` names what is no http or https proxy"),
    ],
)  # fmt: skip
def test_the_proxy_of_each_scheme_is_shown_without_its_credentials(
    here: Here, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], scheme: str, verdict: str, says: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = check(examined(here, code=0 if verdict == "ok" else 1), "proxies", scheme)
    assert (found["verdict"], found["says"]) == (verdict, says)


def test_the_hubs_own_word_for_offline_is_shown_as_the_place_of_the_setting(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert rows(examined(here))["offline"][:2] == (True, "environment HF_HUB_OFFLINE")


def test_hosts_that_need_no_proxy_are_shown(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "localhost,.example")
    assert check(examined(here), "proxies", "NO_PROXY")["says"] == "hosts that are asked without: localhost,.example"


@pytest.mark.parametrize(
    ("said", "verdict", "says"),
    [
        (f" https://hub.example/{SECRET}/", "ok", "https://hub.example is asked, not https://huggingface.co"),
        (f"https://me:{SECRET}@hub.example", "broken", "`HF_ENDPOINT` is not the URL of a service"),
        ("hub.example", "broken", "`HF_ENDPOINT` is not the URL of a service"),
    ],
)
def test_where_a_service_is_asked_is_shown(
    here: Here, monkeypatch: pytest.MonkeyPatch, said: str, verdict: str, says: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", said)
    facts = examined(here, code=0 if verdict == "ok" else 1)
    found = check(facts, "services", "HF_ENDPOINT")
    assert (found["verdict"], found["says"]) == (verdict, says)
    assert [each["what"] for each in facts["checks"] if each["about"] == "services"] == ["HF_ENDPOINT"]
    whom = "https://hub.example" if verdict == "ok" else "no server"
    assert check(facts, "credentials", "HF_TOKEN")["says"] == f"not set, for {whom}"


def test_credentials_are_shown_by_name_and_origin(
    here: Here, project: Project, house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.folder / "gemmalock.toml").write_text(
        "[auth]\n'https://a.example' = 'A_TOKEN'\n'https://b.example:8443/' = 'B_TOKEN'\n"
    )
    monkeypatch.setenv("A_TOKEN", SECRET)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setenv("HF_ENDPOINT", f"https://hub.example/{SECRET}")
    monkeypatch.setenv("GITHUB_TOKEN", f"{SECRET}\n")
    (house / ".netrc").write_text(
        f"machine c.example login me password {SECRET}\nmachine d.example password {SECRET}\n"
    )
    (house / ".netrc").chmod(0o600)
    facts = examined(here)
    told = {each["what"]: (each["verdict"], each["says"]) for each in facts["checks"] if each["about"] == "credentials"}
    assert told["HF_TOKEN"] == ("ok", "set, for https://hub.example")
    assert told["A_TOKEN"] == ("ok", "set, for https://a.example")
    assert told["B_TOKEN"] == ("warning", "not set, for https://b.example:8443")
    assert told["GITHUB_TOKEN"] == ("ok", "set, for https://api.github.com, https://github.com")
    assert told["GH_TOKEN"] == ("no", "not set, for https://api.github.com, https://github.com")
    assert told["netrc"] == ("ok", f"there: `{house}/.netrc`, for c.example, d.example")
    assert told["token file"][0] == "no"
    sent = {what: told[what] for what in told if what.startswith("https://")}
    assert sent == {
        "https://a.example": ("ok", "is sent `A_TOKEN`"),
        "https://hub.example": ("ok", "is sent `HF_TOKEN`"),
        "https://api.github.com": ("ok", "is sent `GITHUB_TOKEN`"),
        "https://github.com": ("ok", "is sent `GITHUB_TOKEN`"),
        "https://c.example": ("ok", "is sent `netrc`"),
        "https://d.example": ("ok", "is sent `netrc`"),
    }


def test_what_shadows_what_is_shown_by_name(
    here: Here, project: Project, house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.folder / "gemmalock.toml").write_text("[auth]\n'https://huggingface.co' = 'OURS'\n")
    monkeypatch.setenv("OURS", SECRET)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    (house / ".netrc").write_text(f"machine huggingface.co login me password {SECRET}\ndefault password {SECRET}\n")
    (house / ".netrc").chmod(0o600)
    found = check(examined(here), "credentials", "https://huggingface.co")
    assert (found["verdict"], found["says"]) == ("ok", "is sent `OURS`, over `HF_TOKEN`, `netrc`")


def test_a_credential_that_cannot_be_sent_is_warned_of_without_a_word_of_it(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", f"{SECRET} {SECRET}")
    found = check(examined(here), "credentials", "https://huggingface.co")
    assert found["verdict"] == "warning"
    assert found["says"] == "the credential in `HF_TOKEN` cannot be sent: it has white space in it"


def test_without_a_credential_none_is_sent(here: Here) -> None:
    assert check(examined(here), "credentials", "sent")["verdict"] == "no"


@pytest.mark.parametrize("place", ["HF_HOME", "HF_TOKEN_PATH", "cache"])
def test_a_token_file_that_others_may_read_is_warned_of(
    here: Here, house: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    folder = {"HF_HOME": house / "hf", "HF_TOKEN_PATH": house, "cache": house / ".cache/huggingface"}[place]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "token").write_text(SECRET)
    if place == "cache":
        monkeypatch.delenv("HF_HOME")
    if place == "HF_TOKEN_PATH":
        monkeypatch.setenv("HF_TOKEN_PATH", str(folder / "token"))
    for mode, verdict in ((0o644, "warning"), (0o600, "ok")):
        (folder / "token").chmod(mode)
        assert check(examined(here), "credentials", "token file")["verdict"] == verdict


@pytest.mark.parametrize("arguments", [[], ["-vv"], ["--json"], ["--color", "always"]])
def test_no_secret_is_ever_shown(
    here: Here, project: Project, house: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    for name, value in {
        "HF_TOKEN": SECRET,
        "HF_TOKEN_PATH": SECRET,
        "GITHUB_TOKEN": SECRET,
        "GH_TOKEN": SECRET,
        "A_TOKEN": SECRET,
        "HF_ENDPOINT": f"https://me:{SECRET}@hub.example",
        "HTTP_PROXY": f"http://me:{SECRET}@p.example:bad",
        "HTTPS_PROXY": f"http://{SECRET}@p.example",
        "ALL_PROXY": f"socks5://me:{SECRET}@p.example",
        "NO_PROXY": f"me:{SECRET}@p.example",
        "GEMMALOCK_REWRITE": f"https://a.example=https://me:{SECRET}@b.example",
        "GEMMALOCK_AUTH": SECRET,
        "GEMMALOCK_ALLOWED_HOSTS": f"https://me:{SECRET}@a.example",
        "GEMMALOCK_ADDOPTS": f"--store https://me:{SECRET}@a.example",
        "GEMMALOCK_HF_TOKEN": SECRET,
    }.items():
        monkeypatch.setenv(name, value)
    (house / "hf").mkdir()
    (house / "hf/token").write_text(SECRET)
    (house / ".netrc").write_text(f"machine a.example login me {SECRET} {SECRET}\n")
    (project.folder / "gemmalock.toml").write_text(
        f"[auth]\n'https://a.example' = 'A_TOKEN'\n'https://me:{SECRET}@b.example' = 'A_TOKEN'\n"
        f"'https://c.example' = '{SECRET}'\n[rewrite]\n'https://me:{SECRET}@a.example/' = 'https://b.example'\n"
    )
    (project.folder / "pyproject.toml").write_text(
        f"[tool.gemmalock.rewrite]\n'https://a.example' = 'https://b.example/?token={SECRET}'\n"
    )
    done = here("doctor", *arguments)
    assert done.code == 4
    assert SECRET not in done.out + done.err
    assert "HF_TOKEN" in done.out

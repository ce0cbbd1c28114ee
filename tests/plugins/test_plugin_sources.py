"""A plugin's scheme is as good as a built-in one: it is locked, proved offline, fetched; and it never does harm."""

from __future__ import annotations

import json

import pytest

from gemmalock.codec.report_json import report_problems
from tests.plugins.conftest import SHELF, Bench
from tests.servers.fileserver import FileServer

#: A hub: it is listed at a revision, and its files are on the web.
HUB = """
class Hub:
    def __init__(self, context):
        self.context = context

    def list(self, source, stop):
        with open(self.context.folder / "log", "a") as log:
            log.write(f"listed {source}\\n")
        return Listing(("a.gguf", "b.gguf"), "r7")

    def probe(self, url, stop):
        raise NotFound(url)

    open = probe

    def close(self): ...

def place(source, revision, name):
    return None if revision is None else f"ORIGIN/{revision}/{name}"

@hookimpl
def gemmalock_sources():
    return {"hub": Scheme(Hub, place)}
"""


def test_a_plugins_scheme_is_locked_proved_fetched_and_verified(bench: Bench) -> None:
    bench.site.install("shelf", SHELF)
    bench.declare("a.gguf", "b 100%.gguf")
    assert bench("lock").code == 0
    lock = json.loads(bench.project.lock.read_text())
    urls = [file["url"] for file in lock["manifests"][0]["models"][0]["files"]]
    assert urls == ["shelf+file://shelf/a.gguf", "shelf+file://shelf/b 100%25.gguf"]
    for command in (["lock", "--check"], ["sync", "--locked"], ["verify"], ["sync", "--check"]):
        done = bench(*command)
        assert done.code == 0, done.err
    assert bench.placed("b 100%.gguf").read_bytes() == b"b 100%.gguf"


def test_a_glob_asks_the_plugin_what_there_is(bench: Bench) -> None:
    bench.site.install("shelf", SHELF)
    for name in ("a.gguf", "b.bin"):
        bench.write(name, b"x")
    bench.declare()
    assert bench("sync").code == 0
    assert bench.placed("a.gguf").exists() and bench.placed("b.bin").exists()


def test_a_lock_that_names_another_place_is_found_out_without_asking(bench: Bench) -> None:
    bench.site.install("shelf", SHELF)
    bench.declare("a.gguf")
    assert bench("lock").code == 0
    bench.project.lock.write_text(bench.project.lock.read_text().replace("//shelf/a.gguf", "//other/a.gguf"))
    done = bench("lock", "--check")
    assert done.code == 1
    assert "is not a place in `shelf+file://shelf`" in done.err


def test_without_its_plugin_a_scheme_is_unknown_and_the_hint_says_where_others_come_from(bench: Bench) -> None:
    bench.site.install("shelf", SHELF)
    bench.declare("a.gguf")
    done = bench("-p", "no:shelf", "lock")
    assert done.code == 4
    assert "`shelf+file://` is not a scheme that is known" in done.err
    assert "`https`" in done.err and "plugins bring others" in done.err
    assert bench("lock").code == 0
    done = bench("sync", "--frozen", "-p", "no:shelf")
    assert done.code == 1
    assert "no source for `shelf+file://`" in done.err


def test_a_manifest_of_a_plugins_scheme_is_not_remembered_as_valid(bench: Bench) -> None:
    bench.site.install("shelf", SHELF)
    bench.declare("a.gguf")
    assert bench("sync").code == 0
    assert bench("-p", "no:shelf", "lock", "--check").code == 4


def test_who_goes_by_the_lock_alone_needs_no_plugin_for_files_on_the_web(bench: Bench) -> None:
    with FileServer({"/r7/a.gguf": b"a", "/r7/b.gguf": b"b"}) as server:
        bench.site.install("hub", HUB.replace("ORIGIN", server.origin))
        bench.declare(scheme="hub")
        assert bench("lock").code == 0
        model = json.loads(bench.project.lock.read_text())["manifests"][0]["models"][0]
        assert model["revision"] == "r7"
        assert [file["url"] for file in model["files"]] == [f"{server.origin}/r7/{name}.gguf" for name in "ab"]
        assert bench("lock", "--check").code == 0
        assert bench("-p", "no:hub", "sync", "--frozen").code == 0
    assert bench.placed("b.gguf").read_bytes() == b"b"


def test_a_source_is_listed_for_its_revision_also_where_every_file_is_named_and_then_no_more(bench: Bench) -> None:
    with FileServer({"/r7/a.gguf": b"a"}) as server:
        bench.site.install("hub", HUB.replace("ORIGIN", server.origin))
        bench.declare("a.gguf", scheme="hub")
        assert bench("lock").code == 0
        assert bench.log == ["listed hub://shelf"]
        assert bench("lock").code == 0
        assert bench.log == ["listed hub://shelf"]


def test_offline_a_scheme_that_needs_the_network_is_not_asked(bench: Bench) -> None:
    bench.site.install("hub", HUB.replace("ORIGIN", "https://example.org"))
    bench.declare("a.gguf", scheme="hub")
    done = bench("lock", "--offline")
    assert (done.code, bench.log) == (1, [])
    assert "`hub://` is needed from the network" in done.err


def test_offline_a_scheme_on_the_disk_goes_on(bench: Bench) -> None:
    bench.site.install("shelf", SHELF)
    bench.declare("a.gguf")
    assert bench("sync", "--offline").code == 0
    assert bench.placed("a.gguf").exists()


#: What a source does wrong, in place of a line of SHELF, and what is said of it.
FAULTS = {
    "probe raises": ("return self.files.probe(plain(url), stop)", "raise ValueError('oops')", "ValueError: oops"),
    "probe exits": ("return self.files.probe(plain(url), stop)", "raise SystemExit(0)", "SystemExit: 0"),
    "probe says nothing": ("return self.files.probe(plain(url), stop)", "return None", "no ports.Probe"),
    "probe has a strange size": (
        "return self.files.probe(plain(url), stop)",
        "return Probe(-1, None, None)",
        "no ports",
    ),
    "probe has an ETag of two lines": (
        "return self.files.probe(plain(url), stop)",
        "return Probe(1, chr(10), None)",
        "no ports.Probe",
    ),
    "list raises": ("return self.files.list(plain(source), stop)", "return 1 / 0", "ZeroDivisionError"),
    "list says a list": ("return self.files.list(plain(source), stop)", "return ['a']", "no ports.Listing"),
    "no factory": ("self.files = FileSource(context.folder)", "raise OSError('no')", "making its source"),
    "no URL": ("Scheme(Shelf)", "Scheme(Shelf, lambda *of: 1 / 0)", "its rule of the URLs"),
    "a URL with a password": ("Scheme(Shelf)", "Scheme(Shelf, lambda *of: 'https://me:secret@h/x')", "no URL for"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_source_that_breaks_its_contract_is_an_error_with_its_name(bench: Bench, fault: str) -> None:
    line, instead, says = FAULTS[fault]
    assert SHELF.count(line) == 1
    bench.site.install("shelf", SHELF.replace(line, instead))
    bench.write("a.gguf", b"a")
    bench.declare()
    done = bench("--json", "lock")
    assert done.code == 1
    assert "plugin `shelf`" in done.err and says in done.err
    assert "`-p no:shelf` goes on without this plugin" in done.err
    assert "Traceback" not in done.err and "secret" not in done.err
    assert report_problems(done.out) == []
    assert not bench.project.lock.exists()


@pytest.mark.parametrize("count", ["-1", "2 ** 40", "None", "'x'"])
def test_an_answer_that_says_what_cannot_be_puts_nothing_in_place(bench: Bench, count: str) -> None:
    bench.site.install("shelf", SHELF)
    bench.declare("a.gguf")
    assert bench("lock").code == 0
    bench.site.install(
        "liar",
        f"""
        import sys
        class Lie:
            start, end, etag, origin, restarted, delimited = 0, None, None, "x", None, True
            def readinto(self, buffer):
                return {count}
            def close(self):
                raise ValueError
        class Liar:
            def __init__(self, context): ...
            def open(self, ask, stop):
                return Lie()
            def close(self): ...
        @hookimpl
        def gemmalock_sources():
            return {{"shelf+file": Scheme(Liar)}}
        """,
    )
    done = bench("-p", "no:shelf", "--json", "sync", "--locked")
    assert done.code == 1
    assert done.json()["files"][0]["error"]["code"] == "plugin"
    assert "plugin `liar` says that it put" in done.err
    assert not bench.placed("a.gguf").exists()

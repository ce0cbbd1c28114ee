"""The story: lock, a sync killed half-way, the resume, a sync with nothing to do, a changed upstream, a stray.

Every command is run as a user would type it, in a folder of its own with a store of its own, and each step is
checked on the disk and by what the server sent.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gemmalock.demo.server import Shelf, serving

NAME = "tiny.gguf"
SIZE = 16 * 1024 * 1024
#: The journal vouches for whole chunks of 4 MiB at the least; half-way is past the second.
HALF = 10 * 1024 * 1024
CHUNK = 4 * 1024 * 1024
SLOW = 12.0 * 1024 * 1024
MANIFEST = """\
version: 1
models:
  tiny:
    files:
      - url: {url}/{name}
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One step that was taken: what it shows, the command as typed, its output, and what was wrong, if anything."""

    title: str
    command: str
    output: str
    facts: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


@dataclass
class _Story:
    folder: Path
    url: str
    shelf: Shelf
    color: bool = False
    wrong: list[str] = field(default_factory=list)

    @property
    def model(self) -> Path:
        return self.folder / "models" / "tiny" / NAME

    @property
    def environ(self) -> dict[str, str]:
        # What fails here is meant to: no CI run is annotated with it.
        strange = ("GEMMALOCK_", "GITHUB_ACTIONS")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
        package = str(Path(__file__).resolve().parents[2])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        return kept | {
            "GEMMALOCK_STORE": str(self.folder / "store"),
            "PYTHONPATH": os.pathsep.join(paths),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "GEMMALOCK_COLOR": "always" if self.color else "never",
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "gemmalock", *arguments],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, expect: int = 0) -> str:
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=60)
        self.check(process.returncode == expect, f"exit code {process.returncode}, expected {expect}")
        return output

    def check(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.wrong.append(otherwise)

    def step(self, title: str, command: str, output: str, *facts: str) -> Step:
        wrong, self.wrong = tuple(self.wrong), []
        return Step(title, command, output, facts, wrong)

    def is_exact(self) -> bool:
        return self.model.is_file() and _sha256(self.model.read_bytes()) == _sha256(self.shelf.files[NAME])


def tell(folder: Path, *, color: bool = False) -> Iterator[Step]:
    """Tell the story in an empty folder, a step at a time. A step with `wrong` in it is not what it should be."""
    shelf = Shelf({NAME: random.Random(270).randbytes(SIZE)})
    with serving(shelf) as url:
        story = _Story(folder, url, shelf, color)
        (folder / "gemmalock.yaml").write_text(MANIFEST.format(url=url, name=NAME), encoding="utf-8")
        for part in (_lock, _kill, _resume, _nothing_to_do, _changed, _upgrade, _stray):
            yield part(story)


def _lock(story: _Story) -> Step:
    output = story.run("lock")
    story.check((story.folder / "gemmalock.lock").is_file(), "no lock was written")
    return story.step("pin what the manifest declares", "gemmalock lock", output)


def _kill(story: _Story) -> Step:
    story.shelf.rate = SLOW
    process = story.start("sync")
    _wait_until(lambda: story.shelf.sent >= HALF or process.poll() is not None)
    process.kill()
    process.communicate(timeout=60)
    story.check(story.shelf.sent >= HALF, "the sync ended before half of the model was sent")
    story.check(not story.model.exists(), "an unfinished file stands in the root")
    sent = f"the server had sent {story.shelf.sent // 2**20} of {SIZE // 2**20} MiB; nothing unfinished is in models/"
    return story.step("a sync that is killed half-way", "gemmalock sync   # kill -9", "Killed\n", sent)


def _resume(story: _Story) -> Step:
    story.shelf.rate, before, story.shelf.sent = None, story.shelf.sent, 0
    output = story.run("sync")
    again = before + story.shelf.sent - SIZE
    story.check("RESUMED" in output, "it did not resume")
    story.check(story.is_exact(), "the file in place is not the served one")
    story.check(story.shelf.sent <= SIZE - HALF + CHUNK, f"{story.shelf.sent} bytes were fetched after the kill")
    fact = (
        f"the server sent {story.shelf.sent / 2**20:.1f} MiB more; {max(0, again) / 2**20:.1f} MiB of it a second time"
    )
    return story.step("it goes on where it stopped", "gemmalock sync", output, fact)


def _nothing_to_do(story: _Story) -> Step:
    before = story.shelf.requests
    output = story.run("sync")
    story.check(story.shelf.requests == before, "the network was used")
    return story.step("in sync: no request, a stat a file", "gemmalock sync", output)


def _changed(story: _Story) -> Step:
    story.shelf.files[NAME] = random.Random(271).randbytes(SIZE)
    shutil.rmtree(story.folder / "models")
    story.run("cache", "prune")
    lock = (story.folder / "gemmalock.lock").read_bytes()
    output = story.run("sync", expect=1)
    story.check(not story.model.exists(), "other bytes were let into the root")
    story.check((story.folder / "gemmalock.lock").read_bytes() == lock, "the lock was changed")
    command = "rm -r models && gemmalock cache prune && gemmalock sync"
    return story.step("upstream puts other bytes under the same name: refused", command, output)


def _upgrade(story: _Story) -> Step:
    output = story.run("lock", "--upgrade") + story.run("sync")
    story.check(story.is_exact(), "the file in place is not the served one")
    command = "gemmalock lock --upgrade && gemmalock sync"
    return story.step("wanted after all: pin it anew", command, output)


def _stray(story: _Story) -> Step:
    stray = story.folder / "models" / "notes.txt"
    stray.write_text("not in the lock\n", encoding="utf-8")
    output = story.run("sync")
    story.check(not stray.exists(), "the stray is still in the root")
    in_trash = list((story.folder / "models" / ".gemmalock" / "trash").rglob("notes.txt"))
    story.check(len(in_trash) == 1, "the stray is not in the trash")
    command = "echo 'not in the lock' > models/notes.txt && gemmalock sync"
    return story.step("what the lock does not list goes to the trash", command, output)


def _wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.005)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

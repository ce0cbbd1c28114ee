"""A project, a server, a canary beside them, and the real command line, whose every run is followed by the oracles."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gemmalock.codec.report_json import report_problems
from gemmalock.registry.folders import GOING
from tests.hostile.oracles import (
    Picture,
    differences,
    files_of,
    not_in_sync,
    picture,
    unsafe_output,
    wrong_bytes,
)
from tests.running import Finished, Gemmalock, Project
from tests.servers.fileserver import Content, FileServer

PYTHON = (sys.executable, "-m", "gemmalock")
#: The commands that only look, as they are typed; each is also one that ends by itself on any input.
LOOKS = (
    ("status",),
    ("lock", "--check"),
    ("sync", "--check"),
    ("sync", "--dry-run"),
    ("sync", "--dry-run", "--json"),
    ("prune", "--dry-run"),
    ("list",),
    ("diff", "gemmalock.lock", "gemmalock.lock"),
    ("tasks",),
)
#: Runs several command lines, one after the other, and prints their exit codes last: one interpreter for all.
_IN_TURN = "import json, sys; from gemmalock.cli import boundary; " + (
    "codes = [boundary.run(words) for words in json.loads(sys.argv[1])]; print('codes', *codes)"
)
#: What a command may end with: never 3, which is a bug of ours.
CODES = frozenset({0, 1, 2, 4, 5})


@dataclass
class Stage:
    """The project is at `base/project`, its canary at `base/canary`; whatever else is below `base` is one too.

    `root` and `store` are where gemmalock may write, besides the lock, and `ours` is where else it may in this case.
    `env` is added to every run, and `program` what is run.
    """

    base: Path
    home: Path
    server: FileServer
    project: Project
    store: Path
    root: Path
    env: dict[str, str] = field(default_factory=dict)
    ours: list[Path] = field(default_factory=list)
    program: tuple[str, ...] = PYTHON

    @property
    def canary(self) -> Path:
        """A folder of somebody else's, with a file in it."""
        return self.base / "canary"

    @property
    def lock(self) -> Path:
        """Where the lock is."""
        return self.project.lock

    @property
    def own(self) -> Path:
        """gemmalock's own folder in the root."""
        return self.root / ".gemmalock"

    @property
    def model(self) -> Path:
        """Where the large file goes."""
        return self.root / "gemma" / "model.gguf"

    @property
    def content(self) -> Content:
        """The large file on the server."""
        return self.server.files["/model.gguf"]

    @property
    def gemmalock(self) -> Gemmalock:
        """The command line without the oracles, for those who kill it."""
        return self._cli(self.program)

    @property
    def trashed(self) -> list[bytes]:
        """The bytes of every file in the trash, sorted."""
        folder = self.own / "trash"
        return sorted(path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink())

    def declare(self, more: str = "", root: str = "models", **extra: str) -> None:
        """Write the manifest: the large file with `extra` keys, the tokenizer, and `more` lines at the end."""
        keys = "".join(f"        {name}: {value}\n" for name, value in extra.items())
        self.project.write_manifest(
            f"version: 1\nroot: {root}\nmodels:\n  gemma:\n    files:\n"
            f"      - url: {self.server.origin}/model.gguf\n{keys}"
            f"      - url: {self.server.origin}/tokenizer.json\n{more}"
        )

    def run(
        self,
        *arguments: str,
        code: int | Iterable[int] = 0,
        env: Mapping[str, str] | None = None,
        under: tuple[str, ...] = (),
        timeout: float = 60,
    ) -> Finished:
        """Run a command line, `under` another program if one is named, then every oracle. `code` is what it has to
        end with."""
        before, outside = files_of(self.root), self.outside()
        done = self._cli((*under, *self.program))(*arguments, env=self.env | dict(env or {}), timeout=timeout)
        expected = CODES & ({code} if isinstance(code, int) else set(code))
        assert done.code in expected, (done.code, done.out, done.err)
        self.check(done, arguments, before, outside)
        return done

    def report(self, *arguments: str, code: int = 0, env: Mapping[str, str] | None = None) -> Any:
        """The JSON report of a command, after a look at its shape."""
        done = self.run(*arguments, "--json", code=code, env=env)
        assert report_problems(done.out) == []
        return done.json()

    def check(self, done: Finished, arguments: tuple[str, ...], before: Mapping[str, str], outside: Picture) -> None:
        """O1, O2, O3 and O9, after one command."""
        assert "Traceback" not in done.err, done.err
        served = {hashlib.sha256(content.body).hexdigest() for content in self.server.files.values()}
        assert wrong_bytes(files_of(self.root), served | set(before.values())) == []
        if arguments[:1] == ("sync",) and done.code == 0 and not {"--dry-run"} & set(arguments):
            assert not_in_sync(self.lock, self.project.folder) == []
        assert differences(outside, self.outside(), but=[self.project.folder, self.home, self.base]) == []
        assert unsafe_output(done, coloured="--color" in arguments) == []

    @contextmanager
    def meanwhile(self, act: Callable[[], object], when: Callable[[], bool]) -> Iterator[None]:
        """Inside the block, do `act` once, as soon as `when` says so. Fails where it never did."""
        done, over = threading.Event(), threading.Event()

        def watch() -> None:
            while not over.is_set():
                if when():
                    act()
                    done.set()
                    over.set()
                over.wait(0.002)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        assert done.is_set()

    def in_turn(self, *lines: tuple[str, ...]) -> list[int]:
        """Several command lines that only look, one after the other in one interpreter, then the oracles. Their exit
        codes."""
        files, outside = files_of(self.root), self.outside()
        done = self._cli((sys.executable, "-c", _IN_TURN))(json.dumps(lines), env=self.env)
        codes = [int(code) for code in done.out.rpartition("codes ")[2].split()]
        assert len(codes) == len(lines), (done.out, done.err)
        assert set(codes) <= CODES, (codes, done.out, done.err)
        self.check(done, ("looks", *(("--color",) if any("--color" in line for line in lines) else ())), files, outside)
        return codes

    def looks_change_nothing(self) -> None:
        """O10, and the others with it: every command that only looks, on what the case has left."""
        folders = (self.base, self.home)
        before = [picture(folder) for folder in folders]
        codes = self.in_turn(*LOOKS)
        # Locking anew may learn small files into the store, also for show.
        stale = codes[LOOKS.index(("lock", "--check"))] != 0
        for folder, was in zip(folders, before, strict=True):
            found = differences(was, picture(folder), but=[self.store.parent] if stale else [])
            assert [line for line in found if not (stale and line.startswith(os.fspath(self.store)))] == []

    def heals(self) -> None:
        """O6: after the fault, one `sync` brings everything in place, and nothing is left lying about."""
        self.run("sync")
        assert self.left_over() == []

    def heals_with_adopt(self) -> None:
        """The same where strays that nobody vouches for have to be told to go."""
        self.run("sync", "--adopt")
        self.heals()

    def left_over(self) -> list[Path]:
        """What no run may leave behind once it went well: staged files, partials, task records, temporary names."""
        places = (self.own / "staging", self.store / "staging", self.store / "tasks")
        listed = [path for place in places if place.is_dir() for path in place.iterdir()]
        # No task any more: what could not be removed then goes when the next task comes.
        listed = [path for path in listed if not path.name.startswith(GOING)]
        return [*listed, *self.own.glob("*.new"), *self.own.glob(".*.new"), *self.project.folder.glob(".*.new")]

    def outside(self) -> Picture:
        """O3: everything that gemmalock may not touch, itself included where the root is a link to it."""
        ours = [self.lock, self.store, *self.ours]
        if not self.root.is_symlink():
            ours.append(self.root)
        return {**picture(self.base, ours), **picture(self.home, ours)}

    def _cli(self, program: tuple[str, ...]) -> Gemmalock:
        return Gemmalock(self.project.folder, program)

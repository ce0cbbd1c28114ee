"""Running the real command line as its own process, and the folder that it runs in."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.guard import CHECKOUT

#: Longer than any single command of the tests takes on a slow machine: a hang ends, and says so.
TIMEOUT_SECONDS = 60
#: The environment before any test began: building and installing needs the person's settings of pip and of proxies.
PERSONS_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ended: its exit code (negative: the signal that ended it), stdout and stderr."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Its stdout as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with a manifest."""

    folder: Path

    @property
    def manifest(self) -> Path:
        """Where its manifest is."""
        return self.folder / "gemmalock.yaml"

    @property
    def lock(self) -> Path:
        """Where its lock is."""
        return self.folder / "gemmalock.lock"

    def write_manifest(self, text: str, member: str = ".") -> Path:
        """Write a manifest, of a workspace member when one is named. Where it is."""
        path = self.folder / member / "gemmalock.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path


@dataclass(frozen=True, slots=True)
class Gemmalock:
    """The command line, as `gemmalock("sync", "--json")`: `python -m gemmalock` in `folder`, stdin closed.

    `program` is what is run. The packaging test puts an installed one there, and nothing of the checkout beside it.
    """

    folder: Path
    program: tuple[str, ...] = (sys.executable, "-m", "gemmalock")
    from_checkout: bool = True

    def __call__(
        self,
        *arguments: str | Path,
        folder: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> Finished:
        """Run it to its end. `env` is added to the environment of the test."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=folder or self.folder,
            env=environment(env, from_checkout=self.from_checkout),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=timeout,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def started(
        self, *arguments: str | Path, folder: Path | None = None, env: Mapping[str, str] | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """Start it, for those who want to kill it or to watch it. What still runs at the end is killed."""
        process = subprocess.Popen(
            self.command(*arguments),
            cwd=folder or self.folder,
            env=environment(env, from_checkout=self.from_checkout),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def command(self, *arguments: str | Path) -> list[str]:
        """The command and its arguments."""
        return [*self.program, *map(str, arguments)]


def environment(added: Mapping[str, str] | None = None, *, from_checkout: bool = True) -> dict[str, str]:
    """The environment of a child: that of the test, and `added`. With `from_checkout` it imports this `gemmalock`."""
    base = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if from_checkout:
        base["PYTHONPATH"] = os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH"))))
    return base | dict(added or {})


def run_tool(command: Sequence[str | Path], folder: Path) -> str:
    """Run a tool that is not under test, as pip, in the person's environment. Its stdout; failing shows its stderr."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=PERSONS_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"`{command[0]}` failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout

"""A hub in a process of its own, whose large files come by signed links that expire: the one that the tests have.

It is told by lines what to do, and answers each by a line. In this process its files would be memory of the benchmark,
below which no peak of a child can be seen.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import CHECKOUT
from benchmarks.measure import Failed, kill
from benchmarks.servers import PATIENCE_SECONDS, SETTLED_SECONDS, Server
from tests.servers.hub import Hub, Lfs

REPOSITORY = "bench/model"


@dataclass(frozen=True, slots=True)
class SigningHub(Server):
    """A hub that listens, as a server of a job; `log` is where it writes what went wrong."""

    process: subprocess.Popen[bytes]

    def sent(self) -> int:
        """Bytes of large files that went out so far."""
        return int(self._told("sent"))

    def slow_down(self, rate: int) -> None:
        """Give each connection that begins from now on so many bytes a second; 0 for all that there are."""
        self._told(f"rate {rate}")

    def expire_links(self) -> None:
        """Refuse every link that was given out so far."""
        self._told("expire")

    def mark(self) -> int:
        """As of any server: here the bytes that were sent, once no more are."""
        last, still_since = -1, time.monotonic()
        while time.monotonic() - still_since < SETTLED_SECONDS:
            if (now := self.sent()) != last:
                last, still_since = now, time.monotonic()
            time.sleep(0.02)
        return last

    def since(self, mark: int) -> list[int]:
        """The bytes that were sent since then."""
        return [self.mark() - mark]

    def _told(self, command: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command}\n".encode())
        self.process.stdin.flush()
        if not (answer := self.process.stdout.readline()):
            raise Failed(f"the hub is gone: {self.log.read_text('utf-8').strip()}")
        return str(json.loads(answer))


@contextlib.contextmanager
def signing_hub(folder: Path, log: Path) -> Iterator[SigningHub]:
    """Have the files of a folder as REPOSITORY."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            (sys.executable, "-m", "benchmarks.signing", str(folder)),
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if not (first := process.stdout.readline()):
            raise Failed(f"the hub did not come to listen: {log.read_text('utf-8').strip()}")
        yield SigningHub(json.loads(first), log, process)
    finally:
        # The end of its input is its end.
        process.stdin.close()
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            kill(process)
        process.stdout.close()


def main(folder: Path) -> None:
    """Serve until there are no more commands."""
    with Hub() as hub:
        hub.repo(REPOSITORY).commit({path.name: Lfs(path.read_bytes()) for path in sorted(folder.iterdir())})
        print(json.dumps(hub.url), flush=True)
        for line in sys.stdin:
            command, *arguments = line.split()
            if command == "rate":
                hub.cdn.throttle = int(arguments[0]) or None
            elif command == "expire":
                hub.expire_links()
            print(hub.cdn_bytes(), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""One call of fetch in a process of its own, for tests that kill it or break its system calls.

    python worker.py FOLDER SIZE CUT [KILL]

fetches a file of SIZE bytes into FOLDER from a source whose first answer breaks after CUT bytes (0: never), and which
kills the process when KILL is given instead. Prints what came of it as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from gemmalock.errors import GemmalockError
from tests.transfer.twins import Bench, Reply, ScriptedSource, digest, locked, patient, some_bytes


def main(folder: str, size: int, cut: int, kill: bool) -> None:
    """Fetch, and say how it went."""
    body = some_bytes(size)
    bench = Bench(Path(folder), terms=patient(3))

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    first = Reply(body, cut=cut or None, piece=300_000, then=die if kill else None)
    try:
        fetched = bench.fetch(locked(body), ScriptedSource([first, Reply(body, piece=300_000)]))
    except GemmalockError as error:
        print(json.dumps({"code": error.code, "message": error.message}))
    else:
        same = bench.bytes() == body and fetched.sha256 == digest(body)
        print(
            json.dumps(
                {"code": "ok" if same else "wrong", "kept": fetched.bytes_kept, "fetched": fetched.bytes_fetched}
            )
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), len(sys.argv) > 4)

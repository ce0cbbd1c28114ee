"""A KeyboardInterrupt of a library's user: nothing goes on behind the caller's back."""

from __future__ import annotations

import signal
import subprocess
import sys

from tests.e2e.conftest import Scene
from tests.running import environment

INTERRUPTED = """
import threading
import gemmalock

try:
    gemmalock.sync(".")
except KeyboardInterrupt:
    pass
names = [thread.name for thread in threading.enumerate() if thread.name in ("gemmalock-file", "gemmalock-journal")]
print(names, gemmalock.resume_status("gemma::model.gguf"))
"""


def test_an_interrupted_library_call_lets_go_of_the_task(scene: Scene) -> None:
    scene.run("lock")
    scene.content().throttle = 2 * 1024 * 1024
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        cwd=scene.project.folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while scene.server.bytes_served("/model.gguf") < 5 * 1024 * 1024:
        assert child.poll() is None
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert out.strip() == "[] can_resume", err

"""The end of a process: at once, and with nothing of it lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = (sys.executable, "-m", "gemmalock")
SCRIPT = (str(Path(sys.executable).parent / "gemmalock"),)


def ran(folder: Path, program: tuple[str, ...], *arguments: str, first: str = "") -> subprocess.CompletedProcess[str]:
    """Run it in a Python that does something `first`."""
    (folder / "sitecustomize.py").write_text(first)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path[1:]])}
    return subprocess.run([*program, *arguments], capture_output=True, text=True, timeout=60, env=environ)


@pytest.mark.parametrize("program", [MODULE, SCRIPT], ids=["module", "script"])
@pytest.mark.parametrize(("arguments", "code"), [(("--version",), 0), (("--help",), 0), (("--nonsense",), 4)])
def test_what_is_registered_for_the_end_is_called_and_nothing_after_it(
    tmp_path: Path, program: tuple[str, ...], arguments: tuple[str, ...], code: int
) -> None:
    first = (
        "import atexit\natexit.register(print, 'the end')\n"
        "class Late:\n    def __del__(self):\n        print('taken apart')\nlate = Late()\n"
    )
    done = ran(tmp_path, program, *arguments, first=first)
    assert done.returncode == code
    assert done.stdout.endswith("the end\n")


def test_a_thread_that_is_no_daemon_is_waited_for(tmp_path: Path) -> None:
    # It is done only when the main thread has ended.
    first = "import threading as t\nt.Thread(target=lambda: (t.main_thread().join(), print('done'))).start()"
    done = ran(tmp_path, MODULE, "--version", first=first)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "done")


def test_nobody_waits_for_a_daemon(tmp_path: Path) -> None:
    first = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    assert ran(tmp_path, MODULE, "--help", first=first).returncode == 0


def test_who_profiles_sees_the_end(tmp_path: Path) -> None:
    done = ran(tmp_path, (sys.executable, "-m", "cProfile", "-m", "gemmalock"), "--version")
    assert done.returncode == 0
    assert "function calls" in done.stdout


def test_who_calls_it_gets_the_exit_back(tmp_path: Path) -> None:
    for call in ("main()", "main(sys.argv[1:])"):
        code = f"""
import sys
from gemmalock.cli import main
try:
    {call}
except SystemExit as end:
    print("back", end.code)
"""
        done = ran(tmp_path, (sys.executable, "-c", code), "--version")
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "back 0")


def test_what_cannot_be_written_is_told_by_the_exit_code() -> None:
    with open("/dev/full", "wb") as full:
        assert subprocess.run([*MODULE, "--version"], stdout=full, stderr=full, timeout=60).returncode != 0

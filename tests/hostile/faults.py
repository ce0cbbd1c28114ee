"""Real means to make a disk say no: system calls that fail, small file systems, limits, and rights that are missing.

Where the machine does not allow one of them, the test is skipped and says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

#: Root without the right to look past permissions is a user like any other.
_DROP = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


def failing(call: str, error: str, when: str, log: Path) -> tuple[str, ...]:
    """Run under this, and the system call (a name, or a regular expression between slashes) fails with `error`.
    `when` counts its invocations in each thread: `3`, `3+` from then on, `1+2` every second one."""
    _needs("strace")
    traced = f"/^({call})$"
    fault = f"inject={traced}:error={error}:when={when}"
    return ("strace", "-f", "-qq", "--seccomp-bpf", "-o", str(log), "-e", f"trace={traced}", "-e", fault)


def without_rights() -> tuple[str, ...]:
    """Run under this, and permissions count also for root."""
    if os.geteuid() != 0:
        return ()
    _needs("setpriv")
    if subprocess.run([*_DROP, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("rights cannot be dropped here")
    return _DROP


def with_files_of_at_most(count: int) -> tuple[str, ...]:
    """Run under this, and no file gets larger than so many bytes (RLIMIT_FSIZE)."""
    _needs("prlimit")
    return ("prlimit", f"--fsize={count}:{count}")


@contextmanager
def file_system(place: Path, size: str) -> Iterator[Path]:
    """A tmpfs of that size, mounted at `place`."""
    place.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "none", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.decode(errors='replace').strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def resized(place: Path, size: str) -> None:
    """Give a tmpfs another size."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)


def _needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"`{program}` is not installed")

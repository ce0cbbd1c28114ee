"""Which programs are here, and which versions."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence

from benchmarks.measure import Skipped

#: Where systems keep what only root is expected to run.
_SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin")
#: How each tells its version.
VERSION_FLAGS = {
    "nginx": "-v",
    "curl": "--version",
    "wget": "--version",
    "aria2c": "--version",
    "openssl": "version",
    "hf": "version",
}


@functools.cache
def found(name: str) -> str | None:
    """Where a program is: on the PATH, beside this Python, or where the system has servers. None: nowhere."""
    places = (os.environ.get("PATH", os.defpath), sysconfig.get_path("scripts"), *_SYSTEM_FOLDERS)
    return shutil.which(name, path=os.pathsep.join(places))


def needed(name: str) -> str:
    """The same, for what a case cannot do without. Raises Skipped."""
    if place := found(name):
        return place
    raise Skipped(f"`{name}` is not installed")


def missing(names: Sequence[str]) -> list[str]:
    """Those of the programs that are not here."""
    return [name for name in names if found(name) is None]


def version(name: str) -> str | None:
    """The first thing that looks like a version in what the program says of itself; None where it is missing."""
    if (place := found(name)) is None:
        return None
    said = subprocess.run(
        [place, VERSION_FLAGS[name]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ).stdout.decode("utf-8", "replace")
    match = re.search(r"\d+\.\d+(\.\d+)?", said)
    return match[0] if match else "of an unknown version"

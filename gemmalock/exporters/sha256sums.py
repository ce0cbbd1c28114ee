"""A lock as coreutils' `sha256sum -c` reads it, from the folder of the lock."""

from __future__ import annotations

from gemmalock.errors import PolicyRefused
from gemmalock.lockfile import Lock


def sha256sums(lock: Lock) -> str:
    """For `sha256sum -c`, from the project's folder.

    A file without a digest would be one that nobody checks: raises PolicyRefused.
    """
    nodes = sorted(lock.nodes(), key=lambda node: node.path)
    nameless = [node.id for node in nodes if node.file.sha256 is None]
    if nameless:
        more = f", and {len(nameless) - 1} more files have none" if len(nameless) > 1 else ""
        raise PolicyRefused(
            f"`{nameless[0]}` has no digest in the lock{more}",
            hint="`gemmalock lock --hash` finds it, or select others",
        )
    # No path of a lock has a backslash or a line break in it, which would have to be escaped here.
    return "".join(f"{node.file.sha256}  {node.path}\n" for node in nodes)

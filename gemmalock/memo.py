"""What was found to agree once is remembered by its bytes, never by time.

`<root>/.gemmalock/memo` holds one digest: of the manifests' bytes, a lock's bytes and the settings that judge
them, when they were last read in full and found to belong together. A run with nothing to do reads no YAML, and does
not look for task records that are of no use any more: who may leave one behind forgets the memo first.

A memo counts only beside the very ledger that it was written for, by that file's inode and time stamp: bytes that came
by git or from an archive vouch for nothing, whoever computed the digest.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path

from gemmalock.seal import NAME as SEAL
from gemmalock.version import VERSION

NAME = "memo"
LEDGER = "ledger.json"
MOST_BYTES = 4096


def agreement(manifests: Iterable[bytes], lock: bytes, judged_by: str, *, version: str = VERSION) -> str:
    """The digest under which an agreement is remembered. Another version of the program may judge by other rules, and
    so rests on no agreement of this one."""
    digest = hashlib.sha256()
    for part in (version.encode(), judged_by.encode(), lock, *manifests):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def agreed(root: Path, key: str) -> bool:
    """Whether these bytes were found to agree before."""
    from gemmalock.durable import read_file

    folder = root / ".gemmalock"
    try:
        return read_file(folder / NAME, MOST_BYTES) == _sealed(key, folder)
    except OSError:
        return False


def remember(root: Path, key: str) -> None:
    """Note that these bytes agree; where that cannot be noted, nothing is lost."""
    from gemmalock.durable import write_file
    from gemmalock.errors import DiskError

    folder = root / ".gemmalock"
    if folder.is_dir() and not folder.is_symlink() and not agreed(root, key):
        with contextlib.suppress(OSError, DiskError):
            write_file(folder / NAME, _sealed(key, folder))


def forget(root: Path) -> None:
    """Let the next run look at everything. Where that cannot be had, nothing is lost but tidiness."""
    folder = root / ".gemmalock"
    if not folder.is_symlink():
        for name in (NAME, SEAL):
            with contextlib.suppress(OSError):
                (folder / name).unlink()


def _sealed(key: str, folder: Path) -> bytes:
    """The key together with what nobody can know who is not on this machine. Raises OSError without a ledger."""
    ledger = (folder / LEDGER).lstat()
    return f"{key} {ledger.st_ino} {ledger.st_mtime_ns}".encode("ascii")

"""What was found to agree once is remembered by its bytes, never by time.

`<root>/.gemmalock/memo.json` holds one digest: of a manifest's bytes, a lock's bytes and the settings that judge
them, when they were last read in full and found to belong together. A run with nothing to do reads no YAML.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

NAME = "memo"
#: Counts up when the rules by which manifest and lock are judged change.
RULES = "1"


def agreement(manifest: bytes, lock: bytes, judged_by: str) -> str:
    """The digest under which an agreement is remembered."""
    digest = hashlib.sha256()
    for part in (RULES.encode(), judged_by.encode(), manifest, lock):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def agreed(root: Path, key: str) -> bool:
    """Whether these bytes were found to agree before."""
    try:
        return (root / ".gemmalock" / NAME).read_text(encoding="ascii") == key
    except (OSError, ValueError):
        return False


def remember(root: Path, key: str) -> None:
    """Note that these bytes agree; where that cannot be noted, nothing is lost."""
    from gemmalock.durable import write_file
    from gemmalock.errors import DiskError

    folder = root / ".gemmalock"
    if folder.is_dir() and not folder.is_symlink() and not agreed(root, key):
        with contextlib.suppress(OSError, DiskError):
            write_file(folder / NAME, key.encode("ascii"))

"""Which files of a lock failed when they were last tried, for `--lf` and `--ff`: a list in `<store>/last-failed/`.

To lose it costs a selection, so that nothing that goes wrong here is an error. A file leaves the list when it ends
well, and stays as long as it is not tried.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = "last-failed"
_MOST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Failures:
    """The list of one lock, in a store that need not be there."""

    store: Path
    lock: Path

    def listed(self) -> frozenset[str]:
        """The node IDs that are listed."""
        from gemmalock.durable import read_file

        with contextlib.suppress(OSError, ValueError, RecursionError):
            listed = json.loads(read_file(self._place, _MOST_BYTES))
            if isinstance(listed, list):
                return frozenset(name for name in listed if isinstance(name, str))
        return frozenset()

    def note(self, ended: Mapping[str, bool], known: Iterable[str]) -> None:
        """Note how files ended: node ID → whether it failed. Of those that were listed before, `known` ones stay."""
        from gemmalock.durable import write_file
        from gemmalock.errors import DiskError

        before = self.listed()
        stay = {name for name in before.intersection(known) if name not in ended}
        now = stay | {name for name, failed in ended.items() if failed}
        if now == before or not self.store.is_dir() or self._place.parent.is_symlink():
            return
        with contextlib.suppress(OSError, DiskError):
            self._place.parent.mkdir(mode=0o700, exist_ok=True)
            write_file(self._place, json.dumps(sorted(now), indent=0).encode() + b"\n")

    @property
    def _place(self) -> Path:
        name = hashlib.sha256(os.fsencode(self.lock)).hexdigest()[:16]
        return self.store / FOLDER / f"{name}.json"

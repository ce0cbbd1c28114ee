"""What manifests mean is remembered by their bytes, never by time: one that was valid once is not judged again.

`<store>/meanings/<digest>` holds the meaning of the manifest that the digest is of, together with what judged it. To
forget one, or all, costs the time of reading YAML and nothing else, so that nothing here is synced, and nothing that
goes wrong here is an error. Problems of manifests are never remembered.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gemmalock.spec import Manifest
from gemmalock.version import VERSION

FOLDER = "meanings"
#: No meaning is larger; a manifest of this size is read anew.
MOST_BYTES = 16 * 1024 * 1024
#: So many are kept. Then all are forgotten at once: whoever has that many soon has those that are in use again.
MOST = 1024


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Meanings:
    """The meanings that a store remembers, of manifests that were judged by the same rules."""

    store: Path
    judged_by: tuple[str, ...]

    @classmethod
    def of(cls, store: Path, *, schemes: Iterable[str], allow_http: bool) -> Meanings:
        """Those of manifests that may have these schemes. Another version may judge by other rules."""
        return cls(store, (VERSION, f"http={allow_http}", *sorted(schemes)))

    def recall(self, manifest: bytes) -> Manifest | None:
        """What these bytes mean, or None where that is not known."""
        from gemmalock.codec.meaning_json import read_meaning
        from gemmalock.durable import read_file

        try:
            return read_meaning(read_file(self.store / FOLDER / self._name(manifest), MOST_BYTES))
        except OSError:
            return None

    def remember(self, meaning: Manifest, *manifests: bytes) -> None:
        """Note what each of these bytes means, where there is a store to note it in."""
        from gemmalock.codec.meaning_json import write_meaning
        from gemmalock.durable import create_at, open_folder

        if not self.store.is_dir() or len(data := write_meaning(meaning)) > MOST_BYTES:
            return
        home = self.store / FOLDER
        with contextlib.suppress(OSError):
            home.mkdir(mode=0o700, exist_ok=True)
            with open_folder(home, follow=False) as folder:
                self._forget_many(folder)
                for name in map(self._name, manifests):
                    # What a crash left there is nothing, and is replaced.
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=folder)
                    create_at(folder, name, data, synced=False)

    def _forget_many(self, folder: int) -> None:
        names = os.listdir(folder)
        for name in names if len(names) >= MOST else ():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)

    def _name(self, manifest: bytes) -> str:
        digest = hashlib.sha256()
        for part in (*(text.encode() for text in self.judged_by), manifest):
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()

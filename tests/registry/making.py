"""Values and partials for the registry's tests."""

from __future__ import annotations

import hashlib
from pathlib import Path

from gemmalock.journal import CHUNK, Chunk, Validator, write_chunk
from gemmalock.lockfile import LockedFile, LockedManifest, LockedModel, Node

LOCK = Path("/projects/chat/gemmalock.lock")
OTHER_LOCK = Path("/projects/search/gemmalock.lock")
STRONG = '"5f3a"'


def node_of(name: str = "model.gguf", *, size: int = 10, etag: str | None = STRONG, sha256: str | None = None) -> Node:
    """A locked file in a lock of its own."""
    url = f"https://models.example.org/{name}"
    file = LockedFile.pin(name=name, path=f"chat/{name}", url=url, size=size, etag=etag, sha256=sha256)
    model = LockedModel("chat", (file,))
    return Node(LockedManifest("gemmalock.yaml", "models", "sha256:0", (model,)), model, file)


def put_partial(folder: Path, content: bytes, *, vouched: int | None = None, etag: str | None = STRONG) -> None:
    """A partial of these bytes, with a journal for the first `vouched` of them (all, unless told)."""
    (folder / "data.part").write_bytes(content)
    content = content[:vouched]
    lines = [
        write_chunk(Chunk(place // CHUNK, len(piece), hashlib.sha256(piece).hexdigest(), Validator(etag, "origin")))
        for place in range(0, len(content), CHUNK)
        if (piece := content[place : place + CHUNK])
    ]
    (folder / "journal").write_bytes(b"".join(lines))

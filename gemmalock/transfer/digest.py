"""The SHA-256 of bytes on disk, in flat memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from gemmalock.errors import disk_error
from gemmalock.stopping import Stop
from gemmalock.transfer.part import BLOCK


def hash_file(source: Path | int, stop: Stop, on_bytes: Callable[[int], None] | None = None) -> str:
    """The sha256 of a file from its beginning to its end, as hexadecimal; it is not followed if it is a link.

    `source` is a path, or an open descriptor, whose offset is neither used nor moved. `on_bytes` is told how many
    bytes each step read. Raises DiskError and Interrupted.
    """
    if isinstance(source, int):
        return _hash(source, f"descriptor {source}", stop, on_bytes)
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise disk_error(error, f"open `{source}`") from error
    try:
        return _hash(descriptor, f"`{source}`", stop, on_bytes)
    finally:
        os.close(descriptor)


def _hash(descriptor: int, name: str, stop: Stop, on_bytes: Callable[[int], None] | None) -> str:
    hasher = hashlib.sha256()
    buffer = memoryview(bytearray(BLOCK))
    offset = 0
    while True:
        stop.check()
        try:
            count = os.preadv(descriptor, [buffer], offset)
        except OSError as error:
            raise disk_error(error, f"read {name}") from error
        if count == 0:
            return hasher.hexdigest()
        hasher.update(buffer[:count])
        offset += count
        if on_bytes is not None:
            on_bytes(count)

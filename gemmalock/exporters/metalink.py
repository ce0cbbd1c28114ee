"""A lock as a Metalink document, version 4 (RFC 5854)."""

from __future__ import annotations

from collections.abc import Iterator

from gemmalock.exporters.downloads import Download, downloads
from gemmalock.lockfile import Lock
from gemmalock.version import VERSION

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})


def metalink(lock: Lock) -> str:
    """Metalink 4 (RFC 5854), as `aria2c -M` reads it.

    Sizes and digests are those of the lock; mirrors come after the file's own URL. Raises PolicyRefused for a file that
    is not on the web.
    """
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<metalink xmlns="urn:ietf:params:xml:ns:metalink">',
        f"  <generator>gemmalock/{VERSION}</generator>",
    ]
    for download in downloads(lock, "metalink"):
        lines += _file(download)
    return "".join(f"{line}\n" for line in (*lines, "</metalink>"))


def _file(download: Download) -> Iterator[str]:
    file = download.node.file
    yield f'  <file name="{_escaped(download.node.path)}">'
    yield f"    <identity>{_escaped(download.node.id)}</identity>"
    yield f"    <size>{file.size}</size>"
    if file.sha256 is not None:
        yield f'    <hash type="sha-256">{file.sha256}</hash>'
    for priority, url in enumerate(download.urls, 1):
        yield f'    <url priority="{priority}">{_escaped(url)}</url>'
    yield "  </file>"


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)

"""What lists for download programs have in common: only URLs that such a program can ask."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gemmalock.errors import PolicyRefused
from gemmalock.lockfile import Lock, Node
from gemmalock.spec import scheme_of

_WEB = frozenset({"http", "https"})


@dataclass(frozen=True, slots=True)
class Download:
    """A file of a lock, and its URLs on the web, the best one first."""

    node: Node
    urls: tuple[str, ...]


def downloads(lock: Lock, format: str) -> Iterable[Download]:
    """Every file of a lock, by its path. Raises PolicyRefused for one that is nowhere on the web."""
    for node in sorted(lock.nodes(), key=lambda node: node.path):
        urls = tuple(url for url in (node.file.url, *node.file.mirrors) if scheme_of(url) in _WEB)
        if not urls:
            raise PolicyRefused(
                f"`{node.id}` is at `{node.file.url}`, and `{format}` is for files on the web",
                hint="select the others, or take another format",
            )
        yield Download(node, urls)

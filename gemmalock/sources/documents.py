"""Small answers that are read as a whole: what an API says of its files. What is in them is for others to say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urljoin

from gemmalock.errors import SourceError
from gemmalock.ports import Ask
from gemmalock.sources.fields import shown_url
from gemmalock.sources.http import HttpSource
from gemmalock.stopping import Stop

JSON = "application/json"
#: No API of ours answers with more than this at once, in bytes.
_LARGEST = 64 * 1024 * 1024
_PIECE = 256 * 1024
#: A link of a Link field (RFC 8288, 3) and its relation, with or without quotes.
_LINK = re.compile(r'<([^<>]*)>\s*((?:;\s*[a-z*]+\s*=\s*(?:"[^"]*"|[^",;\s]*)\s*)*)', re.IGNORECASE)
_NEXT = re.compile(r';\s*rel\s*=\s*(?:"(?:[^"]*\s)?next(?:\s[^"]*)?"|next(?=\s*(?:;|$)))', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Document:
    """A whole answer from `url`; `headers` have lower-case names."""

    url: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def next_url(self) -> str | None:
        """The page after this one, by its Link field (RFC 8288); None for the last."""
        links = _LINK.finditer(self.headers.get("link", ""))
        return next((urljoin(self.url, link[1]) for link in links if _NEXT.search(link[2])), None)


def read_document(web: HttpSource, url: str, stop: Stop, accept: str = JSON) -> Document:
    """All of a small answer. Raises SourceError, also where it is larger than 64 MiB, and Interrupted."""
    return read_answer(web, Ask(url, accept=accept), stop)


def read_answer(web: HttpSource, ask: Ask, stop: Stop) -> Document:
    """The same, of a request that says more than that."""
    with closing(web.open(ask, stop)) as answer:
        body, piece = bytearray(), memoryview(bytearray(_PIECE))
        while count := answer.readinto(piece):
            body += piece[:count]
            if len(body) > _LARGEST:
                raise SourceError(f"`{shown_url(ask.url)}` answered with more than {_LARGEST} bytes")
        return Document(ask.url, answer.headers, bytes(body))

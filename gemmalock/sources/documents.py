"""Small answers that are read as a whole: what an API says of its files. What is in them is for others to say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from gemmalock.errors import SourceError
from gemmalock.ports import Ask
from gemmalock.sources.fields import quoted, shown_url
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
        """The page after this one, by its Link field (RFC 8288); None for the last. Raises SourceError where a next one
        is named that cannot be read: a list that is cut short must not pass for a whole one."""
        field = self.headers.get("link", "")
        link: str | None = next((link[1] for link in _LINK.finditer(field) if _NEXT.search(link[2])), None)
        if link is None:
            if "next" in _LINK.sub("", field).lower():
                raise self._names_no_next(field)
            return None
        try:
            url = urljoin(self.url, link)
            urlsplit(url)
        except ValueError:
            raise self._names_no_next(link) from None
        return url

    def _names_no_next(self, named: str) -> SourceError:
        return SourceError(f"`{shown_url(self.url)}` names as its next page what is no URL: `{quoted(named)}`")


def pages_of(
    url: str, read: Callable[[str], Document], following: Callable[[Document], str | None], most: int
) -> Iterator[Document]:
    """The pages of a list, from `url` on, as `read`; `following` is the URL of the page after one. Raises SourceError
    for more than `most`, and for one that comes again."""
    seen: set[str] = set()
    page_url: str | None = url
    while page_url is not None:
        if page_url in seen:
            raise SourceError(f"`{shown_url(url)}` names a page as the next one that came before")
        if len(seen) == most:
            raise SourceError(f"`{shown_url(url)}` has more than {most} pages")
        seen.add(page_url)
        page = read(page_url)
        yield page
        page_url = following(page)


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

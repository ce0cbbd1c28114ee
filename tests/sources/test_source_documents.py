"""Small answers read as a whole: how large they may be, and what is the page after one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gemmalock.errors import SourceError
from gemmalock.sources import documents
from gemmalock.sources.documents import Document, pages_of, read_document
from gemmalock.sources.http import HttpSource
from gemmalock.stopping import Stop
from tests.servers.scripted import Exchange, ScriptedServer

URL = "https://api.example.org/list?cursor=1"


@pytest.mark.parametrize(
    ("field", "url"),
    [
        ("", None),
        ('<https://api.example.org/list?cursor=2>; rel="next"', "https://api.example.org/list?cursor=2"),
        ("</list?cursor=2>; rel=next", "https://api.example.org/list?cursor=2"),
        ('</a>; rel="prev", </b>; title="x"; rel="last next"', "https://api.example.org/b"),
        ('</a>; rel="prev"', None),
        ("</style.css>; rel=preload; as=style; crossorigin", None),
    ],
)
def test_the_next_page_is_what_the_link_field_says(field: str, url: str | None) -> None:
    assert Document(URL, {"link": field}, b"").next_url == url


@pytest.mark.parametrize(
    "field",
    [
        '<http://[::1>; rel="next"',
        '<//[x>; rel="next"',
        '<https://api.example.org/list?cursor=2; rel="next"',
        'https://api.example.org/list?cursor=2; rel="next"',
        '</list?cursor=2>; crossorigin; rel="next"',
    ],
)
def test_a_next_page_that_cannot_be_read_is_an_error_and_no_end(field: str) -> None:
    with pytest.raises(SourceError, match="names as its next page what is no URL"):
        _ = Document(URL, {"link": field}, b"").next_url


def _numbered(first: int, numbers: dict[int, int]) -> Iterator[Document]:
    """Pages by number, each with the number of the one after it."""
    following = {f"{URL}&page={page}": f"{URL}&page={after}" for page, after in numbers.items()}
    return pages_of(
        f"{URL}&page={first}", lambda url: Document(url, {}, b""), lambda page: following.get(page.url), most=4
    )


def test_pages_are_read_up_to_the_last() -> None:
    assert [page.url[-1] for page in _numbered(1, {1: 2, 2: 3, 3: 4})] == ["1", "2", "3", "4"]


def test_more_pages_than_may_be_are_an_error() -> None:
    with pytest.raises(SourceError, match="more than 4 pages"):
        list(_numbered(1, {1: 2, 2: 3, 3: 4, 4: 5}))


@pytest.mark.parametrize("numbers", [{1: 1}, {1: 2, 2: 2}, {1: 2, 2: 1}])
def test_a_page_that_comes_again_is_an_error_at_once(numbers: dict[int, int]) -> None:
    read: list[str] = []
    with pytest.raises(SourceError, match="came before"):
        read.extend(page.url for page in _numbered(1, numbers))
    assert len(read) == len(set(read)) == len(numbers)


def test_an_answer_that_is_too_large_is_given_up(http: HttpSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_LARGEST", 1000)

    def script(exchange: Exchange) -> None:
        exchange.answer(200, {}, b"x" * int(exchange.request.path[1:]))

    with ScriptedServer(script) as server:
        assert len(read_document(http, f"{server.url}/1000", Stop()).body) == 1000
        with pytest.raises(SourceError, match="more than 1000 bytes"):
            read_document(http, f"{server.url}/1001", Stop())

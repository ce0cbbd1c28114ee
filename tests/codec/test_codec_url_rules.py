"""Rules for URLs that the cases of the manifest format do not show: what the hints say, and that the rules find nothing
in URLs that are taken at a glance."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gemmalock.codec import url_rules
from gemmalock.codec.repository_rules import repository_wrong
from gemmalock.codec.url_rules import MAX_URL, file_name, url_wrongs
from gemmalock.spec import SCHEMES, name_in_url

FORM = "write it as `github://owner/repo@tag`"


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("github://owner", FORM),
        ("github://owner/", FORM),
        ("github://owner/..", FORM),
        ("github://owner/repo@", "write it as `github://owner/repo`"),
        ("github://owner/repo/", "write it as `github://owner/repo`"),
        ("github://owner/repo.git", "write it as `github://owner/repo`"),
        ("github://owner/repo.git@v1", "write it as `github://owner/repo@v1`"),
        ("github://owner/repo/a.gguf@v1", "write it as `github://owner/repo@v1`"),
        ("github://github.com/owner/repo@v1", "write it as `github://owner/repo@v1`"),
        ("github://owner/repo/releases", "write it as `github://owner/repo`"),
        ("github://owner/repo/releases/tag/rel/v1", "write it as `github://owner/repo@rel/v1`"),
        ("github://owner/repo/releases/download/v1/a.gguf", "write it as `github://owner/repo@v1`"),
        ("github://own er/repo/x", FORM),
    ],
)
def test_whoever_writes_the_address_of_a_page_is_told_what_to_write(url: str, hint: str) -> None:
    wrong = repository_wrong(url, is_file=False)
    assert wrong is not None
    assert wrong.message == f"`{url}` names no repository of GitHub"
    assert wrong.hint == hint


@pytest.mark.parametrize("tag", ["v1", "rel/v1.0+q4", "@scope/package@1.2.3", "100%", "-v1", "v1.locked", "ü"])
def test_a_tag_that_git_could_have_is_one(tag: str) -> None:
    assert repository_wrong(f"github://owner/repo@{tag}", is_file=False) is None


@pytest.mark.parametrize(
    "tag", ["a..b", "@{x}", "a~1", "a^", "a:b", "a?b", "a*", "a[b", "a//b", "/a", "a/", ".a", "a/.b", "a.", "a.lock"]
)
def test_a_tag_that_git_could_not_have_is_wrong(tag: str) -> None:
    wrong = repository_wrong(f"github://owner/repo@{tag}", is_file=False)
    assert wrong is not None
    assert wrong.message == f"`{tag}` is no tag that git could have"


def test_a_release_is_no_file() -> None:
    wrong = repository_wrong("github://owner/repo@v1", is_file=True)
    assert wrong is not None
    assert "`source`" in wrong.hint
    assert repository_wrong("https://github.com/owner/repo", is_file=True) is None


#: What URLs are made of, and what does not belong in them.
_PARTS = st.one_of(
    st.sampled_from(
        ["a", "Z9", "_", "~", ".", "..", "-", "+", "=", "/", "//", ":", ":80", ":59999", ":65535", ":65536"]
    ),
    st.sampled_from(["@", "?", "?token=x", "#", "%", "%2f", "%41", "[", "]", "[::1]", "\\", " ", ";p", "://"]),
    st.sampled_from(["\n", "\x7f", "\u2028", "ü", "²", "a" * MAX_URL]),
)
_BEGINNINGS = (
    "http://",
    "https://",
    "https://a.example/",
    "http://127.0.0.1:18090/",
    "HTTPS://",
    "file://",
    "hf://",
    "",
)
_URLS = st.builds(str.__add__, st.sampled_from(_BEGINNINGS), st.lists(_PARTS, max_size=8).map("".join))


@given(_URLS, st.sampled_from([None, SCHEMES, frozenset({"https"}), frozenset[str]()]))
@example("https://a.example:65536/a", None)
@example("https://a.example/" + "a" * MAX_URL, SCHEMES)
@example("http://a.example/folder/a.gguf", frozenset({"https"}))
def test_a_url_that_is_taken_at_a_glance_has_nothing_wrong_in_it(url: str, schemes: frozenset[str] | None) -> None:
    at_a_glance = list(url_wrongs(url, schemes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(url_rules, "_PLAIN", re.compile("(?!)"))
        assert list(url_wrongs(url, schemes)) == at_a_glance


@given(_URLS)
@example("https://a.example/folder/a.gguf")
@example("https://a.example/folder/")
def test_the_name_of_a_plain_url_is_the_one_that_it_has_in_any(url: str) -> None:
    assert file_name(url) == name_in_url(url)

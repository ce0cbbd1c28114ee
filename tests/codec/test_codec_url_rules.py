"""Rules for URLs that the cases of the manifest format do not show: what the hints say."""

from __future__ import annotations

import pytest

from gemmalock.codec.repository_rules import github_wrong

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
    wrong = github_wrong(url, is_file=False)
    assert wrong is not None
    assert wrong.message == f"`{url}` names no repository of GitHub"
    assert wrong.hint == hint


@pytest.mark.parametrize("tag", ["v1", "rel/v1.0+q4", "@scope/package@1.2.3", "100%", "-v1", "v1.locked", "ü"])
def test_a_tag_that_git_could_have_is_one(tag: str) -> None:
    assert github_wrong(f"github://owner/repo@{tag}", is_file=False) is None


@pytest.mark.parametrize(
    "tag", ["a..b", "@{x}", "a~1", "a^", "a:b", "a?b", "a*", "a[b", "a//b", "/a", "a/", ".a", "a/.b", "a.", "a.lock"]
)
def test_a_tag_that_git_could_not_have_is_wrong(tag: str) -> None:
    wrong = github_wrong(f"github://owner/repo@{tag}", is_file=False)
    assert wrong is not None
    assert wrong.message == f"`{tag}` is no tag that git could have"


def test_a_release_is_no_file() -> None:
    wrong = github_wrong("github://owner/repo@v1", is_file=True)
    assert wrong is not None
    assert "`source`" in wrong.hint
    assert github_wrong("https://github.com/owner/repo", is_file=True) is None

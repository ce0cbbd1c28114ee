"""What was written in the place of a repository is told with the repository that was meant."""

from __future__ import annotations

import pytest

from gemmalock.codec.repository_rules import repository_wrong


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("https://huggingface.co/owner/name", "hf://owner/name"),
        ("https://huggingface.co/gpt2", "hf://gpt2"),
        ("https://hf.co/owner/name/", "hf://owner/name"),
        ("https://huggingface.co/owner/name/tree/v1", "hf://owner/name@v1"),
        ("https://huggingface.co/owner/name/blob/main/a.gguf", "hf://owner/name@main"),
        ("https://huggingface.co/datasets/owner/name/tree/main", "hf://datasets/owner/name@main"),
        ("https://github.com/owner/repo", "github://owner/repo"),
        ("https://github.com/owner/repo.git", "github://owner/repo"),
        ("https://www.github.com/owner/repo/releases", "github://owner/repo"),
        ("https://github.com/owner/repo/releases/tag/v1", "github://owner/repo@v1"),
        ("hf://models/owner/name", "hf://owner/name"),
        ("hf://models/owner/name@v1", "hf://owner/name@v1"),
        ("hf://owner/name:v1", "hf://owner/name@v1"),
        ("hf://a/b/c/d", "hf://a/b`, and `c/d` among its `files"),
        ("hf://", "hf://owner/name@ref"),
    ],
)
def test_a_source_that_is_none_is_told_with_the_one_that_was_meant(written: str, meant: str) -> None:
    wrong = repository_wrong(written, is_file=False)
    assert wrong is not None
    assert f"`{meant}`" in wrong.hint


@pytest.mark.parametrize(
    "url",
    [
        "https://huggingface.co/owner/name/resolve/main",
        "https://huggingface.co/owner/name/raw/main/deep",
        "https://huggingface.co.example/owner/name",
        "https://huggingface.co/",
        "https://github.com/owner/repo/releases/download/v1",
        "https://github.com/owner/repo/raw/main/models",
        "https://github.com/",
        "https://models.example.org/owner/name",
        "hf://owner/name@feature/x",
        "hf://owner/name@refs/pr/1",
    ],
)
def test_a_folder_is_a_source_wherever_it_is(url: str) -> None:
    assert repository_wrong(url, is_file=False) is None


def test_a_page_may_be_a_file() -> None:
    assert repository_wrong("https://huggingface.co/owner/name", is_file=True) is None

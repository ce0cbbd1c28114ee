"""Text that others wrote is shown without driving a terminal, and without the secrets of its URLs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.escaping import escaped, is_secret_key, redacted, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain größe 模型 😀", "plain größe 模型 😀"),
        ("a\x1b[31mb", "a\\u001b[31mb"),
        ("a\r\nb\tc", "a\\u000d\\u000ab\\u0009c"),
        ("a\x9bb", "a\\u009bb"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2028b", "a\\u2028b"),
        ("a\U000e0041b", "a\\U000e0041b"),
        ("a\ud800b", "a\\ud800b"),
    ],
)
def test_what_cannot_be_seen_is_escaped(text: str, expected: str) -> None:
    assert escaped(text) == expected


@given(st.text(st.characters()))
def test_escaped_text_is_one_line_that_any_encoding_of_unicode_takes(text: str) -> None:
    assert re.search(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", escaped(text)) is None
    assert escaped(text).encode().decode() == escaped(text)
    assert escaped(escaped(text)) == escaped(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://h.example/a", "https://h.example/a"),
        ("https://user:pass@h.example/a", "https://*********@h.example/a"),
        ("https://token@h.example/a", "https://*****@h.example/a"),
        ("x https://a:b@h x", "x https://***@h x"),
        ("https://u:p/w@h.example/a", "https://*****@h.example/a"),
        ("s3://key:secret@bucket/x", "s3://**********@bucket/x"),
        ("hf://owner/name@main", "hf://owner/name@main"),
        ("hf://name@main", "hf://name@main"),
        ("oci://host:5000/repo@sha256:abc", "oci://host:5000/repo@sha256:abc"),
        ("https://cdn.example/npm/x@1.2", "https://cdn.example/npm/x@1.2"),
        ("https://h/?a=b&token=abc&c=d", "https://h/?a=b&token=***&c=d"),
        ("https://h/?X-Amz-Signature=abc'", "https://h/?X-Amz-Signature=***'"),
        ("https://h/?signature_version=4", "https://h/?signature_version=4"),
    ],
)
def test_secrets_in_urls_are_starred_out(text: str, expected: str) -> None:
    assert redacted(text) == expected


@given(st.text(alphabet="https://@:?&=token ab.", max_size=60))
def test_redaction_moves_nothing(text: str) -> None:
    assert len(redacted(text)) == len(text)


def test_redaction_of_a_hostile_line_is_cheap() -> None:
    for text in ("://" * 1000, "a://" + ":@" * 2000, "https://" * 500 + "@", "?token=" * 600):
        assert len(redacted(text)) == len(text)


def test_a_secret_beyond_what_is_searched_is_not_shown() -> None:
    assert "hunter2" not in redacted("x" * 5000 + "https://u:hunter2@h")


def test_an_operand_is_cut_in_its_middle() -> None:
    text = shown("a" * 3000 + "b", 100)
    assert len(text) == 100
    assert "…" in text
    assert text.endswith("b")
    assert shown("a" * 50_000, 100) == "a" * 99 + "…"
    assert shown("short") == "short"


def test_secret_keys_are_known_in_any_case() -> None:
    assert is_secret_key("X-Amz-Signature")
    assert is_secret_key("TOKEN")
    assert not is_secret_key("tokenizer")

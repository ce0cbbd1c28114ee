"""What a source has instead, in words that can be shown."""

from __future__ import annotations

from gemmalock.missing import matches_nothing


def test_names_of_any_length_and_look_are_cut_and_escaped() -> None:
    error = matches_nothing("*.gguf", "hf://org/name", ("n" * 200_000, "a\x1b[2Jb"))
    assert len(error.message) < 400
    assert "`a\\u001b[2Jb`" in error.message

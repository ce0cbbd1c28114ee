"""Whose version a state file is. What a newer gemmalock wrote is not ours to judge, and never ours to overwrite."""

from __future__ import annotations

import json


def is_newer(text: bytes, key: str, known: int) -> bool:
    """Whether JSON says under `key` a version beyond `known`. Never raises: what is no JSON is of no version."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    version = value.get(key) if isinstance(value, dict) else None
    return type(version) is int and version > known

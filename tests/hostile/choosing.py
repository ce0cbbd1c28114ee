"""Which cases of a large table every run plays, and which only the long one (`-m long`, in `.ci/run`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def quick(cases: Iterable[Any], *chosen: Any) -> list[Any]:
    """The cases as parameters of a test: the chosen ones as they are, all others marked `long`."""
    listed = list(cases)
    unknown = [case for case in chosen if case not in listed]
    assert not unknown, f"no such cases: {unknown}"
    return [
        case
        if case in chosen
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.long)
        for case in listed
    ]

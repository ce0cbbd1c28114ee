"""The cases by name, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks import fetching
from benchmarks.bench import Bench
from benchmarks.table import Result

CASES: Mapping[str, Callable[[Bench], list[Result]]] = {
    "large": fetching.large,
    "throttled": fetching.throttled,
    "many": fetching.many,
    "lossy": fetching.lossy,
}

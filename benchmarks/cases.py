"""The cases by name, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks import expiring, fetching, keeping, limits, starting
from benchmarks.bench import Bench
from benchmarks.table import Result

#: A case may raise Skipped and Failed.
CASES: Mapping[str, Callable[[Bench], list[Result]]] = {
    "large": fetching.large,
    "throttled": fetching.throttled,
    "many": fetching.many,
    "lossy": fetching.lossy,
    "killed": keeping.killed,
    "expiring": expiring.expiring,
    "memory": keeping.memory,
    "verify": keeping.verify,
    "second": keeping.second,
    "nothing": starting.nothing,
    "monorepo": starting.monorepo,
    "locking": starting.locking,
    "limits": limits.limits,
}

"""What `doctor` finds: one thing that was looked at, and whether it works."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Verdict(enum.StrEnum):
    """How a thing is. `NO`: it is not to be had here, and nothing needs it."""

    OK = "ok"
    NO = "no"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing of a topic, how it is, what is to be said of it, and what to do about it. No secret is in it."""

    topic: str
    what: str
    verdict: Verdict
    says: str
    hint: str = ""

    @property
    def told(self) -> str:
        """As a sentence by itself."""
        return f"{self.topic}: {self.what}: {self.says}"

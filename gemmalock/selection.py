"""Which files of a lock a run is about, as it was told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gemmalock.errors import NothingCollected
from gemmalock.lockfile import Lock, LockedManifest, Node, is_under

if TYPE_CHECKING:
    from gemmalock.narrowing import Filter


@dataclass(frozen=True, slots=True)
class Selection:
    """Which nodes are meant: those under one of the prefixes, or all where there is none, and of these what the filter
    leaves, where one was given. `named`: something was named at all, if only a folder. `within`: where the run began
    inside of a workspace, as a prefix; empty at its root."""

    prefixes: tuple[str, ...] = ()
    named: bool = False
    within: str = ""
    filter: Filter | None = None

    def __bool__(self) -> bool:
        return bool(self.prefixes) or bool(self.filter)

    @property
    def given(self) -> bool:
        """Whether anything was said of what is meant, if only what leaves nothing out: such a run prunes nothing."""
        return self.named or self.filter is not None

    def of(self, nodes: Iterable[Node]) -> tuple[Node, ...]:
        """The nodes that are meant, in order. Raises NothingCollected for a prefix that fits none, and where there were
        some and the filter leaves none."""
        listed = tuple(node for node in nodes if not self.within or is_under(node.id, self.within))
        for prefix in self.prefixes:
            if not any(is_under(node.id, prefix) for node in listed):
                raise NothingCollected(
                    f"nothing fits `{prefix}`", hint="run `gemmalock list` to see the node IDs of this lock"
                )
        if self.prefixes:
            listed = tuple(node for node in listed if any(is_under(node.id, prefix) for prefix in self.prefixes))
        return listed if self.filter is None else self.filter.of(listed)

    def manifests(self, lock: Lock) -> tuple[LockedManifest, ...]:
        """The manifests that the run is about, whichever of their files are named."""
        return tuple(each for each in lock.manifests if not self.within or is_under(each.path, self.within))

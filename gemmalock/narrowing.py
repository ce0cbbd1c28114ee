"""What is left of the files that were named: `-k`, `-m`, `--deselect` and `--lf`, as pytest has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gemmalock.errors import Deselected
from gemmalock.expressions import Expression
from gemmalock.lockfile import Node, is_under


@dataclass(frozen=True, slots=True)
class Filter:
    """What is left of what was named: nodes for whose names `keyword` holds, and `tags` for the tags of their models,
    that are under none of `deselected`, and that are among the node IDs `only`, where some of them are.

    As with pytest's `-k`, a word of `keyword` holds where it is somewhere in the name of the manifest, the model or the
    file, whatever its case; one of `tags` is a whole tag. One of an empty text holds for all, and is None.
    """

    keyword: Expression | None = None
    tags: Expression | None = None
    deselected: tuple[str, ...] = ()
    only: frozenset[str] | None = None

    def __bool__(self) -> bool:
        return bool(self.keyword or self.tags or self.deselected or self.only is not None)

    def of(self, nodes: Sequence[Node]) -> tuple[Node, ...]:
        """The nodes that are left, in order. Raises Deselected where there were some and none is left."""
        left = tuple(node for node in nodes if self._leaves(node))
        if nodes and not left:
            raise Deselected.of(len(nodes), self._hint)
        # As with pytest: where none of these failed, all are run.
        only = self.only or ()
        return tuple(node for node in left if node.id in only) or left

    @property
    def _hint(self) -> str:
        """What to do where nothing is left."""
        names = {"-k": self.keyword, "-m": self.tags, "--deselect": self.deselected}
        return f"say less with {' and '.join(f'`{name}`' for name, value in names.items() if value)}"

    def _leaves(self, node: Node) -> bool:
        if any(not prefix or is_under(node.id, prefix) for prefix in self.deselected):
            return False
        if self.tags is not None and not self.tags.fits(lambda tag: tag in node.model.tags):
            return False
        name = node.id.casefold()
        return self.keyword is None or self.keyword.fits(lambda word: word.casefold() in name)

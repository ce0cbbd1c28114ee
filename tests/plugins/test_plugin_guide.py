"""docs/plugins.md says of each hook what its contract says: the table there is made of `specs`."""

from __future__ import annotations

import inspect
import re

from gemmalock.plugins import specs
from tests.guard import CHECKOUT

GUIDE = (CHECKOUT / "docs/plugins.md").read_text("utf-8")
HOOKS = [value for name, value in vars(specs).items() if name.startswith("gemmalock_")]


def table() -> str:
    """The hooks, each with the first paragraph of its contract, and the rest of it."""
    rows = ["| hook | is | when, where, and what it may raise |", "|---|---|---|"]
    for hook in HOOKS:
        signature = ", ".join(inspect.signature(hook).parameters)
        first, _, rest = (inspect.getdoc(hook) or "").partition("\n\n")
        said = (re.sub(r"\s+", " ", text).strip() for text in (first, rest))
        rows.append(f"| `{hook.__name__}({signature})` | {' | '.join(said)} |")
    return "\n".join(rows)


def test_the_table_of_hooks_is_that_of_the_specification() -> None:
    assert table() in GUIDE, f"the table in docs/plugins.md has to be\n{table()}"


def test_every_contract_says_when_the_hook_is_called() -> None:
    for hook in HOOKS:
        doc = inspect.getdoc(hook) or ""
        assert "Called " in doc or "called " in doc, hook.__name__


def test_every_value_of_the_specification_is_in_the_guide() -> None:
    for kind in (specs.Scheme, specs.SourceContext):
        assert f"`{kind.__name__}" in GUIDE
        for name in inspect.signature(kind).parameters:
            assert f"`{name}`" in GUIDE, name

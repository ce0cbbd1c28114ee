"""What the lock has, for `list` and `tree`. Neither the disk nor a source is looked at."""

from __future__ import annotations

from gemmalock.app.papers import Papers
from gemmalock.app.wiring import Workshop
from gemmalock.lockfile import LOCK_NAME, Node
from gemmalock.outcome import ExitCode, FileOutcome, LockChange, Outcome, Report
from gemmalock.selection import Selection


def run_list(workshop: Workshop, papers: Papers, selection: Selection) -> Report:
    """Every model and file of the lock. The disk is not looked at."""
    lock = papers.required_lock()
    nodes = selection.of(lock.nodes())
    outcomes = tuple(FileOutcome.of_node(node, Outcome.SKIPPED, reason=_card(node), verb="LOCKED") for node in nodes)
    models = tuple({(node.manifest.path, node.model.name): node.model for node in nodes}.values())
    facts = tuple(
        {
            "name": model.name,
            "license": model.license,
            "tags": list(model.tags),
            "files": len(model.files),
            "size": sum(file.size for file in model.files),
            "source": model.source,
            "revision": model.revision,
        }
        for model in models
    )
    return Report(
        "list", ExitCode.OK, files=outcomes, lock=LockChange(LOCK_NAME, changed=False), facts=(("models", list(facts)),)
    )


def _card(node: Node) -> str:
    license, tags = node.model.license, " ".join(f"#{tag}" for tag in node.model.tags)
    stated = f"the licence is {license}" if license else "no licence is stated"
    return f"{stated}, and the tags are {tags}" if tags else stated

"""`export`: the lock in the words of other programs, by the formats that plugins and gemmalock itself bring."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from gemmalock.app.outputs import check_output
from gemmalock.app.papers import Papers
from gemmalock.errors import UsageError, disk_error
from gemmalock.lockfile import LOCK_NAME, Lock, Node
from gemmalock.outcome import ExitCode, LockChange, Report
from gemmalock.plugins.guarding import broken, guarded
from gemmalock.plugins.loading import installed
from gemmalock.selection import Selection
from gemmalock.settings import Settings


def formats(settings: Settings) -> Mapping[str, str]:
    """Every format there is, with a line of what it is. Raises UsageError for a plugin that cannot be loaded."""
    exporters = installed(settings.plugin).exporters
    return {name: (inspect.getdoc(brought.value) or "").partition("\n")[0] for name, brought in exporters.items()}


def run_export(papers: Papers, selection: Selection, format: str) -> tuple[bytes, Report]:
    """The lock, or what is selected of it, in a format, and the report with the selected files that have no digest as
    warnings. Raises UsageError for a format that there is not, PolicyRefused for a file that it cannot say."""
    exporters = installed(papers.settings.plugin).exporters
    if format not in exporters:
        raise UsageError(f"there is no format `{format}`", hint=_near(format, list(exporters)))
    nodes = selection.of(papers.required_lock().nodes())
    brought = exporters[format]
    with guarded(brought.plugin, f"its format `{format}`"):
        text = brought.value(_with_only(papers.required_lock(), nodes))
        data = text.encode() if isinstance(text, str) else text
    if not isinstance(data, bytes):
        raise broken(brought.plugin, f"made of the format `{format}` a `{type(data).__name__}`, and not text or bytes")
    warnings = tuple(_nameless(node) for node in nodes if node.file.sha256 is None)
    facts = (("format", format), ("files", len(nodes)))
    change = LockChange(LOCK_NAME, changed=False)
    return data, Report("export", ExitCode.OK, lock=change, warnings=warnings, facts=facts)


def write_export(place: Path, data: bytes) -> None:
    """Write it to a file, whole or not at all. Raises DiskError, and UsageError for a place that has another use."""
    check_output(place, "--output")
    from gemmalock.durable import write_file

    try:
        write_file(place, data, mode=0o666)
    except OSError as error:
        raise disk_error(error, f"write `{place}`") from error


def _with_only(lock: Lock, nodes: tuple[Node, ...]) -> Lock:
    """The lock with these nodes, and without a model or a manifest that has none of them."""
    wanted = {node.id for node in nodes}
    manifests = []
    for manifest in lock.manifests:
        models = []
        for model in manifest.models:
            files = tuple(file for file in model.files if Node(manifest, model, file).id in wanted)
            models += [replace(model, files=files)] if files else []
        manifests += [replace(manifest, models=tuple(models))] if models else []
    return Lock(tuple(manifests))


def _nameless(node: Node) -> str:
    return f"{node.id} has no digest in the lock; `gemmalock lock --hash` finds one"


def _near(format: str, known: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(format, known, n=1)
    return f"did you mean `{close[0]}`?" if close else f"there are {', '.join(f'`{name}`' for name in known)}"

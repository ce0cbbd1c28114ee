"""`add` and `remove`: the manifest is edited and locked; where the lock cannot be had, nothing is changed."""

from __future__ import annotations

from dataclasses import replace

from gemmalock.app.locking import LockOptions, run_lock
from gemmalock.app.papers import Papers
from gemmalock.app.wiring import Workshop
from gemmalock.errors import UsageError, disk_error
from gemmalock.outcome import Report
from gemmalock.spec import MODEL_NAME, name_in_url, scheme_of


def run_add(workshop: Workshop, papers: Papers, name: str, source: str, files: tuple[str, ...]) -> Report:
    """Declare a model and lock it. A SOURCE without FILE names one file by its URL. Raises UsageError, InputError."""
    from gemmalock.codec.manifest_edit import add_model

    if not MODEL_NAME.fullmatch(name):
        raise UsageError(f"`{name}` cannot be a model's name", hint="letters, digits, `.`, `_`, `+` and `-`")
    model = _declared(source, files)
    return _edited(workshop, papers, add_model(papers.manifest_bytes, name, model), "add")


def run_remove(workshop: Workshop, papers: Papers, name: str) -> Report:
    """Take a model out of the manifest and lock. Raises UsageError, InputError."""
    from gemmalock.codec.manifest_edit import remove_model

    return _edited(workshop, papers, remove_model(papers.manifest_bytes, name), "remove")


def _declared(source: str, files: tuple[str, ...]) -> dict[str, object]:
    if files:
        return {"source": source, "files": list(files)}
    if scheme_of(source) in ("http", "https", "file") and name_in_url(source):
        return {"files": [{"url": source}]}
    raise UsageError(
        f"which files of `{source}`?", hint="name them, or give a glob: `gemmalock add NAME SOURCE '*.gguf'`"
    )


def _edited(workshop: Workshop, papers: Papers, text: bytes, command: str) -> Report:
    """Lock what `text` says, then write it: a manifest that cannot be locked is not written."""
    from gemmalock.durable import write_file

    before = papers.manifest_bytes
    edited = Papers(workshop.project, papers.settings)
    edited.__dict__["manifest_bytes"] = text
    report = run_lock(workshop, edited, LockOptions())
    if report.ok and text != before:
        try:
            write_file(workshop.project.manifest_path, text)
        except OSError as error:
            raise disk_error(error, f"write `{workshop.project.manifest}`") from error
    return replace(report, command=command)

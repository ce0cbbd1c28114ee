"""`add` and `remove`: the manifest is edited and locked; where the lock cannot be had, nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gemmalock.app.locking import lock_report
from gemmalock.app.papers import Papers, write_place
from gemmalock.app.plugging import KnownSchemes
from gemmalock.app.ready import resolve_papers
from gemmalock.app.wiring import Workshop
from gemmalock.errors import UsageError, disk_error
from gemmalock.outcome import ExitCode, Report
from gemmalock.pinning import Wish
from gemmalock.quantisations import is_quantisation
from gemmalock.spec import MODEL_NAME, name_in_url, scheme_of


@dataclass(frozen=True, slots=True)
class Declaration:
    """What is said of a new model: a source with names or globs in it, or a quantisation; or the URL of one file."""

    source: str
    files: tuple[str, ...] = ()
    quant: str | None = None

    def written(self) -> dict[str, object]:
        """The model as a manifest has it. Raises UsageError where it does not say which files."""
        model: dict[str, object] = {"source": self.source}
        if self.quant is not None:
            model["quant"] = self.quant
        if self.files:
            model["files"] = list(self.files)
        if len(model) > 1:
            return model
        if scheme_of(self.source) in ("http", "https", "file") and name_in_url(self.source):
            return {"files": [{"url": self.source}]}
        hint = "name them, give a glob, or a quantisation: `gemmalock add NAME SOURCE '*.gguf'`, `… --quant Q4_K_M`"
        raise UsageError(f"which files of `{self.source}`?", hint=hint)


def run_add(workshop: Workshop, papers: Papers, name: str, model: Declaration) -> Report:
    """Declare a model and lock it. Raises UsageError, InputError."""
    from gemmalock.codec.manifest_edit import add_model

    if not MODEL_NAME.fullmatch(name):
        raise UsageError(f"`{name}` cannot be a model's name", hint="letters, digits, `.`, `_`, `+` and `-`")
    _refuse_what_is_no_place(model.source, KnownSchemes(papers.settings))
    if model.quant is not None and not is_quantisation(model.quant):
        hint = "write it as the files' names have it, as `Q4_K_M`, `IQ4_XS`, `Q8_0` or `BF16`"
        raise UsageError(f"`{model.quant}` is no quantisation of GGUF files", hint=hint)
    declared = model.written()
    if papers.manifest.model(name) is not None:
        raise UsageError(f"there is a model `{name}` already", hint="`gemmalock remove` takes it out")
    text = add_model(papers.manifest_bytes, name, declared)
    return workshop.ended(_edited(workshop, papers, text, "add"))


def run_remove(workshop: Workshop, papers: Papers, name: str) -> Report:
    """Take a model out of the manifest and lock. Raises UsageError, InputError."""
    from gemmalock.codec.manifest_edit import remove_model

    if papers.manifest.model(name) is None:
        raise UsageError(f"there is no model `{name}`", hint="`gemmalock list` shows what there is")
    text = remove_model(papers.manifest_bytes, name)
    return workshop.ended(_edited(workshop, papers, text, "remove"))


def _refuse_what_is_no_place(source: str, schemes: KnownSchemes) -> None:
    """Raise UsageError for what no manifest could have as a source or a URL."""
    from gemmalock.codec.url_rules import url_wrongs

    for wrong in url_wrongs(source, schemes):
        raise UsageError(wrong.message, hint=wrong.hint)


def _edited(workshop: Workshop, papers: Papers, text: bytes, command: str) -> Report:
    """Lock what `text` says, then write it: a manifest that cannot be locked, or whose lock cannot be written, is
    not written."""
    from gemmalock.durable import write_file

    edited = Papers(workshop.project, papers.settings, edited={workshop.project.manifest: text})
    resolution = resolve_papers(workshop, edited, Wish())
    if resolution.lock is None:
        return replace(lock_report(edited, resolution, ExitCode.FAILED), command=command)
    edited.lock_to_write(resolution.lock)
    # The manifest first: the next run mends a lock that is behind it.
    try:
        write_file(write_place(workshop.project, workshop.project.manifest_path), text, mode=0o666)
    except OSError as error:
        raise disk_error(error, f"write `{workshop.project.manifest}`") from error
    changed = edited.write_lock(resolution.lock)
    return replace(lock_report(edited, resolution, ExitCode.OK, changed=changed), command=command)

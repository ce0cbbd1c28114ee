"""The catalogue: ready manifests that are shipped, to begin a project with. They are data; nothing here writes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gemmalock.codec.manifest import read_manifest
from gemmalock.errors import NothingCollected, UsageError, disk_error
from gemmalock.expressions import Expression
from gemmalock.outcome import ExitCode, Report
from gemmalock.resources import catalogue_folder
from gemmalock.sources.hub_papers import repository_of
from gemmalock.spec import Manifest, ModelSpec

#: The tag of models whose licence has to be accepted, by a person, before anybody gives their files.
GATED = "gated"
SHOW = "run `gemmalock list --catalogue` to see all"


@dataclass(frozen=True, slots=True)
class Entry:
    """A manifest of the catalogue: what it is called, its text, comments included, and what that means."""

    name: str
    text: str
    manifest: Manifest

    @property
    def title(self) -> str:
        """What it is, in a line: the manifest's first."""
        return self.text.partition("\n")[0].removeprefix("#").strip()

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of its models, each once."""
        return tuple(sorted({tag for model in self.manifest.models for tag in model.tags}))

    @property
    def licence_pages(self) -> tuple[str, ...]:
        """Where licences have to be accepted first: the pages of its gated models."""
        sources = (model.source for model in self.manifest.models if GATED in model.tags)
        return tuple(dict.fromkeys(repository_of(source)[0].page for source in sources if source is not None))

    def is_named(self, word: str) -> bool:
        """Whether `word` is somewhere in its name, its title or a name of its models and files, whatever the case."""
        models = (name for model in self.manifest.models for name in (model.name, *model.patterns))
        return word.casefold() in "\n".join((self.name, self.title, *models)).casefold()


def entry_of(name: str) -> Entry:
    """The entry of that name. Raises UsageError, with names that are near, where there is none."""
    names = sorted(path.stem for path in _places())
    if name not in names:
        import difflib

        near = difflib.get_close_matches(name.lower(), names, n=3)
        meant = f"did you mean {' or '.join(f'`{each}`' for each in near)}? " if near else ""
        raise UsageError(f"the catalogue has no `{name}`", hint=f"{meant}{SHOW}")
    return _read(catalogue_folder() / f"{name}.yaml")


def chosen_entries(keyword: str | None, tags: str | None) -> tuple[Entry, ...]:
    """The entries that expressions choose, as `-k` does by names and `-m` by whole tags; by name.

    Raises UsageError for what is no expression, NothingCollected where they leave none.
    """
    named, tagged = Expression.parse(keyword or "", "-k"), Expression.parse(tags or "", "-m")
    entries = [_read(path) for path in sorted(_places(), key=lambda path: path.stem)]
    chosen = tuple(each for each in entries if named.fits(each.is_named) and tagged.fits(each.tags.__contains__))
    if not chosen:
        said = " and ".join(flag for flag, given in (("`-k`", keyword), ("`-m`", tags)) if given)
        raise NothingCollected("nothing in the catalogue fits", hint=f"say less with {said}" if said else None)
    return chosen


def catalogue_report(entries: Iterable[Entry]) -> Report:
    """The report that lists entries, each with what it is, its tags, licence pages and files."""
    rows = [
        {
            "name": entry.name,
            "title": entry.title,
            "tags": list(entry.tags),
            "gated": bool(entry.licence_pages),
            "licence_pages": list(entry.licence_pages),
            "models": [_row(model) for model in entry.manifest.models],
        }
        for entry in entries
    ]
    return Report("list", ExitCode.OK, facts=(("catalogue", rows),))


def _row(model: ModelSpec) -> dict[str, object]:
    return {"name": model.name, "source": model.source, "files": list(model.patterns), "tags": list(model.tags)}


def _places() -> list[Path]:
    folder = catalogue_folder()
    try:
        return [path for path in folder.iterdir() if path.suffix == ".yaml"]
    except OSError as error:
        raise disk_error(error, f"read the catalogue in `{folder}`") from error


def _read(path: Path) -> Entry:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise disk_error(error, f"read `{path}`") from error
    return Entry(path.stem, text.decode(), read_manifest(text, path.name))

"""Manifests and what the sources say → a lock. It asks; it writes no lock and touches no root.

What an old lock pinned stays pinned as long as it follows from the manifest: only new and changed entries are asked
for, unless an upgrade is wanted. A file that fails does not stop the others, but then there is no lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

from gemmalock.drift import entry_drift
from gemmalock.errors import (
    FileError,
    NotFound,
    PolicyRefused,
)
from gemmalock.lockfile import Lock, LockedFile, LockedManifest, LockedModel
from gemmalock.paths import clashes, matches
from gemmalock.pinning import Asker, Pinned, Unlocked, Wish
from gemmalock.spec import FileSpec, Manifest, ModelSpec, is_local


@dataclass(frozen=True, slots=True)
class Resolution:
    """The lock, or None where something failed; every file's pin, in the lock's order; and the lock before."""

    lock: Lock | None
    pins: tuple[Pinned, ...]
    warnings: tuple[str, ...] = ()
    old: Lock | None = None

    @property
    def failures(self) -> tuple[Pinned, ...]:
        """The files that could not be pinned."""
        return tuple(pin for pin in self.pins if pin.error is not None)


def resolve(manifests: Mapping[str, Manifest], old: Lock | None, wish: Wish, asker: Asker) -> Resolution:
    """The lock of these manifests (path → manifest).

    One source at one place is one pin, whatever manifests name it: who is new to it takes the pin that the others have,
    and an upgrade of one model is one of all models with its source. Names a glob that matches nothing with what there
    is; all failures are in the resolution, none is raised.
    """
    wish = _of_all_who_share(manifests, wish)
    wanted = {path: _wanted(path, manifest, old, wish, asker) for path, manifest in sorted(manifests.items())}
    if split := _at_many_revisions(wanted):
        # A source that had to be listed has moved since it was pinned: all who share it move along.
        wish = replace(wish, upgrade_models=wish.upgrade_models | split)
        wanted = {path: _wanted(path, manifest, old, wish, asker) for path, manifest in sorted(manifests.items())}
    # The files of all models at once: many small models take no longer than one large one.
    answers = iter(asker.map([file for models in wanted.values() for model in models for file in model.files]))
    pins: list[Pinned] = []
    resolved: list[LockedManifest] = []
    for path, models in wanted.items():
        locked: list[LockedModel] = []
        for model in models:
            answered = tuple(islice(answers, len(model.files)))
            pins += (*model.failures, *answered)
            locked.append(model.locked(answered))
        pins += _clashing(path, locked)
        resolved.append(LockedManifest(path, manifests[path].root, manifests[path].declared, _sorted(locked)))
    warnings = tuple(warning for pin in pins for warning in pin.warnings)
    failed = any(pin.error is not None for pin in pins)
    return Resolution(None if failed else Lock(tuple(resolved)), _one_each(pins), warnings, old)


def _of_all_who_share(manifests: Mapping[str, Manifest], wish: Wish) -> Wish:
    """The wish, with every model whose source is that of one that is to be asked for anew."""
    models = {f"{path}::{model.name}": model for path, manifest in manifests.items() for model in manifest.models}
    sources = {model.source for id, model in models.items() if wish.renews(id)} - {None}
    more = {id for id, model in models.items() if model.source in sources and not _is_relative(model.source)}
    return replace(wish, upgrade_models=wish.upgrade_models | more)


def _at_many_revisions(wanted: Mapping[str, list[_Wanted]]) -> frozenset[str]:
    """The node IDs of the models whose source is at one revision for them and at another for others."""
    sources: dict[str, dict[str, str | None]] = {}
    for path, models in wanted.items():
        for model in models:
            if model.spec.source is not None and not is_local(model.spec.source) and model.files:
                sources.setdefault(model.spec.source, {})[f"{path}::{model.spec.name}"] = model.revision
    return frozenset(id for ids in sources.values() if len(set(ids.values())) > 1 for id in ids)


def _is_relative(source: str | None) -> bool:
    """Whether a source may mean another place in each manifest."""
    return source is not None and is_local(source)


def _one_each(pins: Iterable[Pinned]) -> tuple[Pinned, ...]:
    """One pin an ID, in order: the first that failed, where one did."""
    told: dict[str, Pinned] = {}
    for pinned in pins:
        before = told.get(pinned.file.id)
        if before is None or (before.error is None and pinned.error is not None):
            told[pinned.file.id] = pinned
    return tuple(told.values())


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A model with the files that are to be pinned, and what failed before they could be asked for."""

    spec: ModelSpec
    revision: str | None
    files: tuple[Unlocked, ...]
    failures: tuple[Pinned, ...]

    def locked(self, pins: Iterable[Pinned]) -> LockedModel:
        """The model with those files that could be pinned."""
        locked = (pin.locked for pin in pins if pin.locked is not None)
        return LockedModel(
            name=self.spec.name,
            files=tuple(sorted(locked, key=lambda file: file.path)),
            source=self.spec.source,
            revision=self.revision,
            license=self.spec.license,
            tags=tuple(sorted(self.spec.tags)),
        )


def _wanted(path: str, manifest: Manifest, old: Lock | None, wish: Wish, asker: Asker) -> list[_Wanted]:
    """The models of the manifest at `path`; their sources are asked for what their globs match."""
    before = old.manifest(path) if old is not None else None
    is_as_declared = before is not None and before.declared == manifest.declared
    others = tuple(each for each in old.manifests if each is not before) if old is not None else ()
    return [_Model(path, model, before, others, wish, asker, is_as_declared).wanted() for model in manifest.models]


@dataclass
class _Model:
    path: str
    model: ModelSpec
    before: LockedManifest | None
    #: What the old lock has of other manifests.
    others: tuple[LockedManifest, ...]
    wish: Wish
    asker: Asker
    #: Whether the manifest says what it said when the old lock was made.
    is_as_declared: bool
    failures: list[Pinned] = field(default_factory=list)
    #: What the source was at when it was listed.
    revision: str | None = None

    def wanted(self) -> _Wanted:
        old = self.before.model(self.model.name) if self.before is not None else None
        keeps = old is not None and old.source == self.model.source and not self.wish.renews(self._id)
        self.revision = self._revision_before(old if keeps else None)
        listed = self._listed_before(old) if keeps and old is not None and self.is_as_declared else ()
        names = self._names(listed)
        files = [self._unlocked(name, self._url_of(name), None) for name in names]
        files += [self._unlocked(spec.path, spec.url, spec) for spec in self.model.files]
        return _Wanted(self.model, self.revision, tuple(files), tuple(self.failures))

    def _revision_before(self, old: LockedModel | None) -> str | None:
        """The commit that the source was pinned to: of this model, else of another one with the same source."""
        if self.wish.renews(self._id) or self.model.source is None:
            return None
        before = (*self.others, *((self.before,) if self.before is not None else ()))
        shared = (model for manifest in before for model in manifest.models if model.source == self.model.source)
        return next((model.revision for model in (old, *shared) if model is not None and model.revision), None)

    def _listed_before(self, old: LockedModel) -> tuple[str, ...]:
        """The names that the globs selected when the source was last asked: what has come or gone there since is
        upstream's move, and that is followed only when it is asked for. What a merge or an edit brought into the lock,
        and no glob selects, is not among them."""
        mapped = {spec.path for spec in self.model.files}
        names = (file.name for file in old.files if file.name not in mapped)
        return tuple(name for name in names if self._selects(self.model.globs, name))

    def _names(self, listed: tuple[str, ...]) -> tuple[str, ...]:
        """The names inside the source that the patterns select. A glob that selects some of those that were `listed`
        before means these; for the others the source is asked."""
        model = self.model
        names = {name for name in (*model.names, *listed) if not matches(name, model.exclude)}
        unlisted = [glob for glob in model.globs if not any(self._selects((glob,), name) for name in listed)]
        if not unlisted and not self._lacks_revision(names):
            return tuple(sorted(names))
        assert model.source is not None
        try:
            listing = self.asker.list(self._id, model.source)
        except FileError as error:
            # Where only names were to be placed, it is these files that cannot be had.
            for name in ("",) if unlisted else sorted(names):
                self._fail(f"{self._id}::{name}".removesuffix("::"), model.source, error)
            return ()
        self.revision = listing.revision or self.revision
        for glob in unlisted:
            matched = {name for name in listing.names if self._selects((glob,), name)}
            if not matched:
                self._fail(f"{self._id}::{glob}", glob, _matches_nothing(glob, model.source, listing.names))
            names |= matched
        return tuple(sorted(names))

    def _lacks_revision(self, names: set[str]) -> bool:
        """Whether the URLs of these names cannot be told before the source has said what it is at."""
        source, rule = self.model.source, self.asker.source_url
        if source is None or self.revision is not None:
            return False
        return any(rule(source, None, name) is None for name in names)

    def _url_of(self, name: str) -> str:
        """The URL of a file of the source; for a scheme that has no rule, the source itself."""
        source = self.model.source
        assert source is not None
        return self.asker.source_url(source, self.revision, name) or source

    def _selects(self, patterns: tuple[str, ...], name: str) -> bool:
        return matches(name, patterns) and not matches(name, self.model.exclude)

    def _unlocked(self, name: str, url: str, spec: FileSpec | None) -> Unlocked:
        path = self.model.place(name)
        mirrors = spec.mirrors if spec is not None else ()
        before = self._pinned(name, path, url, spec)
        pinned = None if self.wish.renews(self._id) else before
        source = self.model.source if spec is None else None
        return Unlocked(f"{self._id}::{name}", name, path, url, spec, pinned, mirrors, before, source)

    def _pinned(self, name: str, path: str, url: str, spec: FileSpec | None) -> LockedFile | None:
        """What the old lock has of this URL, if digest and size are still the declared ones."""
        mirrors = spec.mirrors if spec is not None else ()
        same = [(model, file) for model, file in self._locked_before(url) if file.url == url]
        # Its own entry first: two entries of one URL may be declared with different sizes and digests.
        for model, file in sorted(same, key=lambda pair: (pair[0].name, pair[1].name) != (self.model.name, name)):
            moved = replace(file, name=name, path=path, mirrors=mirrors)
            if not entry_drift("", self.model, model.revision, moved, self.asker.source_url):
                return moved
        return None

    def _locked_before(self, url: str) -> Iterator[tuple[LockedModel, LockedFile]]:
        """What the old lock has in which this URL may mean the same: a relative one is its own manifest's."""
        if self.before is not None:
            yield from self.before.files()
        for other in self.others if not is_local(url) else ():
            yield from other.files()

    def _fail(self, id: str, name: str, error: FileError) -> None:
        nameless = Unlocked(id, name, "", name, None, None)
        self.failures.append(Pinned(nameless, None, asked=True, error=error))

    @property
    def _id(self) -> str:
        return f"{self.path}::{self.model.name}"


def _matches_nothing(glob: str, source: str, names: tuple[str, ...]) -> NotFound:
    shown = ", ".join(f"`{name}`" for name in names[:20])
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    there = f"there is {shown}{more}" if names else "it is empty"
    message = f"`{glob}` matches nothing in `{source}`; {there}"
    hint = "change `files` or `exclude` in the manifest"
    if is_local(source):
        hint = f"{hint}; symbolic links that lead out of the folder are left out"
    return NotFound(message, hint=hint)


def _clashing(path: str, models: list[LockedModel]) -> Iterable[Pinned]:
    """Files that globs brought onto one path: only the listing could tell."""
    placed = [(model, file) for model in models for file in model.files]
    for first, second, why in clashes(file.path for _, file in placed):
        model, file = placed[second]
        other, there = placed[first]
        node = f"{path}::{model.name}::{file.name}"
        message = f"`{file.path}` {why}: `{path}::{other.name}::{there.name}` goes to `{there.path}`"
        error = PolicyRefused(message, hint="give one of the models another `path`, or exclude the file")
        yield Pinned(Unlocked(node, file.name, file.path, file.url, None, None), None, asked=False, error=error)


def _sorted(models: list[LockedModel]) -> tuple[LockedModel, ...]:
    return tuple(sorted(models, key=lambda model: model.name))

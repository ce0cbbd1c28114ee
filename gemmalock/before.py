"""What an old lock has of one model of a manifest, and what of that may stay. Nobody is asked here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from gemmalock.drift import entry_drift, lacking, named_by_indexes
from gemmalock.lockfile import LockedFile, LockedManifest, LockedModel, UrlRule
from gemmalock.paths import matches
from gemmalock.sets import models_among
from gemmalock.spec import FileSpec, ModelSpec, is_local


class OldPins:
    """The manifests of an old lock, and where in them each URL and each source is: thousands of files are looked for,
    each among all."""

    def __init__(self, manifests: Iterable[LockedManifest] = ()) -> None:
        self._files: dict[str, list[tuple[LockedManifest, LockedModel, LockedFile]]] = {}
        self._models: dict[str | None, list[tuple[LockedManifest, LockedModel]]] = {}
        #: By path.
        self.manifests = {manifest.path: manifest for manifest in manifests}
        for manifest in self.manifests.values():
            for model in manifest.models:
                self._models.setdefault(model.source, []).append((manifest, model))
                for file in model.files:
                    self._files.setdefault(file.url, []).append((manifest, model, file))

    def files(self, url: str, own: LockedManifest | None) -> Iterator[tuple[LockedModel, LockedFile]]:
        """Those with this URL, of the own manifest first; a relative one is its own manifest's."""
        found = self._files.get(url, ())
        yield from ((model, file) for manifest, model, file in found if manifest is own)
        if not is_local(url):
            yield from ((model, file) for manifest, model, file in found if manifest is not own)

    def models(self, source: str, own: LockedManifest | None) -> Iterator[LockedModel]:
        """Those with this source, of the own manifest last."""
        found = self._models.get(source, ())
        yield from (model for manifest, model in found if manifest is not own)
        yield from (model for manifest, model in found if manifest is own)


@dataclass(frozen=True, eq=False, repr=False)
class Before:
    """An old lock, as one model sees it: what it has of its manifest, and of all. `is_as_declared`: the model is what
    it was when the lock was made; `is_renewed`: the model is to be asked for anew, so that nothing stays."""

    model: ModelSpec
    manifest: LockedManifest | None
    pins: OldPins
    is_as_declared: bool
    is_renewed: bool
    rule: UrlRule

    @property
    def kept(self) -> LockedModel | None:
        """What the lock has of this model, where its pins may stay."""
        old = self._old
        return old if old is not None and old.source == self.model.source and not self.is_renewed else None

    @property
    def revision(self) -> str | None:
        """The commit that the source was pinned to: of this model, else of another one with the same source."""
        if self.is_renewed or self.model.source is None:
            return None
        known = [self.kept] if self.kept is not None else []
        known += self.pins.models(self.model.source, self.manifest)
        return next((model.revision for model in known if model.revision), None)

    @property
    def license(self) -> str | None:
        """What the source said of its licence. That of a manifest which says something else by now is not known to be
        the source's."""
        return self.kept.license if self.kept is not None and self.is_as_declared else None

    @property
    def is_unsure_of_license(self) -> bool:
        """Whether the lock has a licence that may be the source's, or one that the manifest had."""
        return self.kept is not None and self.kept.license is not None and not self.is_as_declared

    @property
    def listed(self) -> frozenset[str]:
        """The names that globs, the quantisation and indexes brought when the source was last asked: what has come or
        gone there since is upstream's move, and that is followed only when it is asked for. What a merge or an edit
        brought into the lock, and nothing selects, is not among them; and where that tore a set, or made two of one, it
        is as if nothing was listed."""
        kept, model = self.kept, self.model
        if kept is None or not self.is_as_declared:
            return frozenset()
        names = frozenset(file.name for file in kept.files)
        sourced = [name for name in names.difference(model.mapped) if not model.excludes(name)]
        if lacking(model, names) or len(models_among(filter(model.is_quantised, sourced))) > 1:
            return frozenset()
        found = (name for name in sourced if matches(name, model.globs) or model.is_quantised(name))
        return named_by_indexes(model, names).union(found)

    def pinned(self, name: str, url: str, spec: FileSpec | None) -> LockedFile | None:
        """What the lock has of this URL, if digest and size are still the declared ones; whether or not it may stay."""
        path, mirrors = self.model.place(name), spec.mirrors if spec is not None else ()
        same = self.pins.files(url, self.manifest)
        # Its own entry first: two entries of one URL may be declared with different sizes and digests.
        for model, file in sorted(same, key=lambda pair: (pair[0].name, pair[1].name) != (self.model.name, name)):
            moved = replace(file, name=name, path=path, mirrors=mirrors)
            if not entry_drift("", self.model, model.revision, moved, self.rule):
                return moved
        return None

    def namesake(self, name: str) -> LockedFile | None:
        """What the lock has of this name, wherever it was."""
        return self._named.get(name)

    @cached_property
    def _old(self) -> LockedModel | None:
        return self.manifest.model(self.model.name) if self.manifest is not None else None

    @cached_property
    def _named(self) -> Mapping[str, LockedFile]:
        """The files that the lock has of this model, by name; of two the first."""
        return {file.name: file for file in reversed(self._old.files)} if self._old is not None else {}

"""Which files a manifest wants, and where they are: its names and globs held against what its sources have.

A model is at one revision of its source: that of the old lock as long as it may stay, and then the source is listed at
that revision, wherever it has moved. What is pinned already is not asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from gemmalock.drift import entry_drift, lacking, named_by_indexes
from gemmalock.errors import FileError
from gemmalock.lockfile import (
    Lock,
    LockedFile,
    LockedManifest,
    LockedModel,
    at_revision,
    file_in_repository,
    in_repository,
    is_declared,
)
from gemmalock.missing import (
    gap_errors,
    is_not_there,
    lacks_shards,
    many_models,
    matches_nothing,
    no_such_quantisation,
    undeclared_shards,
)
from gemmalock.paths import matches
from gemmalock.pinning import Asker, Pinned, Unlocked, Wish
from gemmalock.ports import Listing, Probe
from gemmalock.sets import gaps, is_index, may_be_named_by, models_among, shards_of
from gemmalock.spec import FileSpec, Manifest, ModelSpec, is_local


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model with the files that are to be pinned, and what failed before they could be asked for."""

    spec: ModelSpec
    revision: str | None
    license: str | None
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
            license=self.license,
            tags=tuple(sorted(self.spec.tags)),
        )


def wanted_of(path: str, manifest: Manifest, old: Lock | None, wish: Wish, asker: Asker) -> list[Wanted]:
    """The models of the manifest at `path`; their sources are asked for what their globs match."""
    before = old.manifest(path) if old is not None else None
    is_as_declared = before is not None and before.declared == manifest.declared
    others = tuple(each for each in old.manifests if each is not before) if old is not None else ()
    return [_Wanting(path, model, before, others, wish, asker, is_as_declared).wanted() for model in manifest.models]


@dataclass
class _Wanting:
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
    #: What the source was at when it was listed, and what it says of its licence and its files.
    revision: str | None = None
    license: str | None = None
    probes: Mapping[str, Probe] = field(default_factory=dict)
    listing: Listing | None = None
    #: Names that are wanted and cannot be had: they have failed.
    absent: set[str] = field(default_factory=set)

    def wanted(self) -> Wanted:
        kept = self._kept
        self.revision = self._revision_before(kept)
        self.license = kept.license if kept is not None else None
        listed = self._listed_before(kept) if kept is not None and self.is_as_declared else frozenset[str]()
        names = self._names(listed)
        declared = [file for spec in self.model.files if (file := self._declared(spec)) is not None]
        if names is not None:
            names |= self._named_by_indexes(names, listed)
            self._check_sets(names, declared)
        files = [self._unlocked(name, self._url_of(name), None) for name in sorted(names or ())]
        license = self.model.license or self.license
        return Wanted(self.model, self.revision, license, (*files, *declared), tuple(self.failures))

    @property
    def _old(self) -> LockedModel | None:
        """What the old lock has of this model."""
        return self.before.model(self.model.name) if self.before is not None else None

    @property
    def _kept(self) -> LockedModel | None:
        """The same where its pins may stay."""
        old = self._old
        stays = old is not None and old.source == self.model.source and not self.wish.renews(self._id)
        return old if stays else None

    def _revision_before(self, old: LockedModel | None) -> str | None:
        """The commit that the source was pinned to: of this model, else of another one with the same source."""
        if self.wish.renews(self._id) or self.model.source is None:
            return None
        before = (*self.others, *((self.before,) if self.before is not None else ()))
        shared = (model for manifest in before for model in manifest.models if model.source == self.model.source)
        return next((model.revision for model in (old, *shared) if model is not None and model.revision), None)

    def _listed_before(self, old: LockedModel) -> frozenset[str]:
        """The names that globs, the quantisation and indexes brought when the source was last asked: what has come or
        gone there since is upstream's move, and that is followed only when it is asked for. What a merge or an edit
        brought into the lock, and nothing selects, is not among them; and where that tore a set, or made two of one, it
        is as if nothing was listed."""
        names = frozenset(file.name for file in old.files)
        sourced = names.difference(self._mapped)
        if lacking(self.model, names) or len(models_among(filter(self._is_quantised, sourced))) > 1:
            return frozenset()
        found = (name for name in sourced if self._selects(self.model.globs, name) or self._is_quantised(name))
        return named_by_indexes(self.model, names).union(found)

    def _names(self, listed: frozenset[str]) -> set[str] | None:
        """The names inside the source that the patterns and the quantisation select, None where it would not say. One
        of these that selects some of those that were `listed` before means these; for the others the source is
        asked."""
        model = self.model
        names = {name for name in (*model.names, *listed) if not model.excludes(name)}
        unlisted = [glob for glob in model.globs if not any(self._selects((glob,), name) for name in listed)]
        is_unquantised = model.quant is not None and not any(map(self._is_quantised, listed))
        if not unlisted and not is_unquantised and not self._has_to_be_listed(names):
            return names
        assert model.source is not None
        try:
            listing = self._list()
        except FileError as error:
            # Where only names were to be placed, it is these files that cannot be had.
            for name in ("",) if unlisted or is_unquantised else sorted(names):
                self._fail(name, model.source, error)
            return None
        if is_unquantised:
            names |= self._quantised(listing)
        return self._found(listing, names, unlisted)

    def _has_to_be_listed(self, names: set[str]) -> bool:
        """Whether a source has to say what it is at before the URLs of these names can be told; or whether one question
        to a repository tells of all those that are not pinned."""
        source, rule = self.model.source, self.asker.source_url
        if source is None or not names:
            return False
        if self.revision is None:
            return any(rule(source, None, name) is None for name in names)
        if not in_repository(source):
            return False
        return self._kept is None or any(self._pinned(name, self._url_of(name), None) is None for name in names)

    def _found(self, listing: Listing, names: set[str], globs: Iterable[str]) -> set[str]:
        """Those of the names that are there, and what the globs select; the others have failed."""
        source = self.model.source
        assert source is not None
        for glob in globs:
            matched = {name for name in listing.names if self._selects((glob,), name)}
            if not matched:
                self._fail(glob, glob, matches_nothing(glob, source, listing.names))
            names |= matched
        # A source of no revision, as a folder, may have more than it lists.
        missing = names.difference(listing.names) if listing.revision is not None else set()
        for name in sorted(missing):
            self._fail(name, name, is_not_there(name, source, listing.names))
        self.absent |= missing
        return names - missing

    def _quantised(self, listing: Listing) -> set[str]:
        """The files of the quantisation that is wanted: of one model, or it has failed."""
        names = {name for name in listing.names if self._is_quantised(name)}
        error = many_models(self.model, names) if names else no_such_quantisation(self.model, listing.names)
        if error is not None:
            self._fail(self.model.quant or "", self.model.source or "", error)
        return names

    def _list(self) -> Listing:
        """Everything in the source, at the revision that it is pinned to, else where it is now."""
        if self.listing is None:
            assert self.model.source is not None
            self.listing = self.asker.list(self._id, at_revision(self.model.source, self.revision))
            self.revision = self.listing.revision or self.revision
            self.license, self.probes = self.listing.license, self.listing.probes
        return self.listing

    def _there(self) -> tuple[str, ...] | None:
        """What the source has; None where it would not say, so that each file has to be asked for."""
        try:
            return self._list().names if self.model.source is not None else None
        except FileError:
            return None

    def _named_by_indexes(self, names: set[str], listed: frozenset[str]) -> set[str]:
        """The shards that the indexes among these names of the source name, as far as they were not listed before."""
        found: set[str] = set()
        for index in sorted(filter(is_index, names)):
            if any(may_be_named_by(index, name) for name in listed):
                continue
            there = self._there()
            shards = self._shards_of(self._unlocked(index, self._url_of(index), None)).difference(self._mapped)
            lost, error = lacks_shards(self.model, index, shards, there)
            if error is not None:
                self._fail(index, index, error)
            self.absent |= lost
            found |= shards - lost
        return found

    def _shards_of(self, index: Unlocked) -> frozenset[str]:
        """The names in the text of an index; none where that cannot be had, which has failed."""
        try:
            return frozenset(shards_of(self.asker.text(index), index.name))
        except FileError as error:
            self._fail(index.name, index.url, error)
            return frozenset()

    def _check_sets(self, names: set[str], declared: Iterable[Unlocked]) -> None:
        """Whether the sets of the model are whole: what is missing has failed. An index declared by URL is held against
        its shards only where some are declared too, and brings none."""
        known = names | self._mapped | self.absent
        for file in declared:
            stays = file.pinned is not None and self.is_as_declared
            if is_index(file.name) and not stays and any(may_be_named_by(file.name, name) for name in known):
                shards = self._shards_of(file)
                if (error := undeclared_shards(file.name, shards, known)) is not None:
                    self._fail(file.name, file.url, error)
                known |= shards
        if gaps(known):
            for name, error in gap_errors(self.model, known, self._there()):
                self._fail(name, name, error)

    def _url_of(self, name: str) -> str:
        """The URL of a file of the source; for a scheme that has no rule, the source itself."""
        source = self.model.source
        assert source is not None
        return self.asker.source_url(source, self.revision, name) or source

    def _selects(self, patterns: tuple[str, ...], name: str) -> bool:
        return matches(name, patterns) and not self.model.excludes(name)

    def _is_quantised(self, name: str) -> bool:
        return self.model.is_quantised(name) and not self.model.excludes(name)

    @property
    def _mapped(self) -> frozenset[str]:
        """The names of the files that are declared by URL."""
        return frozenset(spec.path for spec in self.model.files)

    def _declared(self, spec: FileSpec) -> Unlocked | None:
        """A file that is declared by its URL, at the commit that is pinned where that is in a repository, else at the
        one that its ref is at. None where it is not there."""
        place = file_in_repository(spec.url)
        if place is None:
            return self._unlocked(spec.path, spec.url, spec)
        source, name = place
        before = self._namesake(spec.path)
        stays = before is not None and is_declared(before.url, spec.url) and not self.wish.renews(self._id)
        if before is not None and stays and self._pinned(spec.path, before.url, spec) is not None:
            return self._unlocked(spec.path, before.url, spec)
        try:
            listing = self.asker.list(self._id, source)
            if name not in listing.names:
                raise is_not_there(name, source, listing.names)
        except FileError as error:
            self._fail(spec.path, spec.url, error)
            return None
        url = self.asker.source_url(source, listing.revision, name) or spec.url
        return replace(self._unlocked(spec.path, url, spec), told=listing.probes.get(name))

    def _unlocked(self, name: str, url: str, spec: FileSpec | None) -> Unlocked:
        before = self._pinned(name, url, spec)
        return Unlocked(
            id=f"{self._id}::{name}",
            name=name,
            path=self.model.place(name),
            url=url,
            spec=spec,
            pinned=None if self.wish.renews(self._id) else before,
            mirrors=spec.mirrors if spec is not None else (),
            before=before or self._namesake(name),
            source=self.model.source if spec is None else None,
            told=self.probes.get(name) if spec is None else None,
        )

    def _namesake(self, name: str) -> LockedFile | None:
        """What the old lock has of this name, wherever it was."""
        old = self._old
        return next((file for file in old.files if file.name == name), None) if old is not None else None

    def _pinned(self, name: str, url: str, spec: FileSpec | None) -> LockedFile | None:
        """What the old lock has of this URL, if digest and size are still the declared ones."""
        path, mirrors = self.model.place(name), spec.mirrors if spec is not None else ()
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

    def _fail(self, name: str, url: str, error: FileError) -> None:
        nameless = Unlocked(f"{self._id}::{name}".removesuffix("::"), url, "", url, None, None)
        self.failures.append(Pinned(nameless, None, asked=True, error=error))

    @property
    def _id(self) -> str:
        return f"{self.path}::{self.model.name}"

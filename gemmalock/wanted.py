"""Which files a manifest wants, and where they are: its names and globs held against what its sources have.

A model is at one revision of its source: that of the old lock as long as it may stay (`before` says so), and then the
source is listed at that revision, wherever it has moved. What is pinned already is not asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gemmalock.before import Before, OldPins
from gemmalock.errors import FileError
from gemmalock.lockfile import (
    Lock,
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
from gemmalock.sets import gaps, is_index, may_be_named_by, shards_of
from gemmalock.spec import FileSpec, Manifest, ModelSpec


class Wanted(NamedTuple):
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


def wanted_of(manifests: Mapping[str, Manifest], old: Lock | None, wish: Wish, asker: Asker) -> dict[str, list[Wanted]]:
    """The models of each manifest (path → manifest), in the order of the paths; their sources are asked for what their
    globs match."""
    pins = OldPins(old.manifests if old is not None else ())
    return {path: _wanted_of(path, manifest, pins, wish, asker) for path, manifest in sorted(manifests.items())}


def _wanted_of(path: str, manifest: Manifest, pins: OldPins, wish: Wish, asker: Asker) -> list[Wanted]:
    locked = pins.manifests.get(path)
    meant = _meant(locked, manifest, asker)
    meanings = {model.name: model for model in meant.models} if meant is not None else {}
    wanted = []
    for model in manifest.models:
        is_renewed = wish.renews(f"{path}::{model.name}")
        before = Before(model, locked, pins, meanings.get(model.name) == model, is_renewed, asker.source_url)
        wanted.append(_Wanting(path, model, before, asker).wanted())
    return wanted


def _meant(locked: LockedManifest | None, manifest: Manifest, asker: Asker) -> Manifest | None:
    """What the manifest said when the old lock was made; None where nobody remembers."""
    if locked is None or locked.declared == manifest.declared:
        return None if locked is None else manifest
    meant = asker.meant(locked.declared)
    return meant if meant is not None and meant.declared == locked.declared else None


@dataclass(eq=False, repr=False)
class _Wanting:
    path: str
    model: ModelSpec
    before: Before
    asker: Asker
    failures: list[Pinned] = field(default_factory=list)
    #: What the source was at when it was listed, and what it says of its licence and its files.
    revision: str | None = None
    license: str | None = None
    probes: Mapping[str, Probe] = field(default_factory=dict)
    listing: Listing | None = None
    #: Names that are wanted and cannot be had: they have failed.
    absent: set[str] = field(default_factory=set)

    def wanted(self) -> Wanted:
        listed = self.before.listed
        self.revision, self.license = self.before.revision, self.before.license
        names = self._names(listed)
        declared = [file for spec in self.model.files if (file := self._declared(spec)) is not None]
        if names is not None:
            names |= self._named_by_indexes(names, listed)
            self._check_sets(names, declared)
        files = [self._unlocked(name, self._url_of(name), None) for name in sorted(names or ())]
        license = self.model.license or self.license
        return Wanted(self.model, self.revision, license, (*files, *declared), tuple(self.failures))

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
        if self.before.kept is None or (self.model.license is None and self.before.is_unsure_of_license):
            return True
        return any(self.before.pinned(name, self._url_of(name), None) is None for name in names)

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
            source, is_pinned = at_revision(self.model.source, self.revision), self.revision is not None
            self.listing = self.asker.list(self._id, source, is_pinned=is_pinned)
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
            shards = self._shards_of(self._unlocked(index, self._url_of(index), None)).difference(self.model.mapped)
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
        known = names | self.model.mapped | self.absent
        # The same bytes beside the same names: they were held against each other when the old lock was made.
        was_held = self.before.kept is not None and {file.name for file in self.before.kept.files} == known
        for file in declared:
            stays = file.pinned is not None and was_held
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

    def _declared(self, spec: FileSpec) -> Unlocked | None:
        """A file that is declared by its URL, at the commit that is pinned where that is in a repository, else at the
        one that its ref is at. None where it is not there."""
        place = file_in_repository(spec.url)
        if place is None:
            return self._unlocked(spec.path, spec.url, spec)
        source, name = place
        before = self.before.namesake(spec.path)
        stays = before is not None and is_declared(before.url, spec.url) and not self.before.is_renewed
        if before is not None and stays and self.before.pinned(spec.path, before.url, spec) is not None:
            return self._unlocked(spec.path, before.url, spec)
        try:
            listing = self.asker.list(self._id, source)
            if name not in listing.names:
                raise is_not_there(name, source, listing.names)
        except FileError as error:
            self._fail(spec.path, spec.url, error)
            return None
        url = self.asker.source_url(source, listing.revision, name) or spec.url
        return self._unlocked(spec.path, url, spec)._replace(told=listing.probes.get(name))

    def _unlocked(self, name: str, url: str, spec: FileSpec | None) -> Unlocked:
        before = self.before.pinned(name, url, spec)
        return Unlocked(
            id=f"{self._id}::{name}",
            name=name,
            path=self.model.place(name),
            url=url,
            spec=spec,
            pinned=None if self.before.is_renewed else before,
            mirrors=spec.mirrors if spec is not None else (),
            before=before or self.before.namesake(name),
            source=self.model.source if spec is None else None,
            told=self.probes.get(name) if spec is None else None,
        )

    def _fail(self, name: str, url: str, error: FileError) -> None:
        nameless = Unlocked(f"{self._id}::{name}".removesuffix("::"), url, "", url, None, None)
        self.failures.append(Pinned(nameless, None, asked=True, error=error))

    @property
    def _id(self) -> str:
        return f"{self.path}::{self.model.name}"

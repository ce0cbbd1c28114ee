"""Which files a manifest wants, and where they are: its names and globs held against what its sources have.

A model is at one revision of its source: that of the old lock as long as it may stay, and then the source is listed at
that revision, wherever it has moved. What is pinned already is not asked for.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from gemmalock.drift import entry_drift
from gemmalock.errors import FileError, NotFound
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
from gemmalock.paths import matches
from gemmalock.pinning import Asker, Pinned, Unlocked, Wish
from gemmalock.ports import Listing, Probe
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

    def wanted(self) -> Wanted:
        kept = self._kept
        self.revision = self._revision_before(kept)
        self.license = kept.license if kept is not None else None
        listed = self._listed_before(kept) if kept is not None and self.is_as_declared else ()
        names = self._names(listed)
        files = [self._unlocked(name, self._url_of(name), None) for name in names]
        files += [file for spec in self.model.files if (file := self._declared(spec)) is not None]
        license = self.model.license or self.license
        return Wanted(self.model, self.revision, license, tuple(files), tuple(self.failures))

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
        if not unlisted and not self._has_to_be_listed(names):
            return tuple(sorted(names))
        assert model.source is not None
        try:
            listing = self.asker.list(self._id, at_revision(model.source, self.revision))
        except FileError as error:
            # Where only names were to be placed, it is these files that cannot be had.
            for name in ("",) if unlisted else sorted(names):
                self._fail(name, model.source, error)
            return ()
        return tuple(sorted(self._found(listing, names, unlisted)))

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
        self.revision = listing.revision or self.revision
        self.license, self.probes = listing.license, listing.probes
        for glob in globs:
            matched = {name for name in listing.names if self._selects((glob,), name)}
            if not matched:
                self._fail(glob, glob, _matches_nothing(glob, source, listing.names))
            names |= matched
        # A source of no revision, as a folder, may have more than it lists.
        missing = names.difference(listing.names) if listing.revision is not None else set()
        for name in sorted(missing):
            self._fail(name, name, _is_not_there(name, source, listing.names))
        return names - missing

    def _url_of(self, name: str) -> str:
        """The URL of a file of the source; for a scheme that has no rule, the source itself."""
        source = self.model.source
        assert source is not None
        return self.asker.source_url(source, self.revision, name) or source

    def _selects(self, patterns: tuple[str, ...], name: str) -> bool:
        return matches(name, patterns) and not matches(name, self.model.exclude)

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
                raise _is_not_there(name, source, listing.names)
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


def _matches_nothing(glob: str, source: str, names: tuple[str, ...]) -> NotFound:
    shown = ", ".join(f"`{name}`" for name in names[:20])
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    there = f"there is {shown}{more}" if names else "it is empty"
    message = f"`{glob}` matches nothing in `{source}`; {there}"
    hint = "change `files` or `exclude` in the manifest"
    if is_local(source):
        hint = f"{hint}; symbolic links that lead out of the folder are left out"
    return NotFound(message, hint=hint)


def _is_not_there(name: str, source: str, names: tuple[str, ...]) -> NotFound:
    near = difflib.get_close_matches(name, names, n=3) or [each for each in names if each.endswith(f"/{name}")][:3]
    there = near or names[:20]
    shown = ", ".join(f"`{each}`" for each in there)
    more = f" and {len(names) - len(there)} more" if not near and len(names) > len(there) else ""
    hint = f"did you mean {shown}?" if near else f"there is {shown}{more}" if names else "it is empty"
    return NotFound(f"`{name}` is not in `{source}`", hint=hint)

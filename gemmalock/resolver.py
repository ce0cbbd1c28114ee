"""Manifests and what the sources say → a lock. It asks; it writes no lock and touches no root.

What an old lock pinned stays pinned as long as it follows from the manifest: only new and changed entries are asked
for, unless an upgrade is wanted. A file that fails does not stop the others, but then there is no lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from gemmalock.errors import PolicyRefused
from gemmalock.lockfile import Lock, LockedManifest, LockedModel
from gemmalock.paths import clashes
from gemmalock.pinning import Asker, Pinned, Unlocked, Wish
from gemmalock.spec import Manifest, is_local
from gemmalock.wanted import Wanted, wanted_of


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
    wanted = wanted_of(manifests, old, wish, asker)
    if split := _at_many_revisions(wanted):
        # A source that had to be listed has moved since it was pinned: all who share it move along.
        wish = replace(wish, upgrade_models=wish.upgrade_models | split)
        wanted = wanted_of(manifests, old, wish, asker)
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


def _at_many_revisions(wanted: Mapping[str, list[Wanted]]) -> frozenset[str]:
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

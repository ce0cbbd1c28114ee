"""Pruning as a phase of its own: seen before anything is changed, done only after all went well."""

from __future__ import annotations

import os
from collections.abc import Collection, Container
from dataclasses import dataclass, replace
from pathlib import Path

from gemmalock.app.papers import Papers
from gemmalock.app.wiring import Workshop
from gemmalock.errors import DiskError, GemmalockError, RunRefused
from gemmalock.lockfile import LockedManifest
from gemmalock.machine import NOT_REACHED, PruneResult, Stray
from gemmalock.outcome import ExitCode, Pruned, StrayKept

#: Why strays stay where the lock lists no file: an emptied manifest is more often a mistake than a wish.
_EMPTY = "the lock lists no file; `--allow-empty` prunes it all the same"
#: Why they stay in runs that do not prune.
NOT_WANTED = "`--no-prune` was given"
SELECTED = "a run with a selection prunes nothing"
_NOT_WELL = {
    ExitCode.FAILED: "a run in which something failed prunes nothing",
    ExitCode.INTERRUPTED: "an interrupted run prunes nothing",
}


@dataclass(frozen=True, slots=True)
class RootStrays:
    """The strays of one root; `prefix` is the root's path from the workspace root. `failure`: why nobody could look."""

    manifest_path: str
    prefix: str
    strays: tuple[Stray, ...]
    failure: DiskError | None = None

    @property
    def unseen(self) -> str:
        """Why nobody could look, in words; empty where somebody did."""
        return "" if self.failure is None else self.failure.message

    def all_kept(self, why: str) -> RootStrays:
        """The same, and none of them is to go."""
        return replace(self, strays=tuple(replace(stray, keep=stray.keep or why) for stray in self.strays))

    def kept(self) -> tuple[StrayKept, ...]:
        """Those that are not to go, or the root itself where nobody could look; from the workspace root."""
        if self.unseen:
            return (StrayKept(self.prefix, self.unseen),)
        kept = [(stray.path, stray.keep) for stray in self.strays if stray.keep is not None]
        return tuple(StrayKept(f"{self.prefix}/{path}", why) for path, why in kept)


@dataclass(frozen=True, slots=True)
class Pruning:
    """What one look says is to be pruned, root by root. `wanted`: whether the run was to prune at all."""

    roots: tuple[RootStrays, ...] = ()
    wanted: bool = True

    @classmethod
    def of(
        cls, workshop: Workshop, manifests: Collection[LockedManifest], *, adopt: bool, allow_empty: bool = False
    ) -> Pruning:
        """Look at the roots of these manifests; where the lock lists no file, all is kept (unless `allow_empty`).

        Raises RunRefused where pruning would be a mistake: a root that has files but no ledger (unless `adopt`), or
        more strays than `max-delete` allows."""
        pruning = cls(tuple(_strays_of(workshop, manifest) for manifest in manifests))
        if not allow_empty and not any(True for _ in workshop.lock.nodes()):
            return pruning.all_kept(_EMPTY)
        for root in pruning.roots:
            files = [stray for stray in root.strays if stray.keep is None and not stray.is_folder]
            if files and not adopt and not workshop.root(root.manifest_path).has_ledger():
                raise RunRefused(
                    f"`{root.prefix}` has {len(files)} file(s) that the lock does not list, "
                    f"such as `{files[0].path}`, and no ledger says that gemmalock put them there",
                    hint="`--adopt` moves them to the trash; `sync --no-prune` leaves them",
                )
        most = workshop.settings.max_delete
        if most is not None and pruning.count > most:
            raise RunRefused(
                f"{pruning.count} strays would be pruned, and `max-delete` is {most}",
                hint="`gemmalock sync --no-prune --dry-run -v` shows them; raise `max-delete`, or use `--no-prune`",
            )
        return pruning

    @classmethod
    def unwanted(cls, workshop: Workshop, why: str, manifests: Container[str] | None = None) -> Pruning:
        """The same look for a run that keeps every stray, at the roots of these manifests (None: at all): no mistake
        is to be made, so nothing is refused."""
        looked_at = [each for each in workshop.lock.manifests if manifests is None or each.path in manifests]
        return cls(tuple(_strays_of(workshop, manifest).all_kept(why) for manifest in looked_at), wanted=False)

    def all_kept(self, why: str) -> Pruning:
        """The same, and nothing is to go."""
        return replace(self, roots=tuple(root.all_kept(why) for root in self.roots))

    def after(self, code: ExitCode) -> Pruning:
        """What is still to be pruned after a run that came to this exit code."""
        return self if code is ExitCode.OK else self.all_kept(_NOT_WELL.get(code, _NOT_WELL[ExitCode.FAILED]))

    @property
    def failure(self) -> DiskError | None:
        """What kept somebody from looking into a root."""
        return next((root.failure for root in self.roots if root.failure is not None), None)

    @property
    def count(self) -> int:
        """How many strays would go."""
        return sum(1 for root in self.roots for stray in root.strays if stray.keep is None)

    def preview(self, workshop: Workshop) -> PruneResult:
        """What pruning would do. The store is looked at only where sync put something here."""
        return PruneResult(
            tuple(
                Pruned(
                    f"{root.prefix}/{stray.path}",
                    stray.size,
                    stray.goes_to(lambda sha256: workshop.store.holds(sha256)),
                )
                for root in self.roots
                for stray in root.strays
                if stray.keep is None
            ),
            tuple(stray for root in self.roots for stray in root.kept()),
        )


def prune_roots(workshop: Workshop, papers: Papers, pruning: Pruning) -> PruneResult:
    """Take out what was seen, unless the lock on disk has changed since this run read or wrote it. What goes wrong on
    the way is in the result, beside what was done until then, and ends it."""
    if not pruning.count:
        return pruning.preview(workshop)
    try:
        if not papers.lock_stands():
            return pruning.all_kept("the lock changed during the run: not pruning").preview(workshop)
    except GemmalockError as error:
        return replace(pruning.all_kept(error.message).preview(workshop), error=error)
    done = PruneResult()
    for seen in pruning.roots:
        one = _prune_root(workshop, seen) if done.error is None else PruneResult((), seen.all_kept(NOT_REACHED).kept())
        done = PruneResult((*done.pruned, *one.pruned), (*done.kept, *one.kept), done.error or one.error)
    return done


def _prune_root(workshop: Workshop, seen: RootStrays) -> PruneResult:
    """Prune one root and save its ledger; paths are from the workspace root."""
    if seen.unseen:
        return PruneResult((), seen.kept())
    root = workshop.root(seen.manifest_path)
    try:
        result = root.prune(seen.strays, workshop.store.holds)
    except GemmalockError as error:
        return PruneResult((), seen.all_kept(error.message).kept(), error)
    ended = result.error
    try:
        root.save()
    except GemmalockError as error:
        ended = ended or error
    return PruneResult(
        tuple(replace(gone, path=f"{seen.prefix}/{gone.path}") for gone in result.pruned),
        tuple(replace(stray, path=f"{seen.prefix}/{stray.path}") for stray in result.kept),
        ended,
    )


def root_warnings(workshop: Workshop) -> tuple[str, ...]:
    """What a person should know of the file systems of the roots."""
    return tuple(warning for _, root in workshop.roots() for warning in root.warnings)


def pruning_warnings(pruning: Pruning) -> tuple[str, ...]:
    """The roots in which nobody could look for strays, and those that keep theirs because the lock lists no file; of a
    run that was not to prune there is nothing to warn."""
    if not pruning.wanted:
        return ()
    kept = sum(1 for root in pruning.roots for stray in root.strays if stray.keep == _EMPTY)
    unseen = (f"not pruning `{root.prefix}`: {root.unseen}" for root in pruning.roots if root.unseen)
    empty = (f"not pruning {kept} stray(s): the lock lists no file; `--allow-empty` prunes them",)
    return (*unseen, *(empty if kept else ()))


def _strays_of(workshop: Workshop, manifest: LockedManifest) -> RootStrays:
    locked = frozenset(file.path for _, file in manifest.files())
    root = workshop.root_of(manifest)
    try:
        strays = root.strays(locked)
    except DiskError as error:
        # A failed look never becomes a deletion, nor hides what is known of the files themselves.
        return RootStrays(manifest.path, manifest.root_path, (), error)
    return RootStrays(manifest.path, manifest.root_path, tuple(_spared(workshop, root.folder, one) for one in strays))


def _spared(workshop: Workshop, root: Path, stray: Stray) -> Stray:
    """The stray, kept where it is of a store that somebody put into the root."""
    if workshop.settings.store is None or stray.keep is not None:
        return stray
    store, path = Path(os.path.abspath(workshop.store_folder)), Path(os.path.abspath(root / stray.path))
    inside = path == store or store in path.parents or path in store.parents
    return replace(stray, keep="the store is here") if inside else stray

"""`sync`: lock where needed, look, plan, act, prune, report."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gemmalock.app.affording import affordable
from gemmalock.app.ending import Ending
from gemmalock.app.entering import enter_roots, leave_roots
from gemmalock.app.failing import note_outcomes
from gemmalock.app.foretelling import forbidden, not_begun, would_be
from gemmalock.app.leftover import FormerRoot, former_roots, leftover_roots
from gemmalock.app.papers import Papers, memo_root
from gemmalock.app.pruning import NOT_WANTED, SELECTED, Pruning, pruning_warnings, root_warnings
from gemmalock.app.ready import Mode, NotLocked, Ready, ready_lock
from gemmalock.app.wiring import Workshop
from gemmalock.errors import Busy, GemmalockError, RunRefused, UsageError
from gemmalock.executor import execute
from gemmalock.job import Crew
from gemmalock.lockfile import LOCK_NAME, Lock, LockedManifest, Node
from gemmalock.looking import look, read_through
from gemmalock.machine import PruneResult
from gemmalock.memo import forget, remember
from gemmalock.outcome import ExitCode, FileOutcome, LockChange, Outcome, Report, exit_code_of
from gemmalock.plan import Plan, Snapshot, plan
from gemmalock.selection import Selection
from gemmalock.stopping import Tolerance

if TYPE_CHECKING:
    from gemmalock.resolver import Resolution


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """How to sync: see the flags of `gemmalock sync`."""

    locked: bool = False
    frozen: bool = False
    check: bool = False
    dry_run: bool = False
    verify: bool = False
    no_prune: bool = False
    adopt: bool = False
    allow_empty: bool = False
    exitfirst: bool = False
    maxfail: int = 0

    def __post_init__(self) -> None:
        if self.locked and self.frozen:
            raise UsageError(
                "`--locked` and `--frozen` exclude each other", hint="`--frozen` does not read the manifest"
            )

    @property
    def most_failures(self) -> int | None:
        """How many failures it takes until nothing more is begun; None: any number."""
        return 1 if self.exitfirst else self.maxfail or None

    @property
    def acts(self) -> bool:
        """Whether anything may be changed."""
        return not (self.check or self.dry_run)

    @property
    def mode(self) -> Mode:
        """How the run comes by its lock."""
        if self.frozen:
            return Mode.FROZEN
        if self.locked or self.check:
            return Mode.LOCKED
        return Mode.DRY if self.dry_run else Mode.DEFAULT


@dataclass
class Sync:
    """One run of `sync`."""

    workshop: Workshop
    papers: Papers
    selection: Selection
    options: SyncOptions
    #: The node IDs of what goes first.
    first: frozenset[str] = frozenset()

    def run(self) -> Report:
        """Raises InputError, LockOutdated, LockMissing, RunRefused; what happens to files is in the report."""
        return self.workshop.ended(self._run())

    def _run(self) -> Report:
        began = time.monotonic()
        try:
            ready = ready_lock(self.workshop, self.papers, self.options.mode)
        except NotLocked as error:
            from gemmalock.app.locking import outcomes_of

            files = outcomes_of(error.resolution, self.papers.roots)
            return Report("sync", ExitCode.FAILED, files, lock=LockChange(LOCK_NAME, False), seconds=_since(began))
        self.workshop.lock = ready.lock
        try:
            report = self._sync(ready)
        finally:
            leave_roots(self.workshop)
        return replace(report, seconds=_since(began))

    def _sync(self, ready: Ready) -> Report:
        pruning = self._pruning(ready)
        changed = False
        if self.options.acts and self.options.mode is Mode.DEFAULT:
            changed = self._write_lock(ready.lock)
            if self.workshop.lock != ready.lock:
                ready = replace(ready, lock=self.workshop.lock)
                pruning = self._pruning(ready)
        nodes = self.selection.of(ready.lock.nodes())
        planned = plan(nodes, self._look(nodes))
        self.workshop.reporter.planned(planned)
        if pruning.count or not planned.is_noop:
            self.workshop.plugging.call("gemmalock_collected", folder=self.workshop.project.folder, nodes=nodes)
        if not self.options.acts:
            return self._planned_report(ready, planned, pruning)
        return self._ended(ready, Ending(self.workshop, self.papers, self._carried_out(planned)), pruning, changed)

    def _ended(self, ready: Ready, ending: Ending, pruning: Pruning, changed: bool) -> Report:
        """What is done once the files are where they are, and the report. `changed`: the lock was written before."""
        ending.save()
        self.papers.remember()
        note_outcomes(self.workshop, ending.outcomes)
        unknown = ending.remember_links()
        if self.options.mode is Mode.DEFAULT:
            changed = ending.learn() or changed
        pruned = ending.prune(pruning)
        fresh = not (ready.known or self.options.frozen)
        untidy = ending.tidy(ready.lock, due=changed or bool(pruned.pruned) or fresh)
        former = self._former(ready)
        settled = not former and self._settled(ready, ending, pruning)
        if settled:
            self._remember(known=ready.known and not changed)
        report = Report(
            "sync",
            ending.code,
            files=ending.outcomes,
            pruned=pruned.pruned,
            strays_kept=pruned.kept,
            lock=LockChange(LOCK_NAME, changed),
            errors=ending.notes,
            warnings=(
                *self._warnings(ready, self.selection.of(ready.lock.nodes())),
                *(root.told for root in former),
                *_not_pruned(ending.code, pruning, pruned),
                *pruning_warnings(pruning),
                *untidy,
                *unknown,
                *root_warnings(self.workshop),
                *self.workshop.warnings,
            ),
        )
        if settled and not (report.warnings or report.strays_kept) and self._is_plain:
            from gemmalock.app.sealing import seal_run

            seal_run(self.workshop, self.papers)
        return report

    def _settled(self, ready: Ready, ending: Ending, pruning: Pruning) -> bool:
        """Whether the next run may take for granted that what this one went by agrees, and that nothing is left over.
        All went well, and if it was not so before, this run has looked everywhere and taken out what there was."""
        if ending.code is not ExitCode.OK or not ending.is_tidy:
            return False
        if ready.known or (pruning.wanted and not self.selection.within):
            return True
        return not leftover_roots(self.workshop)

    @property
    def _is_plain(self) -> bool:
        """Whether this run is about everything, and said what the next one without any flag would have to find out."""
        whole = not (self.selection.given or self.selection.within)
        return whole and self.options in (SyncOptions(), SyncOptions(locked=True))

    def _look(self, nodes: tuple[Node, ...]) -> Snapshot:
        if self.options.verify:
            return read_through(nodes, self.workshop, self.workshop.reading)
        return look(nodes, self.workshop)

    def _leftover(self, ready: Ready) -> tuple[LockedManifest, ...]:
        """The roots of manifests that left the workspace; looked for until a run has seen that there are none."""
        if ready.known or self.selection.within:
            return ()
        return leftover_roots(self.workshop)

    def _former(self, ready: Ready) -> tuple[FormerRoot, ...]:
        """The roots that manifests had before; looked for until a run has seen that there are none. Should one become
        the root again, what was proved there is proved no more."""
        if ready.known:
            return ()
        former = former_roots(self.workshop)
        for root in former if self.options.acts else ():
            forget(root.folder)
        return former

    def _pruning(self, ready: Ready) -> Pruning:
        """What is to become of the strays. Raises RunRefused before anything is changed, where pruning would be a
        mistake. A selection has its own roots looked at, no others."""
        options, workshop = self.options, self.workshop
        if self.selection.given:
            nodes = self.selection.of(workshop.lock.nodes())
            return Pruning.unwanted(workshop, SELECTED, {node.manifest.path for node in nodes})
        manifests = self.selection.manifests(workshop.lock)
        if options.no_prune:
            return Pruning.unwanted(workshop, NOT_WANTED, {each.path for each in manifests})
        return Pruning.of(
            workshop, (*manifests, *self._leftover(ready)), adopt=options.adopt, allow_empty=options.allow_empty
        )

    def _carried_out(self, planned: Plan) -> tuple[FileOutcome, ...]:
        """What came of a plan. Where that is an error, what was placed until then is saved first, as far as it can be:
        the error that is told is the first one."""
        try:
            return self._carry_out(planned)
        except BaseException:
            for _, root in self.workshop.roots():
                with contextlib.suppress(GemmalockError):
                    root.save()
            raise

    def _carry_out(self, planned: Plan) -> tuple[FileOutcome, ...]:
        if planned.is_noop:
            return tuple(FileOutcome.of(file, Outcome.SKIPPED, verb="UP TO DATE") for file in planned.files)
        if stopping := forbidden(self.workshop, planned):
            return not_begun(planned, stopping)
        if any(file.has_work for file in planned.files):
            try:
                waited = enter_roots(self.workshop, planned)
            except Busy as error:
                return not_begun(planned, [(file, error) for file in planned.files if file.has_work])
            if waited:
                nodes = tuple(file.node for file in planned.files)
                planned = plan(nodes, self._look(nodes))
                self.workshop.reporter.planned(planned)
            self._remember_roots()
        settings = self.workshop.settings
        crew = Crew(
            self.workshop,
            self.workshop.reporter,
            self.workshop.stop,
            jobs=affordable(settings.jobs),
            offline=settings.offline,
            verify=self.options.verify,
            first=self.first,
            tolerance=Tolerance(self.options.most_failures),
        )
        return execute(planned, crew)

    def _planned_report(self, ready: Ready, planned: Plan, pruning: Pruning) -> Report:
        outcomes = tuple(would_be(self.workshop, file) for file in planned.files)
        code = exit_code_of(outcomes)
        pruned = pruning.preview(self.workshop)
        if self.options.check and (not planned.is_noop or pruned.pruned):
            code = ExitCode.FAILED
        return Report(
            "sync",
            code,
            files=outcomes,
            pruned=pruned.pruned,
            strays_kept=pruned.kept,
            lock=LockChange(LOCK_NAME, False),
            warnings=(
                *self._warnings(ready, self.selection.of(ready.lock.nodes())),
                *(root.told for root in self._former(ready)),
                *pruning_warnings(pruning),
            ),
            facts=(("dry_run", True),),
        )

    def _write_lock(self, lock: Lock) -> bool:
        """Write the lock; whether it was written. Where another run has locked meanwhile, its lock is the one to go by
        if it follows from the manifest; else RunRefused is raised."""
        try:
            return self.papers.write_lock(lock)
        except RunRefused:
            papers = Papers(self.papers.project, self.papers.settings)
            if papers.drifts():
                raise
            self.papers, self.workshop.lock = papers, papers.required_lock()
            return False

    def _remember(self, *, known: bool) -> None:
        """That manifests and lock agree, where that is `known` or was just proved of what stands there now."""
        if self.options.frozen or not (known or not self.papers.drifts()):
            return
        if (root := memo_root(self.workshop.lock)) is not None:
            remember(self.workshop.project.folder / root, self.papers.agreement)

    def _remember_roots(self) -> None:
        """Before anything is linked: what a root links to is never pruned from the store."""
        from gemmalock.store.pruning import Tenant

        for path, root in self.workshop.roots():
            self.workshop.store.remember_root(root.folder, Tenant(self.workshop.lock_path, path))

    def _warnings(self, ready: Ready, nodes: tuple[Node, ...]) -> tuple[str, ...]:
        told = (*ready.resolution.warnings, *_left(ready.resolution)) if ready.resolution is not None else ()
        if not (self.options.locked or self.options.frozen):
            return told
        nameless = [node.id for node in nodes if node.file.sha256 is None]
        return (*told, *(f"{name} has no digest in the lock; `gemmalock lock --hash` finds one" for name in nameless))


def _left(resolution: Resolution) -> Iterator[str]:
    """The members that are in the lock no more, a sentence each."""
    if resolution.old is None or resolution.lock is None:
        return
    for manifest in resolution.old.manifests:
        if resolution.lock.manifest(manifest.path) is None:
            count = sum(len(model.files) for model in manifest.models)
            yield f"`{manifest.path}` is no member any more: its {count} file(s) left the lock"


def _not_pruned(code: ExitCode, pruning: Pruning, result: PruneResult) -> tuple[str, ...]:
    if code is ExitCode.OK or not pruning.count or result.pruned:
        return ()
    return (f"not pruning {pruning.count} stray(s): the run did not end well",)


def _since(began: float) -> float:
    return time.monotonic() - began

"""The end of a `sync`: what is saved, learned, pruned and tidied once its files are where they are.

What goes wrong here undoes no file: it is told beside what was done.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from gemmalock.app.papers import Papers
from gemmalock.app.pruning import Pruning, prune_roots
from gemmalock.app.ready import with_digests
from gemmalock.app.wiring import Workshop
from gemmalock.errors import FileError, GemmalockError, Interrupted, LockInvalid, LockMissing, RunRefused
from gemmalock.lockfile import Lock, Node
from gemmalock.machine import PruneResult
from gemmalock.outcome import ErrorNote, ExitCode, FileOutcome, Outcome, exit_code_after, exit_code_of
from gemmalock.plan import Place


@dataclass
class Ending:
    """One run's end, after these outcomes. `errors`: what went wrong in it so far; `is_tidy`: whether there is nothing
    that the next run has to tidy up."""

    workshop: Workshop
    papers: Papers
    outcomes: tuple[FileOutcome, ...]
    errors: list[GemmalockError] = field(default_factory=list)
    is_tidy: bool = True

    @property
    def code(self) -> ExitCode:
        """The exit code so far: an interruption beats a failure."""
        return max(exit_code_of(self.outcomes), *(exit_code_after(error) for error in self.errors), ExitCode.OK)

    @property
    def notes(self) -> tuple[ErrorNote, ...]:
        """The errors of the run as a whole."""
        interrupted = any(isinstance(error, Interrupted) for error in self.errors)
        pause = () if interrupted or self.code is not ExitCode.INTERRUPTED else (_PAUSE,)
        return tuple(ErrorNote.of(error) for error in (*self.errors, *pause))

    def save(self) -> None:
        """Make what was placed outlive a power cut, and write the ledgers."""
        for _, root in self.workshop.roots():
            with self._noted():
                root.save()

    def remember_links(self) -> tuple[str, ...]:
        """Note the roots that link to the store and that it does not know: they were moved or copied since they were
        filled, and `cache prune` would take what they link to. What would not be noted, as warnings."""
        told = []
        from gemmalock.store.pruning import Tenant

        for path, root in self.workshop.roots():
            try:
                if root.saw_links and self.workshop.store.has_to_remember(root.folder):
                    self.workshop.store.remember_root(root.folder, Tenant(self.workshop.lock_path, path))
            except FileError as error:
                told.append(f"`cache prune` may take what `{root.folder}` links to: {error.message}")
        return tuple(told)

    def learn(self) -> bool:
        """Enter learned digests into the lock; whether it was written. Where another one stands there by now (another
        sync, a `git checkout`), those of its tasks that are ours are entered into that one; then nothing is pruned."""
        papers = self.papers
        with self._noted(), contextlib.suppress(LockInvalid, LockMissing, RunRefused):
            # Whoever wrote another lock meanwhile has learned the same, or the next sync will.
            if not papers.lock_stands():
                papers = Papers(self.workshop.project, self.workshop.settings)
            lock = papers.required_lock()
            taught = with_digests(lock, self.outcomes)
            return taught != lock and papers.write_lock(taught)
        return False

    def prune(self, pruning: Pruning) -> PruneResult:
        """Prune, if all went well so far; else say of every stray that it stays. What ended it on the way is an error
        beside what was done until then."""
        result = prune_roots(self.workshop, self.papers, pruning.after(self.code))
        if result.error is not None:
            self.errors.append(result.error)
        return result

    def tidy(self, lock: Lock, *, due: bool) -> tuple[str, ...]:
        """Drop the task records that are of no use any more, and empty the old trash, where that is `due` or something
        was done to a file. What would not go, as warnings: what was asked for is done."""
        due = due or any(outcome.outcome is not Outcome.SKIPPED for outcome in self.outcomes)
        if not due or exit_code_of(self.outcomes) is not ExitCode.OK:
            return ()
        self.is_tidy = False
        with self._noted():
            try:
                self.is_tidy = self._sweep(lock)
            except FileError as error:
                return (error.message,)
        return ()

    def _sweep(self, lock: Lock) -> bool:
        """Drop the records of what this lock does not name, and of what is in place without them: whoever hashed a file
        for the lock may have been killed on the way. Whether all of them went."""
        registry = self.workshop.registry
        named = frozenset(node.file.task_id for node in lock.nodes())
        begun = registry.begun(named)
        absent = {node.file.task_id for node in lock.nodes() if node.file.task_id in begun and not self._stands(node)}
        registry.sweep(self.workshop.lock_path, named - (begun - absent))
        for _, root in self.workshop.roots():
            if root.folder.is_dir():
                root.purge_trash(time.time())
        # What somebody works on may be left behind by him.
        return not any(task.holder for task in registry.tasks() if task.task_id in begun - absent)

    def _stands(self, node: Node) -> bool:
        return self.workshop.root(node.manifest.path).look(node.file, verify=False).place is Place.KNOWN

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except GemmalockError as error:
            self.errors.append(error)


_PAUSE = Interrupted("interrupted: what came is kept", hint="run `gemmalock sync` again to go on")

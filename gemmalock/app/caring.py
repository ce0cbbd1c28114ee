"""Commands that care for what is there: `prune`, `tasks`, `cache`."""

from __future__ import annotations

import time
from dataclasses import dataclass

from gemmalock.app.affording import affordable, cores
from gemmalock.app.papers import Papers
from gemmalock.app.pruning import Pruning, prune_roots, root_warnings
from gemmalock.app.wiring import Workshop
from gemmalock.errors import FileError, RunRefused, UsageError
from gemmalock.lockfile import LOCK_NAME
from gemmalock.outcome import ErrorNote, ExitCode, LockChange, Report, exit_code_after
from gemmalock.selection import Selection


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """How to prune: see the flags of `gemmalock prune`."""

    dry_run: bool = False
    adopt: bool = False
    allow_empty: bool = False


def run_prune(workshop: Workshop, papers: Papers, selection: Selection, options: PruneOptions) -> Report:
    """Only the pruning of `sync`. Raises RunRefused, LockMissing, InputError."""
    lock = papers.required_lock()
    workshop.lock = lock
    change = LockChange(LOCK_NAME, changed=False)
    if not any(True for _ in lock.nodes()) and not options.allow_empty:
        raise RunRefused("the lock lists no file, so everything would be pruned", hint="`--allow-empty` does that")
    from gemmalock.app.leftover import former_roots, leftover_roots

    manifests = (*selection.manifests(lock), *(leftover_roots(workshop) if not selection.within else ()))
    pruning = Pruning.of(workshop, manifests, adopt=options.adopt, allow_empty=options.allow_empty)
    result = pruning.preview(workshop) if options.dry_run else prune_roots(workshop, papers, pruning)
    former = tuple(root.told for root in former_roots(workshop))
    # What sync warns of, for it has done what else it was asked for, is all that was asked for here.
    error = result.error or pruning.failure
    told = () if options.dry_run else (*root_warnings(workshop), *(_purged(workshop) if error is None else ()))
    return Report(
        "prune",
        ExitCode.OK if error is None else exit_code_after(error),
        pruned=result.pruned,
        strays_kept=result.kept,
        lock=change,
        errors=() if error is None else (ErrorNote.of(error),),
        warnings=(*former, *told),
        facts=(("dry_run", True),) if options.dry_run else (),
    )


def _purged(workshop: Workshop) -> tuple[str, ...]:
    """Empty the old trash of every root. What would not go, as warnings: what was asked for is done."""
    told = []
    for _, root in workshop.roots():
        try:
            root.purge_trash(time.time())
        except FileError as error:
            told.append(error.message)
    return tuple(told)


def run_tasks(workshop: Workshop, *, clear: bool) -> Report:
    """The task registry; with `clear`, drop the tasks that no process works on."""
    registry = workshop.registry
    facts: list[tuple[str, object]] = []
    if clear:
        cleared, live = registry.clear()
        facts = [("cleared", cleared), ("kept_live", live)]
    rows = [
        {
            "task_id": task.task_id,
            "url": task.record.url if task.record else None,
            "size": task.record.size if task.record else None,
            "bytes_kept": task.kept,
            "nodes": sorted(set(task.record.nodes)) if task.record else [],
            "begun": task.record.begun if task.record else None,
            "holder": task.holder,
        }
        for task in registry.tasks()
    ]
    return Report("tasks", ExitCode.OK, facts=(("tasks", rows), *facts))


def run_cache_dir(workshop: Workshop) -> Report:
    """Where the store is."""
    return Report("cache dir", ExitCode.OK, facts=(("dir", str(workshop.store_folder)),))


def run_cache_size(workshop: Workshop) -> Report:
    """How many objects and bytes the store has."""
    objects = list(workshop.store.objects())
    size = workshop.store.size()
    return Report("cache size", ExitCode.OK, facts=(("objects", len(objects)), ("bytes", size)))


def run_cache_verify(workshop: Workshop) -> Report:
    """Hash every object; a rotten one is put into quarantine, and makes the exit code 1."""
    verified = workshop.store.verify(affordable(cores()))
    errors = tuple(
        ErrorNote(
            "digest_mismatch", f"object `{name}` had rotted; it is in quarantine", "run `gemmalock sync --verify`"
        )
        for name in verified.rotten
    )
    code = ExitCode.FAILED if verified.rotten else ExitCode.OK
    facts = (("sound", verified.sound), ("rotten", list(verified.rotten)))
    return Report("cache verify", code, errors=errors, facts=facts)


@dataclass(frozen=True, slots=True)
class CachePruneOptions:
    """What `cache prune` may take: objects older than that, and as many as it takes to come below a size."""

    older_than: float | None = None
    max_size: int | None = None
    dry_run: bool = False


def run_cache_prune(workshop: Workshop, options: CachePruneOptions) -> Report:
    """Take unused objects out of the store: never what a root links to, never a live task."""
    live = frozenset(task.record.sha256 for task in workshop.registry.tasks() if task.record and task.record.sha256)
    gone = workshop.store.prune(options.older_than, options.max_size, live, dry_run=options.dry_run)
    facts = (("objects", len(gone)), ("bytes", sum(stored.size for stored in gone)), ("dry_run", options.dry_run))
    return Report("cache prune", ExitCode.OK, facts=facts)


def read_span(text: str) -> float:
    """A span of time in seconds, as `30d` or `12h`. Raises UsageError."""
    from gemmalock.settings import times

    try:
        return float(times.read_span(text))
    except ValueError:
        raise UsageError(f"`{text}` is not a span of time", hint="write it as `30d` or `12h`") from None

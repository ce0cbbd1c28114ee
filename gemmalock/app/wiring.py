"""Puts the adapters together: the only place that picks a store, a registry, a root and a source.

Everything is made when it is first asked for, so that a run with nothing to do imports and opens next to nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gemmalock.app.adapters import Sources
from gemmalock.app.affording import affordable, affordable_connections, cores
from gemmalock.app.plugging import Plugging
from gemmalock.collect import Project
from gemmalock.errors import disk_error
from gemmalock.lockfile import Lock, LockedFile, LockedManifest, Node
from gemmalock.settings import Settings
from gemmalock.stopping import Stop

if TYPE_CHECKING:
    from gemmalock.app.adopting import HubCache
    from gemmalock.looking import Reading
    from gemmalock.machine import Arrival, Claim, Reporter, Watch
    from gemmalock.outcome import FileOutcome, Report
    from gemmalock.plan import FilePlan, Plan
    from gemmalock.ports import Source
    from gemmalock.registry import DiskRegistry
    from gemmalock.roots import RootFolder
    from gemmalock.sources.retry import Backoff
    from gemmalock.store.disk import DiskStore
    from gemmalock.transfer.attempts import RunBudget
    from gemmalock.transfer.work import Terms

_Made = TypeVar("_Made")


class Silence:
    """A reporter that tells nobody."""

    def planned(self, plan: Plan) -> None: ...
    def hashing(self, node: Node) -> None: ...
    def started(self, file: FilePlan) -> None: ...
    def progress(self, id: str, have: int, size: int) -> None: ...
    def retrying(self, id: str, reason: str, after_seconds: float) -> None: ...
    def waiting(self, id: str, holder: str) -> None: ...
    def finished(self, outcome: FileOutcome) -> None: ...
    def note(self, message: str) -> None: ...


@dataclass(eq=False, repr=False)
class Workshop:
    """One run's machine (machine.Machine), and its sources. `first_root` says where the project's first root is, from
    its folder, as long as `lock` is empty; None where nothing tells. `trace` hears what is told to those who ask how
    something came about."""

    project: Project
    settings: Settings
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    reporter: Reporter = field(default_factory=Silence)
    stop: Stop = field(default_factory=Stop)
    lock: Lock = field(default_factory=Lock)
    first_root: Callable[[], str | None] = lambda: None
    trace: Callable[[str], None] = lambda text: None

    def __post_init__(self) -> None:
        self._roots: dict[str, RootFolder] = {}
        self._made: dict[str, Any] = {}
        self._making = threading.RLock()
        self.plugging = Plugging(self.settings, self.project.folder, self.environ)
        self.sources = Sources(self.settings, self.environ, self.plugging, self.trace)

    @property
    def lock_path(self) -> Path:
        """Where the lock is."""
        return self.project.lock_path

    @property
    def store_folder(self) -> Path:
        """Where the store is: as the settings say, else the user's cache, else in the first root."""
        return self._once("store_folder", self._find_store_folder)

    @property
    def store(self) -> DiskStore:
        """The store, made where it is not there yet."""
        from gemmalock.store.disk import DiskStore

        return self._once("store", lambda: DiskStore(self.store_folder, self.stop))

    @property
    def registry(self) -> DiskRegistry:
        """The task records in the store."""
        from gemmalock.registry import DiskRegistry

        return self._once("registry", lambda: DiskRegistry(self.store_folder))

    def _once(self, name: str, make: Callable[[], _Made]) -> _Made:
        """What is made when it is first asked for, by one thread, however many ask for it at once."""
        with self._making:
            if name not in self._made:
                self._made[name] = make()
            made: _Made = self._made[name]
            return made

    def _find_store_folder(self) -> Path:
        from gemmalock.store.place import store_folder

        if self.settings.store:
            return store_folder(self.settings.store, None)
        first = next((manifest.root_path for manifest in self.lock.manifests), None) or self.first_root()
        root = None if first is None else self.project.folder / first
        try:
            place = store_folder(None, root)
        except OSError as error:
            raise disk_error(error, "tell where the store is") from error
        if root is not None and root in place.parents:
            _refuse_links(self.project.folder, place)
        return place

    def root(self, manifest_path: str) -> RootFolder:
        """The root of a manifest of the lock, or of one that `root_of` was asked for."""
        with self._making:
            if manifest_path not in self._roots:
                manifest = self.lock.manifest(manifest_path)
                assert manifest is not None
                self._roots[manifest_path] = self.open_root(manifest)
            return self._roots[manifest_path]

    def root_of(self, manifest: LockedManifest) -> RootFolder:
        """The root of a manifest that the lock need not have."""
        with self._making:
            if manifest.path not in self._roots:
                self._roots[manifest.path] = self.open_root(manifest)
            return self._roots[manifest.path]

    def open_root(self, manifest: LockedManifest) -> RootFolder:
        """The same, opened for the caller alone: a manifest may have had another root before."""
        from gemmalock.links import LinkMode
        from gemmalock.roots import RootFolder

        return RootFolder(
            self.project.folder / manifest.folder,
            manifest.root,
            link_mode=LinkMode(self.settings.link_mode),
            keep=self.settings.keep,
            trash_days=self.settings.trash_days,
            stop=self.stop,
        )

    def roots(self) -> Iterable[tuple[str, RootFolder]]:
        """Every root of the lock, by its manifest's path."""
        return [(manifest.path, self.root(manifest.path)) for manifest in self.lock.manifests]

    def source(self, manifest_path: str, *, any_age: bool = False) -> Source:
        """Every source in one: each URL goes to the adapter that knows it. `file://` is relative to the manifest's
        folder. `any_age`: what is followed may be newer than the settings want."""
        return self.sources.of(self.project.folder / manifest_path.rpartition("/")[0], any_age=any_age)

    @property
    def hub_cache(self) -> HubCache:
        """What the hub's client has on this machine; nothing where that is not to be adopted."""
        return self._once("hub_cache", self._find_hub_cache)

    def _find_hub_cache(self) -> HubCache:
        from gemmalock.app.adopting import HubCache

        return HubCache() if self.settings.no_adopt_caches else HubCache.of(self.environ)

    def adopt(self, file: LockedFile) -> str | None:
        """Take a file into the store that another program has on this machine."""
        return self.hub_cache.take(file, self.store, self.stop)

    def fetch(self, node: Node, claim: Claim, watch: Watch) -> Arrival:
        """Bring a file's bytes to the claim's folder, with the hooks of plugins around it."""
        from gemmalock.transfer.fetch import fetch

        self.plugging.call("gemmalock_before_fetch", node=node)
        arrival = fetch(node.file, claim, self.source(node.manifest.path), self._terms, self.stop, watch)
        self.plugging.came(node, arrival.part, claim.drop_partial)
        return arrival

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the transfers of this run found out that concerns more than one file, a sentence each."""
        terms: Terms | None = self._made.get("terms")
        return (*self.sources.warnings, *(() if terms is None else terms.mistrusted.warnings))

    def ended(self, report: Report) -> Report:
        """The report of a run that has ended, with the warnings of its sources, and told to plugins."""
        untold = tuple(warning for warning in self.sources.warnings if warning not in report.warnings)
        return self.plugging.ended(replace(report, warnings=(*report.warnings, *untold)) if untold else report)

    @property
    def reading(self) -> Reading:
        """How this run reads the bytes of what is in place: a file for each core."""
        from gemmalock.looking import Reading

        return Reading(self.reporter, self.stop, affordable(cores()))

    @property
    def backoff(self) -> Backoff:
        """How often to try again, and how patiently."""
        from gemmalock.sources.retry import Backoff

        return Backoff(attempts=self.settings.retries + 1)

    @property
    def budget(self) -> RunBudget:
        """How many failures this run tries again, whether it locks or fetches."""
        from gemmalock.transfer.attempts import RunBudget

        return self._once("budget", RunBudget)

    @property
    def _terms(self) -> Terms:
        """How this run works: one cap, one count of connections and failures, one memory for all of its transfers."""
        return self._once("terms", self._make_terms)

    def _make_terms(self) -> Terms:
        # All that is needed later is loaded now: a module is a file, and in a bad moment none can be opened.
        import random

        from gemmalock.transfer.lanes import PER_HOST, Lanes
        from gemmalock.transfer.pace import RateLimit
        from gemmalock.transfer.work import Terms

        settings = self.settings
        limit = None if settings.limit_rate is None else RateLimit(settings.limit_rate)
        backoff = self.backoff
        in_all = affordable_connections(affordable(settings.jobs))
        return Terms(
            lambda attempt, error: backoff.delay(attempt, error, random.random),
            limit,
            settings.connections,
            Lanes(max(PER_HOST, settings.connections or 0), in_all),
            budget=self.budget,
        )

    def close(self) -> None:
        """Let go of all connections."""
        self.sources.close()


def _refuse_links(base: Path, place: Path) -> None:
    """Raise UnsafePath where a store in a root would be reached through a link that came with the project."""
    from gemmalock.roots.walk import through_a_link

    steps = place.relative_to(base).parts
    for end in range(1, len(steps) + 1):
        if base.joinpath(*steps[:end]).is_symlink():
            raise through_a_link("/".join(steps[:end]))

"""Puts the adapters together: the only place that picks a store, a registry, a root and a source.

Everything is made when it is first asked for, so that a run with nothing to do imports and opens next to nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gemmalock.collect import Project
from gemmalock.errors import InputError, PolicyRefused, disk_error
from gemmalock.lockfile import Lock, Node
from gemmalock.plan import FilePlan, Plan
from gemmalock.ports import Answer, Arrival, Ask, Claim, Listing, Probe, Reporter, Source, Watch
from gemmalock.settings import Settings
from gemmalock.spec import SCHEMES, scheme_of
from gemmalock.stopping import Stop

if TYPE_CHECKING:
    from gemmalock.outcome import FileOutcome
    from gemmalock.registry import DiskRegistry
    from gemmalock.roots import RootFolder
    from gemmalock.store import DiskStore
    from gemmalock.transfer.pace import RateLimit


class Silence:
    """A reporter that tells nobody."""

    def planned(self, plan: Plan) -> None: ...
    def started(self, file: FilePlan) -> None: ...
    def progress(self, id: str, have: int, size: int) -> None: ...
    def retrying(self, id: str, reason: str, after_seconds: float) -> None: ...
    def waiting(self, id: str, holder: str) -> None: ...
    def finished(self, outcome: FileOutcome) -> None: ...
    def note(self, message: str) -> None: ...


@dataclass
class Workshop:
    """One run's machine (ports.Machine), and its sources. `first_root` says where the project's first root is, from its
    folder, as long as `lock` is empty; None where nothing tells."""

    project: Project
    settings: Settings
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    reporter: Reporter = field(default_factory=Silence)
    stop: Stop = field(default_factory=Stop)
    lock: Lock = field(default_factory=Lock)
    first_root: Callable[[], str | None] = lambda: None

    def __post_init__(self) -> None:
        self._roots: dict[str, RootFolder] = {}
        self._sources: dict[tuple[str, Path], Source] = {}
        self._making = threading.Lock()

    @property
    def lock_path(self) -> Path:
        """Where the lock is."""
        return self.project.lock_path

    @cached_property
    def store_folder(self) -> Path:
        """Where the store is: as the settings say, else the user's cache, else in the first root."""
        from gemmalock.store import store_folder

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

    @cached_property
    def store(self) -> DiskStore:
        """The store, made where it is not there yet."""
        from gemmalock.store import DiskStore

        return DiskStore(self.store_folder)

    @cached_property
    def registry(self) -> DiskRegistry:
        """The task records in the store."""
        from gemmalock.registry import DiskRegistry

        return DiskRegistry(self.store_folder)

    def root(self, manifest_path: str) -> RootFolder:
        """The root of a manifest of the lock."""
        with self._making:
            if manifest_path not in self._roots:
                self._roots[manifest_path] = self._open_root(manifest_path)
            return self._roots[manifest_path]

    def _open_root(self, manifest_path: str) -> RootFolder:
        from gemmalock.links import LinkMode
        from gemmalock.roots import RootFolder

        manifest = self.lock.manifest(manifest_path)
        assert manifest is not None
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

    def source(self, url: str, manifest_path: str) -> Source:
        """The adapter for a URL's scheme. `file://` is relative to the manifest's folder."""
        scheme = scheme_of(url)
        make = ADAPTERS.get(scheme)
        if make is None:
            known = "it is not available in this version" if scheme in SCHEMES else "it is unknown"
            raise InputError(
                f"no source for `{scheme}://`: {known}", hint=f"this version has {', '.join(sorted(ADAPTERS))}"
            )
        folder = self.project.folder / manifest_path.rpartition("/")[0]
        key = ("http" if scheme == "https" else scheme, folder if scheme == "file" else Path())
        with self._making:
            if key not in self._sources:
                self._sources[key] = make(self, folder)
            return self._sources[key]

    def fetch(self, node: Node, claim: Claim, watch: Watch) -> Arrival:
        """Bring a file's bytes to the claim's folder."""
        from gemmalock.transfer.fetch import Terms, fetch

        terms = Terms(delay=self.delay, limit=self._limit)
        return fetch(node.file, claim, _ByScheme(self, node.manifest.path), terms, self.stop, watch)

    @cached_property
    def delay(self) -> Callable[[int, Exception], float | None]:
        """How long to wait before the next attempt, or None to give up."""
        import random

        from gemmalock.sources.retry import Backoff

        backoff = Backoff(attempts=self.settings.retries + 1)
        return lambda attempt, error: backoff.delay(attempt, error, random.random)

    @cached_property
    def _limit(self) -> RateLimit | None:
        if self.settings.limit_rate is None:
            return None
        from gemmalock.transfer.pace import RateLimit

        return RateLimit(self.settings.limit_rate)

    def refuse_host(self, url: str) -> None:
        """Raise PolicyRefused for a host that `allowed-hosts` does not name."""
        from urllib.parse import urlsplit

        host = (urlsplit(url).hostname or "").lower()
        if host and self.settings.allowed_hosts and host not in self.settings.allowed_hosts:
            raise PolicyRefused(
                f"host `{host}` is not among `allowed-hosts`", hint="add it there, if it is to be trusted"
            )

    def close(self) -> None:
        """Let go of all connections."""
        for source in self._sources.values():
            source.close()


def _refuse_links(base: Path, place: Path) -> None:
    """Raise UnsafePath where a store in a root would be reached through a link that came with the project."""
    from gemmalock.roots.walk import through_a_link

    steps = place.relative_to(base).parts
    for end in range(1, len(steps) + 1):
        if base.joinpath(*steps[:end]).is_symlink():
            raise through_a_link("/".join(steps[:end]))


@dataclass(frozen=True, slots=True)
class _ByScheme:
    """The source of a file and of its mirrors: each URL goes to the adapter of its scheme, if its host is allowed."""

    workshop: Workshop
    manifest_path: str

    def probe(self, url: str, stop: Stop) -> Probe:
        """As ports.Source has it."""
        return self._source(url).probe(url, stop)

    def list(self, source: str, stop: Stop) -> Listing:
        """As ports.Source has it."""
        return self._source(source).list(source, stop)

    def open(self, ask: Ask, stop: Stop) -> Answer:
        """As ports.Source has it."""
        return self._source(ask.url).open(ask, stop)

    def close(self) -> None:
        """The workshop closes its sources."""

    def _source(self, url: str) -> Source:
        self.workshop.refuse_host(url)
        return self.workshop.source(url, self.manifest_path)


def _http(workshop: Workshop, folder: Path) -> Source:
    from gemmalock.sources.http import HttpLimits, HttpSource
    from gemmalock.sources.proxies import no_proxy_from, proxies_from

    return HttpSource(
        HttpLimits(read_seconds=workshop.settings.timeout),
        allow_http=workshop.settings.allow_http,
        offline=workshop.settings.offline,
        proxies=proxies_from(workshop.environ),
        no_proxy=no_proxy_from(workshop.environ),
        ca_file=workshop.environ.get("SSL_CERT_FILE") or workshop.environ.get("REQUESTS_CA_BUNDLE"),
    )


def _file(workshop: Workshop, folder: Path) -> Source:
    from gemmalock.sources.file import FileSource

    return FileSource(folder)


#: Scheme → how its source is made.
ADAPTERS: Mapping[str, Callable[[Workshop, Path], Source]] = {"http": _http, "https": _http, "file": _file}

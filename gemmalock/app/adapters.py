"""Which source a URL is asked of: the only place that makes them. Each is made when it is first needed, once a run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gemmalock.app.plugging import Plugging
from gemmalock.lockfile import GITHUB, HUB
from gemmalock.settings import Settings
from gemmalock.spec import is_local, scheme_of
from gemmalock.stopping import Stop

if TYPE_CHECKING:
    from gemmalock.ports import Answer, Ask, Listing, Probe, Source
    from gemmalock.sources.channel import Routes
    from gemmalock.sources.credentials import Credentials
    from gemmalock.sources.http import HttpSource
    from gemmalock.sources.multiplexed import Outcome

_WEB = frozenset({"http", "https"})
#: How the URLs of a service begin → the kind of source that knows them.
_HOMES = ((f"{HUB}/", "hf"), (f"{GITHUB}/", "github"))


@dataclass(eq=False, repr=False)
class Sources:
    """The sources of one run, by these settings and this environment; safe to use from many threads. `trace` hears
    where a URL was asked instead of where it says."""

    settings: Settings
    environ: Mapping[str, str]
    plugging: Plugging
    trace: Callable[[str], None] = lambda text: None
    _adapters: dict[tuple[str, Path, bool], Source] = field(default_factory=dict)
    _making: threading.RLock = field(default_factory=threading.RLock)

    def of(self, folder: Path, *, any_age: bool = False) -> Source:
        """Every source in one: each URL goes to the adapter that knows it. `file://` is relative to `folder`; with
        `any_age` what is followed may be newer than the settings want."""
        return _ByUrl(self, folder, any_age)

    def adapter(self, kind: str, folder: Path, *, any_age: bool = False) -> Source:
        """The one source of a kind, for manifests in a folder. Raises PolicyRefused for a kind that there is not."""
        with self._making:
            if kind in _WEB:
                return self.web
            make = ADAPTERS.get(kind)
            # Where relative places begin is nothing to a service.
            is_service = make is not None and not is_local(f"{kind}://")
            key = (kind, Path() if is_service else folder, any_age and is_service)
            if key not in self._adapters:
                place = _Place(folder, None if any_age else self.newest)
                self._adapters[key] = make(self, place) if make is not None else self.plugging.source(kind, folder)
            return self._adapters[key]

    def load(self, urls: Iterable[str]) -> None:
        """Load what asking these URLs takes."""
        if any(_kind_of(url) in _WEB for url in urls):
            self.adapter("https", Path())

    def probe_all(self, urls: Iterable[str], most: int, stop: Stop) -> Mapping[str, Outcome[Probe]]:
        """What became of asking those that are of web servers and no service's, at most `most` at once, where they are
        more than one; some may be left out. Raises Interrupted."""
        asked = [url for url in urls if _kind_of(url) in _WEB]
        return self.web.probe_all(asked, most, stop) if len(asked) > 1 else {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was found out about credentials that were looked for, a sentence each."""
        return self.credentials.warnings if "credentials" in vars(self) else ()

    def close(self) -> None:
        """Let go of all connections."""
        for source in self._adapters.values():
            source.close()
        if "web" in vars(self):
            self.web.close()

    @cached_property
    def web(self) -> HttpSource:
        """Whatever is asked over http and https."""
        from gemmalock.sources.endpoints import moved
        from gemmalock.sources.http import HttpLimits, HttpSource, Policy
        from gemmalock.sources.rewriting import Rewrites, Rule

        settings = self.settings
        # What the settings say in so many words comes first.
        rules = [*(Rule(prefix, target) for prefix, target in settings.rewrite), *moved(self.environ)]
        return HttpSource(
            HttpLimits(read_seconds=settings.timeout),
            Policy(settings.allow_http, settings.offline, frozenset(settings.allowed_hosts)),
            routes=self._routes,
            rewrites=Rewrites(rules, allow_http=settings.allow_http, told=self.trace),
            credentials=self.credentials,
        )

    @property
    def _routes(self) -> Routes:
        """By which proxies, and trusting whom, as the environment says."""
        from gemmalock.sources.certificates import certificate_variable
        from gemmalock.sources.channel import Routes
        from gemmalock.sources.proxies import no_proxy_from, proxies_from

        proxies, bypassed = proxies_from(self.environ), no_proxy_from(self.environ)
        variable = certificate_variable(self.environ)
        if variable is None:
            return Routes(proxies, bypassed)
        return Routes(proxies, bypassed, self.environ[variable], variable)

    @cached_property
    def credentials(self) -> Credentials:
        """What is sent to whom."""
        from gemmalock.sources.credentials import Credentials

        return Credentials(self.environ, self.settings.auth)

    @cached_property
    def newest(self) -> datetime | None:
        """The moment up to which this run follows what moves; None: to what there is now."""
        return self.settings.newest(datetime.now(UTC))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _ByUrl:
    """The source of a file and of its mirrors: each URL goes to the adapter that knows it best."""

    sources: Sources
    folder: Path
    any_age: bool

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
        """Who made the sources closes them."""

    def _source(self, url: str) -> Source:
        return self.sources.adapter(_kind_of(url), self.folder, any_age=self.any_age)


def _kind_of(url: str) -> str:
    """The kind of source that knows a URL best: what a service has at its web address is that service's to explain."""
    return next((kind for home, kind in _HOMES if url.startswith(home)), scheme_of(url))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where relative places begin, and up to when a source is followed."""

    folder: Path
    newest: datetime | None


def _hub(sources: Sources, place: _Place) -> Source:
    from gemmalock.sources.hub import HubSource

    return HubSource(sources.web, place.newest)


def _github(sources: Sources, place: _Place) -> Source:
    from gemmalock.sources.github import GitHubSource

    return GitHubSource(sources.web, place.newest)


def _file(sources: Sources, place: _Place) -> Source:
    from gemmalock.sources.file import FileSource

    return FileSource(place.folder)


#: Kind → how its source is made.
ADAPTERS: Mapping[str, Callable[[Sources, _Place], Source]] = {"hf": _hub, "github": _github, "file": _file}

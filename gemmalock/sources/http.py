"""Files behind http and https URLs: `ports.Source` over `channel`, by the rules of `ranges` and `redirects`.

What an answer means is decided there; what travels, here. No environment is read, nothing is retried except over a
kept connection that turned out to be closed. Which credential a request carries is decided in `credentials`, anew at
each hop.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from gemmalock.errors import (
    ConnectionFailed,
    FileError,
    PolicyRefused,
    RedirectRefused,
    ServerError,
    SourceError,
    TimedOut,
)
from gemmalock.ports import Ask, Listing, Probe
from gemmalock.secret import holds_secret
from gemmalock.sources import ranges
from gemmalock.sources.answer import HttpAnswer
from gemmalock.sources.channel import Channel, Reply, Routes
from gemmalock.sources.credentials import Credential, Credentials
from gemmalock.sources.exchange import Exchange, alone
from gemmalock.sources.fields import origin_of, shown_url, status_error
from gemmalock.sources.policy import Policy
from gemmalock.sources.redirects import REDIRECTS, is_inner_address, is_inner_host, next_hop
from gemmalock.sources.request import Request
from gemmalock.sources.rewriting import Rewrites, Route
from gemmalock.sources.telling import is_enough, told_of
from gemmalock.sources.wire import HttpLimits
from gemmalock.spec import base_of, is_loopback, scheme_of
from gemmalock.stopping import Stop
from gemmalock.version import VERSION

if TYPE_CHECKING:
    from gemmalock.sources.multiplexed import Outcome

__all__ = ["HttpAnswer", "HttpLimits", "HttpSource", "Policy"]

_Read = TypeVar("_Read")
_Told = TypeVar("_Told")
#: What servers answer to a signed URL whose time is over, among other things.
_EXPIRED = frozenset({400, 401, 403, 410})
_ALWAYS: Mapping[str, str] = MappingProxyType({"Accept-Encoding": "identity", "User-Agent": f"gemmalock/{VERSION}"})
_LIST_HINT = "name the files in the manifest, with `url` or without globs"


class HttpSource:
    """Files behind http and https URLs; safe to use from many threads."""

    def __init__(
        self,
        limits: HttpLimits | None = None,
        policy: Policy | None = None,
        *,
        routes: Routes | None = None,
        rewrites: Rewrites | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self._limits = limits or HttpLimits()
        self._policy = policy or Policy()
        self._rewrites = rewrites or Rewrites()
        self._credentials = credentials
        self._channel = Channel(self._limits, routes or Routes())

    def probe(self, url: str, stop: Stop) -> Probe:
        """As ports.Source has it: by HEAD, and where that is refused or tells no size, by a GET for the first byte."""
        return self._alone(self._probing(url), stop)

    def probe_all(self, urls: Iterable[str], most: int, stop: Stop) -> dict[str, Outcome[Probe]]:
        """What `probe` returns or raises for each of many URLs, at most `most` asked at once, and not by a thread
        each. A server that fails once is asked nothing more: its other URLs are left out. Raises Interrupted."""
        from gemmalock.sources.multiplexed import Multiplexed

        outcomes: dict[str, Outcome[Probe]] = {}
        failing: set[str] = set()
        asking = ((url, self._probing(url)) for url in dict.fromkeys(urls) if base_of(url) not in failing)
        try:
            together = Multiplexed[Probe](self._channel, most, stop)
        except OSError:
            # What it takes is not to be had: each is asked by itself.
            return outcomes
        for url, outcome in together.run(asking):
            outcomes[url] = outcome
            if isinstance(outcome.told, FileError) and outcome.told.transient:
                failing.add(base_of(url))
        return outcomes

    def list(self, source: str, stop: Stop) -> Listing:
        """As ports.Source has it: there is no way to ask a web server what it has."""
        raise PolicyRefused(f"`{shown_url(source)}` cannot be listed", hint=_LIST_HINT)

    def open(self, ask: Ask, stop: Stop) -> HttpAnswer:
        """As ports.Source has it. A source that ignores the range sends the whole file: `end` is then its size."""
        route = Route(ask.url, self._rewrites)
        with route:
            ask = replace(ask, url=route.url) if route.is_rewritten else ask
            self._check_proof(ask)
            reply = self._alone(self._following("GET", ask, route), stop)
            origin = _origin(route.url)
            try:
                if not 200 <= reply.status < 300 and reply.status != 416:
                    raise self._refusal(ask.url, reply, route)
                accepted = ranges.judge(ask, reply.status, reply.headers, origin)
                return HttpAnswer(ask, accepted, origin, reply, stop)
            except BaseException:
                reply.discard()
                raise

    def head(self, url: str, read: Callable[[int, Mapping[str, str]], _Read | None], stop: Stop) -> _Read | None:
        """What `read` makes of the status and the fields that answer HEAD for a URL: of the first answer that it makes
        something of, along redirects that stay at one origin; None where there is none. Raises SourceError for a
        refusal."""
        return self._alone(self._heading(url, read), stop)

    def credential_for(self, url: str) -> str | None:
        """The name of the credential that a request for a URL carries, or None. Raises FileError where it cannot be
        sent, or the URL not be asked."""
        credential = self._credential(Route(url, self._rewrites).url)
        return credential.name if credential is not None else None

    def close(self) -> None:
        """As ports.Source has it."""
        self._channel.close()

    def _alone(self, exchange: Exchange[_Told], stop: Stop) -> _Told:
        return alone(exchange, lambda request: self._channel.send(request, stop))

    def _probing(self, url: str) -> Exchange[Probe]:
        seen = Probe(None, None, None)
        try:
            seen, is_believed = yield from self._judging("HEAD", Ask(url), self._seen)
            if is_believed:
                return seen
        except (ConnectionFailed, ServerError, TimedOut):
            # Some servers know no HEAD, and say so by hanging up, or by saying nothing.
            pass
        got = yield from self._judging("GET", Ask(url, 0, 1), self._got)
        # A 416, the answer to a range of an empty file, need not have the ETag that HEAD told.
        return seen if got.size == seen.size == 0 and got.etag is None else got

    def _seen(self, url: str, reply: Reply, route: Route) -> tuple[Probe, bool]:
        """What an answer to HEAD says of a file, and whether that is to be believed."""
        if reply.status == 429:
            raise self._refusal(url, reply, route)
        seen = told_of(reply.status, reply.headers)
        return seen, reply.status == 200 and is_enough(seen)

    def _got(self, url: str, reply: Reply, route: Route) -> Probe:
        """What an answer to GET says of a file."""
        if reply.status in (200, 204, 206, 416):
            return told_of(reply.status, reply.headers)
        raise self._refusal(url, reply, route)

    def _heading(self, url: str, read: Callable[[int, Mapping[str, str]], _Read | None]) -> Exchange[_Read | None]:
        route, public_only = Route(url, self._rewrites), False
        with route:
            for hops in itertools.count():
                rewritten = route.is_rewritten
                reply = yield self._request("HEAD", Ask(url), route, public_only=public_only and not rewritten)
                inner = _is_inner(reply.peer, route.url)
                reply.discard()
                if reply.status >= 400:
                    raise self._refusal(url, reply, route)
                found = read(reply.status, reply.headers)
                if found is not None or reply.status not in REDIRECTS:
                    return found
                target = self._target(route, reply, hops, inner=inner)
                if _origin(target) != _origin(route.url):
                    return None
                public_only = public_only or not inner
                self._go_on(route, target)
        raise AssertionError("redirects are followed until they end")

    def _judging(self, method: str, ask: Ask, judge: Callable[[str, Reply, Route], _Told]) -> Exchange[_Told]:
        """What `judge` makes of an answer whose body nobody wants, and of the way it came."""
        route, url = Route(ask.url, self._rewrites), ask.url
        with route:
            ask = replace(ask, url=route.url) if route.is_rewritten else ask
            reply = yield from self._following(method, ask, route)
            reply.discard()
            return judge(url, reply, route)

    def _following(self, method: str, ask: Ask, route: Route) -> Exchange[Reply]:
        """The last answer of a chain of redirects, which `route` follows. Each hop has to be allowed, and its headers
        are made anew for its origin."""
        public_only = False
        for hops in range(self._limits.hops + 1):
            # A mirror that the settings name may be in a private network, whoever redirects to what it stands for.
            reply = yield self._request(method, ask, route, public_only=public_only and not route.is_rewritten)
            if reply.status not in REDIRECTS:
                break
            # A connection that was let go of tells no address any more.
            inner = _is_inner(reply.peer, route.url)
            reply.discard()
            public_only = public_only or not inner
            self._go_on(route, self._target(route, reply, hops, inner=inner))
        return reply

    def _target(self, route: Route, reply: Reply, hops: int, *, inner: bool) -> str:
        """Where a redirect leads, after so many others. Raises RedirectRefused."""
        return next_hop(
            route.url,
            reply.status,
            reply.locations,
            allow_http=self._policy.allow_http,
            hops=hops,
            from_private=inner,
            limit=self._limits.hops,
        )

    def _request(self, method: str, ask: Ask, route: Route, *, public_only: bool) -> Request:
        """One hop of a route, with headers of its own."""
        origin = _origin(route.url)
        self._policy.check(route.url)
        return Request(method, route.url, _headers(ask, origin) | self._credential_fields(route), public_only)

    def _go_on(self, route: Route, url: str) -> None:
        """Follow a redirect, unless it is made of what was sent: then it would carry that elsewhere."""
        before = _origin(route.url)
        route.go_on(url)
        if holds_secret(route.url) and _origin(route.url) != before:
            raise RedirectRefused(f"a redirect of `{before}` has a credential in it, and leads to another origin")

    def _credential_fields(self, route: Route) -> dict[str, str]:
        """What this hop's own origin is owed."""
        credential = self._credential(route.url)
        route.carries(credential.name if credential is not None else None)
        return credential.headers if credential is not None else {}

    def _credential(self, url: str) -> Credential | None:
        """What is for the origin of a URL, and nobody on the way to it reads."""
        if self._credentials is None or self._channel.routes.is_overheard(url):
            return None
        return self._credentials.for_url(url)

    def _refusal(self, url: str, reply: Reply, route: Route) -> SourceError:
        """The error of an answer without a file in it, to a request for `url`."""
        error = status_error(reply.status, url, reply.headers, datetime.now(UTC))
        error.credential = route.credential
        error.may_have_expired = route.is_redirected and reply.status in _EXPIRED
        is_elsewhere = route.is_redirected and _origin(route.url) != _origin(url)
        if is_elsewhere:
            error.message += f" at `{_origin(route.url)}`, where it leads"
        if reply.status in (401, 403) and is_elsewhere and not self.credential_for(route.url):
            error.hint = "the link that it gave is refused: it may have expired, or something on the way refuses it"
        elif reply.status in (401, 403) and self._credentials is not None:
            error.hint = self._credentials.cure(reply.status, route.url, route.credential)
        return error

    def _check_proof(self, ask: Ask) -> None:
        """Plain http proves nothing of who answers: what is locked without a digest is not fetched that way, except
        from this machine. (Of what is not locked yet, the resolver knows whether a digest was declared.)"""
        if ask.size is None or ask.proven or self._policy.allow_http:
            return
        if scheme_of(ask.url) == "http" and not is_loopback(ask.url):
            raise PolicyRefused(
                f"`{shown_url(ask.url)}` is plain http, and there is no digest to check it by",
                hint="use https, declare its `sha256`, or set `allow-http`",
            )


def _origin(url: str) -> str:
    try:
        return origin_of(url)
    except ValueError as error:
        raise SourceError(f"`{shown_url(url)}` is not a URL that can be asked for: {error}") from error


def _headers(ask: Ask, origin: str) -> dict[str, str]:
    """Everything that a request to `origin` carries."""
    return {"Accept": ask.accept, **_ALWAYS, **dict(ask.fields), **ranges.range_headers(ask, origin)}


def _is_inner(peer: str | None, url: str) -> bool:
    """Whether a server is on this machine or in a private network: by its address, behind a proxy by its name."""
    return is_inner_address(peer) if peer is not None else is_inner_host(origin_of(url).rpartition("//")[2])

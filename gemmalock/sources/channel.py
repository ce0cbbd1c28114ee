"""One request, one answer: the seam to urllib3. No redirects, no retries, no meaning of statuses.

urllib3 keeps the connections, does TLS and talks to proxies. What it cannot do is done here: a connection is opened
by `connecting`, so that it can be interrupted; a body is read by `bodies`, straight into the caller's memory; and the
bytes of a head are counted.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3

from gemmalock.errors import ConnectionFailed, SourceError
from gemmalock.secret import Secret, redacted_secrets
from gemmalock.sources.bodies import Body, Chunked, Counted, UntilClose
from gemmalock.sources.certificates import tls_context
from gemmalock.sources.failures import (
    FOREIGN,
    is_silence,
    proxy_refusal,
    source_error,
    told_cause,
    unreached_proxy,
)
from gemmalock.sources.fields import quoted, shown_url
from gemmalock.sources.proxies import Proxy
from gemmalock.sources.ranges import content_length
from gemmalock.sources.wire import Call, HttpLimits, Pool, Response, SecurePool, shut_down
from gemmalock.spec import is_loopback, scheme_of
from gemmalock.stopping import Stop

_KEPT_CONNECTIONS = 64
#: Fields by which a body is delimited and judged: a number in them is no secret, though it be somebody's password. What
#: is shown of them is starred there.
_FRAMING = frozenset(
    {"content-encoding", "content-length", "content-range", "content-type", "transfer-encoding", "x-linked-size"}
)
#: What proxies alone answer (RFC 9110, 15.5.8).
_WANTS_CREDENTIAL = 407


@dataclass(frozen=True, slots=True)
class Routes:
    """How connections are made: by which proxy (scheme → proxy, unless its `host:port` is `bypassed`), trusting which
    further CAs, and the variable that names these."""

    proxies: Mapping[str, Proxy] = field(default_factory=dict)
    bypassed: Callable[[str], bool] | None = None
    ca_file: str | None = None
    ca_variable: str = "SSL_CERT_FILE"

    def proxy_for(self, url: str) -> Proxy | None:
        """The proxy that a URL is asked through, or None. Raises SettingInvalid for one that cannot be."""
        proxy = self.proxies.get(scheme_of(url))
        if proxy is None or (self.bypassed is not None and self.bypassed(_server(url))):
            return None
        proxy.check()
        return proxy

    def is_overheard(self, url: str) -> bool:
        """Whether a proxy on another machine reads what is sent: it sees plain http, and of https only where it
        goes."""
        proxy = self.proxy_for(url)
        return proxy is not None and scheme_of(url) == "http" and not is_loopback(proxy.url)


class Reply:
    """An answer whose head was read. `headers` have lower-case names, several of one name are joined by `, `;
    `locations` has every Location. A secret that a server repeats is starred out of the fields that are shown, or
    written down: all but those that say what the body is."""

    def __init__(self, response: urllib3.BaseHTTPResponse, call: Call, *, proxied: bool) -> None:
        wire = call.answered
        self.status = response.status
        self.headers: Mapping[str, str] = {
            name.lower(): _told(name.lower(), response.headers[name]) for name in response.headers
        }
        self.locations: tuple[str, ...] = tuple(response.headers.getlist("location"))
        self._call = call
        self._proxied = proxied
        self._response = response
        self._wire = wire
        self.body: Body = _framed(self.headers, self.status, wire)

    @property
    def peer(self) -> str | None:
        """The address that answered; None behind a proxy."""
        return None if self._proxied else self._call.peer

    def shut_down(self) -> None:
        """End the connection from another thread: whoever reads from it wakes up."""
        shut_down(self._wire.connection)

    def wait_at_most(self, seconds: float) -> None:
        """From now on, silence for so long is too long."""
        self._wire.wire.wait_at_most(seconds)

    def release(self) -> None:
        """Let go of the connection: for the next request when the body's end was seen, else for good. Never raises."""
        with contextlib.suppress(*FOREIGN):
            if not (self.body.ended and self._reusable):
                self._response.close()
            self._wire.close()
            self._response.release_conn()

    @property
    def has_broken_lines(self) -> bool:
        """Whether the head has lines that are no header fields."""
        return bool(self._wire.headers.defects)

    @property
    def _reusable(self) -> bool:
        # Both a length and a transfer coding: the body can be read, the connection not trusted again (RFC 9112, 6.3).
        both = "transfer-encoding" in self.headers and "content-length" in self.headers
        # And after an interim answer that was taken for the last one, the last one is still to come.
        return not both and not self._wire.will_close and self.status >= 200


class Channel:
    """Sends requests. Safe to use from many threads."""

    def __init__(self, limits: HttpLimits, routes: Routes) -> None:
        self._limits = limits
        self.routes = routes
        self._managers: dict[tuple[str, Proxy | None, bool], urllib3.PoolManager] = {}
        self._tls: ssl.SSLContext | None = None
        self._lock = threading.Lock()

    def send(self, method: str, url: str, headers: Mapping[str, str], stop: Stop, *, public_only: bool) -> Reply:
        """Send one request and read the head of its answer. Raises SourceError, Interrupted, and SettingInvalid for a
        proxy that cannot be.

        `public_only`: do not connect to an address of this machine or of a private network.
        """
        proxy = self.routes.proxy_for(url)
        while True:
            call = Call(self._limits, stop, public_only and proxy is None)
            try:
                with call.running():
                    response = self._manager((scheme_of(url), proxy, call.public_only)).urlopen(
                        method,
                        url,
                        headers=dict(headers),
                        redirect=False,
                        retries=False,
                        preload_content=False,
                        decode_content=False,
                        timeout=urllib3.Timeout(connect=self._limits.connect_seconds, read=self._limits.read_seconds),
                    )
            except SourceError as error:
                if proxy is None or not call.unreached:
                    raise
                raise unreached_proxy(error, url, proxy) from error
            except FOREIGN as error:
                stop.check()
                if call.is_stale and not is_silence(error):
                    # The server had closed a kept connection before this request came (RFC 9112, 9.3.1).
                    continue
                raise source_error(error, url, proxy) from told_cause(error)
            return _checked(Reply(response, call, proxied=proxy is not None), url, proxy)

    def close(self) -> None:
        """Close all connections that are kept."""
        with self._lock:
            managers = list(self._managers.values())
            self._managers.clear()
        for manager in managers:
            manager.clear()

    def _manager(self, key: tuple[str, Proxy | None, bool]) -> urllib3.PoolManager:
        with self._lock:
            manager = self._managers.get(key)
            if manager is None:
                manager = self._managers[key] = self._new_manager(key[0], key[1])
            return manager

    def _new_manager(self, scheme: str, proxy: Proxy | None) -> urllib3.PoolManager:
        settings: dict[str, Any] = {"maxsize": _KEPT_CONNECTIONS, "block": False}
        if scheme == "https":
            # Reading the system's certificates takes a tenth of a second: not for plain http.
            settings["ssl_context"] = self._context()
        manager: urllib3.PoolManager
        if proxy is None:
            manager = urllib3.PoolManager(32, **settings)
        else:
            parts = urlsplit(proxy.url)
            given = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
            fields = urllib3.make_headers(proxy_basic_auth=given) if given else {}
            for secret in (unquote(parts.password or ""), fields.get("proxy-authorization", "").rpartition(" ")[2]):
                Secret(secret)
            if scheme_of(proxy.url) == "https":
                settings["proxy_ssl_context"] = self._context()
            manager = urllib3.ProxyManager(proxy.url, 32, proxy_headers=fields, **settings)
        manager.pool_classes_by_scheme = {"http": Pool, "https": SecurePool}
        return manager

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = tls_context(self.routes.ca_file, self.routes.ca_variable)
        return self._tls


def _told(name: str, value: str) -> str:
    return value if name in _FRAMING else redacted_secrets(value)


def _framed(headers: Mapping[str, str], status: int, wire: Response) -> Body:
    wire.wire.head_limit = None
    if wire.length == 0 or wire.stream.closed or status in (204, 304) or status < 200:
        return Counted(wire.stream, 0)
    if "transfer-encoding" in headers:
        return Chunked(wire.stream)
    length = content_length(headers)
    if length is not None:
        return Counted(wire.stream, length)
    wire.insist_on_a_clean_end()
    return UntilClose(wire.stream)


def _server(url: str) -> str:
    """Host and port of a URL, as a list of exceptions has them."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{parts.port or {'https': 443}.get(parts.scheme, 80)}"


def _checked(reply: Reply, url: str, proxy: Proxy | None) -> Reply:
    """Refuse what a proxy says for itself, and a head whose body nobody can delimit safely (RFC 9112, 6.1 to 6.3)."""
    if proxy is not None and reply.status == _WANTS_CREDENTIAL:
        reply.release()
        raise proxy_refusal(reply.status, url, proxy)
    flaw = "lines that are no header fields" if reply.has_broken_lines else _unreadable(reply.headers)
    if flaw is None:
        return reply
    reply.release()
    raise ConnectionFailed(f"`{shown_url(url)}` answered with {flaw}")


def _unreadable(headers: Mapping[str, str]) -> str | None:
    """The field that should say where the body ends, and does not, in words; None where none is at fault."""
    coding = headers.get("transfer-encoding")
    if coding is not None:
        return None if coding.strip().lower() == "chunked" else f"an unknown `Transfer-Encoding: {quoted(coding)}`"
    length = headers.get("content-length")
    if length is None or content_length(headers) is not None:
        return None
    return f"an unreadable `Content-Length: {quoted(length)}`"

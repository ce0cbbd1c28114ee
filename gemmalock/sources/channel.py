"""One request, one answer: to the server itself, or through a proxy. No redirects, no retries, no meaning of statuses.

Who sends is `direct` or `proxied`; here it is decided which, and what came is made an answer with a body that knows
where it ends, or refused.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from gemmalock.errors import ConnectionFailed, FileError, SourceError
from gemmalock.secret import redacted_secrets
from gemmalock.sources.bodies import Body, Chunked, Counted, Stream, UntilClose
from gemmalock.sources.direct import Direct
from gemmalock.sources.failures import FOREIGN, is_silence, proxy_refusal, source_error, told_cause, unreached_proxy
from gemmalock.sources.fields import quoted, shown_url
from gemmalock.sources.head import Head
from gemmalock.sources.proxies import Proxy
from gemmalock.sources.ranges import content_length
from gemmalock.sources.request import Request, place_of
from gemmalock.sources.wire import Call, HttpLimits, Wire, shut_down
from gemmalock.spec import is_loopback, scheme_of
from gemmalock.stopping import Stop

if TYPE_CHECKING:
    import socket
    import ssl

    from gemmalock.sources.proxied import Proxied

#: Fields by which a body is delimited and judged: a number in them is no secret, though it be somebody's password. What
#: is shown of them is starred there.
_FRAMING = frozenset(
    {"content-encoding", "content-length", "content-range", "content-type", "transfer-encoding", "x-linked-size"}
)
#: What proxies alone answer (RFC 9110, 15.5.8).
_WANTS_CREDENTIAL = 407
#: The body of an answer that nobody wants is read up to here, to keep the connection; beyond, the connection goes.
_DRAINED = 64 * 1024
#: How long to wait for the end of a body whose every byte is here, or that nobody wants.
LAST_WORD_SECONDS = 2.0
#: What has no body, whatever its fields say (RFC 9112, 6.3).
_BODILESS = frozenset({204, 304})


class Line(Protocol):
    """The connection that an answer comes on: its bytes, and what reads ahead of them."""

    @property
    def wire(self) -> Wire:
        """What counts and times the bytes."""

    @property
    def stream(self) -> Stream:
        """The bytes, from behind the head on."""

    def release(self, *, reusable: bool) -> None:
        """Let go of it: for the next request, or for good. Never raises."""


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

    def __init__(self, method: str, head: Head, line: Line, *, proxied: bool) -> None:
        self.status = head.status
        self.headers: Mapping[str, str] = _joined(head.fields)
        self.locations: tuple[str, ...] = tuple(value for name, value in head.fields if name == "location")
        self.body: Body = _framed(method, self.status, self.headers, line)
        #: Whether the head has lines that are no header fields.
        self.has_broken_lines = head.is_flawed
        self._persists = head.persists
        self._line = line
        self._is_released = False
        #: The address that a redirect came from; None behind a proxy.
        self.peer = _peer(line.wire.connection) if self.locations and not proxied else None

    def shut_down(self) -> None:
        """End the connection from another thread: whoever reads from it wakes up."""
        shut_down(self._line.wire.connection)

    def wait_at_most(self, seconds: float) -> None:
        """From now on, silence for so long is too long."""
        self._line.wire.wait_at_most(seconds)

    def discard(self) -> None:
        """Let go of an answer whose body nobody wants; a short one is read, so that the connection can be used again.
        Never raises."""
        if not self.body.ended and not self._is_released:
            self._drain()
        self.release()

    def _drain(self) -> None:
        length = content_length(self.headers)
        if length is None or length > _DRAINED:
            return
        with contextlib.suppress(*FOREIGN, FileError):
            self.wait_at_most(LAST_WORD_SECONDS)
            rest = memoryview(bytearray(length))
            while not self.body.ended and self.body.readinto(rest):
                pass

    def release(self) -> None:
        """Let go of the connection: for the next request when the body's end was seen, else for good. Never raises;
        calling it again changes nothing."""
        if not self._is_released:
            self._is_released = True
            self._line.release(reusable=self.body.ended and self._reusable)

    @property
    def _reusable(self) -> bool:
        # Both a length and a transfer coding: the body can be read, the connection not trusted again (RFC 9112, 6.3).
        both = "transfer-encoding" in self.headers and "content-length" in self.headers
        # And after an interim answer that was taken for the last one, the last one is still to come.
        return not both and self._persists and self.status >= 200


class Channel:
    """Sends requests. Safe to use from many threads."""

    def __init__(self, limits: HttpLimits, routes: Routes) -> None:
        self.limits = limits
        self.routes = routes
        self.direct = Direct(limits, self.context)
        self._through: Proxied | None = None
        self._tls: ssl.SSLContext | None = None
        self._lock = threading.Lock()

    def send(self, request: Request, stop: Stop) -> Reply:
        """Send one request and read the head of its answer. Raises SourceError, Interrupted, and SettingInvalid for a
        proxy that cannot be."""
        url = request.url
        proxy = self.routes.proxy_for(url)
        while True:
            call = Call(self.limits, stop, request.public_only and proxy is None)
            try:
                line: Line
                with stop.closing(call.wake):
                    if proxy is None:
                        head, line = self.direct.send(request, call)
                    else:
                        head, line = self._proxied.send(request, proxy, call)
            except SourceError as error:
                if proxy is None or not call.unreached:
                    raise
                raise unreached_proxy(error, url, proxy) from error
            except FOREIGN as error:
                stop.check()
                if call.is_stale and not is_silence(error):
                    # The server had closed a kept connection before this request came (RFC 9112, 9.3.1).
                    continue
                raise source_error(error, url) from told_cause(error)
            finally:
                call.over()
            return reply_of(request, head, line, proxy)

    def open(self, request: Request, stop: Stop) -> socket.socket:
        """A new connection to whom a request asks, without a proxy. Raises SourceError, Interrupted, and SettingInvalid
        for certificates that cannot be read."""
        call = Call(self.limits, stop, request.public_only)
        try:
            with stop.closing(call.wake):
                return self.direct.open(place_of(request.url, public_only=request.public_only), call)
        except FOREIGN as error:
            stop.check()
            raise source_error(error, request.url) from told_cause(error)
        finally:
            call.over()

    def close(self) -> None:
        """Close all connections that are kept."""
        self.direct.close()
        if self._through is not None:
            self._through.close()

    @property
    def _proxied(self) -> Proxied:
        with self._lock:
            if self._through is None:
                # It brings urllib3, which nobody needs without a proxy.
                from gemmalock.sources.proxied import Proxied

                self._through = Proxied(self.limits, self.context)
            return self._through

    def context(self) -> ssl.SSLContext:
        """Whom to believe. Reading the system's certificates takes a tenth of a second: not for plain http."""
        from gemmalock.sources.certificates import tls_context

        with self._lock:
            if self._tls is None:
                self._tls = tls_context(self.routes.ca_file, self.routes.ca_variable)
            return self._tls


def _peer(connection: Any) -> str | None:
    with contextlib.suppress(OSError, AttributeError, IndexError):
        return str(connection.getpeername()[0])
    return None


def _joined(fields: tuple[tuple[str, str], ...]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in fields:
        told = value if name in _FRAMING else redacted_secrets(value)
        joined[name] = f"{joined[name]}, {told}" if name in joined else told
    return joined


def _framed(method: str, status: int, fields: Mapping[str, str], line: Line) -> Body:
    """The body behind a head (RFC 9112, 6.3)."""
    line.wire.head_limit = None
    if method == "HEAD" or status in _BODILESS or status < 200:
        return Counted(line.stream, 0)
    if "transfer-encoding" in fields:
        return Chunked(line.stream)
    length = content_length(fields)
    if length is not None:
        return Counted(line.stream, length)
    line.wire.insist_on_a_clean_end()
    return UntilClose(line.stream)


def _server(url: str) -> str:
    """Host and port of a URL, as a list of exceptions has them."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{parts.port or {'https': 443}.get(parts.scheme, 80)}"


def reply_of(request: Request, head: Head, line: Line, proxy: Proxy | None = None) -> Reply:
    """The answer with that head. Raises SourceError for what a proxy says for itself, and for a head whose body nobody
    can delimit safely (RFC 9112, 6.1 to 6.3)."""
    reply, url = Reply(request.method, head, line, proxied=proxy is not None), request.url
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

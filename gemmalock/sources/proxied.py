"""Requests through a proxy, by urllib3: it tunnels to https servers, also where the proxy itself speaks TLS.

Its connections are opened by `connecting`, so that they can be interrupted, and its answers are read by `bodies`. It
offers a seam for the one (`ConnectionCls`), and `http.client` one for the other (`response_class`). Neither passes on
who is asking; the thread's `Call` does.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import queue
import re
import socket
import threading
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from gemmalock.errors import SourceError
from gemmalock.secret import Secret
from gemmalock.sources.bodies import Stream
from gemmalock.sources.failures import FOREIGN, causes, proxy_refusal, source_error, unreached_proxy
from gemmalock.sources.head import Head, HungUp, NotHttp
from gemmalock.sources.proxies import Proxy
from gemmalock.sources.request import NoUrl, Request
from gemmalock.sources.wire import BUFFER, Call, HttpLimits, Wire
from gemmalock.spec import scheme_of

if TYPE_CHECKING:
    import ssl

_KEPT_CONNECTIONS = 64
_MAX_LINE = 64 * 1024
#: How the standard library tells that a tunnel was refused.
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")
_CALL: ContextVar[Call] = ContextVar("_CALL")


@dataclass(frozen=True, slots=True)
class Line:
    """A connection whose answer is being read, as channel.Line has it."""

    wire: Wire
    stream: Stream
    response: urllib3.BaseHTTPResponse
    told: _Response

    def release(self, *, reusable: bool) -> None:
        """As channel.Line has it."""
        with contextlib.suppress(urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError):
            if not reusable:
                self.response.close()
            self.told.close()
            self.response.release_conn()


class Proxied:
    """Sends requests through proxies. Safe to use from many threads."""

    def __init__(self, limits: HttpLimits, context: Callable[[], ssl.SSLContext]) -> None:
        """`context`: whom to believe over TLS; asked for when it is needed."""
        self._limits = limits
        self._context = context
        self._managers: dict[tuple[str, Proxy], urllib3.ProxyManager] = {}
        self._lock = threading.Lock()

    def send(self, request: Request, proxy: Proxy, call: Call) -> tuple[Head, Line]:
        """Send one request: the head of its answer, and the connection, on which its body comes. Raises SourceError,
        and those of `failures.FOREIGN`."""
        url, token = request.url, _CALL.set(call)
        try:
            response = self._manager(scheme_of(url), proxy).urlopen(
                request.method,
                url,
                headers=dict(request.fields),
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=urllib3.Timeout(connect=self._limits.connect_seconds, read=self._limits.read_seconds),
            )
        except (urllib3.exceptions.HTTPError, http.client.HTTPException) as error:
            raise _refused_by_proxy(error, url, proxy) or _plain(error) from None
        finally:
            _CALL.reset(token)
        told = _Response.of(response)
        lines = tuple((name.lower(), value) for name, value in response.headers.iteritems())
        head = Head.of(response.status, lines, told.version - 10, is_flawed=bool(told.headers.defects))
        return head, Line(told.wire, told.stream, response, told)

    def close(self) -> None:
        """Close all connections that are kept."""
        with self._lock:
            managers = list(self._managers.values())
            self._managers.clear()
        for manager in managers:
            manager.clear()

    def _manager(self, scheme: str, proxy: Proxy) -> urllib3.ProxyManager:
        with self._lock:
            manager = self._managers.get((scheme, proxy))
            if manager is None:
                manager = self._managers[scheme, proxy] = self._new_manager(scheme, proxy)
            return manager

    def _new_manager(self, scheme: str, proxy: Proxy) -> urllib3.ProxyManager:
        settings: dict[str, Any] = {"maxsize": _KEPT_CONNECTIONS, "block": False}
        if scheme == "https":
            settings["ssl_context"] = self._context()
        parts = urlsplit(proxy.url)
        given = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
        fields = urllib3.make_headers(proxy_basic_auth=given) if given else {}
        for secret in (unquote(parts.password or ""), fields.get("proxy-authorization", "").rpartition(" ")[2]):
            Secret(secret)
        if scheme_of(proxy.url) == "https":
            settings["proxy_ssl_context"] = self._context()
        manager = urllib3.ProxyManager(proxy.url, 32, proxy_headers=fields, **settings)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        return manager


def _refused_by_proxy(error: Exception, url: str, proxy: Proxy) -> SourceError | None:
    """The error where it was the proxy that failed, and not who is behind it."""
    found = causes(error)
    for cause in found:
        if isinstance(cause, OSError) and (refused := _TUNNEL.search(str(cause))):
            return proxy_refusal(int(refused[1]), url, proxy)
    if any(isinstance(cause, urllib3.exceptions.ProxyError) for cause in found):
        # Over TCP it was reached; it should have spoken TLS.
        inner = source_error(found[-1], proxy.shown)
        return unreached_proxy(inner, url, proxy) if isinstance(inner, SourceError) else None
    return None


def _plain(error: Exception) -> Exception:
    """What urllib3 and `http.client` mean, as one of `failures.FOREIGN`."""
    found = causes(error)
    last = found[-1]
    if any(isinstance(each, urllib3.exceptions.LocationValueError | http.client.InvalidURL) for each in found):
        return NoUrl(str(last))
    if any(isinstance(each, TimeoutError | urllib3.exceptions.TimeoutError) for each in found):
        return TimeoutError("timed out")
    if isinstance(last, http.client.RemoteDisconnected):
        return HungUp("closed the connection without an answer")
    return last if isinstance(last, FOREIGN) else NotHttp(str(last) or type(last).__name__)


@dataclass(frozen=True, slots=True)
class _Made:
    """A stream in the place of the socket that the standard library would make it from."""

    stream: io.BufferedReader

    def makefile(self, mode: str) -> io.BufferedReader:
        """The stream."""
        return self.stream


class _Response(http.client.HTTPResponse):
    """The standard library's response, with a stream of ours below it."""

    def __init__(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
        #: The standard library lets go of a connection that will close while its answer is still to be read.
        self.held: io.RawIOBase = sock.makefile("rb", buffering=0)
        self.wire = _CALL.get().reads(sock)
        self.stream = io.BufferedReader(self.wire, BUFFER)
        super().__init__(_Made(self.stream), debuglevel, method, url)  # type: ignore[arg-type]

    def close(self) -> None:
        super().close()
        self.held.close()

    @classmethod
    def of(cls, response: urllib3.BaseHTTPResponse) -> _Response:
        """Ours, below one of urllib3."""
        told = response._original_response  # type: ignore[attr-defined]
        assert isinstance(told, cls)
        return told

    def _read_status(self) -> tuple[str, int, str]:
        # The standard library's skips `100 Continue` alone; a client has to skip them all (RFC 9110, 15.2).
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 102 <= status < 200:
                return version, status, reason
            while self.fp.readline(_MAX_LINE) not in (b"\r\n", b"\n", b""):
                pass


class _Connection(HTTPConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        return _CALL.get().connect(self.host.strip("[]"), self.port or 0)


class _SecureConnection(HTTPSConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        return _CALL.get().connect(self.host.strip("[]"), self.port or 0)


class LiveFirst(queue.LifoQueue[Any]):
    """The connections that a pool keeps. One that is open is given out before a place where none is yet: what a failure
    leaves behind would else lie on top of it, and a server that talks to one at a time waits for the one below."""

    def _put(self, item: Any) -> None:
        if getattr(item, "sock", None) is None:
            self.queue.insert(0, item)
        else:
            self.queue.append(item)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection
    QueueCls = LiveFirst


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection
    QueueCls = LiveFirst

"""A request as it travels: whom a URL asks, what of it, and the bytes of that. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from gemmalock.sources.connecting import is_literal
from gemmalock.spec import base_of

#: A name, or what a name is percent-encoded as (RFC 3986, 3.2.2).
_NAME = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=%-]+")
#: What stands for itself in a path or a query (RFC 3986, 3.3 and 3.4), and an encoded byte, which stays as it is.
_PLAIN = "/?:@!$&'()*+,;=-._~%"
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNFIT = re.compile(r"[\r\n\0]")
_PORTS = {"http": 80, "https": 443}


class NoUrl(ValueError):
    """A URL that cannot be asked for."""


class Request(NamedTuple):
    """A request without a body. `public_only`: it goes to no address of this machine or of a private network."""

    method: str
    url: str
    fields: Mapping[str, str]
    public_only: bool = False


class Place(NamedTuple):
    """Whom a URL asks. `host` is a name, or an address without brackets; `public_only`: no address of this machine or
    of a private network."""

    scheme: str
    host: str
    port: int
    public_only: bool

    @property
    def name(self) -> str:
        """The host as others know it: the zone of an address is of this machine only (RFC 6874, 1)."""
        return self.host.partition("%")[0] if ":" in self.host else self.host

    @property
    def authority(self) -> str:
        """What the Host field says (RFC 9110, 7.2)."""
        host = f"[{self.name}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def place_of(url: str, *, public_only: bool) -> Place:
    """Whom a URL asks. Raises NoUrl."""
    return _place_of(base_of(url), public_only)


@lru_cache(1024)
def _place_of(base: str, public_only: bool) -> Place:
    try:
        parts = urlsplit(base)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise NoUrl(str(error)) from error
    if ":" in host:
        host = host.replace("%25", "%", 1)
    if not (is_literal(host) if ":" in host else _NAME.fullmatch(host)):
        raise NoUrl(f"`{host}` is no host")
    return Place(parts.scheme, host, _PORTS[parts.scheme] if port is None else port, public_only)


def target_of(url: str) -> str:
    """What is asked of it: path and query, as they travel (RFC 9112, 3.2.1). A byte that has no place in a URL is
    percent-encoded; `.` and `..` are followed (RFC 3986, 2.1 and 5.2.4)."""
    path, mark, query = url[len(base_of(url)) :].partition("#")[0].partition("?")
    if "/." in path:
        path = _walked(path)
    path = _escaped(path) or "/"
    return f"{path}{mark}{_escaped(query)}"


def _escaped(text: str) -> str:
    """Where one `%` begins no byte, none does: so it is text that nobody has encoded yet."""
    return quote(text.replace("%", "%25") if _BARE_PERCENT.search(text) else text, safe=_PLAIN)


def _walked(path: str) -> str:
    """A path with its `.` and `..` followed, as far as they go (RFC 3986, 5.2.4)."""
    walked: list[str] = []
    _, *segments = path.split("/")
    for segment in segments:
        if segment == "..":
            del walked[-1:]
        elif segment != ".":
            walked.append(segment)
    end = "/" if segments[-1] in (".", "..") and walked else ""
    return f"/{'/'.join(walked)}{end}"


def request_bytes(request: Request, authority: str) -> bytes:
    """A request as it travels to whom `authority` names (RFC 9112, 3). Raises ValueError for a field that cannot be
    sent, whose value it does not repeat."""
    for name, value in request.fields.items():
        # A pattern of all that is beyond Latin-1 takes longer to compile than a hundred requests.
        if _UNFIT.search(value) or not (value.isascii() or max(value) <= "\xff"):
            raise ValueError(f"the field `{name}` cannot be sent: only Latin-1 can, without line breaks")
    lines = "".join(f"{name}: {value}\r\n" for name, value in request.fields.items())
    first = f"{request.method} {target_of(request.url)} HTTP/1.1\r\nHost: {authority}\r\n"
    return f"{first}{lines}\r\n".encode("latin-1")

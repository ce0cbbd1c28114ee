"""Where a redirect may lead. Pure: an answer's Location in, the next URL or a refusal out.

gemmalock follows redirects itself, one hop at a time, so that every hop's request is made anew for that hop's origin:
nothing that is meant for one origin (a validator, later a credential) reaches another.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urljoin, urlsplit

from gemmalock.errors import RedirectRefused
from gemmalock.sources.fields import quoted, shown_url
from gemmalock.spec import is_loopback

#: The statuses that send a GET elsewhere (RFC 9110, 15.4). A 300 or a 304 was not asked for.
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_HOPS = 10
_CONTROLS = re.compile(r"[\x00-\x20\x7f-\x9f\\]")
_INSECURE_HINT = "`allow-http` in the settings lets gemmalock use plain http"
_PRIVATE_HINT = (
    "a public server has no business with addresses of your own network; give that URL directly if you mean it"
)


def next_hop(
    from_url: str,
    status: int,
    location: str | Sequence[str],
    *,
    allow_http: bool = False,
    hops: int = 0,
    from_private: bool = False,
    limit: int = MAX_HOPS,
) -> str:
    """The URL that a redirect of `from_url` leads to. `hops` counts those that were followed before.

    `location` is the Location field, or every one that came. `from_private`: the server that redirects was reached at
    an address of a private network, and may point into it. Raises RedirectRefused for too many hops, no Location or
    several, one that cannot be read, another scheme than http and https, https to http, loopback to plain http
    elsewhere unless `allow_http`, and an address of this machine or of a private network coming from a public server.
    """
    if hops >= limit:
        raise RedirectRefused(f"`{shown_url(from_url)}` leads through more than {limit} redirects")
    url = _target(from_url, status, location)
    before, after = urlsplit(from_url), urlsplit(url)
    step = f"`{shown_url(from_url)}` redirects to `{shown_url(url)}`"
    if after.scheme not in ("http", "https"):
        raise RedirectRefused(f"{step}, and gemmalock goes to http and https only")
    if before.scheme == "https" and after.scheme == "http":
        raise RedirectRefused(f"{step}, out of https into plain http")
    if after.scheme == "http" and not is_loopback(url) and not allow_http and is_loopback(from_url):
        raise RedirectRefused(f"{step}, which is plain http", hint=_INSECURE_HINT)
    if not from_private and not is_inner_host(before.hostname or "") and is_inner_host(after.hostname or ""):
        raise RedirectRefused(f"{step}, which is an address of this machine or network", hint=_PRIVATE_HINT)
    return url


def is_inner_host(host: str) -> bool:
    """Whether a host, as a URL has it, is this machine by name, or a literal address that `is_inner_address`."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    return is_inner_address(name) if _is_literal(name) else False


def is_inner_address(address: str) -> bool:
    """Whether an IP address is not one of the public internet: loopback, private, link-local, unspecified and the like
    (RFC 6890), also where an IPv6 address wraps such an IPv4 one."""
    try:
        literal = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return _old_spelling(address) is not None
    if isinstance(literal, ipaddress.IPv6Address):
        inner = literal.ipv4_mapped or literal.sixtofour
        if inner is not None:
            literal = inner
    return not literal.is_global or literal.is_multicast


def _target(from_url: str, status: int, location: str | Sequence[str]) -> str:
    where = f"`{shown_url(from_url)}` answered {status}"
    given = [location] if isinstance(location, str) else list(location)
    if len(set(given)) != 1 or not given[0].strip(" \t"):
        missing = "with several `Location`" if len(set(given)) > 1 else "without a `Location`"
        raise RedirectRefused(f"{where} {missing}")
    # A space is percent-encoded, as curl does it; no URL has one, and many a server sends one.
    text = given[0].strip(" \t").replace(" ", "%20")
    if _CONTROLS.search(text):
        raise RedirectRefused(f"{where} with a `Location` that has control characters or a backslash: `{quoted(text)}`")
    try:
        url = urljoin(from_url, text).partition("#")[0]
        parts = urlsplit(url)
        usable = (
            parts.port != 0
            and "%20" not in parts.netloc
            and (bool(parts.hostname) or parts.scheme not in ("http", "https"))
        )
    except ValueError:
        usable = False
    if not usable:
        raise RedirectRefused(f"{where} with a `Location` that is no URL: `{shown_url(text)}`")
    if "@" in parts.netloc:
        raise RedirectRefused(f"{where} with a `Location` that has a user name in it: `{shown_url(url)}`")
    return url


def _is_literal(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return _old_spelling(name) is not None
    return True


def _old_spelling(name: str) -> str | None:
    """A name that C libraries read as an IPv4 address, as `127.1` or `0x7f000001`: never one of the DNS, since no top
    level domain is a number. Treated as an inner address whatever it says."""
    last = name.rpartition(".")[2]
    return name if re.fullmatch(r"0[xX][0-9a-fA-F]*|\d+", last) else None

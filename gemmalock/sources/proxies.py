"""Which proxy a request goes through, read from an environment that the caller gives. Nothing is connected to."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from gemmalock.errors import SettingInvalid
from gemmalock.sources.fields import origin_of

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
#: A host, or an IPv6 address in brackets, and a port.
_SERVER = re.compile(r"(?:\[(?P<address>[^]]*)\]|(?P<host>[^:]*))(?::(?P<port>[0-9]+))?")
_SOCKS = frozenset({"socks", "socks4", "socks4a", "socks5", "socks5h"})


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy by its URL, which may hold a password, and the variable that names it."""

    url: str = field(repr=False)
    variable: str

    @property
    def shown(self) -> str:
        """Where it is, without a name and a password. Raises ValueError for what is no URL."""
        return origin_of(self.url)

    @property
    def has_credential(self) -> bool:
        """Whether it is sent a name and a password."""
        return bool(urlsplit(self.url).username)

    def check(self) -> None:
        """Raise SettingInvalid for a URL that is no http or https proxy's: it may hold a secret, and is not
        repeated."""
        scheme = self.url.partition("://")[0].lower()
        try:
            parts = urlsplit(self.url)
            is_sound = scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_sound = False
        if not is_sound or re.search(r"[\s\\]", self.url):
            kind = f"a {scheme} proxy, and that is" if scheme in _SOCKS else "what is"
            hint = f"write `{self.variable}` as `http://host:port`; what is special in a password is percent-encoded"
            raise SettingInvalid(f"`{self.variable}` names {kind} no http or https proxy", hint=hint)


def proxies_from(environ: Mapping[str, str]) -> dict[str, Proxy]:
    """The proxy of each scheme by `HTTP_PROXY`, `HTTPS_PROXY` and `ALL_PROXY`, in either case; lower case wins, and an
    empty one switches the proxy off.

    As in curl and Python's own library, an upper-case `HTTP_PROXY` does not count where `REQUEST_METHOD` is set: in a
    CGI program it is a header that a stranger sent (CVE-2016-1000110).
    """
    found: dict[str, Proxy] = {}
    for scheme in ("http", "https"):
        variable = _proxy_variable(environ, scheme)
        url = environ[variable].strip() if variable is not None else ""
        if variable is not None and url:
            found[scheme] = Proxy(url if "://" in url else f"http://{url}", variable)
    return found


def no_proxy_variable(environ: Mapping[str, str]) -> str | None:
    """The variable that lists hosts which need no proxy; None where none does."""
    name = next((name for name in ("no_proxy", "NO_PROXY") if name in environ), None)
    return name if name is not None and environ[name].strip() else None


def no_proxy_from(environ: Mapping[str, str]) -> Callable[[str], bool]:
    """Whether a server, given as `host:port`, is reached without a proxy, by `NO_PROXY`: names, which stand for what is
    below them too, addresses, each with a port or for all ports; networks, as `10.0.0.0/8`; or `*`."""
    variable = no_proxy_variable(environ)
    listed = [word for word in re.split(r"[,\s]+", environ[variable]) if word] if variable is not None else []
    networks = [network for network in map(_network, listed) if network is not None]
    names = {"no": ",".join(word for word in listed if _network(word) is None)}

    def bypassed(server: str) -> bool:
        host, port = _host_and_port(server)
        address = _address(host)
        if "*" in listed:
            return True
        if address is not None:
            return any(address in network and of in (None, port) for network, of in networks)
        if not names["no"]:
            return False
        # It brings all of HTTP with it.
        import urllib.request

        # Given a table, the library does not read the environment itself.
        return bool(urllib.request.proxy_bypass_environment(server, names))  # type: ignore[attr-defined]

    return bypassed


def _proxy_variable(environ: Mapping[str, str], scheme: str) -> str | None:
    for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"):
        if name in environ and not (name == "HTTP_PROXY" and "REQUEST_METHOD" in environ):
            return name
    return None


def _host_and_port(server: str) -> tuple[str, str | None]:
    found = _SERVER.fullmatch(server)
    if found is None:
        # An IPv6 address, or a network of them, as it is.
        return server.replace("[", "").replace("]", ""), None
    return found["address"] or found["host"] or "", found["port"]


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _network(word: str) -> tuple[_Network, str | None] | None:
    """The addresses that a word of the list stands for, and the port that it is about, if any; None for a name."""
    host, port = _host_and_port(word)
    try:
        return ipaddress.ip_network(host, strict=False), port
    except ValueError:
        return None

"""Which proxy a request goes through, read from an environment that the caller gives. Nothing is connected to."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Mapping


def proxies_from(environ: Mapping[str, str]) -> dict[str, str]:
    """The proxy URL of each scheme by `HTTP_PROXY`, `HTTPS_PROXY` and `ALL_PROXY`, in either case; lower case wins,
    and an empty one switches the proxy off.

    As in curl and Python's own library, an upper-case `HTTP_PROXY` does not count where `REQUEST_METHOD` is set: in a
    CGI program it is a header that a stranger sent (CVE-2016-1000110).
    """
    named = _named(environ)
    if "REQUEST_METHOD" in environ and "http_proxy" not in environ:
        named.pop("http", None)
    chosen = {scheme: named.get(scheme, named.get("all", "")) for scheme in ("http", "https")}
    return {scheme: url if "://" in url else f"http://{url}" for scheme, url in chosen.items() if url}


def proxy_variable(environ: Mapping[str, str], scheme: str) -> str | None:
    """The variable that says which proxy a scheme has; None where none does."""
    for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"):
        if name in environ and not (name == "HTTP_PROXY" and "REQUEST_METHOD" in environ):
            return name
    return None


def no_proxy_variable(environ: Mapping[str, str]) -> str | None:
    """The variable that lists hosts which need no proxy; None where none does."""
    return next((name for name in ("no_proxy", "NO_PROXY") if environ.get(name)), None)


def no_proxy_from(environ: Mapping[str, str]) -> Callable[[str], bool]:
    """Whether a host is reached without a proxy, by `NO_PROXY`: names, suffixes of names, addresses, or `*`."""
    listed = _named(environ).get("no", "")

    def bypassed(host: str) -> bool:
        # Given a table, the library does not read the environment itself.
        return bool(listed) and bool(urllib.request.proxy_bypass_environment(host, {"no": listed}))  # type: ignore[attr-defined]

    return bypassed


def _named(environ: Mapping[str, str]) -> dict[str, str]:
    named: dict[str, str] = {}
    for spelling in (str.upper, str.lower):
        for scheme in ("http", "https", "all", "no"):
            value = environ.get(spelling(f"{scheme}_proxy"))
            if value is not None:
                named[scheme] = value.strip()
    return named

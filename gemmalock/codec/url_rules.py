"""What a URL in a manifest or a lock may look like: rules, each with the sentence for the one who broke it.

Asking a URL is a source's; what a token is for is the settings'. No message here repeats a secret.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from gemmalock.escaping import is_secret_key, shown
from gemmalock.spec import base_of, is_local, is_loopback, name_in_url, scheme_of

MAX_URL = 4000
_CURE = "give it to gemmalock in the environment or in the settings (`auth`), which say what a token is for by origin"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SPACE = re.compile(r"\s")
_WEB = frozenset({"http", "https"})
#: URLs of the web in which nothing can be wrong, as nearly all are: a host, and folders and a name in plain letters.
_PLAIN = re.compile(
    r"(?P<scheme>https?)://[A-Za-z0-9.-]++(?::[1-5]?[0-9]{1,4})?/(?:[\w.~+@=-]++/)*+(?P<name>[\w.~+@=-]++)", re.ASCII
)


class Wrong(NamedTuple):
    """Why a URL cannot stand, what to do, and whether its text holds a secret."""

    message: str
    hint: str
    secret: bool = False


def url_wrongs(url: str, schemes: Collection[str] | None) -> Iterator[Wrong]:
    """What is wrong with a URL; `schemes` are those that are known, None: any."""
    if not url:
        yield Wrong("the URL is empty", "write it as `https://…`")
        return
    plain = _PLAIN.fullmatch(url) if len(url) <= MAX_URL else None
    if plain is not None and (schemes is None or plain["scheme"] in schemes):
        return
    yield from credential_wrongs(url)
    wrong = _form_wrong(url, schemes)
    if wrong is not None:
        yield wrong


def credential_wrongs(url: str) -> Iterator[Wrong]:
    """The credentials in a URL: before an `@`, or in its query. Secrets never stand in a manifest or a lock."""
    rest = url.partition("://")[2]
    host_part = re.split(r"[/?#]", rest, maxsplit=1)[0]
    before, at, _ = host_part.rpartition("@")
    # In `hf://name@revision` and `oci://name@digest` an `@` is no sign of credentials; a password is.
    if at and (scheme_of(url) in _WEB or ":" in before):
        yield Wrong("the URL has credentials in it, before the `@`", f"take them out; {_CURE}", True)
    query = rest.partition("#")[0].partition("?")[2]
    for pair in re.split("[&;]", query) if query else ():
        key = unquote(pair.partition("=")[0])
        if is_secret_key(key):
            message = f"the URL has a credential in it, its query's `{shown(key)}`"
            yield Wrong(message, f"use the URL that was signed, without the signature; {_CURE}", True)
            return


@lru_cache(4096)  # as that one is
def file_name(url: str) -> str:
    """As `spec.name_in_url`, and sooner for a plain URL."""
    plain = _PLAIN.fullmatch(url)
    return plain["name"] if plain is not None else name_in_url(url)


def http_wrong(url: str, *, takes_digest: bool) -> Wrong | None:
    """Why `http://` to this host needs a declared digest, or None: loopback, or another scheme. `takes_digest` says
    whether one could be declared here."""
    if scheme_of(url) != "http" or is_loopback(url):
        return None
    declare = "declare the file's `sha256`" if takes_digest else "declare each file by `url` and `sha256`"
    hint = f"use `https://`, {declare}, or allow it with `allow-http` in the settings"
    return Wrong("`http://` to another machine proves nothing about the bytes", hint)


def _form_wrong(url: str, schemes: Collection[str] | None) -> Wrong | None:
    scheme = scheme_of(url)
    if len(url) > MAX_URL:
        return Wrong(f"the URL is longer than {MAX_URL} characters", "")
    if _CONTROL.search(url):
        return Wrong(f"the URL has a control character: `{shown(url)}`", "remove it")
    if not scheme or not _SCHEME.fullmatch(scheme):
        return Wrong(f"`{shown(url)}` has no scheme", "write it as `https://…`, `hf://…` or `file://…`")
    if schemes is not None and scheme not in schemes:
        return Wrong(f"`{shown(scheme)}://` is not a scheme that is known", _scheme_hint(scheme, schemes))
    if is_local(url):
        place = url.partition("://")[2]
        return None if place.strip("/") else Wrong("the URL names no file", f"write it as `{scheme}://folder/name`")
    return _web_wrong(url)


def _web_wrong(url: str) -> Wrong | None:
    if _SPACE.search(url):
        return Wrong(f"the URL has a space in it: `{shown(url)}`", "percent-encode it, as `%20`")
    if "\\" in url:
        return Wrong(f"the URL has a backslash in it: `{shown(url)}`", "write `/`")
    if "#" in url:
        return Wrong("the URL has a fragment, which no server gets to see", "remove it from the `#` on")
    return _host_wrong(base_of(url))


@lru_cache(1024)
def _host_wrong(base: str) -> Wrong | None:
    try:
        parts = urlsplit(base)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        # A password that was not percent-encoded can end up in this message: say it in our own words.
        return Wrong("the URL's host or port cannot be read", _port_hint(error))
    return None if host else Wrong("the URL has no host", f"write it as `{parts.scheme}://host/…`")


def _port_hint(error: ValueError) -> str:
    if "port" in str(error).lower():
        return "a port is a number from 0 to 65535, after the host and a `:`"
    return "an IPv6 address stands in brackets, as `[::1]`"


def _scheme_hint(scheme: str, schemes: Collection[str]) -> str:
    import difflib

    near = difflib.get_close_matches(scheme[:40], sorted(schemes), n=1)
    meant = f"did you mean `{near[0]}://`? " if near else ""
    known = ", ".join(f"`{name}`" for name in sorted(schemes))
    return f"{meant}known are {known}; plugins bring others"

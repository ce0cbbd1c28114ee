"""Which credential goes to which origin: scheme, host and port, each time a request is made.

A credential is for the origins that its owner's settings and environment name. It is looked up anew at each hop of a
redirect, so that none ever follows one; it goes over TLS, or to this machine; and it is called by its name alone.
"""

from __future__ import annotations

import contextlib
import enum
import ipaddress
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from gemmalock.errors import SettingInvalid, Unauthorized
from gemmalock.sources.endpoints import endpoint_of
from gemmalock.sources.fields import origin_of
from gemmalock.sources.keepers import (
    KEYRING,
    KEYRING_SERVICE,
    Fields,
    Keeper,
    Keyring,
    Netrc,
    TokenFile,
    Variable,
    secret_file,
)
from gemmalock.sources.places import hub_home, placed
from gemmalock.spec import base_of, is_loopback

#: Where a workflow says that GitHub is.
_GITHUB = ("GITHUB_API_URL", "GITHUB_SERVER_URL")
#: What parsers of URLs do not agree about: such a URL is nobody's origin.
_DISPUTED = re.compile(r"[\x00-\x20\x7f\\]")
_TRUE = frozenset({"1", "on", "yes", "true"})


class Credential(NamedTuple):
    """What requests to one origin carry; `name` says where it comes from."""

    name: str
    fields: Fields

    @property
    def headers(self) -> dict[str, str]:
        """The fields of a request, in the clear: for the request alone."""
        return {name: secret.reveal() for name, secret in self.fields}


class Sending(NamedTuple):
    """What would go to an origin: `names` of those who have something for it, the one that counts first. `flaw`: why
    that one cannot be sent."""

    origin: str
    names: tuple[str, ...]
    flaw: str | None = None


class Credentials:
    """The credentials of one run; safe to use from many threads."""

    def __init__(self, environ: Mapping[str, str], auth: Iterable[tuple[str, str]] = ()) -> None:
        self._warnings: dict[str, None] = {}
        self.keepers = keepers(environ, auth, lambda text: self._warnings.setdefault(text))
        self._known: dict[str, Credential | None] = {}
        self._lock = threading.Lock()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was found out about the places of credentials, a sentence each."""
        return tuple(self._warnings)

    def for_url(self, url: str) -> Credential | None:
        """What a request for this very URL carries, or None. Raises Unauthorized for a credential that cannot be
        sent."""
        origin = trusted_origin(url)
        if origin is None:
            return None
        with self._lock:
            if origin not in self._known:
                self._known[origin] = self._found(origin)
            return self._known[origin]

    def sendings(self) -> list[Sending]:
        """What would go to each origin that anybody here has something for."""
        origins = sorted({origin for keeper in self.keepers for origin in keeper.origins()})
        return [found for origin in origins if (found := self._sending(origin)).names]

    def cure(self, status: int, url: str, sent: str | None) -> str:
        """What to do about a 401 or 403 of `url`; `sent` is the name of the credential that was sent."""
        if sent is not None and status == 401:
            return f"`{sent}` was sent and not accepted: check that it is still valid"
        if sent is not None:
            return f"`{sent}` was sent and is not enough: check what it may read, or whether the link has expired"
        origin = _trusted(url)
        if isinstance(origin, Untrusted):
            return f"no credential was sent: {origin.value}"
        return f"no credential was sent: {self._usual(origin)}, or enter its host in netrc"

    def _usual(self, origin: str) -> str:
        for keeper in self.keepers:
            if isinstance(keeper, Variable) and origin in keeper.whom:
                return f"set `{keeper.name}`"
            if isinstance(keeper, Keyring) and origin in keeper.whom:
                return f"`keyring set {KEYRING_SERVICE} {origin}` enters one"
        return f"let `auth` in the settings name a variable for `{origin}`"

    def _found(self, origin: str) -> Credential | None:
        for keeper in self.keepers:
            fields = keeper.fields(origin)
            if fields is not None:
                return Credential(keeper.name, fields)
        return None

    def _sending(self, origin: str) -> Sending:
        names: list[str] = []
        flaw: str | None = None
        for keeper in self.keepers:
            try:
                # The keyring may want to be unlocked: it is asked when there is something to send.
                if isinstance(keeper, Keyring):
                    held = keeper.is_installed and origin in keeper.origins()
                else:
                    held = keeper.fields(origin) is not None
                if not held:
                    continue
            except Unauthorized as error:
                flaw = flaw if names else error.message
            names.append(keeper.name)
        return Sending(origin, tuple(names), flaw)


class Untrusted(enum.Enum):
    """Why no credential is sent to a URL."""

    PLAIN = "one goes over https only"
    DISPUTED = "programs read this URL in different ways"
    NOT_ASCII = "its host has to be written in ASCII, as `xn--…`"
    USER = "its URL has a user name in it"


def trusted_origin(url: str) -> str | None:
    """The origin of a URL that a credential may be sent to: https, or on this machine; None for any other, for one
    with a user name in it and for one that programs read in different ways."""
    found = _trusted(url)
    return None if isinstance(found, Untrusted) else found


def _trusted(url: str) -> str | Untrusted:
    found = _trusted_base(base_of(url))
    if found in (Untrusted.USER, Untrusted.NOT_ASCII):
        return found
    return Untrusted.DISPUTED if _DISPUTED.search(url) else found


@lru_cache(1024)
def _trusted_base(base: str) -> str | Untrusted:
    try:
        parts = urlsplit(base)
        origin = origin_of(base)
    except ValueError:
        return Untrusted.DISPUTED
    if "@" in parts.netloc:
        return Untrusted.USER
    # Beyond the host all agree: what is not ASCII there is percent-encoded.
    if not parts.netloc.isascii():
        return Untrusted.NOT_ASCII
    if _DISPUTED.search(base) or not parts.hostname or "%" in parts.netloc:
        return Untrusted.DISPUTED
    origin = _spelt_shortly(origin, parts.hostname)
    is_private = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(origin))
    return origin if is_private else Untrusted.PLAIN


def keepers(
    environ: Mapping[str, str], auth: Iterable[tuple[str, str]], warn: Callable[[str], None]
) -> tuple[Keeper, ...]:
    """Everybody who may keep a credential, the weightiest first."""
    return (
        *_named(environ, auth, warn),
        *_of_hub(environ, warn),
        *_of_github(environ),
        *_of_netrc(environ, warn),
    )


def _named(
    environ: Mapping[str, str], auth: Iterable[tuple[str, str]], warn: Callable[[str], None]
) -> Iterable[Keeper]:
    asked: set[str] = set()
    for key, variable in auth:
        origin = trusted_origin(key)
        if origin is not None and variable == KEYRING:
            asked.add(origin)
        elif origin is not None:
            yield Variable(variable, frozenset({origin}), environ)
    if asked:
        yield Keyring(frozenset(asked), environ, warn)


def _of_hub(environ: Mapping[str, str], warn: Callable[[str], None]) -> Iterable[Keeper]:
    """As the hub's own client finds its token."""
    if environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").strip().lower() in _TRUE:
        return
    whom = _moved(environ, ["HF_ENDPOINT"])
    yield Variable("HF_TOKEN", whom, environ)
    variable = "HF_TOKEN_PATH" if environ.get("HF_TOKEN_PATH") else None
    place = token_file(environ)
    if place is not None:
        yield TokenFile(variable or str(place), whom, secret_file(place, variable, warn))


def token_file(environ: Mapping[str, str]) -> Path | None:
    """Where the hub's client keeps its token."""
    if environ.get("HF_TOKEN_PATH"):
        return placed(environ["HF_TOKEN_PATH"], environ)
    house = hub_home(environ)
    return None if house is None else house / "token"


def _of_github(environ: Mapping[str, str]) -> Iterable[Keeper]:
    """In a workflow the token is for the server that the workflow runs on, and for no other."""
    whom = _moved(environ, [name for name in _GITHUB if environ.get(name, "").strip()] or _GITHUB)
    yield Variable("GITHUB_TOKEN", whom, environ)
    yield Variable("GH_TOKEN", whom, environ)


def _moved(environ: Mapping[str, str], variables: Iterable[str]) -> frozenset[str]:
    """The origins at which the services of these variables are; nobody's where a token must not be sent there. What is
    no place of a service is refused before anything is asked of it."""
    whom: set[str | None] = set()
    for variable in variables:
        with contextlib.suppress(SettingInvalid):
            whom.add(trusted_origin(endpoint_of(environ, variable)))
    return frozenset(origin for origin in whom if origin is not None)


def _of_netrc(environ: Mapping[str, str], warn: Callable[[str], None]) -> Iterable[Keeper]:
    variable = "NETRC" if environ.get("NETRC") else None
    place = placed(environ.get("NETRC") or "~/.netrc", environ)
    if place is not None:
        yield Netrc(secret_file(place, variable, warn))


def _spelt_shortly(origin: str, host: str) -> str:
    """One spelling for each IPv6 address (RFC 5952)."""
    if ":" not in host:
        return origin
    try:
        return origin.replace(f"[{host}]", f"[{ipaddress.IPv6Address(host).compressed}]")
    except ValueError:
        return origin

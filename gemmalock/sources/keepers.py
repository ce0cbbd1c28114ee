"""Where credentials are kept: variables, token files, netrc, the keyring. Each says whom it is for, and what it holds.

Nothing is read before it is asked for, files are read once, and no environment but the given one is looked at. Which
keeper is asked first, and whom a credential may be sent to at all, is said in `credentials`.
"""

from __future__ import annotations

import base64
import binascii
import netrc
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from gemmalock.durable import read_file
from gemmalock.errors import Unauthorized
from gemmalock.secret import Secret

#: Header fields, as a request carries them.
Fields = tuple[tuple[str, Secret], ...]
#: What gemmalock is called in a keyring; the user's name there is the origin.
KEYRING_SERVICE = "gemmalock"
#: In the table `auth`, in the place of a variable's name.
KEYRING = "keyring"
#: Schemes of Authorization (RFC 9110, 11.6.2) that a value may begin with.
_SCHEMES = frozenset({"apikey", "basic", "bearer", "token"})
#: A field as people write it: its name, a colon, white space, its value.
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]+(\S.*)")
#: What a request is made of: no credential.
_RESERVED = frozenset(
    {"accept", "accept-encoding", "connection", "content-length", "content-type", "expect", "host", "if-match",
     "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "keep-alive", "proxy-authorization",
     "proxy-connection", "range", "te", "trailer", "transfer-encoding", "upgrade", "user-agent"}
)  # fmt: skip
_SENDABLE = re.compile(r"[\x21-\x7e]+(?: +[\x21-\x7e]+)*")
_MOST_BYTES = 1024 * 1024
_OTHERS = 0o077


class Keeper(Protocol):
    """Somebody who keeps a credential. `name` is how people call it, and never holds a secret."""

    @property
    def name(self) -> str: ...

    def origins(self) -> frozenset[str]:
        """Whom it is for, as far as that can be listed."""

    def fields(self, origin: str) -> Fields | None:
        """What a request to `origin` carries by it, or None. Raises Unauthorized for what cannot be sent."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Variable:
    """An environment variable that holds a credential for some origins."""

    name: str
    whom: frozenset[str]
    environ: Mapping[str, str]

    def origins(self) -> frozenset[str]:
        return self.whom

    def fields(self, origin: str) -> Fields | None:
        return fields_of(self.name, self.environ.get(self.name, "")) if origin in self.whom else None


@dataclass(frozen=True, eq=False, repr=False)
class SecretFile:
    """A file of secrets. `shown` says which one, and shows no path that a variable named: that may be the token itself.
    `warn` hears what is wrong with it; that it is not there is wrong where a variable names it (`is_named`)."""

    path: Path
    shown: str
    warn: Callable[[str], None]
    is_named: bool = False

    @property
    def is_open_to_others(self) -> bool:
        """Whether other people on this machine may read or write it. Raises OSError."""
        return bool(self.path.stat().st_mode & _OTHERS)

    @cached_property
    def text(self) -> str | None:
        """What is in it; None where there is none, or it cannot be read."""
        try:
            text = read_file(self.path, _MOST_BYTES).decode("utf-8")
            if self.is_open_to_others:
                self.warn(f"{self.shown} has credentials, and others may read it; `chmod 600` takes that away")
        except (FileNotFoundError, NotADirectoryError):
            if self.is_named:
                self.warn(f"{self.shown} is not there")
            return None
        except (OSError, ValueError):
            self.warn(f"{self.shown} cannot be read")
            return None
        return text


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TokenFile:
    """A file that has one token for some origins."""

    name: str
    whom: frozenset[str]
    file: SecretFile

    def origins(self) -> frozenset[str]:
        return self.whom

    def fields(self, origin: str) -> Fields | None:
        return fields_of(self.name, self.file.text or "") if origin in self.whom else None


class _FirstCounts(dict[str, tuple[str, str | None, str | None]]):
    """Entries by host, in lower case: of two for one host the first one counts. One that is empty is being read."""

    def __setitem__(self, host: str, entry: tuple[str, str | None, str | None]) -> None:
        if not self.get(host.lower()):
            super().__setitem__(host.lower(), entry)

    def __getitem__(self, host: str) -> tuple[str, str | None, str | None]:
        return super().__getitem__(host.lower())


class _NetrcText(netrc.netrc):
    """A netrc whose entries weigh as curl has it: the library lets the last one of a host count."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, _FirstCounts() if name == "hosts" else value)


@dataclass(frozen=True, eq=False, repr=False)
class Netrc:
    """Names and passwords by host, as netrc(5) and curl have it: without a port, and without an entry for the rest."""

    file: SecretFile
    name: str = "netrc"

    @cached_property
    def hosts(self) -> Mapping[str, tuple[str, str]] | None:
        """Name and password of each host, in lower case; None where the file cannot be understood."""
        if self.file.text is None:
            return {}
        try:
            found = _NetrcText(str(self.file.path)).hosts
        except (netrc.NetrcParseError, OSError, ValueError):
            # Its message may hold a word of the file, and any word may be a password.
            self.file.warn(f"{self.file.shown} cannot be understood; see netrc(5)")
            return None
        return {
            host: (login or "", password or "") for host, (login, _, password) in found.items() if host != "default"
        }

    def origins(self) -> frozenset[str]:
        return frozenset(f"https://[{host}]" if ":" in host else f"https://{host}" for host in self.hosts or ())

    def fields(self, origin: str) -> Fields | None:
        host = urlsplit(origin).hostname or ""
        login, password = (self.hosts or {}).get(host, ("", ""))
        if not password:
            return None
        if ":" in login:
            raise _cannot(self.name, f"the login of `{host}` has a colon in it, which Basic cannot carry (RFC 7617)")
        Secret(password)
        given = Secret(base64.b64encode(f"{login}:{password}".encode()).decode("ascii"))
        return (("Authorization", Secret(f"Basic {given.reveal()}")),)


@dataclass(frozen=True, eq=False, repr=False)
class Keyring:
    """The user's keyring, for the origins that the settings name. In CI nobody could unlock it: it is not asked
    there."""

    whom: frozenset[str]
    environ: Mapping[str, str]
    warn: Callable[[str], None]
    name: str = KEYRING
    _asked: dict[str, Fields | None] = field(default_factory=dict)

    def origins(self) -> frozenset[str]:
        return frozenset() if is_in_ci(self.environ) else self.whom

    @property
    def is_installed(self) -> bool:
        """Whether there is a keyring to ask."""
        import importlib.util

        try:
            return importlib.util.find_spec("keyring") is not None
        except ValueError:
            # Put there by hand, or kept from being found.
            return sys.modules.get("keyring") is not None

    def fields(self, origin: str) -> Fields | None:
        if origin not in self.origins():
            return None
        if origin not in self._asked:
            self._asked[origin] = fields_of(self.name, self._password(origin))
        return self._asked[origin]

    def _password(self, origin: str) -> str:
        try:
            import keyring
            from keyring.errors import KeyringError
        except ImportError:
            self.warn("`auth` names the keyring, and the extra `gemmalock[keyring]` is not installed")
            return ""
        try:
            return keyring.get_password(KEYRING_SERVICE, origin) or ""
        except (KeyringError, OSError, RuntimeError) as error:
            self.warn(f"the keyring cannot be asked: {type(error).__name__}")
            return ""


def is_in_ci(environ: Mapping[str, str]) -> bool:
    """Whether nobody sits before this run."""
    return environ.get("CI", "").strip().lower() not in ("", "0", "false", "no", "off")


def fields_of(name: str, value: str) -> Fields | None:
    """The fields that the value of a keeper means; None for one that is empty.

    `Header-Name: value` is that field (several: a line each), `Bearer x`, `Basic x`, `token x` and `ApiKey x` an
    Authorization as it is, anything else a bearer token (RFC 6750). Raises Unauthorized for what no field can carry,
    without a word of it.
    """
    value = value.strip()
    if not value:
        return None
    Secret(value)
    lines = [line.strip() for line in value.split("\n") if line.strip()]
    found = [_FIELD.fullmatch(line) for line in lines]
    matches = [match for match in found if match is not None]
    if len(matches) == len(found):
        return tuple(_custom(name, match[1], match[2]) for match in matches)
    scheme, _, rest = value.partition(" ")
    if scheme.lower() in _SCHEMES and rest.strip():
        _learn_parts(scheme, rest.strip())
        return (("Authorization", _sendable(name, value)),)
    if re.search(r"\s", value):
        raise _cannot(name, "it has white space in it")
    return (("Authorization", Secret(f"Bearer {_sendable(name, value).reveal()}")),)


def _custom(name: str, header: str, value: str) -> tuple[str, Secret]:
    if header.lower() in _RESERVED:
        raise _cannot(name, f"`{header}` is not a field for credentials")
    scheme, _, rest = value.partition(" ")
    _learn_parts(scheme, rest.strip())
    return header, _sendable(name, value)


def _learn_parts(scheme: str, rest: str) -> None:
    """What follows a scheme is a secret by itself, and of `Basic` the password in it."""
    Secret(rest)
    if scheme.lower() == "basic":
        try:
            Secret(base64.b64decode(rest, validate=True).decode("utf-8", "surrogateescape").partition(":")[2])
        except (binascii.Error, ValueError):
            return


def _sendable(name: str, value: str) -> Secret:
    if not _SENDABLE.fullmatch(value):
        raise _cannot(name, "it has characters that no header can carry")
    return Secret(value)


def _cannot(name: str, why: str) -> Unauthorized:
    return Unauthorized(f"the credential in `{name}` cannot be sent: {why}", hint=f"set `{name}` anew")


def secret_file(path: Path, variable: str | None, warn: Callable[[str], None]) -> SecretFile:
    """A file of secrets at its usual place, or where a variable says."""
    shown = f"the file that `{variable}` names" if variable is not None else f"`{path}`"
    return SecretFile(path, shown, warn, is_named=variable is not None)

"""Looks at what `doctor` says of the way out: certificates, proxies, credentials. Connects to nothing.

A secret is never looked at for more than whether it is there: no value of a variable or of a file that has one gets
into a finding, not even in the words of an error.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from gemmalock.app.findings import Finding, Verdict
from gemmalock.errors import TlsFailed
from gemmalock.settings import Settings
from gemmalock.sources.certificates import certificate_variable, tls_context
from gemmalock.sources.fields import origin_of
from gemmalock.sources.proxies import no_proxy_variable, proxies_from, proxy_variable

HUB = "https://huggingface.co"
_GITHUB = "https://github.com"


def examine_way_out(environ: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    """Certificates, proxies and credentials by this environment and these settings."""
    yield _certificates(environ)
    for scheme in ("http", "https"):
        yield _proxy(environ, scheme)
    bypass = no_proxy_variable(environ)
    if bypass is not None:
        listed = environ[bypass] if "@" not in environ[bypass] else "a list that is not shown"
        yield Finding("proxies", bypass, Verdict.OK, f"hosts that are asked without: {listed}")
    yield from _credentials(environ, settings)


def _certificates(environ: Mapping[str, str]) -> Finding:
    import ssl

    variable = certificate_variable(environ)
    topic, what = "certificates", variable or "system"
    paths = ssl.get_default_verify_paths()
    folder = paths.capath
    place = environ[variable] if variable is not None else paths.cafile or folder or paths.openssl_cafile
    try:
        count = len(tls_context(None if variable is None else place).get_ca_certs())
    except TlsFailed as error:
        return Finding(topic, what, Verdict.BROKEN, error.message, f"let `{variable}` name a file of PEM certificates")
    # Those of a folder are read one by one, when they are needed.
    more = folder is not None and next(Path(folder).glob("*.0"), None) is not None
    if not count and not more:
        hint = "install the system's certificates (`ca-certificates`), or let `SSL_CERT_FILE` name some"
        return Finding(topic, what, Verdict.BROKEN, f"none in `{place}`: no https server can be believed", hint)
    besides = f", and more in {folder}" if more else ""
    return Finding(topic, what, Verdict.OK, f"{count} certificates, {place} among them{besides}")


def _proxy(environ: Mapping[str, str], scheme: str) -> Finding:
    url = proxies_from(environ).get(scheme)
    if url is None:
        return Finding("proxies", scheme, Verdict.OK, "none")
    variable = proxy_variable(environ, scheme)
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname)
        shown = origin_of(url) if known else ""
    except ValueError:
        known = False
    if not known:
        hint = "write it as `http://host:port`"
        return Finding("proxies", scheme, Verdict.BROKEN, f"what `{variable}` says is no http or https proxy", hint)
    secret = ", with credentials" if "@" in parts.netloc else ""
    return Finding("proxies", scheme, Verdict.OK, f"{shown}{secret} (`{variable}`)")


def _credentials(environ: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    hub = _hub(environ)
    yield _variable(environ, "HF_TOKEN", hub)
    yield _token_file(environ, hub)
    yield _variable(environ, "GITHUB_TOKEN", _GITHUB)
    yield _netrc(environ)
    for origin, name in settings.auth:
        found = _variable(environ, name, origin)
        if not environ.get(name, "").strip():
            hint = f"set `{name}`, or take `{origin}` out of `auth`"
            found = Finding(found.topic, name, Verdict.WARNING, found.says, hint)
        yield found
    yield Finding("credentials", "sent", Verdict.NO, "none: this version sends no credential yet")


def _hub(environ: Mapping[str, str]) -> str:
    endpoint = environ.get("HF_ENDPOINT") or HUB
    try:
        return origin_of(endpoint) if urlsplit(endpoint).hostname else HUB
    except ValueError:
        return HUB


def _variable(environ: Mapping[str, str], name: str, origin: str) -> Finding:
    value = environ.get(name, "")
    if not value.strip():
        return Finding("credentials", name, Verdict.NO, f"not set, for {origin}")
    if any(character.isspace() for character in value):
        hint = "take the white space out: no header can carry it"
        return Finding("credentials", name, Verdict.WARNING, f"set with white space in it, for {origin}", hint)
    return Finding("credentials", name, Verdict.OK, f"set, for {origin}")


def _token_file(environ: Mapping[str, str], hub: str) -> Finding:
    variable = "HF_TOKEN_PATH"
    if environ.get(variable):
        # Not shown: who puts the token itself there finds no file of that name.
        return _secret_file("token file", Path(environ[variable]), f"the file that `{variable}` names", f"for {hub}")
    cache = Path(environ.get("XDG_CACHE_HOME") or _home(environ) / ".cache")
    place = Path(environ.get("HF_HOME") or cache / "huggingface") / "token"
    return _secret_file("token file", place, f"{place}", f"for {hub}, where `HF_TOKEN` is not set")


def _netrc(environ: Mapping[str, str]) -> Finding:
    given = environ.get("NETRC")
    place = Path(given) if given else _home(environ) / ".netrc"
    found = _secret_file("netrc", place, "the file that `NETRC` names" if given else f"{place}", "")
    if found.verdict not in (Verdict.OK, Verdict.WARNING):
        return found
    hosts = _netrc_hosts(place)
    if hosts is None:
        return Finding("credentials", "netrc", Verdict.WARNING, f"{found.says} cannot be understood", "see netrc(5)")
    return Finding(
        "credentials", "netrc", found.verdict, f"{found.says}, for {', '.join(hosts) or 'no host'}", found.hint
    )


def _netrc_hosts(place: Path) -> list[str] | None:
    import netrc

    try:
        return sorted(netrc.netrc(str(place.expanduser())).hosts)
    except (netrc.NetrcParseError, OSError, ValueError):
        # Its message may hold a word of the file, and any word may be a password.
        return None


def _secret_file(what: str, place: Path, shown: str, meant: str) -> Finding:
    told = " ".join(filter(None, (shown, meant)))
    try:
        found = place.expanduser().stat()
    except (FileNotFoundError, NotADirectoryError):
        return Finding("credentials", what, Verdict.NO, f"not there: {told}")
    except (OSError, ValueError, RuntimeError):
        return Finding("credentials", what, Verdict.WARNING, f"cannot be looked at: {told}")
    if not stat.S_ISREG(found.st_mode) or not os.access(place.expanduser(), os.R_OK):
        return Finding("credentials", what, Verdict.WARNING, f"cannot be read: {told}")
    if found.st_mode & 0o077:
        hint = "take the permissions of others away: `chmod 600` on it"
        return Finding("credentials", what, Verdict.WARNING, f"others may read it: {told}", hint)
    return Finding("credentials", what, Verdict.OK, f"there: {told}")


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or Path.home())

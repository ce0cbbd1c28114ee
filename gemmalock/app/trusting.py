"""Looks at what `doctor` says of the way out: certificates, proxies, services, credentials. Connects to nothing.

What would go where is asked of `sources.credentials`, which also a request asks. No value of a variable or of a file
that has a secret gets into a finding, not even in the words of an error.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from gemmalock.app.findings import Finding, Verdict
from gemmalock.errors import SettingInvalid, TlsFailed
from gemmalock.settings import Settings
from gemmalock.sources.certificates import certificate_variable, has_hashed, openssl_knows_the_system, tls_context
from gemmalock.sources.credentials import Credentials
from gemmalock.sources.endpoints import ENDPOINTS, endpoint_of
from gemmalock.sources.fields import origin_of
from gemmalock.sources.keepers import Keyring, Netrc, SecretFile, TokenFile, Variable
from gemmalock.sources.proxies import no_proxy_variable, proxies_from


def examine_way_out(environ: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    """Certificates, proxies, moved services and credentials by this environment and these settings."""
    yield _certificates(environ)
    for scheme in ("http", "https"):
        yield _proxy(environ, scheme)
    bypass = no_proxy_variable(environ)
    if bypass is not None:
        listed = environ[bypass] if "@" not in environ[bypass] else "a list that is not shown"
        yield Finding("proxies", bypass, Verdict.OK, f"hosts that are asked without: {listed}")
    yield from _services(environ)
    yield from _credentials(environ, settings)


def _certificates(environ: Mapping[str, str]) -> Finding:
    import ssl

    variable = certificate_variable(environ)
    topic, what = "certificates", variable or "system"
    paths = ssl.get_default_verify_paths()
    folder = paths.capath
    place = environ[variable] if variable is not None else paths.cafile or folder or paths.openssl_cafile
    if variable is not None and Path(place).is_dir():
        folder = place
    try:
        context = tls_context(None) if variable is None else tls_context(place, variable)
    except TlsFailed as error:
        return Finding(topic, what, Verdict.BROKEN, error.message, error.hint)
    if variable is not None and Path(place).is_dir() and not has_hashed(Path(place)):
        hint = f"run `openssl rehash` on it, or let `{variable}` name a file of PEM certificates"
        return Finding(topic, what, Verdict.WARNING, f"OpenSSL finds no certificate in the folder {place}", hint)
    if not openssl_knows_the_system():
        besides = f", and those of `{variable}`" if variable is not None else ""
        return Finding(topic, what, Verdict.OK, f"those of the system, which is asked at each connection{besides}")
    count = len(context.get_ca_certs())
    # Those of a folder are read one by one, when they are needed.
    more = folder is not None and has_hashed(Path(folder))
    if not count and not more:
        hint = "install the system's certificates (`ca-certificates`), or let `SSL_CERT_FILE` name some"
        return Finding(topic, what, Verdict.BROKEN, f"none in `{place}`: no https server can be believed", hint)
    besides = f", and more in {folder}" if more else ""
    return Finding(topic, what, Verdict.OK, f"{count} certificates, {place} among them{besides}")


def _proxy(environ: Mapping[str, str], scheme: str) -> Finding:
    proxy = proxies_from(environ).get(scheme)
    if proxy is None:
        return Finding("proxies", scheme, Verdict.OK, "none")
    try:
        proxy.check()
    except SettingInvalid as error:
        return Finding("proxies", scheme, Verdict.BROKEN, error.message, error.hint or "")
    secret = ", with credentials" if proxy.has_credential else ""
    return Finding("proxies", scheme, Verdict.OK, f"{proxy.shown}{secret} (`{proxy.variable}`)")


def _services(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Where each service is asked that the environment has elsewhere."""
    for variable, usual in ENDPOINTS.items():
        try:
            endpoint = endpoint_of(environ, variable)
        except SettingInvalid as error:
            yield Finding("services", variable, Verdict.BROKEN, error.message, error.hint or "")
            continue
        if endpoint != usual:
            yield Finding("services", variable, Verdict.OK, f"{origin_of(endpoint)} is asked, not {usual}")


def _credentials(environ: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    """What each place of credentials has, and what would go to each origin: by name, as a request finds it."""
    credentials = Credentials(environ, settings.auth)
    named = {name for _, name in settings.auth}
    for keeper in credentials.keepers:
        if isinstance(keeper, Variable):
            yield _variable(keeper, is_named=keeper.name in named)
        elif isinstance(keeper, TokenFile):
            yield _secret_file("token file", keeper.file, f"for {_listed(keeper.whom)}, where `HF_TOKEN` is not set")
        elif isinstance(keeper, Netrc):
            yield _netrc(keeper)
        elif isinstance(keeper, Keyring):
            yield _keyring(keeper)
    sendings = credentials.sendings()
    for each in sendings:
        if each.flaw is not None:
            hint = f"until then, nothing can be asked of `{each.origin}`"
            yield Finding("credentials", each.origin, Verdict.WARNING, each.flaw, hint)
        else:
            over = f", over {', '.join(f'`{name}`' for name in each.names[1:])}" if each.names[1:] else ""
            yield Finding("credentials", each.origin, Verdict.OK, f"is sent `{each.names[0]}`{over}")
    if not sendings:
        yield Finding("credentials", "sent", Verdict.NO, "none: there is none for any origin")


def _variable(keeper: Variable, *, is_named: bool) -> Finding:
    meant = f"for {_listed(keeper.whom)}"
    if not keeper.environ.get(keeper.name, "").strip():
        hint = f"set `{keeper.name}`, or take {_listed(keeper.whom)} out of `auth`" if is_named else ""
        verdict = Verdict.WARNING if is_named else Verdict.NO
        return Finding("credentials", keeper.name, verdict, f"not set, {meant}", hint)
    return Finding("credentials", keeper.name, Verdict.OK, f"set, {meant}")


def _keyring(keeper: Keyring) -> Finding:
    if not keeper.origins():
        return Finding("credentials", keeper.name, Verdict.NO, "is not asked in CI")
    if not keeper.is_installed:
        hint = "install `gemmalock[keyring]`"
        return Finding("credentials", keeper.name, Verdict.WARNING, "is named in `auth`, and not installed", hint)
    return Finding("credentials", keeper.name, Verdict.OK, f"would be asked, for {_listed(keeper.whom)}")


def _netrc(keeper: Netrc) -> Finding:
    found = _secret_file("netrc", keeper.file, "")
    if found.verdict not in (Verdict.OK, Verdict.WARNING):
        return found
    if keeper.hosts is None:
        return Finding("credentials", "netrc", Verdict.WARNING, f"{found.says} cannot be understood", "see netrc(5)")
    hosts = ", ".join(sorted(keeper.hosts)) or "no host"
    return Finding("credentials", "netrc", found.verdict, f"{found.says}, for {hosts}", found.hint)


def _secret_file(what: str, file: SecretFile, meant: str) -> Finding:
    told = " ".join(filter(None, (file.shown, meant)))
    try:
        found = file.path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return Finding("credentials", what, Verdict.NO, f"not there: {told}")
    except (OSError, ValueError):
        return Finding("credentials", what, Verdict.WARNING, f"cannot be looked at: {told}")
    if not stat.S_ISREG(found.st_mode) or not os.access(file.path, os.R_OK):
        return Finding("credentials", what, Verdict.WARNING, f"cannot be read: {told}")
    if file.is_open_to_others:
        hint = "take the permissions of others away: `chmod 600` on it"
        return Finding("credentials", what, Verdict.WARNING, f"others may read it: {told}", hint)
    return Finding("credentials", what, Verdict.OK, f"there: {told}")


def _listed(origins: frozenset[str]) -> str:
    return ", ".join(sorted(origins)) or "no server"

"""Whom to believe over TLS: whom the system does, and the certificates that the environment names.

Which variable names them is asked for every run, and loads nothing: `ssl` is for those that need it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gemmalock.errors import TlsFailed

if TYPE_CHECKING:
    import ssl

#: The variables that name further certificates, a file or a folder of them, the weightiest first.
VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR")


def certificate_variable(environ: Mapping[str, str]) -> str | None:
    """Which variable names further certificates; None where none does."""
    return next((name for name in VARIABLES if environ.get(name)), None)


def tls_context(place: str | None, variable: str = "SSL_CERT_FILE") -> ssl.SSLContext:
    """A client's context that believes the system, and the certificates at `place` where there are some, which
    `variable` names. Raises TlsFailed for a place that cannot be read. This takes a tenth of a second."""
    import ssl

    context = _system_context()
    # Some servers refuse who does not say what is spoken (RFC 7301).
    context.set_alpn_protocols(["http/1.1"])
    if place is not None:
        is_folder = not Path(place).is_file() and any(Path(each).is_dir() for each in place.split(os.pathsep))
        try:
            context.load_verify_locations(**{"capath" if is_folder else "cafile": place})
        except OSError as error:
            reason = "it has none in PEM" if isinstance(error, ssl.SSLError) else error.strerror or error
            hint = (
                f"let `{variable}` name a file of PEM certificates, or a folder of them as `openssl rehash` leaves it"
            )
            message = f"cannot read certificates from `{place}`, which `{variable}` names: {reason}"
            raise TlsFailed(message, hint=hint) from error
    return context


def has_hashed(folder: Path) -> bool:
    """Whether OpenSSL finds a certificate in a folder: by the hash of its subject, as `openssl rehash` names it."""
    return next(folder.glob("*.[0-9]"), None) is not None


def openssl_knows_the_system() -> bool:
    """Whether OpenSSL, as Python has it here, reads the certificates that the system keeps. Elsewhere they are in a
    store of the system's own, or Python was built for another place than this."""
    if sys.platform in ("darwin", "win32"):
        return False
    import ssl

    paths = ssl.get_default_verify_paths()
    return paths.cafile is not None or (paths.capath is not None and any(Path(paths.capath).iterdir()))


def _system_context() -> ssl.SSLContext:
    import ssl

    if openssl_knows_the_system():
        # truststore would do the same, and anew for each connection, one after the other.
        return ssl.create_default_context()
    import truststore

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

"""Whom to believe over TLS: the system's certificates, and those of a file that the environment names."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from gemmalock.errors import TlsFailed

#: The variables that name a file of further certificates, the weightier one first.
VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


def certificate_variable(environ: Mapping[str, str]) -> str | None:
    """Which variable names the file of further certificates; None where none does."""
    return next((name for name in VARIABLES if environ.get(name)), None)


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """A client's context that believes the system, and `ca_file` where there is one. Raises TlsFailed for a file that
    cannot be read. This takes a tenth of a second."""
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            reason = error.strerror or error
            raise TlsFailed(f"cannot read certificates from `{ca_file}`: {reason}") from error
    return context

"""Self-signed certificates as a test wants them, made by the `openssl` program: also ones that are long expired."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

#: The shortest configuration of openssl-ca(1) that signs with its own key.
_SETTINGS = """
[ca]
default_ca = own
[own]
database = index
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
x509_extensions = wanted
[any]
commonName = supplied
[wanted]
subjectAltName = {name}
basicConstraints = CA:TRUE
[req]
distinguished_name = none
[none]
"""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A server's context, and the file by which a client trusts it."""

    context: ssl.SSLContext
    public: Path


def certificate(folder: Path, name: str = "IP:127.0.0.1", *, until: str = "20491231000000Z") -> Certificate:
    """Make one in a new folder, for a name as `subjectAltName` has it, good from 2020 `until` then."""
    folder.mkdir()
    (folder / "settings").write_text(_SETTINGS.format(name=name), encoding="utf-8")
    (folder / "index").touch()
    (folder / "serial").write_text("01\n", encoding="utf-8")
    for command in (
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key -out request -config settings"
        " -subj /CN=gemmalock",
        "ca -batch -config settings -selfsign -keyfile key -in request -out public -notext"
        f" -startdate 20200101000000Z -enddate {until}",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "public", folder / "key")
    return Certificate(context, folder / "public")

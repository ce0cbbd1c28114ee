"""What the tests of sources share: a source that is closed at the end, limits that are short, reading to the end."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gemmalock.ports import Answer
from gemmalock.sources.http import HttpLimits, HttpSource

#: Short enough to wait for in a test, long enough for a busy machine.
BRISK = HttpLimits(connect_seconds=5, read_seconds=0.5, low_speed_bytes=1024, low_speed_seconds=0.6)


def drained(answer: Answer, size: int = 64 * 1024) -> bytes:
    """The rest of an answer, and the connection let go."""
    out = bytearray()
    buffer = memoryview(bytearray(size))
    try:
        while count := answer.readinto(buffer):
            out += buffer[:count]
    finally:
        answer.close()
    return bytes(out)


@pytest.fixture
def http() -> Iterator[HttpSource]:
    source = HttpSource()
    yield source
    source.close()


@pytest.fixture
def brisk() -> Iterator[HttpSource]:
    source = HttpSource(BRISK)
    yield source
    source.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Callable[[str], tuple[ssl.SSLContext, Path]]:
    """Makes a self-signed certificate for `IP:127.0.0.1` or `DNS:example.org`: a server's context, and the file."""
    return lambda name: made_certificate(tmp_path, name)


def made_certificate(folder: Path, names: str) -> tuple[ssl.SSLContext, Path]:
    """A self-signed certificate for these names, with commas between: a server's context, and the file."""
    key, public = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", str(key), "-out", str(public), "-days", "2", "-subj", "/CN=gemmalock test",
         "-addext", f"subjectAltName={names}"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, key)
    return context, public

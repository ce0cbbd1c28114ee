"""TLS: what is not trusted is not talked to (N06)."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gemmalock.errors import ConnectionFailed, RedirectRefused, TlsFailed
from gemmalock.ports import Ask
from gemmalock.sources.certificates import certificate_variable, tls_context
from gemmalock.sources.channel import Routes
from gemmalock.sources.http import HttpSource
from gemmalock.stopping import Stop
from tests.running import Gemmalock, Project
from tests.servers.fileserver import FileServer
from tests.servers.scripted import Exchange, ScriptedServer
from tests.sources.conftest import drained


@pytest.fixture(autouse=True, params=["openssl", "truststore"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to ask the system whom it believes; the second is that of systems whose OpenSSL does not know."""
    if request.param == "truststore":
        nowhere = ssl.DefaultVerifyPaths(None, None, "", "", "", "")  # type: ignore[arg-type]
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nowhere)
    assert (type(tls_context(None)) is ssl.SSLContext) == (request.param == "openssl")


Certificate = Callable[[str], tuple[ssl.SSLContext, Path]]


def test_a_self_signed_certificate_is_refused_once_and_no_way_around_is_hinted_at(
    http: HttpSource, certificate: Certificate
) -> None:
    context, _ = certificate("IP:127.0.0.1")
    with ScriptedServer(lambda e: e.answer(200, {}, b"x"), tls=context) as server:
        with pytest.raises(TlsFailed, match="certificate was not accepted") as caught:
            http.probe(server.url + "/x", Stop())
        assert not server.requests
        assert server.connections == 1
    assert not caught.value.transient
    assert "SSL_CERT_FILE" in caught.value.hint
    assert "verif" not in caught.value.hint


def test_a_certificate_that_was_named_is_trusted(certificate: Certificate) -> None:
    context, public = certificate("IP:127.0.0.1")
    source = HttpSource(routes=Routes(ca_file=str(public)))
    body = bytes(range(256)) * 1000
    with FileServer({"/x": body}, tls=context) as server:
        assert source.probe(server.url + "/x", Stop()).size == len(body)
        answer = source.open(Ask(server.url + "/x", 7, len(body), len(body), proven=True), Stop())
        assert drained(answer) == body[7:]
    source.close()


def test_a_server_is_told_that_http_1_1_is_spoken(certificate: Certificate) -> None:
    """RFC 7301."""
    context, public = certificate("IP:127.0.0.1")
    context.set_alpn_protocols(["h2", "http/1.1"])
    source = HttpSource(routes=Routes(ca_file=str(public)))
    spoken: list[str | None] = []

    def answer(exchange: Exchange) -> None:
        spoken.append(exchange.protocol)
        exchange.answer(200, {}, b"x")

    with ScriptedServer(answer, tls=context) as server:
        assert source.probe(server.url + "/x", Stop()).size == 1
    source.close()
    assert spoken == ["http/1.1"]


def test_a_certificate_of_another_host_is_refused(certificate: Certificate) -> None:
    context, public = certificate("DNS:models.example.org")
    source = HttpSource(routes=Routes(ca_file=str(public)))
    with FileServer({"/x": b"x"}, tls=context) as server, pytest.raises(TlsFailed):
        source.open(Ask(server.url + "/x"), Stop())
    source.close()
    assert not server.requests


def test_a_redirect_out_of_https_is_refused(certificate: Certificate) -> None:
    """R03."""
    context, public = certificate("IP:127.0.0.1")
    source = HttpSource(routes=Routes(ca_file=str(public)))
    with FileServer({"/x": b"x"}) as plain, FileServer({}, redirects={"/x": plain.url + "/x"}, tls=context) as server:
        with pytest.raises(RedirectRefused, match="out of https"):
            source.open(Ask(server.url + "/x"), Stop())
        assert not plain.requests
    source.close()


def test_a_server_that_speaks_no_tls_is_a_tls_failure(http: HttpSource) -> None:
    with FileServer({"/x": b"x"}) as server, pytest.raises(TlsFailed):
        http.open(Ask(server.url.replace("http:", "https:") + "/x"), Stop())


def test_a_connection_cut_in_the_middle_of_tls_can_be_tried_again(certificate: Certificate) -> None:
    context, public = certificate("IP:127.0.0.1")
    source = HttpSource(routes=Routes(ca_file=str(public)))

    with ScriptedServer(lambda e: e.head(200, {"Content-Length": "9"}).send(b"x").reset(), tls=context) as server:
        answer = source.open(Ask(server.url + "/x", 0, 9, 9), Stop())
        with pytest.raises(ConnectionFailed) as caught:
            drained(answer)
    assert caught.value.transient
    source.close()


def test_a_body_of_unknown_size_has_to_end_as_tls_says_it_ends(certificate: Certificate) -> None:
    """RFC 9112, 9.8: without a close_notify, somebody on the way may have cut it."""
    context, public = certificate("IP:127.0.0.1")
    source = HttpSource(routes=Routes(ca_file=str(public)))
    with ScriptedServer(lambda e: e.head(200).send(b"half").close(), tls=context) as server:
        answer = source.open(Ask(server.url + "/x"), Stop())
        with pytest.raises(ConnectionFailed, match="was cut"):
            drained(answer)
        assert drained(source.open(Ask(server.url + "/x", 0, 4, 4, proven=True), Stop())) == b"half"
    source.close()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
@pytest.mark.parametrize(("text", "why"), [(None, "No such file or directory"), ("no PEM", "it has none in PEM")])
def test_certificates_that_cannot_be_read_are_named_with_the_variable(
    tmp_path: Path, variable: str, text: str | None, why: str
) -> None:
    place = tmp_path / "none.pem"
    if text is not None:
        place.write_text(text)
    with pytest.raises(TlsFailed) as caught:
        HttpSource(routes=Routes(ca_file=str(place), ca_variable=variable)).open(Ask("https://127.0.0.1:9/x"), Stop())
    assert caught.value.message == f"cannot read certificates from `{place}`, which `{variable}` names: {why}"
    assert caught.value.hint.startswith(f"let `{variable}` name a file of PEM certificates")


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR"])
def test_a_run_reads_certificates_from_where_a_variable_says(
    project: Project, gemmalock: Gemmalock, certificate: Certificate, tmp_path: Path, variable: str
) -> None:
    context, public = certificate("IP:127.0.0.1")
    folder = hashed(tmp_path / "certificates", public)
    with FileServer({"/x": b"x"}, tls=context) as server:
        project.write_manifest(f"version: 1\nmodels:\n  m:\n    files:\n      - url: {server.url}/x\n")
        assert gemmalock("lock", env={variable: str(folder)}).code == 0
        done = gemmalock("lock", "--upgrade", env={variable: str(tmp_path / "none")})
    assert done.code == 1
    assert f"which `{variable}` names" in done.err


def hashed(folder: Path, certificate: Path) -> Path:
    """A folder with a certificate as OpenSSL looks for it."""
    asked = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", str(certificate)], check=True, capture_output=True, text=True
    )
    folder.mkdir()
    (folder / f"{asked.stdout.strip()}.0").write_bytes(certificate.read_bytes())
    return folder


def test_a_folder_of_certificates_is_trusted(certificate: Certificate, tmp_path: Path) -> None:
    context, public = certificate("IP:127.0.0.1")
    folder = hashed(tmp_path / "certificates", public)
    with FileServer({"/x": b"x"}, tls=context) as server:
        for place in (str(folder), f"{tmp_path / 'none'}{os.pathsep}{folder}"):
            source = HttpSource(routes=Routes(ca_file=place))
            assert source.probe(server.url + "/x", Stop()).size == 1
            source.close()


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({}, None),
        ({"SSL_CERT_FILE": ""}, None),
        ({"SSL_CERT_DIR": "d"}, "SSL_CERT_DIR"),
        ({"SSL_CERT_DIR": "d", "REQUESTS_CA_BUNDLE": "b"}, "REQUESTS_CA_BUNDLE"),
        ({"SSL_CERT_DIR": "d", "REQUESTS_CA_BUNDLE": "b", "SSL_CERT_FILE": "f"}, "SSL_CERT_FILE"),
    ],
)
def test_the_weightiest_variable_names_the_certificates(environ: dict[str, str], variable: str | None) -> None:
    assert certificate_variable(environ) == variable

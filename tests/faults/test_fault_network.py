"""The catalogue's groups N and R where one origin is not enough: names, addresses, TLS, proxies, redirects."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.faults.certificates import certificate
from tests.faults.conftest import BODY, OVER_MANY
from tests.faults.origin import MIB, Origin, running, serve, strong
from tests.faults.stage import KEPT, SIZE, Stage, check_run, survives
from tests.servers.real import nginx
from tests.servers.scripted import Exchange

TAG = strong(BODY)
REST = SIZE - KEPT
#: A resolver that knows one name, by `TEST_ADDRESSES`: addresses, or the name of the error that it gives.
RESOLVER = """
import os, socket
asked = socket.getaddrinfo
def getaddrinfo(host, port, *rest, **named):
    if host != b"gemma.test":
        return asked(host, port, *rest, **named)
    said = os.environ["TEST_ADDRESSES"]
    if said.startswith("EAI_"):
        raise socket.gaierror(getattr(socket, said), "the resolver said " + said)
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in said.split(",")]
socket.getaddrinfo = getaddrinfo
"""


@pytest.fixture
def named(stage: Stage) -> Stage:
    """A stage whose origin is known by the name `gemma.test`, locked, with a partial."""
    stage.world(RESOLVER)
    stage.declare(urls={"/model.gguf": f"http://gemma.test:{stage.origin.server.port}/model.gguf"})
    stage.environ["TEST_ADDRESSES"] = "127.0.0.1"
    stage.calm.append(lambda: stage.environ.update(TEST_ADDRESSES="127.0.0.1"))
    assert stage.run("lock").code == 0
    stage.origin.forget()
    return stage


@pytest.mark.parametrize("said", ["EAI_NONAME", "EAI_AGAIN", "EAI_FAIL"])
def test_n04_a_name_that_is_not_known_is_named(named: Stage, said: str) -> None:
    named.environ["TEST_ADDRESSES"] = said
    ran = named.sync()
    assert (ran.code, ran.errors) == (1, {"connection"})
    assert "cannot find the host `gemma.test`" in ran.err
    assert named.origin.requests == []
    survives(named, ran, budget=SIZE)


@OVER_MANY
def test_n05_a_black_hole_and_a_refusal_are_passed_by(named: Stage) -> None:
    port = named.origin.server.port
    with ExitStack() as stack:
        hole = stack.enter_context(socket.create_server(("127.0.0.3", port), backlog=0))
        for _ in range(4):
            # A queue that is full lets no further connection be answered, and none be refused.
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
        named.environ["TEST_ADDRESSES"] = "127.0.0.3,127.0.0.4,127.0.0.1"
        ran = named.sync()
        assert ran.code == 0, ran.err
    survives(named, ran, budget=SIZE)


def test_n05_nothing_but_refusals_is_a_connection_that_failed(named: Stage) -> None:
    named.environ["TEST_ADDRESSES"] = "127.0.0.4,127.0.0.5"
    ran = named.sync()
    assert (ran.code, ran.errors) == (1, {"connection"})
    assert "refused" in ran.err
    survives(named, ran, budget=SIZE)


# --- TLS ---------------------------------------------------------------------------------------------------


@pytest.fixture
def secure(stage: Stage, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A stage whose origin speaks https with a certificate that is trusted; locked, with a partial."""
    trusted = certificate(tmp_path_factory.mktemp("tls") / "trusted")
    with running(Origin({"/model.gguf": BODY}, tls=trusted.context)) as origin:
        stage.origin = origin
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted.public))
        stage.declare()
        stage.lock()
        stage.begin()
        origin.forget()
        stage.calm.append(lambda: monkeypatch.setenv("SSL_CERT_FILE", str(trusted.public)))
        stage.calm.append(lambda: setattr(origin.server, "_tls", trusted.context))
        yield stage


BAD_CERTIFICATES: dict[str, dict[str, str]] = {
    "of another host": {"name": "DNS:models.example.org"},
    "expired": {"until": "20200201000000Z"},
    "self-signed": {},
}


@pytest.mark.parametrize("what", BAD_CERTIFICATES)
def test_n06_a_certificate_that_is_not_accepted_is_tried_once_and_no_way_around_is_told(
    secure: Stage, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    bad = certificate(tmp_path_factory.mktemp("tls") / "bad", **BAD_CERTIFICATES[what])
    secure.origin.server._tls = bad.context
    if what != "self-signed":
        monkeypatch.setenv("SSL_CERT_FILE", str(bad.public))
    before = secure.origin.server.connections
    ran = secure.sync()
    assert (ran.code, ran.errors) == (1, {"connection"})
    assert "certificate" in ran.err
    assert not re.search("insecure|no-verify|disable", ran.err)
    assert secure.origin.server.connections == before + 1
    assert secure.origin.requests == []
    survives(secure, ran, budget=REST)


def test_r03_a_redirect_out_of_https_is_refused(secure: Stage) -> None:
    with running(Origin({"/model.gguf": BODY})) as plain:
        secure.fault(lambda e: e.answer(302, {"Location": plain.url + "/model.gguf"}))
        ran = secure.sync()
        assert (ran.code, ran.errors) == (1, {"redirect_refused"})
        assert plain.requests == []
    survives(secure, ran, budget=REST)


# --- proxies -----------------------------------------------------------------------------------------------


@pytest.fixture
def proxied(stage: Stage) -> Stage:
    """A stage whose origin is a proxy, the only way to `gemma.example`; locked."""
    stage.declare(urls={"/model.gguf": "http://gemma.example/model.gguf"})
    stage.environ["HTTP_PROXY"] = stage.origin.url
    stage.origin.good = lambda e: serve(e, BODY, TAG)
    assert stage.run("lock").code == 0
    stage.origin.forget()
    return stage


@OVER_MANY
def test_n09_everything_goes_through_the_proxy(proxied: Stage) -> None:
    ran = proxied.sync()
    assert ran.code == 0, ran.err
    assert {request.path for request in proxied.origin.gets} == {"http://gemma.example/model.gguf"}
    survives(proxied, ran, budget=SIZE)


def test_n09_a_proxy_that_wants_a_credential_is_not_asked_again(proxied: Stage) -> None:
    proxied.fault(lambda e: e.answer(407, {"Proxy-Authenticate": "Basic"}))
    ran = proxied.sync()
    assert (ran.code, ran.errors) == (1, {"unauthorized"})
    assert "proxy" in ran.err
    assert len(proxied.origin.requests) == 1
    survives(proxied, ran, budget=SIZE)


@OVER_MANY
def test_n09_no_proxy_is_honoured(stage: Stage) -> None:
    stage.declare()
    stage.lock()
    with running(Origin({})) as proxy:
        stage.environ |= {"HTTP_PROXY": proxy.url, "NO_PROXY": "example.org,127.0.0.1"}
        ran = stage.sync()
        assert ran.code == 0, ran.err
        assert proxy.requests == []
        survives(stage, ran)


INNER = (
    "http://169.254.169.254/latest/meta-data/",
    "http://localhost:1/x",
    "http://10.0.0.1/x",
    "http://192.168.0.1/x",
    "http://127.1/x",
    "http://0x7f000001/x",
    "http://[::ffff:127.0.0.1]/x",
    "http://[fd00::1]/x",
)


@pytest.mark.parametrize("where", INNER)
def test_r12_a_public_source_does_not_lead_into_a_private_network(proxied: Stage, where: str) -> None:
    proxied.fault(lambda e: e.answer(302, {"Location": where}))
    ran = proxied.sync()
    assert (ran.code, ran.errors) == (1, {"redirect_refused"})
    assert len(proxied.origin.requests) == 1
    survives(proxied, ran, budget=SIZE)


# --- redirects ---------------------------------------------------------------------------------------------


@OVER_MANY
def test_r14_a_validator_goes_only_to_the_origin_that_gave_it(stage: Stage) -> None:
    with running(Origin({"/model.gguf": BODY})) as near, running(Origin({"/model.gguf": BODY})) as far:
        target = [near]
        stage.origin.good = lambda e: e.answer(302, {"Location": target[0].url + "/model.gguf", "ETag": '"hub"'})
        stage.declare()
        stage.lock()
        near.fault = lambda e: e.head(200, {"Content-Length": str(SIZE), "ETag": TAG}).send(BODY[:KEPT]).close()
        assert stage.sync().code == 1
        near.fault = None
        target[0] = far
        stage.origin.forget()
        ran = stage.sync()
        assert ran.code == 0, ran.err
        assert ran.fetched == REST
        assert first_asked(far) == KEPT
        assert {request.headers.get("if-range") for request in stage.origin.gets} == {None}
        # Later ones may have the tag that the far server gave itself by then.
        assert far.gets[0].headers.get("if-range") is None
        survives(stage, ran)


def first_asked(origin: Origin) -> int:
    """The first byte that anybody asked for; every request was for a range."""
    return min(int(request.headers["range"].removeprefix("bytes=").partition("-")[0]) for request in origin.gets)


@OVER_MANY
def test_v07_the_validators_of_hub_and_cdn_are_kept_apart(stage: Stage) -> None:
    with running(Origin({"/model.gguf": BODY})) as cdn:
        stage.origin.good = lambda e: e.answer(
            302,
            {"Location": cdn.url + "/model.gguf", "ETag": '"hub"', "X-Linked-Etag": '"linked"', "X-Linked-Size": "7"},
        )
        stage.declare()
        stage.lock()
        cdn.fault = lambda e: e.head(200, {"Content-Length": str(SIZE), "ETag": TAG}).send(BODY[:KEPT]).close()
        assert stage.sync().code == 1
        cdn.fault = None
        cdn.forget()
        ran = stage.sync()
        assert ran.code == 0, ran.err
        assert ran.fetched == REST
        assert first_asked(cdn) == KEPT
        # A CDN may have another tag on each node: where the lock has a digest, that decides.
        assert {request.headers.get("if-range") for request in cdn.gets} == {None}
        assert all("if-range" not in request.headers for request in stage.origin.gets)
        survives(stage, ran)


def test_r06_a_url_with_a_credential_is_refused_and_not_repeated(stage: Stage) -> None:
    url = stage.origin.url.replace("://", "://gemma:canary-password@") + "/model.gguf"
    stage.declare(urls={"/model.gguf": url})
    ran = stage.sync()
    assert ran.code == 4
    assert "canary-password" not in ran.out + ran.err
    assert stage.origin.requests == []
    assert not stage.project.lock.exists()
    stage.locked.clear()
    stage.declare()
    survives(stage, ran, budget=SIZE)


# --- several files -----------------------------------------------------------------------------------------


@OVER_MANY
def test_n12_a_server_that_takes_one_connection_at_a_time_is_had_in_the_end(stage: Stage) -> None:
    stage.origin.files |= {f"/{name}.gguf": BODY[:MIB] + name.encode() for name in "abc"}
    del stage.origin.files["/model.gguf"]
    stage.declare()
    stage.lock()
    busy = threading.Lock()
    refused: list[int] = []

    def one_at_a_time(exchange: Exchange) -> None:
        if not busy.acquire(blocking=False):
            refused.append(exchange.number)
            exchange.answer(503)
            return
        try:
            exchange.pause(0.1)
            stage.origin.serve(exchange)
        finally:
            busy.release()

    stage.fault(one_at_a_time)
    ran = stage.sync(env={"GEMMALOCK_RETRIES": "9"})
    assert ran.code == 0, ran.err
    assert 0 < len(refused) <= 27
    survives(stage, ran, budget=3 * MIB + 100)


@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("connections", [8], indirect=True)
def test_n12_what_nginx_refuses_is_not_asked_for_again(stage: Stage, most: int) -> None:
    served = stage.folder / "served"
    served.mkdir()
    bodies = {f"/{name}.gguf": name.encode() + BODY[: 8 * MIB] for name in ("a", "b")}
    for path, body in bodies.items():
        (served / path.removeprefix("/")).write_bytes(body)
    stage.origin.files = bodies
    with nginx(served, limit_rate="6m", limit_conn=most) as server:
        stage.declare(urls={path: server.url + path for path in bodies})
        stage.lock()
        ran = stage.sync("-j", "1", env={"GEMMALOCK_RETRIES": "9"})
        assert ran.code == 0, ran.err
        check_run(stage, ran)
        server.stop()
        asked = [request for request in server.requests() if request.method == "GET"]
    refused = Counter(request.path for request in asked if request.status == 503)
    # One of the first may have got in before the others, and be refused its next piece.
    assert 1 <= refused["/a.gguf"] <= 16
    assert refused["/b.gguf"] == 0, "it is remembered for the next file"
    assert ran.fetched == sum(map(len, bodies.values()))


@OVER_MANY
def test_n13_a_connection_that_was_closed_meanwhile_is_no_retry(stage: Stage) -> None:
    stage.origin.files |= {f"/{number}.gguf": BODY[: MIB + number] for number in range(4)}
    stage.declare()
    stage.lock()

    def hang_up_after(exchange: Exchange) -> None:
        stage.origin.serve(exchange)
        exchange.close()

    stage.fault(hang_up_after)
    ran = stage.run("sync", "--progress", "json", "-j", "1")
    assert ran.code == 0, ran.err
    assert "retrying" not in ran.err
    survives(stage, ran, budget=SIZE + 4 * MIB + 100)


@OVER_MANY
def test_n14_after_a_long_sleep_it_connects_anew_and_goes_on(stage: Stage) -> None:
    """The server has given the sleeper up before it wakes: what a laptop finds when its lid opens."""
    stage.declare()
    stage.lock()
    asleep = threading.Event()

    def gives_up(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": str(SIZE), "ETag": TAG}).send(BODY[:KEPT])
        asleep.wait(30)
        exchange.reset()

    stage.fault(gives_up)
    with stage.started("sync", "--json") as sleeper:
        sleeper.wait_until(lambda: any((stage.store / "tasks").glob("*/journal")))
        os.kill(sleeper.process.pid, signal.SIGSTOP)
        asleep.set()
        stage.origin.fault = None
        os.kill(sleeper.process.pid, signal.SIGCONT)
        ran = sleeper.ended()
    assert ran.code == 0, ran.err
    survives(stage, ran, budget=SIZE + 4 * MIB)

"""Which proxy is used, for whom, and what is said where it is the proxy that fails."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from gemmalock.errors import ConnectionFailed, SettingInvalid, SourceError, TlsFailed, Unauthorized
from gemmalock.ports import Ask
from gemmalock.sources.channel import Routes
from gemmalock.sources.http import HttpSource
from gemmalock.sources.proxies import Proxy, no_proxy_from, no_proxy_variable, proxies_from
from gemmalock.stopping import Stop
from tests.running import Gemmalock, Project
from tests.servers.fileserver import FileServer
from tests.servers.scripted import ScriptedServer
from tests.sources.conftest import drained

SECRET = "f0r-the-proxy"

# --- which -------------------------------------------------------------------------------------------------

PROXIES = [
    ({}, {}),
    ({"HTTPS_PROXY": "http://p:1"}, {"https": "http://p:1 HTTPS_PROXY"}),
    ({"https_proxy": " p:1 "}, {"https": "http://p:1 https_proxy"}),
    ({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:1"}, {"https": "http://low:1 https_proxy"}),
    ({"https_proxy": "", "HTTPS_PROXY": "http://up:1"}, {}),
    (
        {"ALL_PROXY": "http://p:1", "HTTP_PROXY": "http://q:2"},
        {"http": "http://q:2 HTTP_PROXY", "https": "http://p:1 ALL_PROXY"},
    ),
    ({"http_proxy": "", "all_proxy": "http://p:1"}, {"https": "http://p:1 all_proxy"}),
    ({"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, {}),
    ({"HTTP_PROXY": "http://p:1", "ALL_PROXY": "q", "REQUEST_METHOD": "GET"},
     {"http": "http://q ALL_PROXY", "https": "http://q ALL_PROXY"}),
    ({"http_proxy": "http://p:1", "REQUEST_METHOD": "GET"}, {"http": "http://p:1 http_proxy"}),
]  # fmt: skip


@pytest.mark.parametrize(("environ", "proxies"), PROXIES)
def test_proxies_are_read_as_curl_reads_them(environ: dict[str, str], proxies: dict[str, str]) -> None:
    """N09."""
    found = proxies_from(environ)
    assert {scheme: f"{proxy.url} {proxy.variable}" for scheme, proxy in found.items()} == proxies


def test_a_proxy_does_not_show_its_password() -> None:
    proxy = Proxy(f"http://me:{SECRET}@P.example:80", "HTTP_PROXY")
    assert SECRET not in repr(proxy)
    assert (proxy.shown, proxy.has_credential) == ("http://p.example", True)


FLAWED = [
    (f"socks5://me:{SECRET}@p.example", "names a socks5 proxy, and that is no http or https proxy"),
    (f"SOCKS5H://me:{SECRET}@p.example", "names a socks5h proxy, and that is no http or https proxy"),
    (f"{SECRET}://p.example", "names what is no http or https proxy"),
    (f"http://me:{SECRET}", "names what is no http or https proxy"),
    (f"http://me:{SECRET}@", "names what is no http or https proxy"),
    (f"http://me:{SECRET}/x@p.example", "names what is no http or https proxy"),
    ("http://", "names what is no http or https proxy"),
    ("http://p.example:0", "names what is no http or https proxy"),
    ("http://[::1", "names what is no http or https proxy"),
    ("http://p .example", "names what is no http or https proxy"),
]


@pytest.mark.parametrize(("url", "says"), FLAWED)
def test_what_is_no_proxy_is_a_wrong_setting_and_nobody_is_asked(url: str, says: str) -> None:
    source = HttpSource(
        routes=Routes(proxies={"http": Proxy(url, "HTTP_PROXY")}, bypassed=lambda server: server == "127.0.0.1:9")
    )
    with pytest.raises(SettingInvalid) as caught:
        source.probe("http://models.example.org/x", Stop())
    assert caught.value.message == f"`HTTP_PROXY` {says}"
    assert "write `HTTP_PROXY` as `http://host:port`" in caught.value.hint
    assert SECRET not in caught.value.message + caught.value.hint
    with pytest.raises(ConnectionFailed, match=r"cannot connect to `127\.0\.0\.1:9`"):
        source.probe("http://127.0.0.1:9/x", Stop())


# --- for whom ----------------------------------------------------------------------------------------------

NO_PROXY = [
    ("", "a.example:80", False),
    ("a.example", "a.example:80", True),
    (".example", "a.example:80", True),
    (".example", "example:80", True),
    ("example", "a.example:80", True),
    ("example", "badexample:80", False),
    ("A.Example", "a.example:80", True),
    ("a.example", "A.EXAMPLE:80", True),
    ("other.example, a.example", "a.example:80", True),
    (" other.example  a.example ", "a.example:80", True),
    ("b.example", "a.example:80", False),
    ("*", "a.example:80", True),
    ("b.example,*", "10.1.2.3:80", True),
    ("a.example:8080", "a.example:8080", True),
    ("a.example:8080", "a.example:80", False),
    (".example:8080", "a.example:8080", True),
    ("a.example:443", "a.example", False),
    ("127.0.0.1", "127.0.0.1:8080", True),
    ("127.0.0.1", "127.0.0.2:8080", False),
    ("0.0.1", "127.0.0.1:8080", False),
    ("127.0.0.1:8080", "127.0.0.1:8080", True),
    ("127.0.0.1:8080", "127.0.0.1:8081", False),
    ("127.0.0.0/8", "127.9.9.9:8080", True),
    ("10.1.2.3/8", "10.255.0.1:80", True),
    ("10.0.0.0/8", "11.0.0.1:80", False),
    ("10.0.0.0/8", "10.example:80", False),
    ("10.0.0.0/40", "10.0.0.1:80", False),
    ("::1", "[::1]:8080", True),
    ("[::1]", "[::1]:8080", True),
    ("[::1]:8080", "[::1]:8080", True),
    ("[::1]:8080", "[::1]:8081", False),
    ("FD00::0:1", "[fd00::1]:80", True),
    ("fd00::/8", "[fd12::1]:80", True),
    ("fd00::/8", "[fe80::1]:80", False),
    ("fd00::/8", "10.0.0.1:80", False),
]


@pytest.mark.parametrize(("listed", "server", "bypassed"), NO_PROXY)
def test_no_proxy_names_hosts_suffixes_servers_and_networks(listed: str, server: str, bypassed: bool) -> None:
    assert no_proxy_from({"NO_PROXY": listed})(server) is bypassed
    assert no_proxy_from({"no_proxy": listed, "NO_PROXY": "*"})(server) is bypassed


def test_an_empty_list_in_lower_case_wins_too() -> None:
    assert no_proxy_variable({"no_proxy": "", "NO_PROXY": "*"}) is None
    assert no_proxy_variable({"NO_PROXY": "*"}) == "NO_PROXY"


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("http://A.example/x", "a.example:80"),
        ("https://a.example/x", "a.example:443"),
        ("http://a.example:8080/x", "a.example:8080"),
        ("https://[::1]/x", "[::1]:443"),
    ],
)
def test_a_server_is_looked_up_with_its_port(url: str, server: str) -> None:
    proxy = Proxy("http://p.example", "ALL_PROXY")
    assert Routes({"http": proxy, "https": proxy}, lambda each: each == server).proxy_for(url) is None
    assert Routes({"http": proxy, "https": proxy}, lambda each: each != server).proxy_for(url) is proxy


@pytest.mark.parametrize("listed", ["{server}", "127.0.0.0/8", "127.0.0.1"])
def test_who_needs_no_proxy_is_asked_directly(project: Project, gemmalock: Gemmalock, listed: str) -> None:
    with FileServer({"/m.gguf": b"m"}) as server:
        project.write_manifest(f"version: 1\nmodels:\n  m:\n    files:\n      - url: {server.url}/m.gguf\n")
        environ = {
            "GEMMALOCK_RETRIES": "0",
            "HTTP_PROXY": "http://127.0.0.1:1",
            "NO_PROXY": listed.format(server=server.origin.partition("//")[2]),
        }
        assert gemmalock("lock", env=environ).code == 0
        assert gemmalock("lock", "--upgrade", env=environ | {"NO_PROXY": "127.0.0.1:1,10.0.0.0/8"}).code == 1


# --- what is said ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there_is_blamed_and_not_the_server(scheme: str) -> None:
    variable = f"{scheme.upper()}_PROXY"
    source = HttpSource(routes=Routes(proxies={scheme: Proxy(f"http://me:{SECRET}@127.0.0.1:1", variable)}))
    with pytest.raises(ConnectionFailed) as caught:
        source.probe(f"{scheme}://models.example.org/x?signature=1", Stop())
    assert caught.value.message == (
        f"no way to `{scheme}://models.example.org/x?…` through the proxy that `{variable}` names: "
        "cannot connect to `127.0.0.1:1`: Connection refused"
    )
    assert caught.value.hint.startswith(f"check `{variable}`; `NO_PROXY`")
    assert caught.value.transient


def test_a_server_that_is_not_there_is_no_fault_of_a_proxy_that_is_not_asked() -> None:
    source = HttpSource(
        routes=Routes(proxies={"http": Proxy("http://127.0.0.1:1", "HTTP_PROXY")}, bypassed=lambda server: True)
    )
    with pytest.raises(ConnectionFailed) as caught:
        source.probe("http://127.0.0.1:9/x", Stop())
    assert "proxy" not in caught.value.message + caught.value.hint.lower()


CREDENTIALS = [
    ("", "wants a credential, and was sent none", "write it into `{}`, before the host"),
    (f"me:{SECRET}@", "did not accept the credential that it was sent", "check the name and the password in `{}`"),
]


@pytest.mark.parametrize(("given", "says", "hint"), CREDENTIALS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_credential_says_whether_it_was_sent_one(
    scheme: str, given: str, says: str, hint: str
) -> None:
    """N09."""
    with ScriptedServer(lambda e: e.answer(407)) as proxy:
        variable = f"{scheme}_proxy"
        source = HttpSource(routes=Routes(proxies={scheme: Proxy(proxy.url.replace("://", f"://{given}"), variable)}))
        with pytest.raises(Unauthorized) as caught:
            source.open(Ask(f"{scheme}://models.example.org/x"), Stop())
        source.close()
    assert caught.value.message == (
        f"the proxy `{proxy.url}` of `{variable}`, on the way to `{scheme}://models.example.org/x`, {says} (407)"
    )
    assert caught.value.hint.startswith(hint.format(variable))


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["flawed", "HTTP/1.0 in chunks"],
)
def test_a_connection_to_a_proxy_is_not_used_again_after_a_head_that_cannot_be_trusted(head: bytes) -> None:
    with ScriptedServer(lambda e: e.send(head)) as proxy:
        source = HttpSource(routes=Routes(proxies={"http": Proxy(proxy.url, "HTTP_PROXY")}))
        for _ in range(3):
            with contextlib.suppress(ConnectionFailed):
                drained(source.open(Ask("http://models.example.org/x"), Stop()))
        source.close()
        assert proxy.connections == 3


@pytest.mark.parametrize(("status", "again"), [(403, False), (404, False), (502, True), (503, True)])
def test_a_proxy_that_refuses_a_tunnel_is_named(status: int, again: bool) -> None:
    """What it forbids is not asked for again; what it does not reach may be there in a second."""
    with ScriptedServer(lambda e: e.answer(status)) as proxy:
        source = HttpSource(routes=Routes(proxies={"https": Proxy(proxy.url, "ALL_PROXY")}))
        said = rf"the proxy `{proxy.url}` of `ALL_PROXY`, .* answered {status}"
        with pytest.raises(SourceError, match=said) as caught:
            source.open(Ask("https://models.example.org/x"), Stop())
        source.close()
    assert caught.value.transient is again


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_speaks_no_tls_is_told_from_a_server_that_does_not(scheme: str) -> None:
    with FileServer({}) as plain:
        source = HttpSource(routes=Routes(proxies={scheme: Proxy(plain.url.replace("http:", "https:"), "ALL_PROXY")}))
        with pytest.raises(SourceError) as caught:
            source.open(Ask(f"{scheme}://models.example.org/x"), Stop())
        source.close()
    assert isinstance(caught.value, TlsFailed)
    assert (
        "through the proxy that `ALL_PROXY` names: no secure connection to `https://127.0.0.1" in caught.value.message
    )
    assert "`http://…` in `ALL_PROXY`" in caught.value.hint


def test_a_proxy_over_tls_is_believed_by_its_own_certificate(
    certificate: Callable[[str], tuple[ssl.SSLContext, Path]],
) -> None:
    context, public = certificate("IP:127.0.0.1")
    with ScriptedServer(lambda e: e.answer(200, {}, b"x"), tls=context) as proxy:
        proxies = {"http": Proxy(proxy.url, "HTTP_PROXY")}
        stranger = HttpSource(routes=Routes(proxies=proxies))
        with pytest.raises(TlsFailed, match=r"the proxy that `HTTP_PROXY` names: .*certificate was not accepted"):
            stranger.open(Ask("http://models.example.org/x"), Stop())
        stranger.close()
        friend = HttpSource(routes=Routes(proxies=proxies, ca_file=str(public)))
        friend.open(Ask("http://models.example.org/x"), Stop()).close()
        friend.close()


@pytest.mark.parametrize("command", ["lock", "sync"])
def test_a_proxy_that_cannot_be_ends_a_run_before_anything_is_asked(
    project: Project, gemmalock: Gemmalock, command: str
) -> None:
    # So much that `lock` leaves the bytes to `sync`.
    with FileServer({"/m.gguf": bytes(2_000_000)}) as server:
        project.write_manifest(f"version: 1\nmodels:\n  m:\n    files:\n      - url: {server.url}/m.gguf\n")
        if command == "sync":
            assert gemmalock("lock").code == 0
        asked = len(server.requests)
        done = gemmalock(command, env={"ALL_PROXY": f"socks5://me:{SECRET}@127.0.0.1:1"})
        assert len(server.requests) == asked
    assert "`ALL_PROXY` names a socks5 proxy, and that is no http or https proxy" in done.err
    assert SECRET not in done.err + done.out
    assert done.code == 4

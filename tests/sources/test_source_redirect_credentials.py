"""What travels at each hop of a redirect, over a real wire: no credential ever reaches another origin.

Hosts that no test may reach are behind `tests.servers.everywhere`, with real TLS; this machine is asked directly.
"""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gemmalock.errors import RedirectRefused, SourceError
from gemmalock.ports import Ask
from gemmalock.secret import redacted_secrets
from gemmalock.sources.channel import Routes
from gemmalock.sources.credentials import Credentials
from gemmalock.sources.http import HttpSource, Policy
from gemmalock.sources.proxies import Proxy
from gemmalock.sources.rewriting import Rewrites, Rule
from gemmalock.stopping import Stop
from tests.servers.everywhere import Everywhere
from tests.servers.fileserver import FileServer
from tests.servers.scripted import Exchange, ScriptedServer
from tests.sources.conftest import drained, made_certificate

H, G, M, N = "hf_Hub-T0ken", "ghp_Forge-T0ken", "of-the-m0dels", "pass-w0rd"
NETRC = (
    f"machine n.example login me password {N}\nmachine 127.0.0.1 login me password {N}\n"
    "default password f0r-all-of-them\n"
)
PROXY = "pr0xy-password"
SECRETS = (H, G, M, N, PROXY, "f0r-all-of-them", base64.b64encode(f"me:{N}".encode()).decode())
HUB = "https://huggingface.co"
HOSTS = (
    "huggingface.co", "www.huggingface.co", "cdn-lfs.huggingface.co", "huggingface.co.evil.example", "evil.example",
    "hugginqface.co", "m.example", "n.example", "a.n.example", "github.com", "api.github.com", "o.example",
    "objects.githubusercontent.com", "xn--hggingface-9db.co",
)  # fmt: skip
NAMES = ",".join((*(f"DNS:{host}" for host in HOSTS), "IP:2606:4700::1", "IP:2606:4700::2"))
bearer = "Bearer {}".format
basic = "Basic " + base64.b64encode(f"me:{N}".encode()).decode()


@dataclass(frozen=True)
class Chain:
    """A URL, the `Location`s that it leads through, and the Authorization that arrives at each hop. `auth`: what the
    settings say; the last hop is refused where it is `refused`."""

    what: str
    start: str
    through: tuple[str, ...]
    arrives: tuple[str | None, ...]
    auth: Mapping[str, str] = field(default_factory=dict)
    refused: bool = False

    def __str__(self) -> str:
        return self.what


#: `https://m.example` has the credential M by the settings.
MODELS = {"https://m.example": "MODELS"}
V6 = {"https://[2606:4700::1]": "MODELS"}
CHAINS = (
    # The same origin, however it is written.
    Chain("the same origin by a path", f"{HUB}/a", ("/b",), (bearer(H), bearer(H))),
    Chain("the same origin by its whole URL", f"{HUB}/a", (f"{HUB}/b",), (bearer(H), bearer(H))),
    Chain("the same origin without a scheme", f"{HUB}/a", ("//huggingface.co/b",), (bearer(H), bearer(H))),
    Chain("the same origin in upper case", f"{HUB}/a", ("HTTPS://HUGGINGFACE.CO/b",), (bearer(H), bearer(H))),
    Chain("the same origin with its default port", f"{HUB}/a", (f"{HUB}:443/b",), (bearer(H), bearer(H))),
    Chain("the same origin with an empty port", f"{HUB}/a", (f"{HUB}:/b",), (bearer(H), bearer(H))),
    Chain("the same origin with a port of zeros", f"{HUB}/a", (f"{HUB}:00443/b",), (bearer(H), bearer(H))),
    Chain("the same origin through many hops", f"{HUB}/a", ("/b", "/c", "/d"), (bearer(H),) * 4),
    # Another host.
    Chain("another host", f"{HUB}/a", ("https://o.example/b",), (bearer(H), None)),
    Chain("a host below it", f"{HUB}/a", ("https://cdn-lfs.huggingface.co/b",), (bearer(H), None)),
    Chain("its www", f"{HUB}/a", ("https://www.huggingface.co/b",), (bearer(H), None)),
    Chain("a host that begins like it", f"{HUB}/a", ("https://huggingface.co.evil.example/b",), (bearer(H), None)),
    Chain("a look-alike letter", f"{HUB}/a", ("https://hugginqface.co/b",), (bearer(H), None)),
    Chain("a look-alike in Punycode", f"{HUB}/a", ("https://xn--hggingface-9db.co/b",), (bearer(H), None)),
    Chain("a dot at the end", f"{HUB}/a", ("https://huggingface.co./b",), (bearer(H), None)),
    Chain("another host by its scheme-less URL", f"{HUB}/a", ("//evil.example/b",), (bearer(H), None)),
    Chain("its name in the path", f"{HUB}/a", ("https://evil.example/huggingface.co",), (bearer(H), None)),
    Chain("its name in the query", f"{HUB}/a", (f"https://evil.example/?{HUB}/",), (bearer(H), None)),
    Chain("its name behind an @ in the path", f"{HUB}/a", ("https://evil.example/@huggingface.co/",),
          (bearer(H), None)),
    Chain("its name in the fragment", f"{HUB}/a", (f"https://evil.example/b#@{HUB}",), (bearer(H), None)),
    Chain("and back again", f"{HUB}/a", ("https://o.example/b", f"{HUB}/c"), (bearer(H), None, bearer(H))),
    Chain("from a stranger", "https://evil.example/a", (f"{HUB}/b",), (None, bearer(H))),
    Chain("from a stranger and on", "https://evil.example/a", (f"{HUB}/b", "https://o.example/c"),
          (None, bearer(H), None)),
    # Another port.
    Chain("another port", f"{HUB}/a", (f"{HUB}:8443/b",), (bearer(H), None)),
    Chain("the port of plain http", f"{HUB}/a", (f"{HUB}:80/b",), (bearer(H), None)),
    Chain("from another port", f"{HUB}:8443/a", (f"{HUB}/b",), (None, bearer(H))),
    # Another scheme.
    Chain("plain http", f"{HUB}/a", ("http://huggingface.co/b",), (bearer(H),), refused=True),
    Chain("plain http on its port", f"{HUB}/a", ("http://huggingface.co:443/b",), (bearer(H),), refused=True),
    Chain("from plain http", "http://o.example/a", (f"{HUB}/b",), (None, bearer(H))),
    Chain("from plain http of its own", "http://huggingface.co/a", (f"{HUB}/b",), (None, bearer(H))),
    Chain("a file", f"{HUB}/a", ("file:///etc/passwd",), (bearer(H),), refused=True),
    # User names, and what programs read in different ways.
    Chain("a user name", f"{HUB}/a", ("https://me@huggingface.co/b",), (bearer(H),), refused=True),
    Chain("its name as a user name", f"{HUB}/a", ("https://huggingface.co@evil.example/b",),
          (bearer(H),), refused=True),
    Chain("a backslash", f"{HUB}/a", ("https://huggingface.co\\@evil.example/b",), (bearer(H),), refused=True),
    Chain("this machine", f"{HUB}/a", ("http://127.0.0.1:9/b",), (bearer(H),), refused=True),
    # The secret itself, made part of the next URL by a server that echoes.
    Chain("the token in the query", f"{HUB}/a", (f"https://evil.example/?t={H}",), (bearer(H),), refused=True),
    Chain("the token in the path", f"{HUB}/a", (f"https://evil.example/{H}",), (bearer(H),), refused=True),
    Chain("the token in Base64", f"{HUB}/a", ("https://evil.example/" + base64.b64encode(H.encode()).decode(),),
          (bearer(H),), refused=True),
    Chain("the token as a host", "https://m.example/a", (f"https://{M}.evil.example/",), (bearer(M),), auth=MODELS,
          refused=True),
    # GitHub's.
    Chain("a release", "https://github.com/a", ("https://objects.githubusercontent.com/b?sig=x",), (bearer(G), None)),
    Chain("from the API", "https://api.github.com/a", ("https://objects.githubusercontent.com/b",), (bearer(G), None)),
    Chain("from the hub to the forge", f"{HUB}/a", ("https://github.com/b",), (bearer(H), bearer(G))),
    # Those of the settings.
    Chain("an origin of the settings", "https://m.example/a", ("/b", "https://o.example/c"),
          (bearer(M), bearer(M), None), auth=MODELS),
    Chain("an origin of the settings on another port", "https://m.example/a", ("https://m.example:8443/b",),
          (bearer(M), None), auth=MODELS),
    Chain("from an origin of the settings to the hub", "https://m.example/a", (f"{HUB}/b",), (bearer(M), bearer(H)),
          auth=MODELS),
    Chain("an IPv6 address in another spelling", "https://[2606:4700::1]/a", ("https://[2606:4700:0::0:1]/b",),
          (bearer(M), bearer(M)), auth=V6),
    Chain("another IPv6 address", "https://[2606:4700::1]/a", ("https://[2606:4700::2]/b",),
          (bearer(M), None), auth=V6),
    # netrc.
    Chain("netrc to a stranger", "https://n.example/a", ("https://o.example/b",), (basic, None)),
    Chain("netrc to another port of its host", "https://n.example/a", ("https://n.example:8443/b",), (basic, basic)),
    Chain("netrc to a host below", "https://n.example/a", ("https://a.n.example/b",), (basic, None)),
    Chain("netrc for where it leads", "https://o.example/a", ("https://n.example/b",), (None, basic)),
    Chain("netrc and plain http", "http://n.example/a", ("https://n.example/b",), (None, basic)),
)  # fmt: skip


def test_there_are_cases_enough() -> None:
    assert len(CHAINS) >= 50
    assert len({chain.what for chain in CHAINS}) == len(CHAINS)


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server's context for every host of the cases, and the certificate to believe."""
    return made_certificate(tmp_path_factory.mktemp("identity"), NAMES)


World = Callable[[Chain], tuple[Everywhere, HttpSource]]


@pytest.fixture
def world(identity: tuple[ssl.SSLContext, Path], house: Path) -> Iterator[World]:
    """The hosts of a chain, and a source that has every credential."""
    opened: list[tuple[Everywhere, HttpSource]] = []

    def make(chain: Chain) -> tuple[Everywhere, HttpSource]:
        (house / ".netrc").write_text(NETRC)
        (house / ".netrc").chmod(0o600)
        environ = {"HOME": str(house), "HF_TOKEN": H, "GITHUB_TOKEN": G, "MODELS": M}
        place = Everywhere(identity[0], leads_of(chain)).__enter__()
        proxy = Proxy(f"http://me:{PROXY}@127.0.0.1:{place.port}", "ALL_PROXY")
        source = HttpSource(
            policy=Policy(allow_http=True),
            routes=Routes(proxies={"http": proxy, "https": proxy}, ca_file=str(identity[1])),
            credentials=Credentials(environ, chain.auth.items()),
        )
        opened.append((place, source))
        return place, source

    yield make
    for place, source in opened:
        source.close()
        place.__exit__(None, None, None)


def leads_of(chain: Chain) -> dict[str, str]:
    """Each hop's URL, as the proxy sees it, with the `Location` that it answers."""
    from gemmalock.sources.redirects import next_hop

    leads, url = {}, chain.start
    for number, location in enumerate(chain.through):
        leads[seen(url)] = location
        if not (chain.refused and number + 1 == len(chain.through)):
            url = next_hop(url, 302, location, allow_http=True)
    return leads


def seen(url: str) -> str:
    """A URL as the proxy sees it: what is written in different ways is one host and port there."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    host = host.lower().rstrip(":").removesuffix(":443").removesuffix(":00443")
    return f"{scheme.lower()}://{host}{slash}{path}"


@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_each_hop_gets_what_is_its_own(chain: Chain, world: World) -> None:
    place, source = world(chain)
    if chain.refused:
        with pytest.raises(RedirectRefused) as caught:
            source.open(Ask(chain.start), Stop())
        assert not [secret for secret in SECRETS if secret in f"{caught.value} {caught.value.hint}"]
    else:
        assert drained(source.open(Ask(chain.start), Stop())) == b"x"
    assert [asked.fields.get("authorization") for asked in place.asked] == list(chain.arrives)
    for asked in place.asked:
        own = asked.fields.get("authorization", "")
        rest = asked.head.replace(own, "") if own else asked.head
        if asked.url.startswith("https:"):
            assert not [secret for secret in SECRETS if secret in rest]
        else:
            # What is asked over plain http, the proxy is asked for, with its own password.
            assert not [secret for secret in SECRETS if secret in rest and secret != PROXY]


def test_a_proxy_gets_its_own_password_and_nothing_of_the_servers(world: World) -> None:
    place, source = world(CHAINS[0])
    source.open(Ask(CHAINS[0].start), Stop()).close()
    given = base64.b64encode(f"me:{PROXY}".encode()).decode()
    assert place.tunnels
    for head in place.tunnels:
        assert f"Basic {given}" in head
        assert H not in head
    assert "proxy-authorization" not in place.asked[0].fields


def test_the_password_of_a_proxy_is_a_secret_too(world: World) -> None:
    _, source = world(CHAINS[0])
    source.open(Ask(CHAINS[0].start), Stop()).close()
    given = base64.b64encode(f"me:{PROXY}".encode()).decode()
    assert redacted_secrets(f"{PROXY} or {given}") == "*** or ***"


def test_a_probe_follows_by_the_same_rules(world: World) -> None:
    chain = Chain("", f"{HUB}/a", ("https://o.example/b",), ())
    place, source = world(chain)
    assert source.probe(chain.start, Stop()).size == 1
    assert [asked.fields.get("authorization") for asked in place.asked] == [bearer(H), None]


# --- this machine --------------------------------------------------------------------------------------------


def here(auth: Mapping[str, str], **more: object) -> HttpSource:
    """A source with a credential for origins of this machine."""
    environ = {"HOME": "/nonexistent", **{f"T{number}": value for number, value in enumerate(auth.values())}}
    named = [(origin, f"T{number}") for number, origin in enumerate(auth)]
    return HttpSource(credentials=Credentials(environ, named), **more)  # type: ignore[arg-type]


CUSTOM = "PRIVATE-TOKEN: glpat-of-theirs"
#: A value, and the field that it comes in.
LOCAL = [("of-the-m0dels", "authorization", "Bearer of-the-m0dels"), (CUSTOM, "private-token", "glpat-of-theirs")]


@pytest.mark.parametrize(("value", "name", "arrives"), LOCAL)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "localhost."])
def test_another_spelling_of_this_machine_is_another_origin(host: str, value: str, name: str, arrives: str) -> None:
    with (
        ScriptedServer(lambda e: e.answer(200, {}, b"x")) as second,
        FileServer({}, redirects={"/a": f"http://{host}:{second.port}/b"}) as first,
    ):
        source = here({first.url: value})
        assert drained(source.open(Ask(first.url + "/a"), Stop())) == b"x"
        source.close()
    assert [each.headers.get(name) for each in first.requests] == [arrives]
    assert [each.headers.get(name) for each in second.requests] == [None]


@pytest.mark.parametrize(("value", "name", "arrives"), LOCAL)
def test_a_field_of_ones_own_stays_with_its_origin(value: str, name: str, arrives: str) -> None:
    def script(exchange: Exchange) -> None:
        exchange.answer(302, {"Location": {"/a": "/b", "/b": second.url + "/c"}[exchange.request.path]})

    with FileServer({"/c": b"x"}) as second, ScriptedServer(script) as first:
        source = here({first.url: value})
        assert drained(source.open(Ask(first.url + "/a"), Stop())) == b"x"
        source.close()
    assert [each.headers.get(name) for each in first.requests] == [arrives, arrives]
    assert [each.headers.get(name) for each in second.requests] == [None]


def has_ipv6() -> bool:
    """Whether this machine can be asked over IPv6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_this_machine_over_ipv6_has_one_origin_in_every_spelling() -> None:
    with ScriptedServer(lambda e: e.answer(200, {}, b"x"), host="::1") as server:
        source = here({f"http://[::1]:{server.port}": "of-the-m0dels"})
        for spelling in ("[::1]", "[0:0:0:0:0:0:0:1]"):
            source.open(Ask(f"http://{spelling}:{server.port}/x"), Stop()).close()
        source.close()
    assert [each.headers.get("authorization") for each in server.requests] == ["Bearer of-the-m0dels"] * 2


def test_a_rewritten_url_has_the_credential_of_the_place_that_is_asked() -> None:
    with FileServer({"/m/x": b"x"}) as mirror:
        rules = Rewrites([Rule("https://m.example/", f"{mirror.url}/m/")])
        source = here({"https://m.example": "of-the-m0dels", mirror.url: "of-the-mirror"}, rewrites=rules)
        assert drained(source.open(Ask("https://m.example/x"), Stop())) == b"x"
        source.close()
    assert [each.headers.get("authorization") for each in mirror.requests] == ["Bearer of-the-mirror"]


def test_a_proxy_on_this_machine_may_hear_what_is_asked_of_this_machine() -> None:
    with ScriptedServer(lambda e: e.answer(200, {}, b"x")) as proxy:
        source = here(
            {"http://127.0.0.1:9": "of-the-m0dels"}, routes=Routes(proxies={"http": Proxy(proxy.url, "HTTP_PROXY")})
        )
        assert drained(source.open(Ask("http://127.0.0.1:9/x"), Stop())) == b"x"
        source.close()
    assert proxy.requests[0].headers["authorization"] == "Bearer of-the-m0dels"


@pytest.mark.parametrize(
    ("proxy", "url", "overheard"),
    [
        ("http://p.example:3128", "http://127.0.0.1/x", True),
        ("http://p.example:3128", "https://m.example/x", False),
        ("https://p.example:3128", "http://127.0.0.1/x", True),
        ("http://10.0.0.1:3128", "http://localhost:8080/x", True),
        ("http://127.0.0.1:3128", "http://127.0.0.1/x", False),
        ("http://localhost:3128", "http://[::1]/x", False),
        (None, "http://127.0.0.1/x", False),
    ],
)
def test_a_proxy_on_another_machine_hears_plain_http(proxy: str | None, url: str, overheard: bool) -> None:
    named = None if proxy is None else Proxy(proxy, "ALL_PROXY")
    routes = Routes({} if named is None else {"http": named, "https": named})
    assert routes.is_overheard(url) is overheard
    assert not Routes({"http": Proxy("http://p.example", "HTTP_PROXY")}, lambda server: True).is_overheard(url)


def test_what_a_proxy_on_another_machine_hears_carries_no_credential() -> None:
    auth, url = {"http://127.0.0.1:9": "of-the-m0dels"}, "http://127.0.0.1:9/x"
    for proxy, name in (("http://p.example:3128", None), ("http://127.0.0.1:3128", "T0")):
        source = here(auth, routes=Routes(proxies={"http": Proxy(proxy, "HTTP_PROXY")}))
        assert source.credential_for(url) == name
        source.close()


def test_a_path_beyond_ascii_changes_nothing_of_what_is_sent() -> None:
    with FileServer({"/módel": b"x"}) as server:
        source = here({server.url: "of-the-m0dels"})
        assert drained(source.open(Ask(f"{server.url}/módel"), Stop())) == b"x"
        source.close()
    assert [each.headers.get("authorization") for each in server.requests] == ["Bearer of-the-m0dels"]


# --- what is refused says what was sent, by name -------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "has", "words"),
    [
        (401, True, "`T0` was sent and not accepted"),
        (403, True, "`T0` was sent and is not enough"),
        (401, False, "no credential was sent: let `auth`"),
        (403, False, "no credential was sent: let `auth`"),
    ],
)
@pytest.mark.parametrize("ask", ["open", "probe"])
def test_a_refusal_says_by_name_what_was_sent(status: int, has: bool, words: str, ask: str) -> None:
    def script(exchange: Exchange) -> None:
        echoed = exchange.request.headers.get("authorization", "nothing")
        exchange.answer(status, {"X-Error-Message": f"what is {echoed}", "X-Error-Code": "Refused"}, echoed.encode())

    with ScriptedServer(script) as server:
        source = here({server.url: "of-the-m0dels"} if has else {})
        with pytest.raises(SourceError) as caught:
            source.open(Ask(server.url + "/x"), Stop()) if ask == "open" else source.probe(server.url + "/x", Stop())
        source.close()
    error = caught.value
    assert words in error.hint
    assert (error.status, error.told, error.credential) == (status, "Refused", "T0" if has else None)
    assert error.said == ("what is ***" if has else "what is nothing")


def test_what_the_last_hop_was_not_sent_the_first_one_was() -> None:
    with (
        ScriptedServer(lambda e: e.answer(403)) as second,
        FileServer({}, redirects={"/a": second.url + "/b"}) as first,
    ):
        source = here({first.url: "of-the-m0dels"})
        with pytest.raises(SourceError) as caught:
            source.open(Ask(first.url + "/a"), Stop())
        source.close()
    assert caught.value.credential == "T0"
    assert caught.value.may_have_expired


@pytest.mark.parametrize("where", ["ETag", "Location", "reason", "garbage", "Content-Range"])
def test_a_server_that_repeats_what_it_was_sent_gets_it_into_no_error(where: str) -> None:
    import traceback

    def script(exchange: Exchange) -> None:
        token = exchange.request.headers["authorization"].removeprefix("Bearer ")
        if where == "reason":
            exchange.head(404, {"Content-Length": "0"}, reason=token)
        elif where == "garbage":
            exchange.send(f"{token}\r\n\r\n".encode()).close()
        elif where == "Location":
            exchange.head(302, {"Location": f"ftp://{token}/{token}", "Content-Length": "0"})
        else:
            exchange.answer(206, {where: f'"{token}"'}, b"x")

    with ScriptedServer(script) as server:
        source = here({server.url: "of-the-m0dels"})
        with pytest.raises(SourceError) as caught:
            source.open(Ask(server.url + "/x", 3, 9, 9, proven=True), Stop())
        source.close()
    assert "of-the-m0dels" not in "".join(traceback.format_exception(caught.value))


def test_an_etag_that_repeats_a_secret_is_not_kept() -> None:
    with ScriptedServer(lambda e: e.answer(200, {"ETag": '"of-the-m0dels"'}, b"x")) as server:
        source = here({server.url: "of-the-m0dels"})
        assert source.probe(server.url + "/x", Stop()).etag == '"***"'
        source.close()


def test_a_number_that_delimits_a_body_is_no_secret() -> None:
    """A password of digits, and a file of so many bytes."""

    def script(exchange: Exchange) -> None:
        fields = {"ETag": '"12345678-x"', "Content-Type": "x/12345678"}
        if "range" in exchange.request.headers:
            exchange.answer(206, fields | {"Content-Range": "bytes 12345670-12345671/12345678"}, b"xy")
        else:
            exchange.head(200, fields | {"Content-Length": "12345678"}).close()

    with ScriptedServer(script) as server:
        source = here({server.url: "12345678"})
        probe = source.probe(server.url + "/x", Stop())
        assert (probe.size, probe.etag) == (12345678, '"***-x"')
        part = Ask(server.url + "/x", 12345670, 12345672, 12345678, proven=True)
        assert drained(source.open(part, Stop())) == b"xy"
        source.close()

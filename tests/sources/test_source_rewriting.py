"""Rewriting: which place a URL is asked at, of redirects too, and what does not change by it."""

from __future__ import annotations

import pytest

from gemmalock.errors import ConnectionFailed, NotFound, PolicyRefused, RedirectRefused
from gemmalock.ports import Ask
from gemmalock.sources.channel import Routes
from gemmalock.sources.http import HttpSource, Policy
from gemmalock.sources.proxies import Proxy
from gemmalock.sources.rewriting import Rewrites
from gemmalock.stopping import Stop
from tests.servers.fileserver import FileServer
from tests.sources.conftest import drained

BODY = bytes(range(256)) * 40
RULES = (
    ("https://hub.example", "https://mirror.example/hub/"),
    ("https://hub.example/models/", "https://models.example"),
    ("https://HUB.example:443/models/big", "https://big.example:8443/x"),
    ("http://plain.example:8080/a", "http://127.0.0.1:9/a"),
)


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://hub.example", "https://mirror.example/hub"),
        ("https://hub.example/", "https://mirror.example/hub/"),
        ("https://hub.example/a/b?c=1", "https://mirror.example/hub/a/b?c=1"),
        ("https://hub.example?c=1", "https://mirror.example/hub?c=1"),
        ("https://HUB.example:443/a", "https://mirror.example/hub/a"),
        ("https://hub.example/models", "https://models.example"),
        ("https://hub.example/models/a", "https://models.example/a"),
        ("https://hub.example/models?a", "https://models.example?a"),
        ("https://hub.example/models2/a", "https://mirror.example/hub/models2/a"),
        ("https://hub.example/models/big/a%20b", "https://big.example:8443/x/a%20b"),
        ("https://hub.example/models/bigger", "https://models.example/bigger"),
        ("http://plain.example:8080/a/b", "http://127.0.0.1:9/a/b"),
        # Another host, port or scheme, however it begins.
        ("https://hub.example.evil/a", None),
        ("https://hub.example:8443/a", None),
        ("http://hub.example/a", None),
        ("https://hub.example@evil.example/a", None),
        ("https://evil.example/https://hub.example/a", None),
        ("http://plain.example:8080/ab", None),
        ("http://plain.example/a", None),
        # What a rule leads to is not led on.
        ("https://mirror.example/hub/a", None),
        ("https://[::1/a", None),
        ("https://hub.example:port/a", None),
    ],
)
def test_the_longest_prefix_that_ends_where_a_part_ends_counts(url: str, asked: str | None) -> None:
    assert Rewrites(RULES).of(url) == (url if asked is None else asked)


def test_out_of_https_into_plain_http_is_refused_unless_it_is_allowed() -> None:
    rules = (("https://hub.example", "http://mirror.example"),)
    with pytest.raises(PolicyRefused, match=r"`http://mirror\.example/a`, as `rewrite` says, which is plain http"):
        Rewrites(rules).of("https://hub.example/a")
    assert Rewrites(rules, allow_http=True).of("https://hub.example/a") == "http://mirror.example/a"
    assert (
        Rewrites((("https://hub.example", "http://127.0.0.1:9"),)).of("https://hub.example/a") == "http://127.0.0.1:9/a"
    )


def test_each_url_that_is_led_elsewhere_is_told_once() -> None:
    told: list[str] = []
    rewrites = Rewrites(RULES, told=told.append)
    for url in ("https://hub.example/a?token=s3cret", "https://hub.example/a?token=s3cret", "https://other.example/"):
        rewrites.of(url)
    assert told == ["`https://hub.example/a?…` is asked for at `https://mirror.example/hub/a?…`, as `rewrite` says"]


def asking(rules: tuple[tuple[str, str], ...], policy: Policy | None = None) -> HttpSource:
    return HttpSource(policy=policy, rewrites=Rewrites(rules))


def whole(url: str, *, proven: bool = True) -> Ask:
    return Ask(url, 0, len(BODY), len(BODY), proven=proven)


def test_bytes_and_what_is_known_of_them_come_from_the_mirror() -> None:
    with FileServer({"/hub/m.gguf": BODY}) as mirror:
        source = asking((("https://hub.example/", f"{mirror.origin}/hub"),))
        assert source.probe("https://hub.example/m.gguf", Stop()).size == len(BODY)
        answer = source.open(whole("https://hub.example/m.gguf"), Stop())
        assert answer.origin == mirror.origin
        assert drained(answer) == BODY
        source.close()


def test_a_redirect_to_what_a_mirror_stands_for_goes_to_the_mirror() -> None:
    with FileServer({"/cdn/m.gguf": BODY}) as mirror, FileServer({}) as hub:
        hub.redirects["/m.gguf"] = "https://cdn.example/m.gguf?sig=1"
        source = asking((("https://cdn.example", f"{mirror.origin}/cdn"),))
        assert drained(source.open(whole(f"{hub.origin}/m.gguf"), Stop())) == BODY
        assert [request.path for request in mirror.requests] == ["/cdn/m.gguf?sig=1"]
        source.close()


def test_a_mirror_may_be_in_a_private_network_and_the_next_hop_not() -> None:
    """A proxy stands in for the public host: behind it, a server is known by its name."""
    with FileServer({"/m.gguf": BODY}) as mirror, FileServer({}) as outside:
        outside.redirects["http://hub.example/m.gguf"] = "http://cdn.example/m.gguf"
        outside.redirects["http://hub.example/evil"] = f"{mirror.origin}/m.gguf"
        proxied = HttpSource(
            routes=Routes(
                proxies={"http": Proxy(outside.origin, "HTTP_PROXY")},
                bypassed=lambda server: server.startswith("127.0.0.1:"),
            ),
            rewrites=Rewrites((("http://cdn.example", mirror.origin),)),
        )
        assert drained(proxied.open(whole("http://hub.example/m.gguf"), Stop())) == BODY
        with pytest.raises(RedirectRefused, match="address of this machine or network"):
            proxied.open(whole("http://hub.example/evil"), Stop())
        proxied.close()


def test_the_place_that_is_asked_has_to_be_allowed_and_the_other_need_not() -> None:
    with FileServer({"/m.gguf": BODY}) as mirror:
        rules = (("https://hub.example", mirror.origin),)
        source = asking(rules, Policy(allowed_hosts=frozenset({"127.0.0.1"})))
        assert drained(source.open(whole("https://hub.example/m.gguf"), Stop())) == BODY
        source.close()
        source = asking(rules, Policy(allowed_hosts=frozenset({"hub.example"})))
        with pytest.raises(PolicyRefused) as caught:
            source.open(whole("https://hub.example/m.gguf"), Stop())
        assert str(caught.value) == (
            "host `127.0.0.1` is not among `allowed-hosts`; `rewrite` leads to "
            f"`{mirror.origin}/m.gguf` from `https://hub.example/m.gguf`"
        )
        source.close()
        assert len(mirror.requests) == 1


def test_plain_http_to_a_mirror_wants_a_digest_as_everywhere() -> None:
    source = asking((("http://hub.example", "http://mirror.example"),))
    with pytest.raises(PolicyRefused, match=r"`http://mirror\.example/m\.gguf` is plain http, and there is no digest"):
        source.open(whole("http://hub.example/m.gguf", proven=False), Stop())
    source.close()


def test_errors_name_both_places() -> None:
    with FileServer({}) as mirror:
        source = asking((("https://hub.example", mirror.origin), ("https://gone.example", "http://127.0.0.1:9")))
        for call, place in (
            (lambda: source.probe("https://hub.example/m.gguf", Stop()), f"to `{mirror.origin}/m.gguf`"),
            # What is named already is not named again.
            (lambda: source.open(whole("https://hub.example/m.gguf"), Stop()), "there"),
        ):
            with pytest.raises(NotFound) as caught:
                call()
            leads = f"`rewrite` leads {place} from `https://hub.example/m.gguf`"
            assert str(caught.value).endswith(f"answered 404; {leads}")
        with pytest.raises(ConnectionFailed, match=r"from `https://gone\.example/m\.gguf`"):
            source.open(whole("https://gone.example/m.gguf"), Stop())
        source.close()


def test_an_error_behind_a_redirect_that_was_rewritten_names_both_places() -> None:
    with FileServer({}) as mirror, FileServer({}) as hub:
        hub.redirects["/m.gguf"] = "https://cdn.example/m.gguf"
        source = asking((("https://cdn.example", mirror.origin),))
        leads = f"at `{mirror.origin}`, where it leads; `rewrite` leads to `{mirror.origin}/m.gguf` from"
        with pytest.raises(NotFound, match=f"answered 404 {leads}"):
            source.open(whole(f"{hub.origin}/m.gguf"), Stop())
        source.close()

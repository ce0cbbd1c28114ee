"""Which credential goes to which origin: a table, and what no table can list."""

from __future__ import annotations

import base64
import os
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from urllib3.util import parse_url

from gemmalock.errors import Unauthorized
from gemmalock.sources.credentials import Credentials, Sending, trusted_origin
from gemmalock.sources.keepers import fields_of

TOKEN = "hf_TheTokenOfTheHub"
HUB = "https://huggingface.co"


def sent(environ: Mapping[str, str], url: str, auth: Mapping[str, str] | None = None) -> Mapping[str, str] | None:
    """The header fields of a request for `url`; None where it carries no credential."""
    found = Credentials({"HOME": "/nonexistent", **environ}, (auth or {}).items()).for_url(url)
    return None if found is None else found.headers


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


#: The environment, the URL, and whether the token goes there.
WHERE: list[tuple[dict[str, str], str, bool]] = [
    ({"HF_TOKEN": TOKEN}, "https://huggingface.co/a/b/resolve/main/x", True),
    ({"HF_TOKEN": TOKEN}, "https://huggingface.co", True),
    ({"HF_TOKEN": TOKEN}, "https://huggingface.co:443/x", True),
    ({"HF_TOKEN": TOKEN}, "HTTPS://HuggingFace.CO/x", True),
    ({"HF_TOKEN": f"  {TOKEN}\n"}, "https://huggingface.co/x", True),
    ({"HF_TOKEN": TOKEN}, "https://huggingface.co/módel?ö#ü", True),
    ({"HF_TOKEN": TOKEN}, "https://huggingface.co/%C3%B3", True),
    ({"HF_TOKEN": TOKEN}, "http://huggingface.co/x", False),
    ({"HF_TOKEN": TOKEN}, "https://huggingface.co:8443/x", False),
    ({"HF_TOKEN": TOKEN}, "https://huggingface.co./x", False),
    ({"HF_TOKEN": TOKEN}, "https://www.huggingface.co/x", False),
    ({"HF_TOKEN": TOKEN}, "https://cdn-lfs.huggingface.co/x", False),
    ({"HF_TOKEN": TOKEN}, "https://huggingface.co.evil.example/x", False),
    ({"HF_TOKEN": TOKEN}, "https://evilhuggingface.co/x", False),
    ({"HF_TOKEN": TOKEN}, "https://huggingface.co@evil.example/x", False),
    ({"HF_TOKEN": TOKEN}, "https://me@huggingface.co/x", False),
    ({"HF_TOKEN": TOKEN}, "https://huggingface.co\\@evil.example/x", False),
    ({"HF_TOKEN": TOKEN}, "https://hugging\tface.co/x", False),
    ({"HF_TOKEN": TOKEN}, "https://huggingface%2eco/x", False),
    ({"HF_TOKEN": TOKEN}, "https://huggingface.co%2f.evil.example/x", False),
    ({"HF_TOKEN": TOKEN}, "https://huggıngface.co/x", False),
    ({"HF_TOKEN": TOKEN}, "https://huggingface。co/x", False),
    ({"HF_TOKEN": TOKEN}, "https://huggingface.co:port/x", False),
    ({"HF_TOKEN": TOKEN}, "https://[huggingface.co/x", False),
    ({"HF_TOKEN": TOKEN}, "https:huggingface.co/x", False),
    ({"HF_TOKEN": TOKEN}, "file://huggingface.co/x", False),
    ({"HF_TOKEN": ""}, "https://huggingface.co/x", False),
    ({"HF_TOKEN": " \n"}, "https://huggingface.co/x", False),
    ({"HF_TOKEN": TOKEN, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, "https://huggingface.co/x", False),
    ({"HF_TOKEN": TOKEN, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0"}, "https://huggingface.co/x", True),
    # An endpoint of one's own stands in the hub's place: its token is not the hub's.
    ({"HF_TOKEN": TOKEN, "HF_ENDPOINT": "https://hub.example"}, "https://hub.example/x", True),
    ({"HF_TOKEN": TOKEN, "HF_ENDPOINT": "https://hub.example/"}, "https://huggingface.co/x", False),
    ({"HF_TOKEN": TOKEN, "HF_ENDPOINT": "https://me:pw@hub.example/p"}, "https://hub.example/x", False),
    ({"HF_TOKEN": TOKEN, "HF_ENDPOINT": "http://hub.example"}, "http://hub.example/x", False),
    ({"HF_TOKEN": TOKEN, "HF_ENDPOINT": "http://127.0.0.1:8080"}, "http://127.0.0.1:8080/x", True),
    ({"HF_TOKEN": TOKEN, "HF_ENDPOINT": "http://127.0.0.1:8080"}, "http://127.0.0.1:8081/x", False),
    ({"HF_TOKEN": TOKEN, "HF_ENDPOINT": "http://127.0.0.1:8080"}, "http://localhost:8080/x", False),
    ({"HF_TOKEN": TOKEN, "HF_ENDPOINT": "http://[0:0::1]:80"}, "http://[::1]/x", True),
    ({"HF_TOKEN": TOKEN, "HF_ENDPOINT": " https://hub.example/p\n"}, "https://hub.example/x", True),
    ({"HF_TOKEN": TOKEN, "HF_ENDPOINT": "hub.example"}, "https://huggingface.co/x", False),
    ({"HF_TOKEN": TOKEN, "HF_ENDPOINT": ""}, "https://huggingface.co/x", True),
    ({"HF_TOKEN": TOKEN, "HF_ENDPOINT": " "}, "https://huggingface.co/x", True),
    ({"GITHUB_TOKEN": TOKEN}, "https://api.github.com/repos/a/b", True),
    ({"GITHUB_TOKEN": TOKEN}, "https://github.com/a/b/releases/download/v1/x", True),
    ({"GITHUB_TOKEN": TOKEN}, "https://objects.githubusercontent.com/x", False),
    ({"GITHUB_TOKEN": TOKEN}, "https://release-assets.githubusercontent.com/x", False),
    ({"GITHUB_TOKEN": TOKEN}, "https://raw.githubusercontent.com/x", False),
    ({"GITHUB_TOKEN": TOKEN}, "https://gist.github.com/x", False),
    ({"GITHUB_TOKEN": TOKEN}, "https://huggingface.co/x", False),
    ({"GH_TOKEN": TOKEN}, "https://api.github.com/x", True),
    ({"GITHUB_TOKEN": " ", "GH_TOKEN": TOKEN}, "https://api.github.com/x", True),
    ({"GITHUB_TOKEN": TOKEN, "GITHUB_SERVER_URL": "https://git.example"}, "https://git.example/x", True),
    ({"GITHUB_TOKEN": TOKEN, "GITHUB_SERVER_URL": "https://git.example"}, "https://github.com/x", False),
    ({"GITHUB_TOKEN": TOKEN, "GITHUB_API_URL": "https://git.example/api/v3"}, "https://git.example/api/v3/x", True),
    ({"GITHUB_TOKEN": TOKEN, "GITHUB_API_URL": "https://git.example/api/v3"}, "https://api.github.com/x", False),
    ({"GITHUB_TOKEN": TOKEN, "GITHUB_API_URL": "http://git.example/api/v3"}, "http://git.example/x", False),
    ({"GITHUB_TOKEN": TOKEN, "GITHUB_API_URL": " https://git.example/v3 "}, "https://git.example/x", True),
    ({"GITHUB_TOKEN": TOKEN, "GITHUB_API_URL": " "}, "https://api.github.com/x", True),
]  # fmt: skip


@pytest.mark.parametrize(("environ", "url", "goes"), WHERE)
def test_a_token_goes_to_its_own_origin(environ: dict[str, str], url: str, goes: bool) -> None:
    assert sent(environ, url) == (bearer(TOKEN) if goes else None)


HEADERS: list[tuple[str, dict[str, str]]] = [
    ("abcdefgh", {"Authorization": "Bearer abcdefgh"}),
    (" abcdefgh\r\n", {"Authorization": "Bearer abcdefgh"}),
    ("user:password", {"Authorization": "Bearer user:password"}),
    ("Bearer abcdefgh", {"Authorization": "Bearer abcdefgh"}),
    ("bearer abcdefgh", {"Authorization": "bearer abcdefgh"}),
    ("Basic dXNlcjpwYXNzd29yZA==", {"Authorization": "Basic dXNlcjpwYXNzd29yZA=="}),
    ("token abcdefgh", {"Authorization": "token abcdefgh"}),
    ("ApiKey abcdefgh", {"Authorization": "ApiKey abcdefgh"}),
    ("PRIVATE-TOKEN: abcdefgh", {"PRIVATE-TOKEN": "abcdefgh"}),
    ("X-JFrog-Art-Api:\tabcdefgh", {"X-JFrog-Art-Api": "abcdefgh"}),
    ("Cookie: a=b; c=d", {"Cookie": "a=b; c=d"}),
    ("CF-Access-Client-Id: one\nCF-Access-Client-Secret: two\n",
     {"CF-Access-Client-Id": "one", "CF-Access-Client-Secret": "two"}),
]  # fmt: skip


@pytest.mark.parametrize(("value", "headers"), HEADERS)
def test_a_value_is_a_token_an_authorization_or_fields_of_its_own(value: str, headers: dict[str, str]) -> None:
    origin = "https://models.example.org"
    assert sent({"MODELS": value}, f"{origin}/x", {origin: "MODELS"}) == headers
    assert sent({"MODELS": value}, "https://models.example.org:8443/x", {origin: "MODELS"}) is None


UNSENDABLE = [
    "two words",
    "abcd\x00efgh",
    "abcd\nefgh",
    "abcd\x7fefgh",
    "tökenofsomebody",
    "Host: evil.example",
    "Range: bytes=0-",
    "X-One: one\nand a line more",
    "X-One: ö",
    "Bearer ö",
]


@pytest.mark.parametrize("value", UNSENDABLE, ids=ascii)
def test_what_no_header_can_carry_is_refused_without_a_word_of_it(value: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        fields_of("MODELS", value)
    told = f"{caught.value} {caught.value.hint} {caught.value!r}"
    assert "`MODELS`" in told
    assert value not in told
    assert "evil" not in told


#: Everything that has something for the hub, and whose counts.
WEIGHTS: list[tuple[list[str], str | None]] = [
    (["auth", "variable", "file", "netrc"], "OURS"),
    (["variable", "file", "netrc"], "HF_TOKEN"),
    (["file", "netrc"], "{hf}/token"),
    (["path", "file", "netrc"], "HF_TOKEN_PATH"),
    (["netrc"], "netrc"),
    ([], None),
]


@pytest.mark.parametrize(("there", "counts"), WEIGHTS)
def test_the_weightiest_place_counts(there: list[str], counts: str | None, house: Path) -> None:
    environ = {"HOME": str(house), "HF_HOME": str(house / "hf")}
    (house / "hf").mkdir()
    if "auth" in there:
        environ["OURS"] = "of-the-settings"
    if "variable" in there:
        environ["HF_TOKEN"] = "of-the-variable"
    if "file" in there:
        written(house / "hf/token", "of-the-file\n")
    if "path" in there:
        environ["HF_TOKEN_PATH"] = written(house / "elsewhere", "of-the-path")
    if "netrc" in there:
        written(house / ".netrc", "machine huggingface.co login me password of-the-netrc")
    credentials = Credentials(environ, [(HUB, "OURS")])
    found = credentials.for_url(f"{HUB}/x")
    assert (found.name if found else None) == (counts.format(hf=house / "hf") if counts else None)
    assert [each.names[0] for each in credentials.sendings()] == ([found.name] if found else [])
    assert credentials.warnings == ()


def written(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({}, ".cache/huggingface/token"),
        ({"XDG_CACHE_HOME": "{home}/cache"}, "cache/huggingface/token"),
        ({"XDG_CACHE_HOME": "{home}/cache", "HF_HOME": "~/hub"}, "hub/token"),
        ({"HF_HOME": "{home}/hub", "HF_TOKEN_PATH": "~/mine"}, "mine"),
    ],
)
def test_the_token_file_is_where_the_hubs_client_keeps_it(environ: dict[str, str], place: str, house: Path) -> None:
    (house / place).parent.mkdir(parents=True, exist_ok=True)
    written(house / place, "of-the-file\n")
    there = {name: value.format(home=house) for name, value in environ.items()}
    assert sent({"HOME": str(house), **there}, f"{HUB}/x") == bearer("of-the-file")


def test_a_user_without_a_home_folder_has_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    assert Credentials({}).for_url(f"{HUB}/x") is None
    nowhere = {"HF_TOKEN_PATH": "~/mine", "NETRC": "~nobody-of-this-name/netrc"}
    assert Credentials(nowhere).for_url(f"{HUB}/x") is None
    found = Credentials({"HF_TOKEN": TOKEN, "HF_HOME": "~nobody-of-this-name"}).for_url(f"{HUB}/x")
    assert found is not None
    assert found.headers == bearer(TOKEN)


NETRC = """machine models.example.org login me password pass-word
machine plain.example login me password pass-word
machine 127.0.0.1 login me password pass-word
machine ::1 login me password pass-word
machine OLD.example password only-a-password
machine nothing.example login me
machine colon.example login m:e password pass-word
default login me password for-everybody
"""


@pytest.mark.parametrize(
    ("url", "given"),
    [
        ("https://models.example.org/x", "me:pass-word"),
        ("https://models.example.org:8443/x", "me:pass-word"),
        ("https://MODELS.example.org/x", "me:pass-word"),
        ("https://old.example/x", ":only-a-password"),
        ("http://127.0.0.1:8080/x", "me:pass-word"),
        ("http://[::1]:8080/x", "me:pass-word"),
        ("http://[0::1]:8080/x", "me:pass-word"),
        ("http://plain.example/x", None),
        ("https://models.example.org./x", None),
        ("https://a.models.example.org/x", None),
        ("https://nothing.example/x", None),
        ("https://default/x", None),
        ("https://anything.example/x", None),
    ],
)
def test_netrc_is_by_host_over_tls_and_never_for_everybody(url: str, given: str | None, house: Path) -> None:
    written(house / ".netrc", NETRC)
    basic = None if given is None else {"Authorization": "Basic " + base64.b64encode(given.encode()).decode()}
    assert sent({"HOME": str(house)}, url) == basic


def test_of_two_entries_of_a_host_the_first_counts_as_for_curl(house: Path) -> None:
    text = "machine A.example login one password the-first\nmachine a.example login two password the-second\n"
    written(house / ".netrc", text)
    first = base64.b64encode(b"one:the-first").decode()
    assert sent({"HOME": str(house)}, "https://a.example/x") == {"Authorization": f"Basic {first}"}


def test_a_login_with_a_colon_is_refused(house: Path) -> None:
    written(house / ".netrc", NETRC)
    with pytest.raises(Unauthorized, match="colon"):
        sent({"HOME": str(house)}, "https://colon.example/x")


def test_a_netrc_that_cannot_be_understood_is_warned_of_without_a_word_of_it(house: Path) -> None:
    credentials = Credentials({"NETRC": written(house / "mine", "machine a.example passwrd s3cretS3cret")})
    assert credentials.for_url("https://a.example/x") is None
    assert credentials.warnings == ("the file that `NETRC` names cannot be understood; see netrc(5)",)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_used_and_warned_of_once(mode: int, house: Path) -> None:
    place = written(house / "mine", "of-the-file", mode)
    credentials = Credentials({"HF_TOKEN_PATH": place, "HOME": str(house)})
    for _ in range(2):
        assert credentials.for_url(f"{HUB}/x") is not None
    assert credentials.warnings == (
        "the file that `HF_TOKEN_PATH` names has credentials, and others may read it; `chmod 600` takes that away",
    )


def test_a_file_that_cannot_be_read_is_warned_of_and_no_credential(house: Path) -> None:
    (house / "mine").mkdir()
    credentials = Credentials({"HF_TOKEN_PATH": str(house / "mine"), "HOME": str(house)})
    assert credentials.for_url(f"{HUB}/x") is None
    assert credentials.warnings == ("the file that `HF_TOKEN_PATH` names cannot be read",)


@pytest.mark.parametrize(("variable", "url"), [("HF_TOKEN_PATH", f"{HUB}/x"), ("NETRC", "https://a.example/x")])
def test_a_file_that_a_variable_names_and_that_is_not_there_is_warned_of(variable: str, url: str, house: Path) -> None:
    credentials = Credentials({variable: str(house / "hf_T0kenInItsPlace"), "HOME": str(house)})
    assert credentials.for_url(url) is None
    assert credentials.warnings == (f"the file that `{variable}` names is not there",)
    # The usual ones need not be.
    usual = Credentials({"HOME": str(house)})
    assert usual.for_url(url) is None
    assert usual.warnings == ()


def test_nothing_is_read_before_a_request_that_may_carry_it(house: Path) -> None:
    os.mkfifo(house / ".netrc")
    credentials = Credentials({"HOME": str(house), "HF_TOKEN": TOKEN})
    assert credentials.for_url(f"{HUB}/x") is not None
    assert credentials.for_url("http://plain.example/x") is None
    assert not credentials.warnings
    assert credentials.for_url("https://a.example/x") is None
    assert credentials.warnings == (f"`{house}/.netrc` cannot be read",)


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], str]:
    """A keyring that is unlocked: passwords by service and user."""
    held: dict[tuple[str, str], str] = {}
    module = types.ModuleType("keyring")
    module.get_password = lambda service, user: held.get((service, user))  # type: ignore[attr-defined]
    errors = types.ModuleType("keyring.errors")
    errors.KeyringError = type("KeyringError", (Exception,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", module)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    return held


def test_the_keyring_is_asked_for_the_origins_that_auth_names(keyring: dict[tuple[str, str], str]) -> None:
    keyring["gemmalock", "https://a.example"] = "of-the-keyring"
    keyring["gemmalock", "https://b.example"] = "of-the-keyring"
    auth = {"https://a.example": "keyring"}
    assert sent({}, "https://a.example/x", auth) == bearer("of-the-keyring")
    assert sent({}, "https://b.example/x", auth) is None
    assert sent({"CI": "true"}, "https://a.example/x", auth) is None
    assert sent({"CI": "false"}, "https://a.example/x", auth) == bearer("of-the-keyring")


def test_a_keyring_that_is_not_installed_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    credentials = Credentials({"HOME": "/nonexistent"}, [("https://a.example", "keyring")])
    assert credentials.for_url("https://a.example/x") is None
    assert "gemmalock[keyring]" in credentials.warnings[0]
    # Nobody says that it would send what nobody could give it.
    assert credentials.sendings() == []


def test_what_shadows_what_is_told_by_name() -> None:
    environ = {"HOME": "/nonexistent", "GITHUB_TOKEN": "of-github-a", "GH_TOKEN": "of-github-b"}
    assert Credentials(environ).sendings() == [
        Sending("https://api.github.com", ("GITHUB_TOKEN", "GH_TOKEN")),
        Sending("https://github.com", ("GITHUB_TOKEN", "GH_TOKEN")),
    ]


@pytest.mark.parametrize(
    ("status", "url", "sent", "words"),
    [
        (401, f"{HUB}/x", None, "no credential was sent: set `HF_TOKEN`, or enter its host in netrc"),
        (403, "https://api.github.com/x", None, "set `GITHUB_TOKEN`"),
        (401, "https://a.example:8443/x", None, "let `auth` in the settings name a variable for `https://a.example:8443`"),
        (401, "https://b.example/x", None, "set `MODELS`"),
        (401, "http://a.example/x", None, "one goes over https only"),
        (401, "https://a.example/módel", None, "name a variable for `https://a.example`"),
        (401, "https://á.example/x", None, "its host has to be written in ASCII, as `xn--…`"),
        (401, "https://me@a.example/x", None, "its URL has a user name in it"),
        (401, "https://a.example\\/x", None, "programs read this URL in different ways"),
        (401, f"{HUB}/x", "HF_TOKEN", "`HF_TOKEN` was sent and not accepted"),
        (403, f"{HUB}/x", "HF_TOKEN", "`HF_TOKEN` was sent and is not enough"),
    ],
)  # fmt: skip
def test_the_cure_names_what_was_sent_or_how_to_send_something(
    status: int, url: str, sent: str | None, words: str
) -> None:
    credentials = Credentials({"HOME": "/nonexistent"}, [("https://b.example", "MODELS")])
    assert words in credentials.cure(status, url, sent)


_HOSTS = st.sampled_from(["a.example", "A.example", "b.example", "a.example.", "127.0.0.1", "localhost", "[::1]",
                          "[0::1]", "[::1%251]", "me@a.example", "a.example:b@b.example", "a.example\\",
                          "xn--a.example"])  # fmt: skip
_URLS = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["https", "http", "HTTPS", "ftp"]),
    _HOSTS | st.text(max_size=12),
    st.sampled_from(["", ":443", ":80", ":8443", ":", ":0443"]),
    st.sampled_from(
        [
            "",
            "/",
            "/x",
            "?@a.example",
            "#@a.example",
            "/\\a.example",
            "//a.example",
            "/módel",
            "?ö@a.example",
            "#／a.example",
            "／a.example",
            "/\u2028x",
        ]
    ),
)


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(_URLS, _URLS)
def test_no_two_origins_share_a_credential(one: str, other: str) -> None:
    origin, elsewhere = trusted_origin(one), trusted_origin(other)
    assume(origin is not None and origin != elsewhere)
    assert origin is not None
    assert sent({"MODELS": TOKEN}, one, {origin: "MODELS"}) == bearer(TOKEN)
    assert sent({"MODELS": TOKEN}, other, {origin: "MODELS"}) is None


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(_URLS)
def test_an_origin_is_the_one_that_is_connected_to(url: str) -> None:
    """What urllib3 reads in a URL is what decided about the credential."""
    origin = trusted_origin(url)
    assume(origin is not None)
    assert origin is not None
    parsed, decided = parse_url(url), urlsplit(origin)
    default = {"https": 443, "http": 80}[decided.scheme]
    assert parsed.scheme == decided.scheme
    assert (parsed.port or default) == (decided.port or default)
    assert urlsplit(trusted_origin(f"{parsed.scheme}://{parsed.host}") or "").hostname == decided.hostname

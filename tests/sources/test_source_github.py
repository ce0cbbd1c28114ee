"""GitHub's releases over its API, its web and its assets: what is asked, in which order, and what a refusal means."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from gemmalock.errors import (
    FileError,
    Forbidden,
    NotFound,
    PolicyRefused,
    RateLimited,
    ServerError,
    SourceError,
    Unauthorized,
)
from gemmalock.ports import Ask, Probe
from gemmalock.sources.credentials import Credentials
from gemmalock.sources.endpoints import moved
from gemmalock.sources.github import GitHubSource
from gemmalock.sources.http import HttpSource
from gemmalock.sources.rewriting import Rewrites, Rule
from gemmalock.stopping import Stop
from tests.servers.github import Asset, GitHub, Release, Repository
from tests.servers.scripted import Exchange, ScriptedServer
from tests.sources.conftest import drained

BODY = bytes(range(256)) * 40
DIGEST = hashlib.sha256(BODY).hexdigest()
V2 = "/repos/o/r/releases/tags/v2"
TOKEN = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"
FILE = "https://github.com/o/r/releases/download/v2/a.gguf"


def repository() -> Repository:
    return Repository(
        [
            Release("v3-rc", [Asset("a.gguf", b"candidate")], "2025-07-01T00:00:00Z", prerelease=True),
            Release("v2", [Asset("a.gguf", BODY), Asset("old.bin", b"old", digest=False)], "2025-06-01T00:00:00Z"),
            Release("rel/v1", [Asset("a.gguf", b"slash")], "2025-05-01T00:00:00Z"),
            Release("v1", [Asset("a.gguf", b"first", created="2025-01-01T00:00:00Z")], "2025-01-01T00:00:00Z"),
        ]
    )


@pytest.fixture
def github() -> Iterator[GitHub]:
    with GitHub({"o/r": repository()}) as server:
        yield server
        assert not server.failures
        assert not server.leaks


Make = Callable[..., GitHubSource]


@pytest.fixture
def make(github: GitHub) -> Iterator[Make]:
    """A source that is led to the stand-in; `newest` as GitHubSource has it, `environ` has tokens."""
    made: list[HttpSource] = []

    def make(newest: datetime | None = None, **environ: str) -> GitHubSource:
        rewrites, credentials = (
            Rewrites(moved(github.environ)),
            Credentials({"HOME": "/nonexistent"} | github.environ | environ),
        )
        made.append(HttpSource(rewrites=rewrites, credentials=credentials))
        return GitHubSource(made[-1], newest)

    yield make
    for web in made:
        web.close()


def test_a_listing_has_names_digests_licence_and_tag(github: GitHub, make: Make) -> None:
    listing = make().list("github://o/r@v2", Stop())
    assert (listing.names, listing.revision, listing.license) == (("a.gguf", "old.bin"), "v2", "MIT")
    # What has no digest is asked for by itself.
    assert listing.probes == {"a.gguf": Probe(len(BODY), None, DIGEST)}
    assert github.asked("api") == [V2, "/repos/o/r"]
    assert github.asked("web") == []


def test_without_a_tag_it_is_the_latest_and_no_prerelease(make: Make) -> None:
    assert make().list("github://o/r", Stop()).revision == "v2"


def test_a_prerelease_is_had_by_its_tag(make: Make) -> None:
    assert make().list("github://o/r@v3-rc", Stop()).revision == "v3-rc"


def test_a_tag_with_a_slash_is_one_step_of_the_path(github: GitHub, make: Make) -> None:
    source = make()
    assert source.list("github://o/r@rel/v1", Stop()).revision == "rel/v1"
    assert github.asked("api")[0] == "/repos/o/r/releases/tags/rel%2Fv1"
    url = "https://github.com/o/r/releases/download/rel%2Fv1/a.gguf"
    assert drained(source.open(Ask(url), Stop())) == b"slash"


def test_a_repository_with_a_new_name_is_followed(github: GitHub, make: Make) -> None:
    github.moved["o/before"] = "o/r"
    assert make().list("github://o/before@v2", Stop()).revision == "v2"


def test_all_pages_of_assets_are_read(github: GitHub, make: Make) -> None:
    many = [Asset(f"{number:03}.gguf", b"x") for number in range(250)]
    github.repositories["o/r"].releases[1].assets = many
    release = github.repositories["o/r"].releases[1]
    listing = make().list("github://o/r@v2", Stop())
    assert listing.names == tuple(asset.name for asset in many)
    assert set(listing.probes) == set(listing.names)
    pages = [f"/repos/o/r/releases/{release.id}/assets?per_page=100{page}" for page in ("", "&page=2", "&page=3")]
    assert github.asked("api") == [V2, *pages, "/repos/o/r"]


def test_what_is_still_being_uploaded_is_not_listed(github: GitHub, make: Make) -> None:
    github.repositories["o/r"].releases[1].assets.append(Asset("half.gguf", b"", state="starter"))
    assert "half.gguf" not in make().list("github://o/r@v2", Stop()).names


@pytest.mark.parametrize("license", [None, "NOASSERTION"])
def test_a_licence_that_github_does_not_know_is_none(github: GitHub, make: Make, license: str | None) -> None:
    github.repositories["o/r"].license = license
    assert make().list("github://o/r@v2", Stop()).license is None


def test_a_repository_is_asked_for_its_licence_once(github: GitHub, make: Make) -> None:
    source = make()
    assert [source.list(f"github://o/r@{tag}", Stop()).license for tag in ("v1", "v2")] == ["MIT", "MIT"]
    assert github.asked("api").count("/repos/o/r") == 1


def _paged(link: Callable[[int], str]) -> Callable[[Exchange], None]:
    """A release of a page of assets, and pages of them; `link` is the Link field of the n-th answer."""

    def script(exchange: Exchange) -> None:
        assets = [{"id": 1, "name": "a", "size": 1, "state": "uploaded", "created_at": "2025-01-01T00:00:00Z"}] * 30
        release = {"id": 1, "tag_name": "v1", "published_at": "2025-01-01T00:00:00Z", "assets": assets}
        told = release if "tags" in exchange.request.path else assets
        exchange.answer(200, {"Link": link(exchange.number)}, json.dumps(told).encode())

    return script


def _pages_of(link: Callable[[int], str], message: str) -> list[str]:
    """Which pages are asked for until that error."""
    with ScriptedServer(_paged(link)) as server:
        web = HttpSource(rewrites=Rewrites([Rule("https://api.github.com", server.url)]))
        with pytest.raises(SourceError, match=message):
            GitHubSource(web).list("github://o/r@v1", Stop())
        web.close()
    return [request.path.removeprefix("/repos/o/r/releases/1/assets") for request in server.requests[1:]]


def test_pages_that_do_not_end_are_given_up_and_lead_nowhere_else() -> None:
    pages = _pages_of(lambda number: f'<https://other.example/x?page={number}>; rel="next"', "more than 100 pages")
    assert pages == ["?per_page=100", *[f"?page={number}" for number in range(1, 100)]]


@pytest.mark.parametrize(
    ("link", "message", "pages"),
    [
        ('<https://other.example/x?page=2>; rel="next"', "came before", ["?per_page=100", "?page=2"]),
        ('<https://other.example/x>; rel="next"', "came before", ["?per_page=100"]),
        ('<http://[::1>; rel="next"', "no URL", ["?per_page=100"]),
    ],
)
def test_a_next_page_that_is_none_is_an_error(link: str, message: str, pages: list[str]) -> None:
    assert _pages_of(lambda number: link, message) == pages


@pytest.mark.parametrize("tag", ["v2", "v" * 200_000])
def test_another_release_than_the_one_asked_for_is_refused(tag: str) -> None:
    release = {"id": 1, "tag_name": tag, "published_at": "2025-01-01T00:00:00Z", "assets": []}
    with ScriptedServer(lambda exchange: exchange.answer(200, {}, json.dumps(release).encode())) as server:
        web = HttpSource(rewrites=Rewrites([Rule("https://api.github.com", server.url)]))
        with pytest.raises(SourceError, match=r"is release `v.*` by GitHub's answer") as caught:
            GitHubSource(web).list("github://o/r@v1", Stop())
        web.close()
    assert len(caught.value.message) < 300


def test_every_request_to_the_api_says_what_it_wants(github: GitHub, make: Make) -> None:
    make().list("github://o/r", Stop())
    said = {(each.headers["accept"], each.headers["x-github-api-version"]) for each in github.requests}
    assert said == {("application/vnd.github+json", "2022-11-28")}


def test_bytes_are_had_without_the_api(github: GitHub, make: Make) -> None:
    source = make()
    answer = source.open(Ask(FILE, 100, len(BODY), len(BODY), proven=True), Stop())
    assert (answer.start, answer.origin) == (100, github.files.origin)
    assert drained(answer) == BODY[100:]
    assert github.asked("api") == []


def test_what_has_no_digest_is_asked_for_without_the_api(github: GitHub, make: Make) -> None:
    url = "https://github.com/o/r/releases/download/v2/old.bin"
    etag = github.repositories["o/r"].releases[1].assets[1].content.etag_now()
    assert make().probe(url, Stop()) == Probe(3, etag, None)
    assert github.asked("api") == []


def test_another_url_of_the_web_is_any_url(github: GitHub, make: Make) -> None:
    with pytest.raises(NotFound):
        make().open(Ask("https://github.com/o/r/raw/main/a.gguf"), Stop())
    with pytest.raises(NotFound):
        make().probe("https://github.com/o/r/raw/main/a.gguf", Stop())
    assert github.asked("api") == []


def test_a_folder_of_the_web_cannot_be_listed(github: GitHub, make: Make) -> None:
    with pytest.raises(PolicyRefused, match="cannot be listed"):
        make().list("https://github.com/o/r/raw/main", Stop())
    assert github.requests == ()


@pytest.mark.parametrize("url", ["github://o/r@v2", "github://o/r"])
def test_a_source_is_no_file(make: Make, url: str) -> None:
    for ask in (lambda: make().probe(url, Stop()), lambda: make().open(Ask(url), Stop())):
        with pytest.raises(PolicyRefused, match="no file of it") as caught:
            ask()
        assert "`files`" in caught.value.hint


# --- how old a release has to be -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("newest", "tag"),
    [
        (datetime(2025, 8, 1, tzinfo=UTC), "v2"),
        (datetime(2025, 6, 1, tzinfo=UTC), "v2"),
        (datetime(2025, 5, 31, tzinfo=UTC), "rel/v1"),
        (datetime(2025, 4, 1, tzinfo=UTC), "v1"),
    ],
)
def test_the_latest_is_the_last_that_is_old_enough(make: Make, newest: datetime, tag: str) -> None:
    assert make(newest).list("github://o/r", Stop()).revision == tag


def test_a_prerelease_is_not_the_last_that_is_old_enough(github: GitHub, make: Make) -> None:
    early = Release("v2-rc", [Asset("a.gguf", b"candidate")], "2025-05-20T00:00:00Z", prerelease=True)
    github.repositories["o/r"].releases.insert(2, early)
    assert make(datetime(2025, 5, 31, tzinfo=UTC)).list("github://o/r", Stop()).revision == "rel/v1"


def test_where_none_is_old_enough_there_is_none(make: Make) -> None:
    with pytest.raises(PolicyRefused, match="no release that was published up to 2024-01-01") as caught:
        make(datetime(2024, 1, 1, tzinfo=UTC)).list("github://o/r", Stop())
    assert "`exclude-newer`" in caught.value.hint


def test_a_tag_that_is_younger_is_refused_with_both_dates(make: Make) -> None:
    with pytest.raises(PolicyRefused, match=r"published 2025-06-01.*after 2025-05-01"):
        make(datetime(2025, 5, 1, tzinfo=UTC)).list("github://o/r@v2", Stop())


def test_a_file_that_was_uploaded_later_is_not_there_yet(github: GitHub, make: Make) -> None:
    github.repositories["o/r"].releases[1].assets.append(Asset("late.gguf", b"late", created="2025-09-01T00:00:00Z"))
    assert "late.gguf" in make().list("github://o/r@v2", Stop()).names
    assert "late.gguf" not in make(datetime(2025, 8, 1, tzinfo=UTC)).list("github://o/r@v2", Stop()).names


# --- what a refusal means ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ("github://o/nothing@v1", "no `github://o/nothing` on GitHub, or it is private", "GITHUB_TOKEN"),
        ("github://o/nothing", "no `github://o/nothing` on GitHub, or it is private", "GITHUB_TOKEN"),
        ("github://o/r@v20", "has no release `v20`", "there is `@v2`"),
        ("github://o/r@latest", "has no release `latest`", "without `@latest`"),
        ("github://o/empty@v1", "has no releases", "a tag alone has no files"),
        ("github://o/empty", "has no releases", "a tag alone has no files"),
        ("github://o/early", "has prereleases only", "there is `@rc1`"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(
    github: GitHub, make: Make, source: str, message: str, hint: str
) -> None:
    github.repositories["o/empty"] = Repository()
    github.repositories["o/early"] = Repository([Release("rc1", prerelease=True)])
    with pytest.raises(NotFound, match=message) as caught:
        make().list(source, Stop())
    assert hint in caught.value.hint


def test_a_draft_is_not_there(github: GitHub, make: Make) -> None:
    github.repositories["o/r"].releases[1].draft = True
    with pytest.raises(NotFound, match="has no release `v2`"):
        make().list("github://o/r@v2", Stop())


@pytest.mark.parametrize(
    ("status", "fields", "seconds"),
    [
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "+90"}, 90),
        (429, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "+90"}, 90),
        (403, {"Retry-After": "60", "X-RateLimit-Remaining": "59"}, 60),
        (429, {"Retry-After": "60"}, 60),
    ],
)
def test_who_asked_too_often_is_told_how_long_to_wait(
    github: GitHub, make: Make, status: int, fields: dict[str, str], seconds: float
) -> None:
    now = int(datetime.now(UTC).timestamp())
    sent = {name: str(now + int(value)) if value.startswith("+") else value for name, value in fields.items()}
    github.refusals.append((status, sent))
    with pytest.raises(RateLimited, match="asks to be left alone for") as caught:
        make().list("github://o/r@v2", Stop())
    assert caught.value.after_seconds == pytest.approx(seconds, abs=15)
    assert caught.value.status == status
    assert "set `GITHUB_TOKEN`" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "kind"), [(403, Forbidden), (500, ServerError), (503, ServerError), (418, SourceError)]
)
def test_another_refusal_is_what_its_status_says(
    github: GitHub, make: Make, status: int, kind: type[FileError]
) -> None:
    github.refusals.append((status, {"X-RateLimit-Remaining": "0" if status != 403 else "9"}))
    with pytest.raises(kind, match=str(status)) as caught:
        make().list("github://o/r@v2", Stop())
    assert type(caught.value) is kind


def test_a_limit_that_is_reached_on_the_way_fails_the_listing(github: GitHub, make: Make) -> None:
    """A lock without the licence would be another one than that of a better moment."""
    github.refusals += [None, (429, {})]
    with pytest.raises(RateLimited):
        make().list("github://o/r@v2", Stop())
    assert github.asked("api") == [V2, "/repos/o/r"]


def test_without_a_credential_the_api_is_not_asked_for_what_is_missing(github: GitHub, make: Make) -> None:
    url = "https://github.com/o/r/releases/download/v2/gone.gguf"
    for ask in (lambda: make().probe(url, Stop()), lambda: make().open(Ask(url), Stop())):
        with pytest.raises(NotFound, match="answered 404") as caught:
            ask()
        assert "`GITHUB_TOKEN`" in caught.value.hint
    assert github.asked("api") == []


def test_the_signed_link_is_had_anew_after_it_has_expired(github: GitHub, make: Make) -> None:
    source = make()
    drained(source.open(Ask(FILE), Stop()))
    github.expire()
    assert drained(source.open(Ask(FILE), Stop())) == BODY


# --- private repositories --------------------------------------------------------------------------------------


@pytest.fixture
def private(github: GitHub) -> GitHub:
    github.repositories["o/r"].private = True
    github.tokens.add(TOKEN)
    return github


def test_a_private_release_is_listed_with_a_token(private: GitHub, make: Make) -> None:
    listing = make(GITHUB_TOKEN=TOKEN).list("github://o/r@v2", Stop())
    assert listing.probes == {"a.gguf": Probe(len(BODY), None, DIGEST)}


def test_after_a_listing_a_private_file_is_had_by_the_api_at_once(private: GitHub, make: Make) -> None:
    source = make(GITHUB_TOKEN=TOKEN)
    source.list("github://o/r@v2", Stop())
    private.forget()
    assert drained(source.open(Ask(FILE, 0, len(BODY), len(BODY), proven=True), Stop())) == BODY
    number = private.repositories["o/r"].releases[1].assets[0].id
    assert (private.asked("api"), private.asked("web")) == ([f"/repos/o/r/releases/assets/{number}"], [])


def test_a_private_release_is_asked_for_once(private: GitHub, make: Make) -> None:
    """A sync knows nothing of the repository but its URLs."""
    source = make(GITHUB_TOKEN=TOKEN)
    for start in (0, 100, 200):
        answer = source.open(Ask(FILE, start, len(BODY), len(BODY), proven=True), Stop())
        assert answer.origin == private.files.origin
        assert drained(answer) == BODY[start:]
    number = private.repositories["o/r"].releases[1].assets[0].id
    assert private.asked("api") == [V2, *[f"/repos/o/r/releases/assets/{number}"] * 3]
    assert private.asked("web") == ["/o/r/releases/download/v2/a.gguf"]


def test_a_token_goes_to_github_and_not_where_it_redirects_to(private: GitHub, make: Make) -> None:
    source = make(GITHUB_TOKEN=TOKEN)
    source.list("github://o/r@v2", Stop())
    drained(source.open(Ask(FILE), Stop()))
    carried = {each.port: TOKEN in each.headers.get("authorization", "") for each in private.requests}
    assert carried == {"api": True, "assets": False}


def test_what_a_private_release_has_no_digest_of_has_an_etag(private: GitHub, make: Make) -> None:
    asset = private.repositories["o/r"].releases[1].assets[1]
    seen = make(GITHUB_TOKEN=TOKEN).probe("https://github.com/o/r/releases/download/v2/old.bin", Stop())
    assert seen == Probe(3, asset.content.etag_now(), None)


def test_an_empty_private_file_is_probed(private: GitHub, make: Make) -> None:
    private.repositories["o/r"].releases[1].assets.append(Asset("empty", b"", digest=False))
    seen = make(GITHUB_TOKEN=TOKEN).probe("https://github.com/o/r/releases/download/v2/empty", Stop())
    assert seen == Probe(0, None, None)


def test_a_private_asset_that_was_replaced_is_found_the_next_time(private: GitHub, make: Make) -> None:
    source = make(GITHUB_TOKEN=TOKEN)
    drained(source.open(Ask(FILE), Stop()))
    private.repositories["o/r"].releases[1].assets[0].replace(b"other")
    with pytest.raises(NotFound):
        source.open(Ask(FILE), Stop())
    assert drained(source.open(Ask(FILE), Stop())) == b"other"


def test_a_file_that_is_gone_from_its_release_is_told_with_the_release(github: GitHub, make: Make) -> None:
    github.tokens.add(TOKEN)
    url = "https://github.com/o/r/releases/download/v2/gone.gguf"
    with pytest.raises(NotFound, match=r"release `v2` of `github://o/r` has no file `gone.gguf`"):
        make(GITHUB_TOKEN=TOKEN).open(Ask(url), Stop())


def test_a_release_that_is_gone_is_told_with_near_ones(private: GitHub, make: Make) -> None:
    url = "https://github.com/o/r/releases/download/v22/a.gguf"
    with pytest.raises(NotFound, match="has no release `v22`") as caught:
        make(GITHUB_TOKEN=TOKEN).open(Ask(url), Stop())
    assert "there is `@v2`" in caught.value.hint


def test_without_a_token_a_private_repository_is_not_to_be_seen(private: GitHub, make: Make) -> None:
    with pytest.raises(NotFound, match="or it is private, and no token was sent") as caught:
        make().list("github://o/r@v2", Stop())
    assert "`GITHUB_TOKEN`" in caught.value.hint
    with pytest.raises(NotFound, match="answered 404"):
        make().open(Ask(FILE), Stop())


def test_a_token_that_does_not_see_a_repository_is_named(private: GitHub, make: Make) -> None:
    with pytest.raises(NotFound, match="the token of `GH_TOKEN` does not see it"):
        make(GH_TOKEN=TOKEN).list("github://o/other@v2", Stop())


@pytest.mark.parametrize(
    ("refusal", "kind", "message", "hint"),
    [
        ((401, {}), Unauthorized, "GitHub does not accept the token of `GITHUB_TOKEN`", "what is public needs none"),
        ((403, {}), Forbidden, "the token of `GITHUB_TOKEN` is not enough", "single sign-on"),
        ((429, {"Retry-After": "5"}), RateLimited, "left alone for 5 s", "counted for the token of `GITHUB_TOKEN`"),
    ],
)
def test_a_refusal_names_the_token_and_never_shows_it(
    private: GitHub,
    make: Make,
    refusal: tuple[int, dict[str, str]],
    kind: type[SourceError],
    message: str,
    hint: str,
) -> None:
    asks: tuple[Callable[[GitHubSource], object], ...] = (
        lambda source: source.list("github://o/r@v2", Stop()),
        lambda source: source.open(Ask(FILE), Stop()),
        lambda source: source.probe(FILE, Stop()),
    )
    for ask in asks:
        private.refusals.append(refusal)
        with pytest.raises(kind, match=message) as caught:
            ask(make(GITHUB_TOKEN=TOKEN))
        error = caught.value
        assert hint in error.hint
        assert (error.status, error.credential) == (refusal[0], "GITHUB_TOKEN")
        assert TOKEN not in f"{error.message} {error.hint} {error.notes}"


def test_a_refusal_of_the_bytes_names_the_token_too(private: GitHub, make: Make) -> None:
    private.refusals += [None, (401, {})]
    with pytest.raises(Unauthorized, match="does not accept the token of `GITHUB_TOKEN`"):
        make(GITHUB_TOKEN=TOKEN).open(Ask(FILE), Stop())


@pytest.mark.parametrize(("status", "kind"), [(401, Unauthorized), (403, Forbidden)])
def test_a_signed_link_that_has_expired_is_no_word_about_the_token(
    private: GitHub, make: Make, status: int, kind: type[SourceError]
) -> None:
    private.repositories["o/r"].releases[1].assets[0].content.fail_first = [status]
    with pytest.raises(kind) as caught:
        make(GITHUB_TOKEN=TOKEN).open(Ask(FILE), Stop())
    assert caught.value.may_have_expired
    assert "the token of" not in caught.value.message


def test_a_public_file_is_had_without_the_api_whatever_token_there_is(github: GitHub, make: Make) -> None:
    assert drained(make(GITHUB_TOKEN="ghp_expired0123456789").open(Ask(FILE), Stop())) == BODY
    assert github.asked("api") == []

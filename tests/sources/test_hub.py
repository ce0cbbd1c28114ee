"""The hub as a source, against the stand-in that the hub's own client downloads from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest

from gemmalock.errors import (
    FileError,
    Gated,
    NotFound,
    PolicyRefused,
    RateLimited,
    RedirectRefused,
    ServerError,
    SourceError,
    Unauthorized,
)
from gemmalock.ports import Ask, Probe
from gemmalock.sources.credentials import Credentials
from gemmalock.sources.http import HttpSource
from gemmalock.sources.hub import HubSource
from gemmalock.sources.rewriting import Rewrites
from gemmalock.stopping import Stop
from tests.servers.hub import Hub, Lfs, Repo
from tests.servers.scripted import Exchange, ScriptedServer
from tests.sources.conftest import BRISK

HOME = "https://huggingface.co"
WEIGHTS = b"GGUF" + bytes(range(256)) * 64
CARD = b"---\nlicense: gemma\n---\n# A model\n"


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub."""
    with Hub() as running:
        yield running
        assert not running.leaks
        assert not running.failures


@pytest.fixture
def repo(hub: Hub) -> Repo:
    """A repository with a large file, a small one, and one in a folder."""
    made = hub.repo("org/gemma")
    made.commit({"a.gguf": Lfs(WEIGHTS), "README.md": CARD, "deep/er/b c.json": b"{}"})
    return made


def source_of(hub: Hub, newest: datetime | None = None, token: str = "") -> HubSource:
    """The hub as a source; `HF_ENDPOINT` says where it is, and `HF_TOKEN` has the token."""
    environ = {"HF_ENDPOINT": hub.url, **({"HF_TOKEN": token} if token else {})}
    rules = ((HOME, hub.url, "HF_ENDPOINT"),)
    return HubSource(
        HttpSource(rewrites=Rewrites(rules), credentials=Credentials({"HOME": "/nonexistent", **environ})), newest
    )


def blob_of(body: bytes) -> str:
    """What git calls a file of these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False).hexdigest()


def told(body: bytes, *, large: bool = False) -> Probe:
    """What is told of a file."""
    digest, blob = hashlib.sha256(body).hexdigest(), blob_of(body)
    if large:
        return Probe(len(body), f'"{digest}"', digest)
    return Probe(len(body), f'"{blob}"', None, blob)


# --- what there is -----------------------------------------------------------------------------------------


def test_a_listing_tells_everything_in_two_questions(hub: Hub, repo: Repo) -> None:
    listing = source_of(hub).list("hf://org/gemma@main", Stop())
    assert listing.names == ("README.md", "a.gguf", "deep/er/b c.json")
    assert listing.probes == {
        "README.md": told(CARD),
        "a.gguf": told(WEIGHTS, large=True),
        "deep/er/b c.json": told(b"{}"),
    }
    assert listing.license == "gemma"
    assert len(hub.requests) == 2


def test_a_listing_has_as_many_questions_as_pages(hub: Hub, repo: Repo) -> None:
    repo.commit({f"f{number:04}.json": b"%d" % number for number in range(2500)})
    listing = source_of(hub).list("hf://org/gemma", Stop())
    assert len(listing.names) == 2503
    assert len(hub.requests) == 4


def test_a_branch_a_tag_a_change_and_a_commit_are_at_their_commits(hub: Hub, repo: Repo) -> None:
    first = repo.commit({"a.gguf": Lfs(b"first")})
    repo.tag("v1.0")
    second = repo.commit({"a.gguf": Lfs(b"second")})
    branch = repo.commit({"a.gguf": Lfs(b"third")}, branch="feature/x")
    change = repo.pull_request({"a.gguf": Lfs(b"fourth")})
    source = source_of(hub)
    sizes = {}
    for ref in ("main", "v1.0", "feature/x", change, first):
        listing = source.list(f"hf://org/gemma@{ref}", Stop())
        sizes[ref] = (listing.revision, listing.probes["a.gguf"].size)
    assert sizes["main"] == (second, 6)
    assert sizes["v1.0"] == sizes[first] == (first, 5)
    assert sizes["feature/x"] == (branch, 5)
    assert sizes[change][1] == 6


def test_a_dataset_is_listed_and_fetched_as_a_model_is(hub: Hub) -> None:
    commit = hub.dataset("org/rows").commit({"rows.parquet": Lfs(WEIGHTS)})
    source = source_of(hub)
    listing = source.list("hf://datasets/org/rows", Stop())
    assert (listing.revision, listing.names) == (commit, ("rows.parquet",))
    assert read(source, f"{HOME}/datasets/org/rows/resolve/{commit}/rows.parquet") == WEIGHTS


def test_a_folder_of_the_hub_by_its_web_address_cannot_be_listed(hub: Hub, repo: Repo) -> None:
    with pytest.raises(PolicyRefused, match="cannot be listed"):
        source_of(hub).list(f"{HOME}/org/gemma/resolve/main", Stop())


def read(source: HubSource, url: str) -> bytes:
    """All bytes behind a URL."""
    body, buffer = bytearray(), memoryview(bytearray(65536))
    with closing(source.open(Ask(url), Stop())) as answer:
        while count := answer.readinto(buffer):
            body += buffer[:count]
    return bytes(body)


@pytest.mark.parametrize("resolve_cache", [False, True])
@pytest.mark.parametrize(("name", "body"), [("a.gguf", WEIGHTS), ("deep/er/b%20c.json", b"{}")])
def test_a_file_by_its_url_has_the_digest_that_the_hub_publishes(
    hub: Hub, repo: Repo, name: str, body: bytes, resolve_cache: bool
) -> None:
    hub.resolve_cache = resolve_cache
    source = source_of(hub)
    probe = source.probe(f"{HOME}/org/gemma/resolve/main/{name}", Stop())
    assert probe == told(body, large=body is WEIGHTS)
    assert read(source, f"{HOME}/org/gemma/resolve/main/{name}") == body


def test_a_gate_behind_a_new_name_is_told(hub: Hub, repo: Repo) -> None:
    repo.gated = "auto"
    hub.rename("org/gemma", "org/gemma-it")
    with pytest.raises(Gated):
        source_of(hub).probe(f"{HOME}/org/gemma/resolve/main/a.gguf", Stop())


def _head_405(exchange: Exchange) -> None:
    exchange.answer(405, {"Allow": "GET"})


def _head_501(exchange: Exchange) -> None:
    exchange.answer(501)


def _head_500(exchange: Exchange) -> None:
    exchange.answer(500)


@pytest.mark.parametrize("refuse", [_head_405, _head_501, _head_500, Exchange.close, Exchange.hang])
def test_a_mirror_that_knows_no_head_is_asked_by_a_get(refuse: Callable[[Exchange], None]) -> None:
    def script(exchange: Exchange) -> None:
        if exchange.request.method == "HEAD":
            refuse(exchange)
        else:
            exchange.answer(206, {"Content-Range": "bytes 0-0/9", "ETag": '"e"'}, b"x")

    with ScriptedServer(script) as server:
        web = HttpSource(BRISK, rewrites=Rewrites([(HOME, server.url, "HF_ENDPOINT")]))
        with closing(web):
            assert HubSource(web).probe(f"{HOME}/o/n/resolve/main/a.bin", Stop()) == Probe(9, '"e"', None)


def test_a_redirect_of_head_that_goes_on_for_ever_is_refused() -> None:
    with ScriptedServer(lambda exchange: exchange.answer(307, {"Location": f"/{exchange.number}"})) as server:
        web = HttpSource(rewrites=Rewrites([(HOME, server.url, "HF_ENDPOINT")]))
        with closing(web), pytest.raises(RedirectRefused, match="more than 10 redirects"):
            HubSource(web).probe(f"{HOME}/o/n/resolve/main/a.bin", Stop())
    assert len(server.requests) == 11


def test_a_mirror_on_the_hub_is_asked_at_its_ref(hub: Hub, repo: Repo) -> None:
    repo.pull_request({"a.gguf": Lfs(b"of a change")})
    assert read(source_of(hub), "hf://org/gemma@refs/pr/1/a.gguf") == b"of a change"
    assert read(source_of(hub), "hf://org/gemma/deep/er/b c.json") == b"{}"


def test_the_pages_of_another_host_are_not_followed_with_a_token(hub: Hub, repo: Repo) -> None:
    hub.tree_page = 1
    hub.link_origin = hub.url.replace("127.0.0.1", "localhost")
    hub.tokens = {"hf_secret_token": set()}
    assert len(source_of(hub, token="hf_secret_token").list("hf://org/gemma", Stop()).names) == 3
    first, *others = [request for request in hub.api_requests if "/tree/" in request.path]
    assert first.headers["authorization"] == "Bearer hf_secret_token"
    assert all("authorization" not in request.headers for request in others)


# --- how old it has to be ----------------------------------------------------------------------------------

JANUARY, MARCH = "2026-01-10T00:00:00.000Z", "2026-03-10T00:00:00.000Z"


@pytest.mark.parametrize(
    ("newest", "body"),
    [
        (datetime(2026, 4, 1, tzinfo=UTC), b"march"),
        (datetime(2026, 3, 10, tzinfo=UTC), b"march"),
        (datetime(2026, 3, 9, tzinfo=UTC), b"january"),
    ],
)
def test_a_branch_is_the_newest_commit_that_is_old_enough(hub: Hub, newest: datetime, body: bytes) -> None:
    repo = hub.repo("org/moving")
    repo.commit({"a.gguf": Lfs(b"january")}, date=JANUARY)
    repo.commit({"a.gguf": Lfs(b"march")}, date=MARCH)
    listing = source_of(hub, newest).list("hf://org/moving", Stop())
    assert listing.probes == {"a.gguf": told(body, large=True)}


def test_where_every_commit_is_too_new_there_is_none(hub: Hub) -> None:
    repo = hub.repo("org/moving")
    commit = repo.commit({"a.gguf": Lfs(b"march")}, date=MARCH)
    source = source_of(hub, datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(PolicyRefused, match="no commit up to 2026-01-01"):
        source.list("hf://org/moving", Stop())
    # A commit is its user's own word.
    assert source.list(f"hf://org/moving@{commit}", Stop()).revision == commit


# --- refusals ----------------------------------------------------------------------------------------------


def refused(hub: Hub, place: str, token: str = "") -> SourceError:
    """The error of listing a source, or of asking for a file."""
    source = source_of(hub, token=token)
    with pytest.raises(SourceError) as caught:
        if place.startswith("hf://"):
            source.list(place, Stop())
        else:
            source.open(Ask(place), Stop())
    return caught.value


@pytest.mark.parametrize("place", ["hf://org/gated", f"{HOME}/org/gated/resolve/main/a.gguf"])
@pytest.mark.parametrize(("token", "words"), [("", "no token was sent"), ("hf_of_a_stranger", "`HF_TOKEN` was sent")])
def test_a_gate_is_told_before_a_download_with_its_page_and_the_token(
    hub: Hub, place: str, token: str, words: str
) -> None:
    repo = hub.repo("org/gated")
    repo.commit({"a.gguf": Lfs(WEIGHTS), "README.md": CARD})
    repo.gated = "auto"
    hub.tokens = {"hf_of_a_stranger": set()}
    error = refused(hub, place, token)
    assert isinstance(error, Gated)
    assert "`hf://org/gated` is gated" in error.message
    assert words in error.message
    assert "https://huggingface.co/org/gated" in error.hint
    assert hub.cdn_bytes() == 0


def test_a_gate_is_open_for_a_token_that_may(hub: Hub) -> None:
    repo = hub.repo("org/gated")
    commit = repo.commit({"a.gguf": Lfs(WEIGHTS)})
    repo.gated = "manual"
    hub.tokens = {"hf_of_a_friend": {"org/gated"}}
    source = source_of(hub, token="hf_of_a_friend")
    assert source.list("hf://org/gated", Stop()).revision == commit
    assert read(source, f"{HOME}/org/gated/resolve/{commit}/a.gguf") == WEIGHTS


@pytest.mark.parametrize(("token", "words"), [("", "no token was sent"), ("hf_of_a_stranger", "`HF_TOKEN` was sent")])
@pytest.mark.parametrize("name", ["org/secret", "org/nowhere"])
def test_a_repository_that_is_private_or_not_there_is_told_so(hub: Hub, name: str, token: str, words: str) -> None:
    repo = hub.repo("org/secret")
    repo.commit({"a.gguf": Lfs(WEIGHTS)})
    repo.private = True
    hub.tokens = {"hf_of_a_stranger": set()}
    error = refused(hub, f"hf://{name}", token)
    assert isinstance(error, NotFound)
    assert f"there is no `hf://{name}` on the hub, or it is private" in error.message
    assert words in error.message


def test_a_ref_that_is_not_there_is_told_with_near_ones(hub: Hub, repo: Repo) -> None:
    repo.tag("v1.0")
    error = refused(hub, "hf://org/gemma@v1.1")
    assert isinstance(error, NotFound)
    assert error.message == "`hf://org/gemma` has no branch, tag or commit `v1.1`"
    assert error.hint == "there is `v1.0`"


def test_refs_of_any_length_and_look_are_cut_and_escaped(hub: Hub, repo: Repo) -> None:
    repo.tag("v" * 200_000)
    repo.tag("\x1b[2J")
    error = refused(hub, "hf://org/gemma@nowhere")
    assert "`\\x1b[2J`" in error.hint
    assert len(error.hint) < 1000


@pytest.mark.parametrize("form", ["resolve", "blob"])
def test_a_file_that_is_not_there_or_is_a_page_is_told_so(hub: Hub, repo: Repo, form: str) -> None:
    with pytest.raises(NotFound) as caught:
        source_of(hub).probe(f"{HOME}/org/gemma/{form}/main/nowhere.gguf", Stop())
    assert ("no such file" if form == "resolve" else "the page about a file") in caught.value.message


def test_a_token_that_the_hub_does_not_know_is_named(hub: Hub, repo: Repo) -> None:
    error = refused(hub, "hf://org/gemma", "hf_unknown_to_all")
    assert isinstance(error, Unauthorized)
    assert error.message == "the hub does not accept the token of `HF_TOKEN`"
    assert "hf_unknown_to_all" not in str(error) + error.hint


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_the_hub_itself_has_not_expired(hub: Hub, repo: Repo, status: int) -> None:
    hub.resolve.fail_first = [status]
    with pytest.raises(SourceError) as caught:
        source_of(hub).probe(f"{HOME}/org/gemma/resolve/main/a.gguf", Stop())
    assert not caught.value.may_have_expired


def test_what_is_known_of_an_answer_stays_in_other_words(hub: Hub) -> None:
    repo = hub.repo("org/gated")
    repo.commit({"a.gguf": Lfs(WEIGHTS)})
    repo.gated = "auto"
    hub.tokens = {"hf_of_a_stranger": set()}
    error = refused(hub, f"{HOME}/org/gated/resolve/main/a.gguf", "hf_of_a_stranger")
    assert (error.status, error.credential, error.told) == (403, "HF_TOKEN", "GatedRepo")


def test_a_limit_says_how_long_it_lasts(hub: Hub, repo: Repo) -> None:
    hub.api.limit, hub.api.reset_seconds = 1, 33
    error = refused(hub, "hf://org/gemma")
    assert isinstance(error, RateLimited)
    assert error.after_seconds == 33
    assert error.hint == "set `HF_TOKEN`: with one, the hub answers more"


def test_a_request_for_access_that_nobody_answered_is_told_so(hub: Hub) -> None:
    repo = hub.repo("org/gated")
    repo.commit({"a.gguf": Lfs(WEIGHTS)})
    repo.gated = "manual"
    hub.tokens, hub.pending = {"hf_of_a_friend": set()}, {"org/gated"}
    error = refused(hub, "hf://org/gated", "hf_of_a_friend")
    assert isinstance(error, Gated)
    assert "the request of the account of `HF_TOKEN` awaits a review" in error.message


def test_a_path_after_a_ref_is_told_where_it_belongs(hub: Hub, repo: Repo) -> None:
    error = refused(hub, "hf://org/gemma@main/deep/a.gguf")
    assert isinstance(error, NotFound)
    assert error.hint == "write `hf://org/gemma@main`, and `deep/a.gguf` among the `files`"


def test_another_commit_than_the_one_that_was_asked_for_is_an_error(hub: Hub, repo: Repo) -> None:
    commit = repo.refs["refs/heads/main"]
    repo.commits["d" * 40] = repo.commits[commit]
    with pytest.raises(SourceError, match=f"answered with commit `{commit}`"):
        source_of(hub).list(f"hf://org/gemma@{'d' * 40}", Stop())


@pytest.mark.parametrize("resolve_cache", [False, True])
@pytest.mark.parametrize(("name", "body"), [("a.gguf", WEIGHTS), ("README.md", CARD)])
def test_a_file_of_a_repository_that_was_renamed_has_its_digest(
    hub: Hub, repo: Repo, name: str, body: bytes, resolve_cache: bool
) -> None:
    hub.resolve_cache = resolve_cache
    hub.rename("org/gemma", "org/gemma-renamed")
    probe = source_of(hub).probe(f"{HOME}/org/gemma/resolve/main/{name}", Stop())
    assert probe == told(body, large=body is WEIGHTS)


@pytest.mark.parametrize("status", [401, 403])
def test_a_link_that_is_refused_is_no_word_on_the_token(hub: Hub, repo: Repo, status: int) -> None:
    hub.tokens = {"hf_secret_token": set()}
    hub.cdn.fail_first = [status]
    error = refused(hub, f"{HOME}/org/gemma/resolve/main/a.gguf", "hf_secret_token")
    assert error.may_have_expired
    assert f"answered {status} at `{hub.cdn_url}`, where it leads" in error.message
    assert "the link that it gave is refused" in error.hint
    assert "HF_TOKEN" not in error.message + error.hint


@pytest.mark.parametrize("status", [500, 503])
def test_a_hub_that_fails_is_worth_another_try(hub: Hub, repo: Repo, status: int) -> None:
    hub.api.fail_first = [status]
    error = refused(hub, "hf://org/gemma")
    assert isinstance(error, ServerError)
    assert isinstance(error, FileError)
    assert error.transient

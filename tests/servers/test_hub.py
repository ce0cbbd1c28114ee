"""What of the stand-in hub the real client does not reach: quotas, pages, links that die, and what it refuses."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.servers.hub import ANOTHER, DATASETS, DIGEST, MULTIPART, SPACES, Hub, Leak, Lfs, Repo

WEIGHTS = bytes(range(256)) * 4096
FILES: Mapping[str, bytes | Lfs] = {"a.gguf": Lfs(WEIGHTS), "b.txt": b"b", "c/d.txt": b"d", "c/e/f.gguf": Lfs(b"f")}
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@dataclass(frozen=True)
class Reply:
    """What came back for a request; of a body that was cut off, what there was of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def said(self) -> Any:
        """The JSON in it."""
        return json.loads(self.body)


def ask(url: str, method: str = "GET", **headers: str) -> Reply:
    """Ask once, and follow nothing. `_` stands for `-` in the name of a field."""
    asked = urlsplit(url)
    connection = http.client.HTTPConnection(asked.netloc)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, url.removeprefix(f"{asked.scheme}://{asked.netloc}"), headers=named)
        answer = connection.getresponse()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        body = b""
        try:
            while piece := answer.read1(65536):
                body += piece
        except ConnectionResetError:
            pass
        return Reply(answer.status, fields, body)
    finally:
        connection.close()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        hub.repo("org/name").commit(FILES)
        yield hub


@pytest.fixture
def link(hub: Hub) -> Callable[[], str]:
    """Gives a new signed link to the weights, each time it is called."""
    return lambda: ask(f"{hub.url}/org/name/resolve/main/a.gguf").headers["location"]


def test_a_large_file_is_a_redirect_that_says_what_it_leads_to(hub: Hub) -> None:
    commit = hub.repo("org/name").refs["refs/heads/main"]
    for method in ("HEAD", "GET"):
        reply = ask(f"{hub.url}/org/name/resolve/main/a.gguf", method)
        assert reply.status == 302
        assert reply.headers["x-repo-commit"] == commit
        assert reply.headers["x-linked-etag"] == f'"{SHA256}"'
        assert reply.headers["x-linked-size"] == str(len(WEIGHTS))
        assert reply.headers["location"].startswith(hub.cdn_url + "/")
    assert [request.method for request in hub.resolves("a.gguf")] == ["HEAD", "GET"]
    assert hub.cdn_bytes() == 0


def test_a_small_file_comes_at_once_with_what_git_calls_it(hub: Hub) -> None:
    reply = ask(f"{hub.url}/org/name/resolve/main/c%2Fd.txt")
    oid = hashlib.sha1(b"blob 1\0d").hexdigest()
    assert (reply.status, reply.body, reply.headers["etag"]) == (200, b"d", f'"{oid}"')
    assert ask(f"{hub.url}/org/name/resolve/main/c/d.txt", If_None_Match=f'"{oid}"').status == 304


def test_a_signed_link_holds_until_the_clock_has_moved_so_far(hub: Hub, link: Callable[[], str]) -> None:
    first = link()
    hub.advance(hub.cdn.link_life - 1)
    assert ask(first).body == WEIGHTS
    hub.advance(1)
    assert ask(first).status == 403
    assert ask(link()).status == 200


def test_all_links_may_expire_at_once_and_a_new_one_holds(hub: Hub, link: Callable[[], str]) -> None:
    old = [link(), link()]
    hub.expire_links()
    assert [ask(url).status for url in (*old, link())] == [403, 403, 200]


@pytest.mark.parametrize("change", ["Expires=1", "Policy=1", "Signature=0"])
def test_a_link_that_was_tampered_with_is_refused(link: Callable[[], str], change: str) -> None:
    url = link()
    name = change.partition("=")[0]
    mine = "&".join(change if field.startswith(f"{name}=") else field for field in url.split("&"))
    assert mine != url
    assert ask(mine).status == 403


def test_a_link_can_die_in_mid_body_for_all_who_have_it(hub: Hub, link: Callable[[], str]) -> None:
    hub.cdn.expire_after_bytes = 600_000
    url = link()
    assert ask(url, Range="bytes=0-99999").body == WEIGHTS[:100_000]
    assert len(ask(url).body) <= 500_000
    assert [request.served for request in hub.cdn_requests] == [100_000, 500_000]
    assert ask(url).status == 403
    assert ask(link(), Range="bytes=600000-").body == WEIGHTS[600_000:]


def test_a_cut_is_for_the_next_so_many_answers(hub: Hub, link: Callable[[], str]) -> None:
    hub.cdn.cut_after, hub.cdn.cut_times, hub.cdn.resets = 1000, 1, False
    url = link()
    assert ask(url, Range="bytes=0-999").body == WEIGHTS[:1000]
    assert ask(url).body == WEIGHTS[:1000]
    assert ask(url).body == WEIGHTS


def test_a_credential_at_the_cdn_is_refused_and_told(hub: Hub, link: Callable[[], str]) -> None:
    hub.tokens = {"hf_secret": set()}
    url = link()
    assert ask(url, Authorization="Bearer hf_secret").status == 400
    assert ask(url, X_Other="hf_secret").status == 200
    assert ask(url).status == 200
    assert len(hub.leaks) == 2
    assert [type(failure) for failure in hub.failures] == [Leak, Leak]


def test_a_range_is_a_206_that_says_where_it_is(hub: Hub, link: Callable[[], str]) -> None:
    url, size = link(), len(WEIGHTS)
    reply = ask(url, Range="bytes=10-19")
    assert (reply.status, reply.body) == (206, WEIGHTS[10:20])
    assert reply.headers["content-range"] == f"bytes 10-19/{size}"
    assert ask(url, Range=f"bytes={size}-").headers["content-range"] == f"bytes */{size}"
    assert ask(url, Range="bytes=10-19", If_Range='"other"').status == 200
    hub.cdn.gzip_ignores_ranges = True
    assert ask(url, Range="bytes=10-19", Accept_Encoding="gzip, deflate").status == 200
    assert ask(url, Range="bytes=10-19", Accept_Encoding="identity").status == 206
    hub.cdn.ranges = False
    assert ask(url, Range="bytes=10-19").status == 200


@pytest.mark.parametrize(
    ("knob", "expected"),
    [(DIGEST, f'"{SHA256}"'), (None, None), ('W/"mine"', 'W/"mine"')],
)
def test_the_etag_of_the_cdn_is_what_the_knob_says(
    hub: Hub, link: Callable[[], str], knob: str | None, expected: str | None
) -> None:
    hub.cdn.etag = knob
    assert ask(link(), "HEAD").headers.get("etag") == expected


def test_the_etag_of_the_cdn_is_one_of_parts_or_another_each_time(hub: Hub, link: Callable[[], str]) -> None:
    assert hub.cdn.etag == MULTIPART
    tags = [ask(link(), "HEAD").headers["etag"] for _ in range(2)]
    assert tags[0] == tags[1]
    assert tags[0].endswith('-64"')
    hub.cdn.etag = ANOTHER
    tags = [ask(link(), "HEAD").headers["etag"] for _ in range(2)]
    assert tags[0] != tags[1]


def test_a_tree_comes_in_pages_that_name_the_next(hub: Hub) -> None:
    hub.tree_page = 2
    url: str | None = f"{hub.url}/api/models/org/name/tree/main?recursive=true"
    paths, pages = [], 0
    while url:
        reply = ask(url)
        paths += [(entry["type"], entry["path"]) for entry in reply.said]
        pages += 1
        url = reply.headers["link"].split(">")[0][1:] if "link" in reply.headers else None
    assert pages == 3
    assert paths == [
        ("file", "a.gguf"),
        ("file", "b.txt"),
        ("directory", "c"),
        ("file", "c/d.txt"),
        ("directory", "c/e"),
        ("file", "c/e/f.gguf"),
    ]


def test_the_entry_of_a_large_file_has_its_digest_and_what_git_has_of_it(hub: Hub) -> None:
    (entry,) = [e for e in ask(f"{hub.url}/api/models/org/name/tree/main").said if e["path"] == "a.gguf"]
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{SHA256}\nsize {len(WEIGHTS)}\n".encode()
    assert entry["oid"] == hashlib.sha1(b"blob %d\0%b" % (len(pointer), pointer)).hexdigest()
    assert entry["lfs"] == {"oid": SHA256, "size": len(WEIGHTS), "pointerSize": len(pointer)}


def test_a_quota_ends_in_a_429_that_says_how_long(hub: Hub) -> None:
    hub.api.limit, hub.api.limit_times, hub.api.retry_after = 1, 2, "7"
    url = f"{hub.url}/api/models/org/name"
    replies = [ask(url) for _ in range(4)]
    assert [reply.status for reply in replies] == [200, 429, 429, 200]
    assert replies[1].headers["ratelimit"] == '"api";r=0;t=55'
    assert replies[1].headers["ratelimit-policy"] == '"fixed window";"api";q=500;w=300'
    assert replies[1].headers["retry-after"] == "7"
    assert len(hub.api_requests) == 4
    assert ask(f"{hub.url}/org/name/resolve/main/b.txt").headers["ratelimit"].startswith('"resolvers";')


@pytest.mark.parametrize("path", ["/api/models/org/name", "/org/name/resolve/main/b.txt"])
def test_what_shall_fail_first_fails_first(hub: Hub, path: str) -> None:
    hub.api.fail_first = hub.resolve.fail_first = [500, 503]
    assert [ask(hub.url + path).status for _ in range(3)] == [500, 503, 200]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/org/name/resolve/main/no.txt", 404, "EntryNotFound"),
        ("/org/name/resolve/main/c", 404, "EntryNotFound"),
        ("/api/models/org/name/tree/main/no", 404, "EntryNotFound"),
        ("/org/name/resolve/no/b.txt", 404, "RevisionNotFound"),
        ("/api/models/org/name/revision/refs%2Fpr%2F1", 404, "RevisionNotFound"),
        ("/api/models/org/name/commits/no", 404, "RevisionNotFound"),
        ("/org/no/resolve/main/b.txt", 401, "RepoNotFound"),
        ("/api/models/no", 401, "RepoNotFound"),
        ("/api/datasets/org/name", 401, "RepoNotFound"),
        ("/api/spaces/org/name", 401, "RepoNotFound"),
        ("/datasets/org/name/resolve/main/b.txt", 401, "RepoNotFound"),
    ],
)
def test_what_is_not_there_is_refused_by_its_code(hub: Hub, path: str, status: int, code: str) -> None:
    reply = ask(hub.url + path)
    assert (reply.status, reply.headers["x-error-code"]) == (status, code)
    assert reply.said["error"] == reply.headers["x-error-message"]
    assert hub.failures == []


@pytest.mark.parametrize("path", ["/", "/api/", "/api/buckets/org/name", "/org/name/blob/main/b.txt", "/a/resolve/b"])
def test_what_is_no_page_of_the_hub_is_a_404(hub: Hub, path: str) -> None:
    reply = ask(hub.url + path)
    assert reply.status == 404
    assert "x-error-code" not in reply.headers
    assert hub.failures == []


def test_who_has_a_token_is_told_that_there_is_no_such_repository(hub: Hub) -> None:
    hub.tokens = {"hf_x": set()}
    assert ask(f"{hub.url}/api/models/org/no", Authorization="Bearer hf_x").status == 404


def test_a_gated_repository_may_hide_its_listing_and_keep_people_waiting(hub: Hub) -> None:
    repo = hub.repo("org/name")
    repo.gated, hub.tokens, hub.pending = "manual", {"hf_x": set()}, {"org/name"}
    url = f"{hub.url}/api/models/org/name"
    assert ask(url).said["gated"] == "manual"
    repo.hides_listing = True
    assert (ask(url).status, ask(url).headers["x-error-code"]) == (401, "GatedRepo")
    waiting = ask(f"{hub.url}/org/name/resolve/main/b.txt", Authorization="Bearer hf_x")
    assert waiting.status == 403
    assert "awaiting a review" in waiting.headers["x-error-message"]


def test_an_old_name_leads_to_the_new_one_relatively(hub: Hub) -> None:
    hub.rename("org/name", "org/new")
    moved = ask(f"{hub.url}/org/name/resolve/main/c%2Fd.txt")
    assert (moved.status, moved.headers["location"]) == (307, "/org/new/resolve/main/c%2Fd.txt")
    moved = ask(f"{hub.url}/api/models/org/name/tree/main?recursive=true")
    assert (moved.status, moved.headers["location"]) == (307, "/api/models/org/new/tree/main?recursive=true")
    assert ask(f"{hub.url}/api/models/org/new").said["id"] == "org/new"


def test_a_small_file_may_come_from_a_cache_of_the_hub(hub: Hub) -> None:
    hub.resolve_cache = True
    moved = ask(f"{hub.url}/org/name/resolve/main/b.txt")
    commit = hub.repo("org/name").refs["refs/heads/main"]
    assert moved.headers["location"].startswith(f"/api/resolve-cache/models/org/name/{commit}/b.txt?")
    assert (moved.status, moved.headers["x-repo-commit"]) == (307, commit)
    assert ask(hub.url + moved.headers["location"]).body == b"b"
    assert hub.api_requests == ()


@pytest.mark.parametrize("kind", [DATASETS, SPACES])
def test_a_repository_of_another_kind_has_it_in_its_urls(hub: Hub, kind: str) -> None:
    commit = hub.repo("org/name", kind).commit({"app.py": b"app"})
    assert ask(f"{hub.url}/api/{kind}/org/name").said["sha"] == commit
    assert ask(f"{hub.url}/{kind}/org/name/resolve/main/app.py").body == b"app"
    assert ask(f"{hub.url}/org/name/resolve/main/app.py").status == 404


def test_who_accepts_gzip_may_get_it_with_a_weak_etag(hub: Hub) -> None:
    hub.zips = True
    url = f"{hub.url}/org/name/resolve/main/b.txt"
    plain, zipped = ask(url, Accept_Encoding="identity"), ask(url, Accept_Encoding="gzip", Range="bytes=0-0")
    assert (plain.body, gzip.decompress(zipped.body)) == (b"b", b"b")
    assert (zipped.status, zipped.headers["etag"]) == (200, f"W/{plain.headers['etag']}")


def test_a_disabled_repository_is_refused_to_all(hub: Hub) -> None:
    hub.repo("org/name").disabled = True
    for path in ("/api/models/org/name", "/org/name/resolve/main/b.txt"):
        reply = ask(hub.url + path)
        assert (reply.status, reply.headers["x-error-message"]) == (403, "Access to this resource is disabled.")


def test_the_first_digits_of_a_commit_name_it_only_by_a_knob(hub: Hub) -> None:
    url = f"{hub.url}/api/models/org/name/revision/{hub.repo('org/name').refs['refs/heads/main'][:8]}"
    assert ask(url).status == 404
    hub.short_commits = True
    assert ask(url).status == 200


def test_the_next_page_may_be_said_to_be_elsewhere(hub: Hub) -> None:
    hub.tree_page, hub.link_origin = 1, "https://huggingface.co"
    assert ask(f"{hub.url}/api/models/org/name/tree/main").headers["link"].startswith("<https://huggingface.co/api/")


def test_the_same_commits_have_the_same_digits_and_a_ref_can_go_back() -> None:
    repo, twin = Repo("a/b"), Repo("a/b")
    commits = [repo.commit({"x": content}) for content in (b"1", b"2")]
    assert [twin.commit({"x": content}) for content in (b"1", b"2")] == commits
    repo.tag("v1")
    repo.move("main", commits[0])
    assert repo.refs == {"refs/heads/main": commits[0], "refs/tags/v1": commits[1]}
    repo.delete("v1")
    assert repo.find("v1") is None
    assert repo.find(commits[1]) is not None


def test_a_card_is_read_from_the_readme_unless_it_is_given(hub: Hub) -> None:
    repo = hub.repo("org/name")
    repo.commit({"README.md": b"---\nlicense: apache-2.0\n---\n"})
    url = f"{hub.url}/api/models/org/name"
    assert ask(url).said["cardData"] == {"license": "apache-2.0"}
    repo.card = {"license": ["mit", "gemma"]}
    assert ask(url).said["tags"] == ["license:mit", "license:gemma"]

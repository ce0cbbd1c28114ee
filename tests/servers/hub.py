"""A stand-in Hugging Face hub on the loopback interface: what `hf://` is tested against, and what the real
`huggingface_hub` client downloads from unchanged (`HF_ENDPOINT=` the hub's `url`).

    with Hub() as hub:
        repo = hub.repo("org/name")                       # or hub.repo("gpt2"), hub.repo("org/app", SPACES)
        rows = hub.dataset("org/rows")
        first = repo.commit({"a.gguf": Lfs(b"..."), "README.md": b"---\\nlicense: mit\\n---\\n"})
        repo.tag("v1")
        repo.commit({"a.gguf": Lfs(b"new"), "old.bin": None}, branch="main", date="2026-02-03T04:05:06.000Z")
        repo.move("main", first); repo.delete("v1"); repo.pull_request({"b.gguf": Lfs(b"...")})   # "refs/pr/1"
        assert hub.cdn_bytes() == 0 and not hub.leaks and not hub.failures

**Content.** A file is bytes (small: served by the hub itself, its ETag what git calls it) or `Lfs(bytes, xet_hash=…)`
(a redirect to the CDN; `xet_hash` also makes the hub offer Xet). `commit`, `tag`, `move` and `pull_request` of a
`Repo` (see `hub_repos`) return the 40 digits of the commit, the last one the ref. Dates go up a day a commit from
2026-01-01, unless they are given. Of a `Repo`: `gated` (False, "auto", "manual": its files need a token that may;
what the API says is open), `hides_listing` (True: the API needs it too), `private`, `disabled` (403 for all), `card` (a
mapping instead of the README's front matter). `hub.rename("old/name", "new/name")` leaves a 307 with a relative
`Location` behind.

**Tokens.** `hub.tokens = {"hf_x": {"org/gated"}}`: a token, and the gated and private repositories that it may read.
Any other token is refused everywhere. `hub.pending = {"org/gated"}`: those wait for a review, which the 403 says.

**Knobs** (all may be changed while it runs):

    hub.api, hub.resolve    the quotas of `/api/…` and of `…/resolve/…`, each with
        limit               so many more requests, then 429 with `RateLimit: "api";r=0;t=55` and `RateLimit-Policy` …
        limit_times         … so many times, then there is no limit any more (None: for ever)
        reset_seconds       the `t` of `RateLimit`
        retry_after         the `Retry-After` of what is refused or fails (default: none)
        fail_first          statuses that the next requests get instead, one each, used up from the front
    hub.tree_page, hub.commits_page     entries of a page of those answers (1000, 50 with `expand`; 50)
    hub.short_commits       True: the first seven digits or more of a commit name it too
    hub.resolve_cache       True: a small file is a 307 to `/api/resolve-cache/…`, relative, as the hub does by now
    hub.zips                True: a small file is sent by gzip to who accepts it, whole and with a weak ETag
    hub.link_origin         what `Link: …; rel="next"` begins with (default: the hub's own origin)
    hub.cdn                 the port that large files are redirected to:
        etag                MULTIPART (default: `"…-64"`), DIGEST, ANOTHER each answer, None, or a str sent literally
        ranges, head        False: they are ignored, and 405; or a status to answer HEAD with
        gzip_ignores_ranges True: who accepts gzip gets the whole file
        link_life           seconds that a signed link holds, by `cdn.clock`, which only `hub.advance(seconds)` moves
        expire_after_bytes  after so many bytes of bodies a link is dead: cut in mid body, and 403 from then on
        fail_first, retry_after, throttle, cut_after, cut_times, headers    as those of `fileserver.Content`
        resets              False: what is cut ends as if it were whole, and not with a reset
    hub.expire_links()      every signed link that was given out so far is refused (403) from now on

**What it tells.** `url` and `cdn_url`, the two origins; `requests`, a tuple of `HubRequest` in order of arrival, each
with `port` (HUB or CDN), `method`, `path` (as sent, with its query), `headers` (lower-case names), `status`, `served`
(bytes of the body that went out); `api_requests`, those of `/api/` alone; `resolves(path)`, those of a file at any
revision; `cdn_bytes()`; `leaks`, what came to the CDN with a credential (which it refuses); `failures`, the exceptions
of the server itself and each leak. `forget()` empties the log.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import unquote, urlsplit

from tests.servers.fileserver import Request
from tests.servers.hub_answers import Answer, Gate, Refused
from tests.servers.hub_cdn import ANOTHER, DIGEST, MULTIPART, Cdn
from tests.servers.hub_ports import Port
from tests.servers.hub_repos import DATASETS, MODELS, SPACES, Lfs, Repo
from tests.servers.hub_routes import answer_api, answer_resolve

__all__ = ["ANOTHER", "CDN", "DATASETS", "DIGEST", "HUB", "MULTIPART", "SPACES", "Hub", "HubRequest", "Lfs", "Repo"]

HUB = "hub"
CDN = "cdn"


@dataclass(slots=True)
class HubRequest(Request):
    """One request that arrived at the hub or at its CDN, and what was answered."""

    port: str = HUB


class Leak(AssertionError):
    """A credential came to the CDN."""


class Hub:
    """A stand-in hub; use it as a context manager. Safe to change and to read while it serves."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.renamed: dict[tuple[str, str], str] = {}
        self.tokens: Mapping[str, set[str]] = {}
        self.pending: set[str] = set()
        self.api = Gate("api", 500)
        self.resolve = Gate("resolvers", 3000)
        self.cdn = Cdn()
        self.tree_page: int | None = None
        self.commits_page = 50
        self.short_commits = False
        self.resolve_cache = False
        self.zips = False
        self.failures: list[BaseException] = []
        self._requests: list[HubRequest] = []
        self._lock = threading.Lock()
        self._ports = (Port(self._answer, self.failures), Port(self._answer_cdn, self.failures))
        self.url, self.cdn_url = (port.origin for port in self._ports)
        self.link_origin = self.url

    def __enter__(self) -> Hub:
        for port in self._ports:
            port.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for port in self._ports:
            port.stop()

    def repo(self, name: str, kind: str = MODELS) -> Repo:
        """The repository of that name; a new and empty one when there is none yet."""
        return self.repos.setdefault((kind, name), Repo(name, kind))

    def dataset(self, name: str) -> Repo:
        """The dataset of that name; a new and empty one when there is none yet."""
        return self.repo(name, DATASETS)

    def rename(self, old: str, new: str, kind: str = MODELS) -> None:
        """Call a repository otherwise, and redirect from its old name."""
        repo = self.repos.pop((kind, old))
        repo.name = new
        self.repos[kind, new] = repo
        self.renamed[kind, old] = new

    def advance(self, seconds: int) -> None:
        """Move the clock by which signed links expire."""
        self.cdn.clock += seconds

    def expire_links(self) -> None:
        """Let every signed link that was given out so far be refused from now on."""
        self.cdn.expire_links()

    @property
    def requests(self) -> tuple[HubRequest, ...]:
        """Every request so far, at both ports, in order of arrival."""
        with self._lock:
            return tuple(self._requests)

    @property
    def api_requests(self) -> tuple[HubRequest, ...]:
        """The requests that count against the quota of the API."""
        return tuple(request for request in self.requests if request.port == HUB and _is_api(request.path))

    @property
    def cdn_requests(self) -> tuple[HubRequest, ...]:
        """The requests at the CDN."""
        return tuple(request for request in self.requests if request.port == CDN)

    @property
    def leaks(self) -> tuple[HubRequest, ...]:
        """The requests at the CDN that had a credential with them."""
        return tuple(request for request in self.cdn_requests if self._leaks(request))

    def resolves(self, path: str) -> tuple[HubRequest, ...]:
        """The requests to the hub for a file, at whatever revision; `path` as it stands in the repository."""
        hub = [request for request in self.requests if request.port == HUB]
        return tuple(request for request in hub if _resolved(request.path) == path)

    def cdn_bytes(self) -> int:
        """Bytes of bodies that the CDN sent."""
        return sum(request.served for request in self.cdn_requests)

    def forget(self) -> None:
        """Empty the log."""
        with self._lock:
            self._requests.clear()

    def _answer(self, arrived: Request) -> tuple[Request, Answer]:
        request = self._logged(arrived, HUB)
        is_api = _is_api(request.path)
        fields: dict[str, str] = {}
        try:
            with self._lock:
                fields = (self.api if is_api else self.resolve).pass_one()
            answer = (answer_api if is_api else answer_resolve)(self, request)
        except Refused as refused:
            answer = refused.answer
        answer.headers = {**fields, **answer.headers}
        return request, answer

    def _answer_cdn(self, arrived: Request) -> tuple[Request, Answer]:
        request = self._logged(arrived, CDN)
        if self._leaks(request):
            self.failures.append(Leak(f"a credential came to the CDN: {request.method} {request.path}"))
        return request, self.cdn.answer(request)

    def _logged(self, arrived: Request, port: str) -> HubRequest:
        request = HubRequest(arrived.method, arrived.path, arrived.headers, port=port)
        with self._lock:
            self._requests.append(request)
        return request

    def _leaks(self, request: HubRequest) -> bool:
        said = [request.path, *request.headers.values()]
        named = {"authorization", "cookie"} & request.headers.keys()
        return bool(named) or any(token in text for token in self.tokens for text in said)


def _is_api(path: str) -> bool:
    return path.startswith("/api/") and not path.startswith("/api/resolve-cache/")


def _resolved(path: str) -> str | None:
    """The file that a path resolves, without its revision."""
    _, mark, rest = unquote(urlsplit(path).path).partition("/resolve/")
    return rest.removeprefix("refs/pr/").partition("/")[2] if mark else None

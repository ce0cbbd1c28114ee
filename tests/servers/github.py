"""A stand-in for GitHub on the loopback interface: its API, its web and its assets, each an origin of its own.

    with GitHub({"owner/repo": Repository([Release("v1", [Asset("a.gguf", b"...")])])}) as github:
        lock("github://owner/repo@v1", env=github.environ)
        assert github.asked("api") == ["/repos/owner/repo/releases/tags/v1", "/repos/owner/repo"]

As the real one does it: the web redirects to a signed URL on the asset's origin, and answers 404 for all that is
private, whatever token comes; the API shows private repositories to those with a token of `tokens`, 401 to those with
another, and sends an asset's bytes by a redirect too, to who accepts `application/octet-stream`. A release has its
first `embedded` assets in it, all are on pages of a hundred; lists have `Link: rel="next"`. The API is below a path, as
that of an own server is. A signed URL is good until `expire()`.

Knobs: `refusals`, what the next answers of the API are instead (status, fields), one each, None for no refusal; the
`Content` of each asset, whose knobs are those of `tests.servers.fileserver`; `moved`, old names of repositories. What
it tells: `requests` with `port` (`api`, `web`, `assets`), `path` (of the API without its base), `headers` and `status`;
`asked(port)`; `leaks`, requests with a credential to an origin that it is not for; `failures`.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers.fileserver import Content, FileServer
from tests.servers.listening import Conversation, Listener

BASE = "/api/v3"
_IDS = itertools.count(1000)
_Entry = TypeVar("_Entry")


@dataclass(slots=True)
class Asset:
    """A file of a release. `digest`: whether GitHub has one."""

    name: str
    body: bytes
    digest: bool = True
    state: str = "uploaded"
    created: str = "2025-06-01T00:00:00Z"
    id: int = field(default_factory=lambda: next(_IDS))
    content: Content = field(init=False)

    def __post_init__(self) -> None:
        self.content = Content(self.body)

    def replace(self, body: bytes) -> None:
        """What a publisher does who uploads another file of that name: it is another asset."""
        self.id, self.content = next(_IDS), Content(body)


@dataclass(slots=True)
class Release:
    """A release of a repository."""

    tag: str
    assets: list[Asset] = field(default_factory=list)
    published: str = "2025-06-01T00:00:00Z"
    prerelease: bool = False
    draft: bool = False
    id: int = field(default_factory=lambda: next(_IDS))


@dataclass(slots=True)
class Repository:
    """A repository with its releases, the newest first."""

    releases: list[Release] = field(default_factory=list)
    license: str | None = "MIT"
    private: bool = False


@dataclass(slots=True)
class Request:
    """One request that arrived, and what was answered."""

    port: str
    method: str
    path: str
    headers: Mapping[str, str]
    status: int = 0


class GitHub:
    """The stand-in; use it as a context manager. Safe to change while it serves."""

    def __init__(self, repositories: Mapping[str, Repository], *, tokens: set[str] | None = None) -> None:
        self.repositories = dict(repositories)
        self.tokens = tokens or set()
        self.moved: dict[str, str] = {}
        self.refusals: list[tuple[int, Mapping[str, str]] | None] = []
        self.embedded = 100
        self.failures: list[BaseException] = []
        self.files = FileServer({})
        self._requests: list[Request] = []
        self._signatures = itertools.count(1)
        self._lock = threading.Lock()
        self._api, self._web = _Listener(self, "api", self._answer_api), _Listener(self, "web", self._answer_web)

    def __enter__(self) -> GitHub:
        self.files.__enter__()
        for listener in (self._api, self._web):
            listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for listener in (self._api, self._web):
            listener.stop()
        self.files.__exit__(kind, error, trace)

    @property
    def api_url(self) -> str:
        """What `GITHUB_API_URL` is here."""
        return f"{self._api.origin}{BASE}"

    @property
    def web_url(self) -> str:
        """What `GITHUB_SERVER_URL` is here."""
        return self._web.origin

    @property
    def environ(self) -> dict[str, str]:
        """The variables that lead here."""
        return {"GITHUB_API_URL": self.api_url, "GITHUB_SERVER_URL": self.web_url}

    @property
    def requests(self) -> tuple[Request, ...]:
        """Every request so far to the API and to the web, in order of arrival; then those for assets."""
        with self._lock:
            told = tuple(self._requests)
        return told + tuple(
            Request("assets", each.method, each.path, each.headers, each.status) for each in self.files.requests
        )

    def asked(self, port: str) -> list[str]:
        """The paths that were asked for at a port."""
        return [request.path for request in self.requests if request.port == port]

    @property
    def leaks(self) -> list[Request]:
        """Requests for assets that carried a credential: a signed URL is the credential there."""
        return [each for each in self.requests if each.port == "assets" and "authorization" in each.headers]

    def forget(self) -> None:
        """Empty the log."""
        with self._lock:
            self._requests.clear()
        self.files.forget()

    def expire(self) -> None:
        """End the time of every URL that was signed."""
        self.files.files.clear()

    # --- what is answered ----------------------------------------------------------------------------------

    def _log(self, request: Request) -> None:
        with self._lock:
            self._requests.append(request)

    def _signed(self, asset: Asset) -> str:
        """A new URL of an asset's bytes."""
        path = f"/signed-{next(self._signatures)}/{asset.id}"
        self.files.put(path, asset.content)
        return f"{self.files.origin}{path}?sig=s3cr3t&se=2030"

    def _answer_web(self, request: Request) -> _Reply:
        found = re.fullmatch(r"/([^/]+/[^/]+)/releases/download/([^/]+)/([^/?]+)", request.path)
        repository = self._repository(found[1]) if found else None
        if found is None or repository is None or repository.private:
            return _Reply(404)
        release = _first(repository.releases, lambda each: each.tag == unquote(found[2]) and not each.draft)
        asset = _first(release.assets, lambda each: each.name == unquote(found[3])) if release else None
        return _Reply(404) if asset is None else _Reply(302, {"Location": self._signed(asset)})

    def _answer_api(self, request: Request) -> _Reply:
        with self._lock:
            refusal = self.refusals.pop(0) if self.refusals else None
        if refusal is not None:
            return _Reply(refusal[0], refusal[1], {"message": "refused"})
        if request.headers.get("x-github-api-version") != "2022-11-28":
            return _Reply(400, {}, {"message": "no such version"})
        token = request.headers.get("authorization", "").partition(" ")[2]
        if token and token not in self.tokens:
            return _Reply(401, {}, {"message": "Bad credentials"})
        place = urlsplit(request.path)
        found = re.fullmatch(r"/repos/([^/]+/[^/]+)((?:/[^/]+)*)", place.path)
        if found is None:
            return _Reply(404)
        if found[1] in self.moved:
            return _Reply(301, {"Location": f"{self.api_url}/repos/{self.moved[found[1]]}{found[2]}"})
        repository = self._repository(found[1])
        if repository is None or (repository.private and not token):
            return _Reply(404, {}, {"message": "Not Found"})
        query = {name: int(values[0]) for name, values in parse_qs(place.query).items()}
        return self._of_repository(repository, found[2].split("/")[1:], request, query)

    def _of_repository(
        self, repository: Repository, steps: list[str], request: Request, query: Mapping[str, int]
    ) -> _Reply:
        seen = [release for release in repository.releases if not release.draft]
        base = f"{self.api_url}{urlsplit(request.path).path}"
        match steps:
            case []:
                license = None if repository.license is None else {"spdx_id": repository.license}
                return _Reply(200, {}, {"private": repository.private, "license": license})
            case ["releases"]:
                return _paged([self._told(release) for release in seen], query, base)
            case ["releases", "latest"]:
                return self._one(_first(seen, lambda each: not each.prerelease))
            case ["releases", "tags", tag]:
                return self._one(_first(seen, lambda each: each.tag == unquote(tag)))
            case ["releases", number, "assets"]:
                release = _first(seen, lambda each: str(each.id) == number)
                return _paged([_asset_told(each) for each in release.assets], query, base) if release else _Reply(404)
            case ["releases", "assets", number]:
                everything = [asset for release in repository.releases for asset in release.assets]
                asset = _first(everything, lambda each: str(each.id) == number)
                if asset is None:
                    return _Reply(404, {}, {"message": "Not Found"})
                if request.headers.get("accept") != "application/octet-stream":
                    return _Reply(200, {}, _asset_told(asset))
                return _Reply(302, {"Location": self._signed(asset)})
        return _Reply(404)

    def _one(self, release: Release | None) -> _Reply:
        return _Reply(404, {}, {"message": "Not Found"}) if release is None else _Reply(200, {}, self._told(release))

    def _told(self, release: Release) -> dict[str, Any]:
        return {
            "id": release.id,
            "tag_name": release.tag,
            "draft": release.draft,
            "prerelease": release.prerelease,
            "published_at": release.published,
            "assets": [_asset_told(asset) for asset in release.assets[: self.embedded]],
        }

    def _repository(self, name: str) -> Repository | None:
        return self.repositories.get(name)


def _asset_told(asset: Asset) -> dict[str, Any]:
    body = asset.content.body
    return {
        "id": asset.id,
        "name": asset.name,
        "state": asset.state,
        "size": len(body),
        "digest": f"sha256:{hashlib.sha256(body).hexdigest()}" if asset.digest else None,
        "created_at": asset.created,
    }


def _paged(entries: list[dict[str, Any]], query: Mapping[str, int], base: str) -> _Reply:
    size, page = min(100, query.get("per_page", 30)), query.get("page", 1)
    fields = {}
    if len(entries) > size * page:
        last = -(-len(entries) // size)
        following = f'<{base}?per_page={size}&page={page + 1}>; rel="next"'
        fields["Link"] = f'{following}, <{base}?per_page={size}&page={last}>; rel="last"'
    return _Reply(200, fields, entries[size * (page - 1) : size * page])


def _first(entries: list[_Entry], fits: Callable[[_Entry], bool]) -> _Entry | None:
    return next((entry for entry in entries if fits(entry)), None)


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    fields: Mapping[str, str] = field(default_factory=dict)
    told: object = None


class _Listener(Listener):
    def __init__(self, owner: GitHub, port: str, answer: Callable[[Request], _Reply]) -> None:
        self.owner, self.port, self.answer = owner, port, answer
        super().__init__(_Conversation, owner.failures)


class _Conversation(Conversation):
    server: _Listener

    def serve(self) -> None:
        listener = self.server
        path = self.path
        if listener.port == "api":
            path = path.removeprefix(BASE) if path.startswith(f"{BASE}/") else "/nothing"
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(listener.port, self.command, path, headers)
        listener.owner._log(request)
        reply = listener.answer(request)
        request.status = reply.status
        body = b"" if reply.told is None else json.dumps(reply.told).encode()
        self.send_response(reply.status)
        for name, value in reply.fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):
                self.wfile.write(body)

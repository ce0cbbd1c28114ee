"""Which answer belongs to which URL of a stand-in hub, and who may have it.

A revision and the folders of a path may be percent-encoded or not: what is split is the path as it was sent.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from tests.servers import hub_api
from tests.servers.fileserver import Content, Request
from tests.servers.hub_answers import Answer, Refused, found, part, redirect
from tests.servers.hub_repos import KINDS, MODELS, Blob, Commit, Repo

if TYPE_CHECKING:
    from tests.servers.hub import Hub

RESOLVE_CACHE = "/api/resolve-cache/"
_VERBS = frozenset({"revision", "tree", "commits", "refs"})
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ASK_TO_LOG_IN = {"WWW-Authenticate": 'Bearer realm="Authentication required", charset="UTF-8"'}
_NO_PAGE = "Sorry, we can't find the page you are looking for."


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who asks: nobody that is known, or a token and what it may read."""

    token: str | None
    may_read: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Place:
    """What a URL names: a repository and, in segments as they were sent, what of it is asked for."""

    kind: str
    name: str
    rest: tuple[str, ...]


def answer_api(hub: Hub, request: Request) -> Answer:
    """The answer of `/api/…`; raises Refused."""
    caller = _caller(hub, request)
    asked = urlsplit(request.path)
    kind, *segments = asked.path.split("/")[2:]
    if kind == "whoami-v2":
        return _whoami(caller)
    places = [_Place(kind, *named) for named in _names(segments)] if kind in KINDS else []
    if not places:
        raise Refused(404, None, _NO_PAGE)
    place = next((place for place in places if _is_known(hub, place)), places[0])
    if new := hub.renamed.get((kind, place.name)):
        tail = "/".join((new, *place.rest))
        return redirect(307, f"/api/{kind}/{tail}{'?' if asked.query else ''}{asked.query}")
    repo = _readable(hub, caller, place)
    if repo.hides_listing:
        _check_gate(hub, caller, repo)
    verb, *rest = place.rest or ("revision",)
    return _SAID[verb](hub, repo, rest, request)


def answer_resolve(hub: Hub, request: Request) -> Answer:
    """The answer of `/{repo}/resolve/{revision}/{path}`; raises Refused."""
    caller = _caller(hub, request)
    path = urlsplit(request.path).path
    cached = path.startswith(RESOLVE_CACHE)
    place = _cached_place(path) if cached else _resolved_place(path)
    if new := hub.renamed.get((place.kind, place.name)):
        return redirect(307, _resolve_path(place.kind, new, place.rest))
    repo = _readable(hub, caller, place)
    _check_gate(hub, caller, repo)
    commit, rest = _commit(hub, repo, place.rest)
    name = "/".join(map(unquote, rest))
    if (blob := commit.files.get(name)) is None:
        message = f'{name} does not exist on "{unquote(place.rest[0])}"'
        raise Refused(404, "EntryNotFound", message, {"X-Repo-Commit": commit.id})
    if blob.pointer is not None:
        return _to_cdn(hub, repo, commit, blob, name)
    if hub.resolve_cache and not cached:
        query = urlencode({path: "", "etag": blob.etag})
        location = f"{RESOLVE_CACHE}{repo.kind}/{repo.name}/{commit.id}/{'/'.join(rest)}?{query}"
        return redirect(307, location, {"X-Repo-Commit": commit.id})
    answer = _small(request, commit, blob, name)
    return _zipped(answer) if hub.zips and "gzip" in request.headers.get("accept-encoding", "") else answer


def _about(hub: Hub, repo: Repo, rest: Sequence[str], request: Request) -> Answer:
    commit, _ = _commit(hub, repo, rest or ("main",))
    query = _query(request)
    said = hub_api.about(repo, commit, blobs=_is_yes(query, "blobs"))
    if expand := {*query.get("expand", ()), *query.get("expand[]", ())}:
        said = {name: value for name, value in said.items() if name in expand | {"_id", "id"}}
    return found(said)


def _tree(hub: Hub, repo: Repo, rest: Sequence[str], request: Request) -> Answer:
    commit, folders = _commit(hub, repo, rest)
    query = _query(request)
    folder, expand = "/".join(map(unquote, folders)), _is_yes(query, "expand")
    entries = hub_api.tree(commit, folder, recursive=_is_yes(query, "recursive"), expand=expand)
    if entries is None:
        message = f'{folder} does not exist on "{unquote(rest[0])}"'
        raise Refused(404, "EntryNotFound", message, {"X-Repo-Commit": commit.id})
    return _page(hub, entries, request, hub.tree_page or (50 if expand else 1000))


def _commits(hub: Hub, repo: Repo, rest: Sequence[str], request: Request) -> Answer:
    commit, _ = _commit(hub, repo, rest or ("main",))
    answer = _page(hub, entries := hub_api.commits(commit), request, hub.commits_page)
    answer.headers["X-Total-Count"] = str(len(entries))
    return answer


def _refs(hub: Hub, repo: Repo, rest: Sequence[str], request: Request) -> Answer:
    return found(hub_api.refs(repo, pull_requests=_is_yes(_query(request), "include_prs")))


#: What the API says of a repository, by the segment after its name.
_SAID = {"revision": _about, "tree": _tree, "commits": _commits, "refs": _refs}


def _whoami(caller: _Caller) -> Answer:
    if caller.token is None:
        raise Refused(401, None, "Invalid username or password.", _ASK_TO_LOG_IN)
    token = {"displayName": "test", "role": "read"}
    return found({"type": "user", "name": "tester", "auth": {"type": "access_token", "accessToken": token}})


def _caller(hub: Hub, request: Request) -> _Caller:
    given = request.headers.get("authorization")
    if given is None:
        return _Caller(None, frozenset())
    token = given.removeprefix("Bearer ")
    if token not in hub.tokens:
        raise Refused(401, None, "Invalid credentials in Authorization header", _ASK_TO_LOG_IN)
    return _Caller(token, frozenset(hub.tokens[token]))


def _readable(hub: Hub, caller: _Caller, place: _Place) -> Repo:
    """The repository of a place. Whether there is none or it is another's is not told."""
    repo = hub.repos.get((place.kind, place.name))
    if repo is not None and repo.disabled:
        raise Refused(403, None, "Access to this resource is disabled.")
    if repo is not None and (not repo.private or repo.name in caller.may_read):
        return repo
    if caller.token is None:
        raise Refused(401, "RepoNotFound", "Invalid username or password.", _ASK_TO_LOG_IN)
    raise Refused(404, "RepoNotFound", "Repository not found")


def _check_gate(hub: Hub, caller: _Caller, repo: Repo) -> None:
    """Refuse who may not have the files of a gated repository, in the hub's words."""
    if not repo.gated or repo.name in caller.may_read:
        return
    what = f"{repo.kind.removesuffix('s')} {repo.name}"
    if caller.token is None:
        message = f"Access to {what} is restricted. You must have access to it and be authenticated to access it."
        raise Refused(401, "GatedRepo", f"{message} Please log in.", _ASK_TO_LOG_IN)
    if repo.name in hub.pending:
        raise Refused(403, "GatedRepo", f"Your request to access {what} is awaiting a review from the repo authors.")
    page = f"https://huggingface.co{_prefix(repo.kind)}/{repo.name}"
    message = f"Access to {what} is restricted and you are not in the authorized list. Visit {page} to ask for access."
    raise Refused(403, "GatedRepo", message)


def _commit(hub: Hub, repo: Repo, rest: Sequence[str]) -> tuple[Commit, Sequence[str]]:
    """The commit that the first segments name, and the segments after them. `refs/pr/1` may have come unencoded."""
    length = 3 if rest[0] == "refs" else 1
    revision = unquote("/".join(rest[:length]))
    commit = repo.find(revision, short=hub.short_commits)
    if commit is None:
        raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    return commit, rest[length:]


def _names(segments: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """How the segments after `/api/models/` may be read: as a name of two or of one, then a verb or nothing."""
    for length in (2, 1):
        rest = tuple(segments[length:])
        if len(segments) >= length and (not rest or rest[0] in _VERBS):
            yield "/".join(map(unquote, segments[:length])), rest


def _is_known(hub: Hub, place: _Place) -> bool:
    return (place.kind, place.name) in hub.repos.keys() | hub.renamed.keys()


def _resolved_place(path: str) -> _Place:
    segments = path.split("/")[1:]
    kind = segments[0] if segments[0] in KINDS[1:] else MODELS
    segments = segments[kind != MODELS :]
    if "resolve" not in segments[1:3] or len(segments) < segments.index("resolve", 1) + 3:
        raise Refused(404, None, _NO_PAGE)
    at = segments.index("resolve", 1)
    return _Place(kind, "/".join(map(unquote, segments[:at])), tuple(segments[at + 1 :]))


def _cached_place(path: str) -> _Place:
    kind, *segments = path.removeprefix(RESOLVE_CACHE).split("/")
    at = next((at for at in (1, 2) if at < len(segments) and _COMMIT.fullmatch(segments[at])), None)
    if at is None:
        raise Refused(404, None, _NO_PAGE)
    return _Place(kind, "/".join(map(unquote, segments[:at])), tuple(segments[at:]))


def _resolve_path(kind: str, name: str, rest: Sequence[str]) -> str:
    return "/".join((_prefix(kind), name, "resolve", *rest))


def _prefix(kind: str) -> str:
    return "" if kind == MODELS else f"/{kind}"


def _to_cdn(hub: Hub, repo: Repo, commit: Commit, blob: Blob, name: str) -> Answer:
    """The redirect of a large file; it says of the file what the CDN will not."""
    headers = {
        "X-Repo-Commit": commit.id,
        "X-Linked-Etag": blob.etag,
        "X-Linked-Size": str(len(blob.body)),
        "Accept-Ranges": "bytes",
    }
    if blob.xet_hash is not None:
        token = f"{hub.url}/api/{repo.kind}/{repo.name}/xet-read-token/{commit.id}"
        headers |= {"X-Xet-Hash": blob.xet_hash, "Link": f'<{token}>; rel="xet-auth"'}
    return redirect(302, hub.cdn_url + hub.cdn.sign(f"{repo.kind}/{repo.name}", blob, name), headers)


def _small(request: Request, commit: Commit, blob: Blob, name: str) -> Answer:
    shown = name.rpartition("/")[2]
    headers = {
        "X-Repo-Commit": commit.id,
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(shown, safe='')}; filename=\"{quote(shown)}\";",
    }
    if request.headers.get("if-none-match") == blob.etag:
        return Answer(304, {"ETag": blob.etag, **headers})
    return part(request, Content(blob.body, etag=blob.etag, content_type="text/plain; charset=utf-8", headers=headers))


def _zipped(answer: Answer) -> Answer:
    """The same by another coding, of which the ETag is another too: a weak one (RFC 9110, 8.8.3.3)."""
    headers = {**answer.headers, "Content-Encoding": "gzip", "ETag": f"W/{answer.headers['ETag']}"}
    headers.pop("Accept-Ranges", None)
    return Answer(200, headers, gzip.compress(answer.body))


def _page(hub: Hub, entries: Sequence[Any], request: Request, size: int) -> Answer:
    """A page of a list, and where the next one is."""
    asked = urlsplit(request.path)
    query = {name: values[0] for name, values in parse_qs(asked.query).items()}
    try:
        shown, cursor = hub_api.page(entries, query.get("cursor", ""), min(size, int(query.get("limit", size))))
    except ValueError:
        raise Refused(400, None, "Invalid cursor") from None
    following = f"{hub.link_origin}{asked.path}?{urlencode({**query, 'cursor': cursor})}"
    return found(shown, {} if cursor is None else {"Link": f'<{following}>; rel="next"'})


def _query(request: Request) -> Mapping[str, list[str]]:
    return parse_qs(urlsplit(request.path).query)


def _is_yes(query: Mapping[str, list[str]], name: str) -> bool:
    return query.get(name, ["false"])[0].lower() in ("true", "1")

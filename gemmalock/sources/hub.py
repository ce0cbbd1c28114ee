"""The hub: `hf://` sources, and whatever stands at `https://huggingface.co`, over a web source (ports.Source).

What the API says is `hub_papers`' to read. Here is what is asked, in which order, and what a refusal means: the hub
tells that in fields of its own. Where the hub is asked is the web source's: `HF_ENDPOINT` is a rewrite there.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from urllib.parse import quote

from gemmalock.errors import (
    ConnectionFailed,
    Forbidden,
    Gated,
    NotFound,
    PolicyRefused,
    RateLimited,
    ServerError,
    SourceError,
    TimedOut,
    Unauthorized,
)
from gemmalock.lockfile import COMMIT, HUB, file_in_repository
from gemmalock.ports import Answer, Ask, Listing, Probe
from gemmalock.sources.documents import Document, pages_of, read_document
from gemmalock.sources.fields import explained, quoted
from gemmalock.sources.http import HttpSource
from gemmalock.sources.hub_papers import (
    Info,
    Repository,
    file_of,
    probe_of,
    read_commits,
    read_info,
    read_refs,
    read_tree,
    repository_of,
)
from gemmalock.spec import scheme_of
from gemmalock.stopping import Stop

#: What the hub says of a request for access that nobody has answered yet.
_AWAITS = re.compile(r"await|pending|review", re.IGNORECASE)
#: How many pages of one thing are read: a thousand entries each.
_MOST_PAGES = 1000


class HubSource:
    """Repositories of the hub. `newest`: a branch or tag means its newest commit that is not younger."""

    def __init__(self, web: HttpSource, newest: datetime | None = None) -> None:
        self._web = web
        self._newest = newest

    def probe(self, url: str, stop: Stop) -> Probe:
        """As ports.Source has it: the hub says of a large file where it is, how large, and its digest."""
        file = file_of(url)
        if file is None:
            return self._web.probe(url, stop)
        if file.is_page:
            raise NotFound(
                f"`{url}` is the page about a file, not the file",
                hint=f"write `/resolve/` for `/blob/`, or give the model `source: {file.repository}`",
            )
        with _explained(file.repository, file.revision):
            try:
                found = self._web.head(url, probe_of, stop)
            except SourceError as error:
                if not _knows_no_head(error):
                    raise
                found = None
            return found or self._web.probe(url, stop)

    def list(self, source: str, stop: Stop) -> Listing:
        """As ports.Source has it: everything in a repository, at the commit that its ref is at. Raises Gated where its
        licence was not accepted."""
        if scheme_of(source) != "hf":
            return self._web.list(source, stop)
        repository, ref = repository_of(source)
        commit = self._settled(repository, ref, stop)
        info = self._info(repository, commit, stop)
        if COMMIT.fullmatch(commit) and info.commit != commit:
            message = f"`{repository.info_url(commit)}` answered with commit `{info.commit}`"
            raise SourceError(message, hint="is that a whole hub? see `HF_ENDPOINT`")
        probes: dict[str, Probe] = {}
        for page in self._pages(repository.tree_url(info.commit), repository, ref, stop):
            probes.update(read_tree(page.body, page.url))
        if info.gated and probes:
            self._check_access(repository, info.commit, probes, stop)
        return Listing(tuple(sorted(probes)), info.commit, info.license, probes)

    def open(self, ask: Ask, stop: Stop) -> Answer:
        """As ports.Source has it."""
        place = file_in_repository(ask.url)
        if place is not None:
            # As a mirror: at whatever commit its ref is; the lock's digest says whether it is the file.
            repository, ref = repository_of(place[0])
            ask = replace(ask, url=repository.file_url(quote(ref, safe=""), place[1]))
        file = file_of(ask.url)
        if file is None:
            return self._web.open(ask, stop)
        with _explained(file.repository, file.revision):
            return self._web.open(ask, stop)

    def close(self) -> None:
        """The web source is closed by who made it."""

    # --- what is asked -------------------------------------------------------------------------------------

    def _info(self, repository: Repository, ref: str, stop: Stop) -> Info:
        url = repository.info_url(ref)
        return read_info(self._document(url, repository, ref, stop).body, url)

    def _settled(self, repository: Repository, ref: str, stop: Stop) -> str:
        """The ref, or that of its commits which is the newest that is old enough. A commit is its user's own word."""
        if self._newest is None or COMMIT.fullmatch(ref):
            return ref
        for page in self._pages(repository.commits_url(ref), repository, ref, stop):
            for commit, moment in read_commits(page.body, page.url):
                if moment <= self._newest:
                    return commit
        raise PolicyRefused(
            f"`{repository}@{ref}` has no commit up to {self._newest.isoformat()}",
            hint="`exclude-newer` and `minimum-age` say how old it has to be; name a commit to have it all the same",
        )

    def _pages(self, url: str, repository: Repository, ref: str, stop: Stop) -> Iterator[Document]:
        def read(page_url: str) -> Document:
            return self._document(page_url, repository, ref, stop)

        return pages_of(url, read, lambda page: page.next_url, _MOST_PAGES)

    def _document(self, url: str, repository: Repository, ref: str, stop: Stop) -> Document:
        try:
            with _explained(repository, ref):
                return read_document(self._web, url, stop)
        except _RevisionNotFound as error:
            raise self._no_such_ref(repository, ref, error, stop) from error

    def _check_access(self, repository: Repository, commit: str, probes: Mapping[str, Probe], stop: Stop) -> None:
        """Raise Gated where the files of a gated repository are refused; its tree is for all to see."""
        name = next((name for name in probes if probes[name].sha256 is not None), next(iter(probes)))
        self.probe(repository.file_url(commit, name), stop)

    def _no_such_ref(self, repository: Repository, ref: str, error: SourceError, stop: Stop) -> SourceError:
        """The error of a ref that is not there, with near ones that are."""
        try:
            refs = read_refs(read_document(self._web, repository.refs_url, stop).body, repository.refs_url)
        except SourceError:
            refs = ()
        branch, _, path = ref.partition("/")
        if path and branch in refs:
            hint = f"write `{repository}@{branch}`, and `{quoted(path)}` among the `files`"
            return error.reworded(error.message, hint, NotFound)
        near = difflib.get_close_matches(ref, refs, n=3) or list(refs[:10])
        shown = ", ".join(f"`{quoted(each)}`" for each in near)
        return error.reworded(error.message, f"there is {shown}" if shown else error.hint, NotFound)


# --- what a refusal means ----------------------------------------------------------------------------------


class _RevisionNotFound(NotFound):
    """There is no such branch, tag or commit."""


def _explained(repository: Repository, ref: str) -> AbstractContextManager[None]:
    """What is raised inside says what the hub means by it."""
    return explained(lambda error: refusal(error, repository, ref))


def _knows_no_head(error: SourceError) -> bool:
    """Whether a mirror refuses HEAD rather than the file: some hang up, or say nothing."""
    return isinstance(error, ConnectionFailed | ServerError | TimedOut) or error.status == 405


def refusal(error: SourceError, repository: Repository, ref: str) -> SourceError | None:
    """What an answer of the hub means, by its `X-Error-Code` (SourceError.told); None where it says no more than its
    status does, or where it is one of another server, which the hub led to."""
    sent = f"`{error.credential}` was sent" if error.credential else "no token was sent"
    if error.told == "GatedRepo":
        return _gated(error, repository, sent)
    if error.told == "RepoNotFound":
        cure = f"which the token of `{error.credential}` may read" if error.credential else "with `HF_TOKEN` set"
        message = f"there is no `{repository}` on the hub, or it is private, and {sent}"
        return error.reworded(message, f"check the name; a private one is to be had {cure}", NotFound)
    if error.told == "RevisionNotFound":
        message = f"`{repository}` has no branch, tag or commit `{ref}`"
        return error.reworded(message, "check what follows `@`", _RevisionNotFound)
    if error.told == "EntryNotFound":
        message = f"{error.message}: `{repository}` has no such file at `{ref}`"
        return error.reworded(message, f"see {repository.page}", NotFound)
    if error.may_have_expired:
        return None
    if isinstance(error, Unauthorized) and error.credential:
        message = f"the hub does not accept the token of `{error.credential}`"
        return error.reworded(message, f"see {HUB}/settings/tokens")
    if isinstance(error, Forbidden) and error.said:
        return error.reworded(f"{error.message}: {error.said}")
    if isinstance(error, RateLimited):
        counted = f"it is counted for the token of `{error.credential}`"
        hint = counted if error.credential else "set `HF_TOKEN`: with one, the hub answers more"
        return error.reworded(error.message, hint)
    return None


def _gated(error: SourceError, repository: Repository, sent: str) -> SourceError:
    if error.credential and _AWAITS.search(error.said or ""):
        message = f"`{repository}` is gated, and the request of the account of `{error.credential}` awaits a review"
        return error.reworded(message, f"its authors have to accept it; see {repository.page}", Gated)
    who = f"as the account of `{error.credential}`" if error.credential else "and set `HF_TOKEN`"
    message = f"`{repository}` is gated: its licence has to be accepted, and {sent}"
    hint = f"accept it on {repository.page} {who}; access may have to be granted first"
    return error.reworded(message, hint, Gated)

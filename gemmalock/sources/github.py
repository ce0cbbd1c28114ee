"""Releases on GitHub: `github://` sources, and their files at `https://github.com`, over a web source (ports.Source).

What the API says is `github_papers`' to read. Here is what is asked, in which order, and what a refusal means. Where
GitHub is asked is the web source's: `GITHUB_API_URL` and `GITHUB_SERVER_URL` are rewrites there.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from urllib.parse import urlsplit

from gemmalock.errors import Forbidden, NotFound, PolicyRefused, RateLimited, SourceError, Unauthorized
from gemmalock.ports import Answer, Ask, Listing, Probe
from gemmalock.sources.documents import Document, pages_of, read_answer
from gemmalock.sources.fields import explained, quoted
from gemmalock.sources.github_papers import (
    About,
    Asset,
    AssetPlace,
    Release,
    Repository,
    place_of,
    read_about,
    read_assets,
    read_release,
    read_releases,
    repository_of,
)
from gemmalock.sources.http import HttpSource
from gemmalock.spec import scheme_of
from gemmalock.stopping import Stop

JSON = "application/vnd.github+json"
#: The API that is asked for: without it GitHub takes one of its own choice.
VERSION = (("X-GitHub-Api-Version", "2022-11-28"),)
BYTES = "application/octet-stream"
#: GitHub lists no more than 10,000 of anything, a hundred a page.
_MOST_PAGES = 100
_AGE_HINT = "`exclude-newer` and `minimum-age` say how old it has to be"


class GitHubSource:
    """Releases on GitHub; safe to use from many threads. `newest`: a release that was published later, and a file that
    was uploaded later, is not there yet."""

    def __init__(self, web: HttpSource, newest: datetime | None = None) -> None:
        self._web = web
        self._newest = newest
        #: What the API said of the releases that it was asked for.
        self._assets: dict[tuple[Repository, str], Mapping[str, Asset]] = {}
        self._abouts: dict[Repository, About] = {}
        self._asking = threading.Lock()
        #: Releases whose files are to be had by the API only.
        self._private: set[tuple[Repository, str]] = set()

    def probe(self, url: str, stop: Stop) -> Probe:
        """As ports.Source has it; of a private release, as the API says."""
        # What the API said before is told without another question.
        stop.check()
        place = _checked_place(url)
        if place is None:
            return self._web.probe(url, stop)
        if not self._is_private(place):
            try:
                return self._web.probe(url, stop)
            except NotFound as error:
                self._check_credential(error, place)
        asset = self._asset(place, stop)
        if asset.sha256 is not None or asset.size == 0:
            return asset.probe
        # Its ETag is that of where its bytes are.
        with closing(self._open_asset(Ask(url, 0, 1, asset.size), place, stop)) as answer:
            return replace(asset.probe, etag=answer.etag)

    def list(self, source: str, stop: Stop) -> Listing:
        """As ports.Source has it: the files of a release, at its tag; without one, of the latest. Raises PolicyRefused
        where it is younger than it may be."""
        if scheme_of(source) != "github":
            return self._web.list(source, stop)
        repository, tag = repository_of(source)
        release = self._latest(repository, stop) if tag is None else self._tagged(repository, tag, stop)
        assets = self._all_assets(repository, release, stop)
        about = self._about(repository, stop)
        self._assets[repository, release.tag] = assets
        if about.is_private:
            self._private.add((repository, release.tag))
        there = {name: asset for name, asset in assets.items() if self._is_old_enough(asset.created)}
        probes = {name: asset.probe for name, asset in there.items() if asset.sha256 is not None}
        return Listing(tuple(sorted(there)), release.tag, about.license, probes)

    def open(self, ask: Ask, stop: Stop) -> Answer:
        """As ports.Source has it: without the API, but of a private release, whose plain URLs nobody may ask."""
        place = _checked_place(ask.url)
        if place is None:
            return self._web.open(ask, stop)
        if not self._is_private(place):
            try:
                return self._web.open(ask, stop)
            except NotFound as error:
                self._check_credential(error, place)
        return self._open_asset(ask, place, stop)

    def close(self) -> None:
        """The web source is closed by who made it."""

    # --- which release -------------------------------------------------------------------------------------

    def _tagged(self, repository: Repository, tag: str, stop: Stop) -> Release:
        url = repository.release_url(tag)
        try:
            release = read_release(self._read(url, stop).body, url)
        except NotFound as error:
            raise self._no_such_release(repository, tag, error, stop) from error
        if release.tag != tag:
            raise SourceError(f"`{repository}@{tag}` is release `{quoted(release.tag)}` by GitHub's answer")
        if release.published is None or not self._is_old_enough(release.published):
            published = "is a draft" if release.published is None else f"was published {release.published.isoformat()}"
            bound = "" if self._newest is None else f", and nothing after {self._newest.isoformat()} is taken"
            raise PolicyRefused(f"`{repository}@{tag}` {published}{bound}", hint=f"{_AGE_HINT}; or name another tag")
        return release

    def _latest(self, repository: Repository, stop: Stop) -> Release:
        """The release that GitHub calls its latest, or the last one that is old enough."""
        url = repository.latest_url
        try:
            release = read_release(self._read(url, stop).body, url)
        except NotFound as error:
            raise self._no_such_release(repository, None, error, stop) from error
        if release.published is not None and self._is_old_enough(release.published):
            return release
        for page in self._pages(repository.releases_url, stop):
            old = {
                each.published: each
                for each in read_releases(page.body, page.url)
                if each.published is not None and self._is_old_enough(each.published) and not each.is_prerelease
            }
            if old:
                return old[max(old)]
        moment = "" if self._newest is None else self._newest.isoformat()
        raise PolicyRefused(f"`{repository}` has no release that was published up to {moment}", hint=_AGE_HINT)

    def _is_old_enough(self, moment: datetime) -> bool:
        return self._newest is None or moment <= self._newest

    def _no_such_release(self, repository: Repository, tag: str | None, error: SourceError, stop: Stop) -> SourceError:
        """The error of a release that is not there: with near tags, or without them where nothing is to be seen."""
        url = repository.releases_url
        try:
            releases = read_releases(self._read(url, stop).body, url)
        except NotFound as missing:
            return _no_such_repository(repository, missing)
        tags = [release.tag for release in releases]
        near = (difflib.get_close_matches(tag, tags, n=3) if tag is not None else []) or tags[:5]
        shown = ", ".join(f"`@{quoted(each)}`" for each in near)
        if tag is None and tags:
            return NotFound(f"`{repository}` has prereleases only", hint=f"name one: there is {shown}")
        if not tags:
            hint = f"a tag alone has no files: see {repository.releases_page}"
            return NotFound(f"`{repository}` has no releases", hint=hint)
        newest = "; without `@latest` it is the newest" if tag == "latest" else ""
        return NotFound(f"`{repository}` has no release `{tag}`", hint=f"there is {shown}{newest}")

    # --- what is asked of the API --------------------------------------------------------------------------

    def _read(self, url: str, stop: Stop) -> Document:
        with explained(refusal):
            return read_answer(self._web, Ask(url, accept=JSON, fields=VERSION), stop)

    def _pages(self, url: str, stop: Stop) -> Iterator[Document]:
        def following(page: Document) -> str | None:
            next_url = page.next_url
            if next_url is None:
                return None
            # Only which page it is: the API stays where it is, whatever an answer says. Not which, is the first again.
            query = urlsplit(next_url).query
            return f"{url.partition('?')[0]}?{query}" if query else url

        return pages_of(url, lambda page_url: self._read(page_url, stop), following, _MOST_PAGES)

    def _all_assets(self, repository: Repository, release: Release, stop: Stop) -> Mapping[str, Asset]:
        if not release.may_have_more:
            return {asset.name: asset for asset in release.assets}
        pages = self._pages(repository.assets_url(release.id), stop)
        return {asset.name: asset for page in pages for asset in read_assets(page.body, page.url)}

    def _about(self, repository: Repository, stop: Stop) -> About:
        """What a repository says of itself: one question, however many of its releases are wanted."""
        if repository not in self._abouts:
            try:
                about = read_about(self._read(repository.api, stop).body, repository.api)
            except NotFound:
                # A token may see releases and nothing else.
                about = About(None, is_private=False)
            self._abouts[repository] = about
        return self._abouts[repository]

    # --- private releases ----------------------------------------------------------------------------------

    def _is_private(self, place: AssetPlace) -> bool:
        return (place.repository, place.tag) in self._private

    def _asset(self, place: AssetPlace, stop: Stop) -> Asset:
        """What the API says of a file: one question a release. Raises NotFound."""
        key = (place.repository, place.tag)
        # Whoever comes second waits: they would ask the same.
        with self._asking:
            assets = self._assets.get(key)
            if assets is None:
                assets = self._all_assets(place.repository, self._release_of(place, stop), stop)
                self._assets[key] = assets
        asset = assets.get(place.name)
        if asset is None:
            message = f"release `{place.tag}` of `{place.repository}` has no file `{place.name}` any more"
            raise NotFound(message, hint=f"see {place.repository.releases_page}")
        return asset

    def _release_of(self, place: AssetPlace, stop: Stop) -> Release:
        """A release that the lock has, however young it is."""
        url = place.repository.release_url(place.tag)
        try:
            return read_release(self._read(url, stop).body, url)
        except NotFound as error:
            raise self._no_such_release(place.repository, place.tag, error, stop) from error

    def _open_asset(self, ask: Ask, place: AssetPlace, stop: Stop) -> Answer:
        asset = self._asset(place, stop)
        url = place.repository.asset_url(asset.id)
        try:
            with explained(refusal):
                answer = self._web.open(replace(ask, url=url, accept=BYTES, fields=VERSION), stop)
        except NotFound:
            # It was replaced since, and has another number.
            self._assets.pop((place.repository, place.tag), None)
            raise
        self._private.add((place.repository, place.tag))
        return answer

    def _check_credential(self, error: NotFound, place: AssetPlace) -> None:
        """Raise the error where the API would not say more: without a credential it shows what all may see."""
        if self._web.credential_for(place.repository.api) is None:
            hint = f"see {place.repository.releases_page}; if that is private, set `GITHUB_TOKEN`"
            raise error.reworded(error.message, hint) from error


def refusal(error: SourceError) -> SourceError | None:
    """What an answer of the API means; None where it says no more than its status does, or where it is one of another
    server, which the API led to."""
    if error.may_have_expired:
        return None
    if isinstance(error, RateLimited):
        sent = f"it is counted for the token of `{error.credential}`"
        hint = sent if error.credential else "set `GITHUB_TOKEN`: with one, GitHub answers far more"
        return error.reworded(error.message, hint)
    if isinstance(error, Unauthorized) and error.credential:
        message = f"GitHub does not accept the token of `{error.credential}`"
        return error.reworded(message, "renew it, or unset it: what is public needs none")
    if isinstance(error, Forbidden) and error.credential:
        message = f"{error.message}: the token of `{error.credential}` is not enough"
        hint = "it has to be for this repository's contents, and authorized where its organization has single sign-on"
        return error.reworded(message, hint)
    return None


def _no_such_repository(repository: Repository, error: SourceError) -> SourceError:
    if error.credential:
        message = f"there is no `{repository}` on GitHub, or the token of `{error.credential}` does not see it"
        return error.reworded(message, "check the name, and which repositories the token is for", NotFound)
    message = f"there is no `{repository}` on GitHub, or it is private, and no token was sent"
    return error.reworded(message, "check the name; a private one needs `GITHUB_TOKEN`", NotFound)


def _checked_place(url: str) -> AssetPlace | None:
    """The file of a release that a URL is of. Raises PolicyRefused for a source."""
    if scheme_of(url) == "github":
        hint = "give it as the model's `source`, and the file's name under `files`"
        raise PolicyRefused(f"`{url}` names a release, and no file of it", hint=hint)
    return place_of(url)

"""What GitHub's API says of releases, in values of ours. Pure: JSON in, values out; only the fields that are used are
looked at.

Their shapes: GitHub's REST API, version 2022-11-28, "Releases", "Release assets" and "Repositories".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, unquote

from gemmalock.errors import SourceError
from gemmalock.lockfile import GITHUB, GITHUB_API, GITHUB_SOURCE
from gemmalock.ports import Probe
from gemmalock.sources.api_json import Reading
from gemmalock.spec import SHA256

#: A page of a list has at most so many entries.
PER_PAGE = 100
#: A release's answer has its assets in it, and nothing says whether all: up to fewer than the shortest page, all.
_SURELY_ALL = 30
_ASSET = re.compile(rf"{re.escape(GITHUB)}/([A-Za-z0-9_-]+)/([A-Za-z0-9._-]+)/releases/download/([^/?#]+)/([^/?#]+)")
#: What a digest begins with that is a SHA-256.
_PREFIX = "sha256:"


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of GitHub."""

    owner: str
    name: str

    def __str__(self) -> str:
        return f"github://{self.owner}/{self.name}"

    @property
    def releases_page(self) -> str:
        """Its releases, for people."""
        return f"{GITHUB}/{self.owner}/{self.name}/releases"

    @property
    def api(self) -> str:
        """What the API has of it."""
        return f"{GITHUB_API}/repos/{self.owner}/{self.name}"

    @property
    def releases_url(self) -> str:
        """Its releases, the newest first; the first of the pages."""
        return f"{self.api}/releases?per_page={PER_PAGE}"

    @property
    def latest_url(self) -> str:
        """The release that GitHub calls its latest: no draft, and no prerelease."""
        return f"{self.api}/releases/latest"

    def release_url(self, tag: str) -> str:
        """The release of a tag."""
        return f"{self.api}/releases/tags/{quote(tag, safe='')}"

    def assets_url(self, release: int) -> str:
        """The assets of a release, by its number; the first of the pages."""
        return f"{self.api}/releases/{release}/assets?per_page={PER_PAGE}"

    def asset_url(self, asset: int) -> str:
        """The bytes of an asset, by its number, for whoever accepts `application/octet-stream`."""
        return f"{self.api}/releases/assets/{asset}"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of a release. `size` in bytes; `sha256` is None where GitHub has none of it, as of those before 2025."""

    id: int
    name: str
    size: int
    sha256: str | None
    created: datetime

    @property
    def probe(self) -> Probe:
        """What is known of it without asking for it."""
        return Probe(self.size, None, self.sha256)


@dataclass(frozen=True, slots=True)
class Release:
    """A release with those of its assets that were uploaded whole. `published` is None of a draft; `may_have_more`:
    these need not be all of its assets."""

    id: int
    tag: str
    published: datetime | None
    is_prerelease: bool
    assets: tuple[Asset, ...]
    may_have_more: bool = False


@dataclass(frozen=True, slots=True)
class About:
    """What a repository says of itself: its licence, as SPDX calls it, and whether not everybody sees it."""

    license: str | None
    is_private: bool


@dataclass(frozen=True, slots=True)
class AssetPlace:
    """A file of a release, by its URL."""

    repository: Repository
    tag: str
    name: str


def repository_of(source: str) -> tuple[Repository, str | None]:
    """The repository and the tag of a `github://` source; None where it has none. Raises SourceError."""
    found = GITHUB_SOURCE.fullmatch(source)
    if found is None:
        raise SourceError(f"`{source}` names no repository of GitHub", hint="write it as `github://owner/repo@tag`")
    return Repository(found["owner"], found["repo"]), found["tag"]


def place_of(url: str) -> AssetPlace | None:
    """The file of a release that a URL is of; None where it is of none."""
    found = _ASSET.fullmatch(url)
    if found is None or not GITHUB_SOURCE.fullmatch(f"github://{found[1]}/{found[2]}"):
        return None
    return AssetPlace(Repository(found[1], found[2]), unquote(found[3]), unquote(found[4]))


def read_release(body: bytes, url: str) -> Release:
    """A release. Raises SourceError."""
    reading = _reading(url)
    return _release(reading, reading.parsed(body))


def read_releases(body: bytes, url: str) -> tuple[Release, ...]:
    """The releases on a page of them, without drafts. Raises SourceError."""
    reading = _reading(url)
    releases = (_release(reading, each) for each in reading.list(reading.parsed(body)))
    return tuple(release for release in releases if release.published is not None)


def read_assets(body: bytes, url: str) -> tuple[Asset, ...]:
    """The assets on a page of them. Raises SourceError."""
    reading = _reading(url)
    return tuple(_assets(reading, reading.parsed(body)))


def read_about(body: bytes, url: str) -> About:
    """What a repository says of itself. Raises SourceError."""
    reading = _reading(url)
    told = reading.mapping(reading.parsed(body))
    license = told.get("license")
    named = license.get("spdx_id") if isinstance(license, dict) else None
    # NOASSERTION: there is a licence, and GitHub does not know it (SPDX 2.3, 7.13).
    known = isinstance(named, str) and re.fullmatch(r"[A-Za-z0-9.+-]{1,100}", named) and named != "NOASSERTION"
    return About(named if known else None, told.get("private") is True)


def _release(reading: Reading, value: object) -> Release:
    told = reading.mapping(value)
    assets = reading.list(told.get("assets"))
    is_draft = told.get("draft") is True
    return Release(
        reading.number(told.get("id"), "a release's number"),
        reading.line(told.get("tag_name"), "a release's tag"),
        None if is_draft else reading.moment(told.get("published_at")),
        told.get("prerelease") is True,
        tuple(_assets(reading, assets)),
        len(assets) >= _SURELY_ALL,
    )


def _assets(reading: Reading, value: object) -> Iterator[Asset]:
    for entry in reading.list(value):
        told = reading.mapping(entry)
        # One that is still being uploaded, or was never whole, has nothing to give.
        if told.get("state") != "uploaded":
            continue
        name = reading.line(told.get("name"), "an asset's name")
        yield Asset(
            reading.number(told.get("id"), "an asset's number"),
            name,
            reading.number(told.get("size"), "an asset's size"),
            _digest(reading, told.get("digest"), name),
            reading.moment(told.get("created_at")),
        )


def _digest(reading: Reading, value: object, name: str) -> str | None:
    if value is None or (isinstance(value, str) and not value.startswith(_PREFIX)):
        return None
    digest = value.removeprefix(_PREFIX) if isinstance(value, str) else ""
    if not SHA256.fullmatch(digest):
        raise reading.without("the digest", of=name)
    return digest


def _reading(url: str) -> Reading:
    return Reading(url, "is that GitHub's API? see `GITHUB_API_URL`")

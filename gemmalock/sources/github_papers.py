"""What GitHub's API says of releases, in values of ours. Pure: JSON in, values out; only the fields that are used are
looked at.

Their shapes: GitHub's REST API, version 2022-11-28, "Releases", "Release assets" and "Repositories".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote

from gemmalock.errors import SourceError
from gemmalock.lockfile import GITHUB, GITHUB_SOURCE
from gemmalock.ports import Probe
from gemmalock.spec import SHA256

#: Where the API is, whatever `GITHUB_API_URL` says.
API = "https://api.github.com"
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
        return f"{API}/repos/{self.owner}/{self.name}"

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
    return _release(_parsed(body, url), url)


def read_releases(body: bytes, url: str) -> tuple[Release, ...]:
    """The releases on a page of them, without drafts. Raises SourceError."""
    releases = (_release(each, url) for each in _list(_parsed(body, url), url))
    return tuple(release for release in releases if release.published is not None)


def read_assets(body: bytes, url: str) -> tuple[Asset, ...]:
    """The assets on a page of them. Raises SourceError."""
    return tuple(_assets(_parsed(body, url), url))


def read_about(body: bytes, url: str) -> About:
    """What a repository says of itself. Raises SourceError."""
    told = _mapping(_parsed(body, url), url)
    license = told.get("license")
    named = license.get("spdx_id") if isinstance(license, dict) else None
    # NOASSERTION: there is a licence, and GitHub does not know it (SPDX 2.3, 7.13).
    known = isinstance(named, str) and re.fullmatch(r"[A-Za-z0-9.+-]{1,100}", named) and named != "NOASSERTION"
    return About(named if known else None, told.get("private") is True)


def _release(value: object, url: str) -> Release:
    told = _mapping(value, url)
    tag, assets = _text(told.get("tag_name"), url, "a release's tag"), _list(told.get("assets"), url)
    is_draft = told.get("draft") is True
    return Release(
        _number(told.get("id"), url, "a release's number"),
        tag,
        None if is_draft else _moment(told.get("published_at"), url),
        told.get("prerelease") is True,
        tuple(_assets(assets, url)),
        len(assets) >= _SURELY_ALL,
    )


def _assets(value: object, url: str) -> Iterator[Asset]:
    for entry in _list(value, url):
        told = _mapping(entry, url)
        # One that is still being uploaded, or was never whole, has nothing to give.
        if told.get("state") != "uploaded":
            continue
        name = _text(told.get("name"), url, "an asset's name")
        yield Asset(
            _number(told.get("id"), url, f"the number of `{name}`"),
            name,
            _number(told.get("size"), url, f"the size of `{name}`"),
            _digest(told.get("digest"), name, url),
            _moment(told.get("created_at"), url),
        )


def _digest(value: object, name: str, url: str) -> str | None:
    if value is None or (isinstance(value, str) and not value.startswith(_PREFIX)):
        return None
    digest = value.removeprefix(_PREFIX) if isinstance(value, str) else ""
    if not SHA256.fullmatch(digest):
        raise _strange(url, f"a digest of `{name}` that is one")
    return digest


def _text(value: object, url: str, wanted: str) -> str:
    # What cannot be printed cannot be written in a URL either: JSON has halves of characters.
    if not isinstance(value, str) or not value or not value.isprintable():
        raise _strange(url, wanted)
    return value


def _number(value: object, url: str, wanted: str) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise _strange(url, wanted)
    return value


def _moment(value: object, url: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _strange(url, "a date with its time zone")
    return moment


def _parsed(body: bytes, url: str) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise _strange(url, "JSON") from None


def _mapping(value: object, url: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _strange(url, "an object")
    return value


def _list(value: object, url: str) -> list[Any]:
    if not isinstance(value, list):
        raise _strange(url, "a list")
    return value


def _strange(url: str, wanted: str) -> SourceError:
    hint = "is that GitHub's API? see `GITHUB_API_URL`"
    return SourceError(f"`{url.partition('?')[0]}` answered without {wanted}", hint=hint)

"""What the hub's API says, in values of ours. Pure: JSON in, values out. Only the fields that are used are looked at.

The API has no specification; what stands here is what the hub's own client reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from gemmalock.errors import SourceError
from gemmalock.lockfile import COMMIT, HUB, HUB_SOURCE, quoted
from gemmalock.ports import Probe
from gemmalock.sources.api_json import Reading, is_line
from gemmalock.spec import SHA256

#: A file's URL: the repository, the revision, the path; `blob` is its web page.
_FILE = re.compile(r"/((?:(?:datasets|spaces)/)?[^/]+(?:/[^/]+)??)/(resolve|blob|raw)/([^/]+)/(.+)")


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of the hub; `kind` is `models`, `datasets` or `spaces`."""

    kind: str
    id: str

    @property
    def page(self) -> str:
        """Its page, for people."""
        return f"{HUB}/{self.id}" if self.kind == "models" else f"{HUB}/{self.kind}/{self.id}"

    @property
    def api(self) -> str:
        """Where the API tells of it."""
        return f"{HUB}/api/{self.kind}/{quoted(self.id)}"

    def __str__(self) -> str:
        return f"hf://{self.id}" if self.kind == "models" else f"hf://{self.kind}/{self.id}"

    def info_url(self, ref: str) -> str:
        """What the API has of it at a branch, a tag, `refs/pr/N` or a commit."""
        return f"{self.api}/revision/{quote(ref, safe='')}"

    def tree_url(self, commit: str) -> str:
        """Everything in it at a commit; the first of the pages."""
        return f"{self.api}/tree/{commit}?recursive=true"

    def commits_url(self, ref: str) -> str:
        """The commits of a ref, the newest first; the first of the pages."""
        return f"{self.api}/commits/{quote(ref, safe='')}"

    @property
    def refs_url(self) -> str:
        """Its branches and tags."""
        return f"{self.api}/refs"

    def file_url(self, commit: str, name: str) -> str:
        """Where a file of it is."""
        return f"{self.page}/resolve/{commit}/{quoted(name)}"


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository by its URL. `is_page`: the URL is that of the page about it."""

    repository: Repository
    revision: str
    name: str
    is_page: bool = False


@dataclass(frozen=True, slots=True)
class Info:
    """What a repository is at a ref. `gated`: who wants its files has to accept its licence first."""

    commit: str
    gated: bool
    license: str | None


def repository_of(source: str) -> tuple[Repository, str]:
    """The repository and the ref of an `hf://` source; `main` where it has none. Raises SourceError."""
    found = HUB_SOURCE.fullmatch(source)
    if found is None:
        raise SourceError(f"`{source}` names no repository of the hub", hint="write it as `hf://owner/name@ref`")
    return Repository(found["kind"] or "models", found["id"]), found["ref"] or "main"


def file_of(url: str) -> HubFile | None:
    """The file that a URL of the hub is of; None where it is of none."""
    if not url.startswith(f"{HUB}/"):
        return None
    found = _FILE.fullmatch(urlsplit(url).path)
    if found is None:
        return None
    place, form, revision, name = found.groups()
    kind, slash, id = place.partition("/")
    inner = kind in ("datasets", "spaces") and slash
    repository = Repository(kind, id) if inner else Repository("models", place)
    return HubFile(repository, unquote(revision), unquote(name), form == "blob")


def read_info(body: bytes, url: str) -> Info:
    """What the API says of a repository at a ref. Raises SourceError."""
    reading = _reading(url)
    told = reading.mapping(reading.parsed(body))
    return Info(_hash(reading, told.get("sha")), told.get("gated") not in (None, False, "false"), _license(told))


def read_tree(body: bytes, url: str) -> Iterator[tuple[str, Probe]]:
    """The files on a page of a tree, by their names. Raises SourceError."""
    reading = _reading(url)
    for entry in reading.list(reading.parsed(body)):
        told = reading.mapping(entry)
        if told.get("type") != "file":
            continue
        name = reading.name(told.get("path"), "a file's name")
        size = reading.number(told.get("size"), "a file's size")
        oid, large = told.get("oid"), told.get("lfs")
        if isinstance(large, dict):
            sha256 = large.get("oid", large.get("sha256"))
            if not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
                raise reading.without("the digest", of=name)
            yield name, Probe(reading.number(large.get("size", size), "a file's size"), f'"{sha256}"', sha256)
        elif isinstance(oid, str) and COMMIT.fullmatch(oid):
            yield name, Probe(size, f'"{oid}"', None, oid)
        else:
            raise reading.without("the blob", of=name)


def read_commits(body: bytes, url: str) -> Iterator[tuple[str, datetime]]:
    """The commits on a page of them, each with its moment. Raises SourceError."""
    reading = _reading(url)
    for entry in reading.list(reading.parsed(body)):
        told = reading.mapping(entry)
        yield _hash(reading, told.get("id")), reading.moment(told.get("date"))


def read_refs(body: bytes, url: str) -> tuple[str, ...]:
    """The names of branches and tags. Raises SourceError."""
    reading = _reading(url)
    told = reading.mapping(reading.parsed(body))
    refs = (ref for kind in ("branches", "tags") for ref in reading.list(told.get(kind, [])))
    names = (reading.mapping(ref).get("name") for ref in refs)
    return tuple(name for name in names if isinstance(name, str))


def probe_of(status: int, headers: Mapping[str, str]) -> Probe | None:
    """What the answer to HEAD for a file says: of a large one, that it is linked; of a small one, its blob. None where
    it says neither."""
    tag = headers.get("x-linked-etag") or headers.get("etag") or ""
    length = headers.get("x-linked-size") or (headers.get("content-length") if status == 200 else None) or ""
    digest = tag.removeprefix("W/").strip('"')
    if not re.fullmatch(r"\d{1,18}", length):
        return None
    if SHA256.fullmatch(digest):
        return Probe(int(length), f'"{digest}"', digest)
    return Probe(int(length), f'"{digest}"', None, digest) if COMMIT.fullmatch(digest) else None


def _license(told: dict[str, Any]) -> str | None:
    card = told.get("cardData")
    named = card.get("license") if isinstance(card, dict) else None
    if isinstance(card, dict) and named == "other":
        named = card.get("license_name") or named
    if isinstance(named, list):
        named = ", ".join(each for each in named if isinstance(each, str))
    if not isinstance(named, str) or not named:
        tags = told.get("tags")
        tags = tags if isinstance(tags, list) else []
        named = next((tag[8:] for tag in tags if isinstance(tag, str) and tag.startswith("license:")), "")
    # One line, as a manifest has it; what no lock may hold is no licence.
    line = " ".join(named.split())
    return line[:200] if is_line(line) else None


def _hash(reading: Reading, value: object) -> str:
    if not isinstance(value, str) or not COMMIT.fullmatch(value):
        raise reading.without("a commit")
    return value


def _reading(url: str) -> Reading:
    return Reading(url, "is that a hub? see `HF_ENDPOINT`")

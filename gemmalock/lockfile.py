"""What was resolved: the lock as frozen, valid values, and its task IDs.

Reading and writing its JSON is the codec's. Nothing here opens a file. (The module is not called `lock`, because
`gemmalock.lock` is the library's verb.)
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gemmalock.paths import joined, path_problem
from gemmalock.spec import MAX_SIZE, SHA256, is_local, scheme_of

LOCK_NAME = "gemmalock.lock"
LOCK_VERSION = 1
#: The namespace of task IDs; schemas/README.md has the encoding and test vectors.
TASK_NAMESPACE = "6f0b8d2e-7c1a-5e43-9b57-3f6d1c0a9e24"
_NAMESPACE = bytes.fromhex(TASK_NAMESPACE.replace("-", ""))
#: A text as JSON: what `json.dumps` comes to for one, with `ensure_ascii=False`.
_json = json.encoder.encode_basestring
#: DQUOTE *etagc DQUOTE (RFC 9110, 8.8.3): no quotes, spaces or controls inside, so that it is safe in a header.
_STRONG = re.compile('"[!\x23-\x7e\x80-\xff]*"')
#: How a task ID is written (RFC 9562, 4).
TASK_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: A whole commit of git, SHA-1.
COMMIT = re.compile(r"[0-9a-f]{40}")
#: Where the hub is, whatever `HF_ENDPOINT` says.
HUB = "https://huggingface.co"
#: `hf://owner/name`, `hf://datasets/owner/name`, each with or without `@ref`.
HUB_SOURCE = re.compile(r"hf://(?:(?P<kind>datasets|spaces)/)?(?P<id>[^/@:]+(?:/[^/@:]+)?)(?:@(?P<ref>[^@]+))?")
#: One file of those, with its path after the ref; a ref with slashes is one of `refs/…/…`.
_HUB_FILE = re.compile(r"(hf://(?:(?:datasets|spaces)/)?[^/@]+/[^/@]+(?:@(?:refs/[^/@]+/[^/@]+|[^/@]+))?)/(.+)")
_RESOLVED = re.compile(r"/resolve/([0-9a-f]{40})/")
#: Where releases are, whatever `GITHUB_SERVER_URL` says.
GITHUB = "https://github.com"
#: Where they are described, whatever `GITHUB_API_URL` says.
GITHUB_API = "https://api.github.com"
#: `github://owner/repo`, with or without `@tag`. A tag may have `/` and `@` in it.
GITHUB_SOURCE = re.compile(
    r"(?i:github)://(?P<owner>[A-Za-z0-9_][A-Za-z0-9_-]*)/(?!\.\.?(?:@|$))(?P<repo>[A-Za-z0-9._-]+)(?:@(?P<tag>.+))?"
)
#: The schemes whose sources are repositories: one question tells all that is in them, at a revision that stays.
REPOSITORIES = frozenset({"hf", "github"})
#: The URL of a file: of (source, revision, name in the source). None: that cannot be told, or not without a revision.
UrlRule = Callable[[str, str | None, str], str | None]


def task_id(url: str, size: int, etag: str | None) -> str:
    """The name of the bytes that `url` had when it was locked: UUIDv5 (RFC 9562, 5.5) of the canonical JSON
    (RFC 8785, but every digit of a size beyond 2^53 too) of `[url, size, etag]` in TASK_NAMESPACE."""
    name = f"[{_json(url)},{size},{'null' if etag is None else _json(etag)}]"
    # As `uuid` does it, which takes 3 ms to import: version and variant stand in the digits 12 and 16 (RFC 9562, 4).
    digits = hashlib.sha1(_NAMESPACE + name.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digits[16], 16) & 0b11]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def is_strong(etag: str | None) -> bool:
    """Whether an entity tag is a strong validator as RFC 9110, 8.8.3 writes it: quoted, and without `W/`."""
    return etag is not None and _STRONG.fullmatch(etag) is not None


@dataclass(frozen=True, slots=True)
class LockedFile:
    """One file, pinned.

    `name` is its path inside the model, `path` its path inside the root, `size` in bytes, `sha256` 64 lower-case
    hexadecimal digits or None where no one published it, `etag` as the server sent it or None.
    """

    name: str
    path: str
    url: str
    size: int
    etag: str | None
    sha256: str | None
    task_id: str
    mirrors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for path in (self.path, self.name):
            if problem := path_problem(path):
                raise ValueError(f"path `{path}` {problem}")
        if not 0 <= self.size <= MAX_SIZE:
            raise ValueError(f"size {self.size} is not between 0 and 2^63 - 1")
        if self.sha256 is not None and not SHA256.fullmatch(self.sha256):
            raise ValueError(f"`{self.sha256}` is not 64 lower-case hexadecimal digits")

    @classmethod
    def pin(
        cls,
        *,
        name: str,
        path: str,
        url: str,
        size: int,
        etag: str | None,
        sha256: str | None,
        mirrors: tuple[str, ...] = (),
    ) -> LockedFile:
        """A locked file with the task ID that follows from its URL, size and ETag."""
        return cls(name, path, url, size, etag, sha256, task_id(url, size, etag), mirrors)

    @property
    def continuable(self) -> bool:
        """Whether a partial of this file can be proved to belong to it: by digest, or by a strong ETag."""
        return self.sha256 is not None or is_strong(self.etag)

    @property
    def needs_network(self) -> bool:
        """Whether its URL leads off this machine's file systems."""
        return not is_local(self.url)


@dataclass(frozen=True, slots=True)
class LockedModel:
    """A model, pinned. `revision` is the commit that `source` pointed at, where there is such a thing."""

    name: str
    files: tuple[LockedFile, ...]
    source: str | None = None
    revision: str | None = None
    license: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LockedManifest:
    """What one manifest was resolved to. `path` is the manifest's, from the lock's folder, with `/`."""

    path: str
    root: str
    declared: str
    models: tuple[LockedModel, ...]

    def __post_init__(self) -> None:
        # The root on its own too: below `apps/`, a root of `.` would be the manifest's own folder.
        for path in (self.path, self.root, self.root_path):
            if problem := path_problem(path):
                raise ValueError(f"path `{path}` {problem}")

    @property
    def folder(self) -> str:
        """The manifest's folder, from the lock's folder; empty where they are one."""
        return self.path.rpartition("/")[0]

    @property
    def root_path(self) -> str:
        """The root, from the lock's folder."""
        return joined(self.folder, self.root)

    def model(self, name: str) -> LockedModel | None:
        """The model of that name, or None."""
        return next((model for model in self.models if model.name == name), None)

    def files(self) -> Iterator[tuple[LockedModel, LockedFile]]:
        """Every file with its model, in the lock's order."""
        for model in self.models:
            for file in model.files:
                yield model, file


@dataclass(frozen=True, slots=True)
class Lock:
    """A whole lock: the manifests of a workspace, sorted by path."""

    manifests: tuple[LockedManifest, ...] = ()

    def manifest(self, path: str) -> LockedManifest | None:
        """What the manifest at that path was resolved to, or None."""
        return next((manifest for manifest in self.manifests if manifest.path == path), None)

    def nodes(self) -> Iterator[Node]:
        """Every file of the lock, in its order."""
        for manifest in self.manifests:
            for model, file in manifest.files():
                yield Node(manifest, model, file)


@dataclass(frozen=True, slots=True)
class Node:
    """One file of a lock together with where it stands."""

    manifest: LockedManifest
    model: LockedModel
    file: LockedFile

    @property
    def id(self) -> str:
        """The node ID: manifest, model and file, with `::` between them."""
        return f"{self.manifest.path}::{self.model.name}::{self.file.name}"

    @property
    def path(self) -> str:
        """The file's path from the workspace root."""
        return joined(self.manifest.root_path, self.file.path)


def is_under(id: str, prefix: str) -> bool:
    """Whether a node ID is the prefix, or below it: `a::m` does not mean `a::mini`."""
    return id == prefix or id.startswith((f"{prefix}::", f"{prefix}/"))


# --- places ----------------------------------------------------------------------------------------------


def source_url(source: str, revision: str | None, name: str) -> str | None:
    """The URL of the file `name` of a source, or None where the scheme has no rule here."""
    scheme = scheme_of(source)
    if scheme in ("http", "https", "file"):
        return below(source, revision, name)
    if scheme == "hf":
        if revision is None or not COMMIT.fullmatch(revision):
            return None
        repository = source.partition("://")[2].partition("@")[0]
        return f"{HUB}/{repository}/resolve/{revision}/{quoted(name)}"
    if scheme == "github":
        found = GITHUB_SOURCE.fullmatch(source)
        if found is None or revision is None:
            return None
        return asset_url(found["owner"], found["repo"], revision, name)
    return None


def asset_url(owner: str, repo: str, tag: str, name: str) -> str:
    """Where a file of a release is, written as GitHub itself does: a `/` in a tag is `%2F`."""
    from urllib.parse import quote

    return f"{GITHUB}/{owner}/{repo}/releases/download/{quote(tag, safe='')}/{quote(name, safe='')}"


def fixed_revision(source: str) -> str | None:
    """The revision that a source names and that another one in a lock does not follow from: a commit, or the tag of a
    release. None where it names what moves, or nothing."""
    if scheme_of(source) == "github":
        return source.partition("@")[2] or None
    ref = source.rpartition("@")[2]
    return ref if COMMIT.fullmatch(ref) else None


def in_repository(source: str) -> bool:
    """Whether a source is a repository, which is listed at a revision as a whole."""
    return scheme_of(source) in REPOSITORIES


def at_revision(source: str, revision: str | None) -> str:
    """The source at a revision of it, where its scheme has a way to say so and `revision` is known."""
    if revision is None or not in_repository(source):
        return source
    scheme, _, place = source.partition("://")
    return f"{scheme}://{place.partition('@')[0]}@{revision}"


def file_in_repository(url: str) -> tuple[str, str] | None:
    """The source and the name in it of a file that is declared as `hf://owner/name@ref/path`; None for other URLs."""
    found = _HUB_FILE.fullmatch(url)
    return (found[1], found[2]) if found is not None else None


def commit_of(url: str) -> str | None:
    """The commit in the URL of a hub's file."""
    found = _RESOLVED.search(url) if url.startswith(f"{HUB}/") else None
    return found[1] if found is not None else None


def is_declared(url: str, declared: str) -> bool:
    """Whether `url` is where a file is that a manifest declares by the URL `declared`: the same, or its pin."""
    place = file_in_repository(declared)
    if place is None:
        return url == declared
    source, name = place
    ref, commit = source.partition("@")[2], commit_of(url)
    return url == source_url(source, commit, name) and (commit == ref or not COMMIT.fullmatch(ref))


def below(source: str, revision: str | None, name: str) -> str:
    """The URL of the file `name` where a source is a folder: the name, written as in its URL, after it."""
    if is_local(source):
        # Percent escapes are decoded in file URLs too, and nothing else in them means anything.
        return f"{source.rstrip('/')}/{name.replace('%', '%25')}"
    return f"{source.rstrip('/')}/{quoted(name)}"


def quoted(name: str) -> str:
    """A path, percent-encoded for a URL (RFC 3986, 3.3); `/` stays."""
    from urllib.parse import quote

    return quote(name, safe="/!$&'()*+,;=:@~")


def follows(url: str, source: str, revision: str | None, name: str, rule: UrlRule = source_url) -> bool:
    """Whether `url` is where the file `name` of `source` is, at `revision`."""
    return url == rule(source, revision, name)

"""What a stand-in hub holds: repositories, their commits, refs and files. It knows nothing of HTTP.

Everything follows from what is put in: the same commits give the same 40 hexadecimal digits on every machine.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import yaml

MODELS = "models"
DATASETS = "datasets"
SPACES = "spaces"
#: The kinds of repositories; all but the first stand in the URL of a file.
KINDS = (MODELS, DATASETS, SPACES)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHORT = re.compile(r"[0-9a-f]{7,39}")
_FIRST_DATE = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
_FRONT_MATTER = re.compile(rb"---\r?\n(.*?)^---\r?$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Lfs:
    """The bytes of a file that the repository keeps outside of git; `xet_hash` where they are in Xet storage."""

    body: bytes
    xet_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Blob:
    """The bytes of one file: `oid` is what git calls it, and of an LFS file its `pointer` is what git has."""

    body: bytes
    sha256: str
    oid: str
    pointer: bytes | None = None
    xet_hash: str | None = None

    @classmethod
    def of(cls, content: bytes | Lfs) -> Blob:
        """The blob of a file as a test gives it."""
        if isinstance(content, bytes):
            return cls(content, hashlib.sha256(content).hexdigest(), git_oid("blob", content))
        sha256 = hashlib.sha256(content.body).hexdigest()
        pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize %d\n"
        pointer %= (sha256.encode(), len(content.body))
        return cls(content.body, sha256, git_oid("blob", pointer), pointer, content.xet_hash)

    @property
    def etag(self) -> str:
        """The ETag of the hub itself: of an LFS file its SHA-256, of a small one what git calls it."""
        return f'"{self.oid if self.pointer is None else self.sha256}"'


@dataclass(frozen=True, slots=True)
class Commit:
    """One state of a repository; `date` as ISO 8601 with milliseconds."""

    id: str
    parent: Commit | None
    date: str
    title: str
    files: Mapping[str, Blob]

    def history(self) -> Iterator[Commit]:
        """It and all before it."""
        commit: Commit | None = self
        while commit is not None:
            yield commit
            commit = commit.parent

    def last_change(self, path: str) -> Commit:
        """The commit that gave a file the bytes that it has here."""
        found = self
        for commit in self.history():
            if path not in commit.files or commit.files[path].oid != self.files[path].oid:
                break
            found = commit
        return found


@dataclass(slots=True)
class Repo:
    """A repository; see `tests.servers.hub` for what its settings do."""

    name: str
    kind: str = MODELS
    gated: bool | str = False
    private: bool = False
    hides_listing: bool = False
    disabled: bool = False
    card: Mapping[str, object] | None = None
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    def commit(
        self,
        files: Mapping[str, bytes | Lfs | None],
        *,
        branch: str = "main",
        date: str | None = None,
        title: str | None = None,
    ) -> str:
        """Put files on a branch, which a new one takes from `main`; None deletes one. The commit's 40 digits."""
        ref = branch if branch.startswith("refs/") else f"refs/heads/{branch}"
        parent = self.find(ref) or self.find("refs/heads/main")
        kept = dict(parent.files) if parent else {}
        for path, content in files.items():
            if content is None:
                del kept[path]
            else:
                kept[path] = Blob.of(content)
        made = self._made(parent, kept, date, title or f"Upload {', '.join(files)}")
        self.commits[made.id] = made
        self.refs[ref] = made.id
        return made.id

    def tag(self, name: str, revision: str = "main") -> str:
        """Give a revision a tag. The commit that it names."""
        return self._point(f"refs/tags/{name}", revision)

    def pull_request(self, files: Mapping[str, bytes | Lfs | None], *, date: str | None = None) -> str:
        """Propose a commit after `main`. The ref: `refs/pr/1` for the first."""
        ref = f"refs/pr/{1 + sum(name.startswith('refs/pr/') for name in self.refs)}"
        self.commit(files, branch=ref, date=date)
        return ref

    def move(self, branch: str, revision: str) -> str:
        """Let a branch, or a ref by its full name, point elsewhere, as a forced push does. The commit."""
        return self._point(branch if branch.startswith("refs/") else f"refs/heads/{branch}", revision)

    def delete(self, ref: str) -> None:
        """Delete a branch, a tag, or a ref by its full name. Its commits can still be had."""
        del self.refs[next(full for full in _full_names(ref) if full in self.refs)]

    def find(self, revision: str, *, short: bool = False) -> Commit | None:
        """The commit that a branch, tag, full ref or commit ID names; `short` also by its first digits."""
        for full in _full_names(revision):
            if full in self.refs:
                return self.commits[self.refs[full]]
        if _COMMIT.fullmatch(revision):
            return self.commits.get(revision)
        if short and _SHORT.fullmatch(revision):
            return next((commit for name, commit in self.commits.items() if name.startswith(revision)), None)
        return None

    def card_at(self, commit: Commit) -> Mapping[str, object] | None:
        """The model card's metadata: what was set, else the front matter of the README."""
        readme = commit.files.get("README.md")
        matter = _FRONT_MATTER.match(readme.body) if readme and self.card is None else None
        read = yaml.safe_load(matter[1]) if matter else None
        return read if isinstance(read, dict) else self.card

    def _made(self, parent: Commit | None, files: dict[str, Blob], date: str | None, title: str) -> Commit:
        when = date or _iso(_FIRST_DATE + datetime.timedelta(days=len(self.commits)))
        listed = "".join(f"{path}\0{files[path].oid}\n" for path in sorted(files))
        text = "\n".join((self.kind, self.name, parent.id if parent else "", when, title, listed))
        return Commit(git_oid("commit", text.encode()), parent, when, title, MappingProxyType(files))

    def _point(self, ref: str, revision: str) -> str:
        commit = self.find(revision)
        assert commit is not None, f"`{self.name}` has no `{revision}`"
        self.refs[ref] = commit.id
        return commit.id


def git_oid(kind: str, body: bytes) -> str:
    """What git calls an object: the SHA-1 of its kind, its size, a zero byte and its bytes."""
    return hashlib.sha1(b"%b %d\0%b" % (kind.encode(), len(body), body)).hexdigest()


def _full_names(ref: str) -> tuple[str, ...]:
    """In git's order (gitrevisions): the name itself, a tag, a branch."""
    return (ref, f"refs/tags/{ref}", f"refs/heads/{ref}")


def _iso(moment: datetime.datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"

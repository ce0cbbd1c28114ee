"""What a stand-in hub's API says of a repository, as JSON values. Pure: `tests.servers.hub` sends it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.servers.hub_repos import Blob, Commit, Repo, git_oid

#: What a scan of each file says, where `expand` asks for it.
_SAFE = {"status": "safe", "avScan": None, "pickleImportScan": None, "jFrogScan": None, "protectAiScan": None}


def about(repo: Repo, commit: Commit, *, blobs: bool) -> dict[str, Any]:
    """`/api/models/{repo}[/revision/{revision}]`; with `blobs` also how large each file is and what it is called."""
    *_, first = commit.history()
    said: dict[str, Any] = {
        "_id": git_oid("repo", f"{repo.kind}/{repo.name}".encode())[:24],
        "id": repo.name,
        "author": repo.name.split("/")[0] if "/" in repo.name else None,
        "sha": commit.id,
        "lastModified": commit.date,
        "createdAt": first.date,
        "private": repo.private,
        "gated": repo.gated,
        "disabled": repo.disabled,
        "downloads": 0,
        "likes": 0,
        "tags": _tags(repo, commit),
        "siblings": [_sibling(path, commit.files[path], blobs=blobs) for path in sorted(commit.files)],
    }
    if repo.kind == "models":
        said["modelId"] = repo.name
    if (card := repo.card_at(commit)) is not None:
        said["cardData"] = dict(card)
    return said


def tree(commit: Commit, folder: str, *, recursive: bool, expand: bool) -> list[dict[str, Any]] | None:
    """`…/tree/{revision}[/{folder}]`: folders and files in the order of their paths; None when there is no such."""
    prefix = f"{folder}/" if folder else ""
    below = sorted(path for path in commit.files if path.startswith(prefix))
    if folder and not below:
        return None
    listed: dict[str, dict[str, Any]] = {}
    for path in below:
        for parent in _parents(path, prefix):
            listed.setdefault(parent, _folder_entry(commit, parent, expand=expand))
        listed[path] = _file_entry(commit, path, expand=expand)
    names = sorted(listed)
    return [listed[name] for name in names if recursive or "/" not in name.removeprefix(prefix)]


def commits(commit: Commit) -> list[dict[str, Any]]:
    """`…/commits/{revision}`: the newest first."""
    authors = [{"user": "author", "avatar": ""}]
    return [
        {"id": each.id, "title": each.title, "message": "", "authors": authors, "date": each.date}
        for each in commit.history()
    ]


def refs(repo: Repo, *, pull_requests: bool) -> dict[str, list[dict[str, str]]]:
    """`…/refs`: branches, tags and what was converted; pull requests only where they are asked for."""
    groups = {"branches": "refs/heads/", "converts": "refs/convert/", "tags": "refs/tags/"}
    if pull_requests:
        groups["pullRequests"] = "refs/pr/"
    return {
        group: [
            {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": repo.refs[ref]}
            for ref in sorted(repo.refs)
            if ref.startswith(prefix)
        ]
        for group, prefix in groups.items()
    }


def paths_info(commit: Commit, paths: Sequence[str], *, expand: bool) -> list[dict[str, Any]]:
    """`…/paths-info/{revision}`: the entries of the tree for those of the paths that there are."""
    every = {entry["path"]: entry for entry in tree(commit, "", recursive=True, expand=expand) or ()}
    return [every[path] for path in paths if path in every]


def page(entries: Sequence[Any], cursor: str, size: int) -> tuple[Sequence[Any], str | None]:
    """The page that begins at a cursor (empty: the first), and the next one's cursor. ValueError for a bad one."""
    start = int(base64.urlsafe_b64decode(cursor or b"MA==").decode("ascii"))
    after = start + size
    following = base64.urlsafe_b64encode(str(after).encode()).decode() if after < len(entries) else None
    return entries[start:after], following


def _tags(repo: Repo, commit: Commit) -> list[str]:
    card = repo.card_at(commit) or {}
    named = card.get("tags")
    licences = card.get("license")
    tags = [str(tag) for tag in named] if isinstance(named, list) else []
    listed = licences if isinstance(licences, list) else [licences] if licences else []
    return [*tags, *(f"license:{licence}" for licence in listed)]


def _sibling(path: str, blob: Blob, *, blobs: bool) -> dict[str, Any]:
    said: dict[str, Any] = {"rfilename": path}
    if blobs:
        said |= {"size": len(blob.body), "blobId": blob.oid}
        if blob.pointer is not None:
            said["lfs"] = {"sha256": blob.sha256, "size": len(blob.body), "pointerSize": len(blob.pointer)}
    return said


def _parents(path: str, prefix: str) -> Iterator[str]:
    """The folders of a path that are below a prefix, from the top."""
    *folders, _ = path.removeprefix(prefix).split("/")
    for depth in range(1, len(folders) + 1):
        yield prefix + "/".join(folders[:depth])


def _folder_entry(commit: Commit, path: str, *, expand: bool) -> dict[str, Any]:
    inside = [name for name in sorted(commit.files) if name.startswith(f"{path}/")]
    listed = "".join(f"{name}\0{commit.files[name].oid}\n" for name in inside)
    entry: dict[str, Any] = {"type": "directory", "oid": git_oid("tree", listed.encode()), "size": 0, "path": path}
    if expand:
        entry["lastCommit"] = _last(max((commit.last_change(name) for name in inside), key=lambda made: made.date))
    return entry


def _file_entry(commit: Commit, path: str, *, expand: bool) -> dict[str, Any]:
    blob = commit.files[path]
    entry: dict[str, Any] = {"type": "file", "oid": blob.oid, "size": len(blob.body), "path": path}
    if blob.pointer is not None:
        entry["lfs"] = {"oid": blob.sha256, "size": len(blob.body), "pointerSize": len(blob.pointer)}
    if blob.xet_hash is not None:
        entry["xetHash"] = blob.xet_hash
    if expand:
        entry |= {"lastCommit": _last(commit.last_change(path)), "securityFileStatus": _SAFE}
    return entry


def _last(commit: Commit) -> Mapping[str, str]:
    return {"id": commit.id, "title": commit.title, "date": commit.date}

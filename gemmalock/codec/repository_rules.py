"""What names a repository in a manifest: the forms of `hf://` and `github://`, and what is often written instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from gemmalock.codec.url_rules import Wrong
from gemmalock.escaping import shown
from gemmalock.lockfile import GITHUB_SOURCE, HUB_SOURCE, file_in_repository
from gemmalock.spec import scheme_of

#: What no name in git has (git-check-ref-format), besides white space and backslashes, which no URL has.
_NO_TAG = re.compile(r"\.\.|@\{|[~^:?*\[]|//|^[/.]|/\.|[/.]$|\.lock(?:/|$)|^@$")
#: What the API has before the name of a model, and a source has not.
_MODELS = "hf://models/"
_HUB_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_GITHUB_HOSTS = frozenset({"github.com", "www.github.com"})


def repository_wrong(url: str, *, is_file: bool) -> Wrong | None:
    """Why a URL names no repository, or is the address of a page about one; where it is to name a file, why not."""
    rule = _RULES.get(scheme_of(url))
    return rule(url, is_file) if rule is not None else None


def _hub_wrong(url: str, is_file: bool) -> Wrong | None:
    """Why an `hf://` URL names no repository, or, where it is to name a file, none in a repository."""
    if is_file and file_in_repository(url) is None:
        return Wrong(f"`{shown(url)}` names no file on the hub", "write it as `hf://owner/name@ref/path`")
    if not is_file and (not HUB_SOURCE.fullmatch(url) or url.startswith(_MODELS)):
        return Wrong(f"`{shown(url)}` names no repository of the hub", _hub_hint(url))
    return None


def _hub_hint(url: str) -> str:
    """The repository that was meant, where something was written before, into or after it."""
    meant = url.replace(_MODELS, "hf://", 1)
    place, colon, ref = meant.removeprefix("hf://").partition(":")
    if colon and "@" not in place:
        # As images and some clients name a revision.
        meant = f"hf://{place}@{ref}"
    inside = file_in_repository(meant)
    if HUB_SOURCE.fullmatch(meant):
        return f"write it as `{shown(meant)}`"
    if inside is not None:
        return f"write `{shown(inside[0])}`, and `{shown(inside[1])}` among its `files`"
    return "write it as `hf://owner/name@ref`"


def _page_wrong(url: str, is_file: bool) -> Wrong | None:
    """Why the address of a page about a repository is no source: it is for people, and no file is below it."""
    if is_file:
        return None
    parts = urlsplit(url)
    steps = [step for step in parts.path.split("/") if step]
    if parts.hostname in _HUB_HOSTS:
        kind = steps[:1] if steps[:1] in (["datasets"], ["spaces"]) else []
        name, after = steps[len(kind) : len(kind) + 2], steps[len(kind) + 2 :]
        if name and (not after or after[0] in ("tree", "blob")):
            meant = "hf://" + "/".join((*kind, *name)) + (f"@{after[1]}" if len(after) > 1 else "")
            return Wrong(f"`{shown(url)}` is a page, and no source", _hub_hint(meant))
    if parts.hostname in _GITHUB_HOSTS and len(steps) > 1:
        after = steps[2:]
        if not after or after[0] in ("tree", "blob") or (after[0] == "releases" and after[1:2] != ["download"]):
            return Wrong(f"`{shown(url)}` is a page, and no source", _github_hint(url))
    return None


def _github_wrong(url: str, is_file: bool) -> Wrong | None:
    """Why a `github://` URL names no release, or stands where a file's URL has to."""
    found = GITHUB_SOURCE.fullmatch(url)
    if found is None or found["repo"].endswith(".git"):
        return Wrong(f"`{shown(url)}` names no repository of GitHub", _github_hint(url))
    if found["tag"] is not None and _NO_TAG.search(found["tag"]):
        hint = "write the tag as it is, or nothing from the `@` on, which is the latest release"
        return Wrong(f"`{shown(found['tag'])}` is no tag that git could have", hint)
    if is_file:
        hint = "make it the `source` of the model, and name the file among its `files`"
        return Wrong(f"`{shown(url)}` names a release, and no file of it", hint)
    return None


def _github_hint(url: str) -> str:
    """The repository that was meant, where the address of a page was written."""
    place, _, tag = url.partition("://")[2].partition("@")
    parts = [part for part in place.split("/") if part.lower() not in ("", "github.com", "www.github.com")]
    if not tag and parts[2:4] == ["releases", "tag"]:
        tag = "/".join(parts[4:])
    elif not tag and parts[2:4] == ["releases", "download"]:
        tag = "/".join(parts[4:-1])
    meant = f"github://{'/'.join(parts[:2]).removesuffix('.git')}" + (f"@{tag}" if tag else "")
    sound = meant if GITHUB_SOURCE.fullmatch(meant) else "github://owner/repo@tag"
    return f"write it as `{shown(sound)}`"


#: Scheme → its rule: why a URL is wrong, which may have to name a file.
_RULES: Mapping[str, Callable[[str, bool], Wrong | None]] = {
    "hf": _hub_wrong,
    "github": _github_wrong,
    "http": _page_wrong,
    "https": _page_wrong,
}

"""Which bytes may stand in one file together. Pure: rules on validators (RFC 9110, 8.8.3 and 15.3.7.3).

Bytes that came under different validators are never combined, unless the digest of the whole decides in the end and
the validators prove nothing against it: they are of different origins, or not both strong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from gemmalock.journal import Chunk, Validator
from gemmalock.lockfile import LockedFile, is_strong

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Doubt:
    """Chunks that may not be used, and why, as a sentence."""

    indexes: frozenset[int]
    why: str


def clash(file: LockedFile, kept: Iterable[Validator], new: Validator) -> str | None:
    """Why bytes under `new` may not be joined to bytes under `kept`, as a sentence, or None when they may."""
    for old in kept:
        if file.sha256 is None:
            if old != new or not is_strong(new.etag):
                return f"the source's ETag is {shown(new.etag)}, the bytes that are here came with {shown(old.etag)}"
        elif _contradict(old, new):
            return f"the source's ETag is {shown(new.etag)}, the bytes that are here came with {shown(old.etag)}"
    return None


def doubtful(file: LockedFile, chunks: Mapping[int, Chunk]) -> Doubt | None:
    """The chunks of an earlier run that may not be continued as `file`, or None when all may."""
    if not chunks:
        return None
    if not file.continuable:
        what = "weak" if file.etag else "missing"
        return Doubt(frozenset(chunks), f"nothing could prove them: the lock has no digest, and the ETag is {what}")
    weights: Counter[Validator] = Counter()
    for chunk in chunks.values():
        weights[chunk.validator] += chunk.length
    trusted: list[Validator] = []
    for validator, _ in weights.most_common():
        right = file.sha256 is not None or validator.etag == file.etag
        if right and clash(file, trusted, validator) is None:
            trusted.append(validator)
    dropped = frozenset(index for index, chunk in chunks.items() if chunk.validator not in trusted)
    return Doubt(dropped, "they came under another ETag than the rest, or than the locked one") if dropped else None


def changed(file: LockedFile, found: Validator, url: str) -> str | None:
    """Why the source seems to have another file than the locked one, as a sentence, or None.

    Only an ETag of the origin that was asked is compared, by weak comparison: that of a server it redirects to names
    the same bytes in its own way.
    """
    if file.etag is None or found.etag is None or url != file.url or not same_origin(found.origin, url):
        return None
    if file.etag.removeprefix("W/") == found.etag.removeprefix("W/"):
        return None
    return f"the source now has another file: its ETag is {shown(found.etag)}, the lock has {shown(file.etag)}"


def telling(file: LockedFile, found: Validator, url: str) -> Validator:
    """A validator without what tells nothing of the file.

    The ETag of a server that was redirected to is its own business: that of a CDN may be another one on each node, or
    at each request. Where the lock has a digest, that decides, and such a tag is neither sent nor compared.
    """
    if file.sha256 is None or same_origin(found.origin, url):
        return found
    return Validator(None, found.origin)


def same_origin(one: str, other: str) -> bool:
    """Whether two URLs have the same scheme, host and port (RFC 6454, 5)."""
    return origin_of(one) == origin_of(other)


def origin_of(url: str) -> tuple[str, str | None, int | None]:
    """The scheme, host and port of a URL."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def shown(etag: str | None) -> str:
    """An ETag as messages show it."""
    return "missing" if etag is None else f"`{etag}`"


def _contradict(old: Validator, new: Validator) -> bool:
    return old.origin == new.origin and is_strong(old.etag) and is_strong(new.etag) and old.etag != new.etag

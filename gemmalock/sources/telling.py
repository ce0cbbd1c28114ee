"""What the head of an answer says of a file. Pure: a status and fields in, a probe out."""

from __future__ import annotations

from collections.abc import Mapping

from gemmalock.ports import Probe
from gemmalock.sources.fields import parse_repr_digest
from gemmalock.sources.ranges import content_length, etag_of, parse_content_range


def told_of(status: int, headers: Mapping[str, str]) -> Probe:
    """Size, ETag and digest of the file; nothing of one that comes coded. `headers` have lower-case names."""
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        return Probe(None, None, None)
    digest = parse_repr_digest(headers["repr-digest"]) if "repr-digest" in headers else None
    return Probe(_size(status, headers), etag_of(headers), digest)


def is_enough(told: Probe) -> bool:
    """Whether an answer to HEAD can be believed: servers that build pages say 0, and a weak tag often is the mark of
    a coded answer, which a GET does without."""
    return bool(told.size) and not (told.etag or "").startswith("W/")


def _size(status: int, headers: Mapping[str, str]) -> int | None:
    """The size of the whole file, in bytes; None where that is not told."""
    if status in (206, 416):
        told = parse_content_range(headers.get("content-range", ""))
        return told.total if told is not None and told.unit == "bytes" else None
    if status == 200:
        return content_length(headers)
    return 0 if status == 204 else None

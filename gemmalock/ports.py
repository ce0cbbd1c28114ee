"""What the resolver and the executor need of the world, as Protocols: here of the places that files come from, in
`machine` of this one. A docstring there is a contract: every implementation, the in-memory twins of the tests too,
passes the conformance suite of its port.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gemmalock.stopping import Stop


@dataclass(frozen=True, slots=True)
class Probe:
    """What a source says of a file without sending it. `size` is None when it will not tell. `blob`: the SHA-1 that git
    has of it (gitglossary, "blob object"), where the source is a repository and has no better digest."""

    size: int | None
    etag: str | None
    sha256: str | None
    blob: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """What is in a source: every name (with `/`), and the revision they were listed at, where there is one.

    `license`: what the source says of its licence. `probes`: what it says of its files, by name; one that is not among
    them is asked for by itself.
    """

    names: tuple[str, ...]
    revision: str | None = None
    license: str | None = None
    probes: Mapping[str, Probe] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for the bytes [start, end) of a file whose whole size is `size`; all None: the whole, unknown size.

    `etag` is the locked one. `validator` and `validator_origin` are those of the bytes that are here already: the
    source sends a strong one as If-Range to that origin only. `proven`: the lock has a digest, so that bytes may be
    continued without a validator. `accept`: the media types that are wanted (RFC 9110, 12.5.1); `fields`: what else the
    request says, to every hop, and so no secrets.
    """

    url: str
    start: int = 0
    end: int | None = None
    size: int | None = None
    etag: str | None = None
    validator: str | None = None
    validator_origin: str | None = None
    proven: bool = False
    accept: str = "*/*"
    fields: tuple[tuple[str, str], ...] = ()


class Restarted(Enum):
    """Why a source sends the whole although a part was wanted; the value is its sentence, for an Ask and its Answer."""

    OTHER_ORIGIN = (
        "the bytes here came from `{ask.validator_origin}`, this is `{answer.origin}`, and the lock has no digest"
    )
    NO_PROOF = "nothing could prove that the rest belongs to the bytes here"
    #: What If-Range is for: the server has ranges, and another file.
    CHANGED = "the bytes here came with ETag `{ask.validator}`, the server's now have {etag}"
    #: The server knows no ranges, or has none of this file just now.
    IGNORED = "the server answered a request for the bytes from {ask.start} on with the whole file"

    def told(self, ask: Ask, answer: Answer) -> str:
        """As a sentence."""
        etag = "none" if answer.etag is None else f"`{answer.etag}`"
        return self.value.format(ask=ask, answer=answer, etag=etag)


class Answer(Protocol):
    """An open body: the bytes from `start` on, at most up to `end` (None: unknown), as the file has them.

    `restarted` is None, or why the source sends the whole although a part was asked for, or was to be had only so.
    `delimited`: a body that is cut short tells itself; else whoever knows no size cannot know that it is whole.
    """

    start: int
    end: int | None
    etag: str | None
    origin: str
    restarted: Restarted | None
    delimited: bool

    def readinto(self, buffer: memoryview) -> int:
        """Fill at most the whole buffer; 0 at the end of the body. Raises SourceError (a cut body: ConnectionFailed,
        silence or a trickle: TimedOut) and Interrupted."""

    def close(self) -> None:
        """Let go of the connection. Never raises."""


class Source(Protocol):
    """A place that files come from. One request a call; retrying is a wrapper's. All raise SourceError."""

    def probe(self, url: str, stop: Stop) -> Probe:
        """Size, ETag and published digest of a file, without its body where the source allows that."""

    def list(self, source: str, stop: Stop) -> Listing:
        """Every file of a source. Raises NotFound, or PolicyRefused where a scheme cannot be listed."""

    def open(self, ask: Ask, stop: Stop) -> Answer:
        """The bytes asked for. Raises RangeRefused when a range was not answered as asked, UpstreamChanged or
        SizeMismatch when the source says that it has another file now."""

    def close(self) -> None:
        """Let go of all connections."""

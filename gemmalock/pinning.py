"""One declared file → its pin in the lock: as the old lock has it, or by asking its source. It sees the world through
`Asker` only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from gemmalock.errors import (
    DigestMismatch,
    FileError,
    PolicyRefused,
    SizeMismatch,
    UpstreamChanged,
)
from gemmalock.lockfile import LockedFile, is_strong
from gemmalock.paths import path_problem
from gemmalock.ports import Listing, Probe
from gemmalock.spec import FileSpec, Manifest

#: Below this many bytes a file without a published digest is fetched and hashed by `lock`.
SMALL = 1024 * 1024
#: No file of more than so many bytes is read by `lock`: an index of a thousand shards has a few MiB.
MOST_TEXT = 64 * 1024 * 1024
#: Questions under way at once: over a long way each waits for its round trip, and hardly anything else.
ASKERS = 48
#: With so many it begins: a server nearby answers two faster than Python takes turns between many.
FIRST_ASKERS = 2


class Learned(NamedTuple):
    """What fetching a file taught: its size in bytes, its digest, and the ETag it came with. `delimited`: had it been
    cut short on its way, that would have been noticed."""

    size: int
    sha256: str
    etag: str | None
    delimited: bool = True


class Asker(Protocol):
    """What the resolver asks of the world. Every call may be made from any thread, and may raise FileError. The IDs of
    files and models are for those who watch."""

    def probe(self, file: Unlocked) -> Probe:
        """Size, ETag and published digest of the file's URL."""

    def list(self, id: str, source: str, *, is_pinned: bool = False) -> Listing:
        """Every file of a model's source. `is_pinned`: at the revision that the lock has, however new that is."""

    def source_url(self, source: str, revision: str | None, name: str) -> str | None:
        """The URL of a file of a source, as lockfile.UrlRule has it, also for schemes of plugins. Asks no source."""

    def meant(self, declared: str) -> Manifest | None:
        """The manifest that has this digest (Manifest.declared), or None where nobody remembers it. Asks no source."""

    def learn(self, file: Unlocked, probe: Probe) -> Learned:
        """Fetch the file, into the store where that can be, and hash it. Raises DigestMismatch where it is not the blob
        that `probe` tells of."""

    def text(self, file: Unlocked) -> bytes:
        """The bytes of a file that has to be read before more can be told: of its pin, where that may stay. They come
        by `learn`, once, unless they are here. Raises PolicyRefused for more than MOST_TEXT."""

    def map(self, asks: Iterable[Unlocked]) -> Iterable[Pinned]:
        """`pin` of each, many at once, in order."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of a resolution. `upgrade`: everything anew; `upgrade_models`: those models anew, by name or by
    node ID; `hash_all`: also large files without a published digest are fetched and hashed."""

    upgrade: bool = False
    upgrade_models: frozenset[str] = frozenset()
    hash_all: bool = False

    def renews(self, id: str) -> bool:
        """Whether the model of that node ID is to be asked for anew."""
        return self.upgrade or id in self.upgrade_models or id.split("::")[1] in self.upgrade_models


# What there is one of for each file is a named tuple: it takes a quarter of the time of a frozen dataclass to make.
class Unlocked(NamedTuple):
    """A declared file that is to be pinned. `pinned` is what the old lock has of it, if that may stay; `before` what it
    has of this URL, else of this name in the model, whether or not that is to be asked for anew; `source` is the one
    that it is a name in, if it has no `spec`; `told`: what a listing of that source says of it."""

    id: str
    name: str
    path: str
    url: str
    spec: FileSpec | None
    pinned: LockedFile | None
    mirrors: tuple[str, ...] = ()
    before: LockedFile | None = None
    source: str | None = None
    told: Probe | None = None

    @property
    def manifest(self) -> str:
        """The path of its manifest."""
        return self.id.split("::")[0]

    @property
    def model(self) -> str:
        """The name of its model."""
        return self.id.split("::")[1]


class Pinned(NamedTuple):
    """What became of one file: a pin, or why there is none. `asked`: a source was asked, which took `seconds`."""

    file: Unlocked
    locked: LockedFile | None
    asked: bool
    error: FileError | None = None
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


def has_to_be_asked(file: Unlocked) -> bool:
    """Whether `pin` asks for a probe of the file: neither the old lock nor a listing tells."""
    return file.pinned is None and file.told is None and not path_problem(file.path)


def is_known(file: Unlocked, probe: Probe | None, wish: Wish) -> bool:
    """Whether all that `pin` needs is known, where `probe` is what was told of the file: it asks no source then."""
    if path_problem(file.path):
        return True
    if file.pinned is not None:
        return file.pinned.sha256 is not None or not wish.hash_all
    return probe is not None and not _has_to_be_read(_believed(file, probe), probe, wish)


def pin(file: Unlocked, wish: Wish, asker: Asker) -> Pinned:
    """Pin one file: as the old lock has it, or by asking its source. Declared digest and size are believed over the
    server's."""
    if problem := path_problem(file.path):
        unsafe = PolicyRefused(f"path `{file.path}` {problem}", hint="name the file by `url` and give it a `path`")
        return Pinned(file, None, asked=False, error=unsafe)
    if file.pinned is not None and is_known(file, None, wish):
        return Pinned(file, file.pinned, asked=False)
    try:
        if file.pinned is not None:
            return Pinned(file, _hashed(file, file.pinned, asker), asked=True)
        return _asked(file, wish, asker)
    except FileError as error:
        return Pinned(file, None, asked=True, error=error)


def _asked(file: Unlocked, wish: Wish, asker: Asker) -> Pinned:
    probe = file.told or asker.probe(file)
    warnings = tuple(_contradictions(file, probe))
    (size, sha256), etag = _believed(file, probe), probe.etag
    if _has_to_be_read((size, sha256), probe, wish):
        learned = asker.learn(file, replace(probe, size=size))
        _check_declared(file, learned)
        warnings += tuple(_doubts(file, learned))
        # What names a blob in its repository is no server's word of the moment.
        size, etag = learned.size, learned.etag if probe.blob is None else etag
        sha256 = sha256 or learned.sha256
    assert size is not None
    locked = LockedFile.pin(
        name=file.name, path=file.path, url=file.url, size=size, etag=etag, sha256=sha256, mirrors=file.mirrors
    )
    if sha256 is None and file.before is not None and file.before.task_id == locked.task_id and is_strong(etag):
        # The very bytes whose digest was learned before: asking again is no reason to forget it.
        locked = replace(locked, sha256=file.before.sha256)
    return Pinned(file, locked, asked=True, warnings=warnings)


def _believed(file: Unlocked, probe: Probe) -> tuple[int | None, str | None]:
    """Size and digest: as the manifest declares them, else as its source says."""
    size, sha256 = probe.size, probe.sha256 or digest_before(file, probe)
    if file.spec is None:
        return size, sha256
    return file.spec.size if file.spec.size is not None else size, file.spec.sha256 or sha256


def _has_to_be_read(believed: tuple[int | None, str | None], probe: Probe, wish: Wish) -> bool:
    """Whether only the bytes of the file can tell its size, or the digest that its pin has to have."""
    size, sha256 = believed
    # What a repository has as a blob is checked by that: a file that it does not hold for large is never so.
    return size is None or (sha256 is None and (size < SMALL or wish.hash_all or probe.blob is not None))


def digest_before(file: Unlocked, probe: Probe) -> str | None:
    """The digest that the old lock has of these very bytes: the same blob, at whatever revision."""
    before = file.before
    if before is None or probe.blob is None or probe.etag is None:
        return None
    return before.sha256 if (before.size, before.etag) == (probe.size, probe.etag) else None


def _hashed(file: Unlocked, pinned: LockedFile, asker: Asker) -> LockedFile:
    """The pin with the digest of its bytes. Raises UpstreamChanged where the source has others now."""
    learned = asker.learn(file, Probe(pinned.size, pinned.etag, None))
    if (learned.size, learned.etag) != (pinned.size, pinned.etag):
        raise UpstreamChanged(
            f"`{file.url}` has {learned.size} bytes with ETag `{learned.etag}`, "
            f"and the lock {pinned.size} with `{pinned.etag}`"
        )
    return replace(pinned, sha256=learned.sha256)


def _check_declared(file: Unlocked, learned: Learned) -> None:
    """What the manifest declares is believed over what a server says, not over the bytes themselves."""
    if file.spec is None:
        return
    hint = "correct the manifest, or ask the publisher which file is the right one"
    if file.spec.size not in (None, learned.size):
        message = f"the manifest declares {file.spec.size} bytes, and `{file.url}` has {learned.size}"
        raise SizeMismatch(message, hint=hint)
    if file.spec.sha256 not in (None, learned.sha256):
        message = f"the manifest declares sha256 `{file.spec.sha256}`, and `{file.url}` has `{learned.sha256}`"
        raise DigestMismatch(message, hint=hint)


def _contradictions(file: Unlocked, probe: Probe) -> Iterable[str]:
    if file.spec is None:
        return
    for what, declared, told in (("size", file.spec.size, probe.size), ("sha256", file.spec.sha256, probe.sha256)):
        if declared is not None and told is not None and declared != told:
            yield f"{file.id}: the manifest declares {what} {declared}, the server says {told}; it is believed"


def _doubts(file: Unlocked, learned: Learned) -> Iterable[str]:
    declared = file.spec is not None and (file.spec.size, file.spec.sha256) != (None, None)
    if not learned.delimited and not declared:
        yield (
            f"{file.id}: the server tells no size, and ended the file by closing the connection; that its "
            f"{learned.size} bytes are all of it could not be checked"
        )

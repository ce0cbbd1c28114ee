"""What a run needs of this machine, as Protocols: its store, its registry of tasks, its roots, and who watches. As in
`ports`, a docstring is a contract.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gemmalock.errors import FileError, GemmalockError
    from gemmalock.journal import Chunk
    from gemmalock.lockfile import LockedFile, Node
    from gemmalock.outcome import FileOutcome, Pruned, StrayKept
    from gemmalock.plan import FilePlan, Place, Plan, TaskRecord, TaskSight
    from gemmalock.stopping import Stop


@dataclass(frozen=True, slots=True)
class Salvage:
    """What is left of a stored file that has rotted: its bytes at `path`, which nobody writes to, and the chunks that
    it had when it was right. Under which validator they came is not known any more."""

    path: Path
    chunks: tuple[Chunk, ...]


class Claim(Protocol):
    """The exclusive right to work on one task: held by one thread of one process at a time, lost by death."""

    folder: Path
    record: TaskRecord

    def beat(self, ranges: tuple[tuple[int, int], ...]) -> None:
        """Say that this holder lives, and note the ranges on disk in the record (at most about once a second)."""

    def settle(self) -> None:
        """Make the record outlive a power cut: asked before the journal vouches for the first byte. Until then there is
        nothing to be continued, and a task that is forgotten costs nothing. Raises DiskError."""

    def still_held(self) -> bool:
        """Whether nobody has taken this claim away: asked before a commit."""

    def learned(self, sha256: str) -> None:
        """Note the digest that the whole file turned out to have, for good: where the lock has none, nothing else
        would say later which object of the store it is."""

    def drop_partial(self) -> None:
        """Remove the partial and its journal; the record and the claim stay."""

    def seed(self, salvage: Salvage, stop: Stop) -> None:
        """Make the partial a copy of these bytes, with a journal of these chunks that is written last: whoever takes it
        up reads each chunk again, and fetches those that are wrong. Raises DiskError and Interrupted, and then there
        is no partial."""

    def release(self) -> None:
        """Give the claim up and leave partial and record for the next. Never raises."""

    def finish(self) -> None:
        """The file is in place: remove partial, record and claim."""


class Registry(Protocol):
    """This machine's task records, beside their partials."""

    def look(self, file: LockedFile) -> TaskSight:
        """What is known of a file's task; changes nothing. A failed look is in `error`, never raised."""

    def claim(self, node: Node, lock_path: Path) -> Claim:
        """Hold the file's task, and register it first where there is none: the record is written before this
        returns, and survives this process. Raises Busy, with the holder in words, while a live process has it."""

    def forget(self, file: LockedFile) -> None:
        """Remove a task that no live process holds; nothing happens where there is none."""

    def sweep(self, lock_path: Path, live: frozenset[str]) -> int:
        """Remove the tasks that only this lock asked for and that are not among `live` task IDs, unless a live
        process holds them. How many went."""


class Store(Protocol):
    """Finished files by their sha256."""

    folder: Path

    def has(self, sha256: str, size: int) -> bool:
        """Whether the object is there and sound: its recorded stat holds, or its bytes were hashed again."""

    def checked(self, sha256: str, size: int, *, verify: bool = False) -> Path | None:
        """Where the object is, if it is sound; a rotten one is moved out of the way, and None is returned. With
        `verify` its bytes are hashed even where its recorded stat holds."""

    def salvage(self, sha256: str) -> Salvage | None:
        """What is left of an object that `checked` moved out of the way; None where nothing is, or where its chunks are
        not known."""

    def object_path(self, sha256: str) -> Path:
        """Where the object is, or would be."""

    def enter(self, part: Path, sha256: str, size: int, chunks: Iterable[Chunk] = ()) -> Path:
        """Take a checked, synced file in by renaming it: read-only, its stat recorded. Where it goes."""

    def learn(self, task_id: str, sha256: str) -> None:
        """Note which object a task turned out to be, for those that want the same task and know no digest."""

    def digest_of(self, task_id: str) -> str | None:
        """The digest that a task turned out to have, or None where it is not known. The object need not be there."""

    def free_bytes(self) -> int:
        """Free space on the store's file system."""


#: The detail of what stands in place where neither lock nor ledger has a digest of it.
UNPROVABLE = "nothing could prove the bytes in place: the lock has no digest"


@dataclass(frozen=True, slots=True)
class PlaceSight:
    """What stands at a path of a root; `detail` as a sentence where there is something to say. `sha256`: the digest
    that a KNOWN file has by the ledger. `error`: why the disk would not say; of OTHER, the detail as the kind of error
    that it is."""

    place: Place
    detail: str = ""
    sha256: str | None = None
    error: FileError | None = field(default=None, compare=False)


class Root(Protocol):
    """One managed folder. Every path goes through a walk that follows no link."""

    folder: Path

    def look(self, file: LockedFile, *, verify: bool, on_read: Callable[[int], None] | None = None) -> PlaceSight:
        """What stands at the file's path; with `verify` its digest is read even where the ledger agrees. `on_read` is
        told how many bytes of it were read so far, where they are. Changes nothing, raises nothing but Interrupted."""

    def adopt(self, file: LockedFile) -> str:
        """Enter a file that matches into the ledger. Its sha256."""

    def place(self, file: LockedFile, object_path: Path, sha256: str) -> str:
        """Put the object's bytes in place, whole, and enter them in the ledger; what stood there goes to the trash
        first. How it was linked: `reflink`, `hardlink`, `symlink` or `copy`. With `save` it outlives a power cut."""

    def discard(self, file: LockedFile) -> None:
        """Move what stands at the file's path to the trash; nothing happens where there is nothing."""

    def has_ledger(self) -> bool:
        """Whether there is a readable ledger."""

    def strays(self, locked: frozenset[str]) -> tuple[Stray, ...]:
        """Every path in the root that is not among `locked`, with what is to become of it."""

    def prune(self, strays: Iterable[Stray], in_store: Callable[[str], bool]) -> PruneResult:
        """Take the strays out of the root that have no reason to be kept, unless they changed since they were seen.
        They go to the trash; what sync put here, and `in_store` says the store has (by its sha256), goes for good.
        Raises DiskError, Busy and Interrupted where nothing was taken out; what ends it later is in the result."""

    def save(self) -> None:
        """Make what was placed outlive a power cut, and then write the ledger, if it changed."""


@dataclass(frozen=True, slots=True)
class Stray:
    """A path in a root that the lock does not list. `keep` is why it stays, or None; size in bytes; `identity` is
    its stat (size, mtime_ns, inode), looked at again before it is touched. `sha256`: the digest that it has by the
    ledger, where sync put it here and nobody changed it since; else None. `is_folder`: an empty folder."""

    path: str
    size: int
    identity: tuple[int, int, int]
    sha256: str | None
    keep: str | None = None
    is_folder: bool = False

    @property
    def ours(self) -> bool:
        """Whether sync put it here, and nobody changed it since."""
        return self.sha256 is not None

    def goes_to(self, in_store: Callable[[str], bool]) -> str:
        """Where pruning takes it: `store` where `in_store` says that the store has what sync put here, else `trash`."""
        return "store" if self.sha256 is not None and in_store(self.sha256) else "trash"


class Watch(Protocol):
    """Who watches one transfer. Called from many threads; never raises."""

    def progress(self, have: int) -> None:
        """So many bytes of the file are here."""

    def fetched(self, count: int) -> None:
        """So many bytes were received by this transfer so far, what was thrown away included; said once more at its
        end, also where it fails."""

    def retrying(self, reason: str, after_seconds: float) -> None:
        """The transfer failed for now, and will be tried again."""


class Arrival(Protocol):
    """A file that came whole: checked, on disk, and not yet in the store. `notes` are sentences for the report."""

    @property
    def sha256(self) -> str: ...
    @property
    def bytes_kept(self) -> int: ...
    @property
    def bytes_fetched(self) -> int: ...
    @property
    def part(self) -> Path: ...
    @property
    def chunks(self) -> Collection[Chunk]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...


class Machine(Protocol):
    """This machine, as a run needs it. Store and registry are made when first asked for: a run that has nothing to
    do asks for neither."""

    @property
    def lock_path(self) -> Path: ...
    @property
    def store(self) -> Store: ...
    @property
    def registry(self) -> Registry: ...

    def root(self, manifest_path: str) -> Root:
        """The root of the manifest at that path."""

    def adopt(self, file: LockedFile) -> str | None:
        """Take a file into the store that another program has on this machine, where its bytes have the locked digest.
        A sentence that tells of it, or None. Raises Interrupted."""

    def fetch(self, node: Node, claim: Claim, watch: Watch) -> Arrival:
        """Bring a file's bytes to the claim's folder. Raises FileError and Interrupted; what came is kept."""


class Reporter(Protocol):
    """Who watches a run. Called from many threads; never raises, never slows the work."""

    def planned(self, plan: Plan) -> None:
        """What is to be done; before anything is."""

    def hashing(self, node: Node) -> None:
        """The bytes of a file that is in place begin to be read; `progress` says how far that came."""

    def started(self, file: FilePlan) -> None:
        """A file's transfer begins, at what was kept."""

    def progress(self, id: str, have: int, size: int) -> None:
        """So many bytes of a file are here."""

    def retrying(self, id: str, reason: str, after_seconds: float) -> None:
        """A transfer failed for now, and will be tried again."""

    def waiting(self, id: str, holder: str) -> None:
        """Another process has the task."""

    def finished(self, outcome: FileOutcome) -> None:
        """A file is done with."""

    def note(self, message: str) -> None:
        """A warning of the run as a whole."""


#: Why a stray stays where pruning was begun, and was interrupted or went wrong.
NOT_REACHED = "pruning ended before its turn came"


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What pruning did. `error`: what ended it before it was through."""

    pruned: tuple[Pruned, ...] = ()
    kept: tuple[StrayKept, ...] = ()
    error: GemmalockError | None = field(default=None, compare=False)

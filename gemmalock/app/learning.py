"""What only the bytes of a file can tell `lock`: they are fetched into the store, and hashed on their way."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from gemmalock.app.papers import memo_root
from gemmalock.app.wiring import Workshop
from gemmalock.durable import write_all
from gemmalock.errors import Busy, DigestMismatch, disk_error
from gemmalock.lockfile import LockedFile, LockedManifest, LockedModel, Node
from gemmalock.machine import Claim
from gemmalock.memo import forget
from gemmalock.pinning import SMALL, Learned, Unlocked, Wish
from gemmalock.ports import Answer, Ask, Probe, Source

_BUFFER = 1024 * 1024
#: How often a file that another process fetches is looked at again, in seconds.
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Learner:
    """Fetches files for their digests. `source`: who is asked for what stands in a manifest; `retried`: calls, for the
    node of an ID, as often as the settings say."""

    workshop: Workshop
    wish: Wish
    source: Callable[[str], Source]
    retried: Callable[[str, Callable[[], Learned]], Learned]

    def learn(self, file: Unlocked, probe: Probe) -> Learned:
        """Size, digest and ETag of a file whose source says `probe` of it. A large one of known size is a task, and can
        be resumed. Raises DigestMismatch where it is not the blob that `probe` tells of."""
        learned = self._learn(file, probe)
        if probe.blob is not None:
            blob = _git_blob(self.workshop.store.object_path(learned.sha256), learned.size)
            if blob != probe.blob:
                message = f"`{file.url}` has other bytes than its repository says: blob `{blob}`, not `{probe.blob}`"
                raise DigestMismatch(message, hint="try again later, or ask the publisher; nothing of it was locked")
        return learned

    def _learn(self, file: Unlocked, probe: Probe) -> Learned:
        if probe.size is not None and probe.size >= SMALL:
            return self._learn_as_task(file, probe.size, probe.etag)
        return self.retried(file.id, lambda: self._stream(file, probe))

    def _stream(self, file: Unlocked, probe: Probe) -> Learned:
        """The whole body through a staging file into the store."""
        store, plugging = self.workshop.store, self.workshop.plugging
        plugging.call("gemmalock_before_fetch", node=self._locked(file, probe.size or 0, probe.etag))
        staged = store.staging()
        try:
            with closing(self.source(file.manifest).open(Ask(file.url), self.workshop.stop)) as answer:
                sha256, size = _written(answer, staged)
            # What is staged goes in any case.
            plugging.came(self._locked(file, size, answer.etag, sha256), staged, lambda: None)
            store.enter(staged, sha256, size)
        finally:
            # What cannot be removed now is a later run's to sweep.
            with suppress(OSError):
                staged.unlink(missing_ok=True)
        return Learned(size, sha256, answer.etag, answer.delimited)

    def _learn_as_task(self, file: Unlocked, size: int, etag: str | None) -> Learned:
        node = self._locked(file, size, etag)
        locked = node.file
        # Killed from here on, this leaves a task whose file may be in place: the next sync has to look for it.
        if (root := memo_root(self.workshop.lock)) is not None:
            forget(self.workshop.project.folder / root)
        claim = self._claimed(node)
        try:
            # A digest that is to be learned anew is not asked of those who learned it before.
            again = self.wish.hash_all and self.wish.renews(f"{node.manifest.path}::{node.model.name}")
            sha256 = (None if again else self._came(locked)) or self._fetched(node, claim)
            claim.finish()
            return Learned(size, sha256, etag)
        finally:
            claim.release()

    def _claimed(self, node: Node) -> Claim:
        while True:
            try:
                return self.workshop.registry.claim(node, self.workshop.lock_path)
            except Busy as busy:
                self.workshop.reporter.waiting(node.id, busy.message)
                self.workshop.stop.wait(_POLL_SECONDS)

    def _came(self, file: LockedFile) -> str | None:
        """The digest of a file that came whole for somebody else, or for a process that was killed right after."""
        from gemmalock.looking import digest_known

        sha256 = digest_known(file, self.workshop)
        known = sha256 is not None and self.workshop.store.checked(sha256, file.size) is not None
        return sha256 if known else None

    def _fetched(self, node: Node, claim: Claim) -> str:
        """The digest of a file that was fetched into the store."""
        from gemmalock.plan import Action, FilePlan, ResumeStatus

        workshop, file = self.workshop, node.file
        kept = workshop.registry.look(file).kept
        step = FilePlan(node, ResumeStatus.FILE_NOT_FOUND, Action.DOWNLOAD, "its digest is to be learned", kept)
        workshop.reporter.started(step)
        arrival = workshop.fetch(node, claim, _LearnWatch(workshop, node))
        if not claim.still_held():
            raise Busy("another process took the task over while this one stood still")
        workshop.store.learn(file.task_id, arrival.sha256)
        workshop.store.enter(arrival.part, arrival.sha256, file.size, arrival.chunks)
        return arrival.sha256

    def _locked(self, file: Unlocked, size: int, etag: str | None, sha256: str | None = None) -> Node:
        """The node that the file would be."""
        locked = LockedFile.pin(name=file.name, path=file.path, url=file.url, size=size, etag=etag, sha256=sha256)
        model = LockedModel(file.model, (locked,))
        return Node(LockedManifest(file.manifest, "models", "", (model,)), model, locked)


def _written(answer: Answer, staged: Path) -> tuple[str, int]:
    """Write a whole body to a file, for good: its sha256 and its size. Raises FileError."""
    digest, size = hashlib.sha256(), 0
    buffer = memoryview(bytearray(_BUFFER))
    try:
        with staged.open("wb", buffering=0) as out:
            while count := answer.readinto(buffer):
                digest.update(buffer[:count])
                write_all(out.fileno(), buffer[:count])
                size += count
            os.fsync(out.fileno())
    except OSError as error:
        raise disk_error(error, f"write `{staged}`") from error
    return digest.hexdigest(), size


def _git_blob(path: Path, size: int) -> str:
    """The SHA-1 that git has of a file as a blob: over its kind, its size and its bytes (gitformat-loose)."""
    digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    try:
        with path.open("rb") as file:
            while piece := file.read(_BUFFER):
                digest.update(piece)
    except OSError as error:
        raise disk_error(error, f"read `{path}`") from error
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _LearnWatch:
    workshop: Workshop
    node: Node

    def progress(self, have: int) -> None:
        self.workshop.reporter.progress(self.node.id, have, self.node.file.size)

    def fetched(self, count: int) -> None:
        """The report of `lock` has no such figure."""

    def retrying(self, reason: str, after_seconds: float) -> None:
        self.workshop.reporter.retrying(self.node.id, reason, after_seconds)

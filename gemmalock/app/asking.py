"""The resolver's questions, put to the sources: with retries, many at once, what is fetched goes into the store."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from gemmalock.app.affording import affordable
from gemmalock.app.wiring import Workshop
from gemmalock.errors import Busy, disk_error
from gemmalock.lockfile import LockedFile, LockedManifest, LockedModel, Node
from gemmalock.plan import Action, FilePlan, ResumeStatus
from gemmalock.ports import Ask, Claim, Listing, Probe
from gemmalock.resolver import ASKERS, SMALL, Learned, Pinned, Unlocked, Wish, pin

_Answer = TypeVar("_Answer")
_BUFFER = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Questions:
    """resolver.Asker over this machine's sources, for one manifest."""

    workshop: Workshop
    manifest_path: str
    wish: Wish

    def probe(self, url: str) -> Probe:
        """Size, ETag and published digest."""
        self.workshop.refuse_host(url)
        source = self.workshop.source(url, self.manifest_path)
        return self._retried(lambda: source.probe(url, self.workshop.stop))

    def list(self, source: str) -> Listing:
        """Every file of a source."""
        adapter = self.workshop.source(source, self.manifest_path)
        return self._retried(lambda: adapter.list(source, self.workshop.stop))

    def learn(self, file: Unlocked, probe: Probe) -> Learned:
        """Fetch the file into the store and hash it. A large one of known size is a task, and can be resumed."""
        if probe.size is not None and probe.size >= SMALL:
            return self._learn_as_task(file, probe.size, probe.etag)
        return self._retried(lambda: self._stream(file.url))

    def map(self, asks: Iterable[Unlocked]) -> Iterable[Pinned]:
        """`pin` of each, many at once, in order."""
        listed = list(asks)
        if all(file.pinned is not None for file in listed):
            return [pin(file, self.wish, self) for file in listed]
        askers = affordable(min(ASKERS, len(listed)))
        pool = ThreadPoolExecutor(max_workers=askers, thread_name_prefix="gemmalock-ask")
        futures: list[Future[Pinned]] = []
        try:
            futures += (pool.submit(pin, file, self.wish, self) for file in listed)
            return [future.result() for future in futures]
        except RuntimeError:
            # No more threads to be had: those that there are finish what they have, and we do the rest.
            pool.shutdown(wait=True, cancel_futures=True)
            futures += (Future() for _ in listed[len(futures) :])
            return [
                future.result() if future.done() and not future.cancelled() else pin(file, self.wish, self)
                for file, future in zip(listed, futures, strict=True)
            ]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _retried(self, call: Callable[[], _Answer]) -> _Answer:
        from gemmalock.sources.retry import Backoff, with_retries

        backoff = Backoff(attempts=self.workshop.settings.retries + 1)
        return with_retries(call, backoff, self.workshop.stop)

    def _stream(self, url: str) -> Learned:
        """The whole body through a staging file into the store."""
        store = self.workshop.store
        staged = store.staging()
        digest, size = hashlib.sha256(), 0
        answer = self.workshop.source(url, self.manifest_path).open(Ask(url), self.workshop.stop)
        try:
            buffer = memoryview(bytearray(_BUFFER))
            with staged.open("wb", buffering=0) as out:
                while count := answer.readinto(buffer):
                    digest.update(buffer[:count])
                    out.write(buffer[:count])
                    size += count
                os.fsync(out.fileno())
            store.enter(staged, digest.hexdigest(), size)
        except OSError as error:
            raise disk_error(error, f"write `{staged}`") from error
        finally:
            answer.close()
            staged.unlink(missing_ok=True)
        return Learned(size, digest.hexdigest(), answer.etag)

    def _learn_as_task(self, file: Unlocked, size: int, etag: str | None) -> Learned:
        workshop = self.workshop
        locked = LockedFile.pin(name=file.name, path=file.path, url=file.url, size=size, etag=etag, sha256=None)
        node = self._node(file, locked)
        claim = self._claimed(node)
        try:
            sight = workshop.registry.look(locked)
            step = FilePlan(
                node, ResumeStatus.FILE_NOT_FOUND, Action.DOWNLOAD, "its digest is to be learned", sight.kept
            )
            workshop.reporter.started(step)
            arrival = workshop.fetch(node, claim, _LearnWatch(workshop, node))
            workshop.store.enter(arrival.part, arrival.sha256, size, arrival.chunks)
            claim.finish()
            return Learned(size, arrival.sha256, etag)
        finally:
            claim.release()

    def _claimed(self, node: Node) -> Claim:
        while True:
            try:
                return self.workshop.registry.claim(node, self.workshop.lock_path)
            except Busy as busy:
                self.workshop.reporter.waiting(node.id, busy.message)
                self.workshop.stop.wait(0.1)

    def _node(self, file: Unlocked, locked: LockedFile) -> Node:
        model = LockedModel(file.id.split("::")[1], (locked,))
        return Node(LockedManifest(self.manifest_path, "models", "", (model,)), model, locked)


@dataclass(frozen=True, slots=True)
class _LearnWatch:
    workshop: Workshop
    node: Node

    def progress(self, have: int) -> None:
        self.workshop.reporter.progress(self.node.id, have, self.node.file.size)

    def retrying(self, reason: str, after_seconds: float) -> None:
        self.workshop.reporter.retrying(self.node.id, reason, after_seconds)

"""The resolver's questions, put to the sources: each once, with retries, many at once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gemmalock.app.affording import affordable
from gemmalock.app.plugging import rule_of
from gemmalock.app.wiring import Workshop
from gemmalock.at_once import Shared, at_once
from gemmalock.errors import DigestMismatch, FileError, PolicyRefused, UnsafePath, disk_error
from gemmalock.pinning import (
    ASKERS,
    FIRST_ASKERS,
    MOST_TEXT,
    Learned,
    Pinned,
    Unlocked,
    Wish,
    digest_before,
    has_to_be_asked,
    is_known,
    pin,
)
from gemmalock.ports import Listing, Probe, Source
from gemmalock.spec import Manifest, is_local, scheme_of

if TYPE_CHECKING:
    from gemmalock.sources.multiplexed import Outcome

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Questions:
    """resolver.Asker over this machine's sources. What many ask is asked once: they all get one answer."""

    workshop: Workshop
    wish: Wish
    recall: Callable[[str], Manifest | None] = lambda declared: None
    _early: dict[str, Outcome[Probe]] = field(default_factory=dict)
    _probed: Shared[Probe] = field(default_factory=Shared)
    _listed: Shared[Listing] = field(default_factory=Shared)
    _learned: Shared[Learned] = field(default_factory=Shared)
    _sources: dict[str, Source] = field(default_factory=dict)

    def probe(self, file: Unlocked) -> Probe:
        """Size, ETag and published digest. Raises UnsafePath for a name that leads out of its source."""
        if file.source is not None and scheme_of(file.source) == "file":
            self._refuse_a_way_out(file, file.source)
        if (early := self._told_early(file)) is not None:
            return early
        source = self._source(file.manifest)
        place = self._place(file.manifest, file.url)

        def ask() -> Probe:
            # One that failed early was the first attempt.
            failed = self._early.pop(file.url, None)
            return failed.result() if failed is not None else source.probe(file.url, self.workshop.stop)

        return self._probed.answer(place, lambda: self._retried(file.id, ask))

    def list(self, id: str, source: str, *, is_pinned: bool = False) -> Listing:
        """Every file of a source. How new that may be is no question of what is locked."""
        manifest = id.split("::")[0]
        adapter = self.workshop.source(manifest, any_age=is_pinned)
        place = (*self._place(manifest, source), is_pinned)
        return self._listed.answer(place, lambda: self._retried(id, lambda: adapter.list(source, self.workshop.stop)))

    def source_url(self, source: str, revision: str | None, name: str) -> str | None:
        """Where a file of a source is."""
        return rule_of(self.workshop.settings)(source, revision, name)

    def meant(self, declared: str) -> Manifest | None:
        """The manifest that a lock was made from, as the store remembers it."""
        return self.recall(declared)

    def learn(self, file: Unlocked, probe: Probe) -> Learned:
        """Fetch the file into the store and hash it: once, however many entries it has. A large one of known size is a
        task, and can be resumed."""
        # Nobody whose digests are all declared needs it.
        from gemmalock.app.learning import Learner

        question = (*self._place(file.manifest, file.url), probe.size, probe.etag)
        learner = Learner(self.workshop, self.wish, self._source, self._retried)
        return self._learned.answer(question, lambda: learner.learn(file, probe))

    def text(self, file: Unlocked) -> bytes:
        """The bytes of a file: out of the store, where it is put by the question that its pin may ask too."""
        pinned = file.pinned
        probe = Probe(pinned.size, pinned.etag, pinned.sha256) if pinned is not None else None
        if probe is None:
            probe = file.told or self.probe(file)
            if file.spec is not None and file.spec.size is not None:
                probe = replace(probe, size=file.spec.size)
        self._refuse_much(file, probe.size or 0)
        declared = file.spec.sha256 if file.spec is not None else None
        sha256, size = declared or probe.sha256 or digest_before(file, probe), probe.size
        if sha256 is None or size is None or self.workshop.store.checked(sha256, size) is None:
            learned = self.learn(file, probe)
            self._refuse_much(file, learned.size)
            if sha256 not in (None, learned.sha256):
                raise DigestMismatch(f"`{file.url}` has sha256 `{learned.sha256}`, and should have `{sha256}`")
            sha256 = learned.sha256
        path = self.workshop.store.object_path(sha256)
        try:
            return path.read_bytes()
        except OSError as error:
            raise disk_error(error, f"read `{path}`") from error

    def map(self, asks: Iterable[Unlocked]) -> Iterable[Pinned]:
        """`pin` of each, many at once, in order."""
        listed = list(asks)
        self._ask_early(file for file in listed if has_to_be_asked(file))
        # More than one thread is of use only to those who wait.
        known = [is_known(file, file.told or self._told_early(file), self.wish) for file in listed]
        waiting = [file for file, is_there in zip(listed, known, strict=True) if not is_there]
        # Else those who begin would look slow, while they load it.
        self.workshop.sources.load(file.url for file in waiting)
        pins = iter(at_once(self._pin, waiting, affordable(ASKERS), self.workshop.stop, at_first=FIRST_ASKERS))
        return [self._pin(file) if is_there else next(pins) for file, is_there in zip(listed, known, strict=True)]

    def _ask_early(self, files: Iterable[Unlocked]) -> None:
        """Ask in one thread what can be asked so, and was not asked yet; whatever else there is to do for a file, and
        whatever failed, follows."""
        urls = [file.url for file in files if self._place(file.manifest, file.url) not in self._probed]
        early = self.workshop.sources.probe_all(urls, affordable(ASKERS), self.workshop.stop)
        self.workshop.budget.earn_beforehand(sum(isinstance(each.told, Probe) for each in early.values()))
        self._early.update(early)

    def _told_early(self, file: Unlocked) -> Probe | None:
        """What was told of a file when many were asked together."""
        early = self._early.get(file.url)
        return early.told if early is not None and isinstance(early.told, Probe) else None

    def _source(self, manifest: str) -> Source:
        if manifest not in self._sources:
            self._sources[manifest] = self.workshop.source(manifest)
        return self._sources[manifest]

    def _refuse_much(self, file: Unlocked, size: int) -> None:
        if size > MOST_TEXT:
            message = f"`{file.name}` has {size} bytes, and is read only up to {MOST_TEXT}"
            raise PolicyRefused(message, hint="`exclude` leaves it out; name its shards in `files`")

    def _place(self, manifest: str, url: str) -> tuple[str, str]:
        """What a URL in a manifest means, wherever it stands: relative ones are its manifest's."""
        return (manifest.rpartition("/")[0] if is_local(url) else "", url)

    def _refuse_a_way_out(self, file: Unlocked, source: str) -> None:
        """A name is followed as far as a glob would: through links, and not out of the folder."""
        from gemmalock.sources.file import FileSource

        files = FileSource(self.workshop.project.folder / file.manifest.rpartition("/")[0])
        home, place = Path(os.path.realpath(files.path_of(source))), Path(os.path.realpath(files.path_of(file.url)))
        if home not in place.parents:
            hint = "name the file by its own `url`, or give the folder that it is really in as `source`"
            raise UnsafePath(
                f"`{file.name}` is a symbolic link, or behind one, that leads out of `{source}`", hint=hint
            )

    def _pin(self, file: Unlocked) -> Pinned:
        began = time.monotonic()
        early = self._early.get(file.url)
        pinned = pin(file, self.wish, self)
        if not pinned.asked:
            return pinned
        return pinned._replace(seconds=time.monotonic() - began + (0.0 if early is None else early.seconds))

    def _retried(self, id: str, call: Callable[[], _Answer]) -> _Answer:
        from gemmalock.sources.retry import with_retries

        workshop = self.workshop

        def again(error: FileError, seconds: float) -> None:
            workshop.budget.spend(error)
            workshop.reporter.retrying(id, error.message, seconds)

        answer = with_retries(call, workshop.backoff, workshop.stop, again)
        workshop.budget.earn()
        return answer

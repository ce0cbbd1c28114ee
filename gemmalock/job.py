"""One file on its way into place: step by step, as the plan says, and looked at again where the world has moved.

It sees the world through ports only.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field, replace

from gemmalock.errors import Busy, DiskError, FileError, Interrupted, Offline, PermissionRefused, ReadWriteFailed
from gemmalock.lockfile import LockedFile
from gemmalock.looking import digest_known, look_at
from gemmalock.machine import Arrival, Claim, Machine, Reporter
from gemmalock.outcome import FileOutcome, Outcome, failed
from gemmalock.plan import FETCHING, Action, FilePlan, ResumeStatus, plan_file
from gemmalock.stopping import Stop, Tolerance

#: How often a file that another process fetches is looked at again, in seconds.
POLL_SECONDS = 0.1
#: A file that keeps changing under our hands is given up after so many looks that led to an act.
MAX_ACTS = 8


@dataclass(frozen=True, slots=True)
class Crew:
    """Who carries a plan out: on which machine, told to whom, stopped by what, how many files at once.

    `offline`: nothing may be fetched over the network. `verify`: trust no recorded stat, hash. `first`: node IDs of the
    files that go before all others. `tolerance`: how many failures it takes until nothing more is begun.
    """

    machine: Machine
    reporter: Reporter
    stop: Stop
    jobs: int = 8
    offline: bool = False
    verify: bool = False
    first: frozenset[str] = frozenset()
    tolerance: Tolerance = field(default_factory=Tolerance)


@dataclass
class Job:
    """One file on its way into place. `learned`: the digest that its task has just turned out to have."""

    file: FilePlan
    crew: Crew
    learned: str | None = None
    notes: list[str] = field(default_factory=list)
    bytes_kept: int = 0
    bytes_fetched: int = 0
    bytes_here: int = 0
    sha256: str | None = None
    verb: str = ""

    def run(self) -> FileOutcome:
        began = time.monotonic()
        self.bytes_kept = self.file.kept
        try:
            self._take_what_is_here()
            self._refuse_what_cannot_end_well()
            step = self.file
            acts = 0
            while not self._act(step):
                if step.action is not Action.WAIT:
                    acts += 1
                if acts > MAX_ACTS:
                    raise Busy("the file kept changing while it was put in place")
                step = plan_file(step.node, look_at(step.node, self.crew.machine))
        except Interrupted as interruption:
            self._count_what_is_here()
            self.notes.extend(interruption.notes)
            return self._outcome(Outcome.CANCELLED, began, verb="CANCELLED")
        except FileError as error:
            self._count_what_is_here()
            self.notes.extend(error.notes)
            return failed(self.file, error, **self._figures(began))
        return self._outcome(Outcome.DONE, began, verb=self.verb)

    def _take_what_is_here(self) -> None:
        """What another program has on this machine is not fetched; the loop finds it in the store."""
        file, store = self.file.node.file, self.crew.machine.store
        if self.file.action not in FETCHING or file.sha256 is None or store.has(file.sha256, file.size):
            return
        if (told := self.crew.machine.adopt(file)) is not None:
            self.notes.append(told)
            self.verb = "ADOPTED"
            self.learned = file.sha256

    def _refuse_what_cannot_end_well(self) -> None:
        """Before anything is moved: offline, a modified file stays where it is unless the store can replace it."""
        file = self.file.node.file
        if not (self.crew.offline and file.needs_network and self.file.action in FETCHING):
            return
        if file.sha256 is None or not self.crew.machine.store.has(file.sha256, file.size):
            raise Offline(f"`{file.name}` is not here, and the network is not to be used")

    def _act(self, step: FilePlan) -> bool:
        """Do what one plan says; whether the file is in place now. False: look again."""
        node, machine = step.node, self.crew.machine
        root = machine.root(node.manifest.path)
        self.crew.stop.check()
        match step.action:
            case Action.SKIP:
                # Somebody else, or an earlier step, has put it there.
                self.verb = self.verb or "UP TO DATE"
                return True
            case Action.REFUSE:
                raise refused(step)
            case Action.ADOPT:
                self.sha256 = root.adopt(node.file)
                machine.registry.forget(node.file)
                self.verb = self.verb or "ADOPTED"
                return True
            case Action.LINK:
                assert step.sha256 is not None
                return self._link(step, step.sha256)
            case Action.WAIT:
                self.crew.reporter.waiting(node.id, step.reason)
                self.crew.stop.wait(POLL_SECONDS)
                return False
            case Action.DISCARD if step.resume_status is ResumeStatus.MODIFIED:
                root.discard(node.file)
                self.notes.append(f"moved to the trash: {step.reason}")
                return False
            case _ if self.learned is not None:
                return self._link(step, self.learned)
            case _:
                return self._fetch(step)

    def _link(self, step: FilePlan, sha256: str) -> bool:
        file, machine = step.node.file, self.crew.machine
        path = machine.store.checked(sha256, file.size, verify=self.crew.verify)
        if path is None:
            self.learned = None
            self.notes.append("the store's copy had rotted; it is in the store's quarantine")
            return False
        machine.root(step.node.manifest.path).place(file, path, sha256)
        machine.registry.forget(file)
        self.sha256 = sha256
        # What came of it in an earlier run was not used.
        self.bytes_kept = 0
        self.verb = self.verb or "LINKED"
        return True

    def _fetch(self, step: FilePlan) -> bool:
        try:
            claim = self.crew.machine.registry.claim(step.node, self.crew.machine.lock_path)
        except Busy:
            # Someone was faster between the look and now.
            self.crew.stop.wait(POLL_SECONDS)
            return False
        with contextlib.ExitStack() as stack:
            stack.callback(claim.release)
            if self._came_meanwhile(step):
                claim.finish()
                return False
            return self._fetch_under(claim, step)

    def _came_meanwhile(self, step: FilePlan) -> bool:
        file = step.node.file
        known = digest_known(file, self.crew.machine)
        # A rotten object goes out of the way here: what is left of it may be of use.
        return known is not None and self.crew.machine.store.checked(known, file.size) is not None

    def _fetch_under(self, claim: Claim, step: FilePlan) -> bool:
        machine, node = self.crew.machine, step.node
        if step.action is Action.DISCARD:
            claim.drop_partial()
            self.notes.append(f"started again: {step.reason}")
        self.bytes_kept = step.kept or self._seeded(claim, node.file)
        self.crew.reporter.started(replace(step, kept=self.bytes_kept))
        arrival = machine.fetch(node, claim, _FileWatch(self, node.id, node.file.size))
        self._take_figures(arrival, step)
        if not claim.still_held():
            raise Busy("another process took the task over while this one stood still")
        if node.file.sha256 is None:
            claim.learned(arrival.sha256)
        path = machine.store.enter(arrival.part, arrival.sha256, node.file.size, arrival.chunks)
        if node.file.sha256 is None:
            machine.store.learn(node.file.task_id, arrival.sha256)
        machine.root(node.manifest.path).place(node.file, path, arrival.sha256)
        claim.finish()
        return True

    def _seeded(self, claim: Claim, file: LockedFile) -> int:
        """Let a task that has no bytes begin with those of the store's rotten copy, so that only its wrong chunks are
        fetched. How many bytes; 0 where there is no copy, or no room for another."""
        machine = self.crew.machine
        try:
            salvage = None if file.sha256 is None else machine.store.salvage(file.sha256)
            if salvage is None or machine.registry.look(file).has_bytes or machine.store.free_bytes() < file.size:
                return 0
            claim.seed(salvage, self.crew.stop)
        except DiskError as error:
            # Nothing is lost but time: everything is fetched then.
            self.notes.append(f"the store's rotten copy was of no use: {error.message}")
            return 0
        self.notes.append(
            "began with what is still right of the store's rotten copy: its rotten chunks are fetched again"
        )
        return sum(chunk.length for chunk in salvage.chunks)

    def _take_figures(self, arrival: Arrival, step: FilePlan) -> None:
        self.sha256 = arrival.sha256
        self.bytes_kept = arrival.bytes_kept
        self.bytes_fetched = arrival.bytes_fetched
        self.notes.extend(arrival.notes)
        if arrival.bytes_kept:
            self.verb = "RESUMED"
        elif step.kept or step.action is Action.DISCARD:
            self.verb = "RESTARTED"
        else:
            self.verb = "DOWNLOADED"

    def _count_what_is_here(self) -> None:
        """How far the file came, for the message that says how to go on."""
        self.bytes_here = self.crew.machine.registry.look(self.file.node.file).kept
        self.bytes_kept = min(self.bytes_kept, self.bytes_here)

    def _figures(self, began: float) -> dict[str, object]:
        return {
            "bytes_kept": self.bytes_kept,
            "bytes_fetched": self.bytes_fetched,
            "bytes_here": self.bytes_here,
            "seconds": time.monotonic() - began,
            "notes": tuple(self.notes),
        }

    def _outcome(self, outcome: Outcome, began: float, verb: str) -> FileOutcome:
        learned = {"sha256": self.sha256} if self.sha256 else {}
        return FileOutcome.of(self.file, outcome, verb=verb, **self._figures(began), **learned)


@dataclass(frozen=True, slots=True)
class _FileWatch:
    """Passes what a transfer says on to the reporter, under the file's node ID, and to the job's figures."""

    job: Job
    id: str
    size: int

    def progress(self, have: int) -> None:
        # What falls below what was kept was thrown away.
        self.job.bytes_kept = min(self.job.bytes_kept, have)
        self.job.crew.reporter.progress(self.id, have, self.size)

    def fetched(self, count: int) -> None:
        self.job.bytes_fetched = count

    def retrying(self, reason: str, after_seconds: float) -> None:
        self.job.crew.reporter.retrying(self.id, reason, after_seconds)


def refused(file: FilePlan) -> FileError:
    """The error of a file that the disk would not show."""
    denied = "permission" in file.reason.lower() or "not permitted" in file.reason.lower()
    kind: type[FileError] = PermissionRefused if denied else ReadWriteFailed
    hint = "mend the disk or its permissions, then run it again"
    if (seen := file.error) is not None:
        kind, hint = type(seen), seen.hint or hint
    return kind(file.reason, hint=f"nothing was changed; {hint}")

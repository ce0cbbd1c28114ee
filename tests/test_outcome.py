"""Outcomes and reports: exit codes, counts, and what a note keeps of an error."""

from __future__ import annotations

import itertools

import pytest

from gemmalock.errors import DigestMismatch, ManifestInvalid, Problem
from gemmalock.lockfile import LockedFile, LockedManifest, LockedModel, Node
from gemmalock.outcome import ErrorNote, ExitCode, FileOutcome, Outcome, Report, exit_code_of, failed
from gemmalock.plan import Action, FilePlan, ResumeStatus

FILE = LockedFile.pin(
    name="m.gguf", path="gemma/m.gguf", url="https://h.example/m.gguf", size=100, etag=None, sha256="a" * 64
)
MODEL = LockedModel("gemma", (FILE,))
NODE = Node(LockedManifest("apps/chat/gemmalock.yaml", "models", "sha256:0", (MODEL,)), MODEL, FILE)
PLAN = FilePlan(NODE, ResumeStatus.CAN_RESUME, Action.RESUME, "40 bytes are here", 40)


def ended(outcome: Outcome, fetched: int = 0) -> FileOutcome:
    """An outcome that ended so."""
    return FileOutcome.of_node(NODE, outcome, bytes_fetched=fetched)


@pytest.mark.parametrize("results", [subset for n in range(6) for subset in itertools.combinations(Outcome, n)])
def test_an_interruption_beats_a_failure_beats_all_else(results: tuple[Outcome, ...]) -> None:
    code = exit_code_of(ended(result) for result in results)
    if Outcome.CANCELLED in results:
        assert code is ExitCode.INTERRUPTED
    elif Outcome.FAILED in results:
        assert code is ExitCode.FAILED
    else:
        assert code is ExitCode.OK


def test_the_exit_codes_are_those_of_pytest() -> None:
    assert [(code.name, code.value) for code in ExitCode] == [
        ("OK", 0), ("FAILED", 1), ("INTERRUPTED", 2), ("INTERNAL", 3), ("USAGE", 4), ("NOTHING_COLLECTED", 5),
    ]  # fmt: skip


def test_an_outcome_of_a_plan_says_all_that_the_plan_said() -> None:
    seen = FileOutcome.of(PLAN, Outcome.PLANNED)
    assert (seen.id, seen.model, seen.path) == (
        "apps/chat/gemmalock.yaml::gemma::m.gguf", "gemma", "apps/chat/models/gemma/m.gguf",
    )  # fmt: skip
    assert (seen.task_id, seen.size, seen.sha256) == (FILE.task_id, 100, "a" * 64)
    assert (seen.resume_status, seen.action) == (ResumeStatus.CAN_RESUME, Action.RESUME)
    assert seen.reason == "40 bytes are here"
    assert (seen.bytes_kept, seen.bytes_fetched, seen.error) == (40, 0, None)


@pytest.mark.parametrize(
    ("reason", "notes", "told"),
    [
        ("nothing is here yet", (), "nothing is here yet"),
        ("", ("a note",), "a note"),
        (
            "5 bytes are in place",
            ("moved to the trash: 5 bytes are in place",),
            "moved to the trash: 5 bytes are in place",
        ),
        ("nothing proves it", ("started again: nothing proves it", "lost"), "started again: nothing proves it; lost"),
        (
            "nothing is here yet",
            ("moved to the trash: other bytes",),
            "nothing is here yet; moved to the trash: other bytes",
        ),
        ("it rotted", ("it rotted", "it rotted"), "it rotted"),
    ],
)
def test_what_is_told_is_told_once(reason: str, notes: tuple[str, ...], told: str) -> None:
    assert FileOutcome.of_node(NODE, Outcome.DONE, reason=reason, notes=notes).told == told


def test_a_failure_keeps_the_errors_code_and_cure() -> None:
    seen = failed(PLAN, DigestMismatch("other bytes came"), bytes_fetched=60)
    assert seen.outcome is Outcome.FAILED
    assert seen.error == ErrorNote("digest_mismatch", "other bytes came", DigestMismatch.default_hint)
    assert seen.bytes_fetched == 60


def test_the_note_of_a_problem_has_its_place_and_its_own_cure_first() -> None:
    error = ManifestInvalid("2 problems", hint="see the manual")
    placed = ErrorNote.of_problem(error, Problem("gemmalock.yaml", 2, 5, "unknown key", hint="did you mean `root`?"))
    assert placed == ErrorNote("manifest", "unknown key", "did you mean `root`?", "gemmalock.yaml:2:5")
    bare = ErrorNote.of_problem(error, Problem("GEMMALOCK_JOBS", 0, 0, "is no number"))
    assert bare == ErrorNote("manifest", "is no number", "see the manual", "GEMMALOCK_JOBS")


def test_a_report_counts_what_happened() -> None:
    report = Report(
        "sync", ExitCode.FAILED, files=(ended(Outcome.DONE, 7), ended(Outcome.FAILED, 3), ended(Outcome.DONE))
    )
    assert {result: report.count(result) for result in Outcome} == {
        Outcome.DONE: 2, Outcome.SKIPPED: 0, Outcome.PLANNED: 0, Outcome.FAILED: 1, Outcome.CANCELLED: 0,
    }  # fmt: skip
    assert report.bytes_fetched == 10
    assert not report.ok
    assert Report("sync", ExitCode.OK).ok

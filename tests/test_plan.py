"""The contract's table, section 5: total, in order, and the same in the docs."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from gemmalock.lockfile import LockedFile, LockedManifest, LockedModel, Node
from gemmalock.plan import TABLE, Action, Place, ResumeStatus, Sight, TaskRecord, TaskSight, plan_file
from scripts.write_docs import MARK, table_text

DIGEST = "a" * 64
STRONG, WEAK = '"v1"', 'W/"v1"'


def node_of(etag: str | None, sha256: str | None) -> Node:
    file = LockedFile.pin(
        name="m.gguf", path="m/m.gguf", url="https://h.example/m.gguf", size=100, etag=etag, sha256=sha256
    )
    model = LockedModel("m", (file,))
    return Node(LockedManifest("gemmalock.yaml", "models", "sha256:0", (model,)), model, file)


def record_of(node: Node) -> TaskRecord:
    file = node.file
    return TaskRecord(
        file.task_id, file.url, file.size, file.etag, file.sha256, (node.id,), (), ((0, 10),), "2026-01-01T00:00:00Z"
    )


EVERY_LOCKED = list(itertools.product([STRONG, WEAK, None], [DIGEST, None]))
EVERY_TASK = list(
    itertools.product(
        ["none", "agrees", "other size", "other etag", "other digest", "no digest"],
        [False, True],
        [0, 10],
        [STRONG, WEAK, None],
        [None, "process 7"],
        [None, "cannot read the task"],
    )
)


def sight_of(
    node: Node, place: Place, in_store: str | None, task: tuple[str, bool, int, str | None, str | None, str | None]
) -> Sight:
    kind, has_bytes, kept, validator, holder, error = task
    base = record_of(node)
    record = {
        "none": None,
        "agrees": base,
        "other size": replace(base, size=99),
        "other etag": replace(base, etag='"v0"'),
        "other digest": replace(base, sha256="b" * 64),
        "no digest": replace(base, sha256=None),
    }[kind]
    return Sight(place, "", in_store, TaskSight(record, has_bytes, kept, validator, holder, error))


def test_every_state_of_the_product_has_one_status_action_and_reason() -> None:
    seen = set()
    for (etag, sha256), place, in_store in itertools.product(EVERY_LOCKED, Place, [None, DIGEST]):
        node = node_of(etag, sha256)
        for task in EVERY_TASK:
            sight = sight_of(node, place, in_store, task)
            planned = plan_file(node, sight)
            seen.add((planned.resume_status, planned.action))
            assert planned.reason
            assert (planned.kept > 0) == (planned.action is Action.RESUME)
            if place is Place.UNREADABLE or sight.task.error is not None:
                assert planned.action is Action.REFUSE
            if planned.action is Action.RESUME:
                assert node.file.continuable
                assert sight.task.record is not None
    assert seen == {(row.status, row.action) for row in TABLE}
    assert {status for status, _ in seen} == set(ResumeStatus)
    assert {action for _, action in seen} == set(Action)


ABSENT = Sight(Place.ABSENT)


@pytest.mark.parametrize(
    ("etag", "sha256", "task", "status", "said"),
    [
        (None, DIGEST, TaskSight(None, True, 10), ResumeStatus.NO_TASK, "no task record"),
        (WEAK, None, "record", ResumeStatus.CANNOT_RESUME, "the ETag is weak"),
        (None, None, "record", ResumeStatus.CANNOT_RESUME, "the ETag is missing"),
        (STRONG, None, "record", ResumeStatus.CAN_RESUME, "10 of 100 bytes are here, and the lock has a strong ETag"),
        (WEAK, DIGEST, "record", ResumeStatus.CAN_RESUME, "10 of 100 bytes are here, and the lock has their digest"),
        (None, DIGEST, TaskSight(), ResumeStatus.FILE_NOT_FOUND, "nothing is here yet"),
    ],
)
def test_what_is_said_of_a_partial(
    etag: str | None, sha256: str | None, task: TaskSight | str, status: ResumeStatus, said: str
) -> None:
    node = node_of(etag, sha256)
    sight = TaskSight(record_of(node), True, 10, etag) if isinstance(task, str) else task
    planned = plan_file(node, replace(ABSENT, task=sight))
    assert planned.resume_status is status
    assert said in planned.reason


def test_a_weak_etag_never_resumes_without_a_digest() -> None:
    node = node_of(WEAK, None)
    for task in EVERY_TASK:
        assert plan_file(node, sight_of(node, Place.ABSENT, None, task)).action is not Action.RESUME


def test_bytes_that_came_under_another_etag_are_not_continued_without_a_digest() -> None:
    node = node_of(STRONG, None)
    sight = TaskSight(record_of(node), True, 10, '"v2"')
    planned = plan_file(node, replace(ABSENT, task=sight))
    assert planned.resume_status is ResumeStatus.CANNOT_RESUME
    assert 'came with ETag `"v2"`' in planned.reason


def test_a_failed_look_never_becomes_a_deletion() -> None:
    for place, in_store in itertools.product(Place, [None, DIGEST]):
        sight = Sight(place, "", in_store, TaskSight(error="input/output error"))
        assert plan_file(node_of(STRONG, DIGEST), sight).action is Action.REFUSE


def test_the_docs_have_the_table_as_it_is() -> None:
    page = (Path(__file__).parents[1] / "docs" / "resume.md").read_text(encoding="utf-8")
    assert page.split(MARK)[1].strip() == table_text().strip(), "run `python scripts/write_docs.py`"

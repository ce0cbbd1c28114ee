"""Reports: what a command did, as the JSON of `--json`. Its schema is `schemas/report.v1.schema.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from gemmalock.differing import LockDifference
from gemmalock.escaping import shown_json
from gemmalock.outcome import REPORT_VERSION, ErrorNote, FileOutcome, LockChange, ProjectEnd, Report

SCHEMA = "report.v1.schema.json"


def write_report(report: Report) -> str:
    """The report as JSON with a newline at its end, in ASCII: whatever reads it, no terminal is driven by it."""
    return shown_json(_report(report), indent=2) + "\n"


def report_problems(text: str) -> list[str]:
    """What in a report does not fit its schema, a sentence each; empty when all does."""
    from gemmalock.codec.json_places import pointer_text
    from gemmalock.codec.schema import flaws

    return [f"{pointer_text(flaw.pointer)}: {flaw.message}" for flaw in flaws(SCHEMA, json.loads(text))]


def _report(report: Report) -> dict[str, object]:
    return {
        "report_version": REPORT_VERSION,
        "command": report.command,
        "exit_code": int(report.exit_code),
        "files": [_file(file) for file in report.files],
        "pruned": [{"path": stray.path, "size": stray.size, "to": stray.to} for stray in report.pruned],
        "strays_kept": [{"path": stray.path, "reason": stray.reason} for stray in report.strays_kept],
        "lock": _lock(report.lock),
        "errors": [_note(error) | {"place": error.place} for error in report.errors],
        "warnings": list(report.warnings),
        "facts": dict(report.facts) | _difference(report.difference) | _projects(report.projects),
        "summary": _summary(report),
    }


def _file(file: FileOutcome) -> dict[str, object]:
    return {
        "id": file.id,
        "model": file.model,
        "path": file.path,
        "task_id": file.task_id,
        "size": file.size,
        "sha256": file.sha256,
        "resume_status": file.resume_status.value if file.resume_status is not None else None,
        "reason": file.told,
        "action": file.action.value if file.action is not None else None,
        "outcome": file.outcome.value,
        "bytes_kept": file.bytes_kept,
        "bytes_fetched": file.bytes_fetched,
        "seconds": _seconds(file.seconds),
        "error": _note(file.error) if file.error is not None else None,
    }


def _difference(found: LockDifference | None) -> dict[str, object]:
    if found is None:
        return {}
    from gemmalock.codec.difference_json import difference_value

    return {"difference": difference_value(found)}


def _projects(ends: Sequence[ProjectEnd]) -> dict[str, object]:
    if not ends:
        return {}
    return {
        "projects": [{"folder": end.folder, "exit_code": int(end.exit_code), "lock": _lock(end.lock)} for end in ends]
    }


def _note(note: ErrorNote) -> dict[str, str]:
    return {"code": note.code, "message": note.message, "hint": note.hint}


def _lock(change: LockChange | None) -> dict[str, object] | None:
    return None if change is None else {"path": change.path, "changed": change.changed}


def _summary(report: Report) -> Mapping[str, object]:
    return asdict(report.summary) | {"seconds": _seconds(report.seconds)}


def _seconds(seconds: float) -> float:
    return round(seconds, 3)

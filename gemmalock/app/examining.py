"""`doctor`: every setting with its origin, and what works here. Uses no network, changes nothing, shows no secret."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import datetime

from gemmalock.app.findings import Finding, Verdict
from gemmalock.app.papers import Papers
from gemmalock.app.plugging import plugins_of
from gemmalock.app.probing import Root, examine_disks
from gemmalock.app.session import Call
from gemmalock.app.trusting import examine_way_out
from gemmalock.app.wiring import Workshop
from gemmalock.collect import Project, absolute, nearest
from gemmalock.errors import GemmalockError, SettingInvalid
from gemmalock.escaping import redacted
from gemmalock.lockfile import Lock
from gemmalock.outcome import ErrorNote, ExitCode, Report
from gemmalock.settings import PREFIX, Loaded, Settings, load
from gemmalock.settings.said import From, mistaken_in_files, said_in_files
from gemmalock.settings.values import ADDOPTS, FLAGS
from gemmalock.version import VERSION


def run_doctor(call: Call, added: Mapping[str, str]) -> Report:
    """What works here. `added` has the origins of those flags that `addopts` gave. Exit code 4 where a setting cannot
    be, else 1 where something is broken. Works outside of any project."""
    found = nearest(call.folder)
    project = found or Project(absolute(call.folder))
    loaded = load(project.folder, call.environ, call.flags, FLAGS)
    papers = Papers(project, loaded.settings)
    lock = Lock()
    with contextlib.suppress(GemmalockError):
        lock = papers.old_lock or lock
    workshop = Workshop(project, loaded.settings, call.environ, lock=lock, first_root=papers.first_root)
    findings = [
        *_unread(project, call, lock),
        *_misspelt(call.environ),
        *examine_disks(workshop, _roots(project, papers, lock) if found is not None else ()),
        *examine_way_out(call.environ, loaded.settings),
        *_plugins(loaded.settings),
    ]
    return _report(project if found is not None else None, _rows(loaded, added), findings, _wrong(call, loaded))


def _wrong(call: Call, loaded: Loaded) -> tuple[ErrorNote, ...]:
    problems = dict.fromkeys((*loaded.problems, *call.problems))
    return tuple(ErrorNote.of_problem(SettingInvalid(problem.message), problem) for problem in problems)


def _report(
    project: Project | None,
    rows: list[dict[str, object]],
    findings: list[Finding],
    wrong: tuple[ErrorNote, ...],
) -> Report:
    broken = tuple(
        ErrorNote("doctor", finding.told, finding.hint) for finding in findings if finding.verdict is Verdict.BROKEN
    )
    checks = [
        {"about": each.topic, "what": each.what, "verdict": each.verdict.value, "says": each.says} for each in findings
    ]
    return Report(
        "doctor",
        ExitCode.USAGE if wrong else ExitCode.FAILED if broken else ExitCode.OK,
        errors=(*wrong, *broken),
        warnings=tuple(
            f"{finding.told}; {finding.hint}".rstrip("; ") for finding in findings if finding.verdict is Verdict.WARNING
        ),
        facts=(
            ("version", VERSION),
            ("python", platform.python_version()),
            ("interpreter", sys.executable),
            ("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
            ("project", None if project is None else str(project.folder)),
            ("settings", rows),
            ("checks", checks),
        ),
    )


def _rows(loaded: Loaded, added: Mapping[str, str]) -> list[dict[str, object]]:
    """Every setting with its value and its origin; then flags that a file or the environment gives, and `addopts`."""
    settings = loaded.settings
    rows = [_row(loaded, added, each.name, getattr(settings, each.name)) for each in fields(Settings)]
    rows += [_row(loaded, added, name, loaded.values[name]) for name in FLAGS if name in loaded.said]
    in_files = [said for said in loaded.said.get(ADDOPTS, ()) if said.file is not None]
    for said in (*in_files[-1:], *(said for said in loaded.said.get(ADDOPTS, ()) if said.file is None)):
        outweighed = [each.origin for each in reversed(in_files[:-1])] if said.file is not None else []
        rows.append({"name": ADDOPTS, "value": _clean(said.value), "origin": said.origin, "outweighed": outweighed})
    return rows


def _row(loaded: Loaded, added: Mapping[str, str], name: str, value: object) -> dict[str, object]:
    said = loaded.said.get(name, ())
    origin = said[-1].origin if said else From.DEFAULT.value
    if said and said[-1].by is From.FLAG:
        origin = added.get(name, origin)
    outweighed = [each.origin for each in reversed(said[:-1])]
    return {"name": name.replace("_", "-"), "value": _clean(value), "origin": origin, "outweighed": outweighed}


def _clean(value: object) -> object:
    """A value as JSON has it, without the secrets that URLs in it may hold. Pairs are those of a table."""
    if isinstance(value, (tuple, list)):
        if value and all(isinstance(each, tuple) for each in value):
            return dict(value)
        return [_clean(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return redacted(value) if isinstance(value, str) else value


def _roots(project: Project, papers: Papers, lock: Lock) -> tuple[Root, ...]:
    """The roots by the lock, else the one that the manifest names."""
    names: list[str | None] = [manifest.root_path for manifest in lock.manifests]
    return tuple(Root(name, project.folder / name) for name in names or [papers.first_root()] if name is not None)


def _unread(project: Project, call: Call, lock: Lock) -> Iterator[Finding]:
    """What somebody may take for read: what nearly is a settings file, and settings files beside other manifests and on
    the way to here."""
    for problem in mistaken_in_files(project.folder):
        place = f"{problem.path}:{problem.line}" if problem.line else problem.path
        yield Finding("not read", place, Verdict.WARNING, problem.message, problem.hint)
    here = absolute(call.folder)
    between = [place for place in (here, *here.parents) if project.folder in place.parents]
    members = [project.folder / manifest.folder for manifest in lock.manifests]
    for folder in dict.fromkeys((*between, *members)):
        if folder == project.folder:
            continue
        said, problems = said_in_files(folder)
        for name in dict.fromkeys((*(each.place for each in said), *(each.path for each in problems))):
            place = os.path.relpath(folder / name, project.folder)
            hint = f"move them to `{project.folder}`"
            yield Finding(
                "not read", place, Verdict.WARNING, "has settings, and is no settings file of this project", hint
            )


def _plugins(settings: Settings) -> Iterator[Finding]:
    """The plugins that are on."""
    try:
        plugins = plugins_of(settings)
    except GemmalockError as error:
        yield Finding("plugins", "loading", Verdict.BROKEN, error.message, error.hint)
        return
    for name in plugins.names if plugins is not None else ():
        yield Finding("plugins", name, Verdict.OK, "is loaded")
    if plugins is None:
        yield Finding("plugins", "installed", Verdict.NO, "there are none, or all are off")


def _misspelt(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Variables that are nearly the twin of a flag or a setting."""
    import difflib

    names = (*(each.name for each in fields(Settings)), *FLAGS, ADDOPTS, "directory")
    known = [PREFIX + name.upper() for name in names]
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in known:
            for close in difflib.get_close_matches(variable, known, n=1, cutoff=0.9):
                yield Finding(
                    "not read",
                    variable,
                    Verdict.WARNING,
                    "is the twin of no flag and of no setting",
                    f"did you mean `{close}`?",
                )

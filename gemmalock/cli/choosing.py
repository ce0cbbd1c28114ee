"""Which files a command is about: selectors, the flags that narrow them, as pytest has them, and `--collect-only`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from itertools import groupby
from typing import Any, TypeVar

import click

from gemmalock.app.session import Choice, Session
from gemmalock.cli.flags import option
from gemmalock.cli.running import finish
from gemmalock.cli.state import State
from gemmalock.lockfile import Node
from gemmalock.outcome import ExitCode, Report
from gemmalock.sizes import shown_size

_Function = TypeVar("_Function", bound=Callable[..., Any])

_CHOICE = (
    option("-k", "--keyword", metavar="EXPR", envvar="GEMMALOCK_KEYWORD",
           help="Only files whose manifest, model or file is named so: words with and, or, not, parentheses."),
    option("-m", "--tags", metavar="EXPR", envvar="GEMMALOCK_TAGS",
           help="Only files of models with these tags: the same with whole tags."),
    option("--deselect", multiple=True, metavar="ID", envvar="GEMMALOCK_DESELECT",
           help="Leave out a node ID, or what begins with it; may be repeated."),
    option("--lf", "--last-failed", "last_failed", is_flag=True, envvar=["GEMMALOCK_LAST_FAILED", "GEMMALOCK_LF"],
           help="Only files that failed when they were last tried; all, where none did."),
    option("--ff", "--failed-first", "failed_first", is_flag=True,
           envvar=["GEMMALOCK_FAILED_FIRST", "GEMMALOCK_FF"],
           help="All files, first those that failed when they were last tried."),
    option("--co", "--collect-only", "collect_only", is_flag=True, envvar="GEMMALOCK_COLLECT_ONLY",
           help="Show which files it is about, and do nothing."),
)  # fmt: skip

_ENDURANCE = (
    option("-x", "--exitfirst", is_flag=True, envvar="GEMMALOCK_EXITFIRST",
           help="Begin nothing more after the first failure."),
    option("--maxfail", type=click.IntRange(0), default=0, metavar="N", envvar="GEMMALOCK_MAXFAIL",
           help="Begin nothing more after N failures."),
)  # fmt: skip


def choosing(function: _Function) -> Callable[..., Any]:
    """Selectors and the flags that narrow them: the command gets a Session for them as `session`, made by `begin`."""

    @functools.wraps(function)
    def chosen(*args: Any, **given: Any) -> Any:
        choice = Choice(**{field.name: given.pop(field.name) for field in fields(Choice)})
        return function(*args, choice=choice, **given)

    wrapped: Callable[..., Any] = chosen
    for add in reversed(_CHOICE):
        wrapped = add(wrapped)
    return click.argument("selectors", nargs=-1, metavar="[SELECTOR]...")(wrapped)


def enduring(function: _Function) -> Callable[..., Any]:
    """The flags that say how many failures a run takes: the command gets them as `maxfail` (0: any number)."""

    @functools.wraps(function)
    def bounded(*args: Any, exitfirst: bool, maxfail: int, **given: Any) -> Any:
        state = click.get_current_context().find_object(State)
        assert state is not None
        return function(*args, maxfail=state.takes(1 if exitfirst else maxfail), **given)

    wrapped: Callable[..., Any] = bounded
    for add in reversed(_ENDURANCE):
        wrapped = add(wrapped)
    return wrapped


def show_collected(state: State, session: Session, command: str) -> int:
    """Show the files that a command would be about, as a tree of their node IDs with sizes."""
    nodes = session.selection.of(session.papers.required_lock().nodes())
    if not state.json:
        for manifest, of_manifest in groupby(nodes, key=lambda node: node.manifest.path):
            state.page.line(state.page.named(manifest))
            for model, of_model in groupby(of_manifest, key=lambda node: node.model.name):
                _show_model(state, model, list(of_model))
    size = sum(node.file.size for node in nodes)
    facts = (("collected", [node.id for node in nodes]), ("bytes", size))
    return finish(state, Report(command, ExitCode.OK, facts=facts), summary=not state.json)


def _show_model(state: State, model: str, nodes: list[Node]) -> None:
    state.page.line(f"  ::{model}  {shown_size(sum(node.file.size for node in nodes))}")
    for node in nodes:
        state.page.line(f"    ::{node.file.name}  {shown_size(node.file.size)}")

"""`gemmalock cache`."""

from __future__ import annotations

import os

import click

from gemmalock.app.caring import (
    CachePruneOptions,
    read_span,
    run_cache_dir,
    run_cache_prune,
    run_cache_size,
    run_cache_verify,
)
from gemmalock.cli.flags import flag, global_flags, option
from gemmalock.cli.groups import NamedGroup
from gemmalock.cli.running import finish, timed
from gemmalock.cli.signals import pausing
from gemmalock.cli.state import State
from gemmalock.errors import UsageError
from gemmalock.settings.values import read_amount
from gemmalock.sizes import shown_size


@click.group("cache", cls=NamedGroup, no_args_is_help=False)
@global_flags
def command() -> None:
    """Look after the store: this machine's cache of finished files, shared by all projects."""


@command.command("dir")
@global_flags
@click.pass_obj
def cache_dir(state: State, /) -> int:
    """Print where the store is."""
    report = run_cache_dir(state.begin_anywhere({}).workshop)
    if not state.json:
        click.echo(os.fsencode(str(dict(report.facts)["dir"])))
    return finish(state, report, summary=False)


@command.command("size")
@global_flags
@click.pass_obj
def cache_size(state: State, /) -> int:
    """Print how much the store holds."""
    report = run_cache_size(state.begin_anywhere({}).workshop)
    facts = dict(report.facts)
    if not state.json:
        size, objects = facts["bytes"], facts["objects"]
        assert isinstance(size, int)
        click.echo(f"{size} bytes ({shown_size(size)}) in {objects} objects")
    return finish(state, report, summary=False)


@command.command("verify")
@global_flags
@click.pass_obj
def cache_verify(state: State, /) -> int:
    """Hash every object; a rotten one goes into quarantine."""
    session = state.begin_anywhere({})
    with pausing(state.stop):
        report = timed(lambda: run_cache_verify(session.workshop))
    code = finish(state, report, summary=False)
    if not state.json:
        facts = dict(report.facts)
        state.page.line(f"== {facts['sound']} sound, {len(report.errors)} rotten in {report.seconds:.2f}s ==")
    return code


@command.command("prune")
@option("--older-than", metavar="SPAN", envvar="GEMMALOCK_OLDER_THAN", help="Objects not used for so long: 30d.")
@option("--max-size", metavar="SIZE", envvar="GEMMALOCK_MAX_SIZE", help="Until the store is below that: 50G.")
@flag("--dry-run", "Show what would go, and do nothing.")
@global_flags
@click.pass_obj
def cache_prune(state: State, /, older_than: str | None, max_size: str | None, dry_run: bool) -> int:
    """Take unused objects out of the store.

    Never what a root links to, and never a live task. Without limits, everything that no root links to.
    """
    try:
        size = read_amount(max_size) if max_size is not None else None
    except ValueError as error:
        raise UsageError(f"`--max-size` {error}") from None
    options = CachePruneOptions(read_span(older_than) if older_than is not None else None, size, dry_run)
    report = run_cache_prune(state.begin_anywhere({}).workshop, options)
    facts = dict(report.facts)
    count = facts["bytes"]
    assert isinstance(count, int)
    if not state.json:
        would = "would go" if dry_run else "gone"
        state.page.line(f"== {facts['objects']} objects ({shown_size(count)}) {would} ==")
    return finish(state, report, summary=False)

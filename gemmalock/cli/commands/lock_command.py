"""`gemmalock lock`."""

from __future__ import annotations

from typing import Any

import click

from gemmalock.app.locking import LockOptions, run_lock
from gemmalock.app.session import Choice
from gemmalock.cli.choosing import choosing, show_collected
from gemmalock.cli.flags import age_settings, flag, global_flags, option, setting
from gemmalock.cli.opening import open_run
from gemmalock.cli.reporting import reporting_flags
from gemmalock.cli.running import finish, timed
from gemmalock.cli.signals import pausing
from gemmalock.cli.state import State
from gemmalock.outcome import Outcome, Report


def _tell_shared_pins(state: State, report: Report) -> None:
    """Say which models have a pin in common, where anything came of it."""
    if state.verbosity < 1 and not any(outcome.outcome is Outcome.DONE for outcome in report.files):
        return
    shared = dict(report.facts).get("shared")
    for pin in shared if isinstance(shared, list) and state.verbosity >= 0 else ():
        state.page.line(f"ONE PIN  {pin['source']}  for {', '.join(map(state.page.named, pin['models']))}")


@click.command("lock")
@choosing
@flag("--check", "Change nothing; exit 1 if the lock does not follow from the manifest. Asks no source.")
@flag("--upgrade", "Ask for everything anew, instead of keeping what is pinned. A learned digest stays as long as URL, "
      "size and ETag do, unless --hash is given.")  # fmt: skip
@option("--upgrade-model", multiple=True, metavar="NAME", envvar="GEMMALOCK_UPGRADE_MODEL",
        help="Ask for this model anew; may be repeated.")  # fmt: skip
@flag("--hash", "Fetch and hash every file whose digest no one published; with --upgrade also those whose digest was "
      "learned before.")  # fmt: skip
@flag("--dry-run", "Show what would be locked, and write nothing.")
@setting("--offline", "Use no network.", is_flag=True)
@age_settings
@reporting_flags
@global_flags
@click.pass_obj
def command(state: State, /, selectors: tuple[str, ...], choice: Choice, **flags: Any) -> int:
    """Resolve the manifest into gemmalock.lock.

    What is pinned stays pinned as long as it follows from the manifest. The lock is written only when its bytes
    differ.
    """
    names = ("check", "upgrade", "upgrade_model", "hash", "dry_run")
    options = LockOptions(**{name: flags.pop(name) for name in names})
    reporter = state.reporter()
    session = state.begin(selectors, flags, reporter, choice)
    if choice.collect_only:
        return show_collected(state, session, "lock")
    open_run(state, session)
    with pausing(state.stop), reporter:
        report = timed(lambda: run_lock(session.workshop, session.papers, options, session.selection))
    session.workshop.close()
    _tell_shared_pins(state, report)
    if state.verbosity or report.difference is None or not (options.upgrade or options.upgrade_model):
        return finish(state, report)
    # Of an upgrade the table says what moved; with `-v` there is a line a file, with all there is to say of it.
    state.page.table(report.difference)
    moved = {file.id for file in report.difference.files}
    return finish(state, report, told=moved)

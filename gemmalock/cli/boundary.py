"""The one place where errors become messages and exit codes. No traceback ever reaches a user."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

import click

from gemmalock.app.affording import share_one_heap
from gemmalock.cli.program import program
from gemmalock.cli.running import annotate, kept
from gemmalock.cli.state import State
from gemmalock.cli.streams import steady_streams
from gemmalock.collect import SeveralProjects
from gemmalock.errors import GemmalockError, InputError, Interrupted, UsageError, disk_error
from gemmalock.outcome import ErrorNote, ExitCode, Report
from gemmalock.secret import redacted_secrets
from gemmalock.settings.values import is_true

#: The commands that run in every project that is meant. The others need one.
IN_SEVERAL = frozenset({"sync", "status", "verify", "list", "tree", "lock", "outdated", "prune"})


def run(arguments: Sequence[str], listen: Callable[[], None] = lambda: None) -> int:
    """Run one command line; its exit code. Prints, never raises. `listen` is called when there is a page to tell an
    interruption on, and raises KeyboardInterrupt then, or makes signals raise it."""
    state = State(json="--json" in arguments or is_true(os.environ.get("GEMMALOCK_JSON", "")))
    out = steady_streams()
    share_one_heap()
    code = ended(state, arguments, listen)
    sys.stdout.flush()
    if out is not None and out.failure is not None:
        return _told(state, _lost(out.failure)) if code == 0 else code
    return code


def ended(state: State, arguments: Sequence[str], listen: Callable[[], None] = lambda: None) -> int:
    """The exit code of one command line, with its errors told on the state's page."""
    try:
        listen()
        return _called(state, arguments)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        return _told(state, UsageError(_sentence(error.format_message()), hint=_usage_hint(error)))
    except (click.Abort, KeyboardInterrupt):
        return _told(state, Interrupted("interrupted", hint="run it again to go on"))
    except GemmalockError as error:
        return _told(state, error)
    except Exception:
        return _bug(state)


def _called(state: State, arguments: Sequence[str]) -> int:
    """The exit code of one command line: in each of the projects that are meant, where there are several."""
    try:
        return int(program.main(list(arguments), "gemmalock", standalone_mode=False, obj=state) or 0)
    except SeveralProjects as several:
        if state.command not in IN_SEVERAL:
            raise
        found = several.found
    from gemmalock.cli.several import run_in_each

    return run_in_each(state, found, lambda part: ended(part, arguments))


def _lost(failure: OSError) -> GemmalockError:
    """What did not get out through standard output. It is not the store's disk that is in the way."""
    lost = disk_error(failure, "write to standard output")
    lost.hint = "what was to be done is done; send standard output to where there is room for it"
    return lost


def _told(state: State, error: GemmalockError, code: ExitCode | None = None) -> int:
    exit_code = ExitCode(error.exit_code) if code is None else code
    if isinstance(error, InputError) and error.problems:
        notes = tuple(ErrorNote.of_problem(error, problem) for problem in error.problems)
    else:
        notes = (ErrorNote.of(error),)
    report = kept(state, Report(state.command or "gemmalock", exit_code, errors=notes))
    state.page.error(error)
    state.page.errors(report.errors[len(notes) :])
    annotate(state, report)
    state.page.report(report)
    return int(exit_code)


def _bug(state: State) -> int:
    """Keep the traceback in a file for us, and tell the user where it is."""
    import traceback

    kind, error, _ = sys.exc_info()
    message = f"a bug in gemmalock: {kind.__name__ if kind else 'error'}: {error}"
    log = _kept(traceback.format_exc())
    bug = GemmalockError(message, hint=f"nothing is lost; please report it{f' with `{log}`' if log else ''}")
    return _told(state, bug, ExitCode.INTERNAL)


def _kept(text: str) -> str | None:
    """The file that `text` was written to, or None where there is no place for it."""
    import tempfile

    try:
        with tempfile.NamedTemporaryFile("wb", prefix="gemmalock-", suffix=".log", delete=False) as log:
            log.write(redacted_secrets(text).encode("utf-8", "backslashreplace"))
    except OSError:
        return None
    return log.name


def _sentence(message: str) -> str:
    """A message of click's as ours are: lower case, no full stop."""
    return (message[:1].lower() + message[1:]).rstrip(".")


def _usage_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f"see `{context.command_path} --help`" if context is not None else "see `gemmalock --help`"

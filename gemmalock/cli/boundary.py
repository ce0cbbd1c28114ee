"""The one place where errors become messages and exit codes. No traceback ever reaches a user."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from gemmalock.cli.program import program
from gemmalock.cli.state import State
from gemmalock.errors import GemmalockError, InputError, UsageError
from gemmalock.outcome import ErrorNote, ExitCode, Report

#: What a shell shows for a program whose reader went away (128 + SIGPIPE).
READER_GONE = 141


def run(arguments: Sequence[str]) -> int:
    """Run one command line; its exit code. Prints, never raises."""
    state = State(command=next((word for word in arguments if not word.startswith("-")), ""))
    state.json = "--json" in arguments
    try:
        code = program.main(list(arguments), "gemmalock", standalone_mode=False, obj=state)
        sys.stdout.flush()
        return int(code or 0)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        return _told(state, UsageError(error.format_message(), hint=_usage_hint(error)))
    except (click.Abort, KeyboardInterrupt):
        return _told(state, GemmalockError("interrupted", hint="run it again to go on"), ExitCode.INTERRUPTED)
    except GemmalockError as error:
        return _told(state, error)
    except BrokenPipeError:
        _silence_stdout()
        return READER_GONE
    except Exception:
        return _bug(state)


def _told(state: State, error: GemmalockError, code: ExitCode | None = None) -> int:
    exit_code = ExitCode(error.exit_code) if code is None else code
    if isinstance(error, InputError) and error.problems:
        notes = tuple(ErrorNote.of_problem(error, problem) for problem in error.problems)
    else:
        notes = (ErrorNote.of(error),)
    with contextlib.suppress(BrokenPipeError):
        state.page.error(error)
        if state.json:
            state.page.report(Report(state.command or "gemmalock", exit_code, errors=notes))
    return int(exit_code)


def _bug(state: State) -> int:
    """Keep the traceback in a file for us, and tell the user where it is."""
    with tempfile.NamedTemporaryFile("w", prefix="gemmalock-", suffix=".log", delete=False, encoding="utf-8") as log:
        log.write(traceback.format_exc())
    kind, error, _ = sys.exc_info()
    message = f"a bug in gemmalock: {kind.__name__ if kind else 'error'}: {error}"
    bug = GemmalockError(message, hint=f"nothing is lost; please report it with `{Path(log.name)}`")
    return _told(state, bug, ExitCode.INTERNAL)


def _usage_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f"see `{context.command_path} --help`" if context is not None else "see `gemmalock --help`"


def _silence_stdout() -> None:
    """Let the interpreter's last flush go nowhere."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

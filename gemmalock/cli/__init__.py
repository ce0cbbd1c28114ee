"""The command line: the only floor that prints, prompts, exits and reads the environment.

One error boundary (`main`); one module a command in `commands`; what is printed is in `render` and `progress`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

_ENDING = (signal.SIGINT, signal.SIGTERM)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with pytest's exit codes."""
    try:
        code = _loaded()(list(sys.argv[1:] if arguments is None else arguments))
        _be_deaf()
    except KeyboardInterrupt:
        # While it was still being loaded, or while it told what came of it: there is no page to say it on.
        _be_deaf()
        with contextlib.suppress(OSError):
            os.write(2, b"error: interrupted\n")
        code = 2
    sys.exit(code)


def _be_deaf() -> None:
    """All was said, and nothing is left to be done but to go: a signal must not change the exit code any more."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)


def _loaded() -> Callable[[Sequence[str]], int]:
    """The program, loaded. Raises KeyboardInterrupt, but never in the middle of an import, which would print what it
    makes of that. From here on SIGTERM is told like SIGINT; `signals` has the way that keeps what came."""
    heard: list[int] = []
    ending = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    for number in ending:
        signal.signal(number, lambda number, frame: heard.append(number))
    from gemmalock.cli.boundary import run

    for number in ending:
        signal.signal(number, signal.default_int_handler)
    if heard:
        raise KeyboardInterrupt
    return run

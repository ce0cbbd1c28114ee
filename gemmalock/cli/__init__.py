"""The command line: the only floor that prints, prompts, exits and reads the environment.

One error boundary (`main`); one module a command in `commands`; what is printed is in `render` and `progress`.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with pytest's exit codes."""
    # Told like SIGINT, wherever it comes; `signals` has the way that keeps what came.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        from gemmalock.cli.boundary import run

        code = run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        # While it was still being loaded, or twice: nothing was begun, or all was said.
        code = 2
    sys.exit(code)

"""The command line: the only floor that prints, prompts, exits and reads the environment.

One error boundary (`main`); one module a command in `commands`; what is printed is in `render` and `progress`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with pytest's exit codes."""
    from gemmalock.cli.boundary import run

    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))

"""The command line: the only floor that prints, prompts, exits and reads the environment.

One error boundary (`main`); one module a command in `commands`; what is printed is in `render` and `progress`.
"""

from __future__ import annotations

import gc
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType
    from typing import NoReturn

_ENDING = (signal.SIGINT, signal.SIGTERM)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with pytest's exit codes."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        from gemmalock.cli.quick import answer

        code = answer(given)
        if code is None:
            code = _loaded()(given)
        _be_deaf()
    except KeyboardInterrupt:
        # Before it could be noted, or when all was said: there is no page to say it on.
        _be_deaf()
        _say_so()
        code = 2
    if arguments is None and _is_the_program():
        _go(code)
    sys.exit(code)


def _is_the_program() -> bool:
    """Whether this process is the command line alone, and nobody's who called it, looks on, or is to be asked after."""
    program = sys.modules["__main__"]
    spec = getattr(program, "__spec__", None)
    name = os.path.basename(getattr(program, "__file__", None) or "") if spec is None else spec.name
    if name not in ("gemmalock", "gemmalock.__main__") or sys.gettrace() or sys.getprofile() or sys.flags.interactive:
        return False
    threading = sys.modules.get("threading")
    return threading is None or sum(not each.daemon for each in threading.enumerate()) == 1


def _go(code: int) -> None:
    """End the process at once, and leave what it made to the system: to take that apart, object by object, is up to a
    tenth of a run. Comes back where not all could be written: Python has its own way to say so."""
    import atexit

    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        return
    os._exit(code)


def _say_so() -> None:
    import contextlib

    with contextlib.suppress(OSError):
        os.write(2, b"error: interrupted\n")


def _be_deaf() -> None:
    """All was said, and nothing is left to be done but to go: a signal must not change the exit code any more."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)


def _loaded() -> Callable[[Sequence[str]], int]:
    """The program, loaded. A signal in the middle of an import would print what that makes of it: it is noted, and
    told when there is a page to tell it on. Then SIGTERM is told like SIGINT; `signals` has the way that keeps what
    came."""
    heard: list[int] = []
    ending = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    for number in ending:
        signal.signal(number, lambda number, frame: heard.append(number))
    # What is loaded stays to the end: nobody has to look for garbage in it, now or later.
    gc.disable()
    from gemmalock.cli.boundary import run

    gc.freeze()
    gc.enable()

    def listen() -> None:
        if heard:
            raise KeyboardInterrupt
        for number in ending:
            signal.signal(number, _interrupt)

    return lambda arguments: run(arguments, listen)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, once: a second signal must not cut short what is told of the first."""
    for each in _ENDING:
        if signal.getsignal(each) is _interrupt:
            # Not ignored: a run that begins all the same has to hear them, and a child process too.
            signal.signal(each, _told_already)
    raise KeyboardInterrupt


def _told_already(number: int, frame: FrameType | None) -> None:
    """The first one said it all."""

"""Standard streams that cannot end a run: a reader that goes away, a stream that is closed, a letter that it lacks.

Whoever pipes a run into `head` has seen enough, and still wants the files: what is written after the reader went is
dropped, and the work is done. Only where standard output cannot be *written* (a full disk) the run has failed.

No secret gets through, whoever writes: that is looked at here a last time.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO

from gemmalock.secret import redacted_bytes


class Patient(io.FileIO):
    """A stream's descriptor. `failure`: why something could not be written, other than for want of a reader."""

    failure: OSError | None = None
    _is_over = False

    def write(self, text: object, /) -> int:
        """Write, or drop what nobody takes any more."""
        if not self._is_over:
            try:
                return super().write(text)  # type: ignore[arg-type]
            except BrokenPipeError:
                self._is_over = True
            except OSError as error:
                self._is_over = True
                self.failure = error
        return memoryview(text).nbytes  # type: ignore[arg-type]


class Discreet(io.BufferedWriter):
    """A stream's buffer, which keeps secrets. What is written to it comes in whole writes of who wrote it."""

    def write(self, text: object, /) -> int:
        """Write what is left of it when the known secrets are out; as if it were all of it."""
        raw = bytes(text)  # type: ignore[call-overload]
        super().write(redacted_bytes(raw))
        return len(raw)


def steady_streams() -> Patient | None:
    """Make standard output and standard error such streams; that of standard output, or None where a caller has put
    something else in its place. Descriptors that were closed lead nowhere from now on, instead of into our files."""
    _fill_holes()
    out = _steady(sys.stdout, sys.__stdout__, 1)
    err = _steady(sys.stderr, sys.__stderr__, 2)
    if err is not None:
        sys.stderr = err[0]
    if out is None:
        return None
    sys.stdout = out[0]
    return out[1]


def _fill_holes() -> None:
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)


def _steady(now: TextIO | None, original: TextIO | None, number: int) -> tuple[TextIO, Patient] | None:
    if now is not original:
        return None
    if now is not None:
        now.flush()
    raw = Patient(number, "w", closefd=False)
    encoding = getattr(now, "encoding", None) or "utf-8"
    buffered = Discreet(raw)
    return io.TextIOWrapper(buffered, encoding, "backslashreplace", line_buffering=number == 2 or raw.isatty()), raw

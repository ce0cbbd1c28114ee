"""SIGINT and SIGTERM pause a run: a thread of its own hears them, so that whatever the main thread does is woken."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from gemmalock.stopping import Stop

PAUSING = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def pausing(stop: Stop) -> Iterator[None]:
    """While inside, SIGINT and SIGTERM set `stop` instead of ending the process; a second one changes nothing, also
    afterwards, while what came of it is told. Where there is no thread to be had, they do what they always do."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    hears, tells = os.pipe()
    os.set_blocking(tells, False)
    thread = threading.Thread(target=_listen, args=(hears, stop), name="gemmalock-signals", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        os.close(tells)
        os.close(hears)
        yield
        return
    # What the parent had us ignore (`nohup`, a background job of a script) stays ignored.
    heard = [number for number in PAUSING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _noted) for number in heard}
    wakeup = signal.set_wakeup_fd(tells, warn_on_full_buffer=False)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if stop.is_set() else handler)
        signal.set_wakeup_fd(wakeup)
        os.close(tells)
        thread.join()
        os.close(hears)


def _noted(number: int, frame: FrameType | None) -> None:
    """The byte in the pipe says it all."""


def _listen(hears: int, stop: Stop) -> None:
    while heard := os.read(hears, 16):
        if any(number in PAUSING for number in heard):
            stop.set()

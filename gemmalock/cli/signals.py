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
    """While inside, SIGINT and SIGTERM set `stop` instead of ending the process; a second one changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    hears, tells = os.pipe()
    os.set_blocking(tells, False)
    before = {number: signal.signal(number, _noted) for number in PAUSING}
    wakeup = signal.set_wakeup_fd(tells, warn_on_full_buffer=False)
    thread = threading.Thread(target=_listen, args=(hears, stop), name="gemmalock-signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(tells)
        thread.join()
        os.close(hears)


def _noted(number: int, frame: FrameType | None) -> None:
    """The byte in the pipe says it all."""


def _listen(hears: int, stop: Stop) -> None:
    while heard := os.read(hears, 16):
        if any(number in PAUSING for number in heard):
            stop.set()

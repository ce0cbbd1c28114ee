"""The text of a lock before it is written, and whether it may be: read back, and without a secret. Writes nothing."""

from __future__ import annotations

import re

from gemmalock.codec.lock_json import read_lock, write_lock
from gemmalock.errors import LockInvalid, PolicyRefused, RunRefused
from gemmalock.lockfile import LOCK_NAME, Lock
from gemmalock.secret import holds_secret

_SECRET_HINT = "a server repeats what it was sent, in the name or the URL of a file; nothing was written"
_UNREADABLE_HINT = "a source said what no lock can hold, and that is a bug in gemmalock: report it; nothing was written"
#: A size in the text of a lock; within a string, its quotes have backslashes.
_SIZE = r'"size": \d+'


def text_of(lock: Lock) -> bytes:
    """The bytes of a lock. Raises RunRefused for what no text can be."""
    try:
        return write_lock(lock)
    except UnicodeEncodeError as error:
        raise _unreadable(f"it has {error.object[error.start : error.end]!a} in it, which is no letter") from None


def refuse_unfit(text: bytes) -> None:
    """Raise PolicyRefused for the text of a lock with a secret in it, RunRefused for one that is none when read."""
    written = text.decode("utf-8")
    # A size is a number that the bytes have, whatever somebody's password is.
    if holds_secret(written) and holds_secret(re.sub(_SIZE, "", written)):
        raise PolicyRefused(f"`{LOCK_NAME}` would have a credential in it", hint=_SECRET_HINT)
    try:
        read_lock(text, LOCK_NAME)
    except LockInvalid as error:
        raise _unreadable("; ".join(map(str, error.problems))) from None


def _unreadable(why: str) -> RunRefused:
    return RunRefused(f"`{LOCK_NAME}` would be none that can be read: {why}", hint=_UNREADABLE_HINT)

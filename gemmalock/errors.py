"""What can go wrong, as one tree.

    GemmalockError
    ├── InputError          a manifest, a lock, a setting or a command line is wrong (exit 4)
    │   ├── ManifestInvalid
    │   ├── LockInvalid
    │   ├── SettingInvalid
    │   ├── StateTooNew     what a newer gemmalock keeps on this disk
    │   └── UsageError
    ├── LockOutdated        the lock does not follow from the manifest (exit 1)
    ├── LockMissing         there is no lock, and none may be made (exit 1)
    ├── NothingCollected    no manifest, or a selection that selects nothing (exit 5)
    │   └── Deselected      something was named, and flags leave nothing of it
    ├── RunRefused          a whole run stops before it changes anything (exit 1)
    ├── Interrupted         SIGINT or SIGTERM (exit 2)
    └── FileError           one file cannot be had, checked or placed (exit 1)
        ├── SourceError     NotFound, Unauthorized, Forbidden, Gated, RateLimited, ServerError, TimedOut,
        │                   ConnectionFailed, TlsFailed, RedirectRefused, Offline, RangeRefused, CodingRefused
        ├── TransferError   UpstreamChanged, SizeMismatch, DigestMismatch
        ├── DiskError       NoSpace, PermissionRefused, ReadWriteFailed, UnsafePath, TaskTooNew
        ├── Busy
        ├── PolicyRefused
        └── PluginFailed    a plugin raised what no contract of its hooks has, or broke one

Every error keeps its operands in its message and its cure in `hint`, and no secret in either. Nothing here prints or
exits.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from gemmalock.escaping import redacted_message


class GemmalockError(Exception):
    """The base of every error that gemmalock raises on purpose.

    `code` is a stable word for programs, `hint` says what to do (or is empty), `exit_code` is what a command
    ends with when nothing catches the error.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(redacted_message(message))
        self.message = message
        self.hint = self.default_hint if hint is None else hint

    def __str__(self) -> str:
        return self.message

    @property
    def message(self) -> str:
        """What went wrong, with the operands."""
        return self._message

    @message.setter
    def message(self, text: str) -> None:
        self._message = redacted_message(text)

    @property
    def hint(self) -> str:
        """What to do about it, or empty."""
        return self._hint

    @hint.setter
    def hint(self, text: str) -> None:
        self._hint = redacted_message(text)

    def add_note(self, note: str, /) -> None:
        """As PEP 678 has it, without secrets."""
        super().add_note(redacted_message(note))

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the report: what happened on the way to the error (`add_note`, PEP 678)."""
        return tuple(getattr(self, "__notes__", ()))


# --- what people wrote -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong in a file that a person wrote.

    `line` and `column` count from 1; 0 means that the place is not known. `excerpt` is the line with a caret
    below it, or empty.
    """

    path: str
    line: int
    column: int
    message: str
    hint: str = ""
    excerpt: str = ""

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        return f"{place}: {self.message}"


class InputError(GemmalockError):
    """A person's input is wrong; `problems` has every one that was found, in file order."""

    code = "input"
    exit_code = 4

    def __init__(self, message: str, *, problems: Iterable[Problem] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)


class ManifestInvalid(InputError):
    """A manifest breaks the rules of its format."""

    code = "manifest"


class LockInvalid(InputError):
    """A lock cannot be read, or is of a version that this program does not know."""

    code = "lock"


class SettingInvalid(InputError):
    """A setting or an environment twin has a value that it cannot have."""

    code = "setting"


class StateTooNew(InputError):
    """A newer gemmalock wrote what is on this disk: this one must not judge it, and does not overwrite it."""

    code = "state"


class UsageError(InputError):
    """The command line, or the arguments of a library call, make no sense."""

    code = "usage"


# --- a run as a whole --------------------------------------------------------------------------------------


class LockOutdated(GemmalockError):
    """The lock does not follow from the manifest; `drifts` says in what."""

    code = "lock_outdated"
    default_hint = "run `gemmalock lock`"

    def __init__(self, message: str, *, drifts: Iterable[object] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.drifts = tuple(drifts)


class LockMissing(GemmalockError):
    """There is no lock, and this mode may not make one."""

    code = "lock_missing"
    default_hint = "run `gemmalock lock`, and commit `gemmalock.lock`"


class NothingCollected(GemmalockError):
    """No manifest was found, or the selection selects nothing."""

    code = "nothing_collected"
    exit_code = 5
    default_hint = "run `gemmalock init` to write a manifest"


class Deselected(NothingCollected):
    """What is named has files, `count` of them, and the flags that narrow a run leave none."""

    def __init__(self, message: str, *, count: int = 0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.count = count

    @classmethod
    def of(cls, count: int, hint: str) -> Self:
        """The error of so many files."""
        return cls(f"all {count} files are deselected", count=count, hint=hint)


class RunRefused(GemmalockError):
    """A run that would do harm stops before it changes anything."""

    code = "policy"


class Interrupted(GemmalockError):
    """SIGINT or SIGTERM came; what had arrived is kept."""

    code = "interrupted"
    exit_code = 2
    default_hint = "what came is kept; run it again to go on"


# --- one file ----------------------------------------------------------------------------------------------


class FileError(GemmalockError):
    """One file cannot be had, checked or placed. `transient` says whether trying again can help."""

    code = "io_error"
    transient: ClassVar[bool] = False

    def reworded(self, message: str, hint: str | None = None) -> FileError:
        """The same error with more to say; `hint` None: the same hint."""
        return type(self)(message, hint=self.hint if hint is None else hint)


class SourceError(FileError):
    """A source would not, or could not, give what was asked for.

    `after_seconds` is how long the server asked to be left alone, or None. `may_have_expired`: a redirect led to what
    refused, and such a link may be good for a while only. Of an answer: its `status`; `told`, the word for programs in
    its `X-Error-Code`; `said`, the one for people in its `X-Error-Message`, fit to be shown; and `credential`, by name
    the one that was sent: to the origin that answered, else to the first one asked. None where there was none.
    """

    code = "connection"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        after_seconds: float | None = None,
        may_have_expired: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.after_seconds = after_seconds
        self.may_have_expired = may_have_expired
        self.status: int | None = None
        self.told: str | None = None
        self.said: str | None = None
        self.credential: str | None = None

    def reworded(self, message: str, hint: str | None = None, kind: type[SourceError] | None = None) -> SourceError:
        """As FileError has it, or another kind in the words of who knows the server: what is known of the answer
        stays."""
        meant = (kind or type(self))(message, hint=self.hint if hint is None else hint)
        meant.after_seconds, meant.may_have_expired = self.after_seconds, self.may_have_expired
        meant.status, meant.told, meant.said = self.status, self.told, self.said
        meant.credential = self.credential
        return meant


class NotFound(SourceError):
    """404 and 410, or a file that is not there."""

    code = "not_found"
    default_hint = "check the URL; if the file moved, change the manifest and run `gemmalock lock`"


class Unauthorized(SourceError):
    """401: the source wants a credential."""

    code = "unauthorized"


class Forbidden(SourceError):
    """403: the credential, or its absence, is not enough."""

    code = "forbidden"


class Gated(SourceError):
    """The licence of the model has to be accepted first."""

    code = "gated"


class RateLimited(SourceError):
    """429: too many requests."""

    code = "rate_limited"
    transient = True


class ServerError(SourceError):
    """A 5xx, 408 or 425 answer."""

    code = "server_error"
    transient = True
    default_hint = "the server has a problem of its own; what came is kept: run it again later"


class TimedOut(SourceError):
    """The source said nothing, or next to nothing, for too long."""

    code = "timeout"
    transient = True
    default_hint = "check the network and proxies (`gemmalock doctor`); what came is kept: run it again"


class ConnectionFailed(SourceError):
    """No connection, a connection cut short, or an answer that is not HTTP."""

    code = "connection"
    transient = True
    default_hint = "check the network and proxies (`gemmalock doctor`); what came is kept: run it again"


class TlsFailed(SourceError):
    """The server's certificate was not accepted. Never retried, never worked around."""

    code = "connection"
    default_hint = "check the system's clock and certificates; `SSL_CERT_FILE` names further ones"


class RedirectRefused(SourceError):
    """A redirect leads where gemmalock does not go."""

    code = "redirect_refused"


class Offline(SourceError):
    """The network is needed and not allowed."""

    code = "offline"
    default_hint = "`offline` is on, by a flag, the environment or a settings file: `gemmalock doctor` shows by which"


class RangeRefused(SourceError):
    """A range request was not answered as asked: start again from zero, without a range."""

    code = "server_error"
    transient = True


class CodingRefused(SourceError):
    """The body comes in a coding that was not asked for: its bytes are not the file's. Asking again changes nothing."""

    code = "server_error"
    default_hint = "have the server, or the proxy on the way, send that file as it is, without compressing it"


#: What the manifest declares is believed over the source: an upgrade of the lock alone would bring it back.
_REPLACED = (
    "if the publisher replaced the file, change its `sha256` and `size` where the manifest declares them, "
    "and run `gemmalock lock --upgrade`"
)
#: And a digest that was learned stays as long as URL, size and ETag do.
_NOT_THOSE = f"{_REPLACED}; where it declares none, `gemmalock lock --upgrade --hash` learns the digest anew"


class TransferError(FileError):
    """The bytes that arrived are not the bytes that were locked."""


class UpstreamChanged(TransferError):
    """The source now has another file than the one that was locked."""

    code = "upstream_changed"
    default_hint = _REPLACED


class SizeMismatch(TransferError):
    """The source has more or fewer bytes than the lock says."""

    code = "size_mismatch"
    default_hint = _REPLACED


class DigestMismatch(TransferError):
    """The bytes that arrived do not have the locked digest."""

    code = "digest_mismatch"
    default_hint = _NOT_THOSE


class DiskError(FileError):
    """The disk would not."""


class NoSpace(DiskError):
    """The file system, or a quota on it, is full."""

    code = "no_space"
    default_hint = "free some space (`gemmalock cache prune`, the trash in `.gemmalock/trash`), then run it again"


class PermissionRefused(DiskError):
    """The operating system does not allow it."""

    code = "permission"


class ReadWriteFailed(DiskError):
    """An I/O error."""

    code = "io_error"


class UnsafePath(DiskError):
    """A path would lead out of its root, or through a link."""

    code = "unsafe_path"


class TaskTooNew(DiskError):
    """A newer gemmalock began this task: its partial is not ours to continue or to drop."""

    code = "policy"


class Busy(FileError):
    """Another process holds the task and does not move."""

    code = "busy"


class PolicyRefused(FileError):
    """A setting or a rule of safety forbids it."""

    code = "policy"


class PluginFailed(FileError):
    """A plugin raised what its contract does not have, or answered what it must not: of one file, or of a whole run."""

    code = "plugin"


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def disk_error(error: OSError, doing: str) -> DiskError:
    """The DiskError for an OSError; `doing` completes "cannot …", as in "write `x.part`"."""
    message = f"cannot {doing}: {error.strerror or error}"
    if error.errno in _FULL:
        return NoSpace(message)
    if error.errno in _DENIED:
        return PermissionRefused(message, hint="check the owner and the mode of that path and of its folder")
    if error.errno == errno.ELOOP:
        return UnsafePath(message, hint="a symbolic link is in the way; gemmalock does not follow it")
    return ReadWriteFailed(message)

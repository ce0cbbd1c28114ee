"""gemmalock gets the exact model files a project needs onto a disk, and keeps them exact.

The library's front door: `sync`, `lock`, `status`, `verify`, `path`, the registry of tasks, and the values of the
contract. Library calls never print, never exit and never read `sys.argv`. Everything is imported when first used.
"""

from __future__ import annotations

from gemmalock.version import VERSION

__version__ = VERSION
TYPE_CHECKING = False

_HOMES = {
    "gemmalock.app": ("TaskRegistry", "lock", "path", "resume_status", "resume_statuses", "status", "sync", "verify"),
    "gemmalock.errors": (
        "FileError",
        "GemmalockError",
        "InputError",
        "Interrupted",
        "LockInvalid",
        "LockMissing",
        "LockOutdated",
        "ManifestInvalid",
        "NothingCollected",
        "Problem",
        "RunRefused",
        "SettingInvalid",
        "SourceError",
        "TransferError",
        "UsageError",
    ),
    "gemmalock.differing": ("FieldChange", "FileChange", "LockDifference", "ManifestChange", "ModelChange"),
    "gemmalock.drift": ("Drift", "DriftKind"),
    "gemmalock.lockfile": ("Lock", "LockedFile", "LockedManifest", "LockedModel", "task_id"),
    "gemmalock.outcome": (
        "ErrorNote",
        "ExitCode",
        "FileOutcome",
        "LockChange",
        "Outcome",
        "Pruned",
        "Report",
        "StrayKept",
        "Summary",
    ),
    "gemmalock.plan": ("Action", "FilePlan", "Plan", "ResumeStatus", "TaskRecord"),
    "gemmalock.spec": ("FileSpec", "Manifest", "ModelSpec"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF)]

if TYPE_CHECKING:
    from gemmalock.app import TaskRegistry as TaskRegistry
    from gemmalock.app import lock as lock
    from gemmalock.app import path as path
    from gemmalock.app import resume_status as resume_status
    from gemmalock.app import resume_statuses as resume_statuses
    from gemmalock.app import status as status
    from gemmalock.app import sync as sync
    from gemmalock.app import verify as verify
    from gemmalock.differing import *  # noqa: F403
    from gemmalock.drift import *  # noqa: F403
    from gemmalock.errors import *  # noqa: F403
    from gemmalock.lockfile import *  # noqa: F403
    from gemmalock.outcome import *  # noqa: F403
    from gemmalock.plan import *  # noqa: F403
    from gemmalock.spec import *  # noqa: F403


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

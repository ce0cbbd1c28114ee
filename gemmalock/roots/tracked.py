"""What git tracks in a folder. Asks the `git` program; nothing here decides what becomes of a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gemmalock.paths import folded

#: The variables of git that stay. All others go: a hook runs with GIT_DIR, GIT_INDEX_FILE and GIT_WORK_TREE of the
#: commit in progress (githooks(5)), and they may name another repository or half an index.
_KEPT = frozenset({"GIT_EXEC_PATH", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"})
_KEPT_PREFIXES = ("GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_")
_TIMEOUT_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Tracked:
    """The paths in a folder that git tracks, from that folder, folded; `doubt` is why git could not say, or empty."""

    paths: frozenset[str] = frozenset()
    doubt: str = ""

    def why_keep(self, path: str) -> str | None:
        """Why git is a reason to leave `path` alone, or None. A path in a submodule belongs to git too."""
        if self.doubt:
            return f"git could not say whether it tracks it: {self.doubt}"
        if not self.paths:
            return None
        steps = folded(path).split("/")
        if any("/".join(steps[:end]) in self.paths for end in range(1, len(steps) + 1)):
            return "git tracks it"
        return None


def tracked(folder: Path, environment: Mapping[str, str] | None = None) -> Tracked:
    """What git tracks in `folder`. Without a `.git` in it or above it there is nothing to ask. Never raises."""
    try:
        if not _is_in_repository(folder):
            return Tracked()
    except OSError as error:
        return Tracked(doubt=f"cannot look for a repository: {error.strerror}")
    return _ask_git(folder, clean_environment(os.environ if environment is None else environment))


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a git that is to find the repository by itself, whatever hook it is called from."""
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith("GIT_") or name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }
    return kept | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}


def _is_in_repository(folder: Path) -> bool:
    for above in (folder, *folder.parents):
        try:
            os.lstat(above / ".git")
        except FileNotFoundError:
            continue
        return True
    return False


def _ask_git(folder: Path, environment: Mapping[str, str]) -> Tracked:
    import subprocess

    # A repository can name a program as its fsmonitor, which git would run; the list of files does not need it.
    command = ["git", "-C", os.fspath(folder), "-c", "core.fsmonitor=false", "ls-files", "-z"]
    try:
        answer = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        return Tracked(doubt="there is a `.git`, but no `git` program")
    except subprocess.TimeoutExpired:
        return Tracked(doubt=f"`git ls-files` took longer than {_TIMEOUT_SECONDS} seconds")
    except OSError as error:
        return Tracked(doubt=f"cannot run `git`: {error.strerror}")
    if answer.returncode != 0:
        said = answer.stderr.decode(errors="replace").strip().splitlines()
        return Tracked(doubt=said[0] if said else f"`git ls-files` ended with {answer.returncode}")
    return Tracked(frozenset(folded(os.fsdecode(path)) for path in answer.stdout.split(b"\0") if path))

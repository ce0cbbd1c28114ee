"""Which files may not be committed, and why. Pure: `no_weights` looks, and this decides."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gemmalock.lockfile import LOCK_NAME, Lock
from gemmalock.paths import folded, joined
from gemmalock.spec import MANIFEST_NAME

OWN_FOLDER = ".gemmalock"
#: What says which roots and locked files a repository has.
PAPERS = frozenset({LOCK_NAME, MANIFEST_NAME})
#: More paths than that are told by the folder that they are in.
_TOLD = 8


class Why(enum.Enum):
    """Why a file may not be committed."""

    OWN = "own"
    IN_ROOT = "in_root"
    LOCKED_BYTES = "locked_bytes"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that may not be committed. `cause` is its root, gemmalock's own folder, or the node that has its bytes;
    `paper`, the lock or the manifest that says so, or empty."""

    path: str
    why: Why
    cause: str
    paper: str = ""

    def __str__(self) -> str:
        match self.why:
            case Why.OWN:
                return f"it is in `{self.cause}`, which is gemmalock's own"
            case Why.IN_ROOT:
                return f"it is in the root `{self.cause}` of `{self.paper}`"
            case Why.LOCKED_BYTES:
                return f"it has the bytes of `{self.cause}`, which `{self.paper}` locks"


@dataclass(frozen=True, slots=True)
class Forbidden:
    """What the papers of a repository keep out of its commits; every path is from the top of the repository.

    `roots`: root → the paper that has it. `digests`: sha256 → (node, lock) of a locked file. `folds_case`: `Models`
    and `models` are one folder on this disk.
    """

    roots: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    folds_case: bool = False

    def by_name(self, path: str) -> Refusal | None:
        """Why a file may not be committed under this name, whatever it holds, or None."""
        roots = {folded(root): root for root in self.roots} if self.folds_case else None
        for folder in parents(path):
            if folded(folder.rpartition("/")[2]) == OWN_FOLDER:
                return Refusal(path, Why.OWN, folder)
            root = folder if roots is None else roots.get(folded(folder), folder)
            if root in self.roots:
                return Refusal(path, Why.IN_ROOT, root, self.roots[root])
        return None

    def by_digest(self, path: str, sha256: str) -> Refusal | None:
        """Why a file may not be committed with these bytes, or None."""
        if sha256 not in self.digests:
            return None
        return Refusal(path, Why.LOCKED_BYTES, *self.digests[sha256])


def parents(path: str) -> Iterator[str]:
    """The folders above a path and the path itself, the topmost first."""
    steps = path.split("/")
    return ("/".join(steps[:end]) for end in range(1, len(steps) + 1))


def roots_of(lock: Lock, folder: str) -> Iterator[str]:
    """The roots of a lock in `folder`, from the top of the repository."""
    return (joined(folder, manifest.root_path) for manifest in lock.manifests)


def manifests_of(lock: Lock, folder: str) -> Iterator[str]:
    """The manifests of a lock in `folder`, from the top of the repository."""
    return (joined(folder, manifest.path) for manifest in lock.manifests)


def cures(refusals: Iterable[Refusal], staged: frozenset[str] | None) -> Iterator[tuple[Refusal, str]]:
    """Each refusal with what to do about it: one sentence for all that are refused for the same cause. `staged` are
    the paths that differ from the last commit, None where there is none to go back to."""
    groups: dict[tuple[Why, str, bool], list[Refusal]] = {}
    for refusal in refusals:
        new = staged is not None and refusal.path in staged
        cause = refusal.cause if refusal.why is not Why.LOCKED_BYTES else ""
        groups.setdefault((refusal.why, cause, new), []).append(refusal)
    for (why, cause, new), group in groups.items():
        hint = _cure(why, cause, [refusal.path for refusal in group], "restore --staged" if new else "rm --cached -r")
        yield from ((refusal, hint) for refusal in group)


def _cure(why: Why, cause: str, paths: list[str], undo: str) -> str:
    import shlex

    in_folder = why is not Why.LOCKED_BYTES
    named = [cause] if in_folder and len(paths) > _TOLD else paths
    command = shlex.join(("git", *undo.split(), "--", *named))
    if in_folder:
        line = f"/{cause}/" if why is Why.IN_ROOT else f"{OWN_FOLDER}/"
        return f"run `{command}`, and have `{line}` in `.gitignore`"
    return (
        f"run `{command}`, and have its name in `.gitignore`; `gemmalock sync` brings these bytes wherever they are due"
    )

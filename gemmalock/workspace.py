"""Which manifests are one workspace: from its root down to the members, and from a member up to the root.

Folders and names are looked at, and of manifests above a folder the one section that matters. What the manifests say
besides is read elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gemmalock.errors import UnsafePath
from gemmalock.paths import is_glob, joined, matches
from gemmalock.spec import MANIFEST_NAME, Workspace

#: Folders that are never walked into in search of a manifest.
NEVER_WALKED = frozenset({".git", ".gemmalock", "node_modules", "__pycache__", ".venv", "venv", ".tox", ".nox"})
#: No manifest that people write is larger.
MAX_BYTES = 16 * 1024 * 1024


def is_walked(folder: str) -> bool:
    """Whether a manifest is looked for in a folder: it is nobody else's, no virtual environment and no root."""
    if os.path.basename(folder) in NEVER_WALKED:
        return False
    return not any(os.path.lexists(os.path.join(folder, own)) for own in ("pyvenv.cfg", ".gemmalock"))


def manifests_below(folder: Path) -> Iterator[Path]:
    """The nearest folders with a manifest in and below `folder`, in order; links are not followed."""
    for place, folders, files in os.walk(folder):
        if MANIFEST_NAME in files:
            yield Path(place)
            folders.clear()
        folders[:] = sorted(name for name in folders if is_walked(os.path.join(place, name)))


@dataclass(frozen=True, slots=True)
class Search:
    """What came of looking for members: their folders, and the folders whose subfolders were looked at, all from the
    workspace root."""

    found: tuple[str, ...]
    searched: tuple[str, ...] = ()


def search(root: Path, pattern: str) -> Search:
    """The folders below `root` that `pattern`, a name or a glob, is of and that hold a manifest, in order. Links that a
    glob meets are passed over. Raises UnsafePath for a name that is behind one, and for a glob that begins behind one,
    and OSError where the disk would not say what is there."""
    if not is_glob(pattern):
        _refuse_links(root, pattern)
        return Search((pattern,) if _has_manifest(root / pattern) else ())
    found, searched = list[str](), list[str]()
    steps = pattern.split("/")
    depth = len(steps) if "**" not in steps else None
    fixed = next(place for place, step in enumerate(steps) if is_glob(step))
    pending = ["/".join(steps[:fixed])]
    _refuse_links(root, pending[0])
    while pending:
        folder = pending.pop(0)
        if folder and matches(folder, (pattern,)) and _has_manifest(root / folder):
            found.append(folder)
        if depth is None or folder.count("/") + bool(folder) < depth:
            searched.append(folder)
            pending += [below for below in _folders_in(root, folder) if _leads(below, steps)]
    return Search(tuple(found), tuple(searched))


def workspace_above(folder: Path) -> Path | None:
    """The root of the workspace that `folder` is a member of, up to the git root; None where there is none. Raises
    ManifestInvalid for a manifest above of which nobody could tell."""
    for above in folder.parents:
        section = _section_at(above)
        if section is not None and section.claims(folder.relative_to(above).as_posix()):
            return above
        if (above / ".git").exists():
            break
    return None


def _section_at(folder: Path) -> Workspace | None:
    from gemmalock.durable import read_file

    try:
        text = read_file(folder / MANIFEST_NAME, MAX_BYTES)
    except OSError:
        return None
    if not may_have_members(text):
        return None
    from gemmalock.codec.manifest import read_workspace

    return read_workspace(text, str(folder / MANIFEST_NAME))


def may_have_members(manifest: bytes) -> bool:
    """Whether these bytes can be the root of a workspace at all; a glance that spares reading YAML."""
    return b"workspace" in manifest or b"\\" in manifest


def _folders_in(root: Path, folder: str) -> list[str]:
    try:
        with os.scandir(root / folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [joined(folder, name) for name in names if is_walked(os.path.join(root, folder, name))]


def _leads(folder: str, steps: list[str]) -> bool:
    """Whether a folder of the pattern may be this one, or below it."""
    for step, name in zip(steps, folder.split("/"), strict=False):
        if step == "**":
            return True
        if not matches(name, (step,)):
            return False
    return True


def _has_manifest(folder: Path) -> bool:
    """Whether a manifest stands in a folder, if only a link to one that is not there just now. Raises OSError."""
    try:
        os.lstat(folder / MANIFEST_NAME)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _refuse_links(root: Path, folder: str) -> None:
    """Raise UnsafePath where a step of the way to a folder is a symbolic link: it would have two names."""
    steps = folder.split("/") if folder else []
    for end in range(1, len(steps) + 1):
        step = "/".join(steps[:end])
        if (root / step).is_symlink():
            raise UnsafePath(
                f"`{step}` is a symbolic link, and members are not looked for behind one",
                hint="name the folder that it leads to, if that is below the workspace root",
            )

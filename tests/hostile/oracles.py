"""What holds after every case, whatever was done to the disk, the inputs or the answers.

The numbers are those of the fault catalogue. One function checks them all: `Stage.run` calls it after every command,
the fixture once more at the end, around the commands that promise to change nothing.

    O1   in a root, a name outside of `.gemmalock` has bytes that were whole before, or the locked ones
    O2   a `sync` that ends with 0 has left every locked file with the locked size and digest
    O3   nothing outside of the root, the lock and the store was made, changed or removed
    O9   no raw control or direction-changing character is printed, and no line that drives a CI runner
    O10  what only looks has not changed a byte, a name or a time stamp of anything, the store included
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.running import Finished

#: C0 but the end of a line, DEL, C1, line and paragraph separators, and what turns the direction of text.
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
#: Colours, which we print ourselves where colours were asked for (ECMA-48, 8.3.117).
COLOUR = re.compile("\x1b\\[[0-9;]*m")
#: What a GitHub runner takes for a command: `::` at the start of a line, `##[` anywhere in it.
RUNNER_COMMAND = re.compile(r"^\s*::|##\[", re.MULTILINE)
#: How a path looked: kind and permissions, inode, mtime_ns, and the digest of its bytes or where it leads.
Look = tuple[int, int, int, str]
Picture = Mapping[str, Look]


def picture(folder: Path, leaving_out: Iterable[Path] = ()) -> Picture:
    """Everything in a folder, itself included, without what is below `leaving_out`. Links are not followed."""
    skipped = {os.fspath(path) for path in leaving_out}
    seen: dict[str, Look] = {}
    pending = [folder]
    while pending:
        path = pending.pop()
        if os.fspath(path) in skipped or not os.path.lexists(path):
            continue
        found = path.lstat()
        seen[os.fspath(path)] = (found.st_mode, found.st_ino, found.st_mtime_ns, _content(path, found))
        if stat.S_ISDIR(found.st_mode):
            pending.extend(path.iterdir())
    return seen


def differences(before: Picture, after: Picture, *, but: Iterable[Path] = ()) -> list[str]:
    """The paths in which two pictures differ; `but` may have another time stamp, because a name in them is ours."""
    loose = {os.fspath(path) for path in but}
    found = []
    for path in sorted(before.keys() | after.keys()):
        one, other = before.get(path), after.get(path)
        if path in loose and one is not None and other is not None:
            one, other = (*one[:2], 0, one[3]), (*other[:2], 0, other[3])
        if one != other:
            found.append(f"{path}: {one} -> {other}")
    return found


def files_of(root: Path) -> dict[str, str]:
    """Path in the root → sha256, of every regular file outside of `.gemmalock`; nothing where the root is a link."""
    if root.is_symlink() or not root.is_dir():
        return {}
    return {
        os.path.relpath(path, root): look[3]
        for path, look in picture(root, [root / ".gemmalock"]).items()
        if stat.S_ISREG(look[0])
    }


def wrong_bytes(after: Mapping[str, str], whole: Iterable[str]) -> list[str]:
    """O1: the names whose bytes are neither what stood in the root before, nor what a server has."""
    known = set(whole)
    return [path for path, digest in after.items() if digest not in known]


def not_in_sync(lock: Path, project: Path) -> list[str]:
    """O2: the locked files that are not in place as the lock says."""
    found = []
    for manifest in json.loads(lock.read_text(encoding="utf-8"))["manifests"]:
        folder = project / Path(manifest["path"]).parent / manifest["root"]
        for file in (file for model in manifest["models"] for file in model["files"]):
            path = folder / file["path"]
            if not path.is_file() or path.stat().st_size != file["size"]:
                found.append(f"{path}: not there, or not {file['size']} bytes")
            elif file["sha256"] is not None and _sha256(path) != file["sha256"]:
                found.append(f"{path}: not the locked digest")
    return found


def unsafe_output(done: Finished, *, coloured: bool = False) -> list[str]:
    """O9: the lines that hold what drives a terminal or a CI runner."""
    found = []
    for text in (done.out, done.err):
        shown = COLOUR.sub("", text) if coloured else text
        found += [repr(line) for line in shown.split("\n") if RAW.search(line) or RUNNER_COMMAND.search(line)]
    return found


def _content(path: Path, found: os.stat_result) -> str:
    if stat.S_ISLNK(found.st_mode):
        return os.fspath(path.readlink())
    return _sha256(path) if stat.S_ISREG(found.st_mode) else ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

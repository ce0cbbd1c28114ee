"""What a sync that left nothing to do knew, under one digest: while it holds, there is nothing to do.

`<root>/.gemmalock/seal` lies in the first root that files go into. Its digest is of everything that such an answer
rests on: the bytes of the manifests, of the lock and of the settings files; the settings of the environment; which
folders were searched for members, and what is in them; every root's ledger by its stat; and every path in every root,
a file's with its size, mtime and inode. What the files have is taken from the ledgers when a seal is written, and from
the disk when it is checked: it vouches for nothing that was not proved. Nothing here decides: where a seal does not
hold, or anything is out of the ordinary, the answer is None, and who asked has to look for himself.

It is read before anything else is loaded. So there are only the lightest modules of the standard library here, and
plain classes.
"""

from __future__ import annotations

import os
import stat
from array import array
from hashlib import sha256

from gemmalock.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    #: The folders of roots by their paths, from the project's folder.
    Folders = dict[str, "Folder"]

NAME = "seal"
OWN = ".gemmalock"
LOCK = "gemmalock.lock"
MANIFEST = "gemmalock.yaml"
LEDGER = "ledger.json"
SETTINGS = ("pyproject.toml", "gemmalock.toml")
PREFIX = "GEMMALOCK_"
#: What makes a folder that of a member, or somebody else's: a virtual environment, a root.
_MARKS = (MANIFEST, "pyvenv.cfg", OWN)
#: No paper that people write, and no seal, is larger; reading stops there.
MOST_BYTES = 256 * 1024 * 1024
#: Counts up with the form of a seal: another one is none.
_HEAD = f"gemmalock seal 4 {VERSION}"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)


class Unsealed(Exception):
    """Something is not as a seal could have it."""


class Sealed:
    """What a seal says, all of which was proved: how many files there are; `told`, what `status` tells of them, a line
    each, beginning with their node IDs; and `paths`, from the project's folder. Both are in the lock's order."""

    __slots__ = ("_paths", "count", "told")

    def __init__(self, count: int, told: bytes, paths: bytes) -> None:
        self.count = count
        self.told = told
        self._paths = paths

    def paths(self) -> Iterator[tuple[str, str]]:
        """Node ID and path of every file."""
        ids = (line.partition("  ")[0] for line in self.told.decode("utf-8").split("\n"))
        return zip(ids, self._paths.decode("utf-8").split("\n"), strict=True)


class Folder:
    """The files of one folder of a root, in the order of their names: size and mtime of each, and its inode."""

    __slots__ = ("inodes", "names", "stats")

    def __init__(self) -> None:
        self.names: list[str] = []
        self.stats = array("q")
        self.inodes = array("Q")

    def add(self, name: str, size: int, mtime_ns: int, inode: int) -> None:
        """Add a file."""
        self.names.append(name)
        self.stats.extend((size, mtime_ns))
        self.inodes.append(inode)


class Texts:
    """The texts that a run went by: the lock, the manifests and the settings files, each of these by its path from the
    project's folder, and empty where there is none."""

    __slots__ = ("lock", "manifests", "settings")

    def __init__(self, lock: bytes, manifests: Mapping[str, bytes], settings: Mapping[str, bytes]) -> None:
        self.lock = lock
        self.manifests = manifests
        self.settings = settings


class Scope:
    """What a seal is about, besides the papers: the folders of the members, those that were searched for more of them,
    and the roots, all from the project's folder."""

    __slots__ = ("members", "roots", "searched")

    def __init__(self, members: Sequence[str], searched: Sequence[str], roots: Sequence[str]) -> None:
        self.members = tuple(members)
        self.searched = tuple(searched)
        self.roots = tuple(roots)

    def written(self) -> bytes:
        """As a line of a seal."""
        return "\x1e".join("\x1f".join(part) for part in (self.members, self.searched, self.roots)).encode()

    @classmethod
    def read(cls, line: bytes) -> Scope:
        """The line as it was written. Raises ValueError."""
        members, searched, roots = (part.split("\x1f") if part else [] for part in line.decode("utf-8").split("\x1e"))
        return cls(members, searched, roots)


def check(folder: str, environ: Mapping[str, str]) -> Sealed | None:
    """What the seal of the project in `folder` says, if it holds; None where it does not, or where there is none."""
    try:
        lock = _read(f"{folder}/{LOCK}")
        place = f"{folder}/{_first_root(lock)}/{OWN}/{NAME}"
        head, written, scope_line, count, body = _read(place).split(b"\n", 4)
        if head.decode() != _HEAD:
            return None
        scope = Scope.read(scope_line)
        _refuse_links(folder, (*scope.members, *scope.roots))
        papers = (MANIFEST, *(f"{member}/{MANIFEST}" for member in scope.members))
        texts = Texts(lock, {path: _read(f"{folder}/{path}") for path in papers}, settings_in(folder))
        rest = b"\n".join((scope_line, count, body))
        seen = [_seen(folder, root) for root in scope.roots]
        if _digest(folder, environ, texts, scope, rest, seen) != written.decode():
            return None
        return Sealed(int(count), *body.split(b"\x1e"))
    except (OSError, ValueError, Unsealed):
        return None


def text_of(
    folder: str,
    environ: Mapping[str, str],
    texts: Texts,
    scope: Scope,
    files: Sequence[tuple[str, str]],
    known: Iterable[tuple[str, int, int, int]],
) -> bytes:
    """The bytes of a seal: `files` as what is told of each, and its path; `known` what the ledgers say of these paths:
    size, mtime, inode. Raises Unsealed for what no seal could say."""
    columns = ["\n".join(column) for column in zip(*files, strict=True)]
    if any(column.count("\n") != len(files) - 1 or "\x1e" in column for column in columns):
        raise Unsealed
    body = "\x1e".join(columns)
    rest = b"\n".join((scope.written(), str(len(files)).encode(), body.encode()))
    digest = _digest(folder, environ, texts, scope, rest, [_expected(scope.roots, known)])
    return b"\n".join((_HEAD.encode(), digest.encode(), rest))


def _digest(
    folder: str, environ: Mapping[str, str], texts: Texts, scope: Scope, rest: bytes, found: Sequence[Folders]
) -> str:
    """The digest of everything that the answer rests on."""
    digest = sha256()

    def feed(part: bytes | array[int]) -> None:
        digest.update(b"%d:" % len(part))
        digest.update(part)

    for part in (_HEAD, folder, *_told(environ)):
        feed(os.fsencode(part))
    feed(texts.lock)
    feed(rest)
    for path, text in (*sorted(texts.settings.items()), *sorted(texts.manifests.items())):
        feed(path.encode())
        feed(text)
    _refuse_manifests_above(folder)
    for searched in scope.searched:
        feed(_children(folder, searched))
    for root in scope.roots:
        feed(_ledger(f"{folder}/{root}"))
    folders = {path: one for each in found for path, one in each.items()}
    for path in sorted(folders):
        one = folders[path]
        feed(os.fsencode(path))
        feed("\n".join(one.names).encode("utf-8", "surrogateescape"))
        feed(one.stats)
        feed(one.inodes)
    return digest.hexdigest()


def _told(environ: Mapping[str, str]) -> list[str]:
    return sorted(f"{name}={value}" for name, value in environ.items() if name.startswith(PREFIX))


def settings_in(folder: str) -> Mapping[str, bytes]:
    """The texts of the settings files of a folder; empty where there is none."""
    return {name: _read_or_nothing(f"{folder}/{name}") for name in SETTINGS}


def _refuse_links(folder: str, paths: Iterable[str]) -> None:
    """Raise Unsealed where a step of the way to a path that is there is no folder of its own, but a link to one."""
    steps = set()
    for path in paths:
        while path and path not in steps:
            steps.add(path)
            path = os.path.dirname(path)
    for step in steps:
        try:
            if not stat.S_ISDIR(os.lstat(f"{folder}/{step}").st_mode):
                raise Unsealed
        except FileNotFoundError:
            continue


def _refuse_manifests_above(folder: str) -> None:
    """Raise Unsealed where there is a manifest above a project, up to the git root: a workspace's may claim it."""
    while folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
        if os.path.lexists(f"{folder}/{MANIFEST}"):
            raise Unsealed
        if os.path.lexists(f"{folder}/.git"):
            return


def _children(folder: str, searched: str) -> bytes:
    """The folders in a folder that was searched for members, each with what makes it one, or no place to look into."""
    names = []
    with os.scandir(f"{folder}/{searched}" if searched else folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                place = f"{folder}/{searched}/{entry.name}" if searched else f"{folder}/{entry.name}"
                marks = "".join(mark for mark in _MARKS if os.path.lexists(f"{place}/{mark}"))
                names.append(f"{entry.name}/{marks}")
    return "\n".join(sorted(names)).encode("utf-8", "surrogateescape")


def _ledger(root: str) -> bytes:
    try:
        found = os.lstat(f"{root}/{OWN}/{LEDGER}")
    except FileNotFoundError:
        return b""
    return b"%d %d" % (found.st_ino, found.st_mtime_ns)


def _expected(roots: Sequence[str], known: Iterable[tuple[str, int, int, int]]) -> Folders:
    """What is to be in the roots: their files, and the folders that lead to these."""
    below = tuple(f"{root}/" for root in roots)
    found: Folders = {}
    for path, size, mtime_ns, inode in sorted(known):
        above, _, name = path.rpartition("/")
        _made(found, above).add(name, size, mtime_ns, inode)
        while above.startswith(below):
            above = os.path.dirname(above)
            _made(found, above)
    return found


def _made(folders: Folders, path: str) -> Folder:
    if path not in folders:
        folders[path] = Folder()
    return folders[path]


def _seen(folder: str, root: str) -> Folders:
    """What is in a root, which need not be there. Raises Unsealed for what is no plain file or folder."""
    found: Folders = {}
    if not os.path.lexists(f"{folder}/{root}"):
        return found
    pending = [root]
    while pending:
        place = pending.pop()
        one = found[place] = Folder()
        # By its descriptor: the kernel then looks up a name a file, and not each step of its path.
        opened = os.open(f"{folder}/{place}", _FOLDER)
        try:
            with os.scandir(opened) as entries:
                listed = sorted((entry.name, entry) for entry in entries)
            for name, entry in listed:
                if not entry.is_dir(follow_symlinks=False):
                    seen = entry.stat(follow_symlinks=False)
                    if not stat.S_ISREG(seen.st_mode):
                        raise Unsealed
                    one.add(name, seen.st_size, seen.st_mtime_ns, seen.st_ino)
                elif place != root or name != OWN:
                    pending.append(f"{place}/{name}")
        finally:
            os.close(opened)
    return found


def _first_root(lock: bytes) -> str:
    """The root of the first manifest of a lock that has a file; a lock is written one key a line. Raises ValueError."""
    file = lock.index(b'\n              "task_id": ')
    path = _text_of(lock, b'\n      "path": "', file)
    root = _text_of(lock, b'\n      "root": "', file)
    above = os.path.dirname(path)
    return f"{above}/{root}" if above else root


def _text_of(lock: bytes, key: bytes, start: int) -> str:
    begin = lock.index(key, start) + len(key)
    text = lock[begin : lock.index(b'"', begin)].decode("ascii")
    if "\\" in text:
        raise ValueError(text)
    return text


def _read_or_nothing(path: str) -> bytes:
    try:
        return _read(path)
    except FileNotFoundError:
        return b""


def _read(path: str) -> bytes:
    """A whole regular file. Raises OSError, and Unsealed for anything else."""
    file = os.open(path, _FLAGS)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_BYTES:
            raise Unsealed
        data = os.read(file, found.st_size + 1)
        while len(data) < found.st_size and (more := os.read(file, found.st_size - len(data))):
            data += more
        return data
    finally:
        os.close(file)

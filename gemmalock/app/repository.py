"""A git repository as the `git` program tells of it: what its index or a commit has, and the bytes of that.

Nothing is decided here. What is asked for is the index of the commit in progress, where there is one: during
`git commit -a` and `git commit FILE` that is another file than the repository's own (githooks(5)).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from gemmalock.errors import RunRefused, UsageError
from gemmalock.roots.tracked import clean_environment

_INDEX = "GIT_INDEX_FILE"
#: What is neither a link nor a submodule (gitformat-index(5)).
_FILE_MODES = frozenset({"100644", "100755"})
_PIECE = 1024 * 1024
_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index has at a path from the top of the repository. `blob` names the bytes."""

    path: str
    mode: str
    blob: str

    @property
    def is_file(self) -> bool:
        """Whether it is a file, and no link or submodule."""
        return self.mode in _FILE_MODES


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository with a working tree. `prefix` is the folder that was asked from, from the top, with a `/` at its
    end, or empty; `committing`, whether a commit of this repository is in progress."""

    top: Path
    prefix: str
    environment: Mapping[str, str]
    committing: bool

    @classmethod
    def around(cls, folder: Path, environ: Mapping[str, str]) -> Repository | None:
        """The repository that `folder` is in, or None where it is in none. Raises RunRefused when git would not say."""
        clean = clean_environment(environ) | {"GIT_NO_LAZY_FETCH": "1"}
        if not any(os.path.lexists(above / ".git") for above in (folder.resolve(), *folder.resolve().parents)):
            return None
        asked = ("rev-parse", "--show-toplevel", "--absolute-git-dir", "--show-prefix")
        top, git_folder, prefix = _lines(_git(folder, clean, *asked), 3)
        given = environ.get(_INDEX)
        # The index of another repository's commit is none of ours; a relative one starts where the hook runs.
        if given and Path(os.path.realpath(given)).parent == Path(os.path.realpath(git_folder)):
            return cls(Path(top), prefix, clean | {_INDEX: os.path.abspath(given)}, True)
        return cls(Path(top), prefix, clean, False)

    def entries(self) -> tuple[Entry, ...]:
        """Everything in the index, in its order."""
        return tuple(_entry(line) for line in self._listed("ls-files", "--stage"))

    def untracked(self, names: Iterable[str], *, ignored: bool = True) -> tuple[str, ...]:
        """The files on the disk with one of these names that the index does not have, also (`ignored`) those that git
        ignores."""
        which = () if ignored else ("--exclude-standard",)
        return tuple(self._listed("ls-files", "--others", *which, "--", *(f":(glob)**/{name}" for name in names)))

    def staged(self) -> frozenset[str]:
        """The paths at which the index has something, and something else than the last commit."""
        return frozenset(self._listed("diff", "--cached", "--name-only", "--no-renames", "--diff-filter=d"))

    def has_commits(self) -> bool:
        """Whether there is a last commit on this branch."""
        try:
            return bool(_git(self.top, self.environment, "rev-parse", "--verify", "--quiet", "HEAD"))
        except RunRefused:
            return False

    def commit(self, revision: str) -> str | None:
        """The commit that a revision names (gitrevisions(7)), or None where it names none. What begins with a dash is
        no revision, and never reaches git."""
        if not revision or revision.startswith("-") or "\0" in revision:
            return None
        try:
            said = _git(self.top, self.environment, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        except RunRefused:
            return None
        return said.decode("ascii").strip()

    def file_at(self, commit: str, path: str) -> bytes | None:
        """The bytes of the file that a commit has at a path from the top; None where it has none, or no file. Raises
        RunRefused where they are not here."""
        listed = tuple(self._listed("ls-tree", "--full-tree", commit, "--", path))
        for line in listed:
            fields, _, name = line.partition("\t")
            mode, _, blob = fields.split(" ")
            if name == path and mode in _FILE_MODES:
                return _git(self.top, self.environment, "cat-file", "blob", blob)
        return None

    def folds_case(self) -> bool:
        """Whether the file system of the working tree takes `A` for `a`, as git found when it made the repository."""
        asked = ("config", "--type=bool", "--default=false", "--get", "core.ignorecase")
        return _git(self.top, self.environment, *asked) == b"true\n"

    def inside(self, name: str) -> str:
        """The path from the top of what was named from the folder that was asked from. Raises UsageError."""
        below = os.path.relpath(self.top / self.prefix / name, self.top)
        if below == os.pardir or below.startswith(os.pardir + os.sep):
            raise UsageError(f"`{name}` is not in the repository `{self.top}`", hint="name files of this repository")
        return below

    def sizes(self, blobs: Iterable[str]) -> dict[str, int]:
        """Blob → its size in bytes, of those that are here; in a partial clone nothing is fetched."""
        asked = "".join(f"{blob}\n" for blob in blobs).encode()
        said = _git(self.top, self.environment, "cat-file", "--batch-check", given=asked)
        answers = (line.split() for line in said.decode().splitlines())
        return {answer[0]: int(answer[2]) for answer in answers if len(answer) == 3}

    def read(self, blobs: Sequence[str], take: Callable[[Iterator[bytes]], _Read]) -> dict[str, _Read]:
        """Blob → what `take` makes of its bytes, piece by piece, for those that are here."""
        if not blobs:
            return {}
        found: dict[str, _Read] = {}
        with subprocess.Popen(
            _command(self.top, "cat-file", "--batch"), env=dict(self.environment),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        ) as git:  # fmt: skip
            assert git.stdin is not None
            assert git.stdout is not None
            for blob in blobs:
                # One after the other: git waits for whoever does not read, and must not be written to meanwhile.
                git.stdin.write(f"{blob}\n".encode())
                git.stdin.flush()
                answer = git.stdout.readline().split()
                if len(answer) == 3:
                    found[blob] = take(_pieces(git.stdout, int(answer[2])))
                    git.stdout.read(1)
        return found

    def check_out(self, paths: Iterable[str], target: Path) -> None:
        """Write what the index has at these paths below another folder."""
        given = b"".join(os.fsencode(path) + b"\0" for path in paths)
        _git(self.top, self.environment, "checkout-index", "-z", "--stdin", f"--prefix={target}/", given=given)

    def _listed(self, command: str, *arguments: str) -> Iterator[str]:
        said = _git(self.top, self.environment, command, "-z", *arguments)
        return (os.fsdecode(line) for line in said.split(b"\0") if line)


def _entry(line: str) -> Entry:
    """An entry as `git ls-files --stage` writes it: mode, object, stage, a tab and the path."""
    fields, _, path = line.partition("\t")
    mode, blob, _ = fields.split(" ")
    return Entry(path, mode, blob)


def _lines(said: bytes, count: int) -> list[str]:
    lines = os.fsdecode(said).split("\n")
    if len(lines) != count + 1:
        raise RunRefused("git's answer cannot be read", hint="is there a line break in the name of a folder?")
    return lines[:count]


def _pieces(stream: IO[bytes], size: int) -> Iterator[bytes]:
    while size:
        piece = stream.read(min(size, _PIECE))
        if not piece:
            raise RunRefused("git ended in the middle of a file", hint="run `git fsck`")
        size -= len(piece)
        yield piece


def _command(folder: Path, *arguments: str) -> list[str]:
    # A repository can name a program as its fsmonitor, which git would run; the index does not need it.
    return ["git", "-C", os.fspath(folder), "-c", "core.fsmonitor=false", *arguments]


def _git(folder: Path, environment: Mapping[str, str], *arguments: str, given: bytes = b"") -> bytes:
    """What git prints. Raises RunRefused when it fails."""
    try:
        answer = subprocess.run(
            _command(folder, *arguments), env=dict(environment), input=given, capture_output=True, check=False
        )
    except OSError as error:
        raise RunRefused(f"cannot run `git`: {error.strerror}", hint="is git installed, and on the `PATH`?") from error
    if answer.returncode != 0:
        said = os.fsdecode(answer.stderr).strip().splitlines()
        why = said[0] if said else f"exit code {answer.returncode}"
        raise RunRefused(f"`git {arguments[0]}` failed: {why}", hint="run `git status` to see what it says")
    return answer.stdout

"""`no-weights`: looks at what is staged and at the papers of the repository, and tells what may not be committed."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gemmalock.app.papers import MAX_BYTES
from gemmalock.app.repository import Entry, Repository
from gemmalock.app.weights import PAPERS, Forbidden, Refusal, cures, manifests_of, parents, roots_of
from gemmalock.codec.lock_json import read_lock
from gemmalock.durable import read_file
from gemmalock.errors import InputError, LockInvalid, UsageError
from gemmalock.lockfile import LOCK_NAME, Lock, Node
from gemmalock.outcome import ErrorNote, ExitCode, Report
from gemmalock.paths import joined
from gemmalock.sources.file import FileSource
from gemmalock.spec import MANIFEST_NAME
from gemmalock.workspace import NEVER_WALKED

_REFUSED = "policy"


def run_no_weights(folder: Path, names: Sequence[str], environ: Mapping[str, str]) -> Report:
    """Judge what is staged of `names`, or all that is staged: refuse the files of roots and the bytes of locked files.

    A paper that cannot be read is an error too: what it keeps out is not known. Raises UsageError where there is no
    repository, RunRefused when git would not say.
    """
    repository = Repository.around(folder, environ)
    if repository is None:
        raise UsageError("there is no git repository here", hint="run it in the repository that is committed to")
    wanted = frozenset(map(repository.inside, names)) if names else repository.staged()
    entries = repository.entries()
    judged = [entry for entry in entries if entry.path in wanted]
    papers = _Papers(repository, entries)
    papers.read_locks()
    papers.read_manifests(judged)
    refusals = sorted(_refusals(repository, papers, judged), key=lambda refusal: refusal.path)
    staged = repository.staged() if refusals and repository.has_commits() else None
    notes = [ErrorNote(_REFUSED, str(refusal), hint, refusal.path) for refusal, hint in cures(refusals, staged)]
    notes = sorted(notes, key=lambda note: note.place) + papers.problems
    return Report(
        "no-weights",
        ExitCode.FAILED if notes else ExitCode.OK,
        errors=tuple(notes),
        facts=(("judged", len(judged)), ("refused", len(refusals))),
    )


def _refusals(repository: Repository, papers: _Papers, judged: Iterable[Entry]) -> Iterator[Refusal]:
    forbidden = Forbidden(papers.roots, papers.digests, repository.folds_case())
    others: list[Entry] = []
    for entry in judged:
        refusal = forbidden.by_name(entry.path)
        if refusal is not None:
            yield refusal
        elif entry.is_file and entry.path not in papers.sources:
            others.append(entry)
    # Sizes first, and only those files are hashed that a lock may mean.
    sizes = repository.sizes(dict.fromkeys(entry.blob for entry in others)) if papers.sizes else {}
    papers.hash_in_place(frozenset(sizes.values()))
    likely = [blob for blob, size in sizes.items() if size in papers.sizes]
    digests = repository.read(likely, _sha256)
    for entry in others:
        if entry.blob in digests and (refusal := forbidden.by_digest(entry.path, digests[entry.blob])):
            yield refusal


def _sha256(pieces: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


@dataclass
class _Papers:
    """The locks and manifests of a repository, as they are staged and as they are on the disk: what either of the two
    keeps out is kept out."""

    repository: Repository
    entries: Sequence[Entry]
    roots: dict[str, str] = field(default_factory=dict)
    digests: dict[str, tuple[str, str]] = field(default_factory=dict)
    sizes: set[int] = field(default_factory=set)
    #: What a `file://` URL of a lock names is where its bytes come from, and may be committed.
    sources: set[str] = field(default_factory=set)
    problems: list[ErrorNote] = field(default_factory=list)
    _locked: set[str] = field(default_factory=set)
    _unhashed: list[tuple[Node, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        staged = {entry.path: entry.blob for entry in self.entries if _name_of(entry.path) in PAPERS and entry.is_file}
        others = (
            path for path in self.repository.untracked(sorted(PAPERS)) if not NEVER_WALKED.intersection(path.split("/"))
        )
        self._blobs: dict[str, str | None] = dict.fromkeys(others) | staged

    def read_locks(self) -> None:
        """Learn the roots and the locked bytes of every lock."""
        for path, text in self._texts(path for path in self._blobs if _name_of(path) == LOCK_NAME):
            try:
                self._learn(path, read_lock(text, path))
            except LockInvalid as error:
                self._refuse(path, error)

    def read_manifests(self, judged: Iterable[Entry]) -> None:
        """Learn the roots of manifests that no lock has, and below whose folders something is judged: reading YAML
        takes longer than all the rest."""
        folders = {folder for entry in judged for folder in ("", *parents(entry.path))}
        unlocked = [path for path in self._blobs if _name_of(path) == MANIFEST_NAME and path not in self._locked]
        for path, text in self._texts(path for path in unlocked if _folder_of(path) in folders):
            from gemmalock.codec.manifest import read_manifest

            try:
                manifest = read_manifest(text, path, allow_http=True)
                self.roots.setdefault(joined(_folder_of(path), manifest.root), path)
            except InputError as error:
                self._refuse(path, error)

    def hash_in_place(self, sizes: Container[int]) -> None:
        """Learn the digests that no lock has from the files in place, of those with one of these sizes."""
        for node, path in self._unhashed:
            place = self.repository.top / joined(_folder_of(path), node.path)
            with contextlib.suppress(OSError):
                if node.file.size in sizes and place.stat().st_size == node.file.size:
                    with place.open("rb") as file:
                        self._enter(node, path, hashlib.file_digest(file, "sha256").hexdigest())

    def _learn(self, path: str, lock: Lock) -> None:
        folder = _folder_of(path)
        self._locked.update(manifests_of(lock, folder))
        for root in roots_of(lock, folder):
            self.roots.setdefault(root, path)
        for node in lock.nodes():
            # An empty file has no bytes to keep out.
            if node.file.size:
                self.sizes.add(node.file.size)
                self._enter(node, path, node.file.sha256)
            if not node.file.needs_network:
                source = FileSource(self.repository.top / folder / node.manifest.folder).path_of(node.file.url)
                self.sources.add(os.path.relpath(source, self.repository.top))

    def _enter(self, node: Node, path: str, sha256: str | None) -> None:
        if sha256 is None:
            self._unhashed.append((node, path))
        else:
            self.digests.setdefault(sha256, (joined(_folder_of(path), node.id), path))

    def _texts(self, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """The bytes of papers, staged and on the disk; once where they are the same."""
        listed = sorted(paths)
        blobs = [blob for path in listed if (blob := self._blobs[path])]
        staged = self.repository.read(blobs, b"".join)
        for path in listed:
            texts = [staged.get(self._blobs[path] or "")]
            try:
                texts.append(read_file(self.repository.top / path, MAX_BYTES))
            except FileNotFoundError:
                pass
            except OSError as error:
                self._refuse(path, LockInvalid(f"cannot be read: {error.strerror}"))
            for text in dict.fromkeys(text for text in texts if text is not None):
                yield path, text

    def _refuse(self, path: str, error: InputError) -> None:
        """Note a paper that cannot be read."""
        problem = f": {error.problems[0]}" if error.problems else ""
        message = f"{error.message}{problem}; so what it keeps out of commits is not known"
        self.problems.append(ErrorNote(error.code, message, "mend it first", path))


def _name_of(path: str) -> str:
    return path.rpartition("/")[2]


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0]

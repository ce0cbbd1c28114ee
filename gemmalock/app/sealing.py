"""Sealing: what a run has proved, so that the next one that finds all of it again need not begin.

What goes into a seal comes from what the run knows (papers as they were read, ledgers), never from a new look.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from gemmalock import seal
from gemmalock.app.papers import Papers, memo_root
from gemmalock.app.wiring import Workshop
from gemmalock.errors import DiskError, GemmalockError
from gemmalock.escaping import escaped
from gemmalock.lockfile import Node
from gemmalock.plan import AS_LEFT
from gemmalock.settings import addopts_in, flags_in
from gemmalock.settings.said import said_in_files
from gemmalock.sizes import shown_size
from gemmalock.spec import MANIFEST_NAME, SCHEMES, scheme_of


def seal_run(workshop: Workshop, papers: Papers) -> None:
    """Seal what a run has found in order or put there, once everything the lock lists is in place and there is nothing
    else. Where that cannot be noted, nothing is lost."""
    from gemmalock.durable import write_file

    root = memo_root(workshop.lock)
    if root is None or not _is_plain(workshop, papers):
        return
    if seal.check(os.fspath(workshop.project.folder), workshop.environ) is not None:
        return
    with contextlib.suppress(OSError, GemmalockError, DiskError, seal.Unsealed):
        text = _text(workshop, papers)
        if _members_stand(workshop, papers):
            write_file(workshop.project.folder / root / seal.OWN / seal.NAME, text)


def _is_plain(workshop: Workshop, papers: Papers) -> bool:
    """Whether a bare command means what it says, and says nothing else: no flag has its home in the settings file, the
    lock is the one that this run went by, and has every digest."""
    if papers.settings_texts is None or papers.settings.plugin:
        return False
    if not all(node.file.sha256 and _is_plain_node(node) for node in workshop.lock.nodes()):
        return False
    with contextlib.suppress(GemmalockError):
        said, _ = said_in_files(workshop.project.folder)
        return not (flags_in(said) or addopts_in(said, {})) and papers.lock_stands()
    return False


def _is_plain_node(node: Node) -> bool:
    """Whether its places need no plugin, and its name is shown as it is."""
    places = (node.file.url, node.model.source or node.file.url)
    return all(scheme_of(place) in SCHEMES for place in places) and escaped(node.id) == node.id


def _text(workshop: Workshop, papers: Papers) -> bytes:
    manifests = {path: papers.text(path) for path in papers.paths}
    texts = seal.Texts(papers.lock_bytes or b"", manifests, papers.settings_texts or {})
    roots = [manifest.root_path for manifest in workshop.lock.manifests]
    scope = seal.Scope(papers.members.found, papers.members.searched, roots)
    files = [_told(node) for node in workshop.lock.nodes()]
    folder = os.fspath(workshop.project.folder)
    return seal.text_of(folder, workshop.environ, texts, scope, files, _known(workshop))


def _told(node: Node) -> tuple[str, str]:
    """What `status` tells of a file that is in place, and its path."""
    size, sha256 = shown_size(node.file.size), node.file.sha256
    return escaped(f"{node.id}  {size}  {AS_LEFT}  sha256 {sha256}"), node.path


def _known(workshop: Workshop) -> Iterator[tuple[str, int, int, int]]:
    """Path, size, mtime and inode of every file of the lock, as the ledgers have them. Raises Unsealed for one that
    they do not have, and for a link: what it leads to is another file's."""
    for node in workshop.lock.nodes():
        entry = workshop.root(node.manifest.path).recorded(node.file.path)
        if entry is None or entry.link == "symlink":
            raise seal.Unsealed
        yield node.path, entry.size, entry.mtime_ns, entry.inode


def _members_stand(workshop: Workshop, papers: Papers) -> bool:
    """Whether those who are members now are those whom this run knew; who came before the seal was made is in it as
    none."""
    fresh = Papers(papers.project, papers.settings)
    return fresh.text(MANIFEST_NAME) == papers.text(MANIFEST_NAME) and fresh.members == papers.members

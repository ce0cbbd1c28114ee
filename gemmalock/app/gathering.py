"""The manifests of one project, together: who is a member, and what no manifest can know of the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from gemmalock.collect import Project
from gemmalock.errors import ManifestInvalid, Problem, UnsafePath, disk_error
from gemmalock.paths import folded, is_glob, matches
from gemmalock.spec import MANIFEST_NAME, Manifest, Workspace
from gemmalock.workspace import Search, may_have_members, search


class Manifests(Protocol):
    """The texts of a project's manifests, and what each says by itself."""

    project: Project

    @property
    def paths(self) -> tuple[str, ...]: ...
    def text(self, path: str) -> bytes: ...
    def meaning(self, path: str) -> Manifest: ...


def find_members(papers: Manifests) -> Search:
    """The folders of the members of a workspace; none where the root manifest is no workspace's. Raises ManifestInvalid
    with each member that is named and does not exist."""
    if not may_have_members(papers.text(MANIFEST_NAME)):
        return Search(())
    workspace = papers.meaning(MANIFEST_NAME).workspace
    if workspace is None:
        return Search(())
    found, searched = set[str](), set[str]()
    problems: list[Problem] = []
    for number, pattern in enumerate(workspace.members):
        try:
            came = search(papers.project.folder, pattern)
        except UnsafePath as error:
            problems.append(
                _problem(papers, MANIFEST_NAME, ("workspace", "members", number), error.message, error.hint)
            )
            continue
        except OSError as error:
            raise disk_error(error, f"look for the members `{pattern}`") from error
        if not came.found and not is_glob(pattern):
            problems.append(_absent(papers, workspace, number))
        found.update(folder for folder in came.found if not matches(folder, workspace.exclude))
        searched.update(came.searched)
    if problems:
        raise _invalid(problems)
    return Search(tuple(sorted(found)), tuple(sorted(searched)))


def read_project(papers: Manifests) -> Mapping[str, Manifest]:
    """What every manifest of a project says, by its path, in order. Raises ManifestInvalid with every problem of every
    manifest, and with what only shows when all are read."""
    found: dict[str, Manifest] = {}
    problems: list[Problem] = []
    for path in papers.paths:
        try:
            found[path] = papers.meaning(path)
        except ManifestInvalid as error:
            if not error.problems:
                raise
            problems += error.problems
    problems += (*_roots_within_roots(papers, found), *_workspaces_within(papers, found))
    if problems:
        raise _invalid(problems)
    return found


def _absent(papers: Manifests, workspace: Workspace, number: int) -> Problem:
    name = workspace.members[number]
    there = (papers.project.folder / name).is_dir()
    message = f"the member `{name}` has no `{MANIFEST_NAME}`" if there else f"the member `{name}` does not exist"
    hint = "take it out of `members`, or make its manifest with `gemmalock init`"
    return _problem(papers, MANIFEST_NAME, ("workspace", "members", number), message, hint)


def _workspaces_within(papers: Manifests, found: Mapping[str, Manifest]) -> Iterator[Problem]:
    for path, manifest in found.items():
        if path != MANIFEST_NAME and manifest.workspace is not None:
            message = f"`workspace` is for the root manifest alone, and this one is a member of `{MANIFEST_NAME}`"
            hint = "take the section out, or exclude this folder from the workspace"
            yield _problem(papers, path, ("workspace",), message, hint)


def _roots_within_roots(papers: Manifests, found: Mapping[str, Manifest]) -> Iterator[Problem]:
    """Two manifests that share a root, or whose roots lie in each other; and one that lies in another one's root."""
    owners: dict[str, str] = {}
    hint = "give one of the two another `root`"
    for path, manifest in found.items():
        root = manifest.root_path(path)
        owner = owners.setdefault(folded(root), path)
        if owner != path:
            yield _problem(papers, path, ("root",), f"the root `{root}` is that of `{owner}` too", hint)
    for path, manifest in found.items():
        root = manifest.root_path(path)
        for outer in _owners_above(owners, root):
            yield _problem(papers, path, ("root",), f"the root `{root}` lies in that of `{outer}`", hint)
        for outer in _owners_above(owners, path):
            yield _problem(papers, path, (), f"this manifest lies in the root of `{outer}`", hint)


def _owners_above(owners: Mapping[str, str], path: str) -> Iterator[str]:
    """Those whose roots are folders that `path` is in."""
    steps = folded(path).split("/")
    for end in range(1, len(steps)):
        if (owner := owners.get("/".join(steps[:end]))) is not None:
            yield owner


def _problem(papers: Manifests, path: str, pointer: Sequence[str | int], message: str, hint: str = "") -> Problem:
    from gemmalock.codec.manifest import problem_at

    return problem_at(papers.text(path), path, pointer, message, hint)


def _invalid(problems: Sequence[Problem]) -> ManifestInvalid:
    names = list(dict.fromkeys(problem.path for problem in problems))
    count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
    told = f"`{names[0]}` has {count}" if len(names) == 1 else f"{len(names)} manifests have {count}"
    return ManifestInvalid(told, problems=problems)

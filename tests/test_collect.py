"""Folders, manifests and node IDs → the projects that are meant, and which of their files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.collect import Collected, Project, SeveralProjects, collect, nearest, prefixes_of
from gemmalock.errors import NothingCollected, UsageError
from gemmalock.lockfile import LockedFile, LockedManifest, LockedModel, Node
from gemmalock.selection import Selection
from gemmalock.workspace import NEVER_WALKED

MANIFEST = "version: 1\nmodels: {}\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git checkout to be, so that looking upwards ends in it."""
    folder = tmp_path / "repository"
    (folder / ".git").mkdir(parents=True)
    return folder


def manifest_in(folder: Path) -> Path:
    """A manifest in a folder, which is made. The folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gemmalock.yaml").write_text(MANIFEST)
    return folder


def node_of(model: str, name: str, manifest: str = "gemmalock.yaml") -> Node:
    """A locked file, as selections see it."""
    file = LockedFile.pin(
        name=name, path=f"{model}/{name}", url=f"https://h.example/{model}/{name}", size=1, etag=None, sha256=None
    )
    locked = LockedModel(model, (file,))
    return Node(LockedManifest(manifest, "models", "sha256:0", (locked,)), locked, file)


NODES = (
    node_of("gemma", "model.gguf"),
    node_of("gemma", "onnx/model.onnx"),
    node_of("gemma", "onnx/vocab.json"),
    node_of("gemma-mini", "model.gguf"),
)


def test_without_a_selector_it_is_the_project_of_the_folder(repository: Path) -> None:
    manifest_in(repository)
    project, selection = collect(repository)
    assert project == Project(repository)
    assert not selection
    assert project.manifest_path == repository / "gemmalock.yaml"
    assert project.lock_path == repository / "gemmalock.lock"


def test_the_one_manifest_below_is_found_before_any_above(repository: Path) -> None:
    manifest_in(repository)
    inner = manifest_in(repository / "apps/chat/deep")
    assert collect(repository / "apps")[0] == Project(inner)


def test_with_none_below_it_is_the_nearest_above(repository: Path) -> None:
    manifest_in(repository)
    near = manifest_in(repository / "apps")
    (repository / "apps/chat/src").mkdir(parents=True)
    assert collect(repository / "apps/chat/src")[0] == Project(near)


def test_nothing_above_the_git_root_is_collected(repository: Path) -> None:
    manifest_in(repository.parent)
    (repository / "src").mkdir()
    with pytest.raises(NothingCollected) as caught:
        collect(repository / "src")
    assert "gemmalock init" in caught.value.hint


def test_a_git_file_of_a_worktree_is_a_git_root_too(tmp_path: Path) -> None:
    manifest_in(tmp_path)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / ".git").write_text("gitdir: elsewhere")
    with pytest.raises(NothingCollected):
        collect(tree)


def test_a_lock_alone_is_a_project(repository: Path) -> None:
    (repository / "gemmalock.lock").write_text("{}")
    assert collect(repository)[0] == Project(repository)


@pytest.mark.parametrize("hidden", sorted(NEVER_WALKED))
def test_no_manifest_is_looked_for_where_others_keep_theirs(repository: Path, hidden: str) -> None:
    manifest_in(repository / "apps" / hidden / "thing")
    inner = manifest_in(repository / "apps/chat")
    assert collect(repository / "apps")[0] == Project(inner)


def test_no_manifest_is_looked_for_in_a_virtual_environment(repository: Path) -> None:
    manifest_in(repository / "apps/mine/site-packages")
    (repository / "apps/mine/pyvenv.cfg").write_text("")
    inner = manifest_in(repository / "apps/chat")
    assert collect(repository / "apps")[0] == Project(inner)


def test_many_manifests_below_are_named(repository: Path) -> None:
    for name in ("chat", "search"):
        manifest_in(repository / "apps" / name)
    with pytest.raises(SeveralProjects, match="more than one") as caught:
        collect(repository / "apps")
    assert "`chat/gemmalock.yaml`" in caught.value.message
    assert "`search/gemmalock.yaml`" in caught.value.message
    assert "`-C`" in caught.value.hint
    for number in range(20):
        manifest_in(repository / "apps" / f"other-{number:02}")
    with pytest.raises(UsageError, match=r"`other-08/gemmalock\.yaml` and 12 more$"):
        collect(repository / "apps")


@pytest.mark.parametrize(
    ("selector", "prefixes"),
    [
        (".", ()),
        ("apps/chat", ()),
        ("apps/chat/gemmalock.yaml", ()),
        ("apps/chat/gemmalock.lock", ()),
        ("apps/chat/gemmalock.yaml::gemma", ("gemmalock.yaml::gemma",)),
        ("apps/chat/gemmalock.yaml::gemma::model.gguf", ("gemmalock.yaml::gemma::model.gguf",)),
        ("apps/chat/gemmalock.yaml::gemma::", ("gemmalock.yaml::gemma",)),
        ("apps/chat/gemmalock.yaml::", ("gemmalock.yaml",)),
        ("apps/chat::gemma", ("gemmalock.yaml::gemma",)),
    ],
)
def test_a_selector_is_a_folder_a_manifest_or_a_node_id(
    repository: Path, selector: str, prefixes: tuple[str, ...]
) -> None:
    inner = manifest_in(repository / "apps/chat")
    (inner / "gemmalock.lock").write_text("{}")
    project, selection = collect(repository, [selector])
    assert project == Project(inner)
    assert selection.prefixes == prefixes


def test_many_selectors_of_one_project_add_up(repository: Path) -> None:
    manifest_in(repository)
    _, selection = collect(repository, ["gemmalock.yaml::a", ".::b"])
    assert selection.prefixes == ("gemmalock.yaml::a", "gemmalock.yaml::b")


def test_selectors_of_two_projects_are_a_usage_error_that_names_both(repository: Path) -> None:
    for name in ("chat", "search"):
        manifest_in(repository / name)
    with pytest.raises(SeveralProjects, match="a lock of its own") as caught:
        collect(repository, ["chat", "search"])
    assert "`chat/gemmalock.yaml`" in caught.value.message
    assert "`search/gemmalock.yaml`" in caught.value.message


@pytest.mark.parametrize(
    ("selectors", "found"),
    [
        # Without a selector nothing is a selection: each is pruned, as when run there.
        ((), [("a", Selection()), ("b", Selection()), ("ws", Selection())]),
        (("b", "a"), [("a", Selection(named=True)), ("b", Selection(named=True))]),
        (("b/gemmalock.yaml::x", "a"), [("a", Selection(named=True)),
                                        ("b", Selection(("gemmalock.yaml::x",), named=True))]),
        (("a::x", "b::y", "a::z"), [("a", Selection(("gemmalock.yaml::x", "gemmalock.yaml::z"), named=True)),
                                    ("b", Selection(("gemmalock.yaml::y",), named=True))]),
        ((".", "a::x"), [("a", Selection(named=True)), ("b", Selection(named=True)), ("ws", Selection(named=True))]),
        (("ws/one", "ws/stranger"), [("ws", Selection(("one",), named=True)), ("ws/stranger", Selection(named=True))]),
    ],
)  # fmt: skip
def test_several_projects_are_found_in_the_order_of_their_folders(
    repository: Path, selectors: tuple[str, ...], found: list[tuple[str, Selection]]
) -> None:
    for name in ("b", "a", "ws/stranger"):
        manifest_in(repository / name)
    for name in ("ws/one", "ws/two"):
        manifest_in(repository / name)
    (repository / "ws/gemmalock.yaml").write_text("version: 1\nworkspace: {members: [one, two]}\n")
    with pytest.raises(SeveralProjects) as caught:
        collect(repository, selectors)
    assert [
        (project.folder.relative_to(repository).as_posix(), selection) for project, selection in caught.value.found
    ] == found


def test_members_are_one_project_beside_those_that_are_none(repository: Path) -> None:
    for name in ("apps/one", "apps/two", "apps/stranger"):
        manifest_in(repository / name)
    (repository / "gemmalock.yaml").write_text('version: 1\nworkspace: {members: ["apps/one", "apps/two"]}\n')
    with pytest.raises(SeveralProjects) as caught:
        collect(repository / "apps")
    assert caught.value.found == (
        Collected(Project(repository), Selection(within="apps")),
        Collected(Project(repository / "apps/stranger"), Selection()),
    )
    assert collect(repository)[0] == Project(repository)


def test_a_node_id_needs_the_manifest_where_there_are_several(repository: Path) -> None:
    for name in ("apps/a", "apps/b"):
        manifest_in(repository / name)
    with pytest.raises(UsageError, match="`apps` has more than one manifest below it"):
        collect(repository, ["apps::gemma"])


@pytest.mark.parametrize(
    ("text", "a", "b"),
    [
        ("a/gemmalock.yaml::x", ("gemmalock.yaml::x",), ()),
        ("a", ("",), ()),
        (".", ("",), ("",)),
        ("nowhere.yaml::x", ("nowhere.yaml::x",), ("nowhere.yaml::x",)),
    ],
)
def test_what_is_deselected_of_one_project_is_nothing_in_another(
    repository: Path, text: str, a: tuple[str, ...], b: tuple[str, ...]
) -> None:
    found = [Project(manifest_in(repository / name)) for name in ("a", "b")]
    assert [prefixes_of(repository, text, project) for project in found] == [a, b]


@pytest.mark.parametrize(
    ("selector", "error", "says"),
    [
        ("nowhere", UsageError, "`nowhere` does not exist"),
        ("nowhere/gemmalock.yaml", NothingCollected, "there is no `nowhere/gemmalock.yaml`"),
        ("gemmalock.yaml::gemma", NothingCollected, "there is no `gemmalock.yaml::gemma`"),
        ("notes.txt", UsageError, "`notes.txt` is not a manifest"),
    ],
)
def test_a_selector_that_is_nothing_is_named(
    repository: Path, selector: str, error: type[Exception], says: str
) -> None:
    (repository / "notes.txt").write_text("")
    with pytest.raises(error, match=says):
        collect(repository, [selector])


def test_the_nearest_project_is_here_or_above_and_never_below(repository: Path) -> None:
    below = manifest_in(repository / "apps/chat")
    assert nearest(repository) is None
    assert nearest(repository / "apps") is None
    assert nearest(below) == nearest(below / "src/deep") == Project(below)


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("gemmalock.yaml", ["gemma::model.gguf", "gemma::onnx/model.onnx", "gemma::onnx/vocab.json",
                            "gemma-mini::model.gguf"]),
        ("gemmalock.yaml::gemma", ["gemma::model.gguf", "gemma::onnx/model.onnx", "gemma::onnx/vocab.json"]),
        ("gemmalock.yaml::gemma-mini", ["gemma-mini::model.gguf"]),
        ("gemmalock.yaml::gemma::onnx", ["gemma::onnx/model.onnx", "gemma::onnx/vocab.json"]),
        ("gemmalock.yaml::gemma::onnx/vocab.json", ["gemma::onnx/vocab.json"]),
    ],
)  # fmt: skip
def test_a_prefix_of_node_ids_ends_where_a_name_ends(prefix: str, names: list[str]) -> None:
    assert [node.id.partition("::")[2] for node in Selection((prefix,)).of(NODES)] == names


@pytest.mark.parametrize("prefix", ["gemmalock.yaml::gem", "gemmalock.yaml::gemma::model", "other.yaml::gemma"])
def test_a_prefix_that_fits_nothing_is_an_error_even_beside_one_that_fits(prefix: str) -> None:
    with pytest.raises(NothingCollected, match=prefix):
        Selection(("gemmalock.yaml::gemma", prefix)).of(NODES)


@given(st.lists(st.sampled_from([node.id for node in NODES]), unique=True))
def test_selecting_by_whole_node_ids_gives_just_those_in_the_locks_order(ids: list[str]) -> None:
    chosen = Selection(tuple(ids)).of(NODES)
    assert [node.id for node in chosen] == [node.id for node in NODES if node.id in ids or not ids]

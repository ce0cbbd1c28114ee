"""A workspace: many manifests, one lock; each member has its own root, and nobody takes another one's files."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gemmalock
from gemmalock.errors import ManifestInvalid, NothingCollected, UsageError
from tests.app.conftest import SMALL, Desk
from tests.running import Gemmalock
from tests.servers.fileserver import Content

ROOT = 'version: 1\nworkspace:\n  members: ["apps/*", tools/convert]\n  exclude: [apps/old]\n'


@pytest.fixture
def monorepo(desk: Desk) -> Desk:
    """A workspace of a root without models and three members, each of which has a model `m` with a file of its own and
    one that all share."""
    desk.project.write_manifest(ROOT)
    desk.server.put("/shared.bin", SMALL + b"shared")
    for member in ("apps/chat", "apps/search", "tools/convert"):
        declare(desk, member, f"{Path(member).name}.bin", "shared.bin")
    return desk


def declare(desk: Desk, member: str, *names: str, root: str = "models", model: str = "m") -> None:
    """Write a member's manifest; its files are on the server."""
    for name in names:
        desk.server.put(f"/{name}", SMALL + name.encode())
    files = "".join(f"      - url: {desk.server.origin}/{name}\n" for name in names)
    desk.project.write_manifest(f"version: 1\nroot: {root}\nmodels:\n  {model}:\n    files:\n{files}", member)


def tree(folder: Path) -> set[str]:
    """Every file below a folder, but gemmalock's own and the papers."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in found if ".gemmalock" not in path.parts and not path.name.startswith("gemmalock.")}


EVERYTHING = {
    "apps/chat/models/m/chat.bin",
    "apps/chat/models/m/shared.bin",
    "apps/search/models/m/search.bin",
    "apps/search/models/m/shared.bin",
    "tools/convert/models/m/convert.bin",
    "tools/convert/models/m/shared.bin",
}


def test_one_lock_has_all_manifests_and_every_root_its_own_files(monorepo: Desk) -> None:
    report = monorepo.sync()
    assert report.ok
    assert tree(monorepo.project.folder) == EVERYTHING
    lock = json.loads(monorepo.project.lock.read_text())
    assert [manifest["path"] for manifest in lock["manifests"]] == [
        "apps/chat/gemmalock.yaml",
        "apps/search/gemmalock.yaml",
        "gemmalock.yaml",
        "tools/convert/gemmalock.yaml",
    ]
    assert list(monorepo.project.folder.rglob("gemmalock.lock")) == [monorepo.project.lock]
    assert {file.path for file in report.files} == EVERYTHING
    again = monorepo.sync()
    assert (again.ok, again.lock and again.lock.changed, again.bytes_fetched) == (True, False, 0)


def test_what_two_members_name_is_asked_for_once_and_fetched_once(monorepo: Desk) -> None:
    monorepo.sync()
    asked = [request for request in monorepo.server.requests if request.path == "/shared.bin"]
    assert len([request for request in asked if request.method == "GET"]) == 1
    lock = json.loads(monorepo.project.lock.read_text())
    files = [file for manifest in lock["manifests"] for model in manifest["models"] for file in model["files"]]
    assert len({file["task_id"] for file in files if file["name"] == "shared.bin"}) == 1


def test_a_new_member_takes_the_pin_that_the_others_have(monorepo: Desk) -> None:
    monorepo.lock()
    monorepo.server.put("/shared.bin", SMALL + b"moved upstream")
    declare_only(monorepo, "apps/new", "shared.bin")
    monorepo.lock()
    lock = json.loads(monorepo.project.lock.read_text())
    files = [file for manifest in lock["manifests"] for model in manifest["models"] for file in model["files"]]
    assert len({file["task_id"] for file in files if file["name"] == "shared.bin"}) == 1


def test_an_upgrade_of_one_model_is_one_of_all_with_its_source(monorepo: Desk, gemmalock: Gemmalock) -> None:
    for member, model in (("apps/chat", "a"), ("apps/search", "b")):
        text = f"version: 1\nmodels:\n  {model}:\n    source: {monorepo.server.origin}/s\n    files: [one.bin]\n"
        monorepo.project.write_manifest(text, member)
    monorepo.server.put("/s/one.bin", SMALL)
    monorepo.lock()
    monorepo.server.put("/s/one.bin", SMALL + b"new")
    monorepo.lock(upgrade_model=["a"])
    lock = json.loads(monorepo.project.lock.read_text())
    sizes = [model["files"][0]["size"] for manifest in lock["manifests"] for model in manifest["models"]][:2]
    assert sizes == [len(SMALL) + 3] * 2
    told = gemmalock("lock", "-v", folder=monorepo.project.folder)
    shared = "apps/chat/gemmalock.yaml::a, apps/search/gemmalock.yaml::b"
    assert f"ONE PIN  {monorepo.server.origin}/s  for {shared}" in told.out


def declare_only(desk: Desk, member: str, *names: str) -> None:
    """A member's manifest; the server is left as it is."""
    files = "".join(f"      - url: {desk.server.origin}/{name}\n" for name in names)
    desk.project.write_manifest(f"version: 1\nmodels:\n  m:\n    files:\n{files}", member)


@pytest.mark.parametrize(
    ("where", "select", "synced"),
    [
        (".", (), EVERYTHING),
        (".", ("apps/chat",), {name for name in EVERYTHING if name.startswith("apps/chat/")}),
        (".", ("apps/chat/gemmalock.yaml",), {name for name in EVERYTHING if name.startswith("apps/chat/")}),
        (".", ("apps",), {name for name in EVERYTHING if name.startswith("apps/")}),
        (".", ("apps/chat", "tools"), {name for name in EVERYTHING if not name.startswith("apps/search/")}),
        (".", ("apps/chat/gemmalock.yaml::m::chat.bin",), {"apps/chat/models/m/chat.bin"}),
        ("apps", (), {name for name in EVERYTHING if name.startswith("apps/")}),
        ("apps/chat", (), {name for name in EVERYTHING if name.startswith("apps/chat/")}),
        ("apps/chat/src", (), {name for name in EVERYTHING if name.startswith("apps/chat/")}),
        ("apps/chat", ("gemmalock.yaml::m::chat.bin",), {"apps/chat/models/m/chat.bin"}),
        ("apps/chat", ("apps/search/gemmalock.yaml::m",), {name for name in EVERYTHING if "search/" in name}),
        ("apps/chat", ("../search",), {name for name in EVERYTHING if name.startswith("apps/search/")}),
    ],
)
def test_a_run_is_about_what_is_below_it_or_what_is_named(
    monorepo: Desk, where: str, select: tuple[str, ...], synced: set[str]
) -> None:
    (monorepo.project.folder / "apps/chat/src").mkdir()
    report = gemmalock.sync(monorepo.project.folder / where, select=select)
    assert report.ok
    assert tree(monorepo.project.folder) == synced
    assert len(json.loads(monorepo.project.lock.read_text())["manifests"]) == 4


def test_a_selection_that_fits_nothing_is_an_error(monorepo: Desk) -> None:
    with pytest.raises(NothingCollected, match="nothing fits"):
        gemmalock.sync(monorepo.project.folder, select="apps/chat/gemmalock.yaml::absent")


def test_a_run_in_a_member_prunes_that_member_alone(monorepo: Desk) -> None:
    monorepo.sync()
    for member in ("chat", "search"):
        (monorepo.project.folder / f"apps/{member}/models/stray").write_text("x")
    report = gemmalock.sync(monorepo.project.folder / "apps/chat")
    assert [gone.path for gone in report.pruned] == ["apps/chat/models/stray"]
    assert (monorepo.project.folder / "apps/search/models/stray").exists()


def test_a_member_that_has_no_file_is_no_error_where_the_run_begins_in_it(monorepo: Desk) -> None:
    monorepo.project.write_manifest("version: 1\nmodels: {}\n", "apps/empty")
    assert gemmalock.sync(monorepo.project.folder / "apps/empty").ok


@pytest.mark.parametrize("outsider", ["apps/old", "other/thing"])
def test_a_manifest_outside_of_the_workspace_has_its_own_lock(monorepo: Desk, outsider: str) -> None:
    declare(monorepo, outsider, "outside.bin")
    monorepo.sync()
    assert not (monorepo.project.folder / outsider / "models").exists()
    assert gemmalock.sync(monorepo.project.folder / outsider).ok
    assert (monorepo.project.folder / outsider / "gemmalock.lock").exists()
    assert (monorepo.project.folder / outsider / "models/m/outside.bin").exists()
    assert monorepo.sync().pruned == ()


# --- members come and go -----------------------------------------------------------------------------------


def test_a_member_that_vanished_is_pruned_and_nobody_else(monorepo: Desk) -> None:
    monorepo.sync()
    (monorepo.project.folder / "apps/search/models/mine").write_text("mine")
    (monorepo.project.folder / "apps/search/gemmalock.yaml").unlink()
    would = gemmalock.sync(monorepo.project.folder, dry_run=True).pruned
    report = monorepo.sync()
    assert would == report.pruned
    assert {gone.path: gone.to for gone in report.pruned} == {
        "apps/search/models/m/search.bin": "store",
        "apps/search/models/m/shared.bin": "store",
        "apps/search/models/mine": "trash",
    }
    assert tree(monorepo.project.folder) == {name for name in EVERYTHING if "search/" not in name}
    assert monorepo.sync().pruned == ()


def test_a_member_whose_folder_is_gone_leaves_nothing_to_prune(monorepo: Desk) -> None:
    monorepo.sync()
    shutil.rmtree(monorepo.project.folder / "apps/search")
    report = monorepo.sync()
    assert (report.ok, report.pruned) == (True, ())


@pytest.mark.parametrize("how", ["excluded", "locked before"])
def test_what_another_manifest_still_owns_is_never_pruned(monorepo: Desk, how: str) -> None:
    monorepo.sync()
    monorepo.project.write_manifest(ROOT.replace("apps/old", "apps/old, apps/search"))
    if how == "locked before":
        monorepo.lock()
    assert monorepo.sync().pruned == ()
    assert tree(monorepo.project.folder) == EVERYTHING
    assert gemmalock.sync(monorepo.project.folder / "apps/search").summary.skipped == 2


def test_who_left_the_lock_is_told(monorepo: Desk) -> None:
    monorepo.sync()
    shutil.rmtree(monorepo.project.folder / "apps/search")
    said = ("`apps/search/gemmalock.yaml` is no member any more: its 2 file(s) left the lock",)
    assert monorepo.sync().warnings == said
    assert monorepo.sync().warnings == ()


def test_a_folder_without_manifests_means_the_nearest_one(monorepo: Desk) -> None:
    (monorepo.project.folder / "docs/deep").mkdir(parents=True)
    assert len(gemmalock.sync(monorepo.project.folder / "docs/deep").files) == 6
    with pytest.raises(NothingCollected, match=r"nothing fits `gemmalock\.yaml`"):
        gemmalock.sync(monorepo.project.folder, select="docs/deep")


def test_a_member_behind_a_link_is_that_member(monorepo: Desk) -> None:
    monorepo.sync()
    link = monorepo.project.folder / "lnk"
    link.symlink_to("apps/search")
    for report in (gemmalock.sync(link), gemmalock.sync(monorepo.project.folder, select="lnk")):
        assert {file.id.split("::")[0] for file in report.files} == {"apps/search/gemmalock.yaml"}
    assert list(monorepo.project.folder.rglob("gemmalock.lock")) == [monorepo.project.lock]


def test_a_leftover_root_is_pruned_also_where_the_lock_was_made_before(monorepo: Desk) -> None:
    monorepo.sync()
    (monorepo.project.folder / "apps/search/gemmalock.yaml").unlink()
    monorepo.lock()
    assert monorepo.sync(no_prune=True).pruned == ()
    assert "apps/search/models/m/search.bin" in tree(monorepo.project.folder)
    assert len(monorepo.sync().pruned) == 2


def test_a_member_that_moves_takes_its_files_along(monorepo: Desk) -> None:
    monorepo.sync()
    (monorepo.project.folder / "apps/search").rename(monorepo.project.folder / "apps/find")
    report = monorepo.sync()
    assert (report.ok, report.bytes_fetched, report.pruned) == (True, 0, ())
    assert "apps/find/models/m/search.bin" in tree(monorepo.project.folder)


def test_a_root_that_another_project_has_taken_over_is_never_pruned(monorepo: Desk) -> None:
    monorepo.sync()
    folder = monorepo.project.folder
    (folder / "apps/search/gemmalock.yaml").rename(folder / "apps/gemmalock.yaml")
    text = (folder / "apps/gemmalock.yaml").read_text().replace("root: models", "root: search/models")
    (folder / "apps/gemmalock.yaml").write_text(text)
    assert gemmalock.sync(folder / "apps", select=["gemmalock.yaml"]).ok
    assert monorepo.sync().pruned == ()
    assert "apps/search/models/m/search.bin" in tree(folder)


def test_a_manifest_that_is_only_away_for_a_while_is_no_reason_to_prune(monorepo: Desk) -> None:
    monorepo.sync()
    manifest = monorepo.project.folder / "apps/search/gemmalock.yaml"
    manifest.rename(monorepo.project.folder / "aside")
    manifest.symlink_to("/nowhere/at/all.yaml")
    with pytest.raises(gemmalock.GemmalockError):
        monorepo.sync()
    assert tree(monorepo.project.folder) == {*EVERYTHING, "aside"}


@pytest.mark.parametrize("before", ["a run in a member", "a run that failed"])
def test_what_is_left_over_stays_known_until_it_was_dealt_with(monorepo: Desk, before: str) -> None:
    monorepo.sync()
    folder = monorepo.project.folder
    (folder / "apps/search/gemmalock.yaml").unlink()
    if before == "a run in a member":
        assert gemmalock.sync(folder / "apps/chat").pruned == ()
    else:
        declare(monorepo, "apps/chat", "chat.bin", "shared.bin", "more.bin")
        monorepo.lock()
        del monorepo.server.files["/more.bin"]
        shutil.rmtree(Path(os.environ["GEMMALOCK_STORE"]) / "objects")
        (folder / "apps/chat/models/m/chat.bin").unlink()
        assert not monorepo.sync(retries=0).ok
        monorepo.server.put("/more.bin", Content(SMALL + b"more.bin"))
    assert len(monorepo.sync().pruned) == 2


def told_of_former_roots(desk: Desk) -> set[str]:
    """What `status`, `sync` and `prune` warn of; all the same."""
    folder = desk.project.folder
    told = {desk.sync().warnings, gemmalock.status(folder).warnings, gemmalock.sync(folder, check=True).warnings}
    (warnings,) = told
    return set(warnings)


def test_a_root_that_changed_is_told_until_it_is_dealt_with(monorepo: Desk, gemmalock: Gemmalock) -> None:
    monorepo.sync()
    folder = monorepo.project.folder
    old = folder / "apps/chat/models"
    declare(monorepo, "apps/chat", "chat.bin", "shared.bin", root="weights")
    size = sum(path.stat().st_size for path in old.glob("m/*"))
    told = (
        "`apps/chat/models` was the root of `apps/chat/gemmalock.yaml` before, and still has 2 files that sync put "
        f"there ({size} B); {{}}; without `apps/chat/models/.gemmalock/ledger.json` they are yours"
    )
    cure = f"`rm -r {shlex.quote(str(old))}` removes them"
    assert told_of_former_roots(monorepo) == {told.format(cure)}
    assert f"warning: {told.format(cure)}" in gemmalock("prune").err
    assert tree(folder) > EVERYTHING
    (old / "mine").write_text("mine")
    assert told_of_former_roots(monorepo) == {told.format("there is more in it: look before you remove it")}
    (old / ".gemmalock/ledger.json").unlink()
    assert told_of_former_roots(monorepo) == set()
    assert (old / "mine").exists()


def test_a_root_that_came_and_went_is_told_of_at_both_places(monorepo: Desk) -> None:
    for root in ("models", "weights", "models"):
        declare(monorepo, "apps/chat", "chat.bin", "shared.bin", root=root)
        report = monorepo.sync()
    (told,) = report.warnings
    assert told.startswith("`apps/chat/weights` was the root of `apps/chat/gemmalock.yaml` before")
    assert monorepo.sync().warnings == (told,)
    shutil.rmtree(monorepo.project.folder / "apps/chat/weights")
    assert monorepo.sync().warnings == ()


def test_a_root_that_was_moved_leaves_nothing_to_tell(monorepo: Desk) -> None:
    monorepo.sync()
    chat = monorepo.project.folder / "apps/chat"
    (chat / "models").rename(chat / "weights")
    declare(monorepo, "apps/chat", "chat.bin", "shared.bin", root="weights")
    report = monorepo.sync()
    assert (report.warnings, report.bytes_fetched, report.pruned) == ((), 0, ())


def test_a_root_inside_of_the_one_before_is_seen_before_that_is_removed(monorepo: Desk) -> None:
    declare(monorepo, "apps/chat", "chat.bin", root="models/v1")
    monorepo.sync()
    declare(monorepo, "apps/chat", "chat.bin", root="models/v1/deep")
    (told,) = monorepo.sync().warnings
    assert "there is more in it" in told


def test_a_member_that_is_a_repository_of_its_own_has_one_lock(monorepo: Desk) -> None:
    (monorepo.project.folder / "apps/chat/.git").mkdir()
    monorepo.sync()
    gemmalock.sync(monorepo.project.folder / "apps/chat")
    assert list(monorepo.project.folder.rglob("gemmalock.lock")) == [monorepo.project.lock]


def test_a_new_member_is_seen_without_being_told(monorepo: Desk) -> None:
    monorepo.sync()
    declare(monorepo, "apps/later", "later.bin")
    assert "apps/later/models/m/later.bin" in {file.path for file in monorepo.sync().files}


def test_a_lock_that_a_member_had_before_is_told_of(monorepo: Desk) -> None:
    (monorepo.project.folder / "apps/chat/gemmalock.lock").write_text("{}")
    warnings = monorepo.lock().warnings
    assert warnings == ("`apps/chat/gemmalock.lock` is not used: the workspace has one lock; remove it",)


# --- what no manifest can know of the others ---------------------------------------------------------------


def problems(desk: Desk) -> list[str]:
    """What is wrong with the workspace."""
    with pytest.raises(ManifestInvalid) as caught:
        desk.lock()
    return [str(problem) for problem in caught.value.problems]


def _absent(desk: Desk) -> None:
    desk.project.write_manifest('version: 1\nworkspace:\n  members: ["apps/*", tools/nothing, apps/bare]\n')
    (desk.project.folder / "apps/bare").mkdir()


def _nested(desk: Desk) -> None:
    desk.project.write_manifest("version: 1\nworkspace:\n  members: []\n", "apps/chat")


def _shared_root(desk: Desk) -> None:
    desk.project.write_manifest(f"{ROOT}root: apps/chat/Models\n")


def _root_in_root(desk: Desk) -> None:
    desk.project.write_manifest(f"{ROOT}root: apps/chat\n")


def _all_at_once(desk: Desk) -> None:
    desk.project.write_manifest("version: 1\nmodels: 3\n", "apps/chat")
    desk.project.write_manifest("version: 2\n", "apps/search")


def _linked(desk: Desk) -> None:
    (desk.project.folder / "tools/convert").rename(desk.project.folder.parent / "convert")
    (desk.project.folder / "tools/convert").symlink_to(desk.project.folder.parent / "convert")


def _linked_above(desk: Desk) -> None:
    (desk.project.folder / "apps").rename(desk.project.folder / "elsewhere")
    (desk.project.folder / "apps").symlink_to(desk.project.folder / "elsewhere")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_absent, ["gemmalock.yaml:3:23: the member `tools/nothing` does not exist",
                   "gemmalock.yaml:3:38: the member `apps/bare` has no `gemmalock.yaml`"]),
        (_nested, ["apps/chat/gemmalock.yaml:3:3: `workspace` is for the root manifest alone, and this one is a member "
                   "of `gemmalock.yaml`"]),
        (_shared_root, ["gemmalock.yaml:5:7: the root `apps/chat/Models` is that of `apps/chat/gemmalock.yaml` too"]),
        (_root_in_root, ["apps/chat/gemmalock.yaml:2:7: the root `apps/chat/models` lies in that of `gemmalock.yaml`",
                         "apps/chat/gemmalock.yaml:1:1: this manifest lies in the root of `gemmalock.yaml`"]),
        (_all_at_once, ["apps/chat/gemmalock.yaml:2:9: `models` must be a mapping, and is the number 3",
                        "apps/search/gemmalock.yaml:1:10: manifest version 2 needs a newer gemmalock"]),
        (_linked, ["gemmalock.yaml:3:23: `tools/convert` is a symbolic link, and members are not looked for behind "
                   "one"]),
        (_linked_above, ["gemmalock.yaml:3:13: `apps` is a symbolic link, and members are not looked for behind one"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_where_it_stands(monorepo: Desk, spoil: Callable[[Desk], None], says: list[str]) -> None:
    spoil(monorepo)
    assert problems(monorepo) == says
    assert not monorepo.project.lock.exists()


def test_a_root_manifest_that_is_no_yaml_is_told_in_a_member_too(monorepo: Desk) -> None:
    monorepo.project.write_manifest("workspace: [\n")
    with pytest.raises(ManifestInvalid):
        gemmalock.sync(monorepo.project.folder / "apps/chat")


# --- names across members ----------------------------------------------------------------------------------


def test_a_name_means_the_nearest_member_that_has_it(monorepo: Desk) -> None:
    monorepo.sync()
    folder = monorepo.project.folder
    assert gemmalock.path("m", folder / "apps/chat") == folder / "apps/chat/models/m"
    assert gemmalock.path("m::search.bin", folder / "apps/chat") == folder / "apps/search/models/m/search.bin"
    assert gemmalock.path("apps/search/gemmalock.yaml::m", folder) == folder / "apps/search/models/m"
    with pytest.raises(UsageError) as caught:
        gemmalock.path("m", folder)
    assert "apps/chat/gemmalock.yaml::m" in caught.value.hint


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("m::convert", "did you mean `convert.bin`?"),
        ("m::weights", "there is `chat.bin`, `convert.bin`, `search.bin`, `shared.bin`"),
        ("apps/chat/gemmalock.yaml::m::search.bin", "did you mean `shared.bin`, `chat.bin`?"),
        ("apps/chat/gemmalock.yaml::n", "there is `m`"),
        ("n::chat.bin", "there is `m`"),
    ],
)
def test_a_name_that_the_lock_does_not_have_is_told_with_what_it_has(monorepo: Desk, wanted: str, hint: str) -> None:
    monorepo.lock()
    with pytest.raises(gemmalock.SourceError) as caught:
        gemmalock.path(wanted, monorepo.project.folder)
    assert (caught.value.message, caught.value.hint) == (f"the lock has no `{wanted}`", hint)


def test_a_model_is_added_to_the_manifest_that_is_nearest(monorepo: Desk, gemmalock: Gemmalock) -> None:
    monorepo.server.put("/more.bin", SMALL)
    added = gemmalock("add", "more", f"{monorepo.server.origin}/more.bin", folder=monorepo.project.folder / "apps/chat")
    assert added.code == 0, added.err
    assert "more" in (monorepo.project.folder / "apps/chat/gemmalock.yaml").read_text()
    assert "more" not in monorepo.project.manifest.read_text()
    assert "apps/chat/gemmalock.yaml::more::more.bin" in added.out


def test_check_and_frozen_and_json_speak_of_all_members(monorepo: Desk, gemmalock: Gemmalock) -> None:
    folder = monorepo.project.folder
    assert gemmalock("lock", "--check", folder=folder).code == 1
    assert gemmalock("lock", folder=folder).code == 0
    assert gemmalock("lock", "--check", folder=folder).code == 0
    assert gemmalock("sync", "--frozen", folder=folder).code == 0
    declare(monorepo, "apps/chat", "chat.bin")
    stale = gemmalock("lock", "--check", "--json", folder=folder)
    report: dict[str, Any] = stale.json()
    assert stale.code == 1
    assert "apps/chat/gemmalock.yaml::m" in report["errors"][0]["message"]

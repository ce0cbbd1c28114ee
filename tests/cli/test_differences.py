"""`diff`, `outdated` and `lock --upgrade` as tables, and what `diff` compares: files, and revisions of git."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from gemmalock.cli.differences import rows_of
from gemmalock.codec.lock_json import write_lock
from gemmalock.differing import difference
from gemmalock.lockfile import Lock, LockedModel
from tests.cli.conftest import SMALL, Here, Shop
from tests.running import Project
from tests.test_differing import DIGEST, HUB, ONE, OTHER, TWO, lock, model, pinned

MIB = 1024 * 1024


def table(old: Lock, new: Lock) -> list[str]:
    """The lines of the table, without colours."""
    return [f"{row.indented}  {row.rest}" if row.verb else row.rest for row in rows_of(difference(old, new))]


def test_a_model_is_a_heading_and_a_file_a_line() -> None:
    old = lock(model(pinned(size=240 * MIB), pinned("config.json"), pinned("gone.txt"), pinned("same.txt")))
    new = lock(
        model(
            pinned(revision=TWO, size=250 * MIB, sha256=OTHER, etag=f'"{OTHER}"'),
            pinned("config.json", TWO),
            pinned("same.txt"),
            pinned("new.txt", TWO, sha256=None),
            revision=TWO,
            license="gemma",
        )
    )
    assert table(old, new) == [
        "gemmalock.yaml::m  revision 4f1c2a9 → 77aa0c1  licence mit → gemma",
        "  CHANGED  a.gguf       240.0 MiB → 250.0 MiB  sha256 a5a5a5a5a5a5 → 5a5a5a5a5a5a",
        "  MOVED    config.json  7 B",
        "  REMOVED  gone.txt     7 B                    sha256 a5a5a5a5a5a5",
        "  ADDED    new.txt      7 B                    no digest",
    ]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"size": 240 * MIB + 1}, "251658240 B → 251658241 B"),
        ({"sha256": None}, "240.0 MiB  sha256 a5a5a5a5a5a5 → none"),
        ({"etag": '"x"'}, '240.0 MiB  ETag "a5a5a5a5a5a5 → "x"'),
        ({"etag": '"x"', "sha256": None}, '240.0 MiB  ETag "a5a5a5a5a5a5 → "x"  sha256 a5a5a5a5a5a5 → none'),
        ({"etag": '"x"', "sha256": OTHER}, "240.0 MiB  sha256 a5a5a5a5a5a5 → 5a5a5a5a5a5a"),
        ({"url": "https://m.example/a"}, f"240.0 MiB  URL {HUB}/{ONE}/a.gguf → https://m.example/a"),
    ],
)
def test_a_line_says_what_tells_two_pins_apart(values: dict[str, object], line: str) -> None:
    old, new = (lock(model(pinned(**{"size": 240 * MIB} | more))) for more in ({}, values))  # type: ignore[arg-type]
    assert table(old, new)[1].split("a.gguf  ")[1] == line


def test_what_comes_and_goes_as_a_whole_says_from_where() -> None:
    plain = LockedModel("n", (pinned("b"),))
    assert table(lock(model(pinned())), lock(plain, declared=f"sha256:{OTHER}", root="weights")) == [
        "gemmalock.yaml  root models → weights  declaration changed",
        "gemmalock.yaml::m  removed  hf://o/r@main  revision 4f1c2a9",
        "  REMOVED  a.gguf  7 B  sha256 a5a5a5a5a5a5",
        "gemmalock.yaml::n  added",
        "  ADDED    b  7 B  sha256 a5a5a5a5a5a5",
    ]
    assert table(Lock(), lock(plain))[0] == "gemmalock.yaml  added"


# --- upstream moves ----------------------------------------------------------------------------------------

MOVED = "gemmalock.yaml::gemma\n  CHANGED  tokenizer.json  18 B → 19 B  sha256 "


@pytest.fixture
def moved(shop: Shop) -> Shop:
    """A lock, and a server that has another tokenizer since."""
    assert shop.here("lock").code == 0
    shop.server.put("/tokenizer.json", SMALL + b"\n")
    return shop


def test_outdated_is_quiet_where_nothing_moved(shop: Shop) -> None:
    shop.here("lock")
    done = shop.here("outdated", "--check")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("== 2 up to date in ")
    assert len(done.out.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "summary"),
    [
        (["outdated"], 0, "== 1 changed, 1 up to date in "),
        (["outdated", "--check"], 1, "== 1 changed, 1 up to date in "),
        (["lock", "--upgrade", "--dry-run"], 0, "== 1 unchanged, 1 would update in "),
        (["lock", "--upgrade", "--check"], 1, "== 1 unchanged, 1 would update in "),
        (["lock", "--upgrade"], 0, "== 1 unchanged, 1 updated, lock written in "),
        (["lock", "--upgrade-model", "gemma"], 0, "== 1 unchanged, 1 updated, lock written in "),
    ],
)
def test_what_moved_is_a_table(moved: Shop, arguments: list[str], code: int, summary: str) -> None:
    done = moved.here(*arguments)
    assert (done.code, done.err) == (code, "")
    assert done.out.startswith(MOVED)
    assert done.out.splitlines()[2].startswith(summary)
    assert len(done.out.splitlines()) == 3


def test_with_v_an_upgrade_says_all_there_is_to_say_of_a_file(moved: Shop) -> None:
    done = moved.here("lock", "--upgrade", "-v")
    assert "UPDATED  gemmalock.yaml::gemma::tokenizer.json  19 B  its size was 18, and is 19; " in done.out
    assert "UNCHANGED  gemmalock.yaml::gemma::model.gguf" in done.out


def test_outdated_with_q_is_a_letter_a_file(moved: Shop) -> None:
    done = moved.here("outdated", "-q")
    assert done.out.splitlines()[0] == "w"
    assert moved.here("outdated", "-qq").out == ""


@pytest.mark.parametrize(("arguments", "env"), [(["--offline"], {}), ([], {"HF_HUB_OFFLINE": "1"})])
def test_outdated_without_a_network_asks_nobody_and_says_who_forbids_it(
    moved: Shop, arguments: list[str], env: dict[str, str]
) -> None:
    asked = len(moved.server.requests)
    done = moved.run("outdated", *arguments, env=env)
    assert done.code == 1
    assert "by a flag, the environment or a settings file: `gemmalock doctor` shows by which" in done.err
    assert len(moved.server.requests) == asked


def test_a_file_that_cannot_be_asked_for_is_told_beside_what_moved(moved: Shop) -> None:
    del moved.server.files["/model.gguf"]
    done = moved.here("outdated")
    assert done.code == 1
    assert done.out.startswith(MOVED)
    assert "FAILED  gemmalock.yaml::gemma::model.gguf  not_found" in done.out
    assert "error: gemmalock.yaml::gemma::model.gguf: " in done.err


def test_the_report_of_an_upgrade_has_what_moved_before_and_after(moved: Shop) -> None:
    report = moved.report("lock", "--upgrade")
    (changed,) = report["facts"]["difference"]["models"]
    assert [(file["before"]["size"], file["after"]["size"]) for file in changed["files"]] == [(18, 19)]


# --- two locks ---------------------------------------------------------------------------------------------


def write(path: Path, value: Lock) -> None:
    """Write a lock."""
    path.write_bytes(write_lock(value))


def git(folder: Path, *arguments: str) -> str:
    """What git says."""
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def history(project: Project) -> Project:
    """Two commits, of which the second is `main` and the first the tag `v1`, and another lock on the disk."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    git(project.folder, "init", "-q")
    project.write_manifest("version: 1\nmodels: {}\n")
    for size, message in ((1, "one"), (2, "two")):
        write(project.lock, lock(model(pinned(size=size))))
        git(project.folder, "add", "--all")
        git(project.folder, "commit", "-qm", message)
    git(project.folder, "tag", "v1", "HEAD~1")
    write(project.lock, lock(model(pinned(size=3))))
    return project


@pytest.mark.parametrize(
    ("arguments", "sizes"),
    [
        ([], "2 B → 3 B"),
        (["HEAD"], "2 B → 3 B"),
        (["HEAD~1"], "1 B → 3 B"),
        (["v1", "main"], "1 B → 2 B"),
        (["main", "v1"], "2 B → 1 B"),
        (["HEAD", "gemmalock.lock"], "2 B → 3 B"),
        (["gemmalock.lock", "v1"], "3 B → 1 B"),
    ],
)
def test_locks_are_those_of_files_and_of_revisions(
    history: Project, here: Here, arguments: list[str], sizes: str
) -> None:
    done = here("diff", *arguments)
    assert (done.code, done.err) == (0, "")
    heading, line, summary = done.out.splitlines()
    assert (heading, line) == ("gemmalock.yaml::m", f"  CHANGED  a.gguf  {sizes}")
    assert summary.startswith("== 1 changed in ")
    assert here("diff", "--check", *arguments).code == 1


def test_a_commit_is_a_revision_and_a_report_names_both_sides(history: Project, here: Here) -> None:
    commit = git(history.folder, "rev-parse", "v1")
    facts = here("diff", commit[:10], "--json").json()["facts"]
    assert (facts["old"], facts["new"]) == (commit[:10], "gemmalock.lock")
    assert facts["changed"] == ["gemmalock.yaml::m::a.gguf"]


def test_equal_locks_are_no_difference(history: Project, here: Here) -> None:
    done = here("diff", "--check", "main", "HEAD")
    assert done.code == 0
    assert done.out.startswith("== no difference in ")


def test_what_no_file_tells_of_is_counted(history: Project, here: Here) -> None:
    write(history.lock, lock(model(pinned(size=2), license="gemma")))
    done = here("diff", "--check")
    assert done.code == 1
    assert done.out.startswith("gemmalock.yaml::m  licence mit → gemma\n== 1 model changed in ")
    write(history.lock, lock(model(pinned(size=2)), declared=f"sha256:{OTHER}"))
    assert here("diff").out.startswith("gemmalock.yaml  declaration changed\n== 1 manifest changed in ")


def test_two_files_need_no_project_and_no_repository(tmp_path: Path, here: Here, project: Project) -> None:
    write(tmp_path / "a.lock", lock(model(pinned(size=1))))
    write(tmp_path / "b.lock", lock(model(pinned(size=2))))
    done = here("-C", str(tmp_path), "diff", "a.lock", "b.lock")
    assert (done.code, done.out.splitlines()[1]) == (0, "  CHANGED  a.gguf  1 B → 2 B")


def test_a_project_below_the_top_of_its_repository_has_its_own_lock(history: Project, here: Here) -> None:
    below = history.folder / "apps/ü b"
    below.mkdir(parents=True)
    (below / "gemmalock.yaml").write_text("version: 1\nmodels: {}\n")
    write(below / "gemmalock.lock", lock(model(pinned(size=8))))
    done = here("-C", str(below), "diff")
    assert done.code == 1
    assert "error: there is no `apps/ü b/gemmalock.lock` at `HEAD`" in done.err
    git(history.folder, "add", "--all")
    git(history.folder, "commit", "-qm", "three")
    write(below / "gemmalock.lock", lock(model(pinned(size=9))))
    assert here("-C", str(below), "diff").out.splitlines()[1] == "  CHANGED  a.gguf  8 B → 9 B"


def test_a_broken_lock_of_a_revision_is_told_with_its_place(history: Project, here: Here) -> None:
    history.lock.write_text('{"lock_version": 1,\n "manifests": 7}\n')
    git(history.folder, "commit", "-qam", "broken")
    done = here("diff")
    assert done.code == 4
    assert "HEAD:gemmalock.lock:2:15: " in done.err


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (["nowhere"], "`nowhere` is neither a file nor a revision of this repository", "name a lock file"),
        (["HEAD~9"], "`HEAD~9` is neither", "name a lock file"),
        (["HEAD:gemmalock.lock"], "`HEAD:gemmalock.lock` is neither", "name a lock file"),
        (["--", "--output=owned"], "`--output=owned` is neither", "name a lock file"),
        (["--", "-h"], "`-h` is neither", "name a lock file"),
        (["HEAD", "."], "`.` is neither", "name a lock file"),
        (["x" * 300], f"`{'x' * 50}…{'x' * 49}` is neither", "name a lock file"),
        (["x" * 200_000], f"`{'x' * 99}…` is neither", "name a lock file"),
    ],
)
def test_what_is_no_revision_is_a_usage_error(
    history: Project, here: Here, arguments: list[str], says: str, hint: str
) -> None:
    done = here("diff", *arguments)
    assert done.code == 4
    assert f"error: {says}" in done.err
    assert f"hint: {hint}" in done.err
    assert not (history.folder / "owned").exists()


def test_without_a_repository_or_a_commit_the_cure_is_two_files(project: Project, here: Here) -> None:
    project.write_manifest("version: 1\nmodels: {}\n")
    write(project.lock, lock())
    done = here("diff")
    assert done.code == 4
    assert f"error: `HEAD` is no file, and `{project.folder}` is in no git repository" in done.err
    assert "hint: name two lock files" in done.err
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    git(project.folder, "init", "-q")
    assert "hint: there is no commit yet" in here("diff").err


def test_a_lock_that_is_a_link_in_a_commit_is_no_lock(history: Project, here: Here) -> None:
    history.lock.rename(history.folder / "real.lock")
    history.lock.symlink_to("real.lock")
    git(history.folder, "add", "--all")
    git(history.folder, "commit", "-qm", "link")
    done = here("diff")
    assert done.code == 1
    assert "error: there is no `gemmalock.lock` at `HEAD`" in done.err


def test_a_difference_drives_no_terminal(project: Project, here: Here, tmp_path: Path) -> None:
    write(tmp_path / "a.lock", lock(model(pinned(), license="mit")))
    write(tmp_path / "b.lock", lock(model(pinned(etag='"\u009b31m\u202e"'), license="gemma")))
    done = here("diff", str(tmp_path / "a.lock"), str(tmp_path / "b.lock"))
    assert done.code == 0
    assert "\\u009b31m\\u202e" in done.out
    assert "\u202e" not in done.out
    assert DIGEST[:12] in done.out

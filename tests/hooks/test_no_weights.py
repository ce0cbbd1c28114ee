"""`no-weights`: what is staged is judged, by name and by bytes, against every paper of the repository."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from gemmalock.codec.report_json import report_problems
from tests.hooks.conftest import CONFIG, WEIGHTS, Repo
from tests.running import Finished, Gemmalock


def refused(done: Finished) -> list[str]:
    """The paths that are named in errors."""
    assert done.code == 1, (done.out, done.err)
    return [line.split(": ")[1] for line in done.err.splitlines() if line.startswith("error: ")]


def test_what_is_committed_as_it_should_be_passes(repo: Repo) -> None:
    repo.write("src/main.py", "print()\n")
    repo.done("add", ".")
    for names in ((), ("src/main.py", "gemmalock.yaml", "gemmalock.lock", ".gitignore")):
        done = repo.gemmalock("no-weights", *names)
        assert (done.code, done.err) == (0, "")


def test_a_file_of_a_root_is_refused_with_its_cure(repo: Repo) -> None:
    repo.write("models/notes.txt", "mine")
    repo.done("add", "--force", "models/notes.txt")
    done = repo.gemmalock("no-weights", "models/notes.txt")
    assert done.code == 1
    assert done.err.splitlines() == [
        "error: models/notes.txt: it is in the root `models` of `gemmalock.lock`",
        "hint: run `git restore --staged -- models/notes.txt`, and have `/models/` in `.gitignore`",
    ]
    repo.done("restore", "--staged", "--", "models/notes.txt")
    assert repo.gemmalock("no-weights", "models/notes.txt").code == 0


def test_without_names_everything_staged_is_judged_and_nothing_else(repo: Repo) -> None:
    repo.done("add", "--force", "models/gemma/config.json")
    repo.write("models/other.bin", "not staged")
    assert refused(repo.gemmalock("no-weights")) == ["models/gemma/config.json"]
    assert repo.git("commit", "-m", "a mistake").code == 0
    assert repo.gemmalock("no-weights").code == 0
    done = repo.gemmalock("no-weights", "models/gemma/config.json")
    assert refused(done) == ["models/gemma/config.json"]
    assert "run `git rm --cached -r -- models/gemma/config.json`" in done.err


def test_before_the_first_commit_the_cure_is_another(empty: Repo) -> None:
    empty.declare()
    empty.lock()
    empty.write("copy.bin", WEIGHTS)
    empty.done("add", "--all")
    done = empty.gemmalock("no-weights")
    assert refused(done) == ["copy.bin"]
    assert "run `git rm --cached -r -- copy.bin`" in done.err
    empty.done("rm", "--cached", "-r", "--", "copy.bin")
    assert empty.gemmalock("no-weights").code == 0


def test_gemmalocks_own_folder_is_refused_wherever_it_is(repo: Repo) -> None:
    repo.write("lib/.gemmalock/ledger.json", "{}")
    repo.done("add", "--force", "lib")
    assert refused(repo.gemmalock("no-weights")) == ["lib/.gemmalock/ledger.json"]


def test_the_bytes_of_a_locked_file_are_refused_under_any_name(repo: Repo) -> None:
    repo.write("data/innocent.txt", WEIGHTS)
    repo.write("data/also same size.txt", bytes(len(WEIGHTS)))
    repo.write("data/config.json", CONFIG)
    repo.done("add", ".")
    done = repo.gemmalock("no-weights")
    assert refused(done) == ["data/config.json", "data/innocent.txt"]
    assert "it has the bytes of `gemmalock.yaml::gemma::model.gguf`, which `gemmalock.lock` locks" in done.err


def test_the_staged_bytes_are_judged_and_not_the_working_copy(repo: Repo) -> None:
    repo.write("one.bin", WEIGHTS)
    repo.write("other.bin", "text")
    repo.done("add", ".")
    repo.write("one.bin", "text")
    repo.write("other.bin", WEIGHTS)
    assert refused(repo.gemmalock("no-weights", "one.bin", "other.bin")) == ["one.bin"]


def test_an_lfs_pointer_is_fine(repo: Repo) -> None:
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(WEIGHTS)}\n"
    # What LFS does: the working copy has the bytes, and a filter stages a pointer in their place.
    repo.write("pointer", pointer)
    repo.write("filter", f"#!/bin/sh\ncat > /dev/null\ncat '{repo.folder}/pointer'\n").chmod(0o755)
    repo.done("config", "filter.lfs.clean", f"'{repo.folder}/filter'")
    repo.write(".gitattributes", "*.bin filter=lfs\n")
    repo.write("big.bin", WEIGHTS)
    repo.done("add", ".")
    assert repo.done("show", ":big.bin") == pointer
    assert repo.gemmalock("no-weights", "big.bin").code == 0


def test_a_link_and_a_submodule_in_a_root_are_refused_and_elsewhere_are_not(repo: Repo) -> None:
    for place in ("models/link", "link"):
        (repo.folder / place).symlink_to("nowhere")
    for place in ("models/sub", "sub"):
        repo.done("init", "-q", place)
        repo.git("commit", "--allow-empty", "-m", "inner", folder=repo.folder / place)
        repo.done("add", "--force", place)
    repo.done("add", "--force", "models/link", "link")
    assert refused(repo.gemmalock("no-weights")) == ["models/link", "models/sub"]


def test_empty_files_and_the_source_of_a_file_url_may_be_committed(empty: Repo) -> None:
    empty.write("upstream/a b.bin", WEIGHTS)
    empty.write("upstream/empty.bin", "")
    files = "".join(f"      - url: file://upstream/{name}\n" for name in ("a b.bin", "empty.bin"))
    empty.write("gemmalock.yaml", f"version: 1\nmodels:\n  local:\n    files:\n{files}")
    empty.lock()
    empty.write("package/__init__.py", "")
    empty.done("add", ".")
    assert empty.gemmalock("no-weights").code == 0
    empty.write("copy.bin", WEIGHTS)
    empty.done("add", ".")
    assert refused(empty.gemmalock("no-weights")) == ["copy.bin"]


def test_every_lock_of_a_monorepo_counts(monorepo: Repo) -> None:
    monorepo.write("apps/a/models/x", "x")
    monorepo.write("apps/b/models/x", "x")
    monorepo.write("models/x", "x")
    monorepo.write("elsewhere.bin", WEIGHTS)
    monorepo.done("add", "--force", ".")
    monorepo.done("reset", "-q", "--", "apps/a/models/gemma", "apps/a/models/.gemmalock", "apps/b/models/.gemmalock")
    assert refused(monorepo.gemmalock("no-weights")) == [
        "apps/a/models/x", "apps/b/models/gemma/config.json", "apps/b/models/gemma/model.gguf", "apps/b/models/x",
        "elsewhere.bin",
    ]  # fmt: skip


def test_names_are_relative_to_the_folder_of_the_call(monorepo: Repo) -> None:
    monorepo.write("apps/a/models/x", "x")
    monorepo.done("add", "--force", "apps/a/models/x")
    assert refused(monorepo.gemmalock("-C", "apps/a", "no-weights", "models/x")) == ["apps/a/models/x"]
    assert refused(monorepo.gemmalock("no-weights", "../a/models/x", folder=monorepo.folder / "apps/b")) != []
    absolute = monorepo.folder / "apps/a/models/x"
    assert refused(monorepo.gemmalock("no-weights", absolute)) == ["apps/a/models/x"]
    assert monorepo.gemmalock("-C", "apps/b", "no-weights", "models/x").code == 0
    assert monorepo.gemmalock("no-weights", "../outside").code == 4


def test_a_lock_of_a_workspace_has_roots_in_its_members(repo: Repo) -> None:
    lock = json.loads((repo.folder / "gemmalock.lock").read_text())
    lock["manifests"].append(lock["manifests"][0] | {"path": "apps/c/gemmalock.yaml", "root": "weights", "models": []})
    repo.write("gemmalock.lock", json.dumps(lock))
    # The lock says the root; what the manifest says is not read.
    repo.write("apps/c/gemmalock.yaml", "broken: [")
    repo.write("apps/c/weights/x", "x")
    repo.done("add", ".")
    assert refused(repo.gemmalock("no-weights")) == ["apps/c/weights/x"]


def test_the_root_of_a_manifest_without_a_lock_counts(empty: Repo) -> None:
    empty.declare("apps/a", extra="root: weights\n")
    empty.write("apps/a/weights/x", "x")
    empty.done("add", ".")
    done = empty.gemmalock("no-weights")
    assert refused(done) == ["apps/a/weights/x"]
    assert "of `apps/a/gemmalock.yaml`" in done.err


def test_a_lock_that_git_does_not_track_counts_too(empty: Repo) -> None:
    empty.declare("apps/a")
    empty.lock("apps/a")
    empty.write(".gitignore", "apps/a/gemmalock.*\n")
    empty.write("copy", WEIGHTS)
    empty.done("add", ".gitignore", "copy")
    assert refused(empty.gemmalock("no-weights")) == ["copy"]


def test_a_staged_lock_counts_when_the_disk_has_another_or_none(repo: Repo) -> None:
    (repo.folder / "gemmalock.lock").unlink()
    repo.write("copy", WEIGHTS)
    repo.done("add", "copy")
    assert refused(repo.gemmalock("no-weights")) == ["copy"]


def test_a_digest_that_no_lock_has_is_learned_from_the_file_in_place(repo: Repo) -> None:
    lock = json.loads((repo.folder / "gemmalock.lock").read_text())
    for file in lock["manifests"][0]["models"][0]["files"]:
        file["sha256"] = None
    repo.write("gemmalock.lock", json.dumps(lock))
    repo.done("add", ".")
    assert repo.git("commit", "-m", "without digests").code == 0
    repo.write("copy", WEIGHTS)
    repo.done("add", ".")
    assert refused(repo.gemmalock("no-weights")) == ["copy"]


def test_a_lock_that_cannot_be_read_is_an_error_and_the_others_are_still_judged(monorepo: Repo) -> None:
    monorepo.write("apps/a/gemmalock.lock", "<<<<<<< ours")
    monorepo.write("apps/b/models/x", "x")
    monorepo.done("add", "apps/a/gemmalock.lock")
    monorepo.done("add", "--force", "apps/b/models/x")
    done = monorepo.gemmalock("no-weights")
    assert refused(done) == ["apps/b/models/x", "apps/a/gemmalock.lock"]
    assert "what it keeps out of commits is not known" in done.err


def test_the_report_names_every_file(repo: Repo) -> None:
    repo.write("copy", WEIGHTS)
    repo.done("add", ".")
    done = repo.gemmalock("no-weights", "--json")
    assert done.code == 1
    assert report_problems(done.out) == []
    report = done.json()
    assert report["command"] == "no-weights"
    assert [(error["place"], error["code"]) for error in report["errors"]] == [("copy", "policy")]
    assert report["facts"] == {"judged": 1, "refused": 1}


def test_outside_of_a_repository_it_is_a_usage_error(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    done = repo.gemmalock("no-weights", folder=tmp_path / "outside")
    assert done.code == 4
    assert "there is no git repository here" in done.err


def test_when_git_would_not_say_nothing_passes(repo: Repo) -> None:
    (repo.folder / ".git/index").write_bytes(b"nonsense")
    assert repo.gemmalock("no-weights").code == 1
    assert "cannot run `git`" in repo.gemmalock("no-weights", env={"PATH": "/nowhere"}).err


def test_strange_names_are_judged_too(repo: Repo) -> None:
    names = ["models/é ü.bin", "models/a\nb", "models/-x", 'models/"q"']
    for name in names:
        repo.write(name, "x")
    repo.done("add", "--force", "--", *names)
    report = repo.gemmalock("no-weights", "--json", "--", *names).json()
    assert sorted(error["place"] for error in report["errors"]) == sorted(names)


# --- the index of the commit in progress --------------------------------------------------------------------

HOOK = f"#!/bin/sh\nenv | grep '^GIT_' > \"$SEEN\"\nexec '{sys.executable}' -m gemmalock no-weights\n"


def hooked(repo: Repo, tmp_path: Path) -> dict[str, str]:
    """A plain git hook that judges what is staged. The environment that it wants."""
    hook = repo.write(".git/hooks/pre-commit", HOOK)
    hook.chmod(0o755)
    return {"SEEN": str(tmp_path / "seen")}


def test_commit_all_is_judged_by_its_own_index(repo: Repo, tmp_path: Path) -> None:
    repo.write("data.bin", "text")
    assert repo.commit().code == 0
    env = hooked(repo, tmp_path)
    repo.write("data.bin", WEIGHTS)
    # Nothing is staged: `commit -a` stages it in an index of its own.
    assert repo.gemmalock("no-weights").code == 0
    done = repo.git("commit", "-a", "-m", "all", env=env)
    assert done.code == 1
    assert "error: data.bin: it has the bytes of" in done.err
    assert "index.lock" in (tmp_path / "seen").read_text()


def test_a_commit_of_some_files_is_judged_without_the_others(repo: Repo, tmp_path: Path) -> None:
    repo.write("good.txt", "text")
    repo.write("data.bin", "text")
    assert repo.commit().code == 0
    env = hooked(repo, tmp_path)
    repo.write("good.txt", "other text")
    repo.write("data.bin", WEIGHTS)
    repo.done("add", "data.bin")
    done = repo.git("commit", "-m", "partial", "--", "good.txt", env=env)
    assert done.code == 0, done.err
    assert "next-index" in (tmp_path / "seen").read_text()
    assert repo.git("commit", "-m", "the rest", env=env).code == 1


def test_in_a_second_working_tree_its_own_index_is_judged(repo: Repo, tmp_path: Path) -> None:
    env = hooked(repo, tmp_path)
    other = tmp_path / "other"
    repo.done("worktree", "add", "-q", "-b", "other", str(other))
    (other / "data.bin").write_bytes(WEIGHTS)
    repo.git("add", "data.bin", folder=other)
    done = repo.git("commit", "-m", "in the other", folder=other, env=env)
    assert done.code == 1, done.out
    assert "data.bin" in done.err
    assert "GIT_DIR=" in (tmp_path / "seen").read_text()
    assert repo.git("commit", "--allow-empty", "-m", "in the first", env=env).code == 0


def test_the_index_of_another_repositorys_commit_is_none_of_ours(repo: Repo, tmp_path: Path) -> None:
    other = tmp_path / "other"
    repo.done("init", "-q", str(other))
    env = {"GIT_DIR": str(other / ".git"), "GIT_INDEX_FILE": str(other / ".git/index"), "GIT_WORK_TREE": str(other)}
    repo.write("copy", WEIGHTS)
    repo.done("add", "copy")
    assert refused(repo.gemmalock("no-weights", env=env)) == ["copy"]


@pytest.mark.parametrize("folder", [".", "apps/a"])
def test_relative_variables_of_a_hook_are_read_where_it_runs(monorepo: Repo, folder: str) -> None:
    monorepo.write("apps/a/copy", WEIGHTS)
    monorepo.done("add", ".")
    env = {"GIT_DIR": ".git", "GIT_INDEX_FILE": ".git/index", "GIT_PREFIX": "apps/"}
    assert refused(monorepo.gemmalock("-C", folder, "no-weights", env=env)) == ["apps/a/copy"]


# --- cost ---------------------------------------------------------------------------------------------------


def test_five_thousand_names_take_a_few_processes_and_no_yaml(repo: Repo) -> None:
    blob = repo.done("hash-object", "-w", str(repo.write("text", "text"))).strip()
    names = [f"src/{number % 50}/{number}.txt" for number in range(5_000)]
    entries = "".join(f"100644 {blob}\t{name}\n" for name in names)
    subprocess.run(["git", "update-index", "--index-info"], cwd=repo.folder, input=entries.encode(), check=True)
    script = (
        "import sys\nfrom gemmalock.cli import main\n"
        "calls = []\n"
        "sys.addaudithook(lambda event, given: calls.append(given[1]) if event == 'subprocess.Popen' else None)\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    print(end.code, len(calls))\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & {'yaml', 'jsonschema', 'urllib3', 'rich'}))\n"
    )
    done = Gemmalock(repo.folder, (sys.executable, "-c", script))("no-weights", *names)
    assert done.code == 0, done.err
    assert "== 5000 staged, 0 refused in " in done.out
    code, calls, *heavy = done.out.split("==")[-1].split()
    assert (code, heavy) == ("0", [])
    assert int(calls) <= 8

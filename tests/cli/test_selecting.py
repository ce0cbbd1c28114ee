"""Selectors, as the guide shows them: its session is typed here, line by line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.errors import UsageError
from gemmalock.expressions import Expression
from tests.guard import CHECKOUT
from tests.running import Gemmalock, Project

CHAT = """\
version: 1
models:
  gemma: {source: file://weights, files: ["*.gguf"], tags: [llm, mobile]}
  tokenizer: {source: file://weights, files: [tokenizer.json]}
"""
SEARCH = "version: 1\nmodels:\n  embedder: {source: file://weights, files: ['*'], tags: [mobile]}\n"
WEIGHTS = {
    "apps/chat/weights/model-q4.gguf": 20,
    "apps/chat/weights/model-q8.gguf": 40,
    "apps/chat/weights/tokenizer.json": 5,
    "apps/search/weights/model.safetensors": 30,
}


@pytest.fixture
def monorepo(project: Project, gemmalock: Gemmalock) -> Project:
    """The workspace of the guide, locked."""
    project.write_manifest('version: 1\nworkspace: {members: ["apps/*"]}\n')
    project.write_manifest(CHAT, "apps/chat")
    project.write_manifest(SEARCH, "apps/search")
    for name, size in WEIGHTS.items():
        (project.folder / name).parent.mkdir(exist_ok=True)
        (project.folder / name).write_bytes(name.encode().ljust(size, b"x")[:size])
    assert gemmalock("lock").code == 0
    return project


def sorted_lines(text: str) -> list[str]:
    """What was said, without times, and without the header of `-v`: it is this machine's. Files that are worked on at
    once end in any order."""
    lines = re.sub(r"in \d+\.\d\ds ==", "in 0.00s ==", text).splitlines()
    return sorted(line for line in lines if not re.match(r"gemmalock \d|(root|manifests|store): ", line))


def test_the_session_of_the_guide_is_what_happens(monorepo: Project, gemmalock: Gemmalock) -> None:
    guide = (CHECKOUT / "docs/selecting.md").read_text("utf-8")
    session = "".join(re.findall(r"```console\n(.*?)```", guide, re.DOTALL))
    commands = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", session, re.MULTILINE)
    assert len(commands) > 12
    for command, expected in commands:
        program, *words = shlex.split(command)
        if program == "rm":
            (monorepo.folder / words[0]).unlink()
            continue
        done = gemmalock(*words)
        assert sorted_lines(done.err + done.out) == sorted_lines(expected), command


# --- expressions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("a", True),
        ("b", False),
        ("not b", True),
        ("a and b", False),
        ("a or b", True),
        ("b or b or a", True),
        ("not a or a", True),
        ("not (a or b)", False),
        ("a and not b and not (b and a)", True),
        ("(((a)))", True),
        ("not not a", True),
        ("b and b or a", True),
        ("a and (b or a)", True),
    ],
)
def test_an_expression_means_what_pytest_makes_of_it(text: str, holds: bool) -> None:
    assert Expression.parse(text, "-k").fits(lambda word: word == "a") is holds


@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        ("and", 1, "expected a word, `not` or `(`"),
        ("a and", 6, "expected a word, `not` or `(`"),
        ("a b", 3, "expected `and`, `or` or the end"),
        ("(a", 3, "expected `)`"),
        ("a)", 2, "expected `and`, `or` or the end"),
        ("not", 4, "expected a word, `not` or `(`"),
        ("()", 2, "expected a word, `not` or `(`"),
        ("(" * 200, 101, "it is too deep"),
        ("a or or b", 6, "expected a word, `not` or `(`"),
    ],
)
def test_a_wrong_expression_is_told_with_a_caret(text: str, place: int, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        Expression.parse(text, "-m")
    (problem,) = caught.value.problems
    assert (problem.path, problem.line, problem.column, problem.message) == ("-m", 1, place, why)
    assert problem.excerpt == f"{text}\n{' ' * (place - 1)}^"


_WORDS = st.sampled_from(["a", "b", "c"])
_TREES = st.recursive(
    _WORDS.map(lambda word: (word, lambda held: word in held)),
    lambda parts: st.one_of(
        st.tuples(parts, parts).map(lambda two: (f"({two[0][0]} and {two[1][0]})", _both(two[0][1], two[1][1]))),
        st.tuples(parts, parts).map(lambda two: (f"({two[0][0]} or {two[1][0]})", _either(two[0][1], two[1][1]))),
        parts.map(lambda part: (f"not {part[0]}", lambda held: not part[1](held))),
    ),
)
Held = Callable[[frozenset[str]], bool]


def _both(one: Held, other: Held) -> Held:
    return lambda held: one(held) and other(held)


def _either(one: Held, other: Held) -> Held:
    return lambda held: one(held) or other(held)


@given(_TREES, st.frozensets(_WORDS))
def test_any_expression_is_read_as_it_was_built(tree: tuple[str, Held], held: frozenset[str]) -> None:
    text, meaning = tree
    assert Expression.parse(text, "-k").fits(held.__contains__) == meaning(held)


@given(st.text())
def test_any_text_is_an_expression_or_a_usage_error(text: str) -> None:
    try:
        Expression.parse(text, "-k").fits(lambda word: True)
    except UsageError as error:
        assert error.problems


# --- failures ----------------------------------------------------------------------------------------------


def spoil(folder: Path, *names: str) -> None:
    """Take weights away before they were fetched."""
    for name in names:
        (folder / name).unlink()


def test_nothing_more_is_begun_after_so_many_failures(monorepo: Project, gemmalock: Gemmalock) -> None:
    spoil(monorepo.folder, *WEIGHTS)
    first = gemmalock("sync", "-x", "-j1", "--json")
    assert first.code == 1
    outcomes = [file["outcome"] for file in first.json()["files"]]
    assert sorted(outcomes) == ["failed", "planned", "planned", "planned"]
    more = gemmalock("sync", "--maxfail", "3", "-j1", "--json")
    assert [file["outcome"] for file in more.json()["files"]].count("failed") == 3


def test_what_failed_is_tried_again_alone_or_first(monorepo: Project, gemmalock: Gemmalock) -> None:
    weights = monorepo.folder / "apps/chat/weights/tokenizer.json"
    text = weights.read_bytes()
    weights.unlink()
    assert gemmalock("sync").code == 1
    (monorepo.folder / "apps/search/models/embedder/model.safetensors").unlink()
    again = gemmalock("sync", "--lf", "--json")
    assert [file["id"] for file in again.json()["files"]] == ["apps/chat/gemmalock.yaml::tokenizer::tokenizer.json"]
    first = gemmalock("sync", "--ff", "-x", "-j1", "--json")
    outcomes = {file["id"].split("::")[1]: file["outcome"] for file in first.json()["files"]}
    assert (outcomes["tokenizer"], outcomes["embedder"]) == ("failed", "planned")
    weights.write_bytes(text)
    assert gemmalock("sync", "--lf").code == 0
    assert len(gemmalock("status", "--lf", "--json").json()["files"]) == 4


def test_a_selection_never_prunes(monorepo: Project, gemmalock: Gemmalock) -> None:
    assert gemmalock("sync").code == 0
    stray = monorepo.folder / "apps/chat/models/stray"
    for flags in (["-k", "gemma"], ["-k", ""], ["-m", "llm"], ["--deselect", "apps/search"], ["apps/chat"], ["--lf"]):
        stray.write_text("x")
        done = gemmalock("sync", *flags, "--json")
        assert (done.code, done.json()["pruned"], stray.exists()) == (0, [], True)


def test_what_failed_elsewhere_leaves_a_selection_as_it_is(monorepo: Project, gemmalock: Gemmalock) -> None:
    (monorepo.folder / "apps/chat/weights/tokenizer.json").unlink()
    assert gemmalock("sync").code == 1
    there = gemmalock("sync", "apps/search", "--lf", "--json")
    assert (there.code, len(there.json()["files"])) == (0, 1)


def test_a_refused_file_counts_as_a_failure_from_the_start(monorepo: Project, gemmalock: Gemmalock) -> None:
    assert gemmalock("sync").code == 0
    root = monorepo.folder / "apps/chat/models"
    (root / "tokenizer").rename(monorepo.folder / "elsewhere")
    (root / "tokenizer").symlink_to(monorepo.folder / "elsewhere")
    (root / "gemma/model-q4.gguf").unlink()
    done = gemmalock("sync", "-x", "--json")
    outcomes = {file["id"].split("::")[2]: file["outcome"] for file in done.json()["files"]}
    assert (outcomes["tokenizer.json"], outcomes["model-q4.gguf"]) == ("failed", "planned")
    assert not (root / "gemma/model-q4.gguf").exists()


def test_deselecting_names_things_from_where_the_run_begins(monorepo: Project, gemmalock: Gemmalock) -> None:
    chat = monorepo.folder / "apps/chat"
    for word in ("gemmalock.yaml::gemma", "apps/chat/gemmalock.yaml::gemma"):
        done = gemmalock("list", "--deselect", word, "--json", folder=chat)
        assert [file["model"] for file in done.json()["files"]] == ["tokenizer"], word
    assert gemmalock("list", "--deselect", ".", folder=chat).code == 5


def test_a_node_id_behind_many_manifests_is_refused(monorepo: Project, gemmalock: Gemmalock) -> None:
    done = gemmalock("status", "apps::gemma")
    assert (done.code, "more than one manifest" in done.err) == (4, True)


def test_a_setting_that_narrows_runs_keeps_nobody_from_locking(monorepo: Project, gemmalock: Gemmalock) -> None:
    (monorepo.folder / "gemmalock.toml").write_text("tags = 'llm'\n")
    assert gemmalock("lock").code == 0
    assert gemmalock("lock", "--check").code == 0


def test_what_leaves_nothing_is_exit_code_5(monorepo: Project, gemmalock: Gemmalock) -> None:
    for command in ("sync", "status", "verify", "list", "tree"):
        assert gemmalock(command, "-m", "absent").code == 5
        assert gemmalock(command, "-k", "(").code == 4


def test_only_an_upgrade_is_about_some_models(monorepo: Project, gemmalock: Gemmalock) -> None:
    assert gemmalock("lock", "apps/chat").code == 4
    (monorepo.folder / "apps/chat/weights/model-q4.gguf").write_bytes(b"other")
    (monorepo.folder / "apps/search/weights/model.safetensors").write_bytes(b"other")
    done = gemmalock("lock", "--upgrade", "-k", "gemma", "--deselect", "apps/search", "--json")
    changed = [file["id"] for file in done.json()["files"] if file["outcome"] == "done"]
    assert changed == ["apps/chat/gemmalock.yaml::gemma::model-q4.gguf"]

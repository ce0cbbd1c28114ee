"""Which files may not be committed: the rules as a table."""

from __future__ import annotations

import pytest

from gemmalock.app.weights import Forbidden, Refusal, Why, cures

SHA256 = "a" * 64
PAPERS = Forbidden(
    roots={"models": "gemmalock.lock", "apps/a/weights": "apps/a/gemmalock.lock"},
    digests={SHA256: ("apps/a/gemmalock.yaml::gemma::g.gguf", "apps/a/gemmalock.lock")},
)


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("models/gemma/g.gguf", "models"),
        ("models", "models"),
        ("models/.gemmalock/ledger.json", "models"),
        ("apps/a/weights/x", "apps/a/weights"),
        ("apps/b/.gemmalock/x", "apps/b/.gemmalock"),
        (".gemmalock/ledger.json", ".gemmalock"),
        ("lib/.GemmaLock/x", "lib/.GemmaLock"),
        ("models2/x", None),
        ("models.py", None),
        ("src/models/x.py", None),
        ("apps/a/models/x", None),
        ("apps/a/gemmalock.lock", None),
        ("Models/x", None),
    ],
)
def test_a_root_and_gemmalocks_own_folders_are_known_by_name(path: str, cause: str | None) -> None:
    refusal = PAPERS.by_name(path)
    assert (refusal.cause if refusal else None) == cause


@pytest.mark.parametrize("path", ["Models/x", "APPS/a/Weights/y", "models/x"])
def test_where_the_disk_folds_case_a_root_is_known_in_any_case(path: str) -> None:
    assert Forbidden(PAPERS.roots, folds_case=True).by_name(path) is not None


def test_locked_bytes_are_known_wherever_they_are() -> None:
    refusal = PAPERS.by_digest("data/copy.bin", SHA256)
    assert str(refusal) == (
        "it has the bytes of `apps/a/gemmalock.yaml::gemma::g.gguf`, which `apps/a/gemmalock.lock` locks"
    )
    assert PAPERS.by_digest("data/copy.bin", "b" * 64) is None


def in_root(path: str) -> Refusal:
    return Refusal(path, Why.IN_ROOT, "models", "gemmalock.lock")


def test_what_is_refused_for_one_cause_has_one_cure_that_can_be_pasted() -> None:
    refusals = [in_root("models/a"), in_root("models/it's b")]
    (first, _), (second, _) = found = list(cures(refusals, frozenset({"models/a", "models/it's b"})))
    assert {first, second} == set(refusals)
    assert {cure for _, cure in found} == {
        "run `git restore --staged -- models/a 'models/it'\"'\"'s b'`, and have `/models/` in `.gitignore`"
    }


def test_many_files_of_a_root_are_taken_out_by_the_root() -> None:
    refusals = [in_root(f"models/{number}") for number in range(100)]
    (cure,) = {cure for _, cure in cures(refusals, frozenset(refusal.path for refusal in refusals))}
    assert cure == "run `git restore --staged -- models`, and have `/models/` in `.gitignore`"


@pytest.mark.parametrize("staged", [None, frozenset[str]()])
def test_what_is_committed_already_or_has_no_commit_to_go_back_to_is_removed_from_the_index(
    staged: frozenset[str] | None,
) -> None:
    ((_, cure),) = cures([Refusal("copy", Why.LOCKED_BYTES, "n", "l")], staged)
    assert cure.startswith("run `git rm --cached -r -- copy`, and have its name in `.gitignore`")

"""How often a failure is tried again: in a row, for a file, for a run, and for a link that may have expired."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.errors import ConnectionFailed, Forbidden, NotFound, ServerError, SourceError
from gemmalock.journal import CHUNK
from gemmalock.transfer.attempts import FRESH_REDIRECTS, Attempts, RunBudget
from tests.transfer.twins import Bench, Reply, ScriptedSource, locked, some_bytes

BODY = some_bytes(3 * CHUNK + 1)
DOWN = ServerError("the server answered 503")
EXPIRED = Forbidden("`https://models.example.org/x` answered 403", hint="log in", may_have_expired=True)


def at_once(attempt: int, error: SourceError) -> float | None:
    """Five times, without a wait, what is transient."""
    return 0.0 if error.transient and attempt <= 5 else None


def attempts(most: int = 100, run: RunBudget | None = None) -> Attempts:
    """Those of one file."""
    return Attempts(at_once, most, run or RunBudget())


def allows(budget: RunBudget) -> bool:
    """Whether one more failure may be tried again."""
    try:
        budget.spend(DOWN)
    except ServerError:
        return False
    return True


def test_what_is_not_transient_is_not_tried_again_and_costs_no_budget() -> None:
    budget = RunBudget(1)
    assert attempts(run=budget).seconds(1, NotFound("404"), has_answered=True) is None
    assert allows(budget)


def test_the_policy_says_how_often_in_a_row() -> None:
    tried = attempts()
    assert [tried.seconds(n, DOWN, has_answered=False) for n in (1, 5, 6)] == [0.0, 0.0, None]


def test_a_files_budget_is_over_all_of_its_failures_and_says_so() -> None:
    tried = attempts(most=3)
    assert [tried.seconds(1, DOWN, has_answered=True) for _ in range(3)] == [0.0] * 3
    with pytest.raises(ServerError, match="answered 503; 3 failures of this file were tried again") as caught:
        tried.seconds(1, DOWN, has_answered=True)
    assert "run it again" in caught.value.hint


def test_a_runs_budget_is_over_all_of_its_files_and_says_so() -> None:
    budget = RunBudget(3)
    for _ in range(3):
        assert attempts(run=budget).seconds(1, DOWN, has_answered=False) == 0.0
    with pytest.raises(ServerError, match="3 failures of this run were tried again"):
        attempts(run=budget).seconds(1, DOWN, has_answered=False)


@given(st.integers(1, 5), st.lists(st.booleans(), max_size=60))
def test_a_run_has_at_most_so_many_failures_more_than_answers(most: int, happened: list[bool]) -> None:
    budget = RunBudget(most)
    left = most
    for failed in happened:
        if failed:
            assert allows(budget) is (left > 0)
            left = max(0, left - 1)
        else:
            budget.earn()
            left = min(most, left + 1)


def test_files_of_a_dead_server_share_the_runs_budget(bench: Bench) -> None:
    bench.terms = replace(bench.terms, delay=at_once, budget=RunBudget(7))
    source = ScriptedSource([Reply(b"", error=DOWN)])
    with pytest.raises(ServerError) as first:
        bench.fetch(locked(BODY), source)
    assert (len(source.asks), first.value.message) == (6, DOWN.message)
    with pytest.raises(ServerError, match="7 failures of this run"):
        bench.fetch(locked(BODY), source)
    assert len(source.asks) == 6 + 3
    with pytest.raises(ServerError, match="7 failures of this run"):
        bench.fetch(locked(BODY), source)
    assert len(source.asks) == 6 + 3 + 1


def test_a_run_whose_answers_come_does_not_run_out(bench: Bench) -> None:
    bench.terms = replace(bench.terms, delay=at_once, budget=RunBudget(1))
    for _ in range(5):
        source = ScriptedSource([Reply(b"", error=DOWN), Reply(BODY)])
        bench.fetch(locked(BODY), source)
        bench.claim.drop_partial()


# --- links that expire -------------------------------------------------------------------------------------


def test_a_link_that_worked_is_had_anew_so_many_times() -> None:
    tried = attempts()
    found = [tried.seconds(n, EXPIRED, has_answered=True) for n in range(1, FRESH_REDIRECTS + 2)]
    assert found == [*[0.0] * FRESH_REDIRECTS, None]
    tried.succeeded()
    assert tried.seconds(1, EXPIRED, has_answered=True) == 0.0


def test_a_link_that_never_worked_has_not_expired() -> None:
    assert attempts().seconds(1, EXPIRED, has_answered=False) is None


def test_a_fresh_redirect_counts_within_the_budgets() -> None:
    tried = attempts(most=1)
    assert tried.seconds(1, EXPIRED, has_answered=True) == 0.0
    with pytest.raises(Forbidden, match="1 failures of this file"):
        tried.seconds(1, EXPIRED, has_answered=True)


def test_an_expired_link_costs_no_byte(bench: Bench) -> None:
    bench.terms = replace(bench.terms, delay=at_once)
    replies = [Reply(BODY, cut=CHUNK + 5), Reply(b"", error=EXPIRED), Reply(b"", error=EXPIRED), Reply(BODY)]
    source = ScriptedSource(replies)
    fetched = bench.fetch(locked(BODY), source)
    assert source.ranges == [(0, len(BODY)), *[(CHUNK + 5, len(BODY))] * 3]
    assert (bench.bytes(), fetched.bytes_fetched) == (BODY, len(BODY))


@pytest.mark.parametrize("error", [EXPIRED, Forbidden("403")])
def test_a_first_answer_that_refuses_is_the_answer(bench: Bench, error: SourceError) -> None:
    bench.terms = replace(bench.terms, delay=at_once)
    source = ScriptedSource([Reply(b"", error=error)])
    with pytest.raises(Forbidden):
        bench.fetch(locked(BODY), source)
    assert len(source.asks) == 1


def test_a_link_that_stays_dead_is_given_up_with_its_own_error(bench: Bench) -> None:
    bench.terms = replace(bench.terms, delay=at_once)
    source = ScriptedSource([Reply(BODY, cut=CHUNK), Reply(b"", error=EXPIRED)])
    with pytest.raises(Forbidden) as caught:
        bench.fetch(locked(BODY), source)
    assert (len(source.asks), caught.value.hint) == (1 + 1 + FRESH_REDIRECTS, "log in")
    assert bench.claim.journal(len(BODY)).kept == CHUNK


def test_a_cut_before_an_expired_link_does_not_count_against_it(bench: Bench) -> None:
    """What failed in a row before was the network's affair."""
    bench.terms = replace(bench.terms, delay=at_once)
    gone = ConnectionFailed("refused")
    replies = [Reply(BODY, cut=CHUNK), *[Reply(b"", error=gone)] * 3, Reply(b"", error=EXPIRED), Reply(BODY)]
    fetched = bench.fetch(locked(BODY), ScriptedSource(replies))
    assert fetched.bytes_fetched == len(BODY)

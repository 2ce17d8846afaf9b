"""Which trials are confirmed, at which seeds and in which order."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.answer import make_answer
from autopeft.architecture import Architecture, Placement
from autopeft.baselines import HEAD_ONLY
from autopeft.controller.shortlist import candidates, expected_runs, missing
from autopeft.messages import TrialReport
from autopeft.pareto import cost_axis, non_dominated
from autopeft.trial import Trial

FACTS = {"base_parameters": 999_999, "metric": "accuracy"}


def architecture(number):
    return Architecture((Placement("lora", "attention.query", 0, number + 1),))


def trial(number, params, score, name="", **measures):
    state = "complete" if score is not None else "failed"
    return Trial(number, name, architecture(number), params, score, state, None, 1.5, 1, measures=measures)


HEAD, LORA = trial(0, 0, 0.5, HEAD_ONLY), trial(1, 9999, 0.7, "LoRA")
FOUND = [HEAD, LORA, trial(2, 99, 0.6), trial(3, 99, 0.55), trial(4, 99_999, 0.65), trial(5, 999, 0.8)]


def numbers(trials):
    return [one.number for one in trials]


def reports(runs):
    """Reports of ``{(trial number, seed): score}``; a score of None is a run that failed."""
    return {
        (architecture(number).fingerprint, seed): TrialReport.failure("", "diverged")
        if score is None
        else TrialReport(key="", state="complete", scores={"holdout": 0.99, "validation": score})
        for (number, seed), score in runs.items()
    }


def told(trials, runs):
    return make_answer(
        search="s-1", name="mine", state="running", facts=FACTS, trials=trials, confirmations=reports(runs)
    )


def wanted(trials, runs, seeds=3):
    return [(one.number, seed) for one, seed in missing(trials, told(trials, runs), seeds)]


# -- which


def test_without_runners_up_they_are_the_front_and_every_baseline():
    assert numbers(candidates(FOUND, 0)) == [0, 1, 2, 5]
    failed = [trial(6, 5, None, "BitFit"), trial(7, 5, None)]
    assert numbers(candidates([*FOUND, *failed], 0)) == numbers(candidates(FOUND, 0))
    assert candidates([], 8) == []


@pytest.mark.parametrize(
    ("runners_up", "chosen"), [(1, [0, 1, 2, 3, 5]), (2, [0, 1, 2, 3, 4, 5]), (9, [0, 1, 2, 3, 4, 5])]
)
def test_runners_up_are_those_that_lack_the_least_to_the_best_that_needs_no_more(runners_up, chosen):
    """Trial 3 lacks 0.05 to trial 2; trial 4 is the higher one, but lacks 0.15 to trial 5."""
    assert numbers(candidates(FOUND, runners_up)) == chosen


def test_of_equal_points_the_second_is_a_runner_up():
    tied = [HEAD, trial(1, 99, 0.6), trial(2, 99, 0.6), trial(3, 100, 0.59)]
    assert numbers(candidates(tied, 0)) == [0, 1]
    assert numbers(candidates(tied, 1)) == [0, 1, 2]


def test_a_runner_up_is_compared_with_what_is_no_worse_in_every_further_objective():
    """The best score needs more memory than trial 2, which lacks 0.01 to trial 1 alone; trial 3 lacks 0.05."""
    trials = [
        trial(0, 10, 0.9, memory=8.0),
        trial(1, 10, 0.5, memory=1.0),
        trial(2, 11, 0.49, memory=1.0),
        trial(3, 10, 0.85, memory=8.0),
    ]
    assert numbers(candidates(trials, 0, ("memory",))) == [0, 1]
    assert numbers(candidates(trials, 1, ("memory",))) == [0, 1, 2]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=30), st.integers(0, 40))
def test_any_trials(points, runners_up):
    trials = [trial(number, params, score / 20) for number, (params, score) in enumerate(points)]
    chosen = candidates(trials, runners_up)
    front = {trials[i].number for i in non_dominated([(cost_axis(t.params), t.score) for t in trials])}
    assert front <= set(numbers(chosen)) and numbers(chosen) == sorted(numbers(chosen))
    assert len(chosen) == min(len(front) + runners_up, len(trials))


# -- when


def test_everything_comes_once_then_the_baselines_then_the_front():
    first = {(number, 0): score for number, score in enumerate([0.5, 0.6, 0.6, 0.55, 0.5, 0.7])}
    assert wanted(FOUND, {})[:6] == [(number, 0) for number in range(6)]
    assert wanted(FOUND, first) == [(number, seed) for seed in (1, 2) for number in (0, 1, 2, 5)]


def test_nothing_that_is_off_the_front_after_one_run_is_run_again():
    runs = {(0, 0): 0.5, (1, 0): 0.6, (2, 0): 0.7, (3, 0): 0.65, (4, 0): 0.55, (5, 0): 0.6}
    baselines = {(number, seed): 0.5 for number in (0, 1) for seed in (1, 2)}
    assert wanted(FOUND, {**runs, **baselines}) == [(2, 1), (2, 2)]


def test_what_comes_to_the_front_as_another_falls_gets_its_seeds():
    """Trial 2 was lucky at seed 0; its mean falls below trial 3, which needs as much."""
    trials = [HEAD, trial(2, 99, 0.6), trial(3, 99, 0.55)]
    runs = {(0, 0): 0.4, (0, 1): 0.4, (0, 2): 0.4, (2, 0): 0.9, (3, 0): 0.7}
    assert wanted(trials, runs) == [(2, 1), (2, 2)]
    assert wanted(trials, {**runs, (2, 1): 0.3, (2, 2): 0.3}) == [(3, 1), (3, 2)]
    assert wanted(trials, {**runs, (2, 1): 0.3, (2, 2): 0.3, (3, 1): 0.7, (3, 2): 0.7}) == []


def test_what_failed_is_wanted_and_is_on_no_front():
    assert wanted([HEAD, trial(2, 99, 0.6)], {(0, 0): 0.5, (0, 1): 0.5, (0, 2): 0.5, (2, 0): None}) == [(2, 0)]


def test_one_seed_runs_everything_once():
    assert wanted(FOUND, {}, seeds=1) == [(number, 0) for number in range(6)]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=8), st.data())
def test_it_ends_with_all_seeds_of_everything_on_the_front(points, data):
    trials = [HEAD, *(trial(number, params, score / 10) for number, (params, score) in enumerate(points, 1))]
    runs = {}
    while left := wanted(trials, runs):
        runs[left[0]] = data.draw(st.integers(0, 9)) / 10
    answer = told(trials, runs)
    assert all(row.seeds == 3 for row in (*answer.front, *answer.baselines))
    assert all(row.seeds >= 1 and row.confirmed for row in answer.others)


def test_expected_are_all_seeds_of_baselines_and_front_and_one_of_the_others():
    assert expected_runs(FOUND, 3, 0) == 12
    assert expected_runs(FOUND, 3, 1) == 13
    assert expected_runs(FOUND, 3, 9) == 14
    assert expected_runs([replace(one, score=None) for one in FOUND], 3, 9) == 0

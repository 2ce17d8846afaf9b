"""What a run would have come to, learned from those that went on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.architecture import Architecture
from autopeft.extrapolation import LEAST, LEAST_SLOPE, Extrapolation
from autopeft.pareto import cost_axis
from autopeft.trial import Trial

SHARE, STEPS = 1 / 3, 90
COSTS = (2.0, 3.0, 4.0, 5.0)


def trial(early, final, cost=3.0, state="complete", steps=STEPS):
    """A trial of these scores at the rung and at its end; without a final one it was stopped at the rung."""
    curve = ((steps // 3, early),) + (((steps, final),) if final is not None else ())
    params = round(10**cost) - 1
    return Trial(0, "", Architecture(), params, final, state, None, 1.0, 1, steps=steps, curve=curve)


def rising(early):
    """Steep below and flat above, as scores are that run into a ceiling."""
    return 0.9 - 0.6 * np.exp(-5 * (early - 0.2))


def runs(count, by_cost=0.0, noise=0.0, seed=0):
    """Trials whose final score rises with the early one, and with the cost."""
    rng = np.random.default_rng(seed)
    trials = []
    for index in range(count):
        early, cost = float(rng.uniform(0.2, 0.8)), COSTS[index % len(COSTS)]
        trials.append(trial(early, float(rising(early) + by_cost * (cost - 3.5) + noise * rng.normal()), cost))
    return trials


# -- what is learned


def test_any_rising_relation_is_recovered_by_many_runs():
    found = Extrapolation.fit(runs(500), SHARE)
    for early in (0.25, 0.4, 0.6, 0.75):
        assert found.final(early, 3.0)[0] == pytest.approx(rising(early), abs=0.01)
    assert found.slope == pytest.approx(1, abs=0.01) and found.deviation < 0.1


def test_few_runs_believe_less_of_a_slope_than_many():
    few, many = (Extrapolation.fit(runs(count), SHARE).slope for count in (8, 400))
    assert few < many


def test_large_modules_come_to_more_from_the_same_score_where_they_did():
    found = Extrapolation.fit(runs(200, by_cost=0.05), SHARE)
    assert found.final(0.5, 5.0)[0] > found.final(0.5, 2.0)[0] + 0.05
    assert found.least(0.8, 5.0, 0.0) < found.least(0.8, 2.0, 0.0)


@pytest.mark.parametrize("count", [8, 16, 100])
def test_runs_to_come_lie_within_the_deviations(count):
    inside = []
    for seed in range(60):
        found = Extrapolation.fit(runs(count, noise=0.05, seed=seed), SHARE)
        for new in runs(12, noise=0.05, seed=1000 + seed):
            mean, deviation = found.final(new.score_at(SHARE), cost_axis(new.params))
            inside.append(abs(new.score - mean) < 2 * deviation)
    assert np.mean(inside) > 0.8


# -- what it is learned from


def test_too_few_runs_and_runs_that_are_all_alike_teach_nothing():
    assert Extrapolation.fit([], SHARE) is None
    assert Extrapolation.fit(runs(LEAST - 1), SHARE) is None
    assert Extrapolation.fit(runs(LEAST), SHARE) is not None
    assert Extrapolation.fit([trial(0.5, 0.6 + i / 100) for i in range(8)], SHARE) is None
    assert Extrapolation.fit([trial(0.5 + i / 100, 0.6) for i in range(8)], SHARE) is None


def told(trials):
    found = Extrapolation.fit(trials, SHARE)
    return None if found is None else [found.final(0.5, 3.0), found.least(0.7, 4.0, 1.0)]


def test_only_runs_that_came_to_their_end_and_were_scored_at_the_rung_count():
    enough = runs(LEAST)
    others = [
        trial(0.5, None, state="pruned"),
        Trial(0, "", Architecture(), 99, None, "failed", "diverged", 1.0, 1),
        Trial(0, "", Architecture(), 99, None, "running", None, 0.0, 1),
        Trial(0, "", Architecture(), 99, 0.5, "complete", None, 1.0, 1, steps=STEPS, curve=((STEPS, 0.5),)),
    ]
    assert told([*enough, *others]) == told(enough)
    assert told([*enough[1:], *others]) is None
    assert Extrapolation.fit(enough, 1 / 9) is None


def test_runs_of_other_lengths_are_read_at_the_same_share():
    mixed = [trial(0.5 + i / 100, 0.6 + i / 100, COSTS[i % 4], steps=30 * (1 + i)) for i in range(8)]
    same = [trial(0.5 + i / 100, 0.6 + i / 100, COSTS[i % 4]) for i in range(8)]
    assert told(mixed) == told(same)


def test_equal_costs_are_no_trouble():
    found = Extrapolation.fit([trial(0.5 + i / 100, 0.6 + i / 100) for i in range(8)], SHARE)
    assert found.by_cost == pytest.approx(0, abs=1e-6)
    assert found.final(0.535, 3.0)[0] == pytest.approx(0.635, abs=0.01)


# -- the least score

scores = st.floats(0, 1)
rows_of_runs = st.lists(st.tuples(scores, scores, st.sampled_from(COSTS)), min_size=LEAST, max_size=20)


@given(rows_of_runs, scores, scores, st.floats(0, 7))
def test_the_least_score_rises_with_the_wanted_final_one_and_falls_with_hope(rows, one, other, cost):
    found = Extrapolation.fit([trial(*row) for row in rows], SHARE)
    if found is None:
        assert len({early for early, _, _ in rows}) == 1 or len({final for _, final, _ in rows}) == 1
        return
    low, high = sorted((one, other))
    slack = 1e-9 * (1 + abs(found.least(high, cost, 0.0)))
    assert found.least(low, cost, 1.0) <= found.least(high, cost, 1.0) + slack
    assert found.least(high, cost, 2.0) <= found.least(high, cost, 1.0) + slack
    assert found.least(high, cost, 1.0) <= found.least(high, cost, 0.0) + slack


@given(st.integers(0, 1000), st.floats(0.4, 0.85), st.sampled_from(COSTS), st.floats(0, 2))
def test_the_least_score_is_that_whose_hoped_for_quantile_is_the_wanted(seed, final, cost, hope):
    found = Extrapolation.fit(runs(40, noise=0.03, seed=seed), SHARE)
    least = np.array([found.least(final, cost, hope)])
    reached = found.slope * found.early.quantiles(least) + found.by_cost * (cost - found.cost) + hope * found.deviation
    assert reached == pytest.approx(found.late.quantiles(np.array([final])), abs=1e-6)


def test_a_final_score_that_fell_with_the_early_one_still_has_a_least_score():
    rows = [trial(early, 1 - early, COSTS[i % 4]) for i, early in enumerate(np.linspace(0.2, 0.8, 40).tolist())]
    found = Extrapolation.fit(rows, SHARE)
    assert found.slope == LEAST_SLOPE
    assert found.final(0.3, 3.0)[0] < found.final(0.4, 3.0)[0] and found.least(0.4, 3.0, 1.0) < found.least(
        0.5, 3.0, 1.0
    )

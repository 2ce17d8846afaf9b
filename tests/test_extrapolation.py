"""What a run would have come to, learned from those that went on."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.architecture import Architecture
from autopeft.extrapolation import LEAST, Extrapolation
from autopeft.pareto import cost_axis
from autopeft.trial import Trial

SHARE, STEPS = 1 / 3, 90
COSTS = (2.0, 3.0, 4.0, 5.0)


def trial(early, final, cost=3.0, state="complete", steps=STEPS):
    """A trial of these scores at the rung and at its end; without a final one it was stopped at the rung."""
    curve = ((steps // 3, early),) + (((steps, final),) if final is not None else ())
    params = round(10**cost) - 1
    return Trial(0, "", Architecture(), params, final, state, None, 1.0, 1, steps=steps, curve=curve)


def linear(count, gain=0.1, by_score=-0.4, by_cost=0.02, noise=0.0, seed=0):
    """Trials whose gain after the rung is a line in the score there and in the cost."""
    rng = np.random.default_rng(seed)
    trials = []
    for index in range(count):
        early, cost = float(rng.uniform(0.4, 0.8)), COSTS[index % len(COSTS)]
        gained = gain + by_score * (early - 0.6) + by_cost * (cost - 3.5) + noise * float(rng.normal())
        trials.append(trial(early, early + gained, cost))
    return trials


# -- what is learned


def test_a_line_is_recovered_by_many_runs():
    found = Extrapolation.fit(linear(4000), SHARE)
    assert found.slopes == pytest.approx((-0.4, 0.02), rel=2e-3)
    for early in (0.4, 0.55, 0.8):
        for cost in (2.0, 3.7, 5.0):
            wanted = early + 0.1 - 0.4 * (early - 0.6) + 0.02 * (cost - 3.5)
            assert found.final(early, cost) == pytest.approx(wanted, abs=1e-3)
    assert found.deviation < 1e-3


def test_few_runs_believe_less_of_a_slope_than_many():
    few, many = (Extrapolation.fit(linear(count), SHARE).slopes[0] for count in (8, 400))
    assert -0.4 < many < few < 0


def test_an_equal_gain_of_all_is_recovered_by_the_fewest():
    found = Extrapolation.fit(linear(LEAST, gain=0.07, by_score=0, by_cost=0), SHARE)
    assert found.slopes == pytest.approx((0, 0), abs=1e-9) and found.deviation == pytest.approx(0, abs=1e-9)
    assert found.final(0.5, 2.5) == pytest.approx(0.57)


def test_the_deviation_is_that_around_the_line():
    assert Extrapolation.fit(linear(2000, noise=0.05), SHARE).deviation == pytest.approx(0.05, rel=0.1)
    exact, noisy = (Extrapolation.fit(linear(400, noise=noise), SHARE).deviation for noise in (0.0, 0.01))
    assert exact < noisy / 5


def test_the_deviation_of_few_runs_is_not_too_small():
    found = [Extrapolation.fit(linear(LEAST + 2, noise=0.05, seed=seed), SHARE).deviation for seed in range(300)]
    assert math.sqrt(np.mean(np.square(found))) > 0.05


def test_high_scores_gain_less_and_large_modules_more():
    found = Extrapolation.fit(linear(40, by_score=-0.5, by_cost=0.05), SHARE)
    assert found.final(0.7, 3.0) - 0.7 < found.final(0.5, 3.0) - 0.5
    assert found.final(0.6, 5.0) > found.final(0.6, 2.0)


# -- what it is learned from


def test_too_few_runs_teach_nothing():
    assert Extrapolation.fit([], SHARE) is None
    assert Extrapolation.fit(linear(LEAST - 1), SHARE) is None
    assert Extrapolation.fit(linear(LEAST), SHARE) is not None


def test_only_runs_that_came_to_their_end_and_were_scored_at_the_rung_count():
    enough = linear(LEAST)
    others = [
        trial(0.5, None, state="pruned"),
        Trial(0, "", Architecture(), 99, None, "failed", "diverged", 1.0, 1),
        Trial(0, "", Architecture(), 99, None, "running", None, 0.0, 1),
        Trial(0, "", Architecture(), 99, 0.5, "complete", None, 1.0, 1, steps=STEPS, curve=((STEPS, 0.5),)),
    ]
    assert Extrapolation.fit([*enough, *others], SHARE) == Extrapolation.fit(enough, SHARE)
    assert Extrapolation.fit([*enough[1:], *others], SHARE) is None
    assert Extrapolation.fit(enough, 1 / 9) is None


def test_runs_of_other_lengths_are_read_at_the_same_share():
    mixed = [trial(0.5 + i / 100, 0.6 + i / 100, COSTS[i % 4], steps=30 * (1 + i)) for i in range(8)]
    same = [trial(0.5 + i / 100, 0.6 + i / 100, COSTS[i % 4]) for i in range(8)]
    assert Extrapolation.fit(mixed, SHARE) == Extrapolation.fit(same, SHARE)


@pytest.mark.parametrize("early", [[0.5] * 8, [0.5, 0.6] * 4])
@pytest.mark.parametrize("final", [[0.7] * 8, [0.6, 0.7, 0.8, 0.9] * 2])
@pytest.mark.parametrize("costs", [[3.0] * 8, [2.0, 3.0] * 4])
def test_equal_scores_and_costs_are_no_trouble(early, final, costs):
    trials = [trial(*row) for row in zip(early, final, costs, strict=True)]
    found = Extrapolation.fit(trials, SHARE)
    for early_score, cost in ((0.5, 3.0), (0.55, 2.5)):
        assert math.isfinite(found.final(early_score, cost)) and math.isfinite(found.least(0.7, cost, 1.0))
    assert found.deviation >= 0
    middle = cost_axis(trials[0].params) if len(set(costs)) == 1 else 2.5
    assert found.final(float(np.mean(early)), middle) == pytest.approx(np.mean(final), abs=0.01)


# -- the least score

scores = st.floats(0, 1)
runs = st.lists(st.tuples(scores, scores, st.sampled_from(COSTS)), min_size=LEAST, max_size=20)


@given(runs, scores, st.floats(0, 7), st.floats(0, 3))
def test_the_least_score_is_that_whose_hoped_for_final_one_is_the_wanted(rows, final, cost, hope):
    found = Extrapolation.fit([trial(*row) for row in rows], SHARE)
    least = found.least(final, cost, hope)
    # As many digits as the numbers on the way leave.
    size = 1 + abs(least) * (1 + abs(found.slopes[0])) + abs(found.slopes[1]) * 10
    assert abs(found.final(least, cost) + hope * found.deviation - final) < 1e-9 * size


@given(runs, scores, scores, st.floats(0, 7))
def test_the_least_score_rises_with_the_wanted_final_one_and_falls_with_hope(rows, one, other, cost):
    found = Extrapolation.fit([trial(*row) for row in rows], SHARE)
    low, high = sorted((one, other))
    assert found.least(low, cost, 1.0) <= found.least(high, cost, 1.0)
    if high - low > 1e-6 * (1 + abs(found.slopes[1])):
        assert found.least(low, cost, 1.0) < found.least(high, cost, 1.0)
    assert found.least(high, cost, 2.0) <= found.least(high, cost, 1.0) <= found.least(high, cost, 0.0)


def test_a_final_score_that_fell_with_the_early_one_still_has_a_least_score():
    # Every run ends at what the early score leaves to 1: the slope of the gain is below -1.
    rows = [trial(early, 1 - early, COSTS[i % 4]) for i, early in enumerate(np.linspace(0.2, 0.8, 40).tolist())]
    found = Extrapolation.fit(rows, SHARE)
    assert found.slopes[0] == -0.9
    assert found.final(0.3, 3.0) < found.final(0.4, 3.0) and found.least(0.4, 3.0, 1.0) < found.least(0.5, 3.0, 1.0)

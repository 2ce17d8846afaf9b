"""The closed form against Monte Carlo, BoTorch's own, and the hypervolume itself."""

import math

import numpy as np
import pytest
import torch
from botorch.acquisition.multi_objective.analytic import ExpectedHypervolumeImprovement
from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning
from botorch.utils.testing import MockModel, MockPosterior

from autopeft.pareto import hypervolume
from autopeft.samplers.improvement import expected_improvement

REFERENCE = (7.0, 0.2)
FRONT = [(1.0, 0.5), (3.0, 0.7), (5.0, 0.8)]
# BoTorch takes every variance for 1e-9 at least: in such large units that is next to nothing.
UNIT = 1e6


def improvement(cost, mean, deviation, points, reference=REFERENCE):
    """The expected improvement of one candidate."""
    return float(expected_improvement(*map(np.atleast_1d, (cost, mean, deviation)), points, reference)[0])


def gains(cost, scores, points, reference=REFERENCE):
    """The area that each score adds at a cost, counted strip by strip between the costs of the points."""
    most, least = reference
    edges = sorted({cost, most, *(c for c, _ in points)})
    added = np.zeros_like(scores)
    for left, right in zip(edges, edges[1:], strict=False):
        if cost <= left and right <= most:
            level = max([least, *(s for c, s in points if c <= left)])
            added += (right - left) * np.maximum(scores - level, 0)
    return added


def random_points(rng, most=10):
    """Points on a coarse grid, with ties, duplicates, dominated ones and ones beyond the reference; maybe none."""
    count = int(rng.integers(0, most))
    costs, scores = rng.integers(0, 17, count) / 2, rng.integers(0, 21, count) / 20
    return list(zip(costs.tolist(), scores.tolist(), strict=True))


def botorch_improvement(cost, mean, deviation, points, reference):
    """What BoTorch makes of it: it maximises two uncertain objectives, of which the cost is nearly certain."""
    turned = torch.tensor([-reference[0], reference[1]], dtype=torch.float64)
    there = torch.tensor(points, dtype=torch.float64).reshape(-1, 2) * torch.tensor([-1.0, 1.0], dtype=torch.float64)
    means = torch.from_numpy(np.stack([-cost, mean], -1))[:, None]
    variances = torch.from_numpy(np.stack([np.zeros_like(cost), deviation**2], -1))[:, None]
    acquisition = ExpectedHypervolumeImprovement(
        MockModel(MockPosterior(mean=means, variance=variances)),
        turned.tolist(),
        FastNondominatedPartitioning(turned, there),
    )
    return acquisition(torch.zeros(len(cost), 1, 1, dtype=torch.float64)).numpy()


# -- Monte Carlo


@pytest.mark.parametrize("seed", range(100))
def test_it_is_the_mean_of_what_random_scores_add(seed):
    rng = np.random.default_rng(seed)
    points, cost = random_points(rng), float(rng.integers(-2, 15)) / 2
    mean, deviation = float(rng.uniform(0.1, 1.1)), float(rng.choice([0.02, 0.1, 0.5, 20.0]))
    added = gains(cost, rng.normal(mean, deviation, 20_000), points)
    wanted, error = float(added.mean()), float(added.std() / math.sqrt(len(added)))
    if 0 < np.count_nonzero(added) < 50:  # too rare for a deviation of the mean to mean anything
        error = float(added.max())
    assert improvement(cost, mean, deviation, points) == pytest.approx(wanted, abs=4 * error + 1e-6)


def test_what_random_scores_add_in_strips_is_the_difference_of_hypervolumes():
    rng = np.random.default_rng(0)
    for _ in range(300):
        points, cost, score = random_points(rng), float(rng.uniform(-1, 8)), float(rng.uniform(0, 1.2))
        wanted = hypervolume([*points, (cost, score)], REFERENCE) - hypervolume(points, REFERENCE)
        assert gains(cost, np.array([score]), points)[0] == pytest.approx(wanted, abs=1e-12)


# -- BoTorch


@pytest.mark.parametrize("seed", range(100))
def test_it_agrees_with_botorch(seed):
    rng = np.random.default_rng(1000 + seed)
    points = [(UNIT * cost, UNIT * score) for cost, score in random_points(rng)]
    # Twice as many candidates on the grid of the points, so that they tie with them, as off it.
    costs = np.concatenate([rng.integers(-2, 16, 20) / 2, rng.uniform(-1, 7.5, 10)]) * UNIT
    means = np.concatenate([rng.integers(0, 21, 20) / 20, rng.uniform(0, 1.1, 10)]) * UNIT
    deviations = 10 ** rng.uniform(-4, 2, 30) * UNIT
    reference = (UNIT * REFERENCE[0], UNIT * REFERENCE[1])
    found = expected_improvement(costs, means, deviations, points, reference)
    wanted = botorch_improvement(costs, means, deviations, points, reference)
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-8 * UNIT**2)


CASES = {
    "nothing there": [],
    "a front": FRONT,
    "dominated points": [*FRONT, (3.0, 0.6), (4.0, 0.5), (6.5, 0.79)],
    "ties in cost": [(1.0, 0.5), (3.0, 0.7), (3.0, 0.6), (3.0, 0.65)],
    "ties in score": [(1.0, 0.5), (3.0, 0.7), (4.0, 0.7), (5.0, 0.7)],
    "duplicates": [*FRONT, *FRONT, FRONT[1]],
    "beyond the reference": [*FRONT, (7.0, 0.9), (8.0, 1.0), (0.5, 0.2), (0.0, 0.1)],
    "only beyond the reference": [(7.0, 0.9), (0.0, 0.1)],
}


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_front_agrees_with_botorch(case):
    points = [(UNIT * cost, UNIT * score) for cost, score in CASES[case]]
    grid = [(c, m, d) for c in (-1, 0, 1, 2, 3, 5, 6.9) for m in (0.1, 0.2, 0.5, 0.7, 0.75, 0.9) for d in (0.01, 1)]
    costs, means, deviations = (UNIT * np.array(column, dtype=float) for column in zip(*grid, strict=True))
    reference = (UNIT * REFERENCE[0], UNIT * REFERENCE[1])
    found = expected_improvement(costs, means, deviations, points, reference)
    wanted = botorch_improvement(costs, means, deviations, points, reference)
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-8 * UNIT**2)


@pytest.mark.parametrize("case", ["dominated points", "duplicates"])
def test_dominated_points_and_duplicates_change_nothing(case):
    for cost, mean, deviation in [(0.0, 0.6, 0.1), (2.0, 0.6, 0.1), (3.0, 0.9, 0.3), (6.0, 0.8, 0.01)]:
        assert improvement(cost, mean, deviation, CASES[case]) == improvement(cost, mean, deviation, FRONT)


# -- the ends


@pytest.mark.parametrize("seed", range(50))
def test_without_doubt_it_is_the_difference_of_hypervolumes(seed):
    rng = np.random.default_rng(2000 + seed)
    points = random_points(rng)
    for cost in (*(c for c, _ in points), -1.0, 0.3, 6.9, 7.0):
        for score in (*(s for _, s in points), 0.1, 0.2, 0.55, 2.0):
            wanted = hypervolume([*points, (cost, score)], REFERENCE) - hypervolume(points, REFERENCE)
            assert improvement(cost, score, 0.0, points) == pytest.approx(wanted, abs=1e-7)


@pytest.mark.parametrize("cost", [7.0, 7.5, 1e6])
def test_a_candidate_at_the_reference_or_beyond_gains_nothing(cost):
    assert improvement(cost, 5.0, 1.0, FRONT) == improvement(cost, 5.0, 1.0, []) == 0


def test_without_points_it_is_the_improvement_over_the_least_score_on_the_whole_width():
    # Half of a normal distribution around the least score is above it, by 0.4 deviations on average.
    assert improvement(3.0, 0.2, 0.1, []) == pytest.approx(4 * 0.1 / math.sqrt(2 * math.pi))
    assert improvement(-2.0, 0.6, 0.0, []) == pytest.approx(9 * 0.4)


def test_a_candidate_cheaper_than_everything_gains_over_every_step():
    assert improvement(0.0, 0.75, 0.0, FRONT) == pytest.approx(0.55 + 2 * 0.25 + 2 * 0.05)


@pytest.mark.parametrize("deviation", [1e-300, 1e-12, 1e-9, 1e-6])
def test_next_to_no_doubt_is_none(deviation):
    for mean in (0.1, 0.5, 0.72, 0.9):
        wanted = improvement(2.0, mean, 0.0, FRONT)
        assert improvement(2.0, mean, deviation, FRONT) == pytest.approx(wanted, abs=1e-5)


def test_under_great_doubt_it_is_proportional_to_the_doubt_and_the_width():
    for cost, width in ((0.0, 7), (2.0, 5), (6.0, 1)):
        wanted = width * 1e9 / math.sqrt(2 * math.pi)
        assert improvement(cost, 0.5, 1e9, FRONT) == pytest.approx(wanted, rel=1e-6)


def test_it_rises_with_the_mean_and_the_doubt_and_falls_with_the_cost():
    steps = np.linspace(0.0, 1.0, 101)
    same = np.full(101, 0.6)
    assert (np.diff(expected_improvement(same + 1, steps, same / 6, FRONT, REFERENCE)) > 0).all()
    assert (np.diff(expected_improvement(same + 1, same, steps, FRONT, REFERENCE)) >= 0).all()
    assert (np.diff(expected_improvement(8 * steps, same, same / 6, FRONT, REFERENCE)) <= 0).all()


def test_candidates_do_not_change_one_another():
    rng = np.random.default_rng(0)
    costs, means, deviations = rng.uniform(0, 8, 50), rng.uniform(0, 1, 50), rng.uniform(0, 0.3, 50)
    together = expected_improvement(costs, means, deviations, FRONT, REFERENCE)
    alone = [improvement(*one, FRONT) for one in zip(costs, means, deviations, strict=True)]
    assert together.tolist() == pytest.approx(alone, rel=1e-14)
    assert expected_improvement(*np.empty((3, 0)), FRONT, REFERENCE).shape == (0,)

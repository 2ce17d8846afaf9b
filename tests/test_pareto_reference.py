"""Front, hypervolume and knee against another library and against counting, on ten thousand random sets."""

import math

import numpy as np
import pytest

from autopeft.pareto import hypervolume, knee, non_dominated

SETS = 10_000
GRID = 7
REFERENCE = (5, 1)


@pytest.fixture(scope="module")
def sets():
    """Sets of up to twelve points of a small grid, so that many tie, are equal, or lie at the reference or beyond."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, GRID, (int(rng.integers(0, 13)), 2)) for _ in range(SETS)]


@pytest.fixture(scope="module")
def fronts(sets):
    return [non_dominated(list(map(tuple, points.tolist()))) for points in sets]


@pytest.fixture(scope="module")
def moocore():
    return pytest.importorskip("moocore")


def first_of_the_best(points):
    """Whether nothing dominates each point, and no point before it equals it."""
    costs, scores = points.T
    dominates = (costs[:, None] <= costs) & (scores[:, None] >= scores)
    equals = (costs[:, None] == costs) & (scores[:, None] == scores)
    return ~(dominates & ~equals).any(0) & ~np.triu(equals, 1).any(0)


def count_cells(points, reference):
    """The squares of the grid, inside the reference, whose cheap and good corner some point reaches."""
    left, bottom = np.arange(reference[0]), np.arange(reference[1], GRID)
    costs, scores = points[:, 0], points[:, 1]
    reached = (costs <= left[:, None, None]) & (scores >= bottom[:, None] + 1)
    return int(reached.any(-1).sum())


def test_the_sets_hold_what_makes_it_hard(sets, fronts):
    assert sum(len(points) == 0 for points in sets) > 100
    assert sum(len(np.unique(points, axis=0)) < len(points) for points in sets) > 1000
    assert sum(len(front) >= 3 for front in fronts) > 1000


def test_fronts_are_those_by_definition(sets, fronts):
    for points, front in zip(sets, fronts, strict=True):
        assert sorted(front) == np.flatnonzero(first_of_the_best(points)).tolist(), points
        assert front == sorted(front, key=lambda index: points[index][0])


def test_fronts_are_moocores(sets, fronts, moocore):
    for points, front in zip(sets, fronts, strict=True):
        if len(points):
            kept = moocore.is_nondominated(points, maximise=[False, True])
            assert sorted(front) == np.flatnonzero(kept).tolist(), points


def test_the_hypervolume_is_the_number_of_cells(sets):
    for points in sets:
        assert hypervolume(list(map(tuple, points.tolist())), REFERENCE) == count_cells(points, REFERENCE), points


def test_the_hypervolume_is_moocores(sets, moocore):
    rng = np.random.default_rng(1)
    for points in sets:
        if len(points):
            real = points + rng.uniform(-0.4, 0.4, points.shape) * rng.integers(0, 2)
            wanted = moocore.hypervolume(real, ref=REFERENCE, maximise=[False, True])
            assert hypervolume(list(map(tuple, real.tolist())), REFERENCE) == pytest.approx(wanted, abs=1e-9), real


def test_the_knee_is_the_point_farthest_above_the_chord(sets, fronts):
    for points, indices in zip(sets, fronts, strict=True):
        front = points[indices].tolist()
        found = knee([(cost, score) for cost, score in front])
        if not front:
            assert found is None
            continue
        (low_cost, low_score), (high_cost, high_score) = front[0], front[-1]
        heights = [
            (score - low_score) * (high_cost - low_cost) - (cost - low_cost) * (high_score - low_score)
            for cost, score in front
        ]
        assert heights[found] == max(heights), front
        assert heights.count(max(heights)) > 1 or found == heights.index(max(heights))


def test_points_that_are_no_numbers_change_nothing(sets):
    rng = np.random.default_rng(2)
    for points in sets[:2000]:
        spoiled = points.astype(float)
        spoiled[rng.random(points.shape) < 0.2] = math.nan
        clean = np.flatnonzero(~np.isnan(spoiled).any(1))
        wanted = non_dominated(list(map(tuple, spoiled[clean].tolist())))
        given = list(map(tuple, spoiled.tolist()))
        assert non_dominated(given) == clean[wanted].tolist()
        assert hypervolume(given, REFERENCE) == count_cells(points[clean], REFERENCE)

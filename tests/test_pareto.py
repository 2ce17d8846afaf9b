import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.pareto import cost_axis, hypervolume, knee, non_dominated

whole = st.integers(-6, 6)  # few values, so that ties are common
real = st.floats(-1e6, 1e6)
points_of = lambda numbers: st.lists(st.tuples(numbers, numbers), max_size=12)  # noqa: E731
any_points = points_of(whole) | points_of(real)


def dominates(a, b):
    return a[0] <= b[0] and a[1] >= b[1] and a != b


def area_by_cells(points, reference):
    """Cut the plane along every coordinate and add the cells whose cheap, good corner some point reaches."""
    costs = sorted({min(c, reference[0]) for c, _ in points} | {reference[0]})
    scores = sorted({max(s, reference[1]) for _, s in points} | {reference[1]})
    return sum(
        (right - left) * (top - bottom)
        for left, right in pairwise(costs)
        for bottom, top in pairwise(scores)
        if any(c <= left and s >= top for c, s in points)
    )


@given(any_points)
def test_non_dominated_keeps_exactly_what_nothing_dominates_and_the_first_of_equals(points):
    kept = non_dominated(points)
    expected = [
        i for i, p in enumerate(points) if p not in points[:i] and not any(dominates(other, p) for other in points)
    ]
    assert sorted(kept) == expected


@given(any_points)
def test_a_front_ascends_strictly_in_both_objectives(points):
    front = [points[i] for i in non_dominated(points)]
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(front))


@given(points_of(whole), st.tuples(whole, whole))
def test_hypervolume_is_the_area_counted_cell_by_cell(points, reference):
    assert hypervolume(points, reference) == area_by_cells(points, reference)


@given(points_of(real), st.tuples(real, real))
def test_hypervolume_of_real_numbers_is_the_area_counted_cell_by_cell(points, reference):
    # Only rounding may differ: by how much depends on the whole rectangle that is cut.
    extent = (reference[0] - min([c for c, _ in points], default=0)) * (
        max([s for _, s in points], default=0) - reference[1]
    )
    found = hypervolume(points, reference)
    assert found == pytest.approx(area_by_cells(points, reference), rel=1e-9, abs=abs(extent) * 1e-12)


@given(points_of(whole), st.tuples(whole, whole), st.tuples(whole, whole))
def test_a_further_point_never_shrinks_the_hypervolume(points, extra, reference):
    assert hypervolume([*points, extra], reference) >= hypervolume(points, reference)


def test_points_on_or_beyond_the_reference_count_nothing():
    assert hypervolume([(4, 9), (5, 9), (0, 1), (0, 0)], reference=(4, 1)) == 0
    assert hypervolume([], reference=(4, 1)) == 0


@pytest.mark.parametrize("point", [(1.0, math.nan), (math.nan, 0.95)])
def test_a_point_that_is_not_a_number_is_never_on_the_front_and_changes_nothing(point):
    others = [(1.0, 0.5), (1.0, 0.9), (2.0, 0.95)]
    for place in range(len(others) + 1):
        points = [*others[:place], point, *others[place:]]
        assert [points[i] for i in non_dominated(points)] == [(1.0, 0.9), (2.0, 0.95)]


def test_the_cost_axis_starts_at_head_only_and_grows_by_one_per_decade():
    assert cost_axis(0) == 0
    assert cost_axis(9) == 1
    assert cost_axis(999_999) == 6


def test_the_knee_is_where_the_score_stops_rising_steeply():
    assert knee([(0, 0.50), (1, 0.80), (2, 0.88), (3, 0.89), (4, 0.90)]) == 1
    assert knee([(0, 0.50), (1, 0.55), (2, 0.85), (4, 0.90)]) == 2


@pytest.mark.parametrize(("front", "index"), [([], None), ([(3, 0.5)], 0), ([(1, 0.5), (2, 0.6)], 0)])
def test_the_knee_of_a_short_front_is_its_cheapest_point(front, index):
    assert knee(front) == index


def test_the_knee_of_a_straight_front_is_its_cheapest_point():
    assert knee([(0, 0.0), (1, 0.25), (2, 0.5), (4, 1.0)]) == 0


@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1),
    st.integers(-9, 9),
    st.sampled_from([0.25, 2.0, 1024.0]),
)
def test_the_knee_is_as_far_above_the_chord_as_any_point_in_whatever_units(points, shift, scale):
    front = [points[i] for i in non_dominated(points)]
    index = knee([((c + shift) * scale, s * scale) for c, s in front])
    assert index == knee(front)
    (low_cost, low_score), (high_cost, high_score) = front[0], front[-1]

    def rise(point):  # height above the chord, times both ranges: whole numbers
        cost, score = point
        return (score - low_score) * (high_cost - low_cost) - (cost - low_cost) * (high_score - low_score)

    assert rise(front[index]) == max(map(rise, front))

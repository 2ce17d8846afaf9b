"""Groups of layers: whatever the numbers, they sum to the layers and follow their pattern."""

import itertools

import pytest

from autopeft.space.grouping import PATTERNS, group_sizes, weights

CASES = [(layers, groups) for layers in range(1, 97) for groups in range(1, 9) if groups <= layers]


def rises(sizes):
    return all(one <= other for one, other in itertools.pairwise(sizes))


def falls(sizes):
    return rises(sizes[::-1])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_sizes_sum_to_the_layers_and_no_group_is_empty(pattern):
    for layers, groups in CASES:
        sizes = group_sizes(layers, groups, pattern)
        assert len(sizes) == groups and sum(sizes) == layers and min(sizes) >= 1


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_group_of_more_weight_never_has_fewer_layers_and_equals_differ_by_one_at_most(pattern):
    for layers, groups in CASES:
        found = list(zip(weights(pattern, groups), group_sizes(layers, groups, pattern), strict=True))
        for (weight, size), (other_weight, other_size) in itertools.combinations(found, 2):
            if weight == other_weight:
                assert 0 <= other_size - size <= 1, "what is left over goes to the later group"
            else:
                assert (size - other_size) * (weight - other_weight) >= 0


def test_increasing_rises_and_decreasing_is_its_mirror_image():
    for layers, groups in CASES:
        sizes = group_sizes(layers, groups, "increasing")
        assert rises(sizes)
        assert group_sizes(layers, groups, "decreasing") == sizes[::-1]


def test_increasing_rises_from_each_group_to_the_next_where_the_layers_allow_it():
    for layers, groups in CASES:
        sizes = group_sizes(layers, groups, "increasing")
        if layers >= groups * (groups + 1) // 2:  # 1 + 2 + 3 + ...
            assert len(set(sizes)) == groups, (layers, groups, sizes)


def test_uniform_is_even_within_one_layer():
    for layers, groups in CASES:
        sizes = group_sizes(layers, groups, "uniform")
        assert set(sizes) <= {layers // groups, -(-layers // groups)} and rises(sizes)


def test_spindle_swells_to_the_middle_and_bottleneck_narrows_to_it():
    for layers, groups in CASES:
        middle = (groups + 1) // 2
        for pattern, first, then in (("spindle", rises, falls), ("bottleneck", falls, rises)):
            sizes = group_sizes(layers, groups, pattern)
            # Groups that mirror each other may differ by the one layer that could not be shared out.
            outer = [min(pair) for pair in zip(sizes, sizes[::-1], strict=True)]
            assert first(outer[:middle]) and then(outer[-middle:])
            assert all(abs(one - other) <= 1 for one, other in zip(sizes, sizes[::-1], strict=True))


def test_with_layers_enough_the_middle_really_differs_from_the_ends():
    for layers, groups in CASES:
        if groups >= 3 and layers >= groups * (groups + 1) // 2:
            spindle, bottleneck = (group_sizes(layers, groups, pattern) for pattern in ("spindle", "bottleneck"))
            assert spindle[groups // 2] > spindle[0] and bottleneck[groups // 2] < bottleneck[-1]


def test_bottleneck_is_spindle_upside_down():
    for groups in range(1, 9):
        spindle, bottleneck = weights("spindle", groups), weights("bottleneck", groups)
        assert {one + other for one, other in zip(spindle, bottleneck, strict=True)} == {max(spindle) + 1}


@pytest.mark.parametrize(
    ("pattern", "sizes"),
    [
        ("increasing", (1, 2, 4, 5)),
        ("uniform", (3, 3, 3, 3)),
        ("decreasing", (5, 4, 2, 1)),
        ("spindle", (2, 4, 4, 2)),
        ("bottleneck", (4, 2, 2, 4)),
    ],
)
def test_twelve_layers_in_four_groups(pattern, sizes):
    assert group_sizes(12, 4, pattern) == sizes


@pytest.mark.parametrize(("layers", "groups"), [(3, 4), (1, 2), (0, 1), (4, 0), (4, -1)])
def test_groups_without_a_layer_are_refused(layers, groups):
    with pytest.raises(ValueError, match=f"{layers} layers cannot make {groups} groups"):
        group_sizes(layers, groups, "uniform")

"""Layer grouping and allocation of PEFT design spaces (Chen et al. 2023, arXiv 2301.01821)."""

from __future__ import annotations

from typing import Literal

Pattern = Literal["increasing", "uniform", "decreasing", "spindle", "bottleneck"]
PATTERNS: tuple[Pattern, ...] = ("increasing", "uniform", "decreasing", "spindle", "bottleneck")


def weights(pattern: Pattern, groups: int) -> tuple[int, ...]:
    """Return how much each group counts for.

    Increasing is 1, 2, 3, ...; spindle rises to the middle and falls again; decreasing and bottleneck are those two
    upside down.
    """
    rising = range(1, groups + 1)
    spindle = [min(group, groups + 1 - group) for group in rising]
    return {
        "increasing": tuple(rising),
        "uniform": (1,) * groups,
        "decreasing": tuple(reversed(rising)),
        "spindle": tuple(spindle),
        "bottleneck": tuple(max(spindle) + 1 - weight for weight in spindle),
    }[pattern]


def group_sizes(layers: int, groups: int, pattern: Pattern) -> tuple[int, ...]:
    """Return the number of layers of each group: they sum to ``layers``, are at least 1, and follow the pattern.

    Layers are dealt out one by one to the group that is furthest below its share (Webster's method), so that of two
    groups the one with the larger weight never has fewer layers. Of equals, the later group comes first: later layers
    matter more for PEFT.

    Raises:
        ValueError: there are more groups than layers.
    """
    if not 1 <= groups <= layers:
        raise ValueError(f"{layers} layers cannot make {groups} groups")
    shares = weights(pattern, groups)
    sizes = [1] * groups
    for _ in range(layers - groups):
        furthest = max(range(groups), key=lambda group: (shares[group] / (sizes[group] + 0.5), shares[group], group))
        sizes[furthest] += 1
    return tuple(sizes)

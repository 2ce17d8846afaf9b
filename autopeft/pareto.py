"""Non-dominated points, hypervolume and knee for two objectives: cost (minimised) and score (maximised)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

Point = tuple[float, float]
# A cost, a score, and whatever else is minimised.
Objectives = tuple[float, ...]


def front_of(points: Sequence[Objectives]) -> list[int]:
    """Return the indices of the points that no other dominates, by ascending cost, however many objectives there are.

    The first number of a point is its cost, the second its score, and of every further one less is better.
    """
    if all(len(point) == 2 for point in points):
        return non_dominated([(point[0], point[1]) for point in points])
    return non_dominated_of_many(points)


def non_dominated(points: Sequence[Point]) -> list[int]:
    """Return the indices of the points that no other point dominates, by ascending cost.

    A point ``(cost, score)`` is dominated when another has no more cost and no less score, and differs in one of
    them. Of points that are equal in both, the first alone is kept; one that holds NaN never is.
    """
    front: list[int] = []
    best = -math.inf
    numbers = [i for i, point in enumerate(points) if not any(map(math.isnan, point))]
    for index in sorted(numbers, key=lambda i: (points[i][0], -points[i][1], i)):
        if not front or points[index][1] > best:
            front.append(index)
            best = points[index][1]
    return front


def non_dominated_of_many(points: Sequence[Objectives]) -> list[int]:
    """Return the indices of the non-dominated points with further objectives, by ascending cost.

    The first number of a point is its cost, the second its score, and of every further one less is better. Of points
    that are equal in all, the first alone is kept; one that holds NaN never is.
    """
    losses = [(point[0], -point[1], *point[2:]) for point in points]
    numbers = [i for i, loss in enumerate(losses) if not any(map(math.isnan, loss))]

    def is_beaten(index: int) -> bool:
        mine = losses[index]
        return any(
            all(a <= b for a, b in zip(losses[other], mine, strict=True)) and (losses[other] != mine or other < index)
            for other in numbers
            if other != index
        )

    return sorted((i for i in numbers if not is_beaten(i)), key=lambda i: (losses[i], i))


def hypervolume(points: Iterable[Point], reference: Point) -> float:
    """Return the area that the points dominate, bounded by ``reference`` (largest cost, smallest score).

    Exact. Points outside the reference count nothing.
    """
    reference_cost, reference_score = reference
    inside = [p for p in points if p[0] < reference_cost and p[1] > reference_score]
    area, level = 0.0, reference_score
    for index in non_dominated(inside):
        cost, score = inside[index]
        area += (reference_cost - cost) * (score - level)
        level = score
    return area


def cost_axis(params: int) -> float:
    """Return the cost coordinate of a parameter count: ``log10(1 + params)``, so that head only is 0."""
    return math.log10(1 + params)


def knee(front: Sequence[Point]) -> int | None:
    """Return the index of the knee of a front given by ascending cost, or None if the front is empty.

    The knee is the point farthest above the straight line from the cheapest to the best point, both axes scaled to
    the front's own range (Satopaa et al. 2011, "Kneedle").
    """
    if not front:
        return None
    low_cost, low_score = front[0]
    cost_range = front[-1][0] - low_cost or 1.0
    score_range = front[-1][1] - low_score or 1.0
    rises = [(s - low_score) / score_range - (c - low_cost) / cost_range for c, s in front]
    return max(range(len(front)), key=lambda i: (rises[i], -i))

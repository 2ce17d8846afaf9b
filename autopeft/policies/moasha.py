"""Asynchronous successive halving by non-dominated sorting: at every rung, the best third of what came goes on."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

from autopeft.messages import Bar, Fidelity
from autopeft.pareto import Point, cost_axis, non_dominated
from autopeft.policies.base import Policy
from autopeft.trial import Trial

# One in so many goes on.
REDUCTION = 3


def _bars(params: int, fidelity: Fidelity, past: Sequence[Trial]) -> tuple[Bar, ...]:
    bars = []
    for share in fidelity.rungs:
        there = [(cost_axis(trial.params), score) for trial in past if (score := trial.score_at(share)) is not None]
        least = _least_score(cost_axis(params), there)
        if least is not None:
            bars.append(Bar(share=share, score=least))
    return tuple(bars)


def _least_score(cost: float, there: Sequence[Point]) -> float | None:
    """Return the least score at the rung with which a trial of this cost goes on, or None where any does.

    A higher score never comes to a later front, so that scores are searched by halves: those that came, and what is
    just above and below them. Inside a front a higher score may be ranked a little lower, where others are near.
    """
    if len(there) + 1 < REDUCTION:
        return None
    kept = math.ceil((len(there) + 1) / REDUCTION)
    came = sorted({score for _, score in there})
    tried = [came[0] - 1.0, *(score for one in came for score in (one, math.nextafter(one, math.inf)))]
    found = bisect.bisect_left(tried, True, key=lambda score: _rank([*there, (cost, score)]) < kept)
    return None if found == 0 else tried[min(found, len(tried) - 1)]


def _rank(points: Sequence[Point]) -> int:
    """Return how many points are ranked before the last: those of earlier fronts, and of its own those as sparse."""
    left, before = list(range(len(points))), 0
    while True:
        front = [left[index] for index in non_dominated([points[index] for index in left])]
        if len(points) - 1 in front:
            return before + _spread_out([points[index] for index in front]).index(points[-1])
        before += len(front)
        left = [index for index in left if index not in front]


def _spread_out(points: Sequence[Point]) -> list[Point]:
    """Return the points of a front so that every beginning covers it: each the farthest from those before it."""
    low, high = min(points), max(points)
    scales = [abs(high[axis] - low[axis]) or 1.0 for axis in (0, 1)]

    def distance(one: Point, other: Point) -> float:
        return math.hypot(*((one[axis] - other[axis]) / scales[axis] for axis in (0, 1)))

    left, ordered = list(points[1:]), [points[0]]
    while left:
        farthest = max(left, key=lambda point: min(distance(point, other) for other in ordered))
        ordered.append(farthest)
        left.remove(farthest)
    return ordered


POLICY = Policy(
    summary="at every rung the third goes on that non-dominated sorting puts first (MO-ASHA)",
    source="Schmucker et al. 2021, arXiv 2106.12639",
    bars=_bars,
)

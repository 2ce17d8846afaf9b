"""Expected hypervolume improvement where one objective is known: a sum of one-dimensional expected improvements.

Derived from Olofsson et al. 2019 (IEEE TBME 66:727-738), who model one objective and know the other. An architecture
of known cost ``c`` and uncertain score ``y`` adds to the dominated area, over every cost from ``c`` up to the
reference, as much as ``y`` is above the front there. The front's level is constant between the costs of its points, so
that with a normal ``y`` of mean ``m`` and deviation ``s``::

    EHVI = sum_j D_j (s phi(z_j) + (m - A_j) Phi(z_j)),    z_j = (m - A_j) / s

with ``D_j`` the width of segment ``j`` to the right of ``c`` and ``A_j`` the front's level there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from autopeft.pareto import Point, non_dominated
from autopeft.warp import Floats

LEAST_DEVIATION = 1e-9


def expected_improvement(
    cost: Floats, mean: Floats, deviation: Floats, points: Sequence[Point], reference: Point
) -> Floats:
    """Return the expected hypervolume improvement of every candidate, of shape ``(candidates,)``.

    Args:
        cost: known costs.
        mean: of the scores' normal distributions.
        deviation: of the scores' normal distributions; 0 gives the improvement itself.
        points: what is there already, as (cost, score); dominated points may be among them.
        reference: largest cost and smallest score.
    """
    edges, levels = _steps(points, reference)
    left = np.maximum(edges[:-1], cost[:, None])
    widths = np.maximum(edges[1:] - left, 0.0)
    s = np.maximum(deviation, LEAST_DEVIATION)[:, None]
    ahead = mean[:, None] - levels
    z = ahead / s
    improvement: Floats = np.sum(widths * (s * _density(z) + ahead * ndtr(z)), axis=1)
    return improvement


def _density(z: Floats) -> Floats:
    return np.asarray(np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi))


def _steps(points: Sequence[Point], reference: Point) -> tuple[Floats, Floats]:
    """Return the costs at which the front's level changes, from -inf to the reference, and the levels in between."""
    most, least = reference
    inside = [point for point in points if point[0] < most and point[1] > least]
    front = [inside[index] for index in non_dominated(inside)]
    edges = np.array([-np.inf, *(cost for cost, _ in front), most])
    levels = np.array([least, *(score for _, score in front)])
    return edges, levels

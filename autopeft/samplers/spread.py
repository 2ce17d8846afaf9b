"""First points, spread evenly over the cost axis.

Random points of a space are nearly all dear (its largest module decides), while half of a front is cheap.
"""

from __future__ import annotations

import math
import random
from functools import cached_property

from autopeft.architecture import Architecture
from autopeft.pareto import cost_axis
from autopeft.samplers.base import Setting
from autopeft.space import Point

# How many single changes are tried to bring a random point to a wanted cost.
CHANGES = 200
# What is near enough, on the cost axis: 2 % of the parameters.
NEAR = 0.01
OUT_OF_REACH = 99.0


class Spread:
    """Random points of wanted costs.

    Args:
        setting: whose space the points are of, and which decides what is within the caps.
        rng: of the points.
    """

    def __init__(self, setting: Setting, rng: random.Random) -> None:
        self._space = setting.space
        self._admit = setting.admit
        self._random = rng

    def point(self, index: int) -> Point:
        """Return a random point whose cost is near the index's place on the cost axis; every beginning fills it."""
        return self.near(index)[0]

    def near(self, index: int) -> tuple[Point, Architecture]:
        """Return such a point and its architecture."""
        return self._approach(self.place(index))

    def place(self, index: int) -> float:
        """Return the index's place on the cost axis, between the lowest and the highest cost there is."""
        lowest, highest = self._range
        return lowest + _van_der_corput(index) * (highest - lowest)

    @cached_property
    def _range(self) -> tuple[float, float]:
        return self._cost(self._approach(-math.inf)[1]), self._cost(self._approach(math.inf)[1])

    def _approach(self, target: float) -> tuple[Point, Architecture]:
        """Return a random valid point, changed in single dimensions until its cost is near the target."""

        def distance(architecture: Architecture) -> float:
            # An infinite target stands for the lowest or highest cost there is.
            cost = self._cost(architecture)
            if cost == OUT_OF_REACH:
                return math.inf
            return math.copysign(cost, -target) if math.isinf(target) else abs(cost - target)

        point, architecture = self._space.sample(self._random)
        least = distance(architecture)
        for _ in range(CHANGES if self._space.dimensions else 0):
            if least <= NEAR and math.isfinite(target):
                break
            dimension = self._random.choice(self._space.dimensions)
            changed = {**point, dimension.name: dimension.sample(self._random)}
            decoded = self._space.decode(changed)
            if decoded is not None and (reached := distance(decoded)) <= least:
                point, architecture, least = changed, decoded, reached
        return point, architecture

    def _cost(self, architecture: Architecture) -> float:
        """Return the architecture's cost, or :data:`OUT_OF_REACH` where a cap forbids it."""
        admitted = self._admit(architecture)
        return OUT_OF_REACH if admitted is None else cost_axis(admitted[1])


def _van_der_corput(index: int) -> float:
    """Return the index-th number of a sequence whose every beginning fills [0, 1) evenly."""
    value, denominator = 0.0, 1.0
    while index:
        denominator *= 2
        index, bit = divmod(index, 2)
        value += bit / denominator
    return value

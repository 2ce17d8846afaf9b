"""The candidates of a space: all of its architectures where they can be counted through, else some of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from autopeft.architecture import Architecture
from autopeft.pareto import cost_axis
from autopeft.samplers.features import Features
from autopeft.space import Point, SearchSpace
from autopeft.warp import Floats

# The largest space that is counted through, and how much of it in a turn, so that none takes long: 50 us a point.
MOST, PART = 200_000, 32_000
# Of a larger one, each time: random points, and points of the front with one or two choices changed.
SAMPLES, CHANGED = 1000, 1000
ORDER_SEED = 0


@dataclass(frozen=True)
class Candidates:
    """Points with the costs and features of their architectures.

    Attributes:
        costs: of shape ``(rows,)``.
        x: features, of shape ``(rows, features)``.
        point: returns the point of a row.
    """

    costs: Floats
    x: Floats
    point: Callable[[int], Point]


class Counted:
    """The architectures of a space, by the numbers of their points (see :meth:`SearchSpace.point`).

    They are counted in random order, a part at every turn, so that what is there so far is a fair sample. The space is
    not held here: what is counted of it is kept only as long as somebody else has the space.

    Args:
        cardinality: of the space.
        width: number of features.

    Attributes:
        numbers: of the points that are valid.
        costs: of shape ``(rows,)``.
        x: features, of shape ``(rows, features)``.
    """

    def __init__(self, cardinality: int, width: int) -> None:
        self._left = list(range(cardinality))
        random.Random(ORDER_SEED).shuffle(self._left)
        self.numbers: list[int] = []
        self.costs, self.x = np.empty(0), np.empty((0, width))

    @property
    def complete(self) -> bool:
        """Whether all of the space is counted."""
        return not self._left

    def go_on(self, space: SearchSpace, features: Features) -> None:
        """Count through the next part."""
        decoded = {number: space.decode(space.point(number)) for number in self._left[-PART:]}
        del self._left[-PART:]
        valid = {number: architecture for number, architecture in decoded.items() if architecture is not None}
        costs, x = _measure(valid.values(), space, features)
        self.costs, self.x = np.concatenate([self.costs, costs]), np.vstack([self.x, x])
        self.numbers += valid


# What is counted is the same for every search in a space, and is kept for the next as long as the space is there.
_COUNTED: WeakKeyDictionary[SearchSpace, Counted] = WeakKeyDictionary()


class Pool:
    """Where the next point is chosen from.

    Args:
        space: that the candidates are of.
        features: of their architectures.
        rng: of the samples and the changes.
    """

    def __init__(self, space: SearchSpace, features: Features, rng: random.Random) -> None:
        self._space = space
        self._features = features
        self._random = rng
        self._counted: Counted | None = None
        if space.cardinality <= MOST:
            if space not in _COUNTED:
                _COUNTED[space] = Counted(int(space.cardinality), len(features.names))
            self._counted = _COUNTED[space]

    @property
    def complete(self) -> bool:
        """Whether all of the space is among the candidates."""
        return self._counted is not None and self._counted.complete

    def go_on(self) -> None:
        """Count through some more of the space, where that can be done."""
        if self._counted is not None and not self._counted.complete:
            self._counted.go_on(self._space, self._features)

    def candidates(self, front: Sequence[Point]) -> Candidates:
        """Return the candidates: what is counted, or random points with changes of the front."""
        if self._counted is not None:
            numbers = self._counted.numbers
            return Candidates(self._counted.costs, self._counted.x, lambda row: self._space.point(numbers[row]))
        drawn = [(point, self._space.decode(point)) for point in self._some(front)]
        valid = [(point, architecture) for point, architecture in drawn if architecture is not None]
        costs, x = _measure([architecture for _, architecture in valid], self._space, self._features)
        return Candidates(costs, x, lambda row: valid[row][0])

    def _some(self, front: Sequence[Point]) -> Iterator[Point]:
        for _ in range(SAMPLES):
            yield {dimension.name: dimension.sample(self._random) for dimension in self._space.dimensions}
        for _ in range(CHANGED if front else 0):
            yield changed(self._random.choice(front), self._space, self._random)


def _measure(architectures: Collection[Architecture], space: SearchSpace, features: Features) -> tuple[Floats, Floats]:
    """Return the costs and features of architectures, a row each."""
    costs = np.array([cost_axis(space.params(architecture)) for architecture in architectures])
    return costs, features.of_all(architectures)


def changed(point: Point, space: SearchSpace, rng: random.Random) -> Point:
    """Return the point with one or two choices drawn anew."""
    new = dict(point)
    for _ in range(rng.choice((1, 2))):
        dimension = rng.choice(space.dimensions)
        new[dimension.name] = dimension.sample(rng)
    return new

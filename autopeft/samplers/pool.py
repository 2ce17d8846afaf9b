"""The candidates of a space: all of its architectures where they can be counted through, else some of them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

import numpy as np

from autopeft.architecture import Architecture
from autopeft.pareto import cost_axis
from autopeft.samplers.features import Features
from autopeft.space import Point, SearchSpace
from autopeft.warp import Floats

# The largest space that is counted through, and in how many parts, so that no turn takes long.
MOST, PARTS = 200_000, 16
# Of a larger one, each time: random points, and points of the front with one or two choices changed.
SAMPLES, CHANGED = 1000, 1000
ORDER_SEED = 0


class Table:
    """Points with the costs and features of their architectures; points that are not valid are left out."""

    def __init__(self, space: SearchSpace, features: Features) -> None:
        self._space = space
        self._features = features
        self._points: list[Point | int] = []
        self._costs: list[float] = []
        self._rows: list[list[float]] = []

    def add(self, point: Point | int, architecture: Architecture | None) -> None:
        """Add a point, or the number of one (see :meth:`SearchSpace.point`), with what it decodes to."""
        if architecture is not None:
            self._points.append(point)
            self._costs.append(cost_axis(self._space.params(architecture)))
            self._rows.append(self._features.of(architecture))

    def point(self, row: int) -> Point:
        """Return the point of a row."""
        point = self._points[row]
        return self._space.point(point) if isinstance(point, int) else point

    @property
    def costs(self) -> Floats:
        """Costs, of shape ``(rows,)``."""
        return np.array(self._costs)

    @property
    def x(self) -> Floats:
        """Features, of shape ``(rows, features)``."""
        return np.array(self._rows).reshape(len(self._points), len(self._features.names))


class Counted:
    """A space counted through in random order, a part at every turn: what is there so far is a fair sample.

    Args:
        space: of no more than :data:`MOST` points.
        features: of its architectures.
    """

    def __init__(self, space: SearchSpace, features: Features) -> None:
        self._space = space
        self._left = list(range(int(space.cardinality)))
        random.Random(ORDER_SEED).shuffle(self._left)
        self._part = math.ceil(len(self._left) / PARTS)
        self._table = Table(space, features)
        self.costs, self.x = self._table.costs, self._table.x

    def go_on(self) -> None:
        """Count through the next part."""
        if not self._left:
            return
        for index in self._left[-self._part :]:
            self._table.add(index, self._space.decode(self._space.point(index)))
        del self._left[-self._part :]
        self.costs, self.x = self._table.costs, self._table.x

    @property
    def complete(self) -> bool:
        """Whether all of it is counted."""
        return not self._left

    def point(self, row: int) -> Point:
        """Return the point of a row."""
        return self._table.point(row)


# What is counted is the same for every search in a space, and is kept for the next as long as the space is there.
_COUNTED: WeakKeyDictionary[SearchSpace, Counted] = WeakKeyDictionary()


def counted(space: SearchSpace, features: Features) -> Counted:
    """Return a space as far as it is counted through in this process."""
    if space not in _COUNTED:
        _COUNTED[space] = Counted(space, features)
    return _COUNTED[space]


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
            self._counted = counted(space, features)

    def go_on(self) -> None:
        """Count through some more of the space, where that can be done."""
        if self._counted is not None:
            self._counted.go_on()

    def candidates(self, front: Sequence[Point]) -> Counted | Table:
        """Return the candidates: what is counted, or random points with changes of the front."""
        if self._counted is not None:
            return self._counted
        table = Table(self._space, self._features)
        for point in self._some(front):
            table.add(point, self._space.decode(point))
        return table

    def _some(self, front: Sequence[Point]) -> Iterator[Point]:
        for _ in range(SAMPLES):
            yield {dimension.name: dimension.sample(self._random) for dimension in self._space.dimensions}
        for _ in range(CHANGED if front else 0):
            yield changed(self._random.choice(front), self._space, self._random)


def changed(point: Point, space: SearchSpace, rng: random.Random) -> Point:
    """Return the point with one or two choices drawn anew."""
    new = dict(point)
    for _ in range(rng.choice((1, 2))):
        dimension = rng.choice(space.dimensions)
        new[dimension.name] = dimension.sample(rng)
    return new

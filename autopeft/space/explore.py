"""Looking around in a space: its cheapest and dearest architectures, and the point that some architecture is."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from autopeft.architecture import Architecture, Placement, Scalar
from autopeft.errors import InvalidInput, Problem
from autopeft.geometry import ModelGeometry
from autopeft.modules.plan import normalise
from autopeft.space.check import holds
from autopeft.space.dimensions import Choice, Dimension, Integers, Point, Range
from autopeft.space.load import PRESET, load_document, load_space, space_names
from autopeft.space.space import SearchSpace

DRAWS = 300
# Above this many dimensions single changes are too many to try them all again and again.
MOST_DIMENSIONS = 200
# More than any number of placements too many.
MISSING = 1_000_000
# A service checks request after request in the same few spaces.
REMEMBERED = 64
# Of a longer range of whole numbers so many are tried, from its least to its most.
SPREAD = 16


def smallest(space: SearchSpace) -> int:
    """Return the fewest trainable parameters found in the space.

    Raises:
        NoFeasibleArchitecture: no draw of many is valid.
    """
    shipped = space.name in space_names() or space.name.startswith(PRESET)
    if shipped and space.document is load_document(space.name):
        return _smallest_of(space.name, space.geometry, space.base_parameters)
    return _smallest(space)


@lru_cache(REMEMBERED)
def _smallest_of(name: str, geometry: ModelGeometry, base_parameters: int | None) -> int:
    # By its name, and not by the space: that would be kept with all that was counted in it.
    return _smallest(load_space(name, geometry, base_parameters))


def _smallest(space: SearchSpace) -> int:
    # One module switched on alone is the least in a space of gates, which random points are far from.
    off = {dimension.name: _least(dimension) for dimension in space.dimensions}
    alone = [{**off, d.name: _most(d)} for d in space.dimensions]
    return round(_params(space, _climb(space, alone or [off], lambda params: params)))


def largest(space: SearchSpace) -> int:
    """Return the most trainable parameters found in the space.

    Raises:
        NoFeasibleArchitecture: no draw of many is valid.
    """
    starts = [{dimension.name: _most(dimension) for dimension in space.dimensions}]
    return round(_params(space, _climb(space, starts, lambda params: -params)))


def find(space: SearchSpace, architecture: Architecture) -> Point | None:
    """Return a point that decodes to the architecture, or None where none was found.

    Single choices are changed for as long as that brings the decoded placements nearer: in a space whose choices hang
    on each other a point that exists may be missed.
    """
    wanted = normalise(architecture, space.geometry)
    settings = {f"training.{name}": value for name, value in wanted.training} | {"quantisation": wanted.quantisation}
    known = {d.name: settings[d.name] for d in space.dimensions if d.name in settings}
    if not all(holds(d, known[d.name]) for d in space.dimensions if d.name in known):
        return None
    places = {_place(placement): placement for placement in wanted.placements}

    def distance(point: Point) -> float:
        found = space.decode(point)
        return math.inf if found is None else _distance(places, found)

    sizes = frozenset(placement.size for placement in wanted.placements)
    point = _improve(space, {**{d.name: _most(d) for d in space.dimensions}, **known}, distance, sizes)
    return point if space.decode(point) == wanted else None


def _place(placement: Placement) -> tuple[str, str, int]:
    return placement.module, placement.site, placement.layer


def _distance(wanted: Mapping[tuple[str, str, int], Placement], found: Architecture) -> float:
    """Return how many placements are missing or too many, and less than 1 for each of another size or options."""
    has = {_place(placement): placement for placement in found.placements}
    shared = wanted.keys() & has.keys()
    missing, too_many = len(wanted) - len(shared), len(has) - len(shared)
    # From everything on, what is too much can go choice by choice if nothing that is wanted goes with it.
    return MISSING * missing + too_many + sum(_difference(wanted[place], has[place]) for place in shared)


def _difference(one: Placement, other: Placement) -> float:
    # The size comes first: an option may be a multiple of it.
    options = len(set(one.options).symmetric_difference(other.options))
    return 0.5 * (one.size != other.size) + 0.5 * options / (options + 1)


def gates(space: SearchSpace) -> dict[str, Placement]:
    """Return the placement that each dimension switches on by itself.

    Raises:
        InvalidInput: a dimension is something else than the gate of one placement.
    """
    found: dict[str, Placement] = {}
    off = dict.fromkeys((dimension.name for dimension in space.dimensions), False)
    switches = all(map(_is_switch, space.dimensions))
    # What is no switch comes first: it is what a message should name.
    for dimension in sorted(space.dimensions, key=_is_switch):
        alone = space.decode({**off, dimension.name: True}) if switches else None
        if alone is None or len(alone.placements) != 1:
            remedy = f"{dimension.name} is no gate of one placement; give every module 'gate: placement' and no choice"
            raise InvalidInput(Problem("space", space.name, f"{remedy}, as s3delta_l and s3delta_m do"))
        found[dimension.name] = alone.placements[0]
    if not found:
        raise InvalidInput(Problem("space", space.name, "has no gates; give its modules 'gate: placement'"))
    return found


def _is_switch(dimension: Dimension) -> bool:
    return isinstance(dimension, Choice) and dimension.choices == (False, True)


def _climb(space: SearchSpace, starts: list[dict[str, Scalar]], value: Callable[[float], float]) -> Point:
    def rank(point: Point) -> float:
        params = _params(space, point)
        return params if math.isinf(params) else value(params)

    rng = random.Random(0)
    valid = [point for point in starts if math.isfinite(rank(point))]
    if space.budget is not None:  # every architecture has as many
        return space.sample(rng)[0]
    points = valid or [dict(space.sample(rng)[0]) for _ in range(DRAWS)]
    return _improve(space, min(points, key=rank), rank)


def _improve(
    space: SearchSpace, point: dict[str, Scalar], rank: Callable[[Point], float], sizes: frozenset[int] = frozenset()
) -> Point:
    """Change single choices for as long as that lowers the rank; of long ranges these sizes are tried in any case."""
    if len(space.dimensions) > MOST_DIMENSIONS:
        return point
    best, improved = rank(point), True
    while improved:
        improved = False
        for dimension in space.dimensions:
            for value in _choices(dimension, sizes):
                changed = {**point, dimension.name: value}
                if (reached := rank(changed)) < best:
                    point, best, improved = changed, reached, True
    return point


def _params(space: SearchSpace, point: Point) -> float:
    architecture = space.decode(point)
    return math.inf if architecture is None else space.params(architecture)


def _choices(dimension: Dimension, sizes: frozenset[int] = frozenset()) -> Sequence[Scalar]:
    if isinstance(dimension, Choice):
        return dimension.choices
    low, high = dimension.low, dimension.high
    if isinstance(dimension, Range):
        return low, high
    if dimension.cardinality <= SPREAD:
        return range(int(low), int(high) + 1)
    spread = {round(low * (high / low) ** (step / (SPREAD - 1))) for step in range(SPREAD)}
    return sorted(spread.union(size for size in sizes if low <= size <= high))


def _least(dimension: Dimension) -> Scalar:
    return min(_choices(dimension), key=_fullness) if _is_ordinal(dimension) else _choices(dimension)[0]


def _most(dimension: Dimension) -> Scalar:
    if dimension.name == "layers.first":
        return _choices(dimension)[0]
    return max(_choices(dimension), key=_fullness) if _is_ordinal(dimension) else _choices(dimension)[-1]


def _is_ordinal(dimension: Dimension) -> bool:
    return isinstance(dimension, (Integers, Range)) or not any(isinstance(c, str) for c in dimension.choices)


def _fullness(value: Scalar) -> float:
    return float(value)

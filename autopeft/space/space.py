"""A search space bound to a model: its dimensions, and the architecture that each of its points decodes to."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, cast

from autopeft.architecture import Architecture, Placement, Quantisation, Scalar
from autopeft.errors import InvalidInput, NoFeasibleArchitecture
from autopeft.geometry import ModelGeometry
from autopeft.modules.plan import price
from autopeft.space.check import Fit, forbidden_names, in_parameters, misfits
from autopeft.space.dimensions import Choice, Dimension, Integers, Point, Range, scale
from autopeft.space.entry import Draft, Entry
from autopeft.space.schema import RealRange, SpaceDocument, Trend
from autopeft.space.sizes import scaled, shares, solve
from autopeft.space.structure import Layout, Structure

DRAWS = 10_000
# Placements whose prices are kept.
PRICES = 65_536


@dataclass(frozen=True, eq=False)
class SearchSpace:
    """A space for one model; equal only to itself.

    Attributes:
        name: as it was asked for.
        document: its definition.
        geometry: the model's.
        base_parameters: of the model without a head; needed where the document gives percentages.

    Raises:
        InvalidInput: the document does not fit together, or not on the model; every problem is listed.
    """

    name: str
    document: SpaceDocument
    geometry: ModelGeometry
    base_parameters: int | None = None

    def __post_init__(self) -> None:
        problems = [*misfits(self.document), *Fit(self.document, self.geometry, self.base_parameters).problems()]
        if not problems:
            problems = list(forbidden_names(self.document, self._dimensions()))
        if problems:
            origin = Path(self.name).name
            raise InvalidInput(*(replace(problem, field=f"{origin}: {problem.field}") for problem in problems))

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: the definition, without what was remembered of points."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    # -- points -------------------------------------------------------------------------------------------------------

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The dimensions in their order, those of a single value left out; a point has one value for each."""
        return tuple(dimension for dimension in self._dimensions() if dimension.cardinality > 1)

    @cached_property
    def _settled(self) -> dict[str, Scalar]:
        """The dimensions of a single value, with it."""
        return {d.name: d.choices[0] for d in self._dimensions() if isinstance(d, Choice) and len(d.choices) == 1}

    @property
    def cardinality(self) -> float:
        """Number of points, invalid ones included; infinite where a dimension is a range of real numbers."""
        return math.prod(dimension.cardinality for dimension in self.dimensions)

    def points(self) -> Iterator[Point]:
        """Yield every point, invalid ones included.

        Raises:
            ValueError: a dimension is a range of real numbers.
        """
        return (self.point(index) for index in range(math.prod(map(len, self._values))))

    def point(self, index: int) -> Point:
        """Return a point by its number, from 0 up to the cardinality.

        Raises:
            ValueError: a dimension is a range of real numbers.
        """
        point: dict[str, Scalar] = {}
        for dimension, values in zip(reversed(self.dimensions), reversed(self._values), strict=True):
            index, position = divmod(index, len(values))
            point[dimension.name] = values[position]
        return point

    @cached_property
    def _values(self) -> tuple[Sequence[Scalar], ...]:
        return tuple(_values(dimension) for dimension in self.dimensions)

    def sample(self, rng: random.Random) -> tuple[Point, Architecture]:
        """Draw a valid point uniformly.

        Raises:
            NoFeasibleArchitecture: no draw of many is valid.
        """
        draws = DRAWS if self.dimensions else 1
        for _ in range(draws):
            point = {dimension.name: dimension.sample(rng) for dimension in self.dimensions}
            architecture = self.decode(point)
            if architecture is not None:
                return point, architecture
        raise NoFeasibleArchitecture(f"space {self.name!r} gave no valid architecture in {draws} draws")

    # -- architectures ------------------------------------------------------------------------------------------------

    def decode(self, point: Point) -> Architecture | None:
        """Return the point's architecture in its normal form, or None where the point is not valid.

        A point is not valid where it leaves every layer or every module out, or a group that takes part empty; where
        no sizes meet the space's budget; and where a constraint leaves it out.
        """
        point = {**self._settled, **point}
        layout = self._structure.read(point)
        drafts = [draft for entry in self._entries for draft in entry.drafts(point, layout)]
        if not drafts or self._is_left_out(point, drafts):
            return None
        if layout.count and {draft.group for draft in drafts} != layout.tuned:
            return None
        sizes = self._sizes(point, layout, drafts)
        if sizes is None:
            return None
        placements = tuple(draft.at(size) for draft, size in zip(drafts, sizes, strict=True))
        training = tuple((name, point[f"training.{name}"]) for name in self._trained)
        stored = cast(Quantisation, point.get("quantisation", "none"))
        architecture = Architecture(placements, training, stored)
        return architecture if self._within_bounds(architecture) else None

    def params(self, architecture: Architecture) -> int:
        """Return the trainable parameters of an architecture, without the task head."""
        return sum(map(self._price, architecture.placements))

    @cached_property
    def _price(self) -> Callable[[Placement], int]:
        # Nothing of it holds the space, which so goes, with what is counted of it, as soon as nobody has it.
        return lru_cache(PRICES)(partial(price, geometry=self.geometry))

    @cached_property
    def budget(self) -> int | None:
        """Trainable parameters that every architecture is to have, if the space says so."""
        amount = self.document.budget
        return None if amount is None else in_parameters(amount, self.base_parameters)

    @cached_property
    def _bounds(self) -> tuple[float, float]:
        params = self.document.constraints.params
        least = 0.0 if params.least is None else in_parameters(params.least, self.base_parameters)
        most = math.inf if params.most is None else in_parameters(params.most, self.base_parameters)
        return least, most

    def _within_bounds(self, architecture: Architecture) -> bool:
        least, most = self._bounds
        return (least, most) == (0.0, math.inf) or least <= self.params(architecture) <= most

    def _is_left_out(self, point: Point, drafts: list[Draft]) -> bool:
        constraints = self.document.constraints
        used = {draft.entry.name for draft in drafts} if constraints.apart else set()
        if any(len(used.intersection(apart)) > 1 for apart in constraints.apart):
            return True
        return any(
            all(
                point[name] in (values if isinstance(values, list) else [values]) for name, values in forbidden.items()
            )
            for forbidden in constraints.forbid
        )

    def _sizes(self, point: Point, layout: Layout, drafts: list[Draft]) -> list[int] | None:
        allocation = self.document.allocation
        trend: Trend = "uniform"
        if allocation is not None:
            trend = cast(Trend, point["allocation"])
        share = shares(trend, layout)
        if self.budget is not None:
            per_params = allocation is not None and allocation.of == "params"
            return solve(drafts, lambda draft: share[draft.group], self.budget, self.geometry, per_params)
        given = [draft.size or 0 for draft in drafts]
        if trend == "uniform":
            return given
        most = self.geometry.width
        return [scaled(s, share[d.group], most) if s else 0 for s, d in zip(given, drafts, strict=True)]

    # -- the parts of the space ---------------------------------------------------------------------------------------

    @cached_property
    def _structure(self) -> Structure:
        return Structure(self.document, self.geometry.layers)

    @cached_property
    def _entries(self) -> tuple[Entry, ...]:
        modules = self.document.modules.items()
        return tuple(Entry(name, module, self.geometry, self._structure) for name, module in modules)

    def _dimensions(self) -> Iterator[Dimension]:
        for entry in self._entries:
            yield from entry.dimensions()
        yield from self._structure.dimensions()
        allocation = self.document.allocation
        if allocation is not None:
            yield Choice("allocation", tuple(allocation.patterns))
        if self.document.quantisation is not None:
            yield Choice("quantisation", tuple(self.document.quantisation))
        yield from self._training()

    @cached_property
    def _trained(self) -> tuple[str, ...]:
        return tuple(dimension.name.removeprefix("training.") for dimension in self._training())

    def _training(self) -> Iterator[Dimension]:
        for name, values in self.document.training:
            if isinstance(values, RealRange):
                yield Range(f"training.{name}", values.low, values.high, values.log)
            elif values is not None:
                yield scale(f"training.{name}", values)


def _values(dimension: Dimension) -> Sequence[Scalar]:
    if isinstance(dimension, Choice):
        return dimension.choices
    if isinstance(dimension, Integers):
        return range(dimension.low, dimension.high + 1)
    raise ValueError(f"{dimension.name} is a range of real numbers")

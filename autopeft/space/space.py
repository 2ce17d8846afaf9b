"""A search space bound to a model: its dimensions, and the architecture that each of its points decodes to."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from autopeft.architecture import Architecture, Placement, Scalar
from autopeft.errors import InvalidInput, NoFeasibleArchitecture, Problem
from autopeft.geometry import ModelGeometry
from autopeft.space.dimensions import Choice, Dimension, Point, Range
from autopeft.space.schema import Choose, Module, RealRange, Sizes, SpaceDocument, TimesSize

OFF = 0
DRAWS = 10_000


@dataclass(frozen=True)
class SearchSpace:
    """A space for one model.

    Attributes:
        name: as it was asked for.
        document: its definition.
        geometry: the model's.

    Raises:
        InvalidInput: the model has none of the sites of a module type.
    """

    name: str
    document: SpaceDocument
    geometry: ModelGeometry

    def __post_init__(self) -> None:
        known = self.geometry.site_names
        problems = [
            Problem.unknown(f"{self.name}: modules.{module}.sites", ", ".join(definition.site_names), known)
            for module, definition in self.document.modules.items()
            if not self._sites(definition)
        ]
        if problems:
            raise InvalidInput(*problems)

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The dimensions in their order; a point has one value for each."""
        return tuple(self._dimensions())

    @property
    def cardinality(self) -> float:
        """Number of points, invalid ones included; infinite where a dimension is a range."""
        return math.prod(dimension.cardinality for dimension in self.dimensions)

    def decode(self, point: Point) -> Architecture | None:
        """Return the point's architecture, or None where it leaves every layer or every module out."""
        placements = tuple(self._placements(point, self._layers(point)))
        if not placements:
            return None
        training = tuple((d.name.removeprefix("training."), point[d.name]) for d in self._training())
        return Architecture(placements, training)

    def sample(self, rng: random.Random) -> tuple[Point, Architecture]:
        """Draw a valid point uniformly.

        Raises:
            NoFeasibleArchitecture: no draw of many is valid.
        """
        for _ in range(DRAWS):
            point = {dimension.name: dimension.sample(rng) for dimension in self.dimensions}
            architecture = self.decode(point)
            if architecture is not None:
                return point, architecture
        raise NoFeasibleArchitecture(f"space {self.name!r} gave no valid architecture in {DRAWS} draws")

    def cover(self) -> Iterator[Architecture]:
        """Yield architectures that hold every module at every site, and every value of every choice, between them."""
        point = {dimension.name: _fullest(dimension) for dimension in self.dimensions}
        points = [point]
        for dimension in self.dimensions:
            if isinstance(dimension, Choice):
                points += [{**point, dimension.name: value} for value in dimension.choices]
        yield from (architecture for architecture in map(self.decode, points) if architecture is not None)

    def _dimensions(self) -> Iterator[Dimension]:
        for module, definition in self.document.modules.items():
            sites = self._sites(definition)
            if isinstance(definition.sites, Choose) and len(sites) > 1:
                for site in sites:
                    yield Choice(f"{module}.{site}", (False, True))
            if definition.size is not None:
                yield Choice(f"{module}.size", _in_order(self._sizes(definition.size)), ordered=True)
            for option, values in definition.options.items():
                if isinstance(values, TimesSize):
                    yield Choice(f"{module}.{option}_over_size", _in_order(values.times_size), ordered=True)
                elif isinstance(values, list):
                    yield Choice(f"{module}.{option}", tuple(values))
        count = self.geometry.layers
        if self.document.layers == "mask":
            yield from (Choice(f"layers.{layer:02d}", (False, True)) for layer in range(count))
        elif self.document.layers == "range":
            yield Choice("layers.first", tuple(range(count)), ordered=True)
            yield Choice("layers.last", tuple(range(count)), ordered=True)
        yield from self._training()

    def _training(self) -> Iterator[Dimension]:
        for name in ("learning_rate", "head_learning_rate"):
            values = getattr(self.document.training, name)
            if isinstance(values, RealRange):
                yield Range(f"training.{name}", values.low, values.high, values.log)
            elif values is not None:
                yield Choice(f"training.{name}", _in_order(values), ordered=True)

    def _sites(self, definition: Module) -> list[str]:
        return [site for site in definition.site_names if site in self.geometry.site_names]

    def _sizes(self, sizes: list[int] | Sizes) -> list[int]:
        if isinstance(sizes, list):
            return sizes
        values = [max(1, self.geometry.width // divisor) for divisor in sizes.width_over]
        return [*values, *sizes.also, *[OFF] * sizes.optional]

    def _layers(self, point: Point) -> list[int]:
        layers = range(self.geometry.layers)
        if self.document.layers == "mask":
            return [layer for layer in layers if point[f"layers.{layer:02d}"]]
        if self.document.layers == "range":
            first, last = int(point["layers.first"]), int(point["layers.last"])
            return list(range(first, last + 1))
        return list(layers)

    def _placements(self, point: Point, layers: list[int]) -> Iterator[Placement]:
        for module, definition in self.document.modules.items():
            size = 0
            if definition.size is not None:
                size = int(point[f"{module}.size"])
                if size == OFF:
                    continue
            sites = self._sites(definition)
            if isinstance(definition.sites, Choose) and len(sites) > 1:
                sites = [site for site in sites if point[f"{module}.{site}"]]
            options = tuple(self._options(module, definition, point, size))
            for layer in layers:
                for site in sites:
                    if self.geometry.find(site, layer) is not None:
                        yield Placement(module, site, layer, size, options)

    def _options(self, module: str, definition: Module, point: Point, size: int) -> Iterator[tuple[str, Scalar]]:
        for option, values in definition.options.items():
            if isinstance(values, TimesSize):
                yield option, float(point[f"{module}.{option}_over_size"]) * size
            elif isinstance(values, list):
                yield option, point[f"{module}.{option}"]
            else:
                yield option, values


def _fullest(dimension: Dimension) -> Scalar:
    if isinstance(dimension, Range):
        return dimension.low
    if dimension.name == "layers.first":
        return 0
    return next((value for value in reversed(dimension.choices) if value), dimension.choices[0])


def _in_order(values: Sequence[Scalar]) -> tuple[Scalar, ...]:
    """Return the values once each, rising or falling, so that neighbours are alike."""
    # Narrow models reach size 1 more than once.
    once = list(dict.fromkeys(values))
    rising = sorted(once)
    return tuple(once if once == rising[::-1] else rising)

"""Which layers of the model take part, and which group each is in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import cast

from autopeft.architecture import Scalar
from autopeft.space.dimensions import Choice, Dimension, Point, scale, switch
from autopeft.space.grouping import Pattern, group_sizes
from autopeft.space.schema import SpaceDocument, TopLayers

UNGROUPED = 0
# Layouts that are kept: more than there are of the layers of a small model.
KEPT = 4096


@dataclass(frozen=True, eq=False)
class Layout:
    """The layers of one point; equal only to itself.

    Attributes:
        groups: group of each layer that takes part, from 1; :data:`UNGROUPED` where the space has no groups. Empty
            where there are more groups than layers.
        count: number of groups, whether they take part or not.
        tuned: the groups that take part.
    """

    groups: Mapping[int, int]
    count: int
    tuned: frozenset[int]


@dataclass(frozen=True)
class Structure:
    """A space's layers and groups on a model of so many layers."""

    document: SpaceDocument
    layers: int

    @cached_property
    def possible(self) -> tuple[int, ...]:
        """Layers that some point lets take part."""
        chosen = self.document.layers
        if isinstance(chosen, list):
            return tuple(sorted({layer % self.layers for layer in chosen}))
        if isinstance(chosen, TopLayers):
            return tuple(range(self.layers - max(chosen.top), self.layers))
        return tuple(range(self.layers))

    @cached_property
    def most_groups(self) -> int:
        """The largest number of groups that some point has."""
        return max(self.document.groups.counts) if self.document.groups else 0

    def dimensions(self) -> Iterator[Dimension]:
        """Yield the dimensions of layers and groups."""
        chosen = self.document.layers
        if chosen == "mask":
            yield from (switch(f"layers.{layer:02d}") for layer in self.possible)
        elif chosen == "range":
            yield Choice("layers.first", self.possible, ordered=True)
            yield Choice("layers.last", self.possible, ordered=True)
        elif isinstance(chosen, TopLayers):
            yield scale("layers.top", chosen.top)
        groups = self.document.groups
        if groups is None:
            return
        yield scale("groups.count", groups.counts)
        yield Choice("groups.pattern", tuple(groups.patterns))
        if groups.tunable == "choose":
            yield from (switch(f"groups.tune.g{group}") for group in range(1, self.most_groups + 1))

    def read(self, point: Point) -> Layout:
        """Return the layers of a point; the same object for the same choices, while it is kept."""
        return self._kept(tuple(point[name] for name in self._names))

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(dimension.name for dimension in self.dimensions())

    @cached_property
    def _kept(self) -> Callable[[tuple[Scalar, ...]], Layout]:
        return lru_cache(KEPT)(self._lay_out)

    def _lay_out(self, choices: tuple[Scalar, ...]) -> Layout:
        point = dict(zip(self._names, choices, strict=True))
        layers = self._layers(point)
        groups = self.document.groups
        if groups is None:
            return Layout(dict.fromkeys(layers, UNGROUPED), 0, frozenset())
        count = int(point["groups.count"])
        tuned = frozenset(group for group in range(1, count + 1) if point.get(f"groups.tune.g{group}", True))
        if count > len(layers):
            return Layout({}, count, tuned)
        sizes = group_sizes(len(layers), count, cast(Pattern, point["groups.pattern"]))
        group_of = [group for group, size in enumerate(sizes, start=1) for _ in range(size)]
        placed = zip(layers, group_of, strict=True)
        return Layout({layer: group for layer, group in placed if group in tuned}, count, tuned)

    def _layers(self, point: Point) -> tuple[int, ...]:
        if self.document.layers == "mask":
            return tuple(layer for layer in self.possible if point[f"layers.{layer:02d}"])
        if self.document.layers == "range":
            return tuple(range(int(point["layers.first"]), int(point["layers.last"]) + 1))
        if isinstance(self.document.layers, TopLayers):
            return tuple(range(self.layers - int(point["layers.top"]), self.layers))
        return self.possible

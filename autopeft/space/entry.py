"""One module of a space on a model: its dimensions, and the placements that a point gives it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from autopeft.architecture import Placement, Scalar
from autopeft.geometry import ModelGeometry, Site
from autopeft.modules import MODULE_TYPES
from autopeft.modules.plan import normalise_placement
from autopeft.space.dimensions import Choice, Dimension, Integers, Point, scale, switch
from autopeft.space.schema import SOLVED, Choose, Module, Scope, Sizes, TimesSize
from autopeft.space.structure import Layout, Structure

OFF = 0
# Choices of a module whose drafts are kept: more than a module of few choices has in the layouts of a small model.
KEPT = 4096


@dataclass(frozen=True, eq=False)
class Draft:
    """A placement whose size may still be open; equal only to itself.

    Attributes:
        entry: the module of the space that it belongs to.
        module: its module type.
        group: of its layer, from 1; 0 where the space has no groups.
        size: None where the budget decides; 0 for a module type without a size.
        options: those that do not depend on the size.
        multiples: options that are the size times a factor, with that factor.
    """

    entry: Entry
    module: str
    site: Site
    group: int
    size: int | None
    options: tuple[tuple[str, Scalar], ...]
    multiples: tuple[tuple[str, float], ...]
    _placed: dict[int, Placement] = field(default_factory=dict, init=False, repr=False)

    def at(self, size: int) -> Placement:
        """Return the placement at a size, in its normal form."""
        if size not in self._placed:
            scaled = tuple((option, factor * size) for option, factor in self.multiples)
            placement = Placement(self.module, self.site.name, self.site.layer, size, self.options + scaled)
            self._placed[size] = normalise_placement(placement, self.entry.geometry)
        return self._placed[size]


@dataclass(frozen=True, eq=False)
class Entry:
    """A module of the space, by its name, bound to a model."""

    name: str
    definition: Module
    geometry: ModelGeometry
    structure: Structure

    @cached_property
    def types(self) -> list[str]:
        """The module types to choose from."""
        return self.definition.types(self.name)

    @cached_property
    def site_names(self) -> list[str]:
        """The sites that the model has, of those named."""
        return [site for site in self.definition.site_names if site in self.geometry.site_names]

    @cached_property
    def places(self) -> tuple[Site, ...]:
        """Every site that the module can be put at."""
        possible, names = set(self.structure.possible), set(self.site_names)
        return tuple(site for site in self.geometry.sites if site.name in names and site.layer in possible)

    @cached_property
    def _chooses_sites(self) -> bool:
        return isinstance(self.definition.sites, Choose) and len(self.site_names) > 1

    # -- dimensions ---------------------------------------------------------------------------------------------------

    def dimensions(self) -> Iterator[Dimension]:
        """Yield the module's dimensions."""
        yield Choice(f"{self.name}.type", tuple(self.types))
        if self.definition.gate is not None:
            yield from (switch(f"{self.name}.on{scope}") for scope in self._scopes(self.definition.gate))
        if self._chooses_sites:
            yield from (switch(f"{self.name}.{site}") for site in self.site_names)
        size = self.definition.size
        if size is not None and size != SOLVED:
            yield from (self._size(f"{self.name}.size{s}") for s in self._scopes(self.definition.size_scope))
        for option, values in self.definition.options.items():
            if isinstance(values, TimesSize):
                yield scale(f"{self.name}.{option}_over_size", values.times_size)
            elif isinstance(values, list):
                yield Choice(f"{self.name}.{option}", tuple(values))

    def _scopes(self, scope: Scope) -> dict[str, None]:
        """Return the ends of the names of what has a choice of its own, in their order."""
        if scope == "network":
            return {"": None}
        if scope == "group":
            groups = self.definition.groups or range(1, self.structure.most_groups + 1)
            return {f".g{group}": None for group in groups}
        return {_scope(scope, place, 0): None for place in self.places}

    def _size(self, name: str) -> Dimension:
        sizes = self.definition.size
        if isinstance(sizes, Sizes):
            if sizes.low is not None and sizes.high is not None:
                return Integers(name, sizes.low, sizes.high)
            fractions = [max(1, self.geometry.width // divisor) for divisor in sizes.width_over]
            return scale(name, [*fractions, *sizes.also, *[OFF] * sizes.optional])
        assert isinstance(sizes, list), "a solved size has no dimension"
        return scale(name, sizes)

    # -- placements ---------------------------------------------------------------------------------------------------

    def drafts(self, point: Point, layout: Layout) -> tuple[Draft, ...]:
        """Return the module's placements at a point; the same objects for the same choices, while they are kept."""
        return self._kept(layout, tuple(point[name] for name in self._names))

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(dimension.name for dimension in self.dimensions())

    @cached_property
    def _kept(self) -> Callable[[Layout, tuple[Scalar, ...]], tuple[Draft, ...]]:
        return lru_cache(KEPT)(lambda layout, choices: tuple(self._draft(layout, choices)))

    def _draft(self, layout: Layout, choices: tuple[Scalar, ...]) -> Iterator[Draft]:
        point = dict(zip(self._names, choices, strict=True))
        module = str(point[f"{self.name}.type"])
        options, multiples = tuple(self._options(module, point)), tuple(self._multiples(module, point))
        gate, sized = self.definition.gate, MODULE_TYPES.get(module).sized
        for place in self.places:
            group = layout.groups.get(place.layer)
            if group is None or (self.definition.groups and group not in self.definition.groups):
                continue
            if gate is not None and not point[f"{self.name}.on{_scope(gate, place, group)}"]:
                continue
            if self._chooses_sites and not point[f"{self.name}.{place.name}"]:
                continue
            size = self._size_at(point, place, group) if sized else 0
            if size != OFF or not sized:
                yield Draft(self, module, place, group, size, options, multiples)

    def _size_at(self, point: Point, place: Site, group: int) -> int | None:
        if self.definition.size == SOLVED:
            return None
        return int(point[f"{self.name}.size{_scope(self.definition.size_scope, place, group)}"])

    # An option that a module type lacks belongs to another of the types to choose from.

    def _options(self, module: str, point: Point) -> Iterator[tuple[str, Scalar]]:
        known = MODULE_TYPES.get(module).options
        for option, values in self.definition.options.items():
            if option in known and not isinstance(values, TimesSize):
                yield option, point[f"{self.name}.{option}"] if isinstance(values, list) else values

    def _multiples(self, module: str, point: Point) -> Iterator[tuple[str, float]]:
        known = MODULE_TYPES.get(module).options
        for option, values in self.definition.options.items():
            if option in known and isinstance(values, TimesSize):
                yield option, float(point[f"{self.name}.{option}_over_size"])


def _scope(scope: Scope, place: Site, group: int) -> str:
    """Return the end of the name of a place's choice."""
    if scope == "network":
        return ""
    if scope == "group":
        return f".g{group}"
    return f".{place.layer:02d}" if scope == "layer" else f".{place.layer:02d}.{place.name}"

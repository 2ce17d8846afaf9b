"""The picture of a structure search: layers by sites, each gate's probability as colour and the kept ones outlined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from autopeft.evidence import Gate, Structure
from autopeft.geometry import SITE_NAMES
from autopeft.plots.bars import Text
from autopeft.plots.chart import make_title
from autopeft.plots.labels import Box, text_size
from autopeft.plots.page import Line
from autopeft.plots.palette import INK, MUTED, module_colours, module_name, tint
from autopeft.plots.sizes import BODY, HEADING, LEFT, PANEL_WIDTH, RIGHT, SMALL, TITLE, WIDTH

WIDEST_CELL, NARROWEST_CELL = 104.0, 22.0
TALLEST_ROW, SHORTEST_ROW, GRID_HEIGHT = 56.0, 18.0, 620.0
MODULE_GAP = 14.0
VALUE_TEXT, COUNT_TEXT, LOWEST_VALUE_ROW = 16.0, 15.0, 24.0
COUNTS_HEIGHT, BAND_HEIGHT, LEGEND_ROW = 28.0, 10.0, 36.0
HEAD_HEIGHT, BELOW_SITES = 122.0, 44.0
SCALE_STEPS, SCALE_STEP = 40, 5.0
SWATCH, THICKEST_OUTLINE = 26.0, 4.0
PALEST, DARKEST = 0.08, 0.92

Place = tuple[str, str]


@dataclass(frozen=True)
class Cell:
    """A gate with its place, its colour, and its probability where there is room for it."""

    gate: Gate
    box: Box
    colour: str
    value: Text | None


@dataclass(frozen=True)
class Swatch:
    """A module type's colour, and its name right of it."""

    box: Box
    colour: str
    name: Line


@dataclass(frozen=True)
class Key:
    """How to read the colours: a bar of them between its ends, what an outline is, and what is white.

    Attributes:
        bar: parts of the bar.
        outline: the sample of an outlined cell.
    """

    bar: tuple[tuple[Box, str], ...]
    outline: Box
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class GateMap:
    """The picture, in pixels from the foot of layer 0 and the left of the first column.

    Attributes:
        cells: one a gate.
        bands: over the columns of each module type, with its colour.
        sites: names of the columns, written upwards under them.
        marks: numbers of layers, and how many gates are kept in each row and column.
        legend: module types.
        key: what colours and outlines are.
        titles: over it all.
        outline: thickness of the outlines: thin where rows are low, so that the colours stay visible.
        size: width and height of the page.
        zero: where its pixels start on the page.
    """

    cells: tuple[Cell, ...]
    bands: tuple[tuple[Box, str], ...]
    sites: tuple[Text, ...]
    marks: tuple[Text, ...]
    legend: tuple[Swatch, ...]
    key: Key
    titles: tuple[Line, ...]
    outline: float
    size: tuple[float, float]
    zero: tuple[float, float]

    @property
    def kept(self) -> list[Cell]:
        """The cells of the gates that are kept."""
        return [cell for cell in self.cells if cell.gate.chosen]


@dataclass(frozen=True)
class _Grid:
    """Where columns and rows are."""

    lefts: dict[Place, float]
    cell_width: float
    row_height: float
    layers: int

    @classmethod
    def of(cls, structure: Structure) -> _Grid:
        """Lay out the columns: module types side by side with a gap, and in each of these its sites."""
        places = sorted({(g.module, g.site) for g in structure.gates}, key=_order)
        gaps = len({module for module, _ in places}) - 1
        share = (PANEL_WIDTH - MODULE_GAP * gaps) / len(places)
        width = max(NARROWEST_CELL, min(WIDEST_CELL, share))
        row_height = max(SHORTEST_ROW, min(TALLEST_ROW, GRID_HEIGHT / structure.layers))
        lefts, left = {places[0]: 0.0}, 0.0
        for before, place in pairwise(places):
            left += width + (MODULE_GAP if place[0] != before[0] else 0.0)
            lefts[place] = left
        return cls(lefts, width, row_height, structure.layers)

    @property
    def right(self) -> float:
        """Right edge of the last column."""
        return max(self.lefts.values()) + self.cell_width

    @property
    def top(self) -> float:
        """Upper edge of the last layer."""
        return self.layers * self.row_height

    def box(self, gate: Gate) -> Box:
        """Return the place of a gate."""
        left, foot = self.lefts[gate.module, gate.site], gate.layer * self.row_height
        return Box(left + 1, foot + 1, left + self.cell_width - 1, foot + self.row_height - 1)


@dataclass(frozen=True)
class _Scale:
    """From a probability to a colour: all of the range that occurs is used."""

    low: float
    high: float

    @classmethod
    def of(cls, structure: Structure) -> _Scale:
        """Return the scale of a structure's gates."""
        found = [gate.probability for gate in structure.gates]
        return cls(min(found), max(found))

    def colour(self, probability: float) -> str:
        """Return the colour of a probability: the darker, the higher."""
        share = (probability - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return tint(INK, PALEST + (DARKEST - PALEST) * share)


def make_gate_map(structure: Structure, name: str) -> GateMap:
    """Lay out the picture of a structure that a search of that name found."""
    grid, scale = _Grid.of(structure), _Scale.of(structure)
    sites = tuple(Text(site, grid.lefts[module, site] + grid.cell_width / 2, -8) for module, site in grid.lefts)
    bottom = BELOW_SITES + max(text_size(text.text, text.size)[0] for text in sites)
    legend_foot = grid.top + COUNTS_HEIGHT + BAND_HEIGHT + 14
    legend = tuple(_legend(grid, legend_foot))
    key_foot = max(swatch.name.y for swatch in legend) + LEGEND_ROW / 2
    top = key_foot + LEGEND_ROW + HEAD_HEIGHT
    return GateMap(
        cells=tuple(_cell(gate, grid, scale) for gate in structure.gates),
        bands=tuple(_bands(grid)),
        sites=sites,
        marks=(*_layer_marks(grid), *_counts(structure, grid)),
        legend=legend,
        key=_key(structure, scale, grid, key_foot + LEGEND_ROW / 2),
        titles=_titles(structure, name, top),
        outline=min(THICKEST_OUTLINE, 0.14 * grid.row_height),
        size=(max(WIDTH, LEFT + grid.right + RIGHT), bottom + top),
        zero=(LEFT, bottom),
    )


def _order(place: Place) -> tuple[str, int, str]:
    """Sort by module type, and sites as they follow each other in a layer."""
    module, site = place
    return module, SITE_NAMES.index(site) if site in SITE_NAMES else len(SITE_NAMES), site


def _cell(gate: Gate, grid: _Grid, scale: _Scale) -> Cell:
    box, text = grid.box(gate), f"{gate.probability:.2f}"
    room = grid.row_height >= LOWEST_VALUE_ROW and text_size("0.00", VALUE_TEXT)[0] <= box.right - box.left - 8
    value = Text(text, *box.centre, VALUE_TEXT) if room else None
    return Cell(gate, box, scale.colour(gate.probability), value)


def _bands(grid: _Grid) -> Iterator[tuple[Box, str]]:
    modules = {module for module, _ in grid.lefts}
    colours, foot = module_colours(modules), grid.top + COUNTS_HEIGHT
    for module in sorted(modules):
        lefts = [left for (owner, _), left in grid.lefts.items() if owner == module]
        yield Box(min(lefts) + 1, foot, max(lefts) + grid.cell_width - 1, foot + BAND_HEIGHT), colours[module]


def _layer_marks(grid: _Grid) -> Iterator[Text]:
    every = 1 if grid.row_height >= LOWEST_VALUE_ROW else 2
    return (Text(str(i), -22, (i + 0.5) * grid.row_height) for i in range(0, grid.layers, every))


def _counts(structure: Structure, grid: _Grid) -> Iterator[Text]:
    """Yield how many gates are kept in each row and column that has any."""
    columns = Counter((gate.module, gate.site) for gate in structure.kept)
    for place, count in columns.items():
        yield Text(str(count), grid.lefts[place] + grid.cell_width / 2, grid.top + COUNTS_HEIGHT / 2, COUNT_TEXT)
    for layer, count in Counter(gate.layer for gate in structure.kept).items():
        yield Text(str(count), grid.right + 20, (layer + 0.5) * grid.row_height, COUNT_TEXT)


def _legend(grid: _Grid, foot: float) -> Iterator[Swatch]:
    """Yield the module types in lines from the left, the first line lowest."""
    x, y = 0.0, foot + LEGEND_ROW / 2
    for module, colour in module_colours(module for module, _ in grid.lefts).items():
        text = module_name(module)
        width = SWATCH + 48 + text_size(text, BODY)[0]
        if x and x + width > PANEL_WIDTH:
            x, y = 0.0, y + LEGEND_ROW
        yield Swatch(Box(x, y - 11, x + SWATCH, y + 11), colour, Line(text, x + SWATCH + 8, y, BODY))
        x += width


def _key(structure: Structure, scale: _Scale, grid: _Grid, y: float) -> Key:
    low, high = (f"{probability:.2f}" for probability in (scale.low, scale.high))
    first = Line(f"probability of a gate  {low}", 0.0, y, SMALL, MUTED)
    left = text_size(first.text, SMALL)[0] + 10
    right = left + SCALE_STEPS * SCALE_STEP
    outline = right + text_size(high, SMALL)[0] + 50
    places = len(grid.lefts) * grid.layers
    white = "  ·  white: no gate there" if len(structure.gates) < places else ""
    counted = f"kept; their numbers stand over the columns and right of the rows{white}"
    return Key(
        bar=tuple(_bar(scale, left, y)),
        outline=Box(outline, y - 11, outline + SWATCH, y + 11),
        lines=(
            first,
            Line(high, right + 10, y, SMALL, MUTED),
            Line(counted, outline + SWATCH + 10, y, SMALL, MUTED),
        ),
    )


def _bar(scale: _Scale, left: float, y: float) -> Iterator[tuple[Box, str]]:
    for step in range(SCALE_STEPS):
        probability = scale.low + (scale.high - scale.low) * step / (SCALE_STEPS - 1)
        yield Box(left + step * SCALE_STEP, y - 9, left + (step + 1) * SCALE_STEP, y + 9), scale.colour(probability)


def _titles(structure: Structure, name: str, top: float) -> tuple[Line, Line]:
    title = make_title(" ".join(name.split()), f": gates at {structure.budget:,} parameters")
    found = f"kept {len(structure.kept)} of {len(structure.gates)} gates, {structure.params:,} parameters"
    return (
        Line(title, 0, top - 44, TITLE, bold=True),
        Line(f"{found}  ·  {structure.steps:,} steps in {structure.seconds:.0f} s", 0, top - 90, HEADING, MUTED),
    )

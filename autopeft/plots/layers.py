"""The second panel: which modules each front architecture has in which layer, and how large they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autopeft.answer import Answer, Row
from autopeft.architecture import Placement
from autopeft.plots.bars import STRIP_HEIGHT, Bar, Text, make_bars, site_marks, size_range, size_strip
from autopeft.plots.labels import Box, text_size
from autopeft.plots.palette import module_colours, module_name
from autopeft.plots.sizes import BODY, PANEL_WIDTH, SMALL
from autopeft.plots.wording import params_text, score_text

WIDEST_COLUMN = 360.0
TALLEST_ROW, SHORTEST_ROW, GRID_HEIGHT = 56.0, 18.0, 560.0
BADGE_HEIGHT, LEGEND_ROW, CAPTION_ROW = 48.0, 34.0, 1.4 * SMALL


@dataclass(frozen=True)
class Column:
    """An architecture of the front: its number, its middle, and what is written under it."""

    number: int
    row: Row
    x: float
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A module type in the legend, with the left edge and the middle height of its swatch."""

    module: str
    text: str
    sized: bool
    x: float
    y: float


@dataclass(frozen=True)
class LayerPanel:
    """The panel; its pixels start at the foot of layer 0, and what is under the grid is below zero.

    Attributes:
        depth: number of layers shown; 0 if no architecture has a module.
        row_height: of a layer.
        columns: one a front architecture, by ascending parameters.
        cells: the grid.
        bars: one a placement.
        strip: sizes over the columns, where the cells have no room for them.
        sites: names of sites under the grid, written upwards, where there is room for them.
        legend: module types of the front.
        colours: of module types.
        upright: whether captions are too wide for their column and are written upwards.
        top: upper end, over the legend.
        captions_top: upper end of the captions.
        bottom: lower end, under the captions.
    """

    depth: int
    row_height: float
    columns: tuple[Column, ...]
    cells: tuple[Box, ...]
    bars: tuple[Bar, ...]
    strip: tuple[Text, ...]
    sites: tuple[Text, ...]
    legend: tuple[Entry, ...]
    colours: dict[str, str]
    upright: bool
    top: float
    captions_top: float
    bottom: float

    @property
    def bars_by_look(self) -> dict[tuple[str, bool], list[Bar]]:
        """The bars by module type and whether they have a size."""
        looks: dict[tuple[str, bool], list[Bar]] = {}
        for bar in self.bars:
            looks.setdefault((bar.placement.module, bool(bar.placement.size)), []).append(bar)
        return looks

    @property
    def badge_height(self) -> float:
        """Height of the columns' numbers."""
        return self.depth * self.row_height + (STRIP_HEIGHT if self.strip else 0) + BADGE_HEIGHT / 2

    @property
    def layer_marks(self) -> list[Text]:
        """Layer numbers left of the grid; every second one where the rows are low."""
        every = 1 if self.row_height >= 24 else 2
        return [Text(str(i), -22, (i + 0.5) * self.row_height) for i in range(0, self.depth, every)]

    @property
    def caption_names(self) -> list[Text]:
        """What the lines of the captions are, left of them."""
        names = ("params", "score", "std")[: max(len(column.captions) for column in self.columns)]
        return [] if self.upright else [Text(n, -44, self.caption_height(i)) for i, n in enumerate(names)]

    def caption_height(self, line: int) -> float:
        """Return the middle height of a line of the captions."""
        return self.captions_top - (line + 0.5) * CAPTION_ROW


def make_layer_panel(answer: Answer) -> LayerPanel:
    """Lay out the panel; the model is taken to be as deep as the deepest placement of any row."""
    front, everything = answer.front, (*answer.front, *answer.baselines, *answer.others)
    depth = max((1 + row.architecture.layers[-1] for row in everything if row.architecture.layers), default=0)
    row_height = max(SHORTEST_ROW, min(TALLEST_ROW, GRID_HEIGHT / max(1, depth)))
    width = min(WIDEST_COLUMN, PANEL_WIDTH / len(front))
    bars = make_bars(front, width, row_height)
    strip, sites = size_strip(bars, depth * row_height), site_marks(bars)
    columns = tuple(_column(i, row, (i + 0.5) * width) for i, row in enumerate(front))
    upright = max(text_size(line, SMALL)[0] for column in columns for line in column.captions) > width - 4
    legend_bottom = depth * row_height + (STRIP_HEIGHT if strip else 0) + BADGE_HEIGHT + 14
    legend, top = _legend([p for row in front for p in row.architecture.placements], legend_bottom)
    captions_top = -12 - max((text_size(mark.text, mark.size)[0] + 8 for mark in sites), default=0.0)
    return LayerPanel(
        depth=depth,
        row_height=row_height,
        columns=columns,
        cells=tuple(_cell(i, width, layer, row_height) for i in range(len(front)) for layer in range(depth)),
        bars=tuple(bars),
        strip=strip,
        sites=sites,
        legend=legend,
        colours=module_colours(entry.module for entry in legend),
        upright=upright,
        top=top,
        captions_top=captions_top,
        bottom=captions_top - _captions_height(columns, upright),
    )


def _cell(index: int, width: float, layer: int, row_height: float) -> Box:
    gap = min(6.0, width * 0.06)
    return Box(index * width + gap, layer * row_height + 1, (index + 1) * width - gap, (layer + 1) * row_height - 1)


def _column(index: int, row: Row, x: float) -> Column:
    spread = () if row.score_std is None else (f"± {score_text(row.score_std)}",)
    return Column(index + 1, row, x, (params_text(row.params), score_text(row.score), *spread))


def _captions_height(columns: Iterable[Column], upright: bool) -> float:
    if upright:
        return max(text_size("   ".join(column.captions), SMALL)[0] for column in columns)
    return max(len(column.captions) for column in columns) * CAPTION_ROW


def _legend(placements: Sequence[Placement], bottom: float) -> tuple[tuple[Entry, ...], float]:
    """Return the legend's entries, in lines from the left, and its upper end."""
    placed, line, x = [], 0, 0.0
    for module in sorted({p.module for p in placements}):
        sizes = [p.size for p in placements if p.module == module and p.size]
        text = module_name(module) + (f", size {size_range(sizes)}" if sizes else ", no size")
        width = 74 + text_size(text, BODY)[0]
        if x and x + width > PANEL_WIDTH:
            line, x = line + 1, 0.0
        placed.append((module, text, bool(sizes), x, line))
        x += width
    top = bottom + LEGEND_ROW * (line + 1 if placed else 0)
    return tuple(Entry(m, text, sized, x, top - LEGEND_ROW * (n + 0.5)) for m, text, sized, x, n in placed), top
